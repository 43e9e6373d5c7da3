"""Run folders: written parts are read back, and damaged files are named."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from logitlab.core.errors import UsageError
from logitlab.storage.manifest import Manifest, PlannedCell
from logitlab.storage.store import COLUMNS, Run, typed

LINE = {
    "run": "r", "case": "seed/article", "family": "seed", "row": 1, "classes": 3, "framework": "numpy",
    "implementation": "numpy/naive", "formula": "naive", "dtype": "float32", "device": "cpu", "mode": "eager",
    "version": "2", "quantity": "loss", "out_dtype": "float32", "status": "ok", "grade": "F", "verdict": "overflow",
    "first_failure": "log",
    "finite": False, "expected_finite": True, "n_nan": 0, "n_posinf": 1, "n_neginf": 0, "n_zeroed": 0,
    "value": float("inf"), "exact": 2000.0, "max_abs": float("inf"), "max_rel": float("inf"), "max_ulp": float("inf"),
    "condition": 1.0,
}  # fmt: skip
RAISED = {**LINE, "row": 2, "status": "raised", "detail": "ValueError: a | b"}
for _absent in ("first_failure", "grade", "verdict", "finite", "expected_finite", "n_nan", "out_dtype", "value"):
    RAISED[_absent] = None


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", Manifest(run="r"))


def test_a_part_comes_back_as_it_was_written(run):
    table = typed(pd.DataFrame([LINE, RAISED]))
    run.write(0, table)
    pd.testing.assert_frame_equal(run.read(), table)


def test_a_packed_run_holds_the_same_in_one_part(run, tmp_path):
    run.write(0, pd.DataFrame([LINE]))
    run.write(7, pd.DataFrame([{**LINE, "implementation": "torch/naive"}]))
    run.finish(finished="now")
    packed = run.pack(tmp_path / "kept" / "gpu")
    assert len(packed.parts()) == 1
    pd.testing.assert_frame_equal(Run(packed.folder).read(), run.read())
    assert packed.manifest == replace(run.manifest, packed=True)


def test_an_incomplete_run_is_not_packed(run, tmp_path):
    with pytest.raises(UsageError, match="is incomplete; to see how to resume"):
        run.pack(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_parts_join_in_the_order_of_the_plan(run):
    run.write(1, pd.DataFrame([{**LINE, "implementation": "torch/naive"}]))
    run.write(0, pd.DataFrame([LINE]))
    assert run.read()["implementation"].to_list() == ["numpy/naive", "torch/naive"]


def test_an_empty_run_has_the_columns(run):
    assert list(run.read().columns) == list(COLUMNS)
    assert len(run.read()) == 0


def test_a_part_that_is_absent_everywhere_keeps_its_type(run):
    run.write(0, pd.DataFrame([RAISED]))
    run.write(1, pd.DataFrame([LINE]))
    assert {name: str(kind) for name, kind in run.read().dtypes.items()} == COLUMNS


def test_a_manifest_is_written_as_it_was_read():
    facts = {"schema": 1, "complete": True, "cells": [["torch/lse", "float32", "cpu", "eager", "2"]], "new": {"a": 1}}
    manifest = Manifest.parse(facts)
    assert manifest.cells[0].implementation == "torch/lse"
    assert "hardware" in manifest.lost
    written = json.loads(manifest.encoded())
    assert {name: written[name] for name in facts} == facts
    assert not {"hardware", "finished"} & written.keys()
    assert Manifest.parse(written) == manifest


def test_a_lost_fact_that_becomes_known_is_written():
    lost = Manifest.parse({"schema": 1})
    assert "complete" in lost.lost
    assert json.loads(replace(lost, complete=True).encoded())["complete"] is True


def test_a_part_number_identifies_its_cell():
    cells = [PlannedCell(name, "float32", "cpu", "eager") for name in ("x/a", "x/b", "x/c")]
    manifest = Manifest(cells=cells)
    assert [manifest.part(block, 1) for block in (0, 1, 2)] == [1, 4, 7]
    assert {manifest.cell_of(manifest.part(block, 1)) for block in range(3)} == {cells[1]}
    assert manifest.planned_parts == {0, 1, 2}


def test_finishing_is_remembered(run):
    run.finish(finished="now")
    assert Run(run.folder).manifest.complete is True
    assert Run(run.folder).manifest.finished == "now"


def test_no_temporary_file_is_left_behind(run):
    run.write(0, pd.DataFrame([LINE]))
    run.finish()
    run.close()
    names = sorted(p.name for p in run.folder.rglob("*"))
    assert names == ["00000.parquet", "manifest.json", "parts", "parts.sha256"]


def test_a_second_run_does_not_overwrite_the_first(run):
    with pytest.raises(UsageError, match="already holds a run"):
        Run.create(run.folder, Manifest())


def test_a_folder_without_manifest_is_not_a_run(tmp_path):
    with pytest.raises(UsageError, match=r"is not a run: it has no manifest\.json"):
        Run(tmp_path)


def test_a_file_where_the_folder_should_be_is_reported(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to .*taken"):
        Run.create(tmp_path / "taken" / "run", Manifest())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"no": "schema"}', '{"schema": "x"}'])
def test_a_damaged_manifest_is_reported(run, content):
    (run.folder / "manifest.json").write_text(content)
    with pytest.raises(UsageError, match=r"the manifest\.json of .* is damaged .*; copy it from a backup, or"):
        Run(run.folder)


def test_a_run_of_a_newer_logitlab_is_reported(run):
    (run.folder / "manifest.json").write_text(json.dumps({"schema": 999}))
    with pytest.raises(UsageError, match="newer LogitLab"):
        Run(run.folder)


def test_a_truncated_part_is_named(run):
    run.write(0, pd.DataFrame([LINE]))
    part = run.part(0)
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(UsageError, match=r"00000\.parquet is damaged"):
        run.read()
