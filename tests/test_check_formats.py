"""The formats of `check` for people and programs: Markdown, annotations of GitHub."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

import logitlab
from logitlab.cli import main
from logitlab.core.location import location_of
from logitlab.reports.ci import MAX_ANNOTATIONS, annotation
from logitlab.studies.check import FORMATS, location, named, write_formats
from logitlab.studies.check.formats._requirements import broken, requirements

SOURCE = """
import numpy as np

def sound(x, t):
    top = x.max(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        return np.log(np.exp(x - top).sum(axis=1)) - (x[np.arange(len(x)), t] - top[:, 0])

def naive(x, t):
    with np.errstate(all="ignore"):
        e = np.exp(x)
        return -np.log(e[np.arange(len(x)), t] / e.sum(axis=1))

def gradient(x, t):
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        p[np.arange(len(x)), t] -= 1
    return p
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A folder with the losses of `SOURCE` in formats_losses.py, which is the current folder."""
    (tmp_path / "formats_losses.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    return tmp_path


def losses():
    found = {"__name__": "losses"}
    exec(SOURCE, found)  # noqa: S102 - written above
    return found


@cache
def checked(name, *dtypes, **options):
    cases = ("seed/*", "overflow/*", "check/width_5")
    return logitlab.check(
        losses()[name], "numpy", list(dtypes or ("float64",)), gradient=losses()["gradient"], cases=cases,
        shrink=False, progress=False, **options,
    )  # fmt: skip


def rendered(name, form, capsys):
    assert list(write_formats(checked(name), [form])) == []
    return capsys.readouterr().out


def test_a_requirement_fails_exactly_where_lines_of_the_table_fail():
    result = checked("naive")
    found = {each.rule: each for each in requirements(result)}
    loss = found["check/loss-grade"]
    assert loss.name == "loss has grade B"
    assert loss.failed == (result.failures["quantity"] == "loss").sum() > 0
    assert found["check/gradient-grade"].held
    large = result.properties.set_index("property").loc["large logits"]
    assert (found["check/large-logits"].failed, found["check/large-logits"].rows) == (large.failed, large.rows)
    assert "large logits" in result.failures.loc[result.failures["breaks"] != "", "breaks"].iloc[0]
    assert broken(checked("sound")) == {}


def test_every_rule_has_a_plain_name_of_its_own():
    names = {each.rule: each.name for each in requirements(checked("naive"))}
    assert len(set(names.values())) == len(names) > 10
    assert all(re.fullmatch(r"check/[a-z0-9]+(-[a-z0-9]+)*", rule) for rule in names)


def test_a_dtype_that_nobody_asked_for_and_the_loss_refuses_is_no_requirement():
    def only_double(x, t):
        if x.dtype != np.float64:
            raise TypeError(f"{x.dtype} is not supported")
        return losses()["sound"](x, t)

    result = logitlab.check(only_double, "numpy", cases=["seed/*"], shrink=False, progress=False)
    assert result.passed
    assert {each.dtype for each in requirements(result)} == {"float64"}
    asked = logitlab.check(only_double, "numpy", ["float16", "float64"], cases=["seed/*"], shrink=False, progress=False)
    ((failed,),) = broken(asked).values()
    assert (failed.dtype, asked.passed) == ("float16", False)
    assert "not supported" in failed.example


def test_an_annotation_names_file_and_line_of_the_loss(module, capsys):
    options = ["--framework", "numpy", "--dtype", "float64", "--case", "overflow/*", "--format", "github"]
    assert main(["check", "formats_losses:naive", *options]) == 1
    lines = capsys.readouterr().out.splitlines()
    line = SOURCE.splitlines().index("def naive(x, t):") + 1
    assert 2 <= len(lines) <= MAX_ANNOTATIONS + 1
    assert all(text.startswith(f"::error file=formats_losses.py,line={line},title=naive%3A ") for text in lines[:-1])
    assert lines[-1].startswith("::notice title=logitlab check::naive: FAILED, grade B required (numpy ")
    assert main(["check", "formats_losses:sound", *options]) == 0
    assert capsys.readouterr().out.startswith("::notice title=logitlab check::sound: passed")


def test_more_broken_requirements_than_annotations_are_counted(capsys):
    number = len(broken(checked("naive")))
    lines = rendered("naive", "github", capsys).splitlines()
    assert len(lines) == min(number, MAX_ANNOTATIONS) + 1
    assert (f"{number - MAX_ANNOTATIONS} more requirements" in lines[-1]) == (number > MAX_ANNOTATIONS)


def test_an_annotation_is_one_line_whatever_the_message():
    line = annotation("error", "a: b, 100%", "first\r\nsecond 5%")
    assert line == "::error title=a%3A b%2C 100%25::first%0D%0Asecond 5%25"


def test_markdown_shows_grades_broken_requirements_and_the_program(module, capsys):
    options = ["--framework", "numpy", "--dtype", "float64", "--case", "overflow/*", "--format", "markdown"]
    assert main(["check", "formats_losses:naive", *options]) == 1
    page = capsys.readouterr().out
    assert page.startswith("### ❌ LogitLab: `naive` FAILED, grade B required\n")
    assert re.search(r"^\| float64 \| F \| \d+ \| \d+ \|$", page, re.MULTILINE)
    assert "| `large logits` |" in page
    program = re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]
    compile(program, "program", "exec")
    assert "from formats_losses import naive as loss" in program


@pytest.mark.parametrize("name", ["sound", "naive"])
def test_a_table_of_markdown_has_as_many_cells_in_every_line(name, capsys):
    page = rendered(name, "markdown", capsys)
    for table in re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert ("not met" in page) == (name == "naive")


@pytest.mark.parametrize("form", FORMATS)
def test_a_format_is_written_to_the_folder_as_it_is_printed(form, tmp_path, capsys):
    result = checked("naive")
    paths = list(write_formats(result, [form], out=tmp_path / "found"))
    shown = capsys.readouterr().out
    if form in ("text", "github"):
        assert shown
        assert {p.name for p in paths} == {"report.txt", "failures.csv", "properties.csv"}
    else:
        assert shown == ""
        assert rendered("naive", form, capsys) == paths[-1].read_text()


def test_a_file_of_a_format_is_never_overwritten(module, capsys):
    (module / "found").mkdir()
    (module / "found" / "check.md").write_text("mine")
    command = ["check", "formats_losses:sound", "--framework", "numpy", "--format", "markdown", "--out", "found"]
    assert main(command) == 2
    assert "check.md already exists" in capsys.readouterr().err
    assert main([*command[:4], "--format", "marcdown"]) == 2
    assert "unknown format 'marcdown'" in capsys.readouterr().err


def test_a_loss_is_found_where_it_is_defined(module, monkeypatch):
    (module / "formats_places.py").write_text(
        "import functools\n\n\n@functools.cache\ndef cached(x, t):\n    return x\n\n\n"
        "part = functools.partial(cached, 1)\n\n\nclass Loss:\n    def __call__(self, x, t):\n        return x\n\n\n"
        "made = Loss()\n"
    )
    lines = {"cached": 4, "part": 4, "made": 12, "Loss()": 12}
    for name, line in lines.items():
        place = location(named(f"formats_places:{name}")[1])
        assert (place.relative, place.line) == ("formats_places.py", line), name
    assert location_of(len) is None
    monkeypatch.setenv("GITHUB_WORKSPACE", str(module.parent))
    assert place.relative == f"{module.name}/formats_places.py"
    monkeypatch.setenv("GITHUB_WORKSPACE", str(module / "elsewhere"))
    assert place.relative is None
    assert annotation("error", "title", "message", place) == "::error title=title::message"
