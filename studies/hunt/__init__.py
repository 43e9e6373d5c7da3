"""WHAT IS WORSE: a search for inputs on which an implementation fails worse than on any of the catalogue."""

from ._hunt import Hunt, hunt, show

__all__ = ["Hunt", "hunt", "show"]
