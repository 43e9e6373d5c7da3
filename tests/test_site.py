"""The report as a web site, without a browser: the content of the pages, and that data is never executed."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logitlab import reports
from logitlab.cases import case_summary_rows, get_case, make
from logitlab.core.errors import UsageError
from logitlab.reports.site import _second_process, pages
from logitlab.reports.site._findings import headlines
from logitlab.reports.site._results import results
from logitlab.reports.site._slugs import LONGEST, slugs
from logitlab.reports.site.pages import tables
from logitlab.reports.tables import sections
from logitlab.storage.manifest import Manifest
from logitlab.storage.querying import Measurements
from logitlab.storage.store import CASES, Run, typed

HOSTILE = {
    "script": "<script>window.hit=1;alert(1)</script>",
    "attribute": '" onmouseover="window.hit=1" x=\'',
    "end of data": "</script><img src=x onerror=window.hit=1>",
    "comment": "<!--<script>",
    "newlines": "one\ntwo\r\n\tthree\u2028four\u2029five\x00six",
    "separators": "../../../etc/passwd",
    "windows": "..\\..\\c:\\boot.ini",
    "template": "{{ 7*7 }}{% raw %}${1}",
    "long": "x" * 10_000,
    "address": "javascript:window.hit=1",
    "percent": "%2e%2e%2fa?b=c#d&e",
    "letters": "例え/ΑΒΓ/\U0001f600",
    "case 1": "Same/Name",
    "case 2": "same/name",
    "empty": "",
    "dots": "..",
}


class Parsed(HTMLParser):
    """The tags of a page with their attributes, the data in its scripts, and its words."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.tags, self.scripts, self.words, self._script = [], [], "", None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs).get("type", "")

    def handle_endtag(self, tag):
        if tag == "script":
            self._script = None

    def handle_data(self, data):
        if self._script is None:
            self.words += data
        elif data.strip():
            self.scripts.append((self._script, data))

    def addresses(self):
        return [value for _, attrs in self.tags for key, value in attrs.items() if key in ("href", "src")]

    def grid(self, name):
        """Return the table of this name as a DataFrame of words and numbers."""
        data = next(d for d in (json.loads(text) for kind, text in self.scripts) if d.get("name") == name)
        table = pd.DataFrame(data["rows"], columns=[c["title"] for c in data["columns"]], dtype=object)
        for c in data["columns"]:
            if "words" in c:
                codes = [v[0] if isinstance(v, list) else v for v in table[c["title"]]]
                table[c["title"]] = [None if v is None or v < 0 else c["words"][v] for v in codes]
        return table


def line(**changes):
    base = {
        "run": "r", "case": "f/a", "family": "f", "row": 0, "classes": 2, "framework": "x", "implementation": "x/loss",
        "formula": "builtin", "version": "1", "dtype": "float32", "device": "cpu", "mode": "eager", "quantity": "loss",
        "out_dtype": "float32", "status": "ok", "grade": "A", "verdict": "correct", "finite": True,
        "expected_finite": True, "n_nan": 0, "value": 1.0, "exact": 1.0, "max_abs": 0.0, "max_ulp": 0.5, "bits": 1,
    }  # fmt: skip
    return base | changes


def made(*lines):
    return typed(pd.DataFrame(list(lines)))


MANIFEST = {
    "run": "r", "frameworks": {"x": {"x": "1"}}, "versions": {"logitlab": "0"}, "missing": {}, "left_out": [],
    "hardware": {"processor": "p", "machine": "", "system": "s"}, "catalogue": {"cases": ["f/a"], "hash": "0" * 64},
    "cells": [["x/loss", "float32", "cpu", "eager", "1"]], "complete": True, "command": "logitlab run",
}  # fmt: skip


def kept(folder, *lines, cases=(), **facts):
    run = Run.create(folder, Manifest.parse(MANIFEST | facts))
    if lines:
        run.write(0, made(*lines))
    run.keep_cases(cases)
    return run


def site_of(run, out):
    (first,) = reports.write(run, ["html"], out)
    assert first == out / "index.html"
    return out


