"""A classifier of digits trained by Adam, whose logits and gradients the studies of this folder measure.

The studies replace data that cannot be shipped, such as MNIST, by scikit-learn's digits, which LogitLab ships for
``logitlab train-demo``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from logitlab.studies.training._task import Task, held_out_images, training_images

Array = NDArray[np.float32]
Gradient = Callable[[Array, NDArray[np.int64]], Array]
BETAS, EPSILON = (0.9, 0.99), 1e-30


def one_thread() -> threadpool_limits:
    """Return a context in which NumPy multiplies matrices in one thread; the products are too small for several."""
    return threadpool_limits(1)


def forward(weights: tuple[Array, ...], images: Array) -> tuple[Array, Array]:
    """Return the hidden units (B, 32) and the logits (B, 10)."""
    w, b, v, c = weights
    hidden = np.maximum(images @ w + b, 0)
    return hidden, hidden @ v + c


def softmax_gradient(logits: Array, labels: NDArray[np.int64]) -> Array:
    """Return softmax minus one-hot in the dtype of the logits: the gradient that frameworks compute."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    p[np.arange(len(p)), labels] -= p.dtype.type(1)
    return p


def steps(gradient: Gradient, count: int, rate: float = 0.003, seed: int = 0) -> Iterator[tuple[Array, ...]]:
    """Yield the weights before each step of Adam on all training images, in float32.

    Args:
        count: how many weights to yield.
        gradient: takes logits (B, 10) and labels (B,), and returns the slopes of the summed loss.
        rate: the learning rate; there is no weight decay.
        seed: of the start.
    """
    weights = Task("two-layer", "float32", (rate,), 0, seed).start()
    means, squares = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    for number in range(1, count + 1):
        yield weights
        weights = _moved(weights, slopes(weights, gradient), means, squares, rate, number)


def slopes(weights: tuple[Array, ...], gradient: Gradient) -> tuple[Array, ...]:
    """Return the gradient of the mean loss of all training images with respect to the weights."""
    images, labels = training()
    hidden, logits = forward(weights, images)
    slope = gradient(logits, labels).astype(np.float32) / np.float32(len(labels))
    back = np.where(hidden > 0, slope @ weights[2].T, np.float32(0))
    return images.T @ back, back.sum(axis=0), hidden.T @ slope, slope.sum(axis=0)


def _moved(
    weights: tuple[Array, ...],
    slopes: tuple[Array, ...],
    means: list[Array],
    squares: list[Array],
    rate: float,
    step: int,
) -> tuple[Array, ...]:
    """Return the weights after a step of Adam, whose running means are changed in place."""
    moved = []
    for i, (w, g) in enumerate(zip(weights, slopes, strict=True)):
        means[i] += np.float32(1 - BETAS[0]) * (g - means[i])
        squares[i] += np.float32(1 - BETAS[1]) * (g * g - squares[i])
        mean = means[i].astype(np.float64) / (1 - BETAS[0] ** step)
        square = squares[i].astype(np.float64) / (1 - BETAS[1] ** step)
        moved.append((w - rate * mean / (np.sqrt(square) + EPSILON)).astype(np.float32))
    return tuple(moved)


@lru_cache
def train(count: int) -> tuple[Array, ...]:
    """Return the weights after so many steps with float32's softmax."""
    with one_thread():
        *_, last = steps(softmax_gradient, count + 1)
    return last


@lru_cache
def training() -> tuple[Array, NDArray[np.int64]]:
    """Return the training images (1347, 64) in float32 and their labels (1347,)."""
    images, labels = training_images()
    return images.astype(np.float32), labels


def logits(weights: tuple[Array, ...]) -> NDArray[np.float64]:
    """Return the logits (1797, 10) of all images, as float64."""
    images = np.concatenate([training()[0], held_out_images()[0].astype(np.float32)])
    return forward(weights, images)[1].astype(np.float64)
