"""``logitlab exhaustive``: measure a loss on every row of two classes that a small format has, which is a proof."""

from ._exhaustive import Exhaustive, exhaustive
from ._files import prepare
from ._show import show

__all__ = ["Exhaustive", "exhaustive", "prepare", "show"]
