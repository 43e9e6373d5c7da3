"""The formats of `check` for people and programs: Markdown, annotations, JUnit XML, SARIF, JSON and badges."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from colour_contrast import contrast
from small_check import SOURCE, checked, losses

import logitlab
from logitlab.cli import main
from logitlab.core.location import location_of
from logitlab.core.vocabulary import GRADES
from logitlab.reports.ci import MAX_ANNOTATIONS, Alert, JunitTest, annotation, junit, sarif
from logitlab.studies.check import FORMATS, location, named, write_formats
from logitlab.studies.check.formats import _badge
from logitlab.studies.check.formats._requirements import broken, requirements


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A folder with the losses of `SOURCE` in formats_losses.py, which is the current folder."""
    (tmp_path / "formats_losses.py").write_text(SOURCE)
    for name in ("formats_losses", "formats_places"):  # another test's
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    return tmp_path


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


# --- for programs -----------------------------------------------------------------------------------------------


def test_junit_has_a_test_for_each_requirement(capsys):
    result = checked("naive")
    root = ET.fromstring(rendered("naive", "junit", capsys))  # noqa: S314 - written above
    tests = root.findall("testsuite/testcase")
    found = requirements(result)
    assert [test.get("name") for test in tests] == [each.name for each in found]
    assert [test.find("failure") is None for test in tests] == [each.held for each in found]
    assert root.get("tests") == str(len(found))
    assert root.get("failures") == str(len(broken(result))) != "0"
    (first, *_) = root.findall(".//failure")
    assert first.get("type") == "check/loss-grade"
    assert first.get("message") == next(each.counts for each in found)


def test_junit_is_xml_whatever_the_names():
    tests = [JunitTest("a<b>", 'c"&\x00\ud800'), JunitTest("a<b>", "d", "no\x1b[0m", "kind", "x\ny\x0c")]
    root = ET.fromstring(junit("logitlab check", tests).encode())  # noqa: S314 - written above
    assert [suite.get("name") for suite in root] == ["a<b>"]
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    assert root.find(".//failure").text == "x\ny\N{REPLACEMENT CHARACTER}"


def test_sarif_has_one_result_for_each_broken_rule_at_the_line_of_the_loss(module, capsys):
    options = ["--framework", "numpy", "--dtype", "float64", "--case", "overflow/*", "--format", "sarif"]
    assert main(["check", "formats_losses:naive", *options]) == 1
    log = json.loads(capsys.readouterr().out)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules) == len(run["results"]) >= 2
    line = SOURCE.splitlines().index("def naive(x, t):") + 1
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] == "error"
        assert "naive (numpy " in result["message"]["text"]
        (place,) = result["locations"]
        assert place["physicalLocation"] == {
            "artifactLocation": {"uri": "formats_losses.py", "uriBaseId": "%SRCROOT%"}, "region": {"startLine": line}
        }  # fmt: skip
    keys = [result["partialFingerprints"]["logitlab/v1"] for result in run["results"]]
    assert len(set(keys)) == len(keys)
    assert main(["check", "formats_losses:sound", *options]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["results"] == []


def test_a_sarif_result_keeps_its_fingerprint_when_its_message_changes():
    alerts = [Alert("check/masks", "masks", "loss torch", message) for message in ("5 of 7 fail", "6 of 7 fail")]
    logs = [json.loads(sarif("logitlab/check", [alert]))["runs"][0]["results"][0] for alert in alerts]
    assert logs[0]["partialFingerprints"] == logs[1]["partialFingerprints"]
    assert "locations" not in logs[0]


def test_json_has_the_grades_and_the_worst_failures(capsys):
    result = checked("naive")
    content = json.loads(rendered("naive", "json", capsys), parse_constant=pytest.fail)
    assert content["grades"] == result.grades_by_quantity
    assert content["failed"] == len(result.failures)
    assert [line["case"] for line in content["failures"]] == result.failures["case"].head(100).to_list()
    assert [each["held"] for each in content["requirements"]] == [each.held for each in requirements(result)]
    assert content["source"] is None


# --- badges -----------------------------------------------------------------------------------------------------------


def graded(name, grades):
    lines = pd.DataFrame({"dtype": list(grades), "status": "ok", "detail": ""})
    return SimpleNamespace(name=name, grades=grades, lines=lines)


@pytest.mark.parametrize("grade", [*GRADES, "raised"])
def test_a_badge_is_legible_and_has_a_title(grade):
    root = ET.fromstring(_badge.badge(graded("losses.<f>", {"float32": grade})))  # noqa: S314 - written above
    space = "{http://www.w3.org/2000/svg}"
    assert root.get("role") == "img"
    assert root.find(f"{space}title").text == root.get("aria-label") == f"losses.<f>: {grade} float32"
    (left, right), (name, words) = (root.findall(f"{space}g/{space}{kind}") for kind in ("rect", "text"))
    assert (name.text, words.text) == ("losses.<f>", f"{grade} float32")
    for rect, text in ((left, name), (right, words)):
        assert contrast(rect.get("fill"), text.get("fill")) >= 4.5
        start = float(rect.get("x", 0))
        middle, half = float(text.get("x")), float(text.get("textLength")) / 2
        assert start < middle - half < middle + half < start + float(rect.get("width")) <= float(root.get("width"))


def test_a_badge_shows_the_worst_grade_first_and_no_refused_dtype():
    grades = {"float16": "B", "bfloat16": "F", "float32": "B", "float64": "A"}
    assert "<title>loss: F bfloat16, B float16 float32, A float64</title>" in _badge.badge(graded("loss", grades))
    result = checked("sound")
    lines = pd.concat([result.lines, result.lines.assign(dtype="float16", status="unsupported", grade=None)])
    assert "<title>sound: B float64</title>" in _badge.badge(replace(result, lines=lines))


def test_a_long_name_is_cut_in_a_badge():
    title = re.search("<title>(.*)</title>", _badge.badge(graded("f" * 200, {"float32": "A"})))[1]
    assert title == f"{'f' * 57}...: A float32"


# --- files ------------------------------------------------------------------------------------------------------------


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
