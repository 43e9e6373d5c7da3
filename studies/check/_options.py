"""The loss options that a signature names, and how a loss is called with them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from ...cases import Case
from ...oracle import reference

REDUCTION = "reduction"
# What the oracle can be asked and a case can have: an option that joins both joins the check.
OPTIONS = tuple(
    name
    for name, p in inspect.signature(reference).parameters.items()
    if p.kind is inspect.Parameter.KEYWORD_ONLY and name in {f.name for f in fields(Case)}
)
# Given to a loss whose signature names an option without a default, where the option is not tried.
_NEUTRAL = {n: inspect.signature(reference).parameters[n].default for n in OPTIONS} | {"ignore_index": -100}


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
    given = {}
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


def set_in(case: Case) -> tuple[str, ...]:
    """The options of a case."""
    return CallOptions(case.set_options, case.reduction).names
