"""``logitlab largest``: the largest known finite errors of each implementation, each measured again."""

from ._entry import Entry
from ._largest import Largest, largest
from ._show import FORMATS, written

__all__ = ["FORMATS", "Entry", "Largest", "largest", "written"]