def keep_pages(monkeypatch, main, detail):
    """Let sites have only the pages that these functions of the site and its folder give."""
    from logitlab.reports.site import _write

    monkeypatch.setattr(_write, "main_pages", main)
    monkeypatch.setattr(_write, "detail_pages", detail)


@pytest.fixture
def only_the_first_page(monkeypatch):
    """Let sites have only their first page, with its picture."""
    keep_pages(monkeypatch, lambda site, out: [pages.overview(site, out)], lambda site: [])


@pytest.fixture
def only_cases(monkeypatch):
    """Let sites have only their first page and the pages of cases."""
    keep_pages(monkeypatch, lambda site, out: [pages.overview(site, out)], pages.case_pages)


@pytest.fixture
def only_tables(monkeypatch):
    """Let sites have only the pages of tables, with their pictures."""

    def of_tables(site, out):
        return pages.tables_pages(site, {s.name: s for s in site.report.sections}, out)

    keep_pages(monkeypatch, of_tables, lambda site: [])


@pytest.fixture
def only_devices(monkeypatch):
    """Let sites have only the page of devices."""

    def devices(site, out):
        makers = (sections._sides, sections._device_pairs)
        of_devices = {s.name: s for make in makers for s in make(site.report.source) if len(s.table)}
        return [tables._devices(site, of_devices, out)]

    keep_pages(monkeypatch, devices, lambda site: [])


def hostile_site(folder):
    """Return the site of a run in which every name is hostile."""
    lines, cases = [], []
    for words in HOSTILE.values():
        lines.append(line(case=words, family=words, implementation=words, framework=words, version=words))
        lines.append(line(case=words, family=words, status="raised", grade=None, detail=words, row=1))
        lines.append(line(case=words, family=words, grade="F", first_failure=words, verdict=words, row=2))
        fields = {"case": words, "family": words, "why": words, "source": words, "reported": words, "tags": words}
        fields |= {
            "options": words,
            "rows": 1,
            "classes": 2,
            "row": 0,
            "target": 1,
            "shown": [0, 1],
            "logits": [0.0, 1.0],
        }
        cases.append(fields)
    nasty = "".join(HOSTILE.values())
    facts = {
        "run": nasty, "command": nasty, "frameworks": {nasty: {nasty: nasty}}, "missing": {nasty: nasty},
        "settings": {nasty: {nasty: nasty}}, "environment": {nasty: nasty}, "complete": False,
        "hardware": {"processor": nasty, "machine": nasty, "system": nasty},
    }  # fmt: skip
    run = kept(folder / "run", *lines, cases=cases, **facts)
    return site_of(run, folder / "site")


@pytest.fixture(scope="module")
def run(small_run):
    return small_run


@pytest.fixture(scope="module")
def site(small_site):
    return small_site


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return hostile_site(tmp_path_factory.mktemp("hostile"))


# --- what is on the pages ---------------------------------------------------------------------------------------


def test_the_first_page_says_how_many_losses_are_safe(site, run):
    df = run.read()
    graded = df[(df["dtype"] == "float32") & df["grade"].notna()]
    worst = graded.groupby("implementation", observed=True)["grade"].agg(max)
    safe, whole = int(worst.isin(["A", "B"]).sum()), len(worst)
    assert f"{safe} of {whole} losses are safe in float32" in Parsed(site / "index.html").words


def test_the_first_page_names_each_loss_in_full_and_says_what_breaks_it(site, run):
    page = Parsed(site / "index.html")
    worst = reports.safety(run.read())
    assert all(page.words.count(name) >= 2 for name in worst["implementation"])
    for part, grades in (("Safe", "AB"), ("What breaks the others", "CDF")):
        section = page.words.partition(f"\n{part}\n")[2].partition("\n\n\n")[0]
        assert all(name in section for name in worst[worst["grade"].isin(list(grades))]["implementation"]), part
    assert set(worst["case"].dropna()) <= {word.strip(":") for word in page.words.split()}
    assert page.words.count("Advice:") == 3


