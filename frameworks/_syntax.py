"""How a program that calls a loss is written in a framework: `check` prints one that shows a failure."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Syntax:
    """The lines of a program as templates for `str.format`; the defaults are NumPy's.

    In the program ``loss`` is the loss, ``x`` and ``t`` are logits and targets, ``rows`` the row losses and
    ``gradient`` is the gradient.

    Attributes:
        imports: lines.
        imports_by_dtype: lines after them.
        array, targets: from ``{numbers}``, nested lists, with ``{device}``; an array also of ``{dtype}``.
        device: what ``{device}`` becomes for a ``{name}`` other than ``cpu``.
        calls: by mode, the loss called with ``{x}``, ``{t}`` and ``{options}``.
        leaf: logits ``{x}`` that are differentiated.
        tracked, untracked: the lines around a ``{call}`` that is differentiated, and around one that is not.
        ones, weighted, spread: an upstream gradient of ones, of an ``{array}`` of factors, of one ``{number}``.
        gradient: of ``rows`` under ``{upstream}``; ``{repeatedly}`` becomes ``repeatedly`` in the first of two.
        another_batch: logits that come from ``x`` in the opposite order.
        another_call: what is done with the ``{call}`` on them.
        numbers: ``{array}`` as nested lists.
        transposed, strided, sliced: logits ``{x}`` (``{size}`` rows) that lie so in memory.
        every_other: targets ``{t}`` (``{size}`` rows of ``{classes}``) that are every other number of their memory.
    """

    imports: tuple[str, ...] = ("import numpy as np",)
    imports_by_dtype: Mapping[str, str] = field(default_factory=lambda: {"bfloat16": "import ml_dtypes"})
    array: str = "np.array({numbers}, '{dtype}')"
    targets: str = "np.array({numbers})"
    device: str = ""
    calls: Mapping[str, str] = field(default_factory=lambda: {"eager": "loss({x}, {t}{options})"})
    leaf: str = "{x}"
    tracked: tuple[str, ...] = ("rows = {call}",)
    untracked: tuple[str, ...] = ("rows = {call}",)
    ones: str = ""
    weighted: str = "{array}"
    spread: str = ""
    gradient: str = ""
    repeatedly: str = ""
    another_batch: str = "x[::-1, ::-1].copy()"
    another_call: str = "{call}"
    numbers: str = "np.asarray({array}).astype(float).tolist()"
    transposed: str = "np.asfortranarray({x})"
    strided: str = "np.pad({x}[..., None], ((0, 0), (0, 0), (0, 1))).reshape({size}, -1)[:, ::2]"
    sliced: str = "np.pad({x}, ((1, 0), (3, 2)))[1:, 3:-2]"
    every_other: str = "((np.repeat({t}, 2) + np.arange(2 * {size}) % 2) % {classes})[::2]"
