"""One call of a program: its inputs, the lines that compute the result, and the literals of its arrays."""

import ast
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.formats import get_format
from ...core.interpreting import INTERPRETED
from ...core.literals import RUNS_FROM, short_list_within
from ...frameworks import Framework, Implementation, Syntax
from ...frameworks.source import Definitions, Inlined, NoSourceError, Value, array, constant, inlined, variable
from ._request import NeedsFileError, ProgramRequest

MAX_LITERAL = 4000  # characters of an array in a program; a longer one is read from a file
MAX_KEPT = 2**16  # bytes of an array whose literal is kept
PLAIN = ("float16", "float32", "float64")  # the dtypes of .npy files; others are written as float32
# The names that the templates of `Syntax` define.
NAMES = (
    "x", "t", "loss", "gradient", "weight", "loss_of", "loss_and_gradient", "pull", "tape", "probabilities", "hidden",
    "bias", "class_weight", "loss_and_gradients", "gradient_hidden", "gradient_weight", "gradient_bias",
)  # fmt: skip


class Call(ABC):
    """The call of one implementation, as text.

    Attributes:
        definitions: the imports and definitions that its lines need.
        arrays: the arrays of the program's file.
    """

    def __init__(self, framework: Framework, chosen: Implementation, request: ProgramRequest) -> None:
        self._framework, self._chosen, self._request = framework, chosen, request
        self._syntax: Syntax = framework.syntax
        self._mode = request.mode
        self._device = "" if request.device == "cpu" else self._syntax.device.format(name=request.device)
        packages = frozenset(str(m).partition(".")[0] for m in (__name__, type(framework).__module__))
        self.definitions = Definitions(packages)
        functions = [f.__module__ for f in (chosen.loss, chosen.probabilities, chosen.gradient) if f is not None]
        mro = [c.__module__ for c in type(framework).__mro__]
        helpers = [v.__name__ for m in mro for v in vars(sys.modules[m]).values() if isinstance(v, ModuleType)]
        listed = [
            m
            for m in dict.fromkeys([*mro, *functions, *helpers])
            if m.partition(".")[0] in packages and m in sys.modules
        ]
        self._modules = tuple(m for m in listed if m != Framework.__module__)
        self._taken = set(NAMES)
        self.arrays: dict[str, NDArray[Any]] = {}

    @property
    @abstractmethod
    def dtype(self) -> str:
        """The dtype of the inputs."""

    @abstractmethod
    def inputs(self) -> Iterator[str]:
        """Yield the lines that create the inputs."""

    @abstractmethod
    def computed(self) -> Iterator[str]:
        """Yield the lines that compute the requested quantity, in a variable of its name."""

    # --- arrays -------------------------------------------------------------------------------------------------

    def _array(self, name: str, values: NDArray[Any]) -> str:
        dtype = values.dtype.name
        numbers = _literal(values) if values.size else f"np.zeros({values.shape})"
        if numbers is None:
            if self._request.data is None:
                raise NeedsFileError(f"{' x '.join(map(str, values.shape))} {name}")
            self.arrays[name] = values.astype(dtype if dtype in PLAIN else np.float32)
            numbers = f"np.load({self._request.data.format(name=name)!r})"
        return self._syntax.array.format(numbers=numbers, dtype=dtype, device=self._device)

    def _targets(self, targets: NDArray[Any]) -> str:
        if targets.ndim == 2:
            return f"t = {self._array('targets', targets)}"
        t = self._syntax.targets.format(numbers=short_integers(targets), device=self._device)
        return f"t = {self._syntax.int32.format(t=t) if targets.dtype == np.int32 else t}"

    def _leaf(self, expression: str) -> str:
        return self._syntax.leaf.format(x=expression) if self._chosen.differentiable else expression

    def _as_array(self, values: NDArray[Any]) -> Any:
        with self._framework.placed(self._request.device):
            return self._framework.to_array(values.copy(), self._request.device)

    def _variable(self, name: str, values: NDArray[Any]) -> Value:
        return array(name, self._as_array(values))

    # --- the call -----------------------------------------------------------------------------------------------

    def _keywords(self, options: Mapping[str, Any]) -> dict[str, Value]:
        return {
            name: self._variable(name, value) if isinstance(value, np.ndarray) else self._number(value)
            for name, value in options.items()
        }

    def _number(self, value: float) -> Value:
        """Return an option. An ml_dtypes array times a Python float is float32, so NumPy gets a scalar of the dtype."""
        dtype, _ = self._request.batch.kind
        own = np.zeros(0, get_format(dtype).dtype)
        if dtype in PLAIN or not isinstance(value, float) or not isinstance(self._as_array(own), np.ndarray):
            return constant(value)
        code = ast.parse(f"ml_dtypes.{dtype}({value!r})", mode="eval").body
        return Value(code, known=True, value=own.dtype.type(value))

    def _reduced(self, lines: Sequence[str], result: str, reduction: str) -> tuple[list[str], str]:
        """Return the lines before the loss, and its expression, given those of the row losses."""
        if reduction == "none" or self._chosen.reduces:
            return list(lines), result
        reduced = self._inlined(self._framework.reduce, variable("rows"), constant(reduction))
        return [*lines, f"rows = {result}", *reduced.lines], reduced.result

    def _template(self, of_modes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
        # The environment variables of the mode make the difference, or the call itself.
        mode = "eager" if self._mode == INTERPRETED else self._mode
        if mode not in of_modes:
            raise NoSourceError(f"{self._framework.name} does not say how a program runs in mode {mode}")
        return of_modes[mode]

    def _inlined(self, function: Any, *arguments: Value, **keywords: Value) -> Inlined:
        return inlined(function, self.definitions, self._modules, self._taken, arguments, keywords)


def _literal(values: NDArray[Any]) -> str | None:
    """Return a literal of the values; None if it is too long."""
    if values.nbytes > MAX_KEPT:
        return short_list_within(values, MAX_LITERAL)
    return _kept_literal(values.tobytes(), values.shape, values.dtype.name)


@lru_cache(maxsize=64)  # the programs of many implementations have the logits of one case
def _kept_literal(data: bytes, shape: tuple[int, ...], dtype: str) -> str | None:
    return short_list_within(np.frombuffer(data, get_format(dtype).dtype).reshape(shape), MAX_LITERAL)


def short_integers(targets: NDArray[Any]) -> str:
    """Return a literal of class indices."""
    same = len(targets) >= RUNS_FROM and bool((targets == targets[0]).all())
    return f"[{targets[0]}] * {len(targets)}" if same else str(targets.tolist())


def filled(template: Sequence[str], statements: Sequence[str], **words: str) -> Iterator[str]:
    """Return the lines of a template with the statements in place, and the words, such as ``loss``."""
    for line in template:
        if line.strip() == "{statements}":
            indent = line[: line.index("{")]
            yield from (indent + statement for statement in statements)
        else:
            yield reduce(lambda text, word: text.replace(f"{{{word[0]}}}", word[1]), words.items(), line)