def test_the_matrix_has_every_implementation_and_leads_to_the_case_of_its_grade(site, run):
    page = Parsed(site / "index.html")
    matrix = reports.grade_matrix(run.read()).set_index("implementation")
    said = {a["aria-label"]: a["href"] for tag, a in page.tags if tag == "a" and "aria-label" in a}
    assert len(said) == 2 * len(matrix)
    for name, grades in matrix.iterrows():
        href = said[f"{name}, float32: {grades['float32']}"]
        assert Parsed(site / urlsplit(href).path).words.count(grades["float32 case"]) > 0
        assert unquote(urlsplit(href).fragment) == f"given.implementation={name}&given.dtype=float32"


def test_the_first_page_with_all_that_it_loads_is_under_three_megabytes(site):
    page = site / "index.html"
    loaded = [site / a for a in Parsed(page).addresses() if a.startswith("assets/")]
    assert {f.name for f in loaded} == {"site.css", "site.js"}
    assert page.stat().st_size + sum(f.stat().st_size for f in loaded) < 3e6


def test_every_address_leads_to_a_page_of_the_site_and_every_anchor_is_there(site):
    pages = {path: Parsed(path) for path in site.rglob("*.html")}
    ids = {path: {a["id"] for _, a in page.tags if "id" in a} for path, page in pages.items()}
    for path, page in pages.items():
        for address in page.addresses():
            parts = urlsplit(address)
            if parts.scheme in ("https", "data"):
                continue
            target = (path.parent / parts.path).resolve() if parts.path else path
            assert target.exists(), (path, address)
            if parts.fragment and "=" not in parts.fragment:
                assert parts.fragment in ids[target], (path, address)


def test_nothing_is_loaded_from_elsewhere(site):
    for path in site.rglob("*.html"):
        for tag, attributes in Parsed(path).tags:
            loaded = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
            assert loaded is None or urlsplit(loaded).scheme in ("", "data"), (path, loaded)


def test_a_case_shows_its_logits_the_exact_answer_and_each_result(site, run):
    page = Parsed(site / "cases" / "seed-article.html")
    case = get_case("seed/article")
    assert case.why in page.words
    for words in ("Row 1, target 2", "1000", "-1000", "float32", "2000"):
        assert words in page.words
    given = page.grid("given")
    df = run.read()
    one = df[(df["case"] == case.id) & (df["implementation"] == "numpy/naive") & (df["dtype"] == "float32")]
    wanted = one[one["quantity"] == "loss"].set_index("row")
    shown = given[(given["implementation"] == "numpy/naive") & (given["dtype"] == "float32")].set_index("row")
    assert shown["loss"].to_list() == wanted["grade"].to_list()
    assert [float(v) for v in shown["value"]] == wanted["value"].to_list()
    assert shown["stage"][1] == wanted["first_failure"][1] == "exp"


def test_a_case_from_a_thread_links_it():
    from logitlab.reports.site.pages.cases import case_facts

    line = pd.Series({"source": "google-deepmind/optax#896", "rows": 1, "classes": 2}).reindex(CASES.names)
    assert case_facts(line).source_href == "https://github.com/google-deepmind/optax/issues/896"
    line["source"] = 'a"><script>/b#1'
    assert case_facts(line).source_href is None


def test_an_implementation_has_a_line_for_each_case_and_dtype(site, run):
    df = run.read()
    of_one = df[df["implementation"] == "numpy/lse"]
    table = Parsed(site / "implementations" / "numpy-lse.html").grid("cases")
    assert len(table) == len(of_one[["case", "dtype"]].drop_duplicates())
    worst = of_one[of_one["grade"].notna()].groupby(["case", "dtype"], observed=True)["grade"].agg(max)
    shown = table[table["grade"].notna()].set_index(["case", "dtype"])["grade"]
    assert shown.to_dict() == worst.to_dict()


def test_the_heatmap_has_the_percent_of_rows_that_are_f(site, run):
    df = run.read()
    rows = df[(df["implementation"] == "numpy/naive") & (df["dtype"] == "float32") & df["grade"].notna()]
    by_row = rows.assign(F=rows["grade"] == "F").groupby(["case", "row", "family"], observed=True)["F"].any()
    percent = 100 * by_row.groupby("family", observed=True).mean()
    text = (site / "finiteness.html").read_text(encoding="utf-8")
    link = 'href="implementations/numpy-naive.html#cases.dtype=float32&amp;cases.mode=eager&amp;cases.device=cpu&amp;'
    assert f'{link}cases.family=masks">{percent["masks"]:.0f}</a>' in text


