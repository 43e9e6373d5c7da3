"""Find names of a framework's module: imports, definitions to copy, and the public names of objects."""

import ast
import inspect
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from operator import attrgetter
from types import ModuleType
from typing import Any

from ._values import is_literal

PACKAGE = __name__.partition(".")[0]
Root = tuple[str, Any, ast.stmt]  # an imported name, its module, and the import statement
INTERNAL = ("src", "python")  # parts of dotted names that a framework does not document
DEPTH = 2  # how far below an imported module an object's public name is looked for


class NoSourceError(Exception):
    """A call cannot be written as a program; the message says why."""


@cache
def tree(module: str) -> ast.Module:
    """Return the syntax tree of a module."""
    try:
        return ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, KeyError, SyntaxError) as error:
        raise NoSourceError(f"the source of {module} is not available") from error


@cache
def imports_of(module: str) -> tuple[tuple[str, ast.stmt], ...]:
    """Return the names that a module imports at its top, each with its own import statement."""
    return tuple(_imports_of(module))


def _imports_of(module: str) -> Iterator[tuple[str, ast.stmt]]:
    for node in _outside_functions(tree(module)):
        if isinstance(node, ast.Import):
            yield from ((a.asname or a.name.partition(".")[0], ast.Import([a])) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((a.asname or a.name, ast.ImportFrom(node.module, [a], node.level)) for a in node.names)


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.ClassDef | ast.expr):
            yield child
            yield from _outside_functions(child)


def is_own(thing: Any, packages: frozenset[str]) -> bool:
    """Return whether a function or class belongs to one of these packages, and so to no framework."""
    return str(getattr(thing, "__module__", "")).partition(".")[0] in packages


class Definitions:
    """The imports and definitions that a program needs.

    Args:
        packages: the packages whose code is copied into the program, LogitLab's and that of the framework's module.
    """

    def __init__(self, packages: frozenset[str]) -> None:
        self.packages = packages
        self.imports: dict[str, None] = {}
        self.lines: dict[str, str] = {}

    def add_import(self, node: ast.stmt) -> None:
        self.imports[ast.unparse(node)] = None

    def name(self, name: str, module: str) -> None:
        """Make a global name of a module known to the program."""
        found = sys.modules[module].__dict__
        if name not in found:  # a builtin
            return
        value = found[name]
        statement = dict(imports_of(module)).get(name)
        relative = isinstance(statement, ast.ImportFrom) and statement.level > 0
        if is_literal(value):
            self.lines.setdefault(name, f"{name} = {value!r}")
        elif statement is not None and not relative:
            self.add_import(statement)
        elif isinstance(value, ModuleType):
            raise NoSourceError(f"{name} is a module of LogitLab")
        elif relative:
            self.copy(getattr(value, "__name__", name), str(value.__module__))
        else:
            self.copy(name, module)

    def copy(self, name: str, module: str) -> None:
        """Copy the definition of a name, and what it needs, into the program."""
        if name in self.lines:
            return
        statements = [node for node in tree(module).body if name in _defined(node)]
        if not statements:
            raise NoSourceError(f"{module} does not define {name}")
        self.lines[name] = ""
        for node in statements:
            for used in sorted(_used(_bare(node))):
                if used != name and used in sys.modules[module].__dict__:
                    self.name(used, module)
        del self.lines[name]  # after those that it uses
        self.lines[name] = "\n".join(ast.unparse(_bare(node)) for node in statements)

    def own_name(self, thing: Any, modules: tuple[str, ...]) -> ast.expr | None:
        """Return the name of an object that one of the modules defines, with its definition copied; None for others."""
        if isinstance(thing, ModuleType):
            return None
        for module in dict.fromkeys([*modules, str(getattr(thing, "__module__", ""))]):
            if module.partition(".")[0] not in self.packages or module not in sys.modules:
                continue
            for name, value in sys.modules[module].__dict__.items():
                if value is thing and any(name in _defined(node) for node in tree(module).body):
                    self.copy(name, module)
                    return ast.Name(name, ast.Load())
        return None

    def public_name(self, thing: Any, modules: tuple[str, ...]) -> ast.expr:
        """Return the shortest dotted name of an object below the imports of some modules."""
        path, statement = _public_path(thing, modules)
        if statement is not None:
            self.add_import(statement)
            return ast.parse(path, mode="eval").body
        raise NoSourceError(f"no public name was found for {thing!r}")


