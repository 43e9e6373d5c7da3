"""Syntax trees of functions: copies with changed parts, definitions, and statements that nothing uses."""

import ast
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from types import FunctionType
from typing import Any

from ._values import Value, constant


class NotInlineError(Exception):
    """A function has a statement that is not inlined; its definition is copied."""


def without_unused(statements: Sequence[ast.stmt], results: Sequence[ast.expr]) -> list[ast.stmt]:
    """Return the statements without assignments to names that nothing uses."""
    kept: list[ast.stmt] = []
    used = {n.id for r in results for n in ast.walk(r) if isinstance(n, ast.Name)}
    for node in reversed(statements):
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id not in used:
            continue
        used |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        kept.append(node)
    return kept[::-1]


def copied(node: ast.expr, change: Callable[[ast.expr], ast.expr]) -> ast.expr:
    """Return the expression with its parts changed."""

    def visit(child: Any) -> Any:
        if isinstance(child, ast.comprehension | ast.Starred | ast.keyword | ast.JoinedStr):
            return _rebuilt(child, visit)
        if isinstance(child, ast.FormattedValue):
            return ast.FormattedValue(visit(child.value), child.conversion, child.format_spec)
        if isinstance(child, ast.Constant) or isinstance(getattr(child, "ctx", None), ast.Store):
            return child
        return change(child) if isinstance(child, ast.expr) else child

    copy: ast.expr = _rebuilt(node, visit)
    return copy


def _rebuilt(node: Any, visit: Callable[[Any], Any]) -> Any:
    changed = {
        name: [visit(v) for v in value] if isinstance(value, list) else visit(value)
        for name, value in ast.iter_fields(node)
    }
    return type(node)(**changed)


def evaluated(called: Any, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value | None:
    """Return the value of a call with known arguments; None if it raises, as the program then shows."""
    try:
        return constant(called(*(v.value for v in arguments), **{k: v.value for k, v in keywords.items()}))
    except Exception:  # a framework may raise anything
        return None


def plain_defaults(called: Any) -> Mapping[str, Any]:
    """Return the defaults of a framework's function that a call may leave out: None, True, False and 0."""
    # Objects are not kept, since a loss may create one for each call.
    return _defaults_of_function(called) if isinstance(called, FunctionType) else _plain_defaults(called)


def _plain_defaults(called: Any) -> Mapping[str, Any]:
    try:
        parameters = inspect.signature(called).parameters
    except (TypeError, ValueError):
        return {}
    return {
        name: p.default
        for name, p in parameters.items()
        if any(p.default is plain for plain in (None, True, False)) or p.default == 0.0
    }


_defaults_of_function = lru_cache(1024)(_plain_defaults)


def keywords_value(given: Mapping[str, Value]) -> Value:
    return Value(None, known=True, value={k: v.value for k, v in given.items()}, parts=dict(given))


@cache
def definition_of(function: FunctionType) -> ast.FunctionDef:
    """Return the tree of a function's definition, which nobody changes.

    Raises:
        NotInlineError: if there is no source, or a decorator changes the result.
    """
    try:
        (node,) = ast.parse(_source(function)).body
    except (OSError, TypeError, SyntaxError, ValueError) as error:
        raise NotInlineError from error
    if not isinstance(node, ast.FunctionDef) or any(_kept(d) for d in node.decorator_list):
        raise NotInlineError
    return node


@cache
def signature_of(function: FunctionType) -> inspect.Signature:
    return inspect.signature(function)


@cache
def times_used(function: FunctionType) -> Counter[str]:
    """Return how often the function's definition has each name."""
    return Counter(n.id for n in ast.walk(definition_of(function)) if isinstance(n, ast.Name))


@cache
def _source(function: FunctionType) -> str:
    return textwrap.dedent(inspect.getsource(function))


def _kept(decorator: ast.expr) -> bool:
    """Return whether a decorator changes the result; a cache and a static method do not."""
    return ast.unparse(decorator) not in ("cache", "staticmethod", "functools.cache")