def test_the_downloads_hold_the_measurements_and_the_tables(site, run):
    df = run.read()
    parquet = pd.read_parquet(site / "data" / "measurements.parquet")
    np.testing.assert_array_equal(parquet["max_ulp"], df["max_ulp"])
    csv = pd.read_csv(site / "data" / "measurements.csv.gz", dtype={"detail": str})
    np.testing.assert_allclose(csv["max_ulp"], df["max_ulp"], rtol=1e-15)
    errors = json.loads((site / "data" / "errors_loss.json").read_text())
    wanted = next(s.table for s in sections._errors(Measurements.of(df)) if s.name == "errors_loss")
    assert [float(e["loss largest"]) for e in errors] == pytest.approx(wanted["loss largest"].to_list())
    assert len(pd.read_csv(site / "data" / "errors_loss.csv")) == len(wanted)


@pytest.mark.usefixtures("only_tables")
def test_other_modes_and_devices_are_compared_with_eager_and_the_cpu(tmp_path):
    run = kept(
        tmp_path / "run", line(), line(mode="compiled", bits=2, grade="C", value=2.0), line(device="cuda", bits=3)
    )
    site = site_of(run, tmp_path / "site")
    for file, column, word, worse in (("modes", "mode", "compiled", 1), ("devices", "device", "cuda", 0)):
        page = Parsed(site / f"{file}.html")
        (found,) = page.grid(file)[[column, "rows", "different", "worse"]].to_numpy().tolist()
        assert found == [word, 1, 1, worse]
        assert (site / "charts" / f"{file}.svg").read_text().startswith("<svg")
        assert f"charts/{file}.svg" in page.addresses()


@pytest.mark.usefixtures("only_devices")
def test_two_devices_are_shown_side_by_side(tmp_path):
    """Cases with another grade come first, then those farthest apart; cases with the same bits are left out."""
    lines = [
        line(), line(device="cuda", bits=2, value=1 + 2**-22),
        line(case="f/b"), line(case="f/b", device="cuda", bits=2, grade="C", max_ulp=9.0, value=1 + 2**-20),
        line(case="f/c"), line(case="f/c", device="cuda"),
        line(case="f/d", mode="compiled"), line(case="f/d", device="cuda", bits=2),
    ]  # fmt: skip
    site = site_of(kept(tmp_path / "run", *lines), tmp_path / "site")
    page = Parsed(site / "devices.html")
    assert "CPU against cuda" in page.words
    table = page.grid("cpu-cuda")
    shown = ["case", "grade on cpu", "grade on cuda", "rows", "different", "apart", "error on cpu", "error on cuda"]
    assert table[shown].to_numpy().tolist() == [
        ["f/b", "A", "C", 1, 1, 8, 0.5, 9], ["f/a", "A", "A", 1, 1, 2, 0.5, 0.5],
    ]  # fmt: skip
    assert "f/c" not in set(table["case"])


@pytest.mark.usefixtures("only_devices")
def test_an_interpreted_kernel_is_compared_with_the_one_on_a_device(tmp_path):
    lines = [line(mode="interpreted"), line(device="cuda", bits=2), line(mode="compiled")]
    site = site_of(kept(tmp_path / "run", *lines), tmp_path / "site")
    (found,) = Parsed(site / "devices.html").grid("cpu-interpreted-cuda-eager")["case"]
    assert found == "f/a"


def test_pages_of_modes_and_devices_without_any_say_how_to_measure_them(site):
    assert "have only one device" in Parsed(site / "devices.html").words
    assert "--mode compiled" in Parsed(site / "modes.html").words


def test_curves_hold_every_implementation_and_the_bounds(site, run):
    (data,) = (json.loads(text) for _, text in Parsed(site / "curves.html").scripts)
    df = run.read()
    swept = df[(df["family"] == "sweep_offset") & (df["quantity"] == "loss") & (df["dtype"] == "float32")]
    largest = swept[swept["grade"].notna()].groupby(["implementation", "case"], observed=True)["max_ulp"].max()
    shown = {(data["names"][i], x): y for i, _, x, y in data["views"]["float32 loss"]["points"]}
    assert shown["numpy/lse", 1e4] == pytest.approx(largest["numpy/lse", "sweep_offset/10000"], rel=1e-3)
    rows = swept[(swept["case"] == "sweep_offset/100") & (swept["implementation"] == "numpy/lse")]
    in_ulp = rows["bound_shifted"] * rows["max_ulp"] / rows["max_abs"]
    assert shown["a-priori bound, shifted", 100.0] >= in_ulp.max() * (1 - 1e-3)


