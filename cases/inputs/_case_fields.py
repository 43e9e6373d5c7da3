"""The fields of a case in a case file: what each may hold, and one line for what it holds instead."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.options import REDUCTIONS, LossOptions
from .. import Case, make
from .._case import LAYOUTS
from ._readers import InvalidFileError

# JSON has no numbers for these.
NAMED = {"-inf": -math.inf, "inf": math.inf, "nan": math.nan}
NAME = re.compile(r"[^/\s]+/[^/\s]+")
REQUIRED = ("name", "why", "logits", "targets")
INT64 = np.iinfo(np.int64)


def case(entry: Any, where: str) -> Case:
    """The case that an entry of a file says; ``where`` is the entry's place in the file.

    Raises:
        InvalidFileError: for what is not as it should be, naming place and field.
    """
    if not isinstance(entry, dict):
        raise InvalidFileError(f"{where} is {told(entry)}; expected an object with the fields {', '.join(REQUIRED)}")
    if isinstance(entry.get("name"), str):
        where = f"{where} ({entry['name']})"
    for field in entry:
        if field not in _READ:
            raise InvalidFileError(f"{where}: unknown field {field!r}; the fields are {', '.join(_READ)}")
    for field in REQUIRED:
        if field not in entry:
            raise InvalidFileError(f"{where}: has no field {field!r}; needed are {', '.join(REQUIRED)}")
    given = {field: _READ[field](value, f"{where}, {field}") for field, value in entry.items()}
    given["targets"] = _targets(given, where)
    given.pop("target_dtype", None)
    try:
        return make(given.pop("name"), given.pop("why"), given.pop("logits"), given.pop("targets"), **given)
    except ValueError as error:  # what the fields together may not be, in the catalogue's own words
        raise InvalidFileError(f"{where}: {error}") from error


def told(value: Any) -> str:
    """A value as its file has it, shortened."""
    words = json.dumps(value, default=str)
    return words if len(words) <= 40 else f"{words[:36]} ..."


# --- one field each ---------------------------------------------------------------------------------------------


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise InvalidFileError(f"{where}: {told(value)}; expected words on one line")
    return value


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value) or not value.isprintable():
        raise InvalidFileError(f'{where}: {told(value)}; expected "family/name" without spaces')
    return value


def _tags(value: Any, where: str) -> tuple[str, ...]:
    return tuple(_text(tag, f"{where}[{i}]") for i, tag in enumerate(_list(value, where, "a list of words")))


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidFileError(f"{where}: {told(value)}; expected true or false")
    return value


def _one_of(words: Sequence[str]) -> Callable[[Any, str], str]:
    def read(value: Any, where: str) -> str:
        if value not in words:
            raise InvalidFileError(f"{where}: {told(value)}; expected one of {', '.join(words)}")
        return str(value)

    return read


def _list(value: Any, where: str, expected: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidFileError(f"{where}: {told(value)}; expected {expected}")
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, str) and value in NAMED:
        return NAMED[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidFileError(f'{where}: {told(value)}; expected a number, or "-inf", "inf" or "nan"')
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    # A literal such as 1e999 has become infinite on the way.
    if math.isinf(number):
        raise InvalidFileError(f'{where}: a number beyond float64; write "inf" or "-inf" if that is meant')
    return number


def _factor(value: Any, where: str) -> float:
    number = _number(value, where)
    if not 0.0 <= number < math.inf:
        raise InvalidFileError(f"{where}: {told(value)}; expected a finite number that is not negative")
    return number


def _option(name: str) -> Callable[[Any, str], Any]:
    """Reads a loss option as its declaration has it."""
    option = LossOptions.OPTIONS[name]

    def read(value: Any, where: str) -> float:
        number = _number(value, where)
        if not option.accepts(number):
            raise InvalidFileError(f"{where}: {told(value)}; expected {option.expected}")
        return number

    return read


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not INT64.min <= value <= INT64.max:
        raise InvalidFileError(f"{where}: {told(value)}; expected a whole number")
    return value


def _weight(value: Any, where: str) -> NDArray[np.float64]:
    entries = _list(value, where, "a list of one factor for each class")
    read = _option("weight")
    return np.array([read(v, f"{where}[{j}]") for j, v in enumerate(entries)], np.float64)


def _rows(value: Any, where: str, read: Callable[[Any, str], float]) -> NDArray[np.float64]:
    """A list of rows of one width, at least one of at least one number."""
    rows = _list(value, where, "a list of rows, each a list of numbers")
    if not rows:
        raise InvalidFileError(f"{where}: no rows; expected at least one")
    width = None
    found = []
    for r, row in enumerate(rows):
        entries = _list(row, f"{where}[{r}]", "a row, a list of numbers")
        width = len(entries) if width is None else width
        if len(entries) != width or not entries:
            expected = f"{width}, as in row 0" if width else "at least one class"
            raise InvalidFileError(f"{where}[{r}]: a row of {len(entries)} numbers; expected {expected}")
        found.append([read(v, f"{where}[{r}][{j}]") for j, v in enumerate(entries)])
    return np.array(found, np.float64)


def _logits(value: Any, where: str) -> NDArray[np.float64]:
    return _rows(value, where, _number)


def _raw_targets(value: Any, where: str) -> NDArray[Any]:
    """Class indices (B,) of int64, or class probabilities (B, C)."""
    entries = _list(value, where, "a list: a class index for each row, or a row of probabilities for each")
    if any(isinstance(entry, list) for entry in entries):
        return _rows(value, where, _factor)
    return np.array([_whole(v, f"{where}[{r}]") for r, v in enumerate(entries)], np.int64)


def _targets(given: Mapping[str, Any], where: str) -> NDArray[Any]:
    """The targets, held against the other fields."""
    x, t = given["logits"], given["targets"]
    if len(t) != len(x) or (t.ndim == 2 and t.shape != x.shape):
        shape = "x".join(map(str, t.shape))
        raise InvalidFileError(
            f"{where}, targets: {shape} of them; expected {len(x)}, or {len(x)}x{x.shape[1]}, as logits"
        )
    if t.ndim == 2 and "target_dtype" in given:
        raise InvalidFileError(f"{where}, target_dtype: class probabilities have the dtype of the logits; leave it out")
    if t.ndim == 1 and not given.get("invalid"):
        outside = (t < 0) | (t >= x.shape[1])
        outside &= True if given.get("ignore_index") is None else t != given["ignore_index"]
        if outside.any():
            r = int(np.flatnonzero(outside)[0])
            raise InvalidFileError(
                f"{where}, targets[{r}]: {t[r]} is no class; with {x.shape[1]} classes it must be 0 to {x.shape[1] - 1}"
            )
    dtype: np.dtype[Any] = np.dtype(given.get("target_dtype", t.dtype))
    if dtype == np.int32 and (t != t.astype(np.int32)).any():
        raise InvalidFileError(f"{where}, target_dtype: a target is beyond int32")
    typed: NDArray[Any] = t.astype(dtype)
    return typed


# Of the loss options those that are no single float.
_OPTIONS: Mapping[str, Callable[[Any, str], Any]] = {"weight": _weight, "ignore_index": _whole}
_READ: Mapping[str, Callable[[Any, str], Any]] = {
    "name": _name,
    "why": _text,
    "source": _text,
    "reported": _text,
    "tags": _tags,
    "logits": _logits,
    "targets": _raw_targets,
    "target_dtype": _one_of(("int64", "int32")),
    "reduction": _one_of(REDUCTIONS),
    **{name: _OPTIONS.get(name, _option(name)) for name in LossOptions.OPTIONS},
    "layout": _one_of(LAYOUTS),
    "invalid": _flag,
}
