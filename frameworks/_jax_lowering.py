"""One MLIR context for all JAX programs of a process."""

from functools import cache
from typing import Any


def share_context() -> None:
    """Make JAX lower all programs of this process in one MLIR context.

    JAX creates a context for each program. That takes most of the time of lowering an operation, and 1 MiB of memory
    that the program keeps. If a version of JAX creates contexts elsewhere, this function does nothing.
    """
    from jax._src.interpreters import mlir  # noqa: PLC0415

    make: Any = getattr(mlir, "make_ir_context", None)
    if make is not None and not hasattr(make, "cache_clear"):
        mlir.make_ir_context = cache(make)


def forget_context() -> None:
    """Drop the shared context, which keeps every constant and type; the next lowering creates a new one."""
    from jax._src.interpreters import mlir  # noqa: PLC0415

    forget: Any = getattr(getattr(mlir, "make_ir_context", None), "cache_clear", None)
    if forget is not None:
        forget()