def swept(implementation, formula, errors):
    """Return the lines of an offset sweep with the error of the loss in ulp at each value; inf gives NaN."""
    for offset, error in errors.items():
        grade = "A" if error < 10 else "C" if error < np.inf else "F"
        bad = {"verdict": "nan", "value": None, "finite": False} if grade == "F" else {}
        yield line(
            implementation=implementation, framework=implementation.split("/")[0], formula=formula, max_ulp=error,
            case=f"sweep_offset/{offset}", family="sweep_offset", bound_shifted=1e-5, grade=grade, **bad,
        )  # fmt: skip


def test_the_first_page_leads_with_a_picture_of_the_formulas_along_the_offset(site, run):
    page = Parsed(site / "index.html")
    places = [page.words.index(words) for words in ("Add a constant", "Worst grade over all cases")]
    assert places == sorted(places)
    (alt,) = (attrs["alt"] for tag, attrs in page.tags if tag == "img" and attrs["src"] == "charts/lead.svg")
    assert "numpy" in page.words[places[0] :]
    df = run.read()
    rows = df[(df["family"] == "sweep_offset") & (df["quantity"] == "loss") & (df["dtype"] == "float32")]
    largest = rows[rows["grade"].notna()].groupby("implementation", observed=True)["max_ulp"].max()
    assert f"log1p: {largest['numpy/log1p']:.2g} ulp" in alt
    assert "naive: NaN from 100 on" in alt
    assert (site / "charts" / "lead.svg").read_text().startswith("<svg")


@pytest.mark.usefixtures("only_the_first_page")
def test_the_picture_says_what_each_loss_does_and_takes_the_framework_with_most_formulas(tmp_path):
    run = kept(
        tmp_path / "run",
        *swept("a/own", "builtin", {1: 0.5, 10: 0.5, 100: 0.5}),
        *swept("b/naive", "naive", {1: 0.5, 10: np.inf, 100: np.inf}),
        *swept("b/lse", "lse", {1: 1.0, 10: 90.0, 100: 1234.0}),
        *swept("b/log1p", "log1p", {1: 0.5, 10: 3.0, 100: 2.0}),
        *swept("b/first", "builtin", {1: 0.5, 10: np.inf, 100: 2.0}),
        *swept("b/second", "builtin", {1: 0.5, 10: 0.5, 100: 0.5}),
    )
    page = Parsed(site_of(run, tmp_path / "site") / "index.html")
    assert "every logit: b/naive and b/first break, b/lse loses digits, b/log1p stays right" in page.words
    (alt,) = (attrs["alt"] for tag, attrs in page.tags if tag == "img")
    said = ("naive: NaN from 10 on", "lse: 1,200 ulp", "log1p: 3 ulp", "first: NaN at 10")
    assert all(words in alt for words in said), alt
    drawn = (tmp_path / "site" / "charts" / "lead.svg").read_text()
    assert all(words in drawn for words in (*said, "a-priori bound"))
    assert "second" not in drawn


@pytest.mark.usefixtures("only_the_first_page")
@pytest.mark.parametrize(
    "errors",
    [
        {1: 0.5, 10: 0.5}, pytest.param({-3: 0.5, -2: 0.5, -1: 0.5}, marks=pytest.mark.full),
        {1: np.inf, 10: np.inf, 100: np.inf},
    ],
)  # fmt: skip
def test_the_first_page_has_no_picture_without_a_line_to_draw(tmp_path, errors):
    run = kept(tmp_path / "run", *swept("x/naive", "naive", errors))
    page = Parsed(site_of(run, tmp_path / "site") / "index.html")
    assert [attrs for tag, attrs in page.tags if tag == "img"] == []
    assert "of 1 loss is safe" in page.words


