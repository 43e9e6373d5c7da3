"""The loss options that a signature names: how a loss is called with them, and the rows that try them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

import numpy as np

from ...cases import Case, all_cases, make
from ...core.errors import UsageError, short_repr
from ...oracle import reference
from ._extra import kinds

REDUCTION = "reduction"
# What the oracle can be asked and a case can have: an option that joins both joins the check.
OPTIONS = tuple(
    name
    for name, p in inspect.signature(reference).parameters.items()
    if p.kind is inspect.Parameter.KEYWORD_ONLY and name in {f.name for f in fields(Case)}
)
# Given to a loss whose signature names an option without a default, where the option is not tried.
_NEUTRAL = {n: inspect.signature(reference).parameters[n].default for n in OPTIONS} | {"ignore_index": -100}

WIDTHS = (1, 2, 3, 5, 33, 300)  # of the seeded rows; one that is not a power of two has a kernel pad its row
REDUCED_WIDTHS = (3, 33)


@dataclass(frozen=True, eq=False)
class CallOptions:
    """The options of one call: ``values`` without the reduction, arrays in the case's dtype."""

    values: Mapping[str, Any] = field(default_factory=dict)
    reduction: str = "none"

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are set."""
        return (*self.values, *([REDUCTION] if self.reduced else []))

    @property
    def reduced(self) -> bool:
        return self.reduction != "none"

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for options of equal value."""
        values = (
            (k, v.tobytes(), v.dtype.name) if isinstance(v, np.ndarray) else (k, v) for k, v in self.values.items()
        )
        return (self.reduction, *values)

    def __str__(self) -> str:
        words = [k if isinstance(v, np.ndarray) else f"{k}={v:g}" for k, v in self.values.items()]
        return ", ".join([*words, *([f"{REDUCTION}={self.reduction}"] if self.reduced else [])])


PLAIN = CallOptions()


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """The signature, of a module's ``forward`` where the call itself takes anything; None if it tells none."""
    forward = getattr(function, "forward", None)
    called = forward if callable(forward) and not inspect.isroutine(function) else function
    try:
        own = inspect.signature(called, follow_wrapped=False)
        # A wrapper that hands on whatever it is given takes what the wrapped function does, and no other.
        hands_on = any(p.kind is p.VAR_KEYWORD for p in own.parameters.values())
        return inspect.signature(called) if hands_on else own
    except (TypeError, ValueError):
        return None


def options_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The options that a signature names, in the order of `OPTIONS`."""
    return tuple(name for name in OPTIONS if name in _parameters(function))


def keywords(function: Callable[..., Any], options: CallOptions) -> dict[str, Any]:
    """What the function is given beside logits and targets: the options that are set and that it names.

    The reduction is always given where it is named, since its default may be a mean; any other option that is not set
    is left to its default.
    """
    given: dict[str, Any] = {}
    for name, parameter in _parameters(function).items():
        if name == REDUCTION:
            given[name] = options.reduction
        elif name in options.values:
            given[name] = options.values[name]
        elif name in OPTIONS and parameter.default is parameter.empty:
            given[name] = _NEUTRAL[name]
    return given


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Those that can be given by name, without the first two, which are logits and targets."""
    signature = signature_of(function)
    if signature is None:
        return {}
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    first = [n for n, p in signature.parameters.items() if p.kind in positional][:2]
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {n: p for n, p in signature.parameters.items() if n not in first and p.kind in by_name}


def must_be_callable(function: Any, what: str, name: str) -> None:
    """Refuses what cannot be called with logits and targets.

    Raises:
        UsageError: for a value that is no function, a class, or a signature that does not take two arguments.
    """
    expected = "expected a function of logits (B, C) and targets (B,)"
    if inspect.isclass(function):
        raise UsageError(f"{what} {name} is a class; {expected}, or an instance that can be called")
    if not callable(function):
        raise UsageError(f"{what} is {short_repr(function)}; {expected}")
    signature = signature_of(function)
    try:
        if signature is not None:
            signature.bind(None, None, **keywords(function, PLAIN))
    except TypeError as error:
        raise UsageError(
            f"{what} {name}{signature} cannot be called with logits and targets ({error}); {expected}"
        ) from error


# --- the rows ---------------------------------------------------------------------------------------------------


def set_in(case: Case) -> tuple[str, ...]:
    """The options of a case."""
    return CallOptions(case.set_options, case.reduction).names


def option_cases(names: Sequence[str]) -> Iterator[Case]:
    """Seeded rows under each option, under all of them together, and reduced."""
    values = [name for name in names if name in ("weight", "ignore_index") or (name != REDUCTION and _catalogued(name))]
    together = [(), *((name,) for name in values), *([tuple(values)] if len(values) > 1 else [])]
    for place, width in enumerate(WIDTHS):
        yield from (_seeded(width, place, some, "none") for some in together if some)
        if REDUCTION in names and width in REDUCED_WIDTHS:
            yield from (_seeded(width, place, some, how) for some in together for how in ("mean", "sum"))


def _seeded(width: int, place: int, names: Collection[str], reduction: str) -> Case:
    rng = np.random.default_rng([width, 2])
    rows = [(row, target) for row, target in kinds(width, rng) if not np.isnan(row).any()]
    if reduction != "none":  # a reduced loss that is infinite says little of its rows
        rows = [(row, target) for row, target in rows if np.isfinite(row).all()]
    logits, targets = np.array([row for row, _ in rows]), np.array([target % width for _, target in rows])
    options: dict[str, Any] = {name: _value(name, width, place, rng) for name in names}
    if "ignore_index" in options:
        targets[::3] = options["ignore_index"]
    few = ["options"] if len(names) > 1 else list(names)
    words = "_".join([*few, *([reduction] if reduction != "none" else [])])
    why = f"Rows of {width} classes with {', '.join([*names, reduction])}."
    return make(f"check/{words}_{width}", why, logits, targets, reduction=reduction, tags=("seeded",), **options)


def _value(name: str, width: int, place: int, rng: np.random.Generator) -> Any:
    """A value of an option: a seeded one where it depends on the rows, else one that the catalogue has.

    The smallest and the largest are left to the catalogue's rows, which are made for them.
    """
    if name == "weight":
        # Not 0: times the infinite loss of a masked target it would be a question of taste.
        return rng.integers(4, 33, size=width) / 16
    if name == "ignore_index":
        return -100 if place % 2 else width - 1 if width > 1 else -100
    known = _catalogued(name)
    known = known[1:-1] or known
    return known[place % len(known)]


@cache
def _catalogued(name: str) -> tuple[float, ...]:
    """The values of an option that the catalogue's cases have."""
    return tuple(sorted({float(getattr(case, name)) for case in all_cases() if name in set_in(case)}))
