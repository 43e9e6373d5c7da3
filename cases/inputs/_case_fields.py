"""Read and check the fields of a case file. Errors name the place, the value and the expectation."""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.options import OPTIONS, REDUCTIONS, LossOption
from .. import Case, make, make_linear
from .._case import LAYOUTS
from ._readers import InvalidFileError

Read = Callable[[Any, str], Any]  # takes a JSON value and its place in the file, returns the field's value

SPECIAL_NUMBERS = {"-inf": -math.inf, "inf": math.inf, "nan": math.nan}  # JSON has no numbers for these
REQUIRED = ("name", "why", "logits", "targets")
LINEAR = ("hidden", "linear_weight", "linear_bias")  # instead of logits
LINEAR_REQUIRED = ("name", "why", "hidden", "linear_weight", "targets")
LOGITS_ONLY = ("logits", "layout", "invalid")
_NAME = re.compile(r"[^/\s]+/[^/\s]+")
_INT64 = np.iinfo(np.int64)


def read_case(entry: Any, place: str) -> Case:
    """Return the case of one entry of a file; ``place`` is the entry's place in the file.

    Raises:
        InvalidFileError: for an invalid field, naming place and field.
    """
    if not isinstance(entry, dict):
        raise InvalidFileError(
            f"{place} is {short_json(entry)}; expected an object with the fields {', '.join(REQUIRED)}"
        )
    if isinstance(entry.get("name"), str):
        place = f"{place} ({entry['name']})"
    for field in entry:
        if field not in _FIELDS:
            raise InvalidFileError(f"{place}: unknown field {field!r}; choose from {', '.join(_FIELDS)}")
    is_linear = any(field in entry for field in LINEAR)
    required = LINEAR_REQUIRED if is_linear else REQUIRED
    for field in required:
        if field not in entry:
            raise InvalidFileError(f"{place}: has no field {field!r}; expected all of {', '.join(required)}")
    for field in LOGITS_ONLY:
        if is_linear and field in entry:
            raise InvalidFileError(f"{place}: has {field!r} beside hidden states; leave one of them out")
    values = {field: _FIELDS[field](value, f"{place}, {field}") for field, value in entry.items()}
    targets, dtype = values.pop("targets"), values.pop("target_dtype", None)
    shape = (len(values["hidden"]), len(values["linear_weight"])) if is_linear else values["logits"].shape
    _check_targets(shape, targets, dtype, place)
    if targets.ndim == 1 and not values.get("invalid"):
        _check_classes(shape[1], targets, values.get("ignore_index"), place)
    name, why, targets = values.pop("name"), values.pop("why"), targets.astype(dtype or targets.dtype)
    try:
        if not is_linear:
            return make(name, why, values.pop("logits"), targets, **values)
        hidden, weight, bias = (values.pop(field, None) for field in LINEAR)
        return make_linear(
            name, why, hidden, weight, targets, bias=bias, class_weight=values.pop("weight", None), **values
        )
    except ValueError as error:  # fields that contradict each other
        raise InvalidFileError(f"{place}: {error}") from error