def test_libraries_come_with_their_licence(site):
    assert "MIT" in (site / "assets" / "datatables" / "License.txt").read_text()


def test_a_package_that_is_missing_is_named(run, tmp_path, monkeypatch):
    from logitlab.reports.charts import style

    monkeypatch.setattr(style, "find_spec", lambda name: None if name == "jinja2" else name)
    with pytest.raises(UsageError, match=r"the site needs jinja2; install with `pip install 'logitlab\[report\]'`"):
        reports.write(run, ["html"], tmp_path / "site")


def test_a_folder_that_cannot_be_written_is_reported(run, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match=r"cannot write the site to .*taken"):
        reports.write(run, ["html"], tmp_path / "taken")


@pytest.mark.full
@pytest.mark.parametrize("program", [sys.executable, pytest.param(shutil.which("false"), marks=pytest.mark.full)])
def test_a_second_process_writes_the_same_files_and_one_that_fails_changes_nothing(
    run, site, tmp_path, monkeypatch, program
):
    monkeypatch.setattr(_second_process, "FROM_LINES", 1)
    monkeypatch.setattr(_second_process.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(sys, "executable", program)
    started = []
    start = subprocess.Popen
    monkeypatch.setattr(
        _second_process.subprocess, "Popen", lambda *args, **kw: started.append(start(*args, **kw)) or started[-1]
    )
    again = site_of(run, tmp_path / "again")
    assert [process.returncode for process in started] == [1 if program.endswith("false") else 0]
    names = {file.relative_to(site) for file in site.rglob("*") if file.is_file()}
    assert names == {file.relative_to(again) for file in again.rglob("*") if file.is_file()}
    pages = [name for name in names if name.suffix == ".html"]
    assert len(pages) > 20
    assert [name for name in pages if (site / name).read_bytes() != (again / name).read_bytes()] == []


# --- the numbers behind them ------------------------------------------------------------------------------------


def test_a_result_has_the_three_quantities_of_a_row():
    df = made(
        line(grade="B", max_ulp=3.0, value=7.0, exact=8.0),
        line(
            quantity="gradient", grade="F", max_ulp=np.inf, verdict="nan", first_failure="exp", value=None, exact=None
        ),
        line(row=1, grade=None, status="unsupported", detail="no", value=None, exact=None),
    )
    found = results(Measurements.of(df)).set_index("row")
    one = found.loc[0]
    assert one[["loss", "gradient", "grade", "verdict", "stage", "status"]].to_list() == [
        "B", "F", "F", "nan", "exp", "ok",
    ]  # fmt: skip
    assert one[["loss ulp", "gradient ulp", "value", "exact"]].to_list() == [3.0, np.inf, 7.0, 8.0]
    assert found.loc[1, ["status", "detail", "given"]].to_list() == ["unsupported", "no", False]
    assert pd.isna(found.loc[1, "grade"])


def test_the_worst_row_of_a_case_is_by_grade_then_by_error():
    df = made(line(grade="C", max_ulp=5.0), line(row=1, grade="C", max_ulp=9.0), line(row=2, grade="A", max_ulp=99.0))
    assert results(Measurements.of(df), "rank = 1")["row"].to_list() == [1]


def test_findings_count_the_failures_and_name_the_family():
    df = made(
        line(implementation="x/a", grade="F", family="masks", case="masks/one"),
        line(implementation="x/b", grade="F", family="masks", case="masks/one"),
        line(implementation="x/c", grade="C", value=2.0, exact=3.0, max_ulp=4e6, case="offset/big", family="offset"),
        line(implementation="x/d", grade="A"),
        line(implementation="x/d", grade="F", dtype="float16"),
    )
    breaks, wrong, narrow = headlines(Measurements.of(df), reports.grade_matrix(df))
    assert breaks.title == "2 of 4 built-in losses break in float32"
    assert (breaks.case, breaks.implementations) == ("masks/one", ("x/a", "x/b"))
    assert "x/c returns 2 where the answer is 3, an error of 4e+06 ulp" in wrong.words
    assert breaks.advice == "Replace them with a safe loss, such as x/d."
    assert narrow.advice == "Convert the logits to float32 before the loss."
    assert narrow.title == "1 of 1 safe losses are not safe in float16"


def test_a_run_in_which_all_is_well_has_fewer_findings():
    df = made(line())
    found = headlines(Measurements.of(df), reports.grade_matrix(df))
    assert [f.title for f in found] == ["1 of 1 are accurate everywhere"]


def test_a_run_keeps_its_cases(run, tmp_path):
    cases = run.cases()
    article = cases[cases["case"] == "seed/article"]
    case = get_case("seed/article")
    assert article["row"].to_list() == [0, 1, 2]
    assert [list(x) for x in article["logits"]] == case.logits.tolist()
    assert article["target"].to_list() == case.targets.tolist()
    packed = run.pack(tmp_path / "packed")
    pd.testing.assert_frame_equal(packed.cases(), cases)


def test_a_wide_row_keeps_the_target_the_extremes_and_the_masked_classes():
    logits = np.zeros((20, 1000))
    logits[:, 500], logits[:, 600], logits[:, 700] = 9.0, -9.0, -np.inf
    lines = list(
        case_summary_rows(make("f/wide", "why", logits, np.full(20, 900), weight=np.ones(1000), ignore_index=3))
    )
    assert [one["row"] for one in lines] == list(range(8))
    assert {500, 600, 700, 900} <= set(lines[0]["shown"])
    assert lines[0]["logits"][lines[0]["shown"].index(700)] == -np.inf
    assert lines[0]["rows"] == 20
    assert "ignored index 3" in lines[0]["options"]


# --- what it is made of stays data ------------------------------------------------------------------------------


def test_hostile_words_become_neither_tags_nor_attributes(hostile):
    for path in hostile.rglob("*.html"):
        page = Parsed(path)
        for tag, attributes in page.tags:
            assert not [name for name in attributes if name.startswith("on")], path
            if tag == "script":
                assert attributes.get("type") == "application/json" or attributes["src"].lstrip("./").startswith(
                    "assets/"
                )
            assert tag != "img" or attributes["src"].startswith("charts/"), path
        for address in page.addresses():
            assert urlsplit(address).scheme in ("", "https", "data"), (path, address)
        for kind, text in page.scripts:
            assert kind == "application/json"
            assert not set("<>&'") & set(text)
            json.loads(text)


def test_hostile_words_come_back_as_they_were_but_for_blanks_and_length(hostile):
    table = Parsed(hostile / "cases.html").grid("cases")
    printable = ("".join(c if c.isprintable() else " " for c in w) for w in HOSTILE.values())
    shown = {(" ".join(w.split()) or "(no name)")[:399] for w in printable}
    assert {w[:399] for w in table["case"]} == shown


def test_hostile_names_stay_in_their_folder_and_have_a_page_each(hostile):
    names = [p.name for p in (hostile / "cases").iterdir()]
    assert len(names) == len(set(HOSTILE.values())) == len({n.lower() for n in names})
    written = list(hostile.parent.rglob("*.html"))
    assert all(hostile in p.parents for p in written)


def test_hostile_words_of_a_run_are_shown_as_text(hostile):
    words = Parsed(hostile / "provenance.html").words
    assert HOSTILE["script"] in words
    assert "49" not in words.split()  # no template was evaluated


@pytest.mark.browser
def test_hostile_words_run_nothing_in_a_browser(browser, hostile):
    context = browser.new_context()
    page = context.new_page()
    wrong = []
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    # Pages of implementations are made like those of cases.
    few = [p for p in sorted(hostile.rglob("*.html")) if p.parent.name != "implementations" or "script" in p.name]
    for file in few:
        page.goto(file.as_uri())
        if page.locator(".grid").count():
            page.locator(".grid tbody tr").first.wait_for()
        assert page.evaluate("window.hit") is None
        assert page.locator("main script:not([type='application/json']), main img, [onclick]").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, file
    context.close()
    assert wrong == []


@given(st.lists(st.one_of(st.text(max_size=200), st.sampled_from(list(HOSTILE.values()))), unique=True, max_size=30))
def test_file_names_are_plain_short_and_of_one_page_each(names):
    found = slugs(names)
    assert list(found) == names
    assert max(Counter(found.values()).values(), default=1) == 1
    for slug in found.values():
        assert slug
        assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
        assert not slug.startswith((".", "-"))
        assert not slug.endswith(".")
        assert len(slug) <= 3 * LONGEST


# --- partial runs -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("only_the_first_page")
def test_a_part_that_cannot_be_read_is_left_out_and_reported(tmp_path):
    run = kept(tmp_path / "run", line())
    run.write(1, made(line(implementation="x/other")))
    part = run.part(1)
    part.write_bytes(part.read_bytes()[:80])
    page = Parsed(site_of(run, tmp_path / "site") / "index.html")
    assert "This report is partial." in page.words
    assert "00001.parquet is damaged" in page.words
    assert "1 of 1 loss is safe" in page.words
    (markdown,) = reports.write(run, ["markdown"], tmp_path / "site")
    assert "**This report is partial**" in markdown.read_text(encoding="utf-8")


@pytest.mark.usefixtures("only_the_first_page")
def test_the_site_of_an_unfinished_run_says_how_much_is_there(tmp_path):
    cells = [["x/loss", "float32", "cpu", "eager", "1"], ["x/loss", "float64", "cpu", "eager", "1"]]
    run = kept(tmp_path / "run", line(), complete=False, cells=cells)
    page = Parsed(site_of(run, tmp_path / "site") / "index.html")
    assert "The run r is not complete: 1 of its 2 cells are measured" in page.words


@pytest.mark.usefixtures("only_the_first_page")
def test_a_manifest_that_lost_facts_still_gives_a_report_that_names_them(tmp_path):
    run = kept(tmp_path / "run", line(), hardware=None, versions=[], catalogue={"hash": "0"})
    page = Parsed(site_of(run, tmp_path / "site") / "index.html")
    assert "manifest.json is damaged: it has no versions, no hardware" in page.words


def test_a_run_without_rows_gives_pages_that_say_that_there_are_none(tmp_path):
    site = site_of(kept(tmp_path / "run", complete=False), tmp_path / "site")
    assert "Nothing has been graded" in Parsed(site / "index.html").words
    assert "The run r is not complete" in Parsed(site / "index.html").words


@pytest.mark.usefixtures("only_cases")
def test_damaged_cases_and_cases_that_the_run_does_not_keep_have_a_page_with_the_reason(tmp_path):
    run = kept(tmp_path / "run", line())
    kept_cases = run.folder / "cases.parquet"
    kept_cases.write_bytes(b"PAR1")
    site = site_of(run, tmp_path / "damaged")
    assert "cases.parquet is damaged" in Parsed(site / "index.html").words
    kept_cases.unlink()
    site = site_of(run, tmp_path / "absent")
    assert "has no description of this case" in Parsed(site / "cases" / "f-a.html").words
    assert "partial" not in Parsed(site / "index.html").words


@pytest.mark.usefixtures("only_cases")
def test_a_case_with_no_grade_has_a_page(tmp_path):
    run = kept(tmp_path / "run", line(grade=None, verdict="undefined", value=float("nan"), exact=float("nan")))
    page = Parsed(site_of(run, tmp_path / "site") / "cases" / "f-a.html")
    assert page.grid("given")["value"].to_list() == ["NaN"]
    assert "measured, not graded" in page.words


# --- hidden states ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("only_cases")
def test_the_page_of_a_linear_case_names_its_inputs_and_what_its_logits_are(tmp_path):
    name = "linear_layers/bias_s1"
    of_case = {"case": name, "family": "linear_layers", "implementation": "x/fused"}
    lines = [line(**of_case), line(**of_case, quantity="gradient_hidden"), line(case="seed/article", family="seed")]
    described = [*case_summary_rows(get_case(name)), *case_summary_rows(get_case("seed/article"))]
    site = site_of(kept(tmp_path / "run", *lines, cases=described), tmp_path / "site")
    linear = Parsed(site / "cases" / "linear_layers-bias_s1.html").words
    assert "hidden 8 x 64, weight 40 x 64, bias 40; class indices of int64" in linear
    assert "hidden @ weight.T + bias" in linear
    assert "no loss is given them" in linear
    plain = Parsed(site / "cases" / "seed-article.html").words
    assert "hidden" not in plain
