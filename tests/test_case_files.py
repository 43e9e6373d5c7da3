"""Case files: written files are read back, errors are reported in one line, and the read cases are measured."""

import copy
import json
import math
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from logitlab import runner
from logitlab.cases import Case, LinearCase, all_cases, inputs, make
from logitlab.cases.inputs import read_cases, write_cases
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.storage.store import Run
from logitlab.studies import explain as explanation

pytestmark = pytest.mark.usefixtures("in_this_process")

SAID = ("family", "name", "why", "reduction", "label_smoothing", "ignore_index", "softcap", "logit_scale", "z_loss",
        "layout", "invalid", "source", "reported", "tags")  # fmt: skip
ARRAYS = ("logits", "targets", "weight")
OF_LINEAR = ("hidden", "linear_weight", "linear_bias")


def assert_same(one, other):
    known = {*SAID, *ARRAYS, "first_row", "measured_in", "in_every_mode"}
    assert {f.name for f in fields(Case)} == known, "a new field of Case needs its place here"
    assert [getattr(one, name) for name in SAID] == [getattr(other, name) for name in SAID]
    assert type(one) is type(other)
    assert {f.name for f in fields(LinearCase)} == {*known, *OF_LINEAR}
    for name in (*ARRAYS, *(OF_LINEAR if isinstance(one, LinearCase) else ())):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(np.signbit(a), np.signbit(b))


def renamed(case):
    """Return the case under a name that the catalogue does not have."""
    return replace(case, family="mine_" + case.family)


@pytest.mark.parametrize("apart", [7, pytest.param(1, marks=pytest.mark.full)])
def test_the_whole_catalogue_comes_back_as_it_was(tmp_path, apart):
    whole = [renamed(case) for case in all_cases() if 0 < case.logits.size < 10_000][::apart]
    assert {c.reduction for c in whole} == {"none", "mean", "sum"}
    assert {c.problem for c in whole} == {"logits", "linear"}
    write_cases(tmp_path / "all.json", whole)
    back = read_cases(tmp_path / "all.json")
    assert len(back) == len(whole) > 300 // apart
    for one, other in zip(whole, back, strict=True):
        assert_same(one, other)


@given(data=st.data())
def test_any_numbers_come_back_and_are_written_the_same_again(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cases")
    rows, classes = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    row = st.lists(st.floats(allow_nan=False), min_size=classes, max_size=classes)
    logits = data.draw(st.lists(row, min_size=rows, max_size=rows))
    targets = data.draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    words = data.draw(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1))
    case = make("mine/x", words, logits, targets, tags=(words,))
    write_cases(folder / "a.json", [case])
    (back,) = read_cases(folder / "a.json")
    assert_same(case, back)
    write_cases(folder / "b.json", [back])
    assert (folder / "a.json").read_bytes() == (folder / "b.json").read_bytes()


def test_a_file_reads_as_a_person_would_write_it(tmp_path):
    case = make(
        "mine/first", "A masked class beside a large one.", [[88.75, -math.inf, 0.1], [1e30, math.nan, -0.0]], [2, 0],
        label_smoothing=0.1,
    )  # fmt: skip
    write_cases(tmp_path / "new" / "mine.json", [case])
    assert (tmp_path / "new" / "mine.json").read_text() == (
        "{\n"
        ' "format": "logitlab cases",\n'
        ' "version": 1,\n'
        ' "cases": [\n'
        "  {\n"
        '   "name": "mine/first",\n'
        '   "why": "A masked class beside a large one.",\n'
        '   "logits": [\n'
        '    [88.75, "-inf", 0.1],\n'
        '    [1e+30, "nan", -0.0]\n'
        "   ],\n"
        '   "targets": [2, 0],\n'
        '   "label_smoothing": 0.1\n'
        "  }\n"
        " ]\n"
        "}\n"
    )


def test_a_case_without_rows_is_refused_before_anything_is_written(tmp_path):
    empty = make("mine/empty", "Nothing.", np.zeros((0, 3)), np.zeros(0, np.int64))
    with pytest.raises(UsageError, match=r"mine/empty has logits of shape \(0, 3\); give a case with rows and classes"):
        write_cases(tmp_path / "mine.json", [empty])
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_file_raises_a_usage_error(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match=r"mine\.json: cannot be written"):
        write_cases(tmp_path / "taken" / "mine.json", [make("mine/x", "why", [[1.0]], [0])])


# --- what is wrong ----------------------------------------------------------------------------------------------

GOOD = {"name": "mine/a", "why": "Two classes.", "logits": [[1.0, 2.0], [3.0, "-inf"]], "targets": [0, 1]}


