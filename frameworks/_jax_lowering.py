"""One MLIR context for all that a process lowers with JAX."""

from functools import cache
from typing import Any


def share_context() -> None:
    """Makes JAX lower all programs of this process in one MLIR context.

    JAX makes one for each program. That is most of the time of lowering an operation, and a mebibyte of memory that the
    program keeps. A JAX that makes its contexts elsewhere goes on as it is.
    """
    from jax._src.interpreters import mlir  # noqa: PLC0415

    make: Any = getattr(mlir, "make_ir_context", None)
    if make is not None and not hasattr(make, "cache_clear"):
        mlir.make_ir_context = cache(make)


def forget_context() -> None:
    """Drops the shared context, which keeps every constant and type that it has seen; the next lowering makes one."""
    from jax._src.interpreters import mlir  # noqa: PLC0415

    forget: Any = getattr(getattr(mlir, "make_ir_context", None), "cache_clear", None)
    if forget is not None:
        forget()
