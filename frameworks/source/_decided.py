"""The values of expressions that can be decided while a function is inlined: tests, keywords and imports."""

import ast
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from ._definitions import NoSourceError
from ._trees import keywords_value
from ._values import Value, constant


def decide(  # noqa: PLR0911 - a return for each kind
    node: ast.expr, names: Mapping[str, Value], value_of: Callable[[ast.expr], Value]
) -> Value | None:
    """Return the value of an expression that its parts decide, or None.

    Decided are a test whether an array is None, an ``and`` or ``or`` whose first operands are known, keywords in
    braces, and an entry of keywords.

    Args:
        node: the expression.
        names: the variables in scope.
        value_of: the value of a part.
    """
    match node:
        case ast.Compare(left, [ast.Is() | ast.IsNot() as test], [ast.Constant(None)]):
            return constant(isinstance(test, ast.IsNot)) if value_of(left).is_array else None
        case ast.BoolOp(op, [first, *rest]):
            value = value_of(first)
            if value.known and rest and bool(value.value) is not isinstance(op, ast.Or):
                return value_of(rest[0] if len(rest) == 1 else ast.BoolOp(op, rest))
            return value if value.known else None
        case ast.Dict(keys, values):
            texts = [k.value for k in keys if isinstance(k, ast.Constant) and isinstance(k.value, str)]
            if len(texts) != len(keys):
                return None
            return keywords_value({text: value_of(part) for text, part in zip(texts, values, strict=True)})
        case ast.Subscript(ast.Name(name), ast.Constant(str(key))) if name in names:
            entries = names[name].parts
            return entries.get(key) if isinstance(entries, Mapping) else None
    return None


def imported(node: ast.Import | ast.ImportFrom, function: FunctionType) -> dict[str, Value]:
    """Return the names that an import statement of a function binds.

    Raises:
        NoSourceError: if the module is not installed.
    """
    package = function.__globals__.get("__package__")
    namespace: dict[str, Any] = {"__package__": package, "__name__": function.__module__}
    try:
        exec(ast.unparse(node), namespace)  # noqa: S102 - the function's own import
    except ImportError as error:
        raise NoSourceError(f"{error.name} is not installed") from error
    relative = isinstance(node, ast.ImportFrom) and node.level > 0
    names = [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    return {
        name: Value(None if relative else ast.Name(name, ast.Load()), known=True, value=namespace[name])
        for name in names
    }
