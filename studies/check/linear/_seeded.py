"""Seeded batches at sizes around the blocks of kernels, with biases and with each loss option."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....cases import LinearCase, make_linear
from ....core.options import as_layer_keywords

Float64 = NDArray[np.float64]

PREFIX = "check/linear_"
# Rows, features and classes: powers of two, one less and one more, and squares, whose transposes have the same shape.
SIZES = (
    (1, 1, 2), (1, 64, 32), (1, 65, 129), (1, 2, 1001), (2, 1, 33), (2, 63, 31), (2, 129, 3), (2, 64, 128),
    (3, 2, 127), (3, 65, 32), (3, 64, 33), (3, 1, 1001), (5, 5, 5), (7, 64, 129), (7, 63, 128), (7, 2, 3),
    (7, 129, 127), (16, 32, 32), (33, 33, 33), (65, 2, 31), (65, 64, 3), (65, 1, 129), (65, 65, 65),
)  # fmt: skip
WIDE = (3, 2, 50_257)
MANY_ROWS = (1_030, 2, 3)  # a running sum in float16 or bfloat16 loses the later rows
FEW_SIZES = ((1, 2, 33), (7, 8, 33), (5, 5, 5))  # where each shape is compiled, in every presentation
MORE_SIZES = ((2, 129, 3), (3, 2, 127), (7, 64, 129), (65, 1, 129))  # where each shape is compiled, in some
SPREADS = (1.0, 4.0, 16.0)  # the scales of the logits, in turn
EDGES = (0, 31, 32, 63, 64, 127, 128)  # classes at the edges of tiles
IGNORED = -100


def layer(rows: int, features: int, classes: int, spread: float, *, seed: int = 40) -> tuple[Float64, Float64]:
    """Return normal hidden states and a normal weight, with logits of scale ``spread``."""
    generator = np.random.Generator(np.random.Philox(key=[seed, (rows * 2**20 + features) * 2**20 + classes]))
    states = generator.standard_normal((rows, features))
    return states, spread / np.sqrt(features) * generator.standard_normal((classes, features))


def targets_at_edges(rows: int, classes: int) -> NDArray[np.int64]:
    """Return targets (B,): the last class, the first, and classes at the edges of tiles, in turn."""
    edges = [classes - 1, *(edge for edge in EDGES if edge < classes - 1)]
    return np.array([edges[i % len(edges)] for i in range(rows)])


def _case(name: str, why: str, states: Any, weight: Any, targets: Any, **options: Any) -> LinearCase:
    return make_linear(f"{PREFIX}{name}", why, states, weight, targets, **options)


@cache
def seeded_cases() -> tuple[LinearCase, ...]:
    """Return the batches without bias and without options."""
    return tuple(_seeded())


def _seeded() -> Iterator[LinearCase]:
    for i, (rows, features, classes) in enumerate((*SIZES, WIDE, *FEW_SIZES[:2])):
        spread = SPREADS[i % len(SPREADS)]
        states, weight = layer(rows, features, classes, spread)
        why = f"{rows} rows of {features} features and {classes} classes, with logits of scale {spread:g}."
        yield _case(f"b{rows}_h{features}_c{classes}", why, states, weight, targets_at_edges(rows, classes))
    yield from shaped_cases()


@cache
def shaped_cases() -> tuple[LinearCase, ...]:
    """Return the batches whose numbers have a pattern: many rows, rising and falling logits, and a sure target."""
    return tuple(_shaped())


def _shaped() -> Iterator[LinearCase]:
    rows, features, classes = MANY_ROWS
    states, weight = layer(rows, features, classes, 1.0)
    yield _case(
        "many_rows", "Positive features and one target: the terms of the weight's gradient have one sign.",
        np.abs(states), weight, [0] * rows,
    )  # fmt: skip
    states, weight = layer(7, 8, 33, 120.0)
    yield _case(
        "large", "Logits of scale 120: the exponential of a logit overflows in float32.", states, weight,
        targets_at_edges(7, 33),
    )  # fmt: skip
    states, weight = layer(7, 16, 129, 1.0)
    rising = np.linspace(-60.0, 60.0, 129)
    for name, slope in (("rising", rising), ("falling", -rising)):
        why = (
            f"Logits {name} by 120 along the classes: each tile changes the maximum of an online softmax, or none does."
        )
        yield _case(
            name, why, np.hstack([states, np.ones((7, 1))]), np.hstack([weight, slope[:, None]]),
            targets_at_edges(7, 129),
        )  # fmt: skip
    states, weight = layer(5, 16, 200, 1.0)
    sure = weight.copy()
    sure[150] = 0.0
    yield _case(
        "sure", "A sure target: the derivatives of the other classes are e^-9 and smaller, and matter together.",
        np.hstack([states, np.ones((5, 1))]), np.hstack([sure, np.where(np.arange(200) == 150, 14.0, 0.0)[:, None]]),
        [150] * 5,
    )  # fmt: skip


@cache
def bias_cases() -> tuple[LinearCase, ...]:
    """Return the batches with a bias."""
    found = []
    for rows, features, classes in ((1, 2, 33), (7, 16, 129), (5, 5, 5), (65, 2, 31), (3, 64, 1001)):
        states, weight = layer(rows, features, classes, 2.0)
        bias = 4.0 * layer(1, classes, 1, 1.0)[0][0]
        why = f"A bias of scale 4 for {classes} classes and {rows} rows."
        name = f"bias_b{rows}_h{features}_c{classes}"
        found.append(_case(name, why, states, weight, targets_at_edges(rows, classes), bias=bias))
    return tuple(found)


def option_cases(options: Sequence[str], *, bias: bool, reductions: Sequence[str]) -> tuple[LinearCase, ...]:
    """Return batches with each of the options, in each reduction, with a bias if the loss takes one."""
    found = []
    for reduction in reductions:
        for rows, features, classes in ((7, 16, 129), (66, 6, 33)):
            states, weight = layer(rows, features, classes, 3.0)
            targets = targets_at_edges(rows, classes)
            more: dict[str, Any] = {"reduction": reduction}
            if bias:
                more["bias"] = np.linspace(-2.0, 2.0, classes)
            for name, given, marked in _settings(options, targets, classes):
                why = f"{rows} rows with {name.replace('_', ' ')}, under the reduction {reduction}."
                case = f"{name}_{reduction}_b{rows}"
                found.append(_case(case, why, states, weight, marked, **more, **given))
    return tuple(found)


def _settings(
    options: Sequence[str], targets: NDArray[np.int64], classes: int
) -> Iterator[tuple[str, dict[str, Any], NDArray[np.int64]]]:
    """Yield the name of a setting, the options, and the targets."""
    values: dict[str, Any] = {
        "label_smoothing": 0.125,
        "weight": np.linspace(0.0, 2.0, classes)[::-1],
        "softcap": 4.0,
        "logit_scale": 0.25,
        "z_loss": 2.0**-6,
    }
    each = {name: value for name, value in values.items() if name in options}
    yield "plain", {}, targets
    for name, value in each.items():
        yield name, as_layer_keywords({name: value}), targets
    if "ignore_index" not in options:
        return
    rows = np.arange(len(targets))
    for name, ignored in (
        ("ignored_some", rows % 3 == 1),
        ("ignored_first", rows < (len(rows) + 1) // 2),
        ("ignored_all_but_the_last", rows < len(rows) - 1),
        ("ignored_all", rows >= 0),
    ):
        yield name, {"ignore_index": IGNORED}, np.where(ignored, IGNORED, targets)
    yield "ignored_class", {"ignore_index": 0}, targets  # a class that is ignored where it is a target
    if each:
        yield (
            "all_options",
            as_layer_keywords(each) | {"ignore_index": IGNORED},
            np.where(rows % 3 == 1, IGNORED, targets),
        )
