"""``logitlab matrix``: run one plan with several package versions and compare the results."""

from ._matrix import Matrix, matrix

__all__ = ["Matrix", "matrix"]
