"""The training in a worker process: one loss, model and dtype at each learning rate."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import format_error
from ...core.formats import get_format
from ...execution import registry
from ...frameworks import Step
from ._task import Task, held_out_images

Array = NDArray[Any]
WATCHED = ("logits", "loss", "gradient", "weights")


@dataclass(frozen=True)
class Trace:
    """The result of one run.

    Attributes:
        steps: the number of steps done.
        stopped: for each of `WATCHED`, the first step, from 1, with a value that was not finite; None if all were
            finite. Logits, loss and gradient are of the step's batch; weights are taken after the step.
        final_loss: the mean loss of the last batch.
        largest_logit: the largest absolute value of a finite logit.
        accuracy: the accuracy on the held-out images with the last weights.
    """

    steps: int
    stopped: dict[str, int | None]
    final_loss: float
    largest_logit: float
    accuracy: float


@dataclass(frozen=True)
class Traced:
    """A trace for each learning rate, or the error that ended the call."""

    traces: tuple[Trace, ...]
    fault: str | None = None


@dataclass(frozen=True)
class TrainingInfo:
    """How a framework runs a training step, and the implementations that it trains."""

    mode: str
    losses: tuple[str, ...]


def describe_training(framework: str) -> TrainingInfo | None:
    """Return the framework's training information, or None without a training step."""
    training = registry.load(framework).training
    return None if training is None else TrainingInfo(training.mode, training.losses)


def trace(framework: str, implementation: str, task: Task) -> Traced:
    """Train with one implementation's loss at each rate of the task, on the CPU, and return the traces."""
    try:
        adapter = registry.load(framework)
        (loss,) = [i for i in adapter.implementations if i.name == implementation]
        training = adapter.training
        if training is None:
            raise NotImplementedError(f"{framework} has no training step")
        training.prepare()

        def own(values: Array) -> Any:
            return adapter.to_array(values, "cpu")

        def at(rate: Any) -> Trace:
            batches = ((own(x), own(t)) for x, t in task.batches())
            return trace_steps(lambda w, x, t: training.step(loss, w, x, t, rate), start, batches, adapter.to_numpy)

        with adapter.placed("cpu"):
            start = tuple(own(w) for w in task.start())
            rates = [own(np.asarray(r, get_format(task.dtype).dtype)) for r in task.rates]
            return Traced(tuple(at(rate) for rate in rates))
    except BaseException as error:  # any exception of a framework ends only this call
        return Traced((), format_error(error))


def trace_steps(
    step: Callable[..., Step], start: Sequence[Any], batches: Iterable[tuple[Any, Any]], dump: Callable[[Any], Array]
) -> Trace:
    """Take a step for each batch until a weight is not finite, and return the trace.

    Args:
        step: takes weights, images and labels, and returns the result of a step.
        start: the initial weights.
        batches: images and labels.
        dump: converts an array of the framework to NumPy.
    """
    stopped: dict[str, int | None] = dict.fromkeys(WATCHED)
    weights, largest, loss, number = tuple(start), 0.0, np.asarray(np.nan), 0
    for number, (images, labels) in enumerate(batches, start=1):
        weights, mean_loss, slopes, logits = step(weights, images, labels)
        loss, gradient = dump(mean_loss), [*map(dump, slopes)]
        seen = {"logits": [dump(logits)], "loss": [loss], "gradient": gradient, "weights": [*map(dump, weights)]}
        for name, arrays in seen.items():
            if stopped[name] is None and not all(np.isfinite(a).all() for a in arrays):
                stopped[name] = number
        largest = max(largest, _largest_finite(seen["logits"][0]))
        if stopped["weights"] is not None:
            break
    return Trace(number, stopped, float(loss), largest, accuracy([*map(dump, weights)]))


def accuracy(weights: Sequence[Array]) -> float:
    """Return the share of held-out images whose label has the largest logit, with these weights in float64.

    An image with a logit that is not finite counts as wrong. So weights that are all NaN have accuracy 0, not the tenth
    that argmax would give.
    """
    x, labels = held_out_images()
    layers = [w.astype(np.float64) for w in weights]
    with np.errstate(all="ignore"):
        for w, b in zip(layers[:-2:2], layers[1:-2:2], strict=True):
            x = np.maximum(x @ w + b, 0)
        logits = x @ layers[-2] + layers[-1]
    right = np.isfinite(logits).all(axis=1) & (logits.argmax(axis=1) == labels)
    return float(right.mean())


def _largest_finite(logits: Array) -> float:
    sizes = np.abs(logits[np.isfinite(logits)].astype(np.float64))
    return float(sizes.max(initial=0.0))
