"""A factory: a class or function that takes loss options and returns the loss, such as ``CrossEntropyLoss``."""

import ast
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ....core.errors import UsageError, format_error

CLASSES = ("n_classes", "num_classes")  # parameters of a factory that get the number of classes


@dataclass(frozen=True)
class Expression:
    """The part after the colon of ``MODULE:NAME``, ``MODULE:NAME(arguments)`` or ``MODULE:NAME(arguments).attribute``.

    Attributes:
        name: the dotted name of the function or class.
        call: the literal arguments as positional and keyword arguments; None without parentheses.
        attribute: the dotted name after the parentheses, or an empty string.
    """

    name: str
    call: tuple[tuple[Any, ...], dict[str, Any]] | None
    attribute: str

    @property
    def title(self) -> str:
        """The expression without its arguments: ``HalfMultinomialLoss().loss``."""
        return self.name + ("" if self.call is None else "()") + (f".{self.attribute}" if self.attribute else "")


@dataclass(frozen=True, eq=False)
class Factory:
    """A factory with the arguments that the user gives it.

    Attributes:
        make: the class or function.
        arguments, keywords: its first arguments.
        attribute: the dotted name of the loss in what it returns; empty if it returns the loss.
    """

    make: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    attribute: str = ""

    def __call__(self, **options: Any) -> Any:
        """Return the loss with these options."""
        found = self.make(*self.arguments, **self.keywords, **options)
        for part in self.attribute.split(".") if self.attribute else ():
            found = getattr(found, part)
        return found

    @property
    def fixed(self) -> dict[str, Any]:
        """The parameters that the user gives, by name."""
        try:
            return dict(inspect.signature(self.make).bind_partial(*self.arguments, **self.keywords).arguments)
        except (TypeError, ValueError):
            return dict(self.keywords)

    def sizes(self, classes: int) -> dict[str, int]:
        """Return the keywords for the number of classes, if the factory names any that the user does not give."""
        try:
            names = inspect.signature(self.make).parameters
        except (TypeError, ValueError):
            return {}
        return {name: classes for name in CLASSES if name in names and name not in self.fixed}


def as_factory(found: Any) -> Any:
    """Return a class or function as a factory; a factory, and what cannot be called, unchanged."""
    return found if isinstance(found, Factory) or not callable(found) else Factory(found)


def made(found: Any) -> Any:
    """Return what a factory makes without further options; anything else unchanged.

    Raises:
        UsageError: if the factory raises.
    """
    if not isinstance(found, Factory):
        return found
    try:
        return found()
    except Exception as error:  # the factory is the user's code
        raise UsageError(f"{name_of(found)} raises {format_error(error)}; give the arguments that it needs") from error


def name_of(function: Any) -> str:
    """Return the name of a function, of what a partial calls, or of the class of a callable object."""
    if isinstance(function, Factory):
        return f"{name_of(function.make)}()"
    if isinstance(function, functools.partial):
        return name_of(function.func)
    return str(getattr(function, "__qualname__", type(function).__name__))


def parse(text: str) -> Expression:
    """Return the parts of ``NAME``, ``NAME(arguments)`` or ``NAME(arguments).attribute``.

    Raises:
        UsageError: for anything else, such as an argument that is not a literal.
    """
    expected = "expected NAME, or NAME(argument=literal), such as CrossEntropyLoss(reduction='none')"
    try:
        node: ast.expr = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise UsageError(f"{text!r} cannot be read ({error.msg}); {expected}") from error
    after, call = _dotted(node)
    if call is None:
        return Expression(after, None, "")
    if not isinstance(call, ast.Call):
        raise UsageError(f"{text!r} is not a name; {expected}")
    name, rest = _dotted(call.func)
    if rest is not None or any(keyword.arg is None for keyword in call.keywords):
        raise UsageError(f"{text!r} is not one call of a name; {expected}")
    arguments = tuple(literal(ast.unparse(value)) for value in call.args)
    keywords = {str(keyword.arg): literal(ast.unparse(keyword.value)) for keyword in call.keywords}
    return Expression(name, (arguments, keywords), after)


def _dotted(node: ast.expr) -> tuple[str, ast.expr | None]:
    """Return the names at the end of ``a.b.c`` or ``a().b.c``, and the call before them or None."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        return ".".join([node.id, *reversed(parts)]), None
    return ".".join(reversed(parts)), node


def literal(text: str) -> Any:
    """Return the value of a Python literal.

    Raises:
        UsageError: for anything else.
    """
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError) as error:
        raise UsageError(
            f"{text} is not a Python literal; give a number, True, False, None, or a string in quotes such as 'none'"
        ) from error
