"""Read and write the measured grades in ``docs/measured/grades.json``, and make tables of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from logitlab.cases import select_cases
from logitlab.core.vocabulary import GRADES, Grade

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "measured" / "grades.md"
KEPT = ROOT / "docs" / "measured" / "grades.json"
BEGIN, END = "<!-- grades: written by `make grades` -->", "<!-- end of grades -->"
VERDICTS = {
    "correct": "of this grade", "inaccurate": "inaccurate", "lost": "wrong in every digit", "nan": "NaN",
    "overflow": "infinite", "underflow": "0", "swallowed": "finite where the exact one is not",
}  # fmt: skip
# README names these losses; the page lists all.
WELL_KNOWN = (
    "torch/log1p", "torch/F.cross_entropy", "tensorflow/nn.sparse_softmax_cross_entropy_with_logits",
    "jax/optax.softmax_cross_entropy_with_integer_labels", "torch/logsumexp", "torch/F.cross_entropy[label_smoothing]",
    "torch/F.cross_entropy[probabilities]", "jax/optax.softmax_cross_entropy",
    "tensorflow/keras.losses.CategoricalCrossentropy", "torch/naive",
)  # fmt: skip


@dataclass(frozen=True)
class Decision:
    """The grade of one implementation, and one result that has this grade.

    Attributes:
        implementation: full name.
        grade: the worst grade in float32 in eager mode over the whole catalogue.
        case, row, quantity, verdict: a result with this grade; ``case`` is None if every result is graded A.
        other_modes: pairs of another mode and its worst grade at that case; for grade A, at all deciding cases.
    """

    implementation: str
    grade: str
    case: str | None = None
    row: int = 0
    quantity: str = ""
    verdict: str = ""
    other_modes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Kept:
    """The content of the file: the decisions, and the versions of the measured packages."""

    versions: dict[str, str]
    decisions: tuple[Decision, ...]

    @property
    def cases(self) -> list[str]:
        """The cases that decide a grade."""
        return sorted({d.case for d in self.decisions if d.case})


def read() -> Kept:
    """Return the saved grades, or none if the file does not exist."""
    if not KEPT.exists():
        return Kept({}, ())
    kept = json.loads(KEPT.read_text())
    decisions = (Decision(**d | {"other_modes": tuple(d["other_modes"].items())}) for d in kept["decisions"])
    return Kept(kept["versions"], tuple(decisions))


def write(kept: Kept) -> None:
    """Save the grades in the file, one line for each implementation."""
    lines = [json.dumps(asdict(d) | {"other_modes": dict(d.other_modes)}) for d in kept.decisions]
    decisions = ",\n  ".join(lines)
    KEPT.write_text(f'{{\n "versions": {json.dumps(kept.versions)},\n "decisions": [\n  {decisions}\n ]\n}}\n')


def documents(kept: Kept) -> dict[Path, str]:
    """Return the files that state grades, each with its new text."""
    tables = {README: summary(kept), PAGE: whole_table(kept)}
    return {file: _between_markers(file.read_text(), table) for file, table in tables.items()}


def _between_markers(text: str, table: str) -> str:
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.split(END)[1]}"


def summary(kept: Kept) -> str:
    """Return a table with a line for each grade: the number of losses, the well-known ones, and the deciding case."""
    lines = ["| worst grade | losses | such as | most often decided by |", "|---|---:|---|---|"]
    for grade in GRADES:
        decisions = [d for d in kept.decisions if d.grade == grade]
        if decisions:
            _, _, where = next(_places(grade, decisions))
            known = compact({d.implementation for d in decisions} & {*WELL_KNOWN})
            lines.append(f"| **{grade}** {Grade(grade).meaning} | {len(decisions)} | {known} | {where} |")
    return "\n".join(lines)


def whole_table(kept: Kept) -> str:
    """Return the table of all grades, the grades that other modes change, and the versions."""
    rows = [
        f"| **{grade}** {meaning} | {compact(names)} | {where} |"
        for grade in GRADES
        for meaning, names, where in _places(grade, [d for d in kept.decisions if d.grade == grade])
    ]
    table = "\n".join(["| worst grade | losses | decided by |", "|---|---|---|", *rows])
    versions = ", ".join(f"{package} {version}" for package, version in sorted(kept.versions.items()))
    modes = "In another mode, the same case gives some of them another grade:"
    changed = "\n".join(_changed(kept.decisions))
    return "\n\n".join([table, modes, changed, f"Measured with {versions}."])


def _places(grade: str, decisions: Iterable[Decision]) -> Iterator[tuple[str, list[str], str]]:
    """Yield a grade's meaning, the implementations with the same deciding result, and this result in words."""
    places: dict[tuple[str | None, str, str], list[str]] = {}
    for d in decisions:
        places.setdefault((d.case, d.quantity, d.verdict), []).append(d.implementation)
    for (case, quantity, verdict), names in sorted(places.items(), key=lambda place: (-len(place[1]), place[1])):
        result = f"the {quantity} is {VERDICTS[verdict]}" if case else "every result"
        # Grade F has several meanings, and the result shows which one.
        where = f"`{case}`. {select_cases(case)[0].why}".replace("|", "\\|") if case else "no case is worse"
        yield (result, names, where) if grade == "F" else (Grade(grade).meaning, names, where)


def _changed(decisions: Iterable[Decision]) -> Iterator[str]:
    """Yield one line for each change of a grade by another mode."""
    changes: dict[tuple[str, str, str], list[str]] = {}
    for d in decisions:
        for mode, grade in d.other_modes:
            if grade != d.grade:
                changes.setdefault((mode, d.grade, grade), []).append(d.implementation)
    for (mode, eager, grade), names in sorted(changes.items()):
        yield f"- `{mode}`, {eager} becomes **{grade}**: {compact(names)}"


def compact(names: Iterable[str]) -> str:
    """Return names as code, grouped by their frameworks: ``jax, numpy: `lse`; torch: `logsumexp` ``."""
    frameworks: dict[str, list[str]] = {}
    for name in sorted(names):
        framework, loss = name.split("/", 1)
        frameworks.setdefault(loss, []).append(framework)
    losses: dict[tuple[str, ...], list[str]] = {}
    for loss, of in frameworks.items():
        losses.setdefault(tuple(of), []).append(f"`{loss}`")
    return "; ".join(f"{', '.join(of)}: {', '.join(losses[of])}" for of in sorted(losses))
