"""Grades computed independently from their published definition (docs/concepts/grades.md), in mpmath.

Nothing here uses LogitLab's oracle or its grading. Run as a program, it grades every plain row of the catalogue up to a
width, for each framework named, and counts the grades that agree::

    python tests/regrade.py 64 numpy torch
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from mpmath import mp, mpf

from logitlab.cases import select_cases
from logitlab.core.formats import FORMATS
from logitlab.execution import registry, worker
from logitlab.execution.plan import groups
from logitlab.grading import grade_by

# dtype: bits of the significand, exponents of the smallest normal number and of the largest.
DTYPES = {
    "float16": (11, -14, 15),
    "bfloat16": (8, -126, 127),
    "float32": (24, -126, 127),
    "float64": (53, -1022, 1023),
}
NEAR = mpf(10) ** -9  # an error this near to a bound may get either grade


@dataclass(frozen=True)
class Row:
    """One row of logits and its target, as exact numbers in a dtype."""

    logits: tuple[float, ...]
    target: int
    dtype: str

    @property
    def graded(self) -> bool:
        """Return whether the row has a limit that a format can represent."""
        return math.inf not in self.logits and (self.is_nan or any(x > -math.inf for x in self.logits))

    @property
    def is_nan(self) -> bool:
        return any(math.isnan(x) for x in self.logits)

    @cached_property
    def finite(self) -> list[float]:
        return [x for x in self.logits if math.isfinite(x)]

    @cached_property
    def bits(self) -> int:
        """Return the working precision: the digits of a difference of logits, and more than two float64 hold."""
        return 250 + max(0, math.frexp(max(map(abs, self.finite)))[1])

    @cached_property
    def exact(self) -> dict[str, list[mpf]]:
        """Return the loss (1 number), the gradient and the probabilities (C numbers each)."""
        with mp.workprec(self.bits):
            shifts = [mpf(x) - max(self.finite) for x in self.logits]
            terms = [mp.exp(s) if s > -mp.inf else mpf(0) for s in shifts]
            top = self.logits.index(max(self.finite))
            others = mp.fsum(e for j, e in enumerate(terms) if j != top)
            total = 1 + others
            p = [e / total for e in terms]
            g = [mpf(e) for e in p]
            g[self.target] = -mp.fsum(e for j, e in enumerate(terms) if j != self.target) / total
            loss = mp.inf if shifts[self.target] == -mp.inf else _log1p(others, self.bits) - shifts[self.target]
            return {"loss": [loss], "gradient": g, "probabilities": p}

    @cached_property
    def bounds(self) -> dict[str, list[tuple[mpf, mpf, mpf]]]:
        """Return the errors that A, B and C allow for each number."""
        precision, emin, _ = DTYPES[self.dtype]
        u, t, n = mpf(2) ** -precision, mpf(2) ** emin, len(self.finite)
        largest = max(abs(mpf(x)) for x in self.finite)
        a = 2 * mp.sqrt(n) * min(u, mpf(2) ** -24)
        loss, p = self.exact["loss"][0], self.exact["probabilities"]
        stable = u * (4 * loss + 8) + a + t
        of_loss = ((8 * u + 2 * u * max(mpf(0), -_ln(loss)) + a) * loss + t, stable, stable + 4 * u * largest)

        def of_entries(values: list[mpf]) -> list[tuple[mpf, mpf, mpf]]:
            most, drift = max(map(abs, values)), min(mpf(1), mp.expm1(min(4 * u * largest, mpf(1))))
            found = []
            for v, q in zip(values, p, strict=True):
                b = ((8 + 2 * abs(_ln(q))) * u + a) * q + (8 * u + a) * most + t
                found.append((((8 + 2 * abs(_ln(v))) * u + a) * abs(v) + t, b, 2 * b + drift))
            return found

        return {"loss": [of_loss], "gradient": of_entries(self.exact["gradient"]), "probabilities": of_entries(p)}

    def grade(self, quantity: str, values: np.ndarray) -> str | None:
        """Return the worst letter of the numbers; None if one is so near a bound that either letter is right."""
        answered = values.dtype.name
        found = [self._letter(quantity, j, float(v), answered) for j, v in enumerate(values.reshape(-1))]
        return None if None in found else max(found)

    def _letter(self, quantity: str, j: int, value: float, answered: str) -> str | None:
        if self.is_nan:
            return "A" if math.isnan(value) else "F"
        exact = self.exact[quantity][j]
        # From half a spacing beyond the largest number on, a value rounds to infinity.
        if exact == mp.inf or abs(exact) >= _limit(self.dtype, answered):
            return "A" if value == math.copysign(math.inf, exact) else "F"
        if not math.isfinite(value):
            return "F"
        with mp.workprec(self.bits):
            error = abs(mpf(value) - exact)
        bounds = self.bounds[quantity][j]
        if any(abs(error - b) <= NEAR * b for b in bounds):
            return None
        letter = next((name for name, b in zip("ABC", bounds, strict=True) if error <= b), "D")
        down = -value if quantity == "gradient" and j == self.target else value
        return max(letter, "C") if down < -(2.0 ** DTYPES[self.dtype][1]) else letter


def _limit(*dtypes: str) -> mpf:
    """Return the least magnitude that rounds to infinity in the dtype with the largest range."""
    return max((2 - mpf(2) ** -DTYPES[d][0]) * mpf(2) ** DTYPES[d][2] for d in dtypes)


def _log1p(x: mpf, bits: int) -> mpf:
    with mp.workprec(2 * bits + 20):
        return x - x * x / 2 if x < mpf(2) ** -bits else mp.log(1 + x)


def _ln(x: mpf) -> mpf:
    """The logarithm of a magnitude; 0 of 0, since it is multiplied by it, and of infinity, whose bound is not used."""
    return mpf(0) if x == 0 or mp.isinf(x) else mp.log(abs(x))


def grades(
    framework: str, dtype: str, cases: list, every: int = 1
) -> Iterator[tuple[str, str, str | None, str | None]]:
    """A label, a quantity, LogitLab's letter and the one worked out here, for one row in ``every``."""
    adapter = registry.load(framework)
    for group in groups(cases, FORMATS[dtype]):
        number = len(group.logits)
        rows = {
            r: Row(tuple(map(float, group.logits[r])), int(group.targets[r]), dtype) for r in range(0, number, every)
        }
        for chosen in adapter.implementations:
            info = registry.ImplementationInfo(chosen.name, chosen.formula, chosen.package, "", chosen.modes)
            outcome = worker.evaluated(adapter, chosen, group.batch(), "cpu", "eager")
            for quantity, values in outcome.values:
                letters = grade_by(group.standard(quantity, info), values).grade
                for r, row in rows.items():
                    again = row.grade(quantity, values[r]) if row.graded else None
                    if again is not None or not row.graded:
                        yield f"{chosen.name} {dtype} {row.logits[:8]}", quantity, letters[r], again


def main(width: str, *frameworks: str) -> None:
    cases = [c for c in select_cases(None) if c.plain and c.classes <= int(width)]
    for framework in frameworks:
        for dtype in DTYPES:
            found = list(grades(framework, dtype, cases))
            apart = [line for line in found if line[2] != line[3]]
            print(framework, dtype, f"{len(found)} grades, {len(apart)} differ", flush=True)
            for line in apart[:5]:
                print("   ", *line)


if __name__ == "__main__":
    main(*sys.argv[1:])