def document(*cases):
    return {"format": "logitlab cases", "version": 1, "cases": list(cases)}


def changed(**fields_):
    return document(copy.deepcopy(GOOD) | fields_)


def without(field):
    return document({k: v for k, v in GOOD.items() if k != field})


LINEAR = {
    "name": "mine/l", "why": "Two.", "hidden": [[1.0, 2.0]], "targets": [1],
    "linear_weight": [[1.0, 0.0], [0.5, "inf"]],
}  # fmt: skip


def linear(**fields_):
    return document(copy.deepcopy(LINEAR) | fields_)


FAULTS = [
    (linear(logits=[[1.0]]), "case 0 (mine/l): has 'logits' beside hidden states; leave one of them out"),
    (linear(layout="spatial"), "case 0 (mine/l): has 'layout' beside hidden states; leave one of them out"),
    (linear(linear_bias=[1.0]), "case 0 (mine/l): mine/l: bias (1,) is not one number for each of 2 classes"),
    (linear(linear_bias=[1.0, "x"]), 'case 0 (mine/l), linear_bias[1]: "x"; expected a number'),
    (linear(hidden=[[1.0]]), "case 0 (mine/l): mine/l: hidden (1, 1) and weight (2, 2) are not (B, H) and (C, H)"),
    (linear(targets=[2]), "case 0 (mine/l), targets[0]: 2 is not a class; with 2 classes, expected 0 to 1"),
    (
        document({k: v for k, v in LINEAR.items() if k != "hidden"}),
        "has no field 'hidden'; expected all of name, why, hi",
    ),
    ([], 'is not a case file; expected an object with "format": "logitlab cases"'),
    ({"format": "x"}, 'is not a case file; expected an object with "format": "logitlab cases"'),
    (document() | {"version": 2}, "has version 2, and this LogitLab reads 1; upgrade"),
    (document() | {"version": "1"}, 'version: "1"; expected 1'),
    (document() | {"version": True}, "version: true; expected 1"),
    (document(GOOD) | {"case": []}, "unknown field 'case'; choose from format, version, cases"),
    (document(), "cases: []; expected a list of at least one case"),
    (document(GOOD) | {"cases": {}}, "cases: {}; expected a list of at least one case"),
    (document(GOOD, 7), "case 1 is 7; expected an object with the fields name, why, logits, targets"),
    (document(GOOD, GOOD), "case 1 (mine/a), name: an earlier case of the file has this name; choose another"),
    (changed(name="seed/article"), "case 0 (seed/article), name: the catalogue has a case of this name"),
    (changed(name="sweep_gap/1"), "case 0 (sweep_gap/1), name: the family 'sweep_gap' is not for case files"),
    (changed(name="file/x"), "case 0 (file/x), name: the family 'file' is not for case files"),
    (changed(name="invalid/x"), "case 0 (invalid/x), name: the family 'invalid' is not for case files"),
    (changed(name="mine"), 'case 0 (mine), name: "mine"; expected "family/name" without spaces'),
    (changed(name="a/b/c"), 'case 0 (a/b/c), name: "a/b/c"; expected "family/name"'),
    (changed(name=3), 'case 0, name: 3; expected "family/name"'),
    (changed(why=""), 'case 0 (mine/a), why: ""; expected words on one line'),
    (changed(why="a\nb"), 'case 0 (mine/a), why: "a\\nb"; expected words on one line'),
    (changed(tag=[]), "case 0 (mine/a): unknown field 'tag'; choose from name, why, source, reported, tags, logits"),
    (without("targets"), "case 0 (mine/a): has no field 'targets'; expected all of name, why, logits, targets"),
    (changed(tags="x"), 'case 0 (mine/a), tags: "x"; expected a list of words'),
    (changed(tags=["x", 1]), "case 0 (mine/a), tags[1]: 1; expected words on one line"),
    (changed(logits=3), "case 0 (mine/a), logits: 3; expected a list of rows, each a list of numbers"),
    (changed(logits=[]), "case 0 (mine/a), logits: no rows; expected at least one"),
    (changed(logits=[1, 2]), "case 0 (mine/a), logits[0]: 1; expected a row, a list of numbers"),
    (changed(logits=[[], []]), "case 0 (mine/a), logits[0]: a row of 0 numbers; expected at least one class"),
    (changed(logits=[[1, 2], [1]]), "case 0 (mine/a), logits[1]: a row of 1 numbers; expected 2, as in row 0"),
    (changed(logits=[[1, 2], [1, "x"]]), 'case 0 (mine/a), logits[1][1]: "x"; expected a number, or "-inf", "inf"'),
    (changed(logits=[[1, None], [1, 2]]), "case 0 (mine/a), logits[0][1]: null; expected a number"),
    (changed(logits=[[1, True], [1, 2]]), "case 0 (mine/a), logits[0][1]: true; expected a number"),
    (changed(logits=[[1, 10**400], [1, 2]]), "logits[0][1]: a number exceeds float64; for an infinity, write"),
    (changed(logits=[[1, math.nan], [1, 2]]), 'logits[0][1]: "NaN"; expected a number, or "-inf", "inf" or "nan"'),
    (changed(targets=0), "case 0 (mine/a), targets: 0; expected a list: a class index for each row, or a row of"),
    (changed(targets=[0]), "case 0 (mine/a), targets: 1 of them; expected 2, or 2x2, as logits"),
    (changed(targets=[[1, 0]]), "case 0 (mine/a), targets: 1x2 of them; expected 2, or 2x2, as logits"),
    (changed(targets=[0, 2]), "case 0 (mine/a), targets[1]: 2 is not a class; with 2 classes, expected 0 to 1"),
    (changed(targets=[0, 0.5]), "case 0 (mine/a), targets[1]: 0.5; expected a whole number"),
    (changed(targets=[0, 2**70]), "case 0 (mine/a), targets[1]: 1180591620717411303424; expected a whole number"),
    (changed(targets=[[1, 0], [-1, 2]]), "case 0 (mine/a), targets[1][0]: -1; expected a finite number that is not"),
    (changed(targets=[[1, 0], ["nan", 2]]), 'targets[1][0]: "nan"; expected a finite number that is not negative'),
    (changed(target_dtype="int8"), 'case 0 (mine/a), target_dtype: "int8"; expected one of int64, int32'),
    (changed(targets=[0, -(2**40)], invalid=True, target_dtype="int32"), "target_dtype: a target exceeds int32"),
    (changed(targets=[[1, 0], [0, 1]], target_dtype="int32"), "target_dtype: class probabilities have the dtype of"),
    (changed(reduction="max"), 'case 0 (mine/a), reduction: "max"; expected one of none, mean, sum'),
    (changed(layout=["rows"]), 'case 0 (mine/a), layout: ["rows"]; expected one of rows, transposed, strided, spatial'),
    (changed(label_smoothing=2), "case 0 (mine/a), label_smoothing: 2; expected a number from 0 to 1"),
    (changed(label_smoothing="nan"), 'label_smoothing: "nan"; expected a number from 0 to 1'),
    (changed(weight=1), "case 0 (mine/a), weight: 1; expected a list of one factor for each class"),
    (changed(weight=[1, "inf"]), 'case 0 (mine/a), weight[1]: "inf"; expected a finite number that is not negative'),
    (changed(weight=[1]), "case 0 (mine/a): mine/a: weight (1,) is not one factor for each of 2 classes"),
    (changed(ignore_index="x"), 'case 0 (mine/a), ignore_index: "x"; expected a whole number'),
    (changed(invalid=1), "case 0 (mine/a), invalid: 1; expected true or false"),
]