# The objects whose public names were found, each with its name, by its number and the modules. An object is kept, so
# that no other gets its number.
_found: dict[tuple[int, tuple[str, ...]], tuple[Any, str, ast.stmt]] = {}


def _public_path(thing: Any, modules: tuple[str, ...]) -> tuple[str, ast.stmt | None]:
    """Return the shortest dotted name of an object, and the import that it starts from; None if there is none."""
    key = (id(thing), modules)
    if key in _found:
        return _found[key][1:]
    roots = [
        (name, sys.modules[module].__dict__[name], statement)
        for module in modules
        for name, statement in imports_of(module)
        if isinstance(statement, ast.Import)
    ]
    path, statement = _by_its_name(thing, roots) or _below(thing, roots)
    if statement is not None:  # the search looks at all of a framework's modules
        _found[key] = thing, path, statement
    return path, statement


def _by_its_name(thing: Any, roots: Sequence[Root]) -> tuple[str, ast.stmt] | None:
    """Return the shortest path of an object below a root by the end of its full name, such as ``tf.keras.losses``."""
    # ``torch.tanh`` is ``F.torch.tanh`` too.
    return min(_by_its_names(thing, roots), key=lambda found: found[0].count("."), default=None)


def _by_its_names(thing: Any, roots: Sequence[Root]) -> Iterator[tuple[str, ast.stmt]]:
    module = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
    parts = str(module).split(".") + ([] if isinstance(thing, ModuleType) else [str(getattr(thing, "__name__", "_"))])
    # ``keras.src.ops.nn.softmax`` is ``keras.ops.softmax`` too.
    ends = [end for i in range(len(parts)) for end in (list(dict.fromkeys([parts[i], parts[-1]])), parts[i:])]
    for end in ends:
        for name, owner, statement in roots:
            if end[0] == str(getattr(owner, "__name__", "")):  # torch.torch is torch
                continue
            try:
                found = attrgetter(".".join(end))(owner)
            except Exception:  # noqa: S112 - a lazy attribute may raise anything
                continue
            if found is thing and not any(part.startswith("_") or part in INTERNAL for part in end):
                yield ".".join([name, *end]), statement


def _below(thing: Any, roots: Sequence[Root]) -> tuple[str, ast.stmt | None]:
    """Return the shortest path of an object below a root."""
    level, seen = list(roots), set[int]()
    for _ in range(DEPTH + 1):
        below: list[Root] = []
        for path, owner, statement in level:
            if owner is thing:
                return path, statement
            for attribute, value in _public(owner, seen):
                if value is thing:
                    return f"{path}.{attribute}", statement
                if type(value) is ModuleType or type(value).__name__ == "LazyLoader":
                    below.append((f"{path}.{attribute}", value, statement))
        level = below
    return "", None


def _public(owner: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if not isinstance(owner, ModuleType) or id(owner) in seen:
        return
    seen.add(id(owner))
    for name in sorted(dir(owner), key=lambda name: (len(name), name)):
        if not name.startswith("_"):
            try:
                yield name, getattr(owner, name)
            except Exception:  # noqa: S112 - as above
                continue


def _defined(node: ast.stmt) -> set[str]:
    """Return the names that a statement defines, or completes as ``log1p.defvjp(...)`` does."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            return {function.value.id}
    return set()


def _used(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


class _Bare(ast.NodeTransformer):
    """Removes annotations and docstrings."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        node.body = _without_docstring(node.body)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body = _without_docstring(node.body)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        value = node.value or ast.Constant(None)
        return ast.copy_location(ast.Assign([node.target], value), node)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if is_text and len(body) > 1 else body


def _bare(node: ast.stmt) -> ast.stmt:
    copy: ast.stmt = ast.parse(ast.unparse(node)).body[0]
    return ast.fix_missing_locations(_Bare().visit(copy))
