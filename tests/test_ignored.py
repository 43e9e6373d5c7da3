"""Ignored rows without a softmax, and means over no rows: they get no grade, and reports name them."""

import io

import numpy as np
import pandas as pd
import pytest
from in_process import calls_in_this_process
from rich.console import Console

import logitlab
from logitlab import reports, runner
from logitlab.cases import select_cases
from logitlab.core.formats import FORMATS
from logitlab.core.vocabulary import Conduct, Reach
from logitlab.grading import conduct, describe_empty_mean, describe_ignored_row, grade
from logitlab.oracle import reference
from logitlab.reports.site._results import results
from logitlab.reports.tables.ignored import IGNORED_ROW, KINDS, NONE_COUNTS, ROWS, describe_nan
from logitlab.storage.querying import Measurements
from logitlab.storage.store import Run

NAN, INF = float("nan"), float("inf")
PLAIN = [1.0, 2.0, 3.0]
WITHOUT_SOFTMAX = {"NaN": [NAN, 0.0, 1.0], "all -inf": [-INF] * 3, "+inf": [INF, 0.0, 1.0], "two +inf": [INF, INF, 0.0]}


def graded(quantity, computed, ignored, reduction="none"):
    """Return the grades of a plain row and an ignored row with these logits."""
    return graded_as(quantity, computed, np.array([PLAIN, ignored], np.float32), np.array([0, -100]), reduction)


def graded_as(quantity, computed, logits, targets, reduction):
    exact, rows = (reference(logits, targets, ignore_index=-100, reduction=r) for r in (reduction, "none"))
    return grade(quantity, computed, logits, FORMATS["float32"], exact, reduction=reduction, row_losses=rows.loss)


def right_gradient(ignored, reduction="none"):
    logits = np.array([PLAIN, ignored], np.float32)
    exact = reference(logits, np.array([0, -100]), ignore_index=-100, reduction=reduction)
    return exact.gradient.hi.astype(np.float32)


@pytest.mark.parametrize("ignored", WITHOUT_SOFTMAX.values(), ids=WITHOUT_SOFTMAX)
@pytest.mark.parametrize(
    ("entry", "verdict", "error"),
    [(0.0, "correct", 0.0), (NAN, "nan", INF), (INF, "overflow", INF), (0.5, "inaccurate", 0.5)],
)
def test_an_ignored_row_without_a_softmax_has_a_verdict_against_0_and_no_grade(ignored, entry, verdict, error):
    gradient = right_gradient(ignored)
    gradient[1, 2] = entry
    of_gradient = graded("gradient", gradient, ignored)
    of_loss = graded("loss", np.array([2.407606, entry], np.float32), ignored)
    for found in (of_gradient, of_loss):
        assert (found.grade[0], found.verdict[0]) == ("A", "correct")
        assert (found.grade[1], found.verdict[1], found.max_abs[1]) == (None, verdict, error)


@pytest.mark.parametrize("ignored", WITHOUT_SOFTMAX.values(), ids=WITHOUT_SOFTMAX)
def test_the_probabilities_of_an_ignored_row_stay_undefined(ignored):
    found = graded("probabilities", np.full((2, 3), NAN, np.float32), ignored)
    assert (found.grade[1], found.verdict[1]) == (None, "undefined")


def test_a_row_that_counts_and_has_no_limit_stays_undefined():
    logits = np.array([[-INF] * 3], np.float32)
    exact = reference(logits, np.array([0]))
    assert grade("loss", np.array([NAN], np.float32), logits, FORMATS["float32"], exact).verdict[0] == "undefined"


@pytest.mark.parametrize("value", [0.0, NAN, 7.0])
def test_a_mean_over_no_rows_stays_undefined(value):
    batch = np.array([PLAIN, [NAN] * 3], np.float32), np.array([-100, -100]), "mean"
    found = graded_as("loss", np.float32(value), *batch)
    assert (found.grade[0], found.verdict[0]) == (None, "undefined")
    gradient = graded_as("gradient", np.full((2, 3), value, np.float32), *batch)
    assert list(gradient.verdict) == ["undefined", "undefined"]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_nan_that_an_ignored_row_lets_into_the_reduced_loss_is_f(reduction):
    found = graded("loss", np.float32(NAN), [NAN, 0.0, 1.0], reduction)
    assert (found.grade[0], found.verdict[0]) == ("F", "nan")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (0.0, Conduct.ZERO),
        (-0.0, Conduct.ZERO),
        ([0.0, 1e-45], Conduct.NUMBER),
        ([0.0, -INF], Conduct.INFINITY),
        ([INF, NAN], Conduct.NAN),
        ([], Conduct.ZERO),
    ],
)
def test_conduct_follows_from_the_values(values, expected):
    assert conduct(np.array(values, np.float32)) is expected


