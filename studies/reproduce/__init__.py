"""``logitlab reproduce``: one measurement as a stand-alone program in its framework."""

from ._reproduce import reproduce, run_program

__all__ = ["reproduce", "run_program"]
