"""WHO computes it: one file per framework, with the formulas written in it and its built-in losses.

The module of a framework imports it at the top, so only that framework's worker imports the module.
"""

from ._batch import Batch, Implementation, in_layout
from ._framework import Autograd, Framework
from ._syntax import Syntax
from ._training import Step, Training
from ._transformed import Transformation, Transformed
from .linear import LinearAutograd, LinearBatch

__all__ = [
    "Autograd",
    "Batch",
    "Framework",
    "Implementation",
    "LinearAutograd",
    "LinearBatch",
    "Step",
    "Syntax",
    "Training",
    "Transformation",
    "Transformed",
    "in_layout",
]