@pytest.mark.parametrize(("written", "message"), FAULTS)
def test_an_invalid_field_is_reported_with_its_place(tmp_path, written, message):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(written))
    with pytest.raises(UsageError) as caught:
        read_cases(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


TEXTS = [
    (b"", "line 1, column 1: is not JSON (Expecting value)"),
    (b'{\n "format": "logitlab cases",,\n}', "line 2, column 2"),
    (b'{"format": "logitlab cases", "version": 1, "version": 1}', "a field 'version' is given twice in one object"),
    (b"\xff\xfe", "is not text in UTF-8"),
    (b"[" * 100_000, "cannot be read as JSON"),
    (b'{"x": 1e999}', "is not a case file"),
]


@pytest.mark.parametrize(("written", "message"), TEXTS)
def test_invalid_json_is_reported(tmp_path, written, message):
    path = tmp_path / "mine.json"
    path.write_bytes(written)
    with pytest.raises(UsageError) as caught:
        read_cases(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_beyond_float64_is_refused_and_not_read_as_infinity(tmp_path):
    text = json.dumps(changed()).replace("3.0", "1e999")
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(UsageError, match=r"logits\[1\]\[0\]: a number exceeds float64"):
        read_cases(tmp_path / "mine.json")


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.json: no such file"):
        read_cases(tmp_path / "nowhere.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_cases(tmp_path)


@settings(max_examples=examples(60))
@given(data=st.data())
def test_a_changed_byte_gives_at_most_a_one_line_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("bytes") / "mine.json"
    write_cases(path, [make("mine/a", "why", [[1.5, -math.inf]], [0], label_smoothing=0.25, weight=[1.0, 2.0])])
    bytes_ = bytearray(path.read_bytes())
    bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes_)
    try:
        (found,) = read_cases(path)
        assert found.logits.shape == (1, 2)
    except UsageError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017 - most changes are reported, some only change a number
        assert "\n" not in str(error)  # noqa: PT017


# --- runs -------------------------------------------------------------------------------------------------------

PLAN = {"frameworks": "numpy", "implementations": ["*/lse", "*/log1p"]}


def written(folder, name="mine.json", case="mine/a", logits=((1.0, 2.0), (300.0, -math.inf))):
    path = folder / name
    write_cases(path, [make(case, "Two classes.", logits, [0, 0]), make(f"{case}_b", "One row.", [[0.1, 0.2]], [1])])
    return path


def test_a_run_measures_the_cases_of_a_file_as_those_of_the_catalogue(tmp_path):
    (article,) = (c for c in all_cases() if c.id == "seed/article")
    path = tmp_path / "mine.json"
    write_cases(path, [renamed(article)])
    own = runner.run(case_files=path, dtypes=["float16", "float32"], **PLAN)
    there = runner.run(cases="seed/article", dtypes=["float16", "float32"], **PLAN)
    assert set(own["case"]) == {"mine_seed/article"}
    tables = [t.drop(columns=["run", "case", "family"]).astype(object) for t in (own, there)]
    pd.testing.assert_frame_equal(*tables)


def test_case_files_cases_and_sweeps_go_together(tmp_path):
    paths = [written(tmp_path), written(tmp_path, "other.json", "other/a")]
    df = runner.run(cases="seed/article", case_files=paths, sweeps="gap=1", dtypes="float32", **PLAN)
    wanted = {"seed/article", "sweep_gap/1", "mine/a", "mine/a_b", "other/a", "other/a_b"}
    assert set(df["case"]) == wanted


def test_two_files_with_a_case_of_one_name_are_refused(tmp_path):
    paths = [written(tmp_path), written(tmp_path, "again.json")]
    with pytest.raises(UsageError, match=r"mine\.json and .*again\.json both hold a case mine/a; rename one"):
        inputs.select_inputs(case_files=paths)


def test_the_manifest_names_the_file_and_the_cases_that_a_dtype_cannot_hold(tmp_path):
    path = written(tmp_path, logits=((1e30, 0.0), (1.0, 2.0)))
    runner.run(case_files=path, dtypes=["float16", "float32"], out=tmp_path / "run", **PLAN)
    manifest = Run(tmp_path / "run").manifest
    (file,) = manifest.files
    assert (file["path"], file["cases"]) == (str(path), ["mine/a", "mine/a_b"])
    assert [(entry["case"], entry["dtype"]) for entry in manifest.left_out] == [("mine/a", "float16")]


def test_a_resumed_run_notices_changed_numbers_and_ignores_changed_words(tmp_path):
    path = written(tmp_path)
    plan = {"case_files": path, "dtypes": "float32", "out": tmp_path / "run", **PLAN}
    whole = runner.run(**plan)
    path.write_text(path.read_text().replace("Two classes.", "In other words."))
    again = runner.run(resume=True, **plan)
    pd.testing.assert_frame_equal(again, whole)
    path.write_text(path.read_text().replace("300.0", "301.0"))
    with pytest.raises(UsageError, match="its files differ from those of this run"):
        runner.run(resume=True, **plan)


def test_the_command_line_runs_reports_and_explains_a_case_of_a_file(tmp_path, capsys):
    path, folder = str(written(tmp_path)), str(tmp_path / "run")
    asked = ["--case-file", path, "--implementation", "numpy/naive"]
    assert main(["run", *asked, "--dtype", "float32", "--out", folder]) == 0
    assert main(["report", folder]) == 0
    assert "F  mine/a: " in capsys.readouterr().out
    assert main(["explain", "mine/a", *asked, "--row", "1"]) == 0
    assert "exp(300) is inf" in capsys.readouterr().out
    assert main(["explain", "mine/other", *asked]) == 2
    message = capsys.readouterr().err
    assert "no case is named 'mine/other'; the case files hold mine/a, mine/a_b;" in message


def test_a_case_of_the_catalogue_is_explained_with_a_case_file_there(tmp_path):
    found = explanation.explain("seed/article", "numpy/lse", case_files=[written(tmp_path)])
    assert found.case == "seed/article"
