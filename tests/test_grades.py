"""The tables of grades in README and the documentation: their deciding cases are measured again.

`make test` does so in NumPy, PyTorch and ONNX Runtime.
"""

import re
from collections import Counter
from contextlib import nullcontext
from functools import cache

import grades
import kept_grades
import pandas as pd
import pytest
from in_process import calls_in_this_process

from logitlab import runner
from logitlab.core.vocabulary import GRADES

KEPT = kept_grades.read()
# `make test-all` measures Keras's own losses on its other backends, in workers.
OTHERS = ["keras-jax", "keras-torch"]
DEAR = ["jax", "tensorflow"]
CHANGED = [(d, mode, grade) for d in KEPT.decisions for mode, grade in d.other_modes if grade != d.grade]
CHANGED_GRADE = (
    "README states grade {was} for {name} in float32, {mode}, and version {version} gets {now} at {case}: if a new "
    "version fixed or broke it, run `make grades` and say so in the CHANGELOG; if not, find out which is right"
)


@pytest.fixture(scope="module")
def measured_in_others():
    others = runner.run(frameworks=OTHERS, dtypes="float32", modes="eager", cases=KEPT.cases)
    return others[others["grade"].notna()]


def _framework(decision):
    return decision.implementation.split("/")[0]


@cache
def in_other_modes(framework):
    """Measure a framework's losses in the modes that change their grade, at the cases that decide it."""
    changed = [(d, mode) for d, mode, _ in CHANGED if _framework(d) == framework]
    here = framework == "jax"  # this test process has imported it
    with calls_in_this_process() if here else nullcontext():
        df = runner.run(
            frameworks=framework,
            implementations=sorted({d.implementation for d, _ in changed}),
            dtypes="float32",
            modes=sorted({mode for _, mode in changed}),
            cases=sorted({case for d, _ in changed for case in _cases(d)}),
        )
    return df[df["grade"].notna()]


def _cases(decision):
    return [decision.case] if decision.case else KEPT.cases


def _hold(measured, decision, mode, cases, was):
    rows = measured[(measured["implementation"] == decision.implementation) & (measured["mode"] == mode)]
    ranks = rows[rows["case"].isin(cases)]["grade"].map(GRADES.index).astype(int)
    worst = rows.loc[ranks.idxmax()]
    named = {"name": decision.implementation, "mode": mode, "version": worst["version"], "case": worst["case"]}
    assert worst["grade"] == was, CHANGED_GRADE.format(**named, was=was, now=worst["grade"])


@pytest.mark.parametrize("file", kept_grades.documents(KEPT), ids=lambda file: file.name)
def test_a_table_of_grades_shows_the_kept_grades(file):
    assert kept_grades.documents(KEPT)[file] == file.read_text(), f"{file} differs from grades.json: run `make grades`"


def test_readme_counts_the_losses_of_each_grade():
    lines = [line for line in kept_grades.README.read_text().splitlines() if line.startswith("| **")]
    stated = {
        letter: int(count)
        for letter, count in (re.match(r"\| \*\*(.)\*\*[^|]*\| (\d+)", line).groups() for line in lines)
    }
    assert stated == Counter(d.grade for d in KEPT.decisions)
    assert {d.implementation for d in KEPT.decisions} >= {*kept_grades.WELL_KNOWN}


def _kept_of(*frameworks):
    return {d.implementation for d in KEPT.decisions if _framework(d) in frameworks}


def _marks(framework):
    return pytest.mark.full if framework in DEAR else ()


FRAMEWORKS = sorted({_framework(d) for d in KEPT.decisions} - {*OTHERS})


@pytest.mark.parametrize("framework", [pytest.param(name, marks=_marks(name)) for name in FRAMEWORKS])
def test_the_grade_in_readme_is_there_for_every_implementation(deciding_of, framework):
    assert set(deciding_of(framework)["implementation"]) == _kept_of(framework)


@pytest.mark.full
def test_every_implementation_of_other_frameworks_has_a_kept_grade(measured_in_others):
    assert set(measured_in_others["implementation"]) == _kept_of(*OTHERS)


@pytest.mark.pinned
@pytest.mark.parametrize(
    "decision",
    [
        pytest.param(d, id=d.implementation, marks=_marks(_framework(d)))
        for d in KEPT.decisions
        if _framework(d) in FRAMEWORKS
    ],
)
def test_the_grade_in_readme_is_the_measured_one(deciding_of, decision):
    _hold(deciding_of(_framework(decision)), decision, "eager", KEPT.cases, decision.grade)


@pytest.mark.full
@pytest.mark.pinned
@pytest.mark.parametrize(
    "decision", [d for d in KEPT.decisions if _framework(d) in OTHERS], ids=lambda d: d.implementation
)
def test_the_grade_of_keras_on_other_frameworks_is_the_measured_one(measured_in_others, decision):
    _hold(measured_in_others, decision, "eager", KEPT.cases, decision.grade)


@pytest.mark.pinned
@pytest.mark.parametrize(
    ("decision", "mode", "grade"),
    [
        pytest.param(
            decision, mode, grade, id=f"{decision.implementation}-{mode}",
            marks=[] if decision.implementation.startswith("jax/") else pytest.mark.full,
        )
        for decision, mode, grade in CHANGED
    ],
)  # fmt: skip
def test_the_grade_in_another_mode_is_the_measured_one(decision, mode, grade):
    _hold(in_other_modes(_framework(decision)), decision, mode, _cases(decision), grade)


def test_names_of_the_same_frameworks_stand_together():
    names = ["jax/lse", "torch/logsumexp", "numpy/lse", "jax/naive", "numpy/naive"]
    assert kept_grades.compact(names) == "jax, numpy: `lse`, `naive`; torch: `logsumexp`"


def test_few_cases_decide_the_grades_and_known_cases_come_first():
    lines = [
        ("numpy/a", "masks/last", "F"), ("numpy/b", "masks/last", "F"), ("numpy/b", "masks/first", "F"),
        ("numpy/c", "masks/last", "A"), ("numpy/a", "gap/20_high", "B"), ("numpy/d", "seed/article", "A"),
        ("numpy/c", "gap/20_high", "B"),
    ]  # fmt: skip
    df = pd.DataFrame(lines, columns=["implementation", "case", "grade"])
    df = df.assign(status="ok", mode="eager", quantity="loss", verdict="nan", classes=3, row=0)
    decided = {d.implementation: (d.grade, d.case) for d in grades.decide(grades.graded(df))}
    assert decided == {
        "numpy/a": ("F", "masks/last"), "numpy/b": ("F", "masks/first"), "numpy/c": ("B", "gap/20_high"),
        "numpy/d": ("A", None),
    }  # fmt: skip


def test_an_outdated_grade_is_noticed():
    """README called Keras's sparse losses from logits B on JAX too, where they are F."""
    rows = [("keras-jax/losses.x", "eager", "field_masks/optax_896", "F", "3.15.1")]
    measured = pd.DataFrame(rows, columns=["implementation", "mode", "case", "grade", "version"])
    kept = kept_grades.Decision("keras-jax/losses.x", "B", "gap/20_high")
    with pytest.raises(AssertionError, match=r"grade B for keras-jax.*eager.* gets F at field_masks/optax_896"):
        _hold(measured, kept, "eager", ["field_masks/optax_896", "gap/20_high"], kept.grade)
