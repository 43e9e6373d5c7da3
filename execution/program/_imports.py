"""The imports, settings and versions of a program."""

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import lru_cache

from ...frameworks import Framework
from .. import registry
from ._request import ProgramRequest


def settings(framework: Framework, request: ProgramRequest) -> dict[str, str]:
    """Return the lines that stand for variables of the request that only LogitLab reads, by variable."""
    of_syntax = framework.syntax.settings
    return {v: of_syntax[v].format(value=value) for v, value in request.variables.items() if v in of_syntax}


def imports(
    framework: Framework, package: str, dtype: str, request: ProgramRequest, needed: Sequence[str], names: Set[str]
) -> Iterator[str]:
    """Yield the first lines of a program.

    Args:
        framework: the framework.
        package: the package of the implementation, whose version the program prints.
        dtype: the dtype of the inputs.
        request: the request, with the variables of the mode's variant.
        needed: imports of names that the program may use.
        names: the names that the program without imports uses.
    """
    syntax = framework.syntax
    set_by_line = settings(framework, request)
    variables = {name: value for name, value in request.variables.items() if name not in set_by_line}
    lines = [f"os.environ[{name!r}] = {value!r}" for name, value in variables.items()]
    if lines:
        yield f"import os; {'; '.join(lines)}"
    if names & {"inf", "nan"}:
        yield f"from math import {', '.join(sorted(names & {'inf', 'nan'}))}"
    by_dtype = [syntax.imports_by_dtype[dtype]] if dtype in syntax.imports_by_dtype else []
    found = dict.fromkeys([*(["import numpy as np"] if "np" in names else []), *syntax.imports])
    found |= {line: None for line in needed if _names_bound(line) & names}
    versioned = f"import {package}"
    if _states_version(package) and not any(package in _names_bound(line) or versioned in line for line in found):
        found[versioned] = None
    others = len(framework.devices()) > 1 and request.device == "cpu" and syntax.on_cpu
    yield from found
    yield from dict.fromkeys([*by_dtype, *syntax.prepared, *set_by_line.values(), *([syntax.on_cpu] if others else [])])


def versions(framework: Framework, package: str, lines: Sequence[str]) -> str:
    """Return the lines that print the versions of the packages that the lines import, and of the implementation's."""
    modules = {alias: name for line in lines for alias, name in _modules_of(line)}
    unversioned = ("os", "math", "ml_dtypes")
    roots = {name: alias for alias, name in modules.items() if "." not in name and name not in unversioned}
    if len(roots) > 1 and not framework.name.startswith("numpy"):
        roots.pop("numpy", None)
    words = [f"{name!r}, {alias}.__version__" for name, alias in roots.items() if _states_version(name)]
    if _states_version(package):
        return f"print({', '.join(words)})"
    distribution = registry.distribution_of(package) or package
    words.insert(0, f"{package!r}, version({distribution!r})")
    return f"from importlib.metadata import version\nprint({', '.join(words)})"


def _states_version(package: str) -> bool:
    """Return whether a package has a ``__version__``; so does one that is not imported yet."""
    return package not in sys.modules or hasattr(sys.modules[package], "__version__")


def definitions(lines: Mapping[str, str], text: str) -> list[str]:
    """Return the definitions, by name, that the text uses, each after those that it uses."""
    used, kept = set(names_in(text)), list[str]()
    for name, definition in reversed(list(lines.items())):
        if name in used:
            used |= names_in(definition)
            kept[:0] = [definition]
    return kept


@lru_cache(maxsize=256)  # the programs of a worker share definitions and imports, and writing one asks twice
def names_in(text: str) -> frozenset[str]:
    """Return the names that a text uses."""
    found, left = set[str](), list[ast.AST]([ast.parse(text)])
    # Not ast.walk, since most nodes are the numbers of an array.
    while left:
        node = left.pop()
        if isinstance(node, ast.Name):
            found.add(node.id)
            continue
        for name in node._fields:
            part = getattr(node, name)
            parts = part if isinstance(part, list) else (part,)
            left += [p for p in parts if isinstance(p, ast.AST) and not isinstance(p, ast.Constant)]
    return frozenset(found)


@lru_cache(maxsize=256)
def _modules_of(line: str) -> tuple[tuple[str, str], ...]:
    """Return the name that a line binds and the module, for each module that it imports."""
    return tuple(
        (a.asname, a.name) if a.asname else (a.name.partition(".")[0],) * 2
        for node in ast.parse(line).body if isinstance(node, ast.Import)
        for a in node.names
    )  # fmt: skip


@lru_cache(maxsize=256)
def _names_bound(line: str) -> frozenset[str]:
    return frozenset(
        a.asname or a.name.partition(".")[0]
        for node in ast.parse(line).body if isinstance(node, ast.Import | ast.ImportFrom)
        for a in node.names
    )  # fmt: skip
