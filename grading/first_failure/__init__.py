"""The stage of a computation that failed first, each stage against its exact value."""

from ._first import first_failures

__all__ = ["first_failures"]
