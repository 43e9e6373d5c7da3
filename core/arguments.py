"""What the public functions are given: anything else than expected is one `UsageError` before any work starts."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .errors import UsageError, shown
from .formats import get_format

Strings = str | Sequence[str] | None  # one, several, or the default


def listed(given: object, name: str) -> list[str]:
    """The strings that were given: a lone one is a list of one, and None, which stands for the default, an empty list.

    Raises:
        UsageError: for an empty list, which would otherwise mean everything, and for anything but strings.
    """
    return [str(item) for item in _items(given, name, str, "a string")]


def paths(given: object, name: str, expected: str = "a path") -> list[Path]:
    """As `listed`, for paths of files or folders."""
    return [Path(item) for item in _items(given, name, (str, os.PathLike), expected)]


def numbers_listed(given: object, name: str) -> list[float]:
    """As `listed`, for numbers."""
    return [float(item) for item in _items(given, name, numbers.Real, "a number")]


def dtype_names(given: object, name: str = "dtypes") -> list[str]:
    """As `listed`, for dtypes: by name, as NumPy's, or as a framework's own."""
    items = [given] if isinstance(given, str) or not isinstance(given, Iterable) else _several(given, name)
    return [] if given is None else [get_format(item).name for item in items]


def path(given: object, name: str, expected: str = "a path") -> Path:
    """A path; UsageError for anything else."""
    return Path(_of_type(given, (str, os.PathLike), name, expected))


def text(given: object, name: str, expected: str = "a string") -> str:
    """A string; UsageError for anything else."""
    return str(_of_type(given, str, name, expected))


def positive(given: object, name: str, unit: str) -> float:
    """A finite number above 0, such as a time limit; UsageError for anything else."""
    expected = f"a finite number of {unit} above 0"
    number = float(_of_type(given, numbers.Real, name, expected))
    if not 0 < number < math.inf:
        raise _unexpected(given, name, expected)
    return number


def between(given: object, name: str, least: float, most: float = math.inf) -> float:
    """A finite number from ``least`` to ``most``; UsageError for anything else."""
    expected = f"a number of at least {least:g}" if most == math.inf else f"a number from {least:g} to {most:g}"
    number = float(_of_type(given, numbers.Real, name, expected))
    if not (math.isfinite(number) and least <= number <= most):
        raise _unexpected(given, name, expected)
    return number


def whole(given: object, name: str, least: float = 0) -> int:
    """An integer of at least ``least``; UsageError for anything else."""
    expected = "a whole number" if least == -math.inf else f"a whole number of at least {least}"
    number = int(_of_type(given, numbers.Integral, name, expected))
    if number < least:
        raise _unexpected(given, name, expected)
    return number


def _items(given: object, name: str, kind: type | tuple[type, ...], expected: str) -> list[Any]:
    if given is None:
        return []
    if isinstance(given, kind) or not isinstance(given, Iterable):
        return [_of_type(given, kind, name, f"{expected} or several")]
    return [_of_type(item, kind, f"an item of {name}", expected) for item in _several(given, name)]


def _several(given: Iterable[object], name: str) -> list[object]:
    try:
        items = list(given)
    except TypeError:  # an array without dimensions
        raise _unexpected(given, name, "a list") from None
    if not items:
        raise UsageError(f"{name} is an empty list; leave it out for the default, or give at least one")
    return items


def _of_type(given: object, kind: type | tuple[type, ...], name: str, expected: str) -> Any:
    # A bool counts as a number in Python, and never means one here.
    if isinstance(given, bool) or not isinstance(given, kind):
        raise _unexpected(given, name, expected)
    return given


def _unexpected(given: object, name: str, expected: str) -> UsageError:
    return UsageError(f"{name} is {shown(given)}; expected {expected}")
