"""Figures at column width: their size and fonts, what tells their lines apart, and the numbers behind them."""

import re
import struct

import numpy as np
import pandas as pd
import pytest

from logitlab import cli, reports, runner
from logitlab.errors import UsageError
from logitlab.reports import _matrix, paper
from logitlab.reports._curves import curve
from logitlab.reports._palette import FORMULA_COLOURS, GRADE_COLOURS, INK
from logitlab.store import Run, typed

COLUMN = 3.3  # inches


@pytest.fixture(scope="module")
def measurements():
    return runner.run(
        cases=["seed/*", "masks/*", "overflow/*"], sweeps=["offset=1:1e5:6log", "classes=3,10"], frameworks=["numpy"],
        dtypes=["float32"], modes="eager",
    )  # fmt: skip


@pytest.fixture(scope="module")
def drawn(measurements):
    return {figure.name: figure for figure in paper.figures(measurements)}


@pytest.fixture(scope="module")
def folder(measurements, tmp_path_factory):
    out = tmp_path_factory.mktemp("figures")
    paper.write_figures(measurements, out)
    return out / "figures"


def test_there_is_a_figure_for_each_question(drawn):
    curves = {f"curve-{axis}-{q}-float32" for axis in ("offset", "classes") for q in ("loss", "gradient")}
    assert set(drawn) == {"grades", "finiteness-float32", "bound-float32", *curves}


def test_each_is_written_in_every_format_with_its_numbers(drawn, folder):
    assert {p.name for p in folder.iterdir()} == {
        "figures.tex", *(f"{name}.{kind}" for name in drawn for kind in ("csv", "pdf", "png", "svg"))
    }  # fmt: skip
    for name, figure in drawn.items():
        assert len(pd.read_csv(folder / f"{name}.csv")) == len(figure.numbers)


def test_each_is_as_wide_as_a_column(drawn, folder):
    for name in drawn:
        (width,) = re.findall(r'<svg\b[^>]* width="([\d.]+)pt"', (folder / f"{name}.svg").read_text(encoding="utf-8"))
        assert float(width) / 72 == pytest.approx(COLUMN, rel=0.01)
        (box,) = re.findall(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) [\d.]+\s*\]", (folder / f"{name}.pdf").read_bytes())
        assert float(box) / 72 == pytest.approx(COLUMN, rel=0.01)
        png = (folder / f"{name}.png").read_bytes()
        assert struct.unpack(">I", png[16:20])[0] / 300 == pytest.approx(COLUMN, rel=0.01)


def test_fonts_are_legible_and_nothing_is_cut_off(drawn, folder):
    for name in drawn:
        svg = (folder / f"{name}.svg").read_text(encoding="utf-8")
        assert min(map(float, re.findall(r'font-size="([\d.]+)px"', svg))) >= 6
        assert "<text" in svg


def test_lines_are_told_apart_by_dashes_and_points_as_well_as_colour(folder):
    svg = (folder / "curve-offset-loss-float32.svg").read_text(encoding="utf-8")
    looks = set(
        re.findall(
            r'kind: ([\w ,-]+); line: [^"]*".*? stroke="(#\w+)" stroke-width="0.9" stroke-dasharray="([\d.,]+)"', svg
        )
    )
    kinds, colours, dashes = (list(v) for v in zip(*sorted(looks), strict=True))
    assert kinds == ["bound, shifted", "bound, unshifted", "built-in", "log1p", "lse", "naive"]
    of_losses = slice(2, None)
    assert len(set(colours[of_losses])) == len(set(dashes[of_losses])) == 4
    assert dashes[0] != dashes[1]
    assert set(FORMULA_COLOURS.values()) == set(colours[of_losses])


def luminance(colour):
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_letters_stand_out_on_every_grade():
    for colour in GRADE_COLOURS.values():
        assert (luminance(colour) + 0.05) / (luminance(INK) + 0.05) > 4.5


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


def cells(**columns):
    base = {
        "case": "f/a", "family": "f", "row": 0, "classes": 2, "framework": "x", "implementation": "x/loss",
        "formula": "builtin", "dtype": "float32", "device": "cpu", "mode": "eager", "quantity": "loss", "status": "ok",
        "grade": "A", "finite": True, "expected_finite": True, "max_ulp": 0.5,
    }  # fmt: skip
    return typed(pd.DataFrame([base]).assign(**columns) if columns else pd.DataFrame([base]))


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
    wide = _matrix.grades_across(reports.grade_matrix(df))
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


def test_losses_alike_are_one_line_with_all_their_names():
    table = pd.DataFrame({"implementation": ["a", "b", "c"], "float16": ["A", None, "A"], "float32": ["B", "B", "B"]})
    together = _matrix.alike(table, ["float16", "float32"])
    assert together["implementations"].to_list() == [["a", "c"], ["b"]]


def test_nothing_measured_draws_nothing(tmp_path):
    empty = typed(pd.DataFrame(columns=list(cells().columns)))
    assert list(paper.figures(empty)) == []
    assert [p.name for p in paper.write_figures(empty, tmp_path)] == ["figures.tex"]


def test_a_sweep_of_which_nothing_could_be_graded_has_no_curve():
    assert [f.name for f in paper.figures(cells(case="sweep_offset/1", family="sweep_offset", grade=None))] == []


def test_a_name_of_a_figure_is_a_name_of_a_file(tmp_path):
    paths = paper.write_figures(cells(mode="../../x y", grade="F", finite=False), tmp_path)
    assert {p.parent for p in paths} == {tmp_path / "figures"}
    assert all(re.fullmatch(r"[\w.+-]+", p.name) and not p.name.startswith(".") for p in paths)


def test_what_draws_the_figures_is_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "logitlab.reports.paper._look.find_spec", lambda module: None if module == "vl_convert" else module
    )
    with pytest.raises(UsageError, match="vl-convert-python"):
        paper.write_figures(cells(), tmp_path)


def test_the_command_line_writes_them(tmp_path):
    run = Run.create(tmp_path / "run", {
        "run": "r", "frameworks": {}, "versions": {"logitlab": "0"}, "missing": {}, "left_out": [], "complete": True,
        "hardware": {"processor": "p", "machine": "", "system": ""}, "catalogue": {"cases": [], "hash": "0"},
        "environment": {}, "command": "c",
    })  # fmt: skip
    run.write(0, cells())
    assert cli.main(["report", str(run.folder), "--format", "figures", "--out", str(tmp_path / "out")]) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"figures", "reproduce.md"}
