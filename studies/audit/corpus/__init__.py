"""Losses with one planted defect each, which a check must catch, and sound ones, which it must pass.

Each defect is one that real code has had or could have: in a kernel's tiles, memory, calls, numbers or backward pass.
A defect that was reported in public names the thread. Each function stands in for compiled code: it writes out in its
framework how a kernel would treat tiles and strides.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

# The modules of each framework with defects.
MODULES = {
    "torch": ("tiles", "numbers", "calls", "gradients", "upstream", "properties", "options", "kinds", "modes"),
    "jax": ("losses",),
    "tensorflow": ("losses",),
    "numpy": ("losses",),
}

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Planted:
    """A loss of the corpus.

    Attributes:
        name: the name of its function.
        loss: logits (B, C) and targets (B,) to row losses (B,).
        gradient: the same to the gradient (B, C), for a framework that does not differentiate.
        dtypes: the dtypes in which it must be caught; those in which a sound loss must pass.
        wrong: the wrong part, ``loss`` or ``gradient``; None for a sound loss.
        seen: the public thread with a similar defect.
        how: the presentation of the rows that shows it; None if any shows it.
        writes: whether it is caught because it writes into its logits.
        shown_by: globs of cases that show it, if a whole check would need a compiler or a wide row first. A sound
            loss must pass these, or the usual ones without them.
        repeat: how often a small batch is called again to show it, if cases are named.
        breaks: the property that it represents; the program that shows the failure is run.
        arguments: further arguments of a check.
    """

    name: str
    loss: Callable[..., Any]
    gradient: Callable[..., Any] | None
    dtypes: tuple[str, ...]
    wrong: str | None
    seen: str | None = None
    how: str | None = None
    writes: bool = False
    shown_by: str | tuple[str, ...] | None = None
    repeat: int | None = None
    breaks: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


def wrong_loss(*dtypes: str, **more: Any) -> Callable[[Function], Function]:
    """Mark a function with wrong losses, and the dtypes in which they must be caught."""
    return lambda function: _marked(function, dtypes, "loss", more)


def wrong_gradient(*dtypes: str, of: Callable[..., Any] | None = None, **more: Any) -> Callable[[Function], Function]:
    """Mark a loss with right values and a wrong gradient, or a wrong gradient function ``of`` a sound loss."""
    return lambda function: _marked(function, dtypes, "gradient", more, of)


def sound(
    *dtypes: str,
    gradient: Callable[..., Any] | None = None,
    shown_by: str | tuple[str, ...] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Callable[[Function], Function]:
    """Mark a loss that must pass in these dtypes, on all cases or on those of ``shown_by``."""

    def mark(function: Function) -> Function:
        planted = Planted(
            function.__name__, function, gradient, dtypes, None, shown_by=shown_by, arguments=arguments or {}
        )
        function.planted = planted  # type: ignore[attr-defined]
        return function

    return mark


def _marked(
    function: Function, dtypes: tuple[str, ...], wrong: str, more: dict[str, Any], of: Callable[..., Any] | None = None
) -> Function:
    loss, gradient = (function, None) if of is None else (of, function)
    planted = Planted(function.__name__, loss, gradient, dtypes, wrong, **more)
    function.planted = planted  # type: ignore[attr-defined]
    return function


@dataclass(frozen=True)
class Listed:
    """A loss of the corpus, found in its module's source; `load` imports its framework.

    Attributes:
        framework: the framework whose arrays it takes.
        module: the name in this package of the module that holds it, such as ``torch.tiles``.
        name: the name of its function.
        dtypes: as of ``Planted``.
        wrong: as of ``Planted``.
        breaks: as of ``Planted``.
        seen: as of ``Planted``.
        description: the first sentence of its docstring.
        limited: whether a sound loss is sound only on the cases of ``shown_by``.
    """

    framework: str
    module: str
    name: str
    dtypes: tuple[str, ...]
    wrong: str | None
    breaks: str | None
    seen: str | None = None
    description: str = ""
    limited: bool = False

    def load(self) -> Planted:
        """Import the module and return the loss."""
        module = importlib.import_module(f"{__name__}.{self.module}")
        planted: Planted = getattr(module, self.name).planted
        return planted


def planted_in(module: ModuleType) -> Iterator[Planted]:
    """Return the losses of a module of the corpus, in source order."""
    for value in vars(module).values():
        if getattr(value, "__module__", None) == module.__name__ and isinstance(
            getattr(value, "planted", None), Planted
        ):
            yield value.planted


def defects() -> list[Listed]:
    """Return the defects of each installed framework."""
    return [found for framework, parts in MODULES.items() for part in parts for found in _part(framework, part)]


def sound_ones() -> list[Listed]:
    """Return the sound losses of each installed framework."""
    return [found for framework in MODULES for found in _part(framework, "sound")]


def sound_everywhere(framework: str) -> list[Listed]:
    """Return the losses of a framework that are sound on all cases; a test may reject one that is sound on some."""
    return [found for found in sound_ones() if found.framework == framework and not found.limited]


def _part(framework: str, part: str) -> tuple[Listed, ...]:
    return () if find_spec(framework) is None else listed_in(framework, f"{framework}.{part}")


def listed_in(framework: str, module: str) -> tuple[Listed, ...]:
    """Return the losses that a module of the corpus marks, in source order, without importing it."""
    tree = ast.parse(Path(__file__).parent.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
    known: dict[str, tuple[str, ...]] = {}
    found = []
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Tuple() as value):
                known[name] = ast.literal_eval(value)
            case ast.FunctionDef():
                found += [_listed(framework, module, node, mark, known) for mark in _marks(node)]
    return tuple(found)


def _marks(function: ast.FunctionDef) -> Iterator[ast.Call]:
    for decorator in function.decorator_list:
        match decorator:
            case ast.Call(func=ast.Name(id="wrong_loss" | "wrong_gradient" | "sound")):
                yield decorator


def _listed(
    framework: str, module: str, function: ast.FunctionDef, mark: ast.Call, known: dict[str, tuple[str, ...]]
) -> Listed:
    dtypes: list[str] = []
    for argument in mark.args:
        match argument:
            case ast.Starred(value=ast.Name(id=constant)):
                dtypes += known[constant]
            case _:
                dtypes.append(ast.literal_eval(argument))
    given = {k.arg: ast.literal_eval(k.value) for k in mark.keywords if k.arg in ("breaks", "seen")}
    description = (ast.get_docstring(function) or "").partition("\n\n")[0]
    wrong = {"wrong_loss": "loss", "wrong_gradient": "gradient"}.get(ast.unparse(mark.func))
    return Listed(
        framework, module, function.name, tuple(dtypes), wrong, given.get("breaks"), given.get("seen"),
        " ".join(description.split()), wrong is None and any(k.arg == "shown_by" for k in mark.keywords),
    )  # fmt: skip
