"""Losses of hidden states and a weight: the batch of a call, and one file per framework."""

from ._autograd import LinearAutograd
from ._batch import LinearBatch
from ._written import written

__all__ = ["LinearAutograd", "LinearBatch", "written"]
