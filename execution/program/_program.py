"""Write the program of one call: the inputs, the call as it is measured, its result, the exact values, the versions."""

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ...core.errors import format_error
from ...core.literals import RUNS_FROM, nested_list, short_list
from ...core.vocabulary import Quantity
from ...frameworks import Batch, Framework, Implementation, Syntax
from ...frameworks.source import Definitions, Inlined, NoSourceError, Value, array, constant, inlined, variable
from .. import registry
from ..worker import Evaluation, Outcome

MAX_LITERAL = 4000  # characters of logits or class weights in a program; longer ones are read from a file
OTHER_DTYPES = {"bfloat16": "float32"}  # the dtype of a file, for a dtype that .npy files lack


@dataclass(frozen=True, eq=False)
class ProgramRequest(Evaluation):
    """A call to write as a program.

    Attributes:
        quantity: the result that the program prints.
        index: the part of the result that it prints, such as a row, or a row and a class; all of it if empty.
        exact: the exact values of that part, rounded to float64; None if there are none.
        remarks: comment lines at the top.
        variables: environment variables of the mode's variant.
        data: the name of the file with the arrays that no short expression gives; None if there may be no file.
    """

    quantity: str = Quantity.LOSS.value
    index: tuple[int, ...] = ()
    exact: NDArray[np.float64] | None = None
    remarks: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    data: str | None = None


@dataclass(frozen=True)
class Written(Outcome):
    """A program and the arrays of its file; or why there is no program, and whether only the file lacks."""

    program: str = ""
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    problem: str = ""
    needs_file: bool = False


class _NeedsFileError(Exception):
    pass


def write(request: ProgramRequest) -> Written:
    """Return the program; called in a worker of the framework."""
    framework = registry.load(request.framework)
    chosen = next(i for i in framework.implementations if i.name == request.implementation)
    refusal = request.batch.refusal(chosen)
    if refusal is not None:
        return Written(problem=f"it {refusal}, so no call is made")
    try:
        writer = _Writer(framework, chosen, request)
        return Written(program=writer.program(), arrays=writer.arrays)
    except _NeedsFileError:
        shape = " x ".join(map(str, request.batch.logits.shape))
        return Written(problem=f"no short expression gives its {shape} logits", needs_file=True)
    except NoSourceError as error:
        return Written(problem=str(error))
    except Exception as error:  # the framework of another package may raise anything
        return Written(problem=format_error(error))