def test_every_conduct_has_words_for_a_sentence():
    assert describe_ignored_row(Conduct.ZERO, Conduct.NAN) == (
        "The row is ignored: its loss and its gradient are exactly 0. The loss is 0. The gradient is NaN."
    )
    assert describe_empty_mean(Conduct.NAN, None) == (
        "No row counts: a mean over nothing has no value and no grade. The loss is NaN."
    )
    assert len({each.wording for each in Conduct}) == len(Conduct)


# --- the table and the first page -------------------------------------------------------------------------------

CHUNKED = "torch/F.linear_cross_entropy[chunked,compact]"
ASKED = ["torch/F.cross_entropy", "torch/nn.CrossEntropyLoss", CHUNKED, "torch/naive"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    cases = ["ignored/*", "linear_ignored/*", "field_options/pytorch_11551_*"]
    with calls_in_this_process():
        runner.run(cases=cases, implementations=ASKED, dtypes=["float16", "float32"], modes="eager", out=folder)
    return Run(folder)


@pytest.fixture(scope="module")
def table(run):
    return reports.ignored_rows(run.read()).set_index(["implementation", "dtype"])


def printed(run, name, **options):
    out = io.StringIO()
    reports.write(run, [name], console=Console(file=out, width=100, color_system=None), **options)
    return " ".join(out.getvalue().split())


def test_the_catalogue_has_the_rows_that_the_table_is_about():
    looks = {"NaN": np.isnan, "-inf": lambda x: x == -INF, "+inf": lambda x: x == INF}
    for name, kind in ROWS.items():
        (case,) = select_cases(name)
        assert (case.targets == case.ignore_index).tolist() == [row == IGNORED_ROW for row in range(3)]
        assert looks[kind](case.logits[IGNORED_ROW]).any()
        assert np.isfinite(case.logits[case.targets != case.ignore_index]).all()
    for name in NONE_COUNTS:
        (case,) = select_cases(name)
        assert (case.targets == case.ignore_index).all()


def test_the_gradient_of_pytorchs_ignored_row_is_nan_in_the_table_of_a_run(run):
    """pytorch/pytorch#11551: ignored rows that are set to -inf make the gradient NaN."""
    df = run.read()
    for case in ("field_options/pytorch_11551_mean", "field_options/pytorch_11551_none"):
        which = (df["case"] == case) & (df["implementation"] == "torch/F.cross_entropy") & (df["dtype"] == "float32")
        gradient = df[which & (df["quantity"] == "gradient")].set_index("row")
        assert list(gradient["verdict"]) == ["correct", "nan"]
        assert pd.isna(gradient["grade"][1])


def test_the_table_shows_the_results_of_ignored_rows(table):
    assert "torch/naive" not in table.index.get_level_values(0)  # which has no ignore_index
    for dtype in ("float16", "float32"):
        torch = table.loc[("torch/F.cross_entropy", dtype)]
        assert {torch[f"{kind} loss"] for kind in KINDS} == {Conduct.ZERO}
        assert {torch[f"{kind} gradient"] for kind in KINDS} == {Conduct.NAN}
        assert (torch["verdict"], torch["NaN in other rows"], torch["NaN in the mean"]) == ("nan", False, False)
        assert {torch[f"none counts, {r} loss"] for r in ("none", "sum")} == {Conduct.ZERO}
        assert torch["none counts, mean loss"] == Conduct.NAN


def changed(run, case, row, quantity, **values):
    df = run.read().astype({"status": object, "verdict": object, "grade": object})
    which = (df["case"] == case) & (df["row"] == row) & (df["quantity"] == quantity) & (df["dtype"] == "float32")
    which &= df["implementation"] == "torch/nn.CrossEntropyLoss"
    assert which.sum() == 1
    df.loc[which, list(values)] = list(values.values())
    return df


def line_of(df):
    table = reports.ignored_rows(df).set_index(["implementation", "dtype"])
    return table.loc[("torch/nn.CrossEntropyLoss", "float32")]


def test_nan_that_spreads_is_reported_where_it_arrives(run):
    others = changed(run, "ignored/nan_row_none", 2, "gradient", n_nan=3, grade="F", verdict="nan")
    assert line_of(others)["NaN in other rows"]
    assert reports.lets_nan_through(others)[Reach.OTHER_ROWS] == ("torch/nn.CrossEntropyLoss",)
    mean = changed(run, "ignored/masked_row_mean", -1, "loss", n_nan=1, grade="F", verdict="nan")
    assert line_of(mean)["NaN in the mean"]
    assert reports.lets_nan_through(mean)[Reach.REDUCED_LOSS] == ("torch/nn.CrossEntropyLoss", CHUNKED)
    both = f"torch/nn.CrossEntropyLoss, {CHUNKED}"
    assert f"NaN from an ignored row reaches the reduced loss: {both}" in describe_nan(mean)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"value": 0.0, "n_nan": 0}, Conduct.ZERO),
        ({"value": 2.5, "n_nan": 0}, Conduct.NUMBER),
        ({"value": INF, "n_nan": 0, "n_posinf": 1}, Conduct.INFINITY),
        ({"status": "raised", "value": None, "n_nan": None}, Conduct.RAISES),
        ({"status": "crashed", "value": None, "n_nan": None}, Conduct.CRASHES),
        ({"status": "timeout", "value": None, "n_nan": None}, Conduct.HANGS),
    ],
)
def test_a_mean_over_no_rows_is_reported_in_one_word(run, values, expected):
    df = changed(run, "ignored/all_mean", -1, "loss", **values)
    assert line_of(df)["none counts, mean loss"] == expected


