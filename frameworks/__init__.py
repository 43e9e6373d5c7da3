"""WHO computes it: one file per framework, with the formulas written in it and its built-in losses.

A framework's module imports its framework at the top, and so is imported in that framework's worker alone.
"""

from ._batch import Batch, Implementation
from ._framework import Autograd, Framework
from ._syntax import Syntax
from ._training import Step, Training

__all__ = ["Autograd", "Batch", "Framework", "Implementation", "Step", "Syntax", "Training"]
