"""``logitlab reproduce``: one measurement as a stand-alone program in its framework."""

from ._reproduce import Reproducer, ReproduceRequest, reproduce, run_program

__all__ = ["ReproduceRequest", "Reproducer", "reproduce", "run_program"]
