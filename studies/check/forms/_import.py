"""The lines by which a program gets a loss: an import, or a copy of its source with what the source needs."""

from __future__ import annotations
import __future__

import ast
import functools
import inspect
import linecache
import os
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ._files import FILES

UNKNOWN = "from ... import ... as {name}  # your function"
_SCRIPT = ("__main__", "__mp_main__")
_LITERALS = (bool, int, float, complex, str, bytes, type(None))


@dataclass(frozen=True)
class Definition:
    """Lines that define a loss in a program.

    Attributes:
        lines: the lines.
        problem: why the loss cannot be imported, and how to change that; empty if the lines import it.
        future: whether its source needs ``from __future__ import annotations``.
        known: False if there are no lines that define it.
    """

    lines: tuple[str, ...]
    problem: str = ""
    future: bool = False
    known: bool = True

    @property
    def text(self) -> str:
        """The lines as a program."""
        return "\n".join([*(["from __future__ import annotations"] if self.future else []), *self.lines])


def definition(loss: Callable[..., Any], called: str, name: str, *, copied: bool = False) -> Definition:
    """Return the lines that define ``name`` as the loss.

    Args:
        loss: the loss.
        called: the name under which it was given.
        name: the name in the program.
        copied: whether to copy the source even if the loss can be imported.
    """
    imported = None if copied else _imported(loss, called, name)
    if imported is not None:
        return Definition(tuple(imported))
    source = _Source()
    lines = source.of(loss, name)
    problem = _problem(loss)
    if lines is None:
        return Definition((UNKNOWN.format(name=name),), problem, known=False)
    return Definition((*source.before, *lines), problem, source.future)


def _problem(loss: Any) -> str:
    """Return why a loss cannot be imported, and what to do."""
    if isinstance(loss, FunctionType) and loss.__name__ == "<lambda>":
        what, fix = "a lambda", "define it with def in a module"
    elif isinstance(loss, FunctionType) and "<locals>" in loss.__qualname__:
        what, fix = f"{loss.__name__}, defined inside a function", "define it at the top of a module"
    elif isinstance(loss, FunctionType):
        where = "a script or notebook" if loss.__module__ in _SCRIPT else f"the module {loss.__module__}"
        what, fix = f"{loss.__name__} of {where}", "define it at the top of a module that a new process can import"
    else:
        what, fix = f"an object of type {type(loss).__name__} without a name", "assign it to a name in a module"
    return f"the loss is {what}, which a new process cannot import; {fix}"


# --- imported ---------------------------------------------------------------------------------------------------


def _imported(loss: Any, called: str, name: str) -> list[str] | None:
    """Return the lines that import an object or build it from imported ones; None if there are none."""
    place = _place(loss, called)
    if place is not None:
        return _from(*place, name)
    owner = getattr(loss, "__self__", None)
    if owner is not None and not isinstance(owner, ModuleType) and inspect.isroutine(loss):
        before = _imported(owner, "", "owner")
        return None if before is None else [*before, f"{name} = owner.{loss.__name__}"]
    if isinstance(loss, functools.partial):
        before, given = _imported(loss.func, "", "function"), _arguments(loss.args, loss.keywords)
        if before is None or given is None:
            return None
        return ["import functools", *before, f"{name} = functools.partial({', '.join(['function', *given])})"]
    return None if inspect.isroutine(loss) or inspect.isclass(loss) else _built(loss, name)


def _from(module: str, path: str, name: str) -> list[str]:
    """Return the lines that get an object from its module."""
    if module in FILES:
        return _run_file(FILES[module], path, name)
    first, _, rest = path.partition(".")
    if rest:
        return [*_path(module), f"from {module} import {first}", f"{name} = {path}"]
    return [*_path(module), f"from {module} import {first}{'' if first == name else f' as {name}'}"]


def _run_file(file: str, path: str, name: str) -> list[str]:
    """Return the lines that run a file which was given by its path, beside whose folder it imports."""
    first, _, rest = path.partition(".")
    attribute = f".{rest}" if rest else ""
    return [
        f"import runpy, sys; sys.path.append({str(Path(file).parent)!r})",
        f"{name} = runpy.run_path({file!r})[{first!r}]{attribute}",
    ]


def _place(found: Any, called: str) -> tuple[str, str] | None:
    """Return the module and the dotted name of an object, or None if no module has it."""
    module, name = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str) and module not in _SCRIPT:
        value: Any = sys.modules.get(module)
        for part in name.split("."):
            value = getattr(value, part, None)
        # A bound class method is a new object each time.
        if value is found or (inspect.ismethod(value) and value == found):
            return module, name
    others = [(m, n) for m, values in _modules() for n, value in values.items() if value is found and n.isidentifier()]
    return min(others, key=lambda place: (place[1] != called, place[0].count("."), place), default=None)


def _modules() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, module in list(sys.modules.items()):
        # The script of this process has two names if it starts processes.
        own = module is not sys.modules["__main__"] and name not in _SCRIPT
        if own and isinstance(module, ModuleType) and getattr(module, "__file__", None) is not None:
            yield name, vars(module).copy()


def _built(loss: Any, name: str) -> list[str] | None:
    """Return a call of the object's class with the arguments that the object stores under their names."""
    try:
        parameters = list(inspect.signature(type(loss)).parameters.values())
    except (TypeError, ValueError):
        return None
    given = {}
    for parameter in parameters:
        value = getattr(loss, parameter.name, parameter.default)
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            return None
        if value is parameter.empty:
            return None
        if _literal(value) is None or _literal(value) != _literal(parameter.default):
            given[parameter.name] = value
    before, arguments = _imported(type(loss), "", type(loss).__name__), _arguments((), given)
    if before is None or arguments is None:
        return None
    return [*before, f"{name} = {type(loss).__name__}({', '.join(arguments)})"]


