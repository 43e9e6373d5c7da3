"""Inline the call of a function: branches that its arguments decide are resolved, and helpers become their lines."""

import ast
import builtins
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FunctionType, MethodType, ModuleType
from typing import Any

from ._decided import decide, imported
from ._definitions import Definitions, NoSourceError, imports_of, is_own
from ._trees import (
    NotInlineError,
    copied,
    definition_of,
    evaluated,
    keywords_value,
    plain_defaults,
    signature_of,
    times_used,
    without_unused,
)
from ._values import OF_ARRAYS, Inlined, Value, constant, is_literal, variable

Env = dict[str, Value]


def inlined(
    function: Callable[..., Any],
    definitions: Definitions,
    modules: tuple[str, ...],
    taken: set[str],
    arguments: Sequence[Value],
    keywords: Mapping[str, Value],
) -> Inlined:
    """Return the call of a function with these arguments as lines of a program.

    Args:
        function: the function that is measured.
        definitions: receives the imports and the definitions that the lines need.
        modules: the modules below whose imports public names are looked for.
        taken: the names of the program's variables; those of the lines are added.
        arguments: the positional arguments.
        keywords: the keyword arguments.

    Raises:
        NoSourceError: if the function's source is not available, or the call is not made.
    """
    inliner = _Inliner(definitions, modules, taken)
    value = inliner.call(constant(function), arguments, keywords)
    parts = value.parts if isinstance(value.parts, tuple) else ()
    nodes = [inliner.code(v) for v in parts or (value,)]
    statements = without_unused(inliner.statements, nodes)
    last = statements[-1] if statements else None
    if isinstance(last, ast.Assign) and len(nodes) == 1 and ast.unparse(last.targets[0]) == ast.unparse(nodes[0]):
        nodes = [statements.pop().value]  # type: ignore[attr-defined] # an assignment
    results = [ast.unparse(node) for node in nodes]
    lines = [line for node in statements for line in ast.unparse(ast.fix_missing_locations(node)).splitlines()]
    return Inlined(tuple(lines), ", ".join(results), value)


@dataclass
class _Scope:
    """The names of a function: its variables, and the function itself for all others."""

    function: FunctionType
    names: Env

    def has_parts(self, name: ast.Name) -> bool:
        return name.id in self.names and self.names[name.id].parts is not None


