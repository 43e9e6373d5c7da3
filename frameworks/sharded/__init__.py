"""Losses of logits whose classes are divided over ranks: PyTorch's processes, or JAX's devices."""

from ._division import divided, has_empty, is_even

__all__ = ["divided", "has_empty", "is_even"]