def _arguments(positional: tuple[Any, ...], keywords: dict[str, Any]) -> list[str] | None:
    values = [_literal(value) for value in (*positional, *keywords.values())]
    if None in values:
        return None
    names = [*("" for _ in positional), *(f"{name}=" for name in keywords)]
    return [f"{name}{value}" for name, value in zip(names, values, strict=True)]


def _literal(value: Any) -> str | None:
    """Return a literal, or None for a value that has none."""
    if type(value) in (tuple, list):
        each = [_literal(item) for item in value]
        inside = ", ".join(item for item in each if item is not None)
        ends = "[]" if type(value) is list else ("(", ",)" if len(value) == 1 else ")")
        return None if None in each else f"{ends[0]}{inside}{ends[1]}"
    if type(value) not in _LITERALS:
        return None
    return f"float('{value}')" if isinstance(value, float) and value - value != 0 else repr(value)


def _path(module: str) -> list[str]:
    """Return the line that adds the module's folder to the import path, unless it is on Python's own path."""
    root = sys.modules.get(module.partition(".")[0])
    file = getattr(root, "__file__", None)
    if file is None:
        return []
    folder = (Path(file).parent.parent if hasattr(root, "__path__") else Path(file).parent).resolve()
    own = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    given = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    if folder in [Path(part).resolve() for part in (*own, *given)]:
        return []
    here = Path.cwd().resolve()
    written = str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)
    return [f"import sys; sys.path.append({written!r}){'' if folder != here else '  # run it here'}"]


# --- copied -----------------------------------------------------------------------------------------------------


@dataclass
class _Source:
    """The source of functions, and the lines that define the names that they use."""

    before: list[str] = field(default_factory=list)
    future: bool = False
    _seen: set[str] = field(default_factory=set)

    def of(self, loss: Any, name: str) -> list[str] | None:
        """Return the lines that define ``name`` as the function, after the lines ``before``; None without a source."""
        if isinstance(loss, functools.partial):
            given, inner = _arguments(loss.args, loss.keywords), self.of(loss.func, "function")
            if given is None or inner is None:
                return None
            self._import("import functools")
            return [*inner, f"{name} = functools.partial({', '.join(['function', *given])})"]
        found = _source_of(loss) if inspect.isfunction(loss) or inspect.isclass(loss) else None
        if found is None:
            return None
        source, own = found
        self._seen.add(own or name)
        for function in [loss] if inspect.isfunction(loss) else list(filter(inspect.isfunction, vars(loss).values())):
            self._needs(function, source)
        if not own:
            return [f"{name} = {source}"]
        return [*source.rstrip().splitlines(), *([] if own == name else [f"{name} = {own}"])]

    def _needs(self, function: FunctionType, source: str) -> None:
        self.future |= bool(function.__code__.co_flags & __future__.annotations.compiler_flag)
        free = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        for name in _names(source):
            if name in self._seen:
                continue
            try:
                value = free[name].cell_contents if name in free else function.__globals__[name]
            except (KeyError, ValueError):
                continue
            self._seen.add(name)
            self._define(name, value)

    def _define(self, name: str, value: Any) -> None:
        literal = _literal(value)
        if isinstance(value, ModuleType):
            self._import(f"import {value.__name__}" + ("" if name == value.__name__ else f" as {name}"))
            for line in _path(value.__name__):
                self._import(line)
        elif literal is not None:
            self.before.append(f"{name} = {literal}")
        elif (imported := _imported(value, name, name)) is not None:
            self.before += [line for line in imported if line not in self.before]
        elif (lines := self.of(value, name)) is not None:
            self.before += lines

    def _import(self, line: str) -> None:
        if line not in self.before:
            self.before.insert(0, line)


def _names(source: str) -> list[str]:
    tree = ast.parse(source)
    return list(dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)))


def _source_of(found: Any) -> tuple[str, str] | None:
    """Return the source of a function or class and the name that it defines, which a lambda does not have."""
    try:
        if getattr(found, "__name__", "") == "<lambda>":
            source = _lambda(found)
            return None if source is None else (source, "")
        source = textwrap.dedent(inspect.getsource(found))
        tree = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    own = getattr(tree[0], "name", "") if len(tree) == 1 else ""
    return (source, own) if own else None


def _lambda(function: FunctionType) -> str | None:
    """Return the source of a lambda: of those on its line, the only one with the same names."""
    file, code = inspect.getsourcefile(function), function.__code__
    whole = "".join(linecache.getlines(file or "", function.__globals__))
    found = set()
    for node in ast.walk(ast.parse(whole)):
        if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno:
            source = ast.unparse(node)
            inside = compile(source, "", "eval").co_consts[0]
            # A name of an outer function is a global in the lambda alone.
            names = {*code.co_names, *code.co_freevars} == {*inside.co_names, *inside.co_freevars}
            if names and inside.co_varnames == code.co_varnames and _constants(inside) == _constants(code):
                found.add(source)
    return found.pop() if len(found) == 1 else None


def _constants(code: CodeType) -> list[str]:
    return [repr(value) for value in code.co_consts if not isinstance(value, CodeType)]
