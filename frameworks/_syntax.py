"""Templates for a program that calls a loss in a framework; `check` and `reproduce` print such programs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core.formats import NARROW


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
        before_imports: for a mode, the lines before the imports of a program of `check`.
        calls: for each mode, the call of the loss with ``{x}``, ``{t}`` and ``{options}``.
        leaf: logits ``{x}`` that can be differentiated.
        tracked, untracked: the lines around a ``{call}`` with and without differentiation.
        ones, weighted, spread: an upstream gradient of ones, of an ``{array}`` of factors, of one ``{number}``.
        gradient: the gradient of ``rows`` under ``{upstream}``; of two gradients, the first replaces ``{repeatedly}``
            by ``repeatedly``.
        linear, linear_gradients: the lines around a ``{call}`` of a loss of hidden states that assign ``rows``, and
            its gradients by the ``{leaves}``, such as ``hidden, weight``, under ``{upstream}``. Empty without a
            derivative.
        linear_calls: for each other mode than ``eager``, the ``{call}`` as a function of its arrays ``{names}``.
        another_batch: the logits of ``x`` in the opposite order of all ``{axes}``, ``0, 1``; ``{reversed}`` is
            ``::-1, ::-1``.
        another_call: a statement that uses the ``{call}`` on them.
        numbers: ``{array}`` as nested lists.
        transposed, strided, sliced: logits ``{x}`` in this memory layout. ``{lead}`` are the sizes of all axes but the
            last; ``{outer}`` is empty for (B, C) and ``(0, 0), `` for three axes.
        every_other: targets ``{t}`` (the last axis of ``{size}``, in ``{classes}``) that occupy every other element in
            memory.
        tail, targets_tail: logits ``{x}`` and targets ``{t}`` without the first row of a longer batch.
        int32: targets ``{t}`` as 32-bit integers.
        apart: factors ``{array}`` that are not next to each other in memory.
        threads: the line that sets the number of threads to ``{count}``, if a process can; see `Framework.threads`.
        reversed_rows: ``x`` and ``t`` with their rows in reverse order.
        flat: losses ``{rows}`` of any shape with one axis.
        measured: for each mode, the lines that compute ``loss`` from ``x`` and ``t`` as `Framework.evaluate` does. The
            line ``{statements}`` stands for the lines before the expression ``{loss}``.
        differentiated: the lines that then compute ``gradient``, if `measured` does not compute it in
            the mode. Empty if a framework's gradients are written by hand.
        decorators: for each mode, the decorator of a function of ``x`` in that mode, for probabilities.
        linear_measured: `measured` for losses of hidden states, which compute ``loss`` from ``hidden``, ``weight``,
            ``t`` and perhaps ``bias``. ``{leaves}`` are the differentiated arrays, separated by commas.
        linear_differentiated: the lines that then compute the ``{gradients}``, which are ``gradient_hidden``,
            ``gradient_weight`` and perhaps ``gradient_bias``, if `linear_measured` does not.
        prepared: the lines after the imports that do what `Framework.prepare` does.
        on_cpu: the line that keeps a program on the CPU of a machine with an accelerator.
        settings: for a variable of `variants` that only LogitLab reads, the line that it stands for, with ``{value}``.
    """

    imports: tuple[str, ...] = ("import numpy as np",)
    before_imports: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    imports_by_dtype: Mapping[str, str] = field(
        default_factory=lambda: dict.fromkeys(("bfloat16", *NARROW), "import ml_dtypes")
    )
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
    linear: tuple[str, ...] = ("rows = {call}",)
    linear_gradients: str = ""
    linear_calls: Mapping[str, str] = field(default_factory=dict)
    another_batch: str = "x[{reversed}].copy()"
    another_call: str = "{call}"
    numbers: str = "np.asarray({array}).astype(float).tolist()"
    transposed: str = "np.ascontiguousarray({x}.mT).mT"
    strided: str = "np.pad({x}[..., None], ({outer}(0, 0), (0, 0), (0, 1))).reshape({lead}, -1)[..., ::2]"
    sliced: str = "np.pad({x}, ({outer}(1, 0), (3, 2)))[..., 1:, 3:-2]"
    every_other: str = "((np.repeat({t}, 2, -1) + np.arange(2 * {size}) % 2) % {classes})[..., ::2]"
    tail: str = "np.pad({x}, ((1, 0), (0, 0)))[1:]"
    targets_tail: str = "np.pad({t}, (1, 0))[1:]"
    int32: str = "{t}.astype('int32')"
    apart: str = "{array}"
    threads: str = ""
    reversed_rows: str = "x[::-1], t[::-1]"
    flat: str = "{rows}.reshape(-1)"
    measured: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"eager": ("{statements}", "loss = {loss}")}
    )
    differentiated: tuple[str, ...] = ()
    decorators: Mapping[str, str] = field(default_factory=dict)
    linear_measured: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"eager": ("{statements}", "loss = {loss}")}
    )
    linear_differentiated: tuple[str, ...] = ()
    prepared: tuple[str, ...] = ()
    on_cpu: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
