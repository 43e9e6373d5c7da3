"""The JSON Schemas: they accept what LogitLab writes, and reject a missing, wrong or unknown field."""

from __future__ import annotations

import copy
import json
import math
from functools import cache
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from small_check import checked, losses

import logitlab
from logitlab import reports
from logitlab.cases import all_cases, get_case
from logitlab.cases.inputs import write_cases
from logitlab.cli import main
from logitlab.core import schemas
from logitlab.core.formats import FORMATS
from logitlab.core.vocabulary import GRADES, STATUSES
from logitlab.studies import compare as comparison
from logitlab.studies.check import write_formats
from logitlab.studies.compare._changes import KINDS as KINDS_OF_CHANGES
from logitlab.studies.exhaustive import _files
from logitlab.studies.largest import _show
from logitlab.studies.largest._entry import Entry, Recorded

ROOT = Path(__file__).parent.parent
WRONG = [[None]]  # of a type that no field has
# The objects that may have other fields: facts of a manifest that another LogitLab knows, and a machine's description.
OPEN = {"manifest": ("the document", "hardware"), "report": ("runs/0/hardware",)}


@cache
def validator(name):
    return Draft202012Validator(schemas.read(name))


def faults(name, document):
    return [f"{error.json_path}: {error.message}"[:300] for error in validator(name).iter_errors(document)]


@pytest.fixture(scope="module")
def documents(small_run, tmp_path_factory):
    """Return a document of each kind, as LogitLab writes it, by the name of its schema."""
    folder = tmp_path_factory.mktemp("documents")
    df = logitlab.read(small_run.folder)
    worse = df.assign(grade=df["grade"].astype(str).mask(df["grade"].notna(), "D").where(df["grade"].notna()))
    diff = logitlab.compare(df[df["dtype"] == "float32"], worse[worse["implementation"] != "numpy/lse"])
    comparison.write(diff, ["json"], folder)
    comparison.write_baseline(small_run.folder, folder / "baseline.json")
    reports.write(small_run, ["json"], folder)
    (folder / "largest.json").write_text(_show.written(ENTRIES, "json"))
    write_cases(folder / "cases.json", sample_of_cases())
    list(write_formats(checked("naive"), ["json"], out=folder / "check"))
    paths = {
        "manifest": small_run.folder / "manifest.json", "compare": folder / "compare.json",
        "baseline": folder / "baseline.json", "report": folder / "report.json", "largest": folder / "largest.json",
        "case_file": folder / "cases.json", "check": folder / "check" / "check.json",
    }  # fmt: skip
    return {name: json.loads(path.read_text()) for name, path in paths.items()}


def sample_of_cases():
    """Return small cases of the catalogue: one of each family of logits, and hidden states."""
    small = [case for case in all_cases() if case.problem == "logits" and 0 < case.rows * case.classes < 50]
    return [*{case.id.partition("/")[0]: case for case in small}.values(), get_case("linear_sizes/h1_c2")]


RECORDED = Recorded("numpy/lse", "float32", "eager", "cpu", "loss", "seed/article", 1, 2.5, "2.4.6", "runs/numpy")
ENTRIES = [
    Entry(RECORDED, 2.5, 0, 0.5, 0.25, "2, 1", (2.0, 1.0, -math.inf), "0", "softcap=30"),
    Entry(RECORDED, math.inf, 3, math.nan, math.inf, "50,257 classes"),
    Entry(RECORDED, problem="no such case"),
]

# A study takes seconds; the first line is that of a loss whose rows all raised.
STUDY = {
    "schema": 1, "logitlab": "0.1.0", "seconds": 1.5, "rows": {"e4m3fn": "all pairs"},
    "table": [
        {
            "framework": "numpy", "implementation": "numpy/lse", "formula": "lse", "version": None, "dtype": "e4m3fn",
            "device": "cpu", "mode": "eager", "quantity": "loss", "status": "raised", "detail": "ValueError: no",
            "rows": 10, "measured": 0, "out_dtype": None, "grade": None, "proof": None, "beyond_1_ulp": None,
            "beyond_10_ulp": None, "beyond_1000_ulp": None, "largest_ulp": "inf", "not_finite": 0, "a_lost_at": None,
            "b_lost_at": None, "c_lost_at": None, "d_lost_at": None, "worst_gap": None, "worst_first": None,
            "worst_second": None, "worst_target": None, "worst_entry": None, "worst_value": None, "worst_exact": None,
            "worst_ulp": None, "worst_verdict": None, "bits": None,
        }
    ],
    "curves": [
        {"implementation": "numpy/lse", "dtype": "e4m3fn", "quantity": "loss", "gap": [0.5], "grade": ["A"], "ulp": [1]}
    ],
}  # fmt: skip
KINDS = ("baseline", "case_file", "check", "compare", "largest", "manifest", "report")


