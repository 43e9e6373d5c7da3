"""Templates for a program that calls a loss in a framework; `check` prints such a program for a failure."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Syntax:
    """The lines of a program as templates for `str.format`; the defaults are NumPy's.

    In the program ``loss`` is the loss, ``x`` and ``t`` are logits and targets, ``rows`` the row losses and
    ``gradient`` is the gradient.

    Attributes:
        imports: the first lines.
        imports_by_dtype: the line that follows for a dtype.
        array, targets: an array or targets from ``{numbers}``, nested lists, on ``{device}``; ``array`` also has
            ``{dtype}``.
        device: replaces ``{device}`` for a device ``{name}`` other than ``cpu``.
        calls: for each mode, the call of the loss with ``{x}``, ``{t}`` and ``{options}``.
        leaf: logits ``{x}`` that can be differentiated.
        tracked, untracked: the lines around a ``{call}`` with and without differentiation.
        ones, weighted, spread: an upstream gradient of ones, of an ``{array}`` of factors, of one ``{number}``.
        gradient: the gradient of ``rows`` under ``{upstream}``; of two gradients, the first replaces ``{repeatedly}``
            by ``repeatedly``.
        another_batch: the logits of ``x`` in the opposite order.
        another_call: a statement that uses the ``{call}`` on them.
        numbers: ``{array}`` as nested lists.
        transposed, strided, sliced: logits ``{x}`` (``{size}`` rows) in this memory layout.
        every_other: targets ``{t}`` (``{size}`` rows of ``{classes}``) that occupy every other element in memory.
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
