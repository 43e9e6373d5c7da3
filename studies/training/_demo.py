"""``train_demo``: train in the frameworks' processes, and collect the results in a table."""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ...core.arguments import Strings, as_dtypes, as_integer, as_numbers, as_positive, as_strings
from ...core.errors import UsageError
from ...core.formats import get_format
from ...core.progress import Progress, reporting
from ...core.rounding import quantize
from ...execution.outcomes import failed
from ...execution.plan import choose_dtypes, choose_frameworks
from ...execution.pool import DEFAULT_TIMEOUT, Pools
from ...execution.registry import Description, ImplementationInfo
from ._task import MODELS, Task
from ._train import Traced, TrainingInfo, describe_training, trace

DTYPES = ("float16", "float32")
RATES = (0.1, 1.0, 3.0, 10.0, 100.0, 1000.0)
STEPS = 200


@dataclass(frozen=True)
class Line:
    """One line of the table: one loss, model and dtype, trained at one learning rate."""

    framework: str
    implementation: str
    formula: str
    version: str | None
    mode: str
    dtype: str
    model: str
    learning_rate: float
    steps: int | None = None
    logits_step: int | None = None
    loss_step: int | None = None
    gradient_step: int | None = None
    weights_step: int | None = None
    final_loss: float = math.nan
    largest_logit: float = math.nan
    accuracy: float = math.nan
    fault: str | None = None


COLUMNS = tuple(f.name for f in fields(Line))


class _Call(NamedTuple):
    """One loss on one task, in its framework's process."""

    framework: str
    implementation: ImplementationInfo
    mode: str
    task: Task


def train_demo(
    frameworks: Strings = None,
    dtypes: object = None,
    models: Strings = None,
    rates: float | Sequence[float] | None = None,
    steps: int = STEPS,
    seed: int = 0,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    progress: Progress | bool | None = None,
) -> pd.DataFrame:
    """Train classifiers of digits with a naive, an LSE and a built-in loss, and report when values stop being finite.

    Training is plain gradient descent on batches of 64 of scikit-learn's digits, on the CPU. For each model and dtype,
    the start and the batches are the same for every framework, loss and rate. Images, weights, activations, loss,
    gradient and rate have the dtype; there is no loss scaling and no wider copy of the weights. The loss takes the mean
    over the batch if it can (PyTorch's built-in); otherwise the mean is taken in float32 or wider and rounded. NumPy
    has no built-in with a gradient, so its third loss is ``log1p``.

    JAX's step is compiled and TensorFlow's is a graph, as usual in training; NumPy and PyTorch are eager.

    Args:
        frameworks: frameworks with a training step, such as ``numpy``, ``torch``, ``jax`` and ``tensorflow``; all
            installed ones by default.
        dtypes: ``float16``, ``bfloat16``, ``float32`` or ``float64``; float16 and float32 by default.
        models: ``linear``, 64 pixels to 10 classes, and ``two-layer``, with 32 hidden ReLU units; both by default.
        rates: learning rates; `RATES` by default.
        steps: the largest number of steps of a run; a run ends early when a weight is not finite.
        seed: the seed of the start and of the order of the batches.
        timeout: time limit in seconds for one loss, model and dtype at all rates.
        progress: called with the calls done, the total and the last call. By default a bar on a terminal, a line in a
            notebook, and nothing elsewhere; False for nothing.

    Returns:
        One line for each run, with the columns `COLUMNS`. ``logits_step``, ``loss_step``, ``gradient_step`` and
        ``weights_step`` are the first steps, from 1, with a value that was not finite; missing if all were finite. The
        first three are computed from the step's batch before it changes the weights. ``final_loss`` is the loss of the
        last batch, which may be NaN or infinite. ``largest_logit`` is the largest absolute value of a finite logit.
        ``accuracy`` is computed with the last weights in float64 on 450 held-out images; chance is 0.1. An image with a
        logit that is not finite counts as wrong, so weights that are all NaN have accuracy 0. ``fault`` is the error of
        a run without a result, and otherwise missing.

    Raises:
        UsageError: for an unknown name, a requested framework that is not installed, or a number out of range.
    """
    limit = as_positive(timeout, "timeout", "seconds")
    steps, seed = as_integer(steps, "steps", least=1), as_integer(seed, "seed")
    names = choose_frameworks(as_strings(frameworks, "frameworks"))
    tasks = _tasks(as_dtypes(dtypes), as_strings(models, "models"), as_numbers(rates, "rates"), steps, seed)
    with (
        tempfile.TemporaryDirectory(prefix="logitlab-") as logs,
        reporting(progress) as report,
        Pools(names, Path(logs), limit) as pools,
    ):
        present = _present(pools.describe(), asked=frameworks is not None)
        asked = {n: pools.worker(n).schedule(describe_training, args=(n,), timeout=limit) for n in present}
        trained = _trained({n: future.result() for n, future in asked.items()}, asked=frameworks is not None)
        calls = list(_calls(present, trained, tasks))
        arguments = [(call.framework, call.implementation.name, call.task) for call in calls]
        futures = [pools.worker(each[0]).schedule(trace, args=each, timeout=limit) for each in arguments]
        if report is not None:
            called: dict[Future[Traced], _Call] = dict(zip(futures, calls, strict=True))
            for done, future in enumerate(as_completed(called), start=1):
                call = called[future]
                report(done, len(calls), f"{call.implementation.name} {call.task.model} {call.task.dtype}")
        lines = [line for c, f in zip(calls, futures, strict=True) for line in _lines(c, _result(f, limit))]
    table = pd.DataFrame([asdict(line) for line in lines], columns=list(COLUMNS))
    counts = [c for c in COLUMNS if c == "steps" or c.endswith("_step")]
    return table.astype(dict.fromkeys(counts, "Int64"))


