"""A measurement as a stand-alone program in its framework, written in the framework's worker."""

from ._program import write
from ._request import ProgramRequest, Written

__all__ = ["ProgramRequest", "Written", "write"]
