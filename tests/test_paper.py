"""LaTeX tables for papers: they compile, agree with the CSV beside them, and survive hostile names."""

import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from logitlab import reports
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.reports import paper
from logitlab.reports.charts import style
from logitlab.reports.paper import _latex, _latex_escape
from logitlab.storage.manifest import Manifest
from logitlab.storage.store import Run, typed

PDFLATEX = shutil.which("pdflatex")
SPECIAL = r"a%b&c_d#e{f}g\h~i^j$k|l"
HOSTILE = [
    f"x/{SPECIAL}",
    "x/<script>alert('1')</script>|`\"",
    "x/naïve.Größe[λ≤∞,中文,😀]",
    "x/new\nline\ttab\x07bell",
    "x/../../etc/passwd",
    r"x/\input{/etc/passwd}\end{table}",
    "x/" + "w" * 10_000,
]
MANIFEST = {
    "run": f"r {SPECIAL}", "frameworks": {"x": {SPECIAL: "1.0"}}, "versions": {"logitlab": "0"}, "complete": True,
    "missing": {f"y/{SPECIAL}": "中文 😀"}, "left_out": [], "environment": {"OMP_NUM_THREADS": "1; rm -rf ~"},
    "hardware": {"processor": SPECIAL * 20, "machine": "", "system": "a\nb"},
    "catalogue": {"cases": [], "hash": "0" * 64},
    "command": "logitlab run --case '```\n# not a heading'", "started": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(paper_run):
    return paper_run


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Return measurements of implementations, cases and devices with hostile names."""
    lines = [
        {
            "case": f"{SPECIAL}/{q}", "family": SPECIAL, "row": 0, "classes": 2, "framework": "x",
            "implementation": name, "formula": "builtin", "dtype": dtype, "device": "cuda:0 {%}",
            "mode": f"eager+{SPECIAL}", "quantity": q,
            "status": "ok", "grade": "F", "verdict": "nan", "finite": False, "expected_finite": True, "n_nan": 1,
            "max_abs": np.inf, "max_ulp": np.inf, "value": np.nan, "exact": 1.0, "condition": 2.0, "bound_shifted": 1.0,
        }
        for name in HOSTILE for dtype in ("float16", "float32") for q in ("loss", "gradient")
    ]  # fmt: skip
    run = Run.create(tmp_path_factory.mktemp("runs") / "hostile", Manifest.parse(MANIFEST))
    run.write(0, typed(pd.DataFrame(lines)))
    return run


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("paper")
    reports.write(run, ["latex"], out)
    return out


def compiled(folder):
    """Return the log of pdflatex, run until the widths of long tables are stable."""
    for _ in range(3):
        done = subprocess.run(
            [PDFLATEX, "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "main.tex"],
            cwd=folder, capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        log = (folder / "main.log").read_text(encoding="utf-8", errors="replace")
        assert done.returncode == 0, log[-3000:]
    assert (folder / "main.pdf").stat().st_size > 10_000
    return log


needs_latex = pytest.mark.skipif(
    PDFLATEX is None,
    reason="pdflatex is absent, and so nobody knows whether the LaTeX compiles: apt-get install texlive-latex-base "
    "texlive-latex-recommended texlive-latex-extra texlive-science",
)
COMPLAINTS = re.compile(r"^!|Overfull|undefined|Missing character|LaTeX Warning", re.MULTILINE)


@pytest.mark.latex
@needs_latex
def test_the_document_compiles_without_a_warning(run, tmp_path):
    reports.write(run, ["latex", "figures"], tmp_path)
    assert COMPLAINTS.findall(compiled(tmp_path)) == []


@pytest.mark.latex
@needs_latex
def test_hostile_names_compile_and_are_printed_as_they_are(hostile, tmp_path):
    reports.write(hostile, ["figures", "latex"], tmp_path)
    assert COMPLAINTS.findall(compiled(tmp_path)) == []
    if shutil.which("pdftotext"):  # of poppler, as a second look
        text = subprocess.run(
            [shutil.which("pdftotext"), "main.pdf", "-"], cwd=tmp_path, capture_output=True, check=True
        ).stdout
        assert "input{/etc/passwd}" in "".join(text.decode().split())


@pytest.mark.parametrize("character", SPECIAL)
def test_each_special_character_is_escaped(character):
    # Characters that pdflatex prints as they are; where there is a pdflatex, the compiled document proves it.
    assert (
        _latex_escape.tex(character) == character if character.isalpha() else _latex_escape.tex(character) != character
    )


def test_a_character_without_a_glyph_is_printed_as_its_number():
    assert "U+4E2D" in _latex_escape.tex("中")
    assert _latex_escape.tex("λ") == r"\ensuremath{\lambda}"


def test_a_name_breaks_only_at_its_joints():
    assert _latex_escape.name("keras-torch/losses.SparseX[from_logits]").split(r"\allowbreak{}") == [
        "keras-", "torch/", "losses.", "Sparse", "X", r"[from\_", "logits]",
    ]  # fmt: skip
    assert max(map(len, re.split(r"\\[a-z]+1000\{\}", _latex_escape.name("w" * 10_000)))) < 20


def body(folder, name):
    text = (folder / "tables" / f"{name}.tex").read_text(encoding="utf-8")
    rows = re.search(r"\\midrule\n(.*?)\\bottomrule", text, re.DOTALL).group(1)
    return [[cell.strip() for cell in line.removesuffix(r"\\").split("&")] for line in rows.strip().split("\n")]


def test_the_numbers_of_a_table_are_those_of_its_csv(written):
    table = pd.read_csv(written / "tables" / "errors_loss.csv")
    wide = table.pivot(index="implementation", columns="dtype", values=["loss median", "loss largest"])
    for implementation, *cells in body(written, "errors_loss"):
        name = re.sub(r"\\allowbreak\{\}|\\penalty1000\{\}|\\(?=_)", "", implementation)
        exact = [
            wide.loc[name, (value, d)] for d in ("float16", "float32") for value in ("loss median", "loss largest")
        ]
        for cell, number in zip(cells, exact, strict=True):
            cell = cell.removesuffix(_latex.DAGGER)  # noqa: PLW2901 - of a number as of a word
            if cell.startswith("{"):
                assert cell == (r"{$\infty$}" if np.isinf(number) else r"{$<0.01$}" if number < 0.01 else "{--}")
            else:
                assert float(cell) == pytest.approx(number, rel=0.051, abs=0.0051)


def test_grades_stand_in_the_table_as_letters(written, run):
    matrix = reports.grade_matrix(run.read())
    assert [line[1:] for line in body(written, "grades")] == matrix[["float16", "float32"]].to_numpy().tolist()


def test_a_long_table_continues_over_pages_and_a_short_one_floats(written, hostile, tmp_path):
    assert r"\begin{table}[!htbp]" in (written / "tables" / "grades.tex").read_text(encoding="utf-8")
    df = hostile.read()
    many = pd.concat([df.astype({"implementation": object}).assign(implementation=f"x/{i}") for i in range(50)])
    run = Run.create(tmp_path / "run", Manifest.parse(MANIFEST))
    run.write(0, typed(many))
    paper.write_latex(reports.make_report([run]), tmp_path)
    assert r"\begin{longtable}" in (tmp_path / "tables" / "grades.tex").read_text(encoding="utf-8")


@pytest.mark.latex
@needs_latex
def test_a_table_that_is_too_wide_for_a_page_is_turned(hostile, tmp_path):
    df = hostile.read().astype({"dtype": object, "device": object})
    wide = pd.concat([df[df["dtype"] == "float32"].assign(dtype=d, device="a device") for d in FORMATS])
    wide["max_ulp"], wide["grade"] = 1.23e300, "D"
    run = Run.create(tmp_path / "run", Manifest.parse(MANIFEST))
    run.write(0, typed(wide))
    paper.write_latex(reports.make_report([run]), tmp_path)
    assert r"\begin{landscape}" in (tmp_path / "tables" / "errors_loss.tex").read_text(encoding="utf-8")
    assert COMPLAINTS.findall(compiled(tmp_path)) == []


def test_only_missing_packages_are_reported(run, monkeypatch, tmp_path):
    monkeypatch.setattr(style, "find_spec", lambda module: None if module == "pylatexenc" else module)
    with pytest.raises(UsageError, match=r"LaTeX tables need pylatexenc; install with `pip install"):
        reports.write(run, ["latex"], tmp_path)


# --- how to reproduce it ----------------------------------------------------------------------------------------


def test_reproduce_has_the_commands_and_the_versions(written, run):
    page = (written / "reproduce.md").read_text(encoding="utf-8")
    assert run.manifest.command in page
    assert f"logitlab report {run.folder} --format latex --out {written}" in page
    both = paper.reproduce([run], ["latex", "figures"], written)
    assert f"logitlab report {run.folder} --format latex --format figures --out {written}" in both
    packages = run.manifest.frameworks["numpy"]
    assert f"numpy=={packages['numpy']}" in page
    assert f"scikit-learn=={packages['sklearn']}" in page
    assert run.manifest.distributions["sklearn"] == "scikit-learn"
    assert run.manifest.catalogue["hash"] in page


def test_hostile_facts_stay_within_their_block(hostile):
    page = paper.reproduce([hostile], ["latex"], hostile.folder)
    fences = re.findall(r"^(`{3,})(?:sh)?\n(.*?)\n\1$", page, re.DOTALL | re.MULTILINE)
    assert "# not a heading" in "".join(block for _, block in fences)
    assert "export OMP_NUM_THREADS='1; rm -rf ~'" in page
    outside = re.sub(r"^(`{3,})(?:sh)?\n.*?\n\1$", "", page, flags=re.DOTALL | re.MULTILINE)
    assert [line for line in outside.split("\n") if line.startswith("#")] == [
        "# How to reproduce this report", f"## Run `{MANIFEST['run']}`", "## The report",
    ]  # fmt: skip


def test_how_to_reproduce_an_incomplete_run_says_that_it_is_incomplete(hostile, tmp_path):
    half = Run.create(tmp_path / "run", Manifest.parse({**MANIFEST, "complete": False}))
    assert "Not complete" in paper.reproduce([half], [], tmp_path)
    assert "Not complete" not in paper.reproduce([hostile], [], tmp_path)


def test_the_pins_are_those_that_plain_pip_finds_and_the_builds_are_named(tmp_path):
    """The report was about `torch==2.13.0+cpu`, `paddle==` and `tensorflow-cpu`, which plain pip does not find."""
    frameworks = {"torch": {"torch": "2.13.0+cpu"}, "tensorflow": {"tensorflow": "2.21.0"}, "paddle": {"paddle": "3.3"}}
    frameworks["tiny"] = {"numpy": "2.4"}
    plugins = {"tiny": {"distribution": "tiny-losses", "version": "1.1"}}
    plugins["absent"] = {"distribution": "not-measured", "version": "1.0"}
    known = {"torch": "torch", "tensorflow": "tensorflow", "paddle": "paddlepaddle-gpu", "numpy": "numpy"}
    facts = {**MANIFEST, "frameworks": frameworks, "distributions": known, "plugins": plugins}
    page = paper.reproduce([Run.create(tmp_path / "run", Manifest.parse(facts))], [], tmp_path)
    (line,) = (line for line in page.splitlines() if line.startswith("pip install"))
    assert line.endswith("torch==2.13.0 tensorflow==2.21.0 paddlepaddle-gpu==3.3 numpy==2.4 tiny-losses==1.1")
    assert "+" not in line
    assert "- `torch`: `2.13.0+cpu`" in page
    old = Run.create(tmp_path / "old", Manifest.parse({**MANIFEST, "frameworks": frameworks}))
    assert "paddlepaddle==3.3" in paper.reproduce([old], [], tmp_path)
