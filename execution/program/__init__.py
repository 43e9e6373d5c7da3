"""A measurement as a stand-alone program in its framework, written in the framework's worker."""

from ._program import ProgramRequest, Written, write

__all__ = ["ProgramRequest", "Written", "write"]
