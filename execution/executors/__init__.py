"""WHERE calls are made: in processes of this machine, or on the workers of a Dask cluster."""

from ._choice import Executor, opened

__all__ = ["Executor", "opened"]
