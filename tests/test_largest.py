"""The table of the largest known errors: every entry is measured again, and one that differs is marked."""

import json
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from in_process import calls_in_this_process

import logitlab
from logitlab import runner
from logitlab.cases import get_case, make
from logitlab.cases.inputs import write_cases
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.core.rounding import ulp
from logitlab.storage.store import Run

NAIVE = "numpy/naive"
FOUND = make("hunt/mine", "Found.", [[20.0, 0.0, 0.0]], [0])  # a sure row: naive loses the digits of its loss


@pytest.fixture(scope="module", autouse=True)
def in_this_process():
    with calls_in_this_process():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("largest") / "run"
    runner.run(cases=["seed/*", "gap/*_high"], frameworks="numpy", dtypes="float32", modes="eager", out=out)
    return out


@pytest.fixture(scope="module")
def found(folder):
    return logitlab.largest(folder, limit=None)


def test_each_entry_is_the_largest_finite_error_of_the_run(folder, found):
    df = logitlab.read(folder, where="grade IS NOT NULL AND isfinite(max_ulp) AND max_ulp > 0.5 AND grade <> 'A'")
    keys = ["implementation", "dtype", "quantity"]
    worst = df.astype(dict.fromkeys(keys, str)).groupby(keys)["max_ulp"].max()
    table = found.table.set_index(keys)
    assert table.index.is_unique
    for key, line in table.iterrows():
        assert line["ulp"] == line["recorded"]
        assert not line["differs"]
        assert line["ulp"] >= worst.get(key, 0)
    assert set(worst.index) <= set(table.index)
    for _, group in found.table.groupby(["dtype", "quantity"], sort=False):
        assert group["ulp"].is_monotonic_decreasing


def test_both_quantities_of_a_case_of_a_sweep_are_measured_again(tmp_path):
    out = tmp_path / "run"
    runner.run(
        cases="seed/article", sweeps="offset=1e4", implementations="numpy/lse", dtypes="float32", out=out
    )  # fmt: skip
    table = logitlab.largest(out, limit=None).table
    swept = table[table["case"].str.startswith("sweep_offset/")]
    assert set(swept["quantity"]) == {"loss", "gradient"}
    assert (swept["ulp"] == swept["recorded"]).all()


def test_computed_exact_and_input_give_the_error(found):
    """The error follows from what the table shows: the input, the computed value, and the input's exact answer."""
    fmt, seen = FORMATS["float32"], 0
    for line in found.table[found.table["input"].str.startswith("[")].to_dict("records"):
        if line["options"] or not line["target"].isdigit():
            continue
        logits = np.array([json.loads(line["input"].replace("inf", "Infinity"))], np.float32)
        case = get_case(line["case"])
        assert (logits[0] == case.quantized(fmt)[line["row"]]).all()
        answer = getattr(logitlab.reference(logits, [int(line["target"])]), line["quantity"])
        hi, lo = (float(part.reshape(1, -1)[0, line["entry"]]) for part in (answer.hi, answer.lo))
        assert line["exact"] == hi
        error = abs(Fraction(line["computed"]) - Fraction(hi) - Fraction(lo))
        assert line["ulp"] == pytest.approx(float(error / Fraction(float(ulp(hi, fmt, lo)))), rel=1e-12)
        seen += 1
    assert seen > 3


def test_an_entry_whose_error_differs_is_marked_with_both(folder, tmp_path):
    run = Run(folder)
    df = run.read()
    at = (df["implementation"] == NAIVE) & (df["quantity"] == "loss") & (df["case"] == "gap/20_high")
    other = Run.create(tmp_path / "run", run.manifest)
    other.write(0, df.assign(max_ulp=df["max_ulp"].mask(at, 1e30)).assign(grade="D"))
    table = logitlab.largest(other.folder, implementations=NAIVE, quantities="loss").table
    (line,) = table.to_dict("records")
    assert (line["recorded"], line["differs"], line["case"]) == (1e30, True, "gap/20_high")
    assert line["ulp"] == df.loc[at, "max_ulp"].max()
    assert line["remark"] == f"differs: 1e+30 ulp in {line['source']}, {line['ulp']:.6g} ulp when measured again"


def test_an_entry_that_cannot_be_measured_says_why(folder, tmp_path):
    run = Run(folder)
    df = run.read()
    here = df["implementation"] == NAIVE
    other = Run.create(tmp_path / "run", run.manifest)
    gone = df[here].assign(implementation=pd.Categorical(["numpy/gone"] * int(here.sum())))
    other.write(0, pd.concat([gone, df[here].assign(case=pd.Categorical(["gap/gone"] * int(here.sum())))]))
    entries = logitlab.largest(other.folder, quantities="loss").table.set_index("implementation")
    assert "unknown implementation 'numpy/gone'" in entries.loc["numpy/gone", "remark"]
    assert entries.loc[NAIVE, "remark"].startswith("not measured again: no case is named 'gap/gone'")
    assert entries["differs"].all()


def test_findings_of_a_hunt_are_measured_and_listed(folder, tmp_path):
    file = tmp_path / "found.json"
    write_cases(file, [FOUND])
    table = logitlab.largest(folder, case_files=file, implementations=[NAIVE], quantities="loss").table
    alone = logitlab.largest(case_files=file, implementations=[NAIVE], dtypes="float32", quantities="loss").table
    df = runner.run(case_files=file, implementations=[NAIVE], dtypes="float32", modes="eager")
    assert alone["ulp"].to_list() == [df.loc[df["quantity"] == "loss", "max_ulp"].max()]
    assert alone[["case", "source", "input", "target"]].to_numpy().tolist() == [
        ["hunt/mine", "found.json", "[20, 0, 0]", "0"]
    ]
    assert table["recorded"].max() == max(alone["ulp"].max(), logitlab.largest(folder).table.query(
        "implementation == @NAIVE and quantity == 'loss'")["ulp"].max())  # fmt: skip


def test_failures_are_no_entries(folder, found):
    failed = logitlab.read(folder, where="grade = 'F' AND NOT isfinite(max_ulp)")
    assert len(failed)
    assert np.isfinite(found.table["ulp"]).all()


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["text", "markdown", "json"])
def test_the_command_prints_and_writes_each_format(folder, tmp_path, capsys, name):
    arguments = ["largest", str(folder), "--limit", "1", "--quantity", "loss", "--format", name]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    table = logitlab.largest(folder, limit=1, quantities="loss").table
    (line,) = table.to_dict("records")
    out = tmp_path / "table"
    assert main([*arguments, "--out", str(out)]) == 0
    assert out.read_text() == shown
    if name == "json":
        (entry,) = json.loads(shown)["entries"]
        assert float.fromhex(entry["computed"]) == line["computed"]
        assert [float.fromhex(x) for x in entry["logits"]] == get_case(line["case"]).quantized(FORMATS["float32"])[
            line["row"]
        ].tolist()
    else:
        assert line["implementation"] in shown
        assert line["input"] in shown
        assert f"{line['exact']!r}" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no source is given"),
        ({"case_files": "x.json"}, "without implementations"),
        ({"runs": "x", "quantities": "los"}, "unknown quantity 'los'"),
        ({"runs": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_listed_is_reported(arguments, message):
    with pytest.raises(UsageError, match=message):
        logitlab.largest(**arguments)
