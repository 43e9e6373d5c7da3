"""The loss options that a signature names, and the keywords of a call."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from ...cases import Case
from ...oracle import reference

REDUCTION = "reduction"
# The options of both the oracle and a case; a new one is checked automatically.
OPTIONS = tuple(
    name
    for name, p in inspect.signature(reference).parameters.items()
    if p.kind is inspect.Parameter.KEYWORD_ONLY and name in {f.name for f in fields(Case)}
)
# Passed if an option without a default is not under test.
_NEUTRAL = {n: inspect.signature(reference).parameters[n].default for n in OPTIONS} | {"ignore_index": -100}


@dataclass(frozen=True, eq=False)
class CallOptions:
    """The options of one call: ``values`` without the reduction, arrays in the case's dtype."""

    values: Mapping[str, Any] = field(default_factory=dict)
    reduction: str = "none"

    @property
    def names(self) -> tuple[str, ...]:
        """The options that are set."""
        return (*self.values, *([REDUCTION] if self.reduced else []))

    @property
    def reduced(self) -> bool:
        return self.reduction != "none"

    @property
    def key(self) -> tuple[Any, ...]:
        """A key that is equal for equal options."""
        values = (
            (k, v.tobytes(), v.dtype.name) if isinstance(v, np.ndarray) else (k, v) for k, v in self.values.items()
        )
        return (self.reduction, *values)

    def __str__(self) -> str:
        texts = [k if isinstance(v, np.ndarray) else f"{k}={v:g}" for k, v in self.values.items()]
        return ", ".join([*texts, *([f"{REDUCTION}={self.reduction}"] if self.reduced else [])])


PLAIN = CallOptions()


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of a function, or of a module's ``forward``; None if it has none."""
    forward = getattr(function, "forward", None)
    called = forward if callable(forward) and not inspect.isroutine(function) else function
    try:
        own = inspect.signature(called, follow_wrapped=False)
        # A wrapper with **kwargs takes the arguments of the wrapped function; any other has its own.
        forwards = any(p.kind is p.VAR_KEYWORD for p in own.parameters.values())
        return inspect.signature(called) if forwards else own
    except (TypeError, ValueError):
        return None


def options_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the options that a signature names, in the order of `OPTIONS`."""
    return tuple(name for name in OPTIONS if name in _parameters(function))


def keywords(function: Callable[..., Any], options: CallOptions) -> dict[str, Any]:
    """Return the keywords of a call beside logits and targets: the set options that the function names.

    A named reduction is always passed, since its default may be a mean. Other options that are not set keep their
    defaults.
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
    """Return the parameters that can be given by name, without the first two, logits and targets."""
    signature = signature_of(function)
    if signature is None:
        return {}
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    first = [n for n, p in signature.parameters.items() if p.kind in positional][:2]
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {n: p for n, p in signature.parameters.items() if n not in first and p.kind in by_name}


def set_in(case: Case) -> tuple[str, ...]:
    """Return the options of a case."""
    return CallOptions(case.set_options, case.reduction).names