def test_a_sound_loss_has_the_verdict_correct_and_is_not_named(run):
    df = run.read()
    names = df["implementation"] == "torch/nn.CrossEntropyLoss"
    own = df["grade"].isna() & (df["verdict"] == "nan") & names
    sound = df.astype({"verdict": object}).assign(
        verdict=lambda t: t["verdict"].mask(own, "correct"), n_nan=lambda t: t["n_nan"].mask(own, 0),
        max_abs=lambda t: t["max_abs"].mask(own, 0.0),
    )  # fmt: skip
    assert line_of(sound)["verdict"] == "correct"
    assert all("torch/nn.CrossEntropyLoss" not in names for names in reports.lets_nan_through(sound).values())


@pytest.mark.full
def test_the_first_page_and_every_format_show_the_verdict(run, tmp_path):
    names = "torch/F.cross_entropy, torch/nn.CrossEntropyLoss"
    text, markdown = printed(run, "text", whole=True), printed(run, "markdown")
    assert f"NaN from an ignored row reaches its own gradient: {names}" in text.partition("Grades")[0]
    assert "Ignored rows and means over nothing" in text
    (section,) = [s for s in reports.make_report([run]).sections if s.name == "ignored"]
    assert "zero / NaN" in set(section.shown["NaN"])
    reached = "NaN from an ignored row{} reaches its own loss in 1 loss"
    assert reached.format("") in printed(run, "text")
    assert reached.format("**") in markdown.replace("**NaN", "NaN")
    written = {p.name: p for p in reports.write(run, ["csv", "html"], tmp_path)}
    csv = pd.read_csv(written["ignored.csv"], keep_default_na=False)
    assert set(csv["NaN gradient"]) == {"NaN"}
    assert "ignored" in logitlab.tables(run.folder)
    first = (tmp_path / "index.html").read_text()
    assert "Losses that let NaN from an ignored row through" in first
    part = first.partition('class="ignored"')[2].partition("</section>")[0]
    assert part.index("its own gradient") < part.rindex("torch-nn.crossentropyloss.html")
    assert 'data-grid="ignored"' in (tmp_path / "faults.html").read_text()


def test_a_page_about_a_case_shows_the_verdict_of_an_ignored_row(run):
    found = results(Measurements.of(run.read()))
    which = (found["case"] == "ignored/nan_row_none") & (found["implementation"] == "torch/F.cross_entropy")
    rows = found[which & (found["dtype"] == "float32")].set_index("row")
    assert rows["verdict"].to_list() == ["correct", "nan", "correct"]
    assert rows["grade"].isna().to_list() == [False, True, False]


def test_a_run_without_ignored_rows_does_not_mention_them(run):
    df = run.read()
    plain = df[df["case"] == "ignored/one_none"]
    assert reports.ignored_rows(plain).empty
    assert reports.lets_nan_through(plain) == {}
