"""Checks of the arguments of public functions: a bad argument raises a `UsageError` before any work starts."""

import math
import numbers
import os
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from .errors import UsageError, short_repr
from .formats import get_format

Choice = TypeVar("Choice", bound=StrEnum)
Strings = str | Sequence[str] | None  # one, several, or the default


def as_strings(value: object, name: str) -> list[str]:
    """Return the strings in ``value`` as a list. None, the default of callers, gives an empty list.

    Raises:
        UsageError: for an empty list, which would otherwise select everything, or an item that is not a string.
    """
    return [str(item) for item in _as_list(value, name, str, "a string")]


def as_paths(value: object, name: str, expected: str = "a path") -> list[Path]:
    """Return the paths in ``value`` as a list, like `as_strings`."""
    return [Path(item) for item in _as_list(value, name, (str, os.PathLike), expected)]


def as_numbers(value: object, name: str) -> list[float]:
    """Return the numbers in ``value`` as a list, like `as_strings`."""
    return [float(item) for item in _as_list(value, name, numbers.Real, "a number")]


def as_dtypes(value: object, name: str = "dtypes") -> list[str]:
    """Return the names of the dtypes in ``value``, like `as_strings`: given by name, or as NumPy's or a framework's."""
    items = [value] if isinstance(value, str) or not isinstance(value, Iterable) else _items(value, name)
    return [] if value is None else [get_format(item).name for item in items]


def as_path(value: object, name: str, expected: str = "a path") -> Path:
    """Return ``value`` as a path, or raise a UsageError."""
    return Path(_of_type(value, (str, os.PathLike), name, expected))


def as_string(value: object, name: str, expected: str = "a string") -> str:
    """Return ``value`` if it is a string, or raise a UsageError."""
    return str(_of_type(value, str, name, expected))


def as_choice(value: object, choices: type[Choice], name: str) -> Choice:
    """Return the item of an enum that ``value`` names, or raise a UsageError with the choices."""
    try:
        return choices(str(value))
    except ValueError:
        raise _unexpected(value, name, f"one of {', '.join(choices)}") from None


def as_positive(value: object, name: str, unit: str) -> float:
    """Return ``value`` if it is a finite number above 0, such as a time limit, or raise a UsageError."""
    expected = f"a finite number of {unit} above 0"
    number = float(_of_type(value, numbers.Real, name, expected))
    if not 0 < number < math.inf:
        raise _unexpected(value, name, expected)
    return number


def as_number(value: object, name: str, least: float, most: float = math.inf) -> float:
    """Return ``value`` if it is a finite number from ``least`` to ``most``, or raise a UsageError."""
    expected = f"a number of at least {least:g}" if most == math.inf else f"a number from {least:g} to {most:g}"
    number = float(_of_type(value, numbers.Real, name, expected))
    if not (math.isfinite(number) and least <= number <= most):
        raise _unexpected(value, name, expected)
    return number


def as_integer(value: object, name: str, least: float = 0) -> int:
    """Return ``value`` if it is an integer of at least ``least``, or raise a UsageError."""
    expected = "a whole number" if least == -math.inf else f"a whole number of at least {least}"
    number = int(_of_type(value, numbers.Integral, name, expected))
    if number < least:
        raise _unexpected(value, name, expected)
    return number


def _as_list(value: object, name: str, kind: type | tuple[type, ...], expected: str) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, kind) or not isinstance(value, Iterable):
        return [_of_type(value, kind, name, f"{expected} or several")]
    return [_of_type(item, kind, f"an item of {name}", expected) for item in _items(value, name)]


def _items(value: Iterable[object], name: str) -> list[object]:
    try:
        items = list(value)
    except TypeError:  # an array without dimensions
        raise _unexpected(value, name, "a list") from None
    if not items:
        raise UsageError(f"{name} is an empty list; give at least one item, or leave it out for the default")
    return items


def _of_type(value: object, kind: type | tuple[type, ...], name: str, expected: str) -> Any:
    # bool is a subclass of int and is not accepted as a number.
    if isinstance(value, bool) or not isinstance(value, kind):
        raise _unexpected(value, name, expected)
    return value


def _unexpected(value: object, name: str, expected: str) -> UsageError:
    return UsageError(f"{name} is {short_repr(value)}; expected {expected}")
