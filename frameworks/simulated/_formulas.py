"""The formulas in simulated arithmetic: those of `stages`, with the online softmax computed tile by tile."""

from collections.abc import Callable
from dataclasses import replace

from ..stages import TRACED, Stages
from ._array import OPERATIONS, Rounded
from ._online import Classes, online_softmax

_OPERATIONS = replace(OPERATIONS, max_and_sum=online_softmax)
# The name of the stages of each formula. The other frameworks compute log1p in at least float32, scaled.
TRACES = {"naive": "naive", "lse": "lse", "log1p": "log1p_unscaled", "online": "online"}


def _run(trace: str) -> Callable[[Rounded, Classes], Stages]:
    return lambda x, t: TRACED[trace](_OPERATIONS, x, t)


FORMULAS = {formula: _run(trace) for formula, trace in TRACES.items()}
