"""Figures at column width: their size, their fonts, the styles of their lines, and their numbers."""

import html
import re
import struct

import kept_grades
import numpy as np
import pandas as pd
import pytest
from colour_contrast import contrast

from logitlab import cli, reports
from logitlab.core.errors import UsageError
from logitlab.reports import paper
from logitlab.reports.charts import bounds
from logitlab.reports.charts.palette import FORMULA_COLOURS, GRADE_COLOURS, INK
from logitlab.reports.charts.style import distinct
from logitlab.reports.paper import _curves, _figures, _matrices
from logitlab.reports.tables.curves import curve
from logitlab.reports.tables.grades import grades_across
from logitlab.storage.manifest import Manifest
from logitlab.storage.querying import Measurements
from logitlab.storage.store import Run, typed
from logitlab.studies.browse import listing

COLUMN, PAGE = 3.3, 7.0  # inches


@pytest.fixture(scope="module")
def measurements(paper_run):
    df = paper_run.read()
    return df[df["dtype"] == "float32"]


@pytest.fixture(scope="module")
def drawn(measurements):
    return {figure.name: figure for figure in paper.figures(measurements)}


@pytest.fixture(scope="module")
def folder(drawn, measurements, tmp_path_factory):
    out = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_figures, "figures", lambda _: drawn.values())  # to draw them once
        paper.write_figures(measurements, out)
    return out / "figures"


def test_there_is_a_figure_for_each_question(drawn):
    along = {f"{axis}-{q}-float32" for axis in ("offset", "classes") for q in ("loss", "gradient")}
    curves, bands = ({f"{kind}-{name}" for name in along} for kind in ("curve", "band"))
    assert set(drawn) == {"grades", "finiteness-float32", "bound-float32", *curves, *bands}


def test_each_is_written_in_every_format_with_its_numbers(drawn, folder):
    assert {p.name for p in folder.iterdir()} == {
        "figures.tex", *(f"{name}.{kind}" for name in drawn for kind in ("csv", "pdf", "png", "svg"))
    }  # fmt: skip
    for name, figure in drawn.items():
        assert len(pd.read_csv(folder / f"{name}.csv")) == len(figure.numbers)


def test_each_is_as_wide_as_a_column_or_a_page(drawn, folder):
    for name in drawn:
        wide = PAGE if name.startswith("finiteness") else COLUMN
        (width,) = re.findall(r'<svg\b[^>]* width="([\d.]+)pt"', (folder / f"{name}.svg").read_text(encoding="utf-8"))
        assert float(width) / 72 == pytest.approx(wide, rel=0.01)
        (box,) = re.findall(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) [\d.]+\s*\]", (folder / f"{name}.pdf").read_bytes())
        assert float(box) / 72 == pytest.approx(wide, rel=0.01)
        png = (folder / f"{name}.png").read_bytes()
        assert struct.unpack(">I", png[16:20])[0] / 300 == pytest.approx(wide, rel=0.01)


def test_fonts_are_legible_and_nothing_is_cut_off(drawn, folder):
    for name in drawn:
        svg = (folder / f"{name}.svg").read_text(encoding="utf-8")
        assert min(map(float, re.findall(r'font-size="([\d.]+)px"', svg))) >= 6
        assert "<text" in svg


def test_lines_differ_in_dashes_and_points_as_well_as_colour(folder):
    svg = (folder / "curve-offset-loss-float32.svg").read_text(encoding="utf-8")
    looks = set(
        re.findall(
            r'(?:kind|bound): ([\w ,-]+)[;"][^>]*? stroke="(#\w+)" stroke-width="0.9" stroke-dasharray="([\d.,]+)"', svg
        )
    )
    kinds, colours, dashes = (list(v) for v in zip(*sorted(looks), strict=True))
    assert kinds == ["built-in", "log1p", "lse", "naive", "shifted", "unshifted"]
    of_losses = slice(None, 4)
    assert len(set(colours[of_losses])) == len(set(dashes[of_losses])) == 4
    assert dashes[-2] != dashes[-1]
    assert set(colours[of_losses]) < set(FORMULA_COLOURS.values())  # the figure has no online softmax
    assert len(set(FORMULA_COLOURS.values())) == len(FORMULA_COLOURS)


def test_letters_stand_out_on_every_grade():
    for colour in GRADE_COLOURS.values():
        assert contrast(colour, INK) > 4.5


def test_a_curve_has_the_numbers_of_its_table_and_its_bound(drawn, measurements):
    table = drawn["curve-offset-loss-float32"].numbers
    whole = curve(measurements, "offset", "loss")
    assert table["largest"].to_list() == whole["largest"].to_list()
    rows = measurements[(measurements["family"] == "sweep_offset") & (measurements["quantity"] == "loss")]
    rows = rows[rows["implementation"] == "numpy/lse"]
    in_ulp = rows["bound_shifted"] / np.spacing(rows["exact"].to_numpy(np.float32)).astype(float)
    of_case = in_ulp.groupby(rows["case"].astype(str)).max()
    bounds = table[table["implementation"] == "numpy/lse"].set_index("offset")["bound_shifted"]
    assert sorted(bounds) == pytest.approx(sorted(of_case))
    lse = table[table["implementation"] == "numpy/lse"]
    assert (lse["largest"] <= lse["bound_shifted"]).all()