class _Writer:
    """Writes one program.

    Attributes:
        arrays: the arrays of the program's file.
    """

    def __init__(self, framework: Framework, chosen: Implementation, request: ProgramRequest) -> None:
        self._framework, self._chosen, self._request = framework, chosen, request
        self._syntax: Syntax = framework.syntax
        self._batch: Batch = request.batch
        self._mode = request.mode
        device = request.device
        self._device = "" if device == "cpu" else self._syntax.device.format(name=device)
        packages = frozenset(str(m).partition(".")[0] for m in (__name__, type(framework).__module__))
        self._definitions = Definitions(packages)
        functions = (f.__module__ for f in (chosen.loss, chosen.probabilities, chosen.gradient) if f is not None)
        mro = [c.__module__ for c in type(framework).__mro__]
        helpers = [v.__name__ for m in mro for v in vars(sys.modules[m]).values() if isinstance(v, ModuleType)]
        listed = [
            m
            for m in dict.fromkeys([*mro, *functions, *helpers])
            if m.partition(".")[0] in packages and m in sys.modules
        ]
        self._modules = tuple(m for m in listed if m != Framework.__module__)
        self._taken = {"x", "t", "loss", "gradient", "weight", *self._definitions_names()}
        self.arrays: dict[str, NDArray[Any]] = {}

    @staticmethod
    def _definitions_names() -> set[str]:
        return {"loss_of", "loss_and_gradient", "pull", "tape", "probabilities"}

    def program(self) -> str:
        """Return the program."""
        inputs = list(self._inputs())
        body = [*inputs, *self._computed(), *self._printed()]
        text = "\n".join(body)
        definitions = self._needed(text)
        whole = "\n".join([*definitions, text])
        imports = list(self._imports(whole))
        remarks = [f"# {line}" for line in self._request.remarks]
        gap = [""] if definitions else []
        return "\n".join([*remarks, *imports, *gap, *definitions, *gap, *body, *self._versions(imports)]) + "\n"

    # --- inputs -------------------------------------------------------------------------------------------------

    def _inputs(self) -> Iterator[str]:
        syntax, batch = self._syntax, self._batch
        x = self._array("logits", batch.logits)
        size = {"lead": str(len(batch.logits)), "outer": ""}
        if self._framework.strides and batch.layout in ("transposed", "strided"):
            x = getattr(syntax, batch.layout).format(x=x, **size)
        yield f"x = {syntax.leaf.format(x=x) if self._chosen.differentiable else x}"
        if batch.targets.ndim == 2:
            yield f"t = {self._array('targets', batch.targets)}"
        else:
            numbers = short_integers(batch.targets)
            t = syntax.targets.format(numbers=numbers, device=self._device)
            yield f"t = {syntax.int32.format(t=t) if batch.targets.dtype == np.int32 else t}"
        for name, value in batch.options.items():
            if isinstance(value, np.ndarray):
                yield f"{name} = {self._array(name, value)}"

    def _array(self, name: str, values: NDArray[Any]) -> str:
        dtype = values.dtype.name
        numbers = short_list(values) if values.size else f"np.zeros({values.shape})"
        if len(numbers) > MAX_LITERAL:
            if self._request.data is None:
                raise _NeedsFileError
            self.arrays[name] = values.astype(OTHER_DTYPES.get(dtype, dtype))
            numbers = f"np.load({self._request.data.format(name=name)!r})"
        return self._syntax.array.format(numbers=numbers, dtype=dtype, device=self._device)

    # --- the call -----------------------------------------------------------------------------------------------

    def _computed(self) -> Iterator[str]:
        quantity = self._request.quantity
        if quantity == Quantity.PROBABILITIES:
            yield from self._probabilities()
        elif quantity == Quantity.GRADIENT and self._chosen.gradient is not None:
            yield from self._by_hand()
        else:
            lines, loss = self._loss()
            template = self._template(self._syntax.measured)
            yield from _filled(template, lines, loss)
            if quantity == Quantity.GRADIENT and not any("gradient" in line for line in template):
                if not self._syntax.differentiated:
                    raise NoSourceError(f"{self._framework.name} does not say how a program differentiates")
                yield from self._syntax.differentiated

    def _template(self, of_modes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
        if self._mode not in of_modes:
            raise NoSourceError(f"{self._framework.name} does not say how a program runs in mode {self._mode}")
        return of_modes[self._mode]

    def _loss(self) -> tuple[list[str], str]:
        """Return the lines before the loss, and its expression."""
        batch, chosen = self._batch, self._chosen
        x, t = self._variables()
        keywords = {
            name: array(name, self._as_array(value)) if isinstance(value, np.ndarray) else constant(value)
            for name, value in batch.options.items()
        }
        if chosen.reduces:
            keywords["reduction"] = constant(batch.reduction)
        shaped = [x, t]
        if batch.layout == "spatial":
            parts = self._inlined(batch.spatial, x, t, constant(chosen.class_axis)).value.parts
            both = cast(tuple[Value, ...], parts)
            arrays = batch.spatial(x.value, t.value, chosen.class_axis)
            shaped = [Value(v.node, value=a, is_array=True) for v, a in zip(both, arrays, strict=True)]
        found = self._inlined(chosen.loss, *shaped, **keywords)
        lines, result = list(found.lines), found.result
        if batch.reduction == "none" and not self._is_flat(shaped, keywords):
            is_call = isinstance(ast.parse(result, mode="eval").body, ast.Call | ast.Name)
            result = self._syntax.flat.format(rows=result if is_call else f"({result})")
        if batch.reduction != "none" and not chosen.reduces:
            lines.append(f"rows = {result}")
            reduced = self._inlined(self._framework.reduce, variable("rows"), constant(batch.reduction))
            lines, result = lines + list(reduced.lines), reduced.result
        return lines, result

    def _is_flat(self, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> bool:
        """Return whether the losses have one axis; so does a call that raises, as its program shows."""
        given = {name: keyword.value for name, keyword in keywords.items()}
        try:
            with self._framework.placed(self._request.device):
                rows = self._chosen.loss(*(a.value for a in arguments), **given)
            return len(rows.shape) == 1
        except Exception:  # a framework may raise anything
            return True

    def _probabilities(self) -> Iterator[str]:
        x, _ = self._variables()
        found = self._inlined(self._chosen.probabilities, x)
        decorator = self._syntax.decorators.get(self._mode)
        if decorator is None:
            yield from [*found.lines, f"probabilities = {found.result}"]
        else:
            yield from [decorator, "def probabilities_of(x):", *(f"    {line}" for line in found.lines)]
            yield from [f"    return {found.result}", "probabilities = probabilities_of(x)"]

    def _by_hand(self) -> Iterator[str]:
        found = self._inlined(self._chosen.gradient, *self._variables())
        yield from found.lines
        yield f"gradient = {found.result}"
        if self._batch.reduction == "mean":
            yield "gradient = gradient / gradient.dtype.type(len(gradient))"

    def _variables(self) -> tuple[Value, Value]:
        x, t = self._as_array(self._batch.logits), self._as_array(self._batch.targets)
        return array("x", x), array("t", t)

    def _as_array(self, values: NDArray[Any]) -> Any:
        with self._framework.placed(self._request.device):
            return self._framework.to_array(values.copy(), self._request.device)

    def _inlined(self, function: Any, *arguments: Value, **keywords: Value) -> Inlined:
        return inlined(function, self._definitions, self._modules, self._taken, arguments, keywords)

    # --- output -------------------------------------------------------------------------------------------------

    def _printed(self) -> Iterator[str]:
        quantity, index, exact = self._request.quantity, self._request.index, self._request.exact
        whole = f"{quantity}[{', '.join(map(str, index))}]" if index else quantity
        yield f"print({quantity + ':'!r}, {self._syntax.numbers.format(array=whole)})"
        if exact is not None:
            yield f"print({'exact:'!r}, {nested_list(exact, _shown)})"

    def _needed(self, text: str) -> list[str]:
        """Return the definitions that the lines use, each after those that it uses."""
        used, kept = _names(text), list[str]()
        for name, lines in reversed(self._definitions.lines.items()):
            if name in used:
                used |= _names(lines)
                kept[:0] = [lines]
        return kept

    def _imports(self, text: str) -> Iterator[str]:
        syntax, request, names = self._syntax, self._request, _names(text)
        settings = {
            v: syntax.settings[v].format(value=value) for v, value in request.variables.items() if v in syntax.settings
        }
        variables = {name: value for name, value in request.variables.items() if name not in settings}
        lines = [f"os.environ[{name!r}] = {value!r}" for name, value in variables.items()]
        if lines:
            yield f"import os; {'; '.join(lines)}"
        if names & {"inf", "nan"}:
            yield f"from math import {', '.join(sorted(names & {'inf', 'nan'}))}"
        by_dtype = [
            syntax.imports_by_dtype[d] for d in (self._batch.logits.dtype.name,) if d in syntax.imports_by_dtype
        ]
        found = dict.fromkeys([*(["import numpy as np"] if "np" in names else []), *syntax.imports])
        found |= {line: None for line in self._definitions.imports if _names_bound(line) & names}
        versioned = f"import {self._chosen.package}"
        if not any(self._chosen.package in _names_bound(line) or versioned in line for line in found):
            found[versioned] = None
        others = len(self._framework.devices()) > 1 and request.device == "cpu" and syntax.on_cpu
        yield from found
        yield from dict.fromkeys(
            [*by_dtype, *syntax.prepared, *settings.values(), *([syntax.on_cpu] if others else [])]
        )

    def _versions(self, imports: list[str]) -> Iterator[str]:
        modules = {alias: name for line in imports for alias, name in _modules_of(line)}
        roots = {
            name: alias
            for alias, name in modules.items()
            if "." not in name and name not in ("os", "math", "ml_dtypes")
        }
        if len(roots) > 1 and not self._framework.name.startswith("numpy"):
            roots.pop("numpy", None)
        words = [f"{name!r}, {alias}.__version__" for name, alias in roots.items()]
        yield f"print({', '.join(words)})"


def short_integers(targets: NDArray[Any]) -> str:
    """Return a literal of class indices."""
    same = len(targets) >= RUNS_FROM and bool((targets == targets[0]).all())
    return f"[{targets[0]}] * {len(targets)}" if same else str(targets.tolist())


def _shown(value: float) -> str:
    return repr(float(value)) if np.isfinite(value) else str(float(value))


def _filled(template: tuple[str, ...], statements: list[str], loss: str) -> Iterator[str]:
    """Return the lines of a template with the statements in place, and the loss."""
    for line in template:
        if line.strip() == "{statements}":
            indent = line[: line.index("{")]
            yield from (indent + statement for statement in statements)
        else:
            yield line.replace("{loss}", loss)


def _names(text: str) -> set[str]:
    return {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)}


def _modules_of(line: str) -> Iterator[tuple[str, str]]:
    """Yield the name that a line binds and the module, for each module that it imports."""
    for node in ast.parse(line).body:
        if isinstance(node, ast.Import):
            yield from ((a.asname, a.name) if a.asname else (a.name.partition(".")[0],) * 2 for a in node.names)


def _names_bound(line: str) -> set[str]:
    return {
        a.asname or a.name.partition(".")[0]
        for node in ast.parse(line).body if isinstance(node, ast.Import | ast.ImportFrom)
        for a in node.names
    }  # fmt: skip
