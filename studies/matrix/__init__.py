"""WHICH VERSION does it: the same plan in an environment of its own for each set of requirements, and what changed."""

from ._matrix import Matrix, matrix

__all__ = ["Matrix", "matrix"]