def test_a_bound_is_not_drawn_where_a_row_has_none(drawn):
    table = drawn["curve-offset-loss-float32"].numbers.drop_duplicates("offset").set_index("offset")
    assert table["bound_unshifted"].notna().tolist() == [True, True, False, False, False, False]  # exp(100) overflows


def test_measured_against_bound_counts_every_row_that_has_one(drawn, measurements):
    table = drawn["bound-float32"].numbers
    rows = measurements[(measurements["quantity"] == "loss") & measurements["grade"].notna()]
    lse = rows[(rows["formula"] == "lse") & (rows["bound_shifted"] > 0) & np.isfinite(rows["max_abs"])]
    of_lse = table[table["formula"] == "lse"]
    assert of_lse["rows"].sum() == len(lse)
    assert of_lse["beyond"].sum() == (lse["max_abs"] > lse["bound_shifted"]).sum() == 0
    assert (of_lse["its_bound"] >= of_lse["bound at least"]).all()


def test_shares_that_are_not_finite_are_those_of_the_measurements(drawn, measurements):
    shares = drawn["finiteness-float32"].numbers.set_index("implementation")
    rows = measurements[measurements["grade"].notna() & (measurements["family"] == "overflow")]
    rows = rows[rows["implementation"] == "numpy/naive"]
    assert shares.loc["numpy/naive", "overflow"] == (rows["finite"] != rows["expected_finite"]).mean() > 0
    assert (shares.loc["numpy/log1p"] == 0).all()


def line(**changes):
    base = {
        "case": "f/a", "family": "f", "row": 0, "classes": 2, "framework": "x", "implementation": "x/loss",
        "formula": "builtin", "dtype": "float32", "device": "cpu", "mode": "eager", "quantity": "loss", "status": "ok",
        "grade": "A", "finite": True, "expected_finite": True, "max_ulp": 0.5,
    }  # fmt: skip
    return base | changes


def cells(**changes):
    return typed(pd.DataFrame([line(**changes)]))


def test_modes_and_devices_are_columns_of_the_matrix():
    df = typed(
        pd.concat(
            [
                cells(),
                cells(mode="compiled", grade="F"),
                cells(device="cuda", grade="B"),
                cells(dtype="float16", status="raised", grade=None),
            ],
            ignore_index=True,
        ).astype(object)
    )
    wide = grades_across(reports.grade_matrix(df))
    assert wide.to_dict("records") == [
        {
            "framework": "x",
            "implementation": "x/loss",
            "float16": "raised",
            "float32": "A",
            "float32 compiled": "F",
            "float32 cuda": "B",
        }
    ]


ALIKE = [f"tensorflow/keras.losses.{name}" for name in (
    "sparse_categorical_crossentropy", "categorical_crossentropy", "SparseCategoricalCrossentropy",
    "CategoricalCrossentropy", "sparse_categorical_crossentropy[from_logits]", "categorical_crossentropy[from_logits]",
)]  # fmt: skip


@pytest.mark.parametrize("most", [1, 3, 12, 20, 37, 80])
def test_shortened_names_stay_apart(most):
    names = [*ALIKE, "a\nb", "a b", "a\x07b", *(f"x/{'loss' * 30}{i}{'end' * 30}" for i in range(30))]
    found = distinct(names, most)
    assert len(set(found)) == len(names)
    assert most < 3 or max(map(len, found)) <= most
    assert most < 80 or found[: len(ALIKE)] == ALIKE


@pytest.fixture(scope="module", params=["README's", pytest.param("the installed frameworks'", marks=pytest.mark.full)])
def everyone(request):
    """Return the implementations that README grades, or those of every framework, installed or not."""
    if request.param == "README's":
        names = [decision.implementation for decision in kept_grades.read().decisions]
    else:
        names = listing.implementations()["implementation"].dropna().to_list()
    assert len(names) == len(set(names)) > 20
    return names


def texts(svg):
    """Return all text of a figure."""
    return [html.unescape(text) for text in re.findall(r"<(?:text|tspan)[^>]*>([^<]+)</", svg)]


def test_every_implementation_has_a_separate_line_in_each_matrix(everyone):
    df = typed(pd.DataFrame([line(implementation=name, grade="F", finite=False) for name in everyone]))
    of = {figure.name: texts(_figures._svg(figure.chart)) for figure in _matrices.figures(Measurements.of(df))}
    for name in ("grades", "finiteness-float32"):
        labels = [text for text in of[name] if "/" in text]
        assert len(set(labels)) == len(labels) == len(everyone)
    assert {name for name in everyone if len(name) <= 74} <= set(of["finiteness-float32"])  # in full
    assert len(set(distinct(everyone, 35))) == len(everyone)  # as the site's matrix has them, and shorter


