"""The function under check: the order of its arguments, and its keywords."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ....core.errors import UsageError, short_repr
from ..forms._callee import TARGETS
from ..forms._form import Returns
from ..forms._options import (
    OPTIONS,
    REDUCTION,
    CallOptions,
    given_options,
    named_parameters,
    option_named,
    signature_of,
)
from ._form import LinearForm

ARGUMENTS = ("hidden", "weight", "targets")
BIAS = "bias"
# The names of arguments in libraries. If the first three parameters have one of each kind, they give the order.
_NAMES = {
    "hidden": {"hidden", "hidden_states", "h", "x", "e", "input", "inputs", "_input", "features", "embeddings"},
    "weight": {"weight", "w", "c", "linear_weight", "lin_weight", "classifier", "kernel"},
    "targets": TARGETS,
}
_OTHER_NAMES = {"class_weight": "weight", "class_weights": "weight", "linear_bias": BIAS}


@dataclass(frozen=True, eq=False)
class LinearCallee:
    """A function of the user that takes hidden states, a weight and targets.

    Attributes:
        name: its name, for messages.
        function: the function.
        form: how it is called.
    """

    name: str
    function: Callable[..., Any]
    form: LinearForm

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The order of `ARGUMENTS` in its signature, by the names of its parameters."""
        signature = signature_of(self.function)
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = signature.parameters if signature is not None else {}
        first = [name for name, p in parameters.items() if p.kind in positional][: len(ARGUMENTS)]
        kinds = [next((kind for kind, names in _NAMES.items() if name.lower() in names), "") for name in first]
        return tuple(kinds) if sorted(kinds) == sorted(ARGUMENTS) else ARGUMENTS

    @cached_property
    def _further(self) -> dict[str, tuple[str, inspect.Parameter]]:
        """The further parameters by name: the option, or ``bias``, that each means."""
        named = named_parameters(self.function, len(ARGUMENTS))
        return {name: (_OTHER_NAMES.get(name, option_named(name)), p) for name, p in named.items()}

    @property
    def options(self) -> tuple[str, ...]:
        """The options that it is measured with, in the order of `OPTIONS`."""
        named = {option for option, _ in self._further.values()}
        if self.form.returns is not Returns.ROWS:  # a loss that always returns a mean or a sum has no other reduction
            named -= {REDUCTION}
        return tuple(name for name in OPTIONS if name in named)

    @property
    def takes_bias(self) -> bool:
        return any(option == BIAS for option, _ in self._further.values())

    @property
    def requires_bias(self) -> bool:
        return any(option == BIAS and p.default is p.empty for option, p in self._further.values())

    def bias_name(self) -> str:
        """Return the name of the parameter that takes the bias."""
        return next(name for name, (option, _) in self._further.items() if option == BIAS)

    def keywords(self, options: CallOptions) -> dict[str, Any]:
        """Return the options as keywords of a call, without the bias; see `given_options`."""
        return given_options(self._further, options)

    def bound(self, options: CallOptions, convert: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., Any]:
        """Return a function of ``hidden``, ``weight``, ``targets`` and ``bias``, by name, that calls the user's."""
        given, function, order = self.keywords(options), self.function, self.order
        bias_name = self.bias_name() if self.takes_bias else BIAS

        def called(bias: Any = None, **arrays: Any) -> Any:
            more = convert(given)
            if bias is not None:
                more[bias_name] = bias
            return function(*(arrays[name] for name in order), **more)

        return called

    def require_callable(self) -> None:
        """Raise a UsageError if it cannot be called with hidden states, a weight and targets."""
        expected = f"expected a function of {self.form.arguments}"
        if inspect.isclass(self.function):
            raise UsageError(f"the loss {self.name} is a class; {expected}, such as an instance of the class")
        if not callable(self.function):
            raise UsageError(f"the loss is {short_repr(self.function)}; {expected}")
        signature = signature_of(self.function)
        if signature is None:
            return
        bias = {self.bias_name(): None} if self.requires_bias else {}
        try:
            signature.bind(*ARGUMENTS, **self.keywords(self.form.plain_options), **bias)
        except TypeError as error:
            raise UsageError(
                f"the loss {self.name}{signature} cannot be called with hidden states, weight and targets ({error}); "
                f"{expected}"
            ) from error
