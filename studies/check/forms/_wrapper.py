"""The lines of a program that define a loss as LogitLab calls it: ``loss(x, t)`` to the row losses (B,)."""

from collections.abc import Callable
from typing import Any

from ._callee import Callee
from ._factory import Factory
from ._form import Layout
from ._options import CallOptions

Literal = Callable[[Any], str]


def needs_wrapper(callee: Callee) -> bool:
    """Return whether a call is more than ``function(x, t, options)``."""
    form = callee.form
    shaped = callee.of_loss and (form.output is not None or form.negate or form.layout is not Layout.BC)
    return isinstance(callee.function, Factory) or callee.targets_first or bool(callee.set_keywords) or shaped


def wrapper(
    callee: Callee, options: CallOptions, classes: int, literal: Literal, flat: str, *, name: str, imported: str
) -> list[str]:
    """Return lines that define ``name`` as a function of ``x`` and ``t`` that calls the function ``imported``.

    Args:
        callee: the function.
        options: the loss options of the call.
        classes: the number of classes, for a factory.
        literal: returns the code of an option's value.
        flat: a template for ``{rows}`` with one axis.
        name: the name to define.
        imported: the name under which the function is imported.
    """
    lines, function = [], imported
    if isinstance(callee.function, Factory):
        made, more = callee.function, callee.factory_keywords(options, classes)
        attribute = f".{made.attribute}" if made.attribute else ""
        given = [*map(repr, made.arguments), *_keywords(dict(made.keywords) | more, literal)]
        function = f"{name}_made"
        lines.append(f"{function} = {imported}({', '.join(given)}){attribute}")
    arguments = ["t", "x"] if callee.targets_first else ["x", "t"]
    arguments += _keywords(callee.set_keywords | callee.call_keywords(options), literal)
    result = f"{function}({', '.join(arguments)})"
    lines.append(f"def {name}(x, t):")
    form = callee.form
    if not callee.of_loss:
        return [*lines, f"    return {result}"]
    if isinstance(form.output, str):
        lines.append(f"    found = {result}")
        result = f"(found[{form.output!r}] if hasattr(found, 'keys') else found.{form.output})"
    elif form.output is not None:
        result = f"{result}[{form.output}]"
    result = f"-{result}" if form.negate else result
    if form.layout is not Layout.BC and not options.reduced:
        result = flat.format(rows=f"({result})" if form.negate else result)
    return [*lines, f"    return {result}"]


def _keywords(given: dict[str, Any], literal: Literal) -> list[str]:
    return [f"{name}={literal(value)}" for name, value in given.items()]
