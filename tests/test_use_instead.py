"""The page that recommends losses: its grades are measured again, and its functions get A."""

import re
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import pytest
from in_process import calls_in_this_process
from torch.nn.functional import cross_entropy

from logitlab import assert_conforms, runner
from logitlab.core.vocabulary import GRADES

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "use-instead.md").read_text()
FUNCTION = re.compile(r"^### (\w+)\n+```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
FUNCTIONS = dict(FUNCTION.findall(PAGE.split("## The log1p loss to copy")[1]))
STATED = re.compile(r"(\w+|-)(?: `([\w/]+)`)?")


def statements():
    """Return the statements of the tables: implementation, column, grade or verdict, and the named case or None."""
    columns = []
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| loss"):
            columns = cells
        elif line.startswith("| ") and re.fullmatch(r"`[\w-]+/[^`]+`", cells[0]):
            whole_row = cells[1].strip("`") if columns[1] == "case" else None
            for column, cell in zip(columns[1:], cells[1:], strict=True):
                if column != "case":
                    stated, case = STATED.fullmatch(cell).groups()
                    yield cells[0].strip("`"), column, stated, case or whole_row


STATEMENTS = sorted(set(statements()), key=str)
CASES = sorted({case for *_, case in STATEMENTS if case})
DTYPES = ("float16", "bfloat16", "float32", "float64")
QUICK = ("numpy", "onnxruntime", "torch")  # the others compile


@cache
def measured(framework, dtypes):
    """Measure the cases on the page with this framework's losses on the page."""
    names = sorted({name for name, *_ in STATEMENTS if name.split("/")[0] == framework})
    with calls_in_this_process() if framework in QUICK else nullcontext():
        return runner.run(frameworks=framework, implementations=names, modes="eager", dtypes=dtypes, cases=CASES)


def frameworks():
    for framework in sorted({name.split("/")[0] for name, *_ in STATEMENTS}):
        if framework in QUICK:
            yield pytest.param(framework, ("float32",), id=f"{framework}, float32")
        yield pytest.param(framework, DTYPES, marks=pytest.mark.full, id=framework)


@pytest.mark.pinned
@pytest.mark.parametrize(("framework", "dtypes"), [*frameworks()])
def test_the_page_states_the_measured_grades(framework, dtypes):
    df = measured(framework, dtypes)
    wrong = []
    for name, column, stated, case in STATEMENTS:
        if name.split("/")[0] != framework or column in set(DTYPES) - set(dtypes):
            continue
        rows = df[(df["implementation"] == name) & df["case"].isin([case] if case else CASES)]
        if column in DTYPES:
            grades = rows[(rows["dtype"] == column) & rows["grade"].notna()]["grade"]
            found = max(grades, key=GRADES.index, default="-")
        else:
            ignored = rows[(rows["quantity"] == "gradient") & rows["grade"].isna()]
            found = "/".join(sorted(set(ignored["verdict"])))
        if found != stated:
            wrong.append(f"{name} {column} at {case or 'every named case'}: {stated} on the page, {found} measured")
    assert wrong == []


def test_the_page_makes_enough_statements():
    assert len(STATEMENTS) > 90
    assert {name.split("/")[0] for name, *_ in STATEMENTS} >= {"numpy", "torch", "jax", "tensorflow", "onnxruntime"}
    assert set(FUNCTIONS) == {"NumPy", "PyTorch", "JAX"}


def function(name):
    scope = {}
    exec(FUNCTIONS[name], scope)  # noqa: S102 - the page's own code
    return scope["cross_entropy"]


FEW = ["seed/article", "gap/*", "masks/first", "special/*", "overflow/*", "offset/1e06", "check/width_1"]
EVERY = [
    *FEW,
    "masks/*",
    "underflow/*",
    "certainty/*",
    "offset/*",
    "ties/*",
    "neighbours/*",
    "check/width_2",
    "check/width_7",
]


@pytest.mark.parametrize("cases", [FEW, pytest.param(EVERY, marks=pytest.mark.full)], ids=["few cases", "more cases"])
def test_the_numpy_function_is_accurate(cases):
    both = function("NumPy")
    assert_conforms(
        lambda logits, targets: both(logits, targets)[0],
        framework="numpy",
        gradient=lambda logits, targets: both(logits, targets)[1],
        require="A",
        cases=cases,
    )


@pytest.mark.parametrize(
    ("cases", "dtypes"),
    [(FEW, ["bfloat16", "float32"]), pytest.param(EVERY, None, marks=pytest.mark.full)],
    ids=["few cases", "more cases"],
)
def test_the_pytorch_function_is_accurate(cases, dtypes):
    assert_conforms(function("PyTorch"), framework="torch", dtypes=dtypes, require="A", cases=cases)


@pytest.mark.parametrize(
    ("cases", "dtypes"),
    [
        (["seed/article", "masks/first", "underflow/*"], ["float32"]),  # of one width: JAX compiles for each shape
        pytest.param(FEW, None, marks=pytest.mark.full),
    ],
    ids=["few cases", "more cases"],
)
def test_the_jax_function_is_accurate(cases, dtypes):
    assert_conforms(function("JAX"), framework="jax", dtypes=dtypes, require="A", cases=cases)


def test_a_function_that_is_not_accurate_fails():
    def stable(logits, targets):
        return cross_entropy(logits, targets, reduction="none")

    with pytest.raises(AssertionError, match="grade A required"):
        assert_conforms(stable, framework="torch", dtypes=["float32"], require="A", cases="gap/*", shrink=False)