def short_json(value: Any) -> str:
    """Return a value as JSON, shortened."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:36]} ..."


def _check_targets(logits: tuple[int, int], targets: NDArray[Any], dtype: str | None, place: str) -> None:
    if targets.shape not in (logits[:1], logits):
        rows, classes = logits
        shape = "x".join(map(str, targets.shape))
        raise InvalidFileError(f"{place}, targets: {shape} of them; expected {rows}, or {rows}x{classes}, as logits")
    if targets.ndim == 2 and dtype is not None:
        raise InvalidFileError(f"{place}, target_dtype: class probabilities have the dtype of the logits; leave it out")
    if dtype == "int32" and (targets != targets.astype(np.int32)).any():
        raise InvalidFileError(f"{place}, target_dtype: a target exceeds int32; leave target_dtype out for int64")


def _check_classes(classes: int, targets: NDArray[Any], ignore_index: int | None, place: str) -> None:
    outside = [(r, t) for r, t in enumerate(targets) if not 0 <= t < classes and t != ignore_index]
    if outside:
        row, target = outside[0]
        raise InvalidFileError(
            f"{place}, targets[{row}]: {target} is not a class; with {classes} classes, expected 0 to {classes - 1}"
        )


def _checked(accepts: Callable[[Any], bool], expected: str) -> Read:
    """Return a reader of a value that needs no conversion."""

    def read(value: Any, place: str) -> Any:
        if not accepts(value):
            raise InvalidFileError(f"{place}: {short_json(value)}; expected {expected}")
        return value

    return read


def _one_of(words: tuple[str, ...]) -> Read:
    return _checked(lambda v: v in words, f"one of {', '.join(words)}")


def _items(read: Read, expected: str) -> Read:
    """Return a reader of a list that reads each item by ``read``."""
    read_list = _checked(lambda v: isinstance(v, list), expected)
    return lambda value, place: [read(v, f"{place}[{i}]") for i, v in enumerate(read_list(value, place))]


def _number(value: Any, place: str) -> float:
    if isinstance(value, str) and value in SPECIAL_NUMBERS:
        return SPECIAL_NUMBERS[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidFileError(f'{place}: {short_json(value)}; expected a number, or "-inf", "inf" or "nan"')
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    # A literal such as 1e999 became infinite.
    if math.isinf(number):
        raise InvalidFileError(f'{place}: a number exceeds float64; for an infinity, write "inf" or "-inf"')
    return number


def _option(option: LossOption) -> Read:
    """Return a reader of a number that the option accepts."""

    def read(value: Any, place: str) -> float:
        number = _number(value, place)
        if not option.accepts(number):
            raise InvalidFileError(f"{place}: {short_json(value)}; expected {option.expected}")
        return number

    return read


def _rows(read: Read) -> Read:
    """Return a reader of at least one row, all of the same width."""
    read_rows = _items(_items(read, "a row, a list of numbers"), "a list of rows, each a list of numbers")

    def read_array(value: Any, place: str) -> NDArray[np.float64]:
        rows = read_rows(value, place)
        if not rows:
            raise InvalidFileError(f"{place}: no rows; expected at least one")
        width = len(rows[0])
        for r, row in enumerate(rows):
            if len(row) != width or not row:
                expected = f"{width}, as in row 0" if width else "at least one class"
                raise InvalidFileError(f"{place}[{r}]: a row of {len(row)} numbers; expected {expected}")
        return np.array(rows, np.float64)

    return read_array


def _targets(value: Any, place: str) -> NDArray[Any]:
    """Return class indices (B,) of int64, or class probabilities (B, C)."""
    soft = isinstance(value, list) and any(isinstance(entry, list) for entry in value)
    targets: NDArray[Any] = _probabilities(value, place) if soft else np.array(_indices(value, place), np.int64)
    return targets


_text = _checked(lambda v: isinstance(v, str) and v.strip() != "" and v.isprintable(), "words on one line")
_integer = _checked(lambda v: type(v) is int and _INT64.min <= v <= _INT64.max, "a whole number")
_indices = _items(_integer, "a list: a class index for each row, or a row of probabilities for each")
_probabilities = _rows(_option(OPTIONS["weight"]))  # as class weights: finite and not negative
# The options that are not one floating-point number.
_OPTION_FIELDS = {
    "weight": _items(_option(OPTIONS["weight"]), "a list of one factor for each class"),
    "ignore_index": _integer,
}
_FIELDS: Mapping[str, Read] = {
    "name": _checked(
        lambda v: isinstance(v, str) and _NAME.fullmatch(v) is not None and v.isprintable(),
        '"family/name" without spaces',
    ),
    "why": _text,
    "source": _text,
    "reported": _text,
    "tags": _items(_text, "a list of words"),
    "logits": _rows(_number),
    "hidden": _rows(_number),
    "linear_weight": _rows(_number),
    "linear_bias": _items(_number, "a list of one number for each class"),
    "targets": _targets,
    "target_dtype": _one_of(("int64", "int32")),
    "reduction": _one_of(REDUCTIONS),
    **{name: _OPTION_FIELDS.get(name, _option(option)) for name, option in OPTIONS.items()},
    "layout": _one_of(LAYOUTS),
    "invalid": _checked(lambda v: isinstance(v, bool), "true or false"),
}
