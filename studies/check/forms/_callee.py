"""The function that a check calls: the order of its arguments, and its keywords."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from ....core.errors import UsageError, format_error, short_repr
from ._factory import Factory
from ._form import CallForm, Returns
from ._options import (
    OPTIONS,
    PLAIN,
    REDUCTION,
    CallOptions,
    is_neutral,
    keywords,
    option_named,
    options_of,
    signature_of,
)

Convert = Callable[[Mapping[str, Any]], dict[str, Any]]

# If the first parameter has a name of targets and the second one of logits, a loss takes targets first.
TARGETS = frozenset({"y_true", "true", "labels", "label", "targets", "target", "t", "y"})
LOGITS = frozenset(
    {"y_pred", "pred", "logits", "logit", "input", "inputs", "output", "outputs", "raw_prediction", "scores", "x"}
)
# The reductions of a loss that returns rows, a mean or a sum; Keras names the mean differently.
_REDUCTIONS = {Returns.ROWS: ("none",), Returns.MEAN: ("mean", "sum_over_batch_size"), Returns.SUM: ("sum",)}
SAMPLE_CLASSES = 3  # of the instance of a factory whose signature is read


@dataclass(frozen=True, eq=False)
class Callee:
    """A function of the user that takes logits and targets, or a factory of one.

    Attributes:
        what: ``the loss`` or ``the gradient``, for messages.
        name: its name, for messages.
        function: the function or factory.
        form: how it is called.
    """

    what: str
    name: str
    function: Callable[..., Any]
    form: CallForm

    @property
    def of_loss(self) -> bool:
        """Whether it is the loss and not its gradient."""
        return self.what == "the loss"

    @cached_property
    def sample(self) -> Callable[..., Any]:
        """The function; of a factory, the one that it returns without options.

        Raises:
            UsageError: if a factory raises.
        """
        try:
            return self.instance(PLAIN, SAMPLE_CLASSES, dict)
        except Exception as error:  # the factory is the user's code
            raise UsageError(
                f"{self.name} raises {format_error(error)}; give the arguments that it needs in the parentheses"
            ) from error

    @property
    def options(self) -> tuple[str, ...]:
        """The options that it is measured with, in the order of `OPTIONS`."""
        named = {*options_of(self.sample, self.fixed), *self._factory_options}
        if self.form.dense:  # an ignored index is a class index
            named -= {"ignore_index"}
        if self.form.returns is not Returns.ROWS:  # a loss that always returns a mean or a sum has no other reduction
            named -= {REDUCTION}
        return tuple(name for name in OPTIONS if name in named)

    @cached_property
    def fixed(self) -> dict[str, Any]:
        """The keywords of a call that the user gives."""
        bound = self.sample.keywords if isinstance(self.sample, functools.partial) else {}
        return dict(bound) | self.set_keywords

    @property
    def set_keywords(self) -> dict[str, Any]:
        """The keywords that the user sets for every call; of a gradient, those that it takes."""
        if self.of_loss or (signature := signature_of(self.sample)) is None:
            return dict(self.form.keywords)
        takes_all = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        return {n: v for n, v in self.form.keywords.items() if takes_all or n in signature.parameters}

    @property
    def _factory_options(self) -> tuple[str, ...]:
        made = self.function
        return options_of(made.make, made.fixed, first=0) if isinstance(made, Factory) else ()

    def factory_keywords(self, options: CallOptions, classes: int) -> dict[str, Any]:
        """Return the keywords of a factory in addition to those that the user gives."""
        if not isinstance(self.function, Factory):
            return {}
        given = keywords(self.function.make, options, self.function.fixed, first=0)
        return given | self.function.sizes(classes)

    def call_keywords(self, options: CallOptions) -> dict[str, Any]:
        """Return the loss options as keywords of a call, beside those that the user gives."""
        given = keywords(self.sample, options, self.fixed)
        return {name: value for name, value in given.items() if option_named(name) not in self._factory_options}

    def takes(self, options: CallOptions) -> bool:
        """Return whether it takes all options that are set."""
        names = {*self.call_keywords(options), *self.factory_keywords(options, SAMPLE_CLASSES)}
        return set(options.names) <= {option_named(name) for name in names}

    @property
    def needs_classes(self) -> bool:
        """Whether a factory makes another loss for each number of classes."""
        return isinstance(self.function, Factory) and bool(self.function.sizes(SAMPLE_CLASSES))

    @cached_property
    def targets_first(self) -> bool:
        """Whether it takes targets before logits."""
        if self.form.targets_first is not None:
            return self.form.targets_first
        signature = signature_of(self.sample)
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names = [] if signature is None else [n for n, p in signature.parameters.items() if p.kind in positional]
        return len(names) > 1 and names[0].lower() in TARGETS and names[1].lower() in LOGITS

    def instance(self, options: CallOptions, classes: int, convert: Convert) -> Callable[..., Any]:
        """Return the function to call; ``convert`` turns options into the framework's arrays."""
        if not isinstance(self.function, Factory):
            return self.function
        found = self.function(**convert(self.factory_keywords(options, classes)))
        if not callable(found):
            raise TypeError(f"{self.name} makes {short_repr(found)}, which cannot be called")
        return cast(Callable[..., Any], found)

    def bound(self, options: CallOptions, classes: int, convert: Convert) -> Callable[[Any, Any], Any]:
        """Return a function of logits and targets that calls the user's."""
        try:
            function = self.instance(options, classes, convert)
        except Exception as error:  # an error of each call with these options
            return _raising(error)
        given, fixed, targets_first = self.call_keywords(options), self.set_keywords, self.targets_first
        output = self.form.output if self.of_loss else None
        negated = self.form.negate and self.of_loss
        if not (given or fixed or targets_first or negated or output is not None):
            return function

        def called(logits: Any, targets: Any) -> Any:
            both = (targets, logits) if targets_first else (logits, targets)
            more = fixed | convert(given) if given else fixed
            found = function(*both, **more)
            if output is not None:
                found = picked(found, output)
            return -found if negated else found

        return called

    def require_callable(self) -> None:
        """Raise a UsageError if it cannot be called with logits and targets, or sets an option itself."""
        expected = f"expected a function of {self.form.arguments}"
        if inspect.isclass(self.function):
            raise UsageError(
                f"{self.what} {self.name} is a class; give an instance, or factory=True for one with each option "
                f"(on the command line '{_public_module(self.function)}:{self.function.__qualname__}()')"
            )
        if not callable(self.function):
            raise UsageError(f"{self.what} is {short_repr(self.function)}; {expected}")
        signature = signature_of(self.sample)
        self._require_neutral()
        try:
            if signature is not None:
                signature.bind(None, None, **self.call_keywords(PLAIN), **self.set_keywords)
        except TypeError as error:
            raise UsageError(
                f"{self.what} {self.name}{signature} cannot be called with logits and targets ({error}); {expected}"
                f"{self._advice(signature)}"
            ) from error

    def _advice(self, signature: inspect.Signature | None) -> str:
        parameters = signature.parameters.values() if signature is not None else ()
        missing = [
            p.name for p in parameters if p.default is p.empty and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        wanted = [name for name in missing[2:] if name not in self.set_keywords]
        return f"; or set {', '.join(wanted)} with keywords (--set {wanted[0]}=VALUE)" if wanted else ""

    def _require_neutral(self) -> None:
        """Raise a UsageError for a loss option that the user sets: a check passes the options itself."""
        given = self.fixed | (self.function.fixed if isinstance(self.function, Factory) else {})
        for name, value in given.items():
            option = option_named(name)
            returned = option == REDUCTION and value in _REDUCTIONS[self.form.returns]
            if option in OPTIONS and not returned and not is_neutral(option, value):
                reduction = ', or give reduction="none" or --returns mean or sum' if option == REDUCTION else ""
                advice = f"leave it out, since the check passes the options itself{reduction}"
                raise UsageError(f"{self.what} {self.name} is given {name}={value!r}; {advice}")


def _raising(error: Exception) -> Callable[[Any, Any], Any]:
    def called(logits: Any, targets: Any) -> Any:
        raise error

    return called


def _public_module(found: type) -> str:
    """Return the shortest name of a module that has the class."""
    parts = found.__module__.split(".")
    names = [".".join(parts[: i + 1]) for i in range(len(parts))]
    having = (name for name in names if getattr(sys.modules.get(name), found.__name__, None) is found)
    return next(having, found.__module__)


def picked(found: Any, output: int | str | None) -> Any:
    """Return the loss in what a function returns.

    Raises:
        TypeError: if it has no such item.
    """
    if output is None:
        return found
    try:
        if isinstance(output, str) and not isinstance(found, Mapping):
            return getattr(found, output)
        return found[output]
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise TypeError(f"the loss is {type(found).__name__}, which has no output {output!r}") from error
