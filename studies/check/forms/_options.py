"""The loss options that a signature names, and the keywords of a call."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from ....cases import Case
from ....oracle import reference

REDUCTION = "reduction"
# The options of both the oracle and a case; a new one is checked automatically.
OPTIONS = tuple(
    name
    for name, p in inspect.signature(reference).parameters.items()
    if p.kind is inspect.Parameter.KEYWORD_ONLY and name in {f.name for f in fields(Case)}
)
# The names that libraries give to these options: Keras; flash-attention; flash-attention and Liger-Kernel; timm.
OTHER_NAMES = {
    "ignore_class": "ignore_index",
    "ignored_index": "ignore_index",
    "lse_square_scale": "z_loss",
    "smoothing": "label_smoothing",
}
# Passed if an option without a default is not under test.
NEUTRAL = {n: inspect.signature(reference).parameters[n].default for n in OPTIONS} | {"ignore_index": -100}


@dataclass(frozen=True, eq=False)
class CallOptions:
    """The options of one call: ``values`` without the reduction, arrays in the case's dtype.

    A reduction that is ``announced`` is what the loss always returns, rather than an option of the call.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    reduction: str = "none"
    announced: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The options that are set."""
        return (*self.values, *([REDUCTION] if self.reduced and not self.announced else []))

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
        return ", ".join([*texts, *([f"{REDUCTION}={self.reduction}"] if REDUCTION in self.names else [])])


PLAIN = CallOptions()


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of a function, or of a module's ``forward``; None if it has none."""
    forward = getattr(function, "forward", None)
    is_module = callable(forward) and not inspect.isroutine(function) and not inspect.isclass(function)
    called: Any = forward if is_module else function
    try:
        own = inspect.signature(called, follow_wrapped=False)
        # A wrapper with **kwargs takes the arguments of the wrapped function; any other has its own.
        forwards = any(p.kind is p.VAR_KEYWORD for p in own.parameters.values())
        return inspect.signature(called) if forwards else own
    except (TypeError, ValueError):
        return None


def option_named(name: str) -> str:
    """Return the option that a parameter of this name means; any other name unchanged."""
    return OTHER_NAMES.get(name, name)


def options_of(function: Callable[..., Any], fixed: Collection[str] = (), *, first: int = 2) -> tuple[str, ...]:
    """Return the options that a signature names, in the order of `OPTIONS`, without the ``fixed`` parameters."""
    names = {option_named(name) for name in named_parameters(function, first) if name not in fixed}
    return tuple(name for name in OPTIONS if name in names)


def keywords(
    function: Callable[..., Any], options: CallOptions, fixed: Collection[str] = (), *, first: int = 2
) -> dict[str, Any]:
    """Return the keywords of a call beside its ``first`` arguments: the set options that the function names.

    The user gives the ``fixed`` parameters. See `given_options`.
    """
    named = named_parameters(function, first).items()
    return given_options({name: (option_named(name), p) for name, p in named if name not in fixed}, options)


def given_options(parameters: Mapping[str, tuple[str, inspect.Parameter]], options: CallOptions) -> dict[str, Any]:
    """Return the options as keywords of a call, by the option and parameter of each name.

    A named reduction is always passed, since its default may be a mean. Other options that are not set keep their
    defaults.
    """
    given = {}
    for name, (option, parameter) in parameters.items():
        if option == REDUCTION:
            given[name] = options.reduction
        elif option in options.values:
            given[name] = options.values[option]
        elif option in OPTIONS and parameter.default is parameter.empty:
            given[name] = NEUTRAL[option]
    return given


def is_neutral(option: str, value: Any) -> bool:
    """Return whether a value of an option leaves the loss unchanged. No row has a negative index but an ignored one."""
    if option == "ignore_index":
        return value is None or (isinstance(value, int) and value < 0)
    if option == REDUCTION:
        return value in (None, "none")
    return value is None or bool(value == NEUTRAL[option]) or (option == "logit_scale" and value == 1)


def named_parameters(function: Callable[..., Any], first: int) -> dict[str, inspect.Parameter]:
    """Return the parameters that can be given by name, without the first ones, such as logits and targets."""
    signature = signature_of(function)
    if signature is None:
        return {}
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    skipped = [n for n, p in signature.parameters.items() if p.kind in positional][:first]
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {n: p for n, p in signature.parameters.items() if n not in skipped and p.kind in by_name}


def set_in(case: Case) -> tuple[str, ...]:
    """Return the options of a case."""
    return CallOptions(case.set_options, case.reduction).names
