"""``logitlab hunt``: search for inputs on which an implementation is worse than on the whole catalogue."""

from ._hunt import Hunt, hunt, show

__all__ = ["Hunt", "hunt", "show"]
