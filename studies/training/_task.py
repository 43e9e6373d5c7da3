"""The images, the models' start and the order of the batches, equal in every framework."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.formats import get_format
from ...core.rounding import quantize

Array = NDArray[Any]

BATCH = 64
HELD_OUT = 450
MODELS = {"linear": (64, 10), "two-layer": (64, 32, 10)}
"""The widths of a model's layers: pixels, hidden units with ReLU, classes."""

# The uses of random numbers. Each has its own stream, so that more steps do not change the start.
_SPLIT, _START, _ORDER = 0, 1, 2


@dataclass(frozen=True)
class Task:
    """One model trained in one dtype at several learning rates.

    Attributes:
        model: a key of `MODELS`.
        dtype: of images, weights, activations, loss, gradients and learning rate.
        rates: the learning rates; each has its own run from the start.
        steps: the largest number of steps at a rate; a run ends early when a weight is not finite.
        seed: the seed of the start and of the order of the batches.
    """

    model: str
    dtype: str
    rates: tuple[float, ...]
    steps: int
    seed: int

    def start(self) -> tuple[Array, ...]:
        """Return weights (inputs, outputs) and bias (outputs,) of each layer in turn, rounded to the dtype.

        The weights are normal with variance 1 / inputs (LeCun et al., Efficient BackProp, 1998, section 4.6), the
        biases 0.
        """
        numbers, fmt = _numbers(_START, self.seed), get_format(self.dtype)
        layers = pairwise(MODELS[self.model])
        pairs = ((numbers.standard_normal((n, m)) / np.sqrt(n), np.zeros(m)) for n, m in layers)
        return tuple(quantize(array, fmt) for pair in pairs for array in pair)

    def batches(self) -> Iterator[tuple[Array, Array]]:
        """Yield images (BATCH, 64) in the dtype and labels (BATCH,) for each step.

        The training images are shuffled for each epoch. An incomplete batch is dropped.
        """
        images, labels = training_images()
        numbers, kind = _numbers(_ORDER, self.seed), get_format(self.dtype).dtype
        in_a_pass = len(images) // BATCH
        for step in range(self.steps):
            if step % in_a_pass == 0:
                order = numbers.permutation(len(images))
            rows = order[step % in_a_pass * BATCH :][:BATCH]
            yield images[rows].astype(kind), labels[rows]


def training_images() -> tuple[Array, Array]:
    """Return the training images (1347, 64) with pixels from 0 to 1, and labels (1347,)."""
    images, labels, order = _digits()
    return images[order[HELD_OUT:]], labels[order[HELD_OUT:]]


def held_out_images() -> tuple[Array, Array]:
    """Return the held-out images (450, 64) with pixels from 0 to 1, and labels (450,)."""
    images, labels, order = _digits()
    return images[order[:HELD_OUT]], labels[order[:HELD_OUT]]


@cache
def _digits() -> tuple[Array, Array, Array]:
    """Return scikit-learn's digits, written by ``tools/make_images.py``, and the order in which they are split."""
    with as_file(files(__package__) / "digits.npz") as path, np.load(path, allow_pickle=False) as kept:
        # Pixels are integers from 0 to 16. Sixteenths are exact in every dtype, so all dtypes have equal images.
        images, labels = kept["images"] / 16, kept["labels"].astype(np.int64)
    return images, labels, _numbers(_SPLIT, 0).permutation(len(images))


def _numbers(use: int, seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([use, seed])))