class _Inliner:
    def __init__(self, definitions: Definitions, modules: tuple[str, ...], taken: set[str]) -> None:
        self.definitions, self.modules, self._taken = definitions, modules, taken
        self.statements: list[ast.stmt] = []

    # --- code ---------------------------------------------------------------------------------------------------

    def code(self, value: Value) -> ast.expr:
        """Return the code of a value."""
        if value.is_literal:
            return ast.parse(repr(value.value), mode="eval").body
        if value.node is not None:
            return value.node
        own = self.definitions.own_name(value.value, self.modules)
        return self.definitions.public_name(value.value, self.modules) if own is None else own

    def _bind(self, name: str, value: Value) -> Value:
        """Return a value that may stand in several places: itself, or a new variable."""
        if value.is_simple or (value.known and value.node is None) or value.parts is not None:
            return value
        return self._assigned(name, value)

    def _assigned(self, name: str, value: Value) -> Value:
        fresh, number = name.strip("_"), 2
        while fresh in self._taken:
            fresh, number = f"{name.strip('_')}{number}", number + 1
        self._taken.add(fresh)
        self.statements.append(ast.Assign([ast.Name(fresh, ast.Store())], self.code(value), lineno=0))
        return replace(value, node=ast.Name(fresh, ast.Load()))

    # --- calls --------------------------------------------------------------------------------------------------

    def call(self, function: Value, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        """Return the value of a call; that of an own function is inlined."""
        called = function.value if function.known else None
        if isinstance(called, functools._lru_cache_wrapper):  # a cache does not change the result
            called = called.__wrapped__
        if isinstance(called, MethodType) and is_own(called.__func__, self.definitions.packages):
            arguments, called = [constant(called.__self__), *arguments], called.__func__
        given = [*arguments, *keywords.values()]
        if function.known and all(v.known and v.parts is None for v in given):
            found = evaluated(called, arguments, keywords)
            if found is not None and (is_literal(found.value) or isinstance(found.value, ModuleType)):
                return found
        if isinstance(called, FunctionType) and is_own(called, self.definitions.packages):
            mark = len(self.statements)
            try:
                return self._inline(called, arguments, keywords)
            except NotInlineError:
                del self.statements[mark:]
        plain = plain_defaults(called) if function.known else {}
        node = ast.Call(
            self.code(function),
            [self.code(v) for v in arguments],
            [
                ast.keyword(name, self.code(v))
                for name, v in keywords.items()
                if not (v.is_literal and name in plain and plain[name] == v.value)
            ],
        )
        known = function.known and all(v.known and v.parts is None for v in given)
        found = evaluated(called, arguments, keywords) if known else None
        return Value(node) if found is None else replace(found, node=node)

    def _inline(self, function: FunctionType, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        definition, signature, uses = definition_of(function), signature_of(function), times_used(function)
        bound = signature.bind(*arguments, **keywords)
        names: Env = {}
        for name, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                names[name] = keywords_value(bound.arguments.get(name, {}))
            elif parameter.kind is parameter.VAR_POSITIONAL:
                raise NotInlineError
            elif name in bound.arguments:
                value = bound.arguments[name]
                names[name] = value if uses[name] == 1 else self._bind(name, value)
            else:
                names[name] = constant(parameter.default)
        result = self._body(definition.body, _Scope(function, names))
        return constant(None) if result is None else result

    # --- statements ---------------------------------------------------------------------------------------------

    def _body(self, body: Sequence[ast.stmt], scope: _Scope) -> Value | None:
        """Inline statements, and return the value that they return, if any."""
        for node in body:
            result = self._statement(node, scope)
            if result is not None:
                return result
        return None

    def _statement(self, node: ast.stmt, scope: _Scope) -> Value | None:
        match node:
            case ast.Return(value):
                return constant(None) if value is None else self._expression(value, scope)
            case ast.Import() | ast.ImportFrom():
                scope.names |= imported(node, scope.function)
                if not isinstance(node, ast.ImportFrom) or not node.level:
                    self.definitions.add_import(node)
            case ast.Assign([target], value) | ast.AnnAssign(target, _, value) if value is not None:
                self._assign(target, self._expression(value, scope), scope)
            case ast.If(test, body, orelse):
                decided = self._expression(test, scope)
                if not decided.known:
                    raise NotInlineError
                return self._body(body if decided.value else orelse, scope)
            case ast.Raise(exc=ast.Call() as error):
                message = self._expression(error.args[0], scope) if error.args else constant("it raises an error")
                raise NoSourceError(str(message.value) if message.known else ast.unparse(self.code(message)))
            case ast.With(items, body):
                return self._with(items, body, scope)
            case ast.Expr(ast.Constant()):
                pass
            case ast.Expr(value):
                self.statements.append(ast.Expr(self.code(self._expression(value, scope))))
            case _:
                raise NotInlineError
        return None

    def _assign(self, target: ast.expr, value: Value, scope: _Scope) -> None:
        if isinstance(target, ast.Name):
            kept = value.is_simple or value.parts is not None or (value.known and value.node is None)
            scope.names[target.id] = value if kept else self._assigned(target.id, value)
        elif isinstance(target, ast.Tuple) and isinstance(value.parts, tuple):
            for name, part in zip(target.elts, value.parts, strict=True):
                self._assign(name, part, scope)
        elif isinstance(target, ast.Tuple):
            code = self.code(value)
            if len(target.elts) == 1 and isinstance(target.elts[0], ast.Name):  # (loss,) = ...
                first = ast.Subscript(code, ast.Constant(0), ast.Load())
                self._assign(target.elts[0], Value(first), scope)
                return
            raise NotInlineError
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and scope.has_parts(target.value):
            raise NotInlineError  # keywords that change
        elif isinstance(target, ast.Attribute | ast.Subscript):
            place = self._generic(target, scope).node
            self.statements.append(ast.Assign([place], self.code(value), lineno=0))  # type: ignore[list-item] # a place
        else:
            raise NotInlineError

    def _with(self, items: Sequence[ast.withitem], body: Sequence[ast.stmt], scope: _Scope) -> Value | None:
        contexts = [ast.withitem(self.code(self._expression(i.context_expr, scope))) for i in items]
        if any(i.optional_vars is not None for i in items):
            raise NotInlineError
        outer, self.statements = self.statements, []
        result = self._body(body, scope)
        if result is not None:
            result = self._assigned("result", replace(result, known=False))
        inner, self.statements = self.statements, outer
        self.statements.append(ast.With(contexts, inner or [ast.Pass()]))
        return result

    # --- expressions --------------------------------------------------------------------------------------------

    def _expression(self, node: ast.expr, scope: _Scope) -> Value:  # noqa: PLR0911 - a branch for each kind
        match node:
            case ast.Constant(value):
                return constant(value)
            case ast.Name(name):
                return self._name(name, scope)
            case ast.Attribute(base, name):
                return self._attribute(self._expression(base, scope), name)
            case ast.Call():
                return self._call(node, scope)
            case ast.IfExp(test, body, orelse):
                decided = self._expression(test, scope)
                if decided.known:
                    return self._expression(body if decided.value else orelse, scope)
                return self._generic(node, scope)
            case ast.Compare() | ast.BoolOp() | ast.Dict() | ast.Subscript():
                found = decide(node, scope.names, lambda part: self._expression(part, scope))
                if found is not None and isinstance(node, ast.Dict):  # it may also be an argument
                    return replace(found, node=self._generic(node, scope).node)
                return self._generic(node, scope) if found is None else found
            case ast.Slice():
                return Value(copied(node, lambda part: self.code(self._expression(part, scope))))
            case ast.Tuple(elements) if not any(isinstance(e, ast.Starred) for e in elements):
                parts = tuple(self._expression(e, scope) for e in elements)
                generic = self._generic(node, scope)
                return generic if generic.known else replace(generic, parts=parts)
            case _:
                return self._generic(node, scope)

    def _name(self, name: str, scope: _Scope) -> Value:  # noqa: PLR0911 - a branch for each origin
        if name in scope.names:
            return scope.names[name]
        function = scope.function
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        if name in cells:
            return constant(cells[name].cell_contents)
        if name not in function.__globals__:
            return Value(ast.Name(name, ast.Load()), known=True, value=getattr(builtins, name))
        value = function.__globals__[name]
        if is_literal(value) or (isinstance(value, FunctionType) and is_own(value, self.definitions.packages)):
            return constant(value)
        if isinstance(value, functools._lru_cache_wrapper):
            return constant(value)
        module = function.__module__
        if dict(imports_of(module)).get(name) is None and not is_own(value, self.definitions.packages):
            return constant(value)
        if isinstance(value, type) or not is_own(value, self.definitions.packages) or callable(value):
            self.definitions.name(name, module)
            return Value(ast.Name(name, ast.Load()), known=True, value=value)
        return constant(value)

    def _attribute(self, base: Value, name: str) -> Value:
        node = None if base.node is None else ast.Attribute(base.node, name, ast.Load())
        if base.is_array and name in OF_ARRAYS:
            return Value(node, known=True, value=getattr(base.value, name))
        if base.known and node is None and isinstance(base.value, ModuleType):
            node = ast.Attribute(self.code(base), name, ast.Load())
        if base.known and hasattr(base.value, name):
            return Value(node, known=True, value=getattr(base.value, name))
        return Value(ast.Attribute(self.code(base), name, ast.Load()))

    def _call(self, node: ast.Call, scope: _Scope) -> Value:
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr == "is_floating_point":
            base = self._expression(function.value, scope)
            if base.is_array:
                return constant(base.value.is_floating_point())
        arguments: list[Value] = []
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                parts = self._expression(argument.value, scope).parts
                if not isinstance(parts, tuple):
                    raise NotInlineError
                arguments += parts
            else:
                arguments.append(self._expression(argument, scope))
        keywords: dict[str, Value] = {}
        for keyword in node.keywords:
            value = self._expression(keyword.value, scope)
            if keyword.arg is not None:
                keywords[keyword.arg] = value
            elif isinstance(value.parts, Mapping):
                keywords |= value.parts
            else:
                raise NotInlineError
        called = self._expression(function, scope)
        if called.known and called.value is getattr and len(arguments) == 2 and arguments[1].is_literal:
            return self._attribute(arguments[0], str(arguments[1].value))
        return self.call(called, arguments, keywords)

    def _generic(self, node: ast.expr, scope: _Scope) -> Value:
        """Return an expression of any kind, with its names replaced and, if all parts are known, its value."""
        if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp | ast.Lambda):
            bound = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            bound |= {a.arg for a in ast.walk(node) if isinstance(a, ast.arg)}
            scope = _Scope(scope.function, scope.names | {name: variable(name) for name in bound})
            free = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - bound
            values = {name: self._name(name, scope) for name in free}
            if not isinstance(node, ast.Lambda) and all(v.known for v in values.values()):
                given = {name: v.value for name, v in values.items()}
                return constant(eval(ast.unparse(node), given))  # noqa: S307 - LogitLab's own source
        replaced: list[Value] = []
        copy = copied(node, lambda child: self._replace(child, scope, replaced))
        sliced = isinstance(node, ast.Tuple) and any(isinstance(e, ast.Slice) for e in node.elts)
        if not sliced and (all(v.known and v.parts is None for v in replaced) or isinstance(node, ast.Compare)):
            names = {f"_{i}": v.value for i, v in enumerate(replaced)}
            known = all(v.known for v in replaced)
            numbered = iter(names)
            form = copied(node, lambda _: ast.Name(next(numbered), ast.Load()))
            if known and not isinstance(node, ast.Lambda):
                value = eval(ast.unparse(ast.fix_missing_locations(form)), names)  # noqa: S307 - as above
                return Value(copy, known=True, value=value)
        return Value(copy)

    def _replace(self, node: ast.expr, scope: _Scope, replaced: list[Value]) -> ast.expr:
        value = self._expression(node, scope)
        replaced.append(value)
        if isinstance(value.parts, Mapping):
            return ast.Constant(None)  # only its keys are asked for
        return self.code(value)
