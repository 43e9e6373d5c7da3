"""The requirements of a check: each grade and each property, in each dtype, with the number of lines that fail it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ....core.vocabulary import Quantity, Status
from .._result import CheckResult
from ..batches._presentation import CATALOGUED
from ..bitwise import BitwiseResult
from ..judging._wording import unsupported_dtypes

PREFIX = "check/"
_MEASURED = "measured"


@dataclass(frozen=True)
class Requirement:
    """A requirement in one dtype.

    Attributes:
        rule: a stable name, such as ``check/masks`` or ``check/loss-grade``.
        name: the requirement in words, such as ``masks`` or ``loss has grade B``.
        dtype: the dtype; empty if the requirement concerns the whole check.
        rows: the number of lines that test it.
        failed: the number of lines that fail it.
        example: the worst of these in words; empty if it holds.
        held: whether it holds.
    """

    rule: str
    name: str
    dtype: str
    rows: int
    failed: int
    example: str
    held: bool

    @property
    def counts(self) -> str:
        """The numbers in words: ``622 of 634 fail in float32``."""
        where = f" in {self.dtype}" if self.dtype else ""
        return f"{self.failed:,} of {self.rows:,} fail{where}"


def requirements(result: CheckResult) -> list[Requirement]:
    """Return the requirements of a check that any line tests: grades by dtype first, then properties."""
    found = [*_grades(result), *_properties(result)]
    if not result.passed and all(each.held for each in found):
        found.append(Requirement(f"{PREFIX}{_MEASURED}", "some call is measured", "", 0, 0, _unmeasured(result), False))
    return found


def broken(result: CheckResult) -> dict[str, list[Requirement]]:
    """Return the requirements that do not hold, by rule."""
    found: dict[str, list[Requirement]] = {}
    for each in requirements(result):
        if not each.held:
            found.setdefault(each.rule, []).append(each)
    return found


def _grades(result: CheckResult) -> Iterator[Requirement]:
    """Yield the grade of each quantity in each dtype; a dtype that is not required and not supported has none."""
    failures, refused = result.failures, unsupported_dtypes(result.lines)
    for dtype, grades in result.grades_by_quantity.items():
        for quantity in grades:
            of_dtype = result.lines["dtype"].eq(dtype) & result.lines["quantity"].eq(quantity)
            some = failures[failures["dtype"].eq(dtype) & failures["quantity"].eq(quantity)]
            if dtype in refused and some.empty:
                continue
            letter = result.required_loss if quantity == Quantity.LOSS else result.required_gradient
            words = quantity.replace("_", " ")
            yield Requirement(
                f"{PREFIX}{_slug(words)}-grade", f"{words} has grade {letter}", dtype,
                int(of_dtype.sum()), len(some), _example(some), some.empty,
            )  # fmt: skip


def _properties(result: CheckResult) -> Iterator[Requirement]:
    """Yield each property in each dtype that has a line to test it."""
    failures, bits, refused = result.failures, isinstance(result, BitwiseResult), unsupported_dtypes(result.lines)
    columns = (result.properties[name].tolist() for name in ("property", "dtype", "rows", "failed", "held"))
    for name, dtype, rows, failed, held in zip(*columns, strict=True):
        if dtype in refused or (held and not rows):
            continue
        some = failures.iloc[:0]
        if not held:
            of_dtype = failures[failures["dtype"].eq(dtype)]
            breaks = of_dtype["property"] if bits else of_dtype["breaks"]
            some = of_dtype[[name in names.split("; ") for names in breaks]]
        yield Requirement(f"{PREFIX}{_slug(name)}", name, dtype, int(rows), int(failed), _example(some), bool(held))


def _slug(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower().replace("'s", "s")).strip("-")


def _example(failures: pd.DataFrame) -> str:
    """Return the first of some failures, the worst, in words; empty for none."""
    return "" if failures.empty else words_of_failure(failures.iloc[0])


def words_of_failure(line: pd.Series[Any]) -> str:
    """Return a line of `CheckResult.failures` in words, on one line."""
    if "where" in line.index:  # of bits
        where = f"{line['dtype']}, {line['classes']:,} classes, {line['where']}"
        if line["status"] != Status.OK:
            return f"{where}: {line['status']}: {line['detail']}"
        return f"{where}: the {line['quantity']} of {line['different']:,} of {line['rows']:,} rows has other bits"
    row = f"[{line['row']}]" if int(str(line["row"])) >= 0 else ""
    how = "" if line["how"] == str(CATALOGUED) else f", {line['how']}"
    where = f"{line['case']}{row} in {line['dtype']}{how}"
    if line["status"] != Status.OK:
        return f"{where}: {line['status']}: {line['detail']}"
    return f"{where}: {str(line['quantity']).replace('_', ' ')} {_fault(line)}"


def _fault(line: pd.Series[Any]) -> str:
    """Return the grade, the verdict and the numbers of a measured line."""
    grade = line["grade"] if isinstance(line["grade"], str) else None
    parts = [f"{grade} ({line['verdict']})" if grade else str(line["verdict"])]
    value, exact, ulp = (float(str(line[name])) for name in ("value", "exact", "max_ulp"))
    if not np.isnan(exact) or not np.isnan(value):
        parts.append(f"{value:.6g} where {exact:.6g} is exact")
    if np.isfinite(ulp):
        parts.append(f"off by {ulp:.3g} ulp")
    if isinstance(line["detail"], str) and line["detail"]:
        parts.append(line["detail"])
    return ", ".join(parts)


def _unmeasured(result: CheckResult) -> str:
    refused = unsupported_dtypes(result.lines)
    return "; ".join(f"{dtype}: {message}" for dtype, message in refused.items()) or "no case fits the dtypes"
