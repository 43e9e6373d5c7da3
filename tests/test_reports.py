"""The tables of a report, from a small run and from handmade measurements."""

import html
import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from in_process import calls_in_this_process
from rich.console import Console

from logitlab import cli, reports, runner
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.core.vocabulary import accurate_ulps
from logitlab.execution import plan
from logitlab.execution.registry import Description, ImplementationInfo
from logitlab.reports import _render
from logitlab.reports._overview import overview
from logitlab.reports.tables import curves, sections
from logitlab.storage.manifest import Manifest
from logitlab.storage.querying import Measurements
from logitlab.storage.store import Run, typed

LOSSES = [
    *(f"{framework}/{formula}" for framework in ("numpy", "torch") for formula in ("naive", "lse")),
    "numpy/scipy.special.log_softmax", "torch/F.cross_entropy",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    with calls_in_this_process():
        runner.run(
            cases=["seed/article", "seed/article_mean", "masks/first", "special/nan"], implementations=LOSSES,
            modes="eager", dtypes=["float16", "float32"], out=folder,
        )  # fmt: skip
    return Run(folder)


@pytest.fixture(scope="module")
def measurements(run):
    return run.read()


@pytest.fixture(scope="module")
def report(run):
    return reports.make_report([run])


@pytest.fixture
def made_once(report, monkeypatch):
    """Render the report of `run` without making it again: its tables take a second."""
    monkeypatch.setattr(_render, "make_report", lambda runs: report)


def line(**changes):
    base = {
        "case": "f/a", "row": 0, "classes": 2, "framework": "x", "implementation": "x/loss",
        "dtype": "float32", "device": "cpu",
        "mode": "eager", "quantity": "loss", "status": "ok", "grade": "A", "finite": True, "expected_finite": True,
        "n_nan": 0, "max_ulp": 0.5,
    }  # fmt: skip
    return base | changes


def made(*lines):
    return typed(pd.DataFrame(list(lines)))


def test_the_grade_matrix_shows_the_worst_and_its_case():
    df = made(line(), line(case="f/b", grade="C", max_ulp=9.0), line(case="f/c", grade="C", max_ulp=90.0))
    matrix = reports.grade_matrix(df)
    assert matrix[["float32", "float32 case"]].to_numpy().tolist() == [["C", "f/c"]]


def test_a_cell_shows_the_first_case_of_equal_errors():
    df = made(*(line(case=f"f/{i}", grade="F", max_ulp=np.inf) for i in range(30)))
    assert reports.grade_matrix(df)["float32 case"].to_list() == ["f/0"]


def test_a_cell_without_a_grade_shows_its_status():
    df = made(line(), line(dtype="float16", status="unsupported", grade=None, detail="no halves"))
    assert reports.grade_matrix(df)[["float16", "float32"]].to_numpy().tolist() == [["unsupported", "A"]]


def test_modes_and_devices_have_separate_lines():
    df = made(line(), line(mode="compiled", grade="B"), line(device="cuda", grade="D"))
    matrix = reports.grade_matrix(df)
    assert matrix[["mode", "device", "float32"]].to_numpy().tolist() == [
        ["eager", "cpu", "A"],
        ["eager", "cuda", "D"],
        ["compiled", "cpu", "B"],
    ]


def test_finiteness_counts_both_ways_of_being_wrong():
    df = made(
        line(),
        line(row=1, grade="F", finite=False),
        line(row=2, expected_finite=False, finite=False),
        line(row=3, expected_finite=False, grade="F"),
        line(row=4, grade="D"),
        line(row=5, grade=None, finite=False),
    )
    (shares,) = reports.finiteness(df).to_dict("records")
    assert shares["finite where it should be"] == pytest.approx(2 / 3)
    assert shares["not finite where it should not"] == pytest.approx(1 / 2)
    assert (shares["rows finite where it should be"], shares["rows not finite where it should not"]) == (3, 2)


def test_errors_are_the_median_and_the_largest():
    df = made(*(line(row=i, max_ulp=u) for i, u in enumerate([1.0, 2.0, np.inf])))
    (errors,) = reports.errors(df).to_dict("records")
    assert (errors["loss median"], errors["loss largest"]) == (2.0, np.inf)
    assert np.isnan(errors["gradient median"])


# The exact loss is a subnormal, 7.8e6 spacings from zero, to which it was flushed; its gradient has a like entry.
FLUSHED = {"case": "f/flushed", "value": 0.0, "exact": 1.1e-38, "max_abs": 1.1e-38, "max_ulp": 7.8e6}
UNSURE = {"case": "f/small", "grade": "B", "max_ulp": 1.7e7}  # B: an error as of a number near 1, of one near 0


def test_errors_that_no_grade_counts_are_reported_apart_from_the_largest_error():
    df = made(line(max_ulp=3.0), line(row=1, max_ulp=0.5), line(**FLUSHED), line(**FLUSHED | {"quantity": "gradient"}))
    (table,) = reports.errors(df).to_dict("records")
    assert (table["loss median"], table["loss largest"], table["loss uncounted"]) == (1.75, 3.0, 7.8e6)
    assert np.isnan(table["gradient largest"])
    assert table["gradient uncounted"] == 7.8e6


def test_a_large_error_that_a_grade_counts_stays():
    capped = {"exact": 1.0, "max_abs": 1e-3, "max_rel": 1e-3, "max_ulp": 8389.0}  # A where the logits are capped
    counted = [UNSURE, FLUSHED | {"grade": "D"}, {"max_ulp": 150.0}, {"dtype": "float16", "max_ulp": 20.0}, capped]
    lines = [line(**{"implementation": f"x/{i}"} | changes) for i, changes in enumerate(counted)]
    table = reports.errors(made(*lines)).set_index("implementation")
    for i, changes in enumerate(counted):
        found = table.loc[f"x/{i}"]
        assert (found["loss largest"], np.isnan(found["loss uncounted"])) == (changes["max_ulp"], True)
    (table,) = reports.errors(made(line(**FLUSHED), line(**UNSURE))).to_dict("records")
    assert (table["loss largest"], np.isnan(table["loss uncounted"])) == (1.7e7, True)


def test_without_the_smallest_normal_number_the_bound_of_a_is_its_relative_part():
    for fmt in FORMATS.values():
        base, of_sum = accurate_ulps(fmt)
        ratio = min(1.0, 2.0**-24 / fmt.unit_roundoff)
        assert base == pytest.approx(8 - 2 * np.log(2 * fmt.smallest_normal), rel=0.01)
        assert of_sum == pytest.approx(2 * ratio, rel=0.01, abs=1.0)


# A site has many pages.
QUICK = ["text", "latex", "csv", "json"]


@pytest.mark.parametrize("names", [QUICK, pytest.param(["html"], marks=pytest.mark.full)], ids=len)
def test_every_format_marks_the_errors_that_no_grade_counts(names, tmp_path):
    swept = {"family": "sweep_gap", "formula": "builtin", "version": "1"}
    lines = [line(**swept | {"case": "sweep_gap/1"}), line(**FLUSHED | swept | {"case": "sweep_gap/99"})]
    out = tmp_path / "out"
    reports.write(kept(tmp_path, "flushed", *lines), names, out)
    for name in names:
        assert_marked(name, out)


def assert_marked(name, out):
    if name == "html":
        pages = [out / "errors.html", *(out / "cases").iterdir(), *(out / "implementations").iterdir()]
        assert all("smallest normal number" in html.unescape(p.read_text(encoding="utf-8")) for p in pages)
    elif name == "csv":
        (table,) = pd.read_csv(out / "errors_loss.csv").to_dict("records")
        assert (table["loss largest"], table["loss uncounted"]) == (0.5, 7.8e6)
        assert pd.read_csv(out / "measurements.csv.gz")["max_ulp"].to_list() == [0.5, 7.8e6]
    else:
        file = {"text": "report.txt", "latex": "tables/errors_loss.tex", "json": "report.json"}
        page = (out / file[name]).read_text(encoding="utf-8")
        mark = {"latex": r"0.50{$^\dagger$}", "json": '"loss uncounted": 7800000.0'}
        assert mark.get(name, "0.5 / 0.5 †") in page
        assert "smallest normal number" in " ".join(page.split())


def test_faults_are_counted_by_message():
    df = made(line(), *(line(row=i, status="raised", grade=None, detail="E: x") for i in range(1, 4)))
    (fault,) = reports.faults(df).to_dict("records")
    assert (fault["cases"], fault["dtypes"], fault["first"], fault["detail"]) == (1, 1, "f/a", "E: x")


def test_the_article_is_shown_row_by_row(measurements):
    table = reports.article(measurements[measurements["dtype"] == "float32"]).set_index("implementation")
    naive, lse = table.loc["torch/naive"], table.loc["torch/lse"]
    assert naive[["loss 1", "loss 2", "loss 3", "mean"]].to_list() == pytest.approx(
        [0.4170, np.inf, 1.4076, np.inf], abs=1e-4
    )
    assert lse[["loss 1", "loss 2", "loss 3", "mean"]].to_list() == pytest.approx(
        [0.4170, 2000, 1.4076, 667.2749], abs=1e-4
    )
    assert naive[["grad 1", "grad 2", "grad 3"]].to_list() == ["finite", "NaN", "finite"]
    assert table.loc["numpy/scipy.special.log_softmax", "grad 1"] == "none"


def test_a_page_counts_refusals_and_lists_faults():
    refused = {"status": "unsupported", "grade": None}
    df = made(
        line(**refused, detail="no weight"),
        line(**refused | {"case": "f/b", "detail": "no smoothing"}),
        line(status="raised", grade=None, case="f/c", detail="E: x"),
    )
    (section,) = [s for s in sections._outcomes(Measurements.of(df)) if s.name == "faults"]
    assert section.table["detail"].to_list() == ["no weight", "no smoothing", "E: x"]
    assert section.shown[["status", "detail", "cases"]].to_numpy().tolist() == [
        ["raised", "E: x", 1],
        ["unsupported", "2 reasons", 2],
    ]


def test_the_effect_of_an_invalid_target_is_one_word():
    invalid = {"case": "invalid/minus_one", "family": "invalid", "grade": None}
    df = made(
        line(**invalid, detail="target -1 was read from the end: the loss of class 2"),
        line(**invalid | {"implementation": "x/b", "status": "raised", "detail": "IndexError: no"}),
        line(**invalid | {"implementation": "x/c", "detail": "target -1 gave 5, the loss of no class"}),
        line(**invalid | {"implementation": "x/d", "detail": "target -1 gave NaN"}),
        line(**invalid | {"implementation": "x/e", "detail": "target -1 gave 0, as if the row were ignored"}),
    )
    assert reports.invalid_targets(df)["minus_one"].to_list() == ["wraps", "raises", "number", "NaN", "zero"]
    assert reports.faults(df).empty


def printed(run, name, width=100, **options):
    page = io.StringIO()
    reports.write(run, [name], console=Console(file=page, width=width, color_system=None), **options)
    return page.getvalue()


@pytest.mark.usefixtures("made_once")
def test_all_prints_every_table_in_a_hundred_columns(run):
    text = printed(run, "text", whole=True)
    assert max(map(len, text.splitlines())) <= 100
    for word in ("Grades", "Finiteness", "Errors of the gradient", "row by row", "torch/F.cross_entropy"):
        assert word in text


@pytest.mark.usefixtures("made_once")
def test_markdown_shows_the_main_results_of_a_run(run):
    page = printed(run, "markdown")
    assert page.startswith("# LogitLab report\n")
    assert "`torch/naive`" in page


@pytest.mark.usefixtures("made_once")
def test_csv_holds_the_numbers_of_the_tables(run, tmp_path, measurements):
    written = {p.name: p for p in reports.write(run, ["csv"], tmp_path)}
    back = pd.read_csv(written["measurements.csv.gz"], dtype={"detail": str})
    assert len(back) == len(measurements)
    np.testing.assert_array_equal(back["max_ulp"], measurements["max_ulp"])
    assert (
        pd.read_csv(written["grades.csv"])["float32"].to_list()
        == reports.grade_matrix(measurements)["float32"].to_list()
    )


@pytest.mark.parametrize(
    "names", [["text", "markdown", "csv", "latex"], pytest.param(reports.FORMATS, marks=pytest.mark.full)], ids=len
)
def test_every_format_becomes_files_where_a_folder_is_given(run, measurements, tmp_path, names):
    single = Run.create(tmp_path / "run", run.manifest)  # figures of one dtype and loss are enough
    single.write(
        0, measurements[(measurements["dtype"] == "float32") & (measurements["implementation"] == "numpy/lse")]
    )
    files = {p.name for p in reports.write(single, names, tmp_path / "report")}
    assert {"report.txt", "report.md", "grades.csv", "measurements.csv.gz"} <= files
    assert {"main.tex", "grades.tex", "grades.csv", "reproduce.md"} <= files
    assert ("grades.pdf" in files) == ("figures" in names)


def test_an_unfinished_run_is_reported(run, tmp_path):
    half = Run.create(tmp_path / "run", replace(run.manifest, complete=False))
    half.write(0, made(line()))
    assert "NOT COMPLETE" in printed(half, "text")


def test_a_run_without_measurements_gives_a_report_without_tables(run, tmp_path):
    empty = Run.create(tmp_path / "run", replace(run.manifest, complete=False))
    assert "Grades" not in printed(empty, "text")


def damaged(folder):
    """Return a run of two parts, one of them torn, and the path of that part."""
    run = kept(folder, "torn", line())
    run.write(1, made(line(implementation="x/other")))
    run.finish()
    part = run.part(1)
    part.write_bytes(part.read_bytes()[:80])
    return run, part


FIRST_LINES = {"text": 1, "markdown": 3, "json": 3, "latex": 16, "html": 60}


SOME_OR_SITE = pytest.mark.parametrize(
    "names", [["text", "markdown", "json", "latex"], pytest.param(["html"], marks=pytest.mark.full)], ids=len
)


def pages_of(folder, out, names):
    """Write a report in these formats and return the main page of each."""
    formats = [word for name in names for word in ("--format", name)]
    assert cli.main(["report", str(folder), *formats, "--out", str(out)]) == 0
    files = {
        "text": "report.txt", "markdown": "report.md", "json": "report.json", "latex": "main.tex", "html": "index.html",
    }  # fmt: skip
    return {name: (out / files[name]).read_text(encoding="utf-8") for name in names}


@SOME_OR_SITE
def test_a_report_of_a_damaged_run_names_the_damage_first_and_on_standard_error(tmp_path, capsys, names):
    run, part = damaged(tmp_path)
    pages = pages_of(run.folder, tmp_path / "out", names)
    messages = capsys.readouterr().err
    assert messages.startswith(f"logitlab: This report is partial: {part} is damaged")
    for name, page in pages.items():
        first = "\n".join(page.splitlines()[: FIRST_LINES[name]])
        assert ('"partial": true' if name == "json" else "report is partial") in first, name


@SOME_OR_SITE
def test_a_report_of_a_whole_run_mentions_no_damage(tmp_path, capsys, names):
    run = kept(tmp_path, "whole", line())
    run.finish()
    pages = pages_of(run.folder, tmp_path / "out", names)
    assert capsys.readouterr().err == ""
    assert '"partial": false' in pages.pop("json", '"partial": false')
    assert [name for name, page in pages.items() if "partial" in page] == []


def test_a_report_of_an_unfinished_run_warns_on_standard_error(tmp_path, capsys):
    half = kept(
        tmp_path,
        "half",
        line(),
        complete=False,
        cells=[[f"x/{n}", "float32", "cpu", "eager"] for n in ("loss", "other")],
    )
    assert cli.main(["report", str(half.folder)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("This report is partial: The run half is not complete: 1 of its 2 cells are measured")
    assert printed.err.startswith("logitlab: This report is partial: The run half is not complete")


def test_a_part_that_a_complete_run_has_lost_is_reported(tmp_path, capsys):
    run = kept(tmp_path, "lost", line())
    run.write(1, made(line(implementation="x/other")))
    run.finish()
    run.part(1).unlink()
    assert cli.main(["report", str(run.folder)]) == 0
    assert f"{run.part(1)} is damaged (it is missing)" in capsys.readouterr().err


def test_the_first_of_many_faults_are_listed_and_the_others_counted():
    assert reports.partial([f"{i} is damaged" for i in range(9)]) == [
        *(f"This report is partial: {i} is damaged" for i in range(5)),
        "This report is partial: 4 more faults; `logitlab doctor RUN` lists those of a run",
    ]


@pytest.mark.usefixtures("made_once")
def test_json_has_the_numbers_of_the_tables_and_is_strict(run, tmp_path, measurements):
    (path,) = reports.write(run, ["json"], tmp_path)

    def refuse(name):
        raise AssertionError(name)

    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    largest = [each["loss largest"] for each in content["tables"]["errors_loss"]["lines"]]
    expected = reports.errors(measurements)["loss largest"]
    assert [float(value) for value in largest] == expected.to_list()
    assert content["runs"][0]["frameworks"] == run.manifest.frameworks
    assert printed(run, "json") == path.read_text(encoding="utf-8")


OPTIONAL = "torch/liger_kernel.liger_cross_entropy"


@pytest.mark.parametrize(
    ("frameworks", "implementations", "expected"),
    [
        (None, None, {"absent", OPTIONAL}),
        (["torch"], None, {"absent"}),
        (None, ["torch/F.*"], {"absent"}),
        (["torch"], ["torch/*"], {"absent", OPTIONAL}),
        (None, [OPTIONAL], {"absent", OPTIONAL}),
    ],
)
def test_only_requested_frameworks_are_reported_as_missing(frameworks, implementations, expected):
    infos = (
        ImplementationInfo("torch/F.cross_entropy", "builtin", "torch", "2", ("eager",)),
        ImplementationInfo(OPTIONAL, "builtin", "liger_kernel", None, ("eager",)),
    )
    described = {
        "torch": Description("torch", implementations=infos),
        "absent": Description("absent", missing="no such"),
    }
    assert set(plan.not_installed(described, frameworks, implementations)) == expected


@pytest.mark.usefixtures("in_this_process")
def test_a_run_of_one_implementation_reports_no_other_as_not_installed(tmp_path, capsys):
    folder = str(tmp_path / "run")
    asked = ["--implementation", "numpy/lse", "--case", "seed/article", "--dtype", "float32", "--mode", "eager"]
    assert cli.main(["run", *asked, "--out", folder]) == 0
    assert cli.main(["report", folder]) == 0
    assert "Not installed" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def swept():
    with calls_in_this_process():
        return runner.run(
            sweeps=["offset=0:1e4:3", "classes=3,10"], implementations=["numpy/lse", "numpy/log1p"],
            dtypes="float32",
        )  # fmt: skip


def test_a_curve_has_each_cell_at_each_value_of_the_axis(swept):
    assert curves.axes(swept) == ["offset", "classes"]
    curve = curves.curve(swept, "offset", "loss")
    assert len(curve) == swept["implementation"].nunique() * 3
    lse = curve[(curve["implementation"] == "numpy/lse") & (curve["dtype"] == "float32")]
    assert lse["offset"].to_list() == [5000.0 * i for i in range(3)]
    of_last = swept[(swept["case"] == "sweep_offset/10000") & (swept["quantity"] == "loss")]
    of_last = of_last[(of_last["implementation"] == "numpy/lse") & (of_last["dtype"] == "float32")]
    assert lse["largest"].iloc[-1] == of_last["max_ulp"].max()


def test_a_curve_is_shown_from_its_first_value_to_its_last(swept):
    titles = {s.name: s for s in sections._curves_along_axes(Measurements.of(swept))}
    shown = titles["curve_offset_loss"].shown
    assert list(shown.columns[-3:]) == ["0", "5000", "10000"]
    assert list(titles["curve_classes_gradient"].shown.columns[-2:]) == ["3", "10"]


def test_errors_are_compared_with_their_bounds(report):
    table = {s.name: s.table for s in report.sections}["bounds_loss"]
    lse = table[table["implementation"].isin(["numpy/lse", "torch/lse"])]
    assert len(lse) == 4
    assert (lse["shifted beyond"] == 0).all()
    assert (lse["shifted largest"] > 0).all()


def kept(folder, name, *lines, **facts):
    manifest = {
        "run": name, "frameworks": {}, "versions": {"logitlab": "0"}, "missing": {}, "left_out": [],
        "hardware": {"processor": name, "machine": "", "system": ""}, "catalogue": {"cases": [], "hash": "0"},
    }  # fmt: skip
    run = Run.create(folder / name, Manifest.parse(manifest | {"complete": True} | facts))
    run.write(0, made(*lines))
    return run


def test_runs_of_two_machines_are_one_report(tmp_path):
    here = kept(tmp_path, "here", line(value=1.0, bits=1))
    there = kept(
        tmp_path, "there", line(value=1.0, bits=1), line(device="cuda", grade="C", value=1.5, exact=1.0, bits=2)
    )
    page = reports.make_report([here, there])
    assert page.source.frame()["device"].to_list() == ["cpu", "cuda"]
    assert "Skipped because a run above has the same cases: cases of 1 cells of this run" in page.preamble
    tables = {s.name: s.table for s in page.sections}
    assert tables["grades"][["device", "float32"]].to_numpy().tolist() == [["cpu", "A"], ["cuda", "C"]]
    assert tables["devices"][["different", "worse"]].to_numpy().tolist() == [[1, 1]]
    assert [line for line in page.preamble if line.startswith("On: ")] == ["On: here, ", "On: there, "]


def test_a_cell_has_the_cases_of_all_runs(tmp_path):
    catalogue, sweep = (
        kept(tmp_path, "one", line()),
        kept(tmp_path, "two", line(case="sweep_offset/1", family="sweep_offset")),
    )
    assert reports.make_report([catalogue, sweep]).source.frame()["case"].to_list() == ["f/a", "sweep_offset/1"]


def named(*names):
    return {"catalogue": {"cases": list(names), "hash": "0"}, "catalogue_size": 3}


@pytest.mark.parametrize(
    ("facts", "scope"),
    [
        (named("f/a"), "Only 1 of 3 cases was measured; other cases may give a worse grade."),
        (named("f/a", "f/b", "sweep_offset/1"), "Only 2 of 3 cases were measured; other cases may give a worse grade."),
        (named("f/a", "f/b", "f/c", "sweep_offset/1"), ""),
        # A file of cases, and a manifest without the size.
        (named("mine/a") | {"files": [{"path": "x", "digest": "0", "cases": ["mine/a"]}]}, ""),
        (named("f/a") | {"catalogue_size": 0}, ""),
    ],
)
def test_a_report_of_a_part_of_the_catalogue_says_how_many_cases_it_has(tmp_path, facts, scope):
    run = kept(tmp_path, "run", line(), **facts)
    page = reports.make_report([run])
    assert page.summary.scope == scope
    assert scope in overview(page, 100).plain


@pytest.mark.parametrize("names", [["text", "markdown"], pytest.param(["html"], marks=pytest.mark.full)], ids=len)
def test_the_summaries_in_files_say_how_many_cases_the_report_has(tmp_path, names):
    run = kept(tmp_path, "run", line(), **named("f/a"))
    for path in reports.write(run, names, tmp_path / "report"):
        assert ("cases may give a worse grade" in path.read_text()) == (path.name != "report.txt")


@pytest.mark.parametrize(
    ("others", "scope"),
    [
        ([], ""),
        ([line(case="f/b", status="unsupported", grade=None)], ""),
        (
            [line(case=f"f/{c}", status="unsupported", grade=None) for c in "bc"],
            "x/loss has a grade on less than half of these cases; the other calls raised, or are unsupported.",
        ),
        (
            [line(case=f"f/{c}", implementation=f"x/{i}", status="raised", grade=None) for c in "bc" for i in "lp"]
            + [line(implementation="x/l"), line(implementation="x/p"), line(implementation="x/never", grade=None)],
            "2 losses, such as x/l, have a grade on less than half of these cases; the other calls raised, or are "
            "unsupported.",
        ),
    ],
)
def test_the_summary_names_losses_that_few_cases_grade(tmp_path, others, scope):
    assert reports.make_report([kept(tmp_path, "run", line(), *others)]).summary.scope == scope


def test_several_runs_count_their_cases_once(tmp_path):
    runs = [kept(tmp_path, "one", line(), **named("f/a", "f/b")), kept(tmp_path, "two", line(), **named("f/b", "f/c"))]
    assert reports.make_report(runs).summary.scope == ""


def test_the_summary_counts_the_cases_without_a_grade(tmp_path):
    summary = reports.make_report([kept(tmp_path, "run", line(), line(case="f/b", grade=None))]).summary
    assert summary.measured == "2 cases (1 graded)"


def test_a_run_given_twice_is_refused(tmp_path):
    run = kept(tmp_path, "here", line())
    with pytest.raises(UsageError, match="given twice"):
        reports.make_report([run, run])


def test_the_settings_of_a_framework_are_reported(report):
    facts = {name: words for name, _, words in (p.partition(": ") for p in report.preamble)}
    assert "oneDNN" in facts["Settings of torch"]
    assert "subnormals kept" in facts["Settings of numpy"]
