"""WHO computes it: one file per framework, with the formulas written in it and its built-in losses.

A framework's module imports its framework at the top, and so is imported in that framework's worker alone.
"""

from ._protocol import Batch, Framework, Implementation

__all__ = ["Batch", "Framework", "Implementation"]
