"""The trial of one implementation, in a worker process. This module imports neither pandas nor the oracle."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...frameworks import Batch, Framework, Implementation, LinearBatch
from .. import worker
from ..worker import Evaluation, Outcome
from ._rows import THREADS, Plan, Rows
from ._trial import first_results, try_width


def try_in_worker(given: Evaluation) -> Outcome:
    """Make the trial of one implementation at the width of the given batch, in a worker process."""
    return worker.observed(given, partial(_tried, first_only=False))


def first_in_worker(given: Evaluation) -> Outcome:
    """Return the first results of one implementation at the width of the given batch, in a worker process."""
    return worker.observed(given, partial(_tried, first_only=True))


def _tried(
    framework: Framework,
    chosen: Implementation,
    batch: Batch | LinearBatch,
    device: str,
    mode: str,
    *,
    first_only: bool,
) -> Outcome:
    assert isinstance(batch, Batch)  # noqa: S101 - for the type checker: only losses of logits have trials
    classes = batch.logits.shape[1]
    rows = Rows.of(classes, batch.number_format)
    few = framework.compiles_shapes(mode)
    plan = Plan(few_shapes=few, large=not few, threads=() if few and mode != "eager" else threads_of(framework))

    def call(logits: NDArray[Any], targets: NDArray[np.int64]) -> Outcome:
        return worker.evaluated(framework, chosen, Batch(logits, targets, format=batch.format), device, mode)

    trial = first_results(plan, rows, call) if first_only else try_width(plan, rows, call, framework.threads)
    return Outcome(trial=trial)


def threads_of(framework: Framework) -> tuple[int, ...]:
    """Return the numbers of threads that this process can be set to."""
    return THREADS if framework.threads(1) is not None else ()