# --- what is asked for ------------------------------------------------------------------------------------------


def _tasks(dtypes: Sequence[str], models: Sequence[str], rates: Sequence[float], steps: int, seed: int) -> list[Task]:
    kinds = choose_dtypes(dtypes or DTYPES, usual_only="train-demo")
    rising = tuple(sorted(set(rates or RATES)))
    for rate, kind in ((r, k) for r in rising for k in kinds):
        if not 0 < float(quantize(rate, get_format(kind))) < math.inf:
            raise UsageError(f"the learning rate is {rate:g}; expected a positive number that is finite in {kind}")
    for model in models:
        if model not in MODELS:
            raise UsageError(f"unknown model {model!r}; choose one of {', '.join(MODELS)}")
    return [Task(m, d, rising, steps, seed) for m in MODELS if m in (models or MODELS) for d in kinds]


def _present(descriptions: Mapping[str, Description], *, asked: bool) -> dict[str, Description]:
    """Return the installed frameworks; raise a UsageError if a requested one is missing."""
    missing = [f"{name} {d.missing}" for name, d in descriptions.items() if d.missing is not None]
    if missing and (asked or len(missing) == len(descriptions)):
        raise UsageError(f"no framework to train with: {'; '.join(missing)}; for advice run `logitlab doctor`")
    return {name: d for name, d in descriptions.items() if d.missing is None}


def _trained(found: Mapping[str, TrainingInfo | None], *, asked: bool) -> dict[str, TrainingInfo]:
    """Return the frameworks with a training step; raise a UsageError if a requested one has none."""
    trained = {name: training for name, training in found.items() if training is not None}
    lacking = [name for name in found if name not in trained]
    if lacking and (asked or not trained):
        raise UsageError(
            f"{', '.join(lacking)} has no training step; choose another framework, or define `Framework.training` or "
            "the `gradient` of an implementation"
        )
    return trained


def _calls(
    present: Mapping[str, Description], trained: Mapping[str, TrainingInfo], tasks: Sequence[Task]
) -> Iterator[_Call]:
    for name, training in trained.items():
        infos = {o.name: o for o in present[name].implementations if o.version is not None}
        losses = [infos[n] for n in training.losses if n in infos]
        yield from (_Call(name, loss, training.mode, task) for task in tasks for loss in losses)


# --- what became of it ------------------------------------------------------------------------------------------


def _result(future: Future[Traced], timeout: float) -> Traced:
    try:
        return future.result()
    except Exception as error:
        return Traced((), failed(error, timeout).detail)


def _lines(call: _Call, traced: Traced) -> Iterator[Line]:
    info, task = call.implementation, call.task
    for i, rate in enumerate(task.rates):
        line = Line(
            call.framework, info.name, info.formula, info.version, call.mode, task.dtype, task.model, rate,
            fault=traced.fault,
        )  # fmt: skip
        if traced.fault is None:
            t = traced.traces[i]
            line = replace(
                line, steps=t.steps, final_loss=t.final_loss, largest_logit=t.largest_logit, accuracy=t.accuracy,
                logits_step=t.stopped["logits"], loss_step=t.stopped["loss"], gradient_step=t.stopped["gradient"],
                weights_step=t.stopped["weights"],
            )  # fmt: skip
        yield line