# --- the schemas themselves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", schemas.NAMES)
def test_a_schema_is_valid_and_names_itself(name):
    schema = schemas.read(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].startswith(f"urn:logitlab:schema:{name}:")
    assert schema["title"]
    assert schema["description"]
    version = schema["properties"].get("schema") or schema["properties"]["version"]
    assert schema["$id"].endswith(f":{version.get('const', 1)}")


def test_the_words_of_the_schemas_are_those_of_the_package():
    assert schemas.read("check")["$defs"]["grade"]["enum"] == list(GRADES)
    table = schemas.read("exhaustive")["properties"]["table"]["items"]["properties"]
    assert table["status"]["enum"] == list(STATUSES)
    assert schemas.read("compare")["properties"]["changes"]["items"]["properties"]["change"]["enum"] == list(
        KINDS_OF_CHANGES
    )


def test_every_kind_has_a_schema_and_a_document_here():
    assert {*KINDS, "exhaustive"} <= set(schemas.NAMES)


def test_the_command_prints_a_schema_and_lists_all(capsys):
    assert main(["schema", "check"]) == 0
    assert json.loads(capsys.readouterr().out) == schemas.read("check")
    assert main(["schema"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(schemas.NAMES)


# --- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_what_logitlab_writes_is_accepted(name, documents):
    assert faults(name, documents[name]) == []


def test_a_study_is_accepted_with_the_columns_that_it_has():
    from logitlab.studies.exhaustive._table import COLUMNS

    assert list(STUDY["table"][0]) == list(COLUMNS)
    assert STUDY["schema"] == _files.SCHEMA
    assert faults("exhaustive", STUDY) == []


@pytest.mark.full
def test_a_measured_study_is_accepted(tmp_path):
    assert main(["exhaustive", "--dtype", "e4m3fn", "--framework", "numpy", "--out", str(tmp_path / "out")]) == 0
    assert faults("exhaustive", json.loads((tmp_path / "out" / "exhaustive.json").read_text())) == []


@pytest.mark.parametrize("kind", ["linear", "bits", "refused", "nothing"])
def test_every_kind_of_check_is_accepted(kind, tmp_path):
    loss = {"linear": linear, "refused": refuses}.get(kind, plain)
    options = {
        "linear": {"problem": "linear", "cases": ["linear_sizes/h1_c2"]},
        "bits": {"bitwise": True, "max_classes": 10, "quick": True},
        "refused": {"cases": ["seed/*"]},
        "nothing": {"cases": ["offset/1e30"]},
    }[kind]
    dtypes = {"refused": ["float16", "float64"], "nothing": ["float16"]}.get(kind, ["float64"])
    result = logitlab.check(loss, "numpy", dtypes, shrink=False, progress=False, **options)
    list(write_formats(result, ["json"], out=tmp_path / "out"))
    document = json.loads((tmp_path / "out" / "check.json").read_text())
    assert faults("check", document) == []
    assert document["passed"] == result.passed == (not any(not each["held"] for each in document["requirements"]))


def plain(x, t):
    return losses()["sound"](x, t)


def refuses(x, t):
    if x.dtype == "float16":
        raise TypeError("float16 is not supported")
    return plain(x, t)


def linear(hidden, weight, targets):
    return plain(hidden @ weight.T, targets)


def test_every_case_of_the_catalogue_is_a_valid_case_file(tmp_path):
    cases = sample_of_cases()
    assert {case.problem for case in cases} == {"logits", "linear"}
    assert {case.reduction for case in cases} >= {"none", "mean"}
    write_cases(tmp_path / "cases.json", cases)
    assert faults("case_file", json.loads((tmp_path / "cases.json").read_text())) == []


@pytest.mark.parametrize("page", ["docs/how-to/case-files.md"])
def test_a_case_file_of_the_documentation_is_accepted(page):
    text = (ROOT / page).read_text().partition("```json\n")[2].partition("```")[0]
    assert faults("case_file", json.loads(text)) == []


# --- mutants ----------------------------------------------------------------------------------------------------------


def shortened(value):
    """Return a document with at most one entry in each list and table, whose mutants are as many as its fields."""
    if isinstance(value, dict):
        few = dict(list(value.items())[:1]) if len(value) > 60 else value
        return {key: shortened(inner) for key, inner in few.items()}
    if isinstance(value, list):
        return [shortened(inner) for inner in value[:1]] if value and isinstance(value[0], dict | list) else value
    return value


def places(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield from places(below, (*path, key))


def changed(document, path, change):
    """Return a copy of the document in which ``change`` was called with the container at the path."""
    copied = copy.deepcopy(document)
    at = copied
    for key in path:
        at = at[key]
    change(at)
    return copied


def mutants(document):
    """Yield each place with a value of a wrong type, and each object with an unknown field."""
    for path in places(document):
        *above, last = path or (None,)
        name = "/".join(map(str, path)) or "the document"
        if path:
            yield f"{name} of a wrong type", changed(document, above, lambda at, k=last: at.__setitem__(k, WRONG))
        at = document
        for key in path:
            at = at[key]
        if isinstance(at, dict):
            yield f"{name} with an unknown field", changed(document, path, lambda at: at.update(unknown=WRONG))


@pytest.mark.parametrize("name", [*KINDS, "exhaustive"])
def test_a_wrong_type_and_an_unknown_field_are_rejected(name, documents):
    document = shortened(STUDY if name == "exhaustive" else documents[name])
    assert faults(name, document) == []
    accepted = {what for what, mutant in mutants(document) if validator(name).is_valid(mutant)}
    assert accepted == {f"{place} with an unknown field" for place in OPEN.get(name, ())}


OPTIONAL = {
    "manifest": {
        "started", "oracle", "distributions", "entry_points", "plugins", "devices", "environment", "settings",
        "conventions", "catalogue_size", "blocks", "files", "cells", "variants", "plain_only", "cluster", "run",
        "command", "interface", "finished", "packed",
    },
    "case_file": {"cases/0/tags", "cases/0/source"},
}  # fmt: skip
RECORDS = {
    "baseline": ["cells/0"], "case_file": ["cases/0"], "check": ["requirements/0", "required"],
    "compare": ["cells/0", "changes/0", "before"], "largest": ["entries/0"], "manifest": ["catalogue"],
    "report": ["runs/0"], "exhaustive": ["table/0", "curves/0"],
}  # fmt: skip


@pytest.mark.parametrize("name", [*KINDS, "exhaustive"])
def test_a_missing_field_is_rejected(name, documents):
    document = shortened(STUDY if name == "exhaustive" else documents[name])
    for record in ["", *RECORDS[name]]:
        path = [int(key) if key.isdigit() else key for key in record.split("/") if key]
        at = document
        for key in path:
            at = at[key]
        fields = {field: changed(document, path, lambda found, f=field: found.pop(f)) for field in at}
        accepted = {
            "/".join(filter(None, [record, field]))
            for field, mutant in fields.items()
            if validator(name).is_valid(mutant)
        }
        assert accepted <= OPTIONAL.get(name, set()), record


@pytest.mark.parametrize(
    "change",
    [
        {"name": "no family"}, {"why": " "}, {"logits": []}, {"logits": [[]]}, {"logits": [["1"]]}, {"hidden": [[1.0]]},
        {"targets": [0.5]}, {"targets": [[-0.5, 1.5]]}, {"target_dtype": "int8"}, {"reduction": "average"},
        {"label_smoothing": 1.5}, {"softcap": 0}, {"layout": "columns"}, {"linear_weight": [[1.0]]},
    ],
    ids=str,
)  # fmt: skip
def test_the_schema_of_case_files_rejects_what_the_reader_rejects(change, tmp_path):
    case = {"name": "mine/one", "why": "A case.", "logits": [[1.0, "-inf"]], "targets": [0]}
    found = {"format": "logitlab cases", "version": 1, "cases": [case]}
    assert faults("case_file", found) == []
    found["cases"] = [case | change]
    assert faults("case_file", found) != []
    (tmp_path / "mine.json").write_text(json.dumps(found))
    with pytest.raises(ValueError, match="mine"):
        logitlab.run(case_files=str(tmp_path / "mine.json"), frameworks="numpy", dtypes="float32")


def test_every_dtype_of_the_package_may_stand_in_a_manifest(documents):
    manifest = documents["manifest"]
    for dtype in FORMATS:
        cell = ["numpy/lse", dtype, "cpu", "eager", None]
        assert faults("manifest", manifest | {"cells": [cell, cell[:4]]}) == []
        assert faults("manifest", manifest | {"cells": [cell[:3]]}) != []
