"""``check --bitwise``: whether a row of the user's loss keeps its bits in other batches and with other threads."""

from ._check import check_bitwise
from ._result import BitwiseResult

__all__ = ["BitwiseResult", "check_bitwise"]