def test_losses_whose_names_shorten_alike_are_not_drawn_over_each_other():
    shares = [0.0, 0.25, 0.5, 0.75, 0.05, 1.0]
    df = typed(pd.DataFrame([
        line(implementation=name, row=row, grade="F", finite=row >= 20 * share)
        for name, share in zip(ALIKE, shares, strict=True) for row in range(20)
    ]))  # fmt: skip
    (figure,) = [f for f in _matrices.figures(Measurements.of(df)) if f.name == "finiteness-float32"]
    svg = _figures._svg(figure.chart)
    squares = re.findall(r'label: (tensorflow/[^;"]*); share: ([^"]*)"', html.unescape(svg))
    assert dict(squares) == {n: _matrices._bin(s) for n, s in zip(ALIKE, shares, strict=True) if s}
    assert len(squares) == sum(share > 0 for share in shares)


def test_legends_have_titles_and_only_axes_are_framed(drawn, folder):
    words = {name: texts((folder / f"{name}.svg").read_text(encoding="utf-8")) for name in drawn}
    for name, figure in drawn.items():
        config = figure.chart.to_dict(validate=False)["config"]["view"]
        assert (config["stroke"] is None) == name.startswith(("grades", "finiteness"))
        wanted = "rows not finite" if name.startswith("finiteness") else "formula"
        assert name == "grades" or any(text.startswith(wanted) for text in words[name])
    assert "a-priori bound" in words["curve-offset-loss-float32"]


def bounded(name, largest, bound, **columns):
    return cells(implementation=name, exact=1.0, max_abs=largest * 2.0**-23, bound_shifted=bound * 2.0**-23, **columns)


def test_a_pooled_built_in_is_named_and_points_beyond_an_axis_are_marked():
    df = typed(pd.concat([
        bounded("x/usual", 1.0, 2.0), bounded("x/worst", 900.0, 2.2), bounded("y/other", 5.0, 50.0),
        bounded("y/exact", 0.0, 700.0), bounded("z/lost", 2.0, 1e12), bounded("z/more", 3.0, 1e13),
        bounded("z/far", 1e12, 3000.0),
    ]))  # fmt: skip
    (figure,) = [f for f in bounds.figures(Measurements.of(df)) if f.name == "bound-float32"]
    words = texts(_figures._svg(figure.chart))
    assert {"1 x/worst", "2 y/other", "3 y/exact", "4 z/far", "5 z/more"} <= set(words)
    assert not [text for text in words if "usual" in text or "lost" in text]
    assert {"1", "2", "3", "4", "5"} <= set(words)
    shown = bounds._shown(figure.numbers, 10.0 * 2.0**24).set_index("implementation")
    assert shown["beyond"].to_dict() == {
        "x/worst": "", "y/other": "", "y/exact": "below", "z/far": "above", "z/more": "right",
    }  # fmt: skip


def test_an_error_that_no_grade_counts_is_drawn_below_the_axis_of_a_curve():
    swept = {"family": "sweep_gap", "exact": 1e-38, "max_abs": 1e-38}
    df = typed(pd.concat([cells(case=f"sweep_gap/{gap}", max_ulp=u, **swept) for gap, u in ((1, 3.0), (99, 8e6))]))
    (figure,) = [f for f in _curves.figures(Measurements.of(df)) if f.name == "curve-gap-loss-float32"]
    assert figure.numbers["largest"].fillna(-1.0).to_list() == [3.0, -1.0]
    assert figure.numbers["uncounted"].fillna(-1.0).to_list() == [-1.0, 8e6]
    assert "smallest normal number" in figure.title


def test_a_run_without_measurements_has_no_figures(tmp_path):
    empty = typed(pd.DataFrame(columns=list(cells().columns)))
    assert list(paper.figures(empty)) == []
    assert [p.name for p in paper.write_figures(empty, tmp_path)] == ["figures.tex"]


def test_a_sweep_without_grades_has_no_curve():
    assert [f.name for f in paper.figures(cells(case="sweep_offset/1", family="sweep_offset", grade=None))] == []


def test_names_of_figures_are_safe_file_names(tmp_path):
    paths = paper.write_figures(cells(mode="../../x y", grade="F", finite=False), tmp_path)
    assert {p.parent for p in paths} == {tmp_path / "figures"}
    assert all(re.fullmatch(r"[\w.+-]+", p.name) and not p.name.startswith(".") for p in paths)


def test_the_missing_package_for_figures_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "logitlab.reports.charts.style.find_spec", lambda module: None if module == "vl_convert" else module
    )
    with pytest.raises(UsageError, match="vl-convert-python"):
        paper.write_figures(cells(), tmp_path)


def test_the_command_line_writes_the_figures(tmp_path):
    run = Run.create(tmp_path / "run", Manifest.parse({
        "run": "r", "frameworks": {}, "versions": {"logitlab": "0"}, "missing": {}, "left_out": [], "complete": True,
        "hardware": {"processor": "p", "machine": "", "system": ""}, "catalogue": {"cases": [], "hash": "0"},
        "environment": {}, "command": "c",
    }))  # fmt: skip
    run.write(0, cells())
    assert cli.main(["report", str(run.folder), "--format", "figures", "--out", str(tmp_path / "out")]) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"figures", "reproduce.md"}
