"""One rule for every verb that keeps results: existing files are not overwritten, and the advice works."""

import pytest

import logitlab
from logitlab.cli import main
from logitlab.studies import training

TORN = "the earlier content"


def refused(command, capsys) -> str:
    assert main([str(word) for word in command]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


def test_pack_does_not_overwrite_a_run_or_advise_an_option_that_it_lacks(small_run, tmp_path, capsys):
    assert main(["pack", str(small_run.folder), str(tmp_path / "packed")]) == 0
    capsys.readouterr()
    line = refused(["pack", small_run.folder, tmp_path / "packed"], capsys)
    assert line == f"logitlab: {tmp_path / 'packed'} already holds a run; remove it, or choose another folder"
    assert main(["pack", str(small_run.folder), str(tmp_path / "another")]) == 0


def test_run_advises_to_resume(small_run, capsys):
    line = refused(["run", "--case", "seed/*", "--framework", "numpy", "--out", small_run.folder], capsys)
    assert line.endswith("already holds a run; resume it with --resume, remove it, or choose another folder")


def test_baseline_does_not_overwrite_a_file(small_run, tmp_path, capsys, monkeypatch):
    kept = tmp_path / "baseline.json"
    kept.write_text(TORN)
    # The run is not read either.
    with monkeypatch.context() as patch:
        patch.setattr("logitlab.storage.store.Run.read", lambda run: pytest.fail("the run was read"))
        line = refused(["baseline", small_run.folder, kept], capsys)
    assert line == f"logitlab: {kept} already exists; remove it, or choose another file"
    assert kept.read_text() == TORN
    kept.unlink()
    assert main(["baseline", str(small_run.folder), str(kept)]) == 0


def test_train_demo_does_not_start_if_its_result_cannot_be_kept(tmp_path, capsys, monkeypatch):
    (tmp_path / "training.csv").write_text(TORN)
    with monkeypatch.context() as patch:
        patch.setattr(training, "train_demo", lambda *_, **__: pytest.fail("a classifier was trained"))
        line = refused(["train-demo", "--framework", "numpy", "--out", tmp_path], capsys)
    assert line == f"logitlab: {tmp_path / 'training.csv'} already exists; remove it, or choose another folder"
    assert (tmp_path / "training.csv").read_text() == TORN


def test_largest_does_not_measure_if_its_table_cannot_be_kept(small_run, tmp_path, capsys, monkeypatch):
    kept = tmp_path / "largest.md"
    kept.write_text(TORN)
    with monkeypatch.context() as patch:
        patch.setattr("logitlab.studies.largest.largest", lambda *_, **__: pytest.fail("a row was measured"))
        line = refused(["largest", small_run.folder, "--out", kept], capsys)
    assert line == f"logitlab: {kept} already exists; remove it, or choose another file"
    assert kept.read_text() == TORN


def test_check_does_not_start_if_its_result_cannot_be_kept(tmp_path, capsys, monkeypatch):
    (tmp_path / "failures.csv").write_text(TORN)
    with monkeypatch.context() as patch:
        patch.setattr("logitlab.studies.check.check", lambda *_, **__: pytest.fail("a loss was checked"))
        line = refused(["check", "json:dumps", "--framework", "numpy", "--out", tmp_path], capsys)
    assert line == f"logitlab: {tmp_path / 'failures.csv'} already exists; remove it, or choose another folder"
    assert (tmp_path / "failures.csv").read_text() == TORN


def test_hunt_does_not_start_if_its_result_cannot_be_kept(tmp_path, capsys):
    (tmp_path / "found.json").write_text(TORN)
    line = refused(["hunt", "numpy/lse", "--evaluations", "1", "--out", tmp_path / "found.json"], capsys)
    assert line == f"logitlab: {tmp_path / 'found.json'} already exists; remove it, or choose another file"


def test_matrix_does_not_overwrite_a_run(small_run, tmp_path):
    small_run.pack(tmp_path / "scipy-1.14.1")
    with pytest.raises(logitlab.UsageError, match=r"already holds a run; remove it, or choose another folder$"):
        logitlab.matrix(["scipy==1.14.1", "scipy==1.15.3"], tmp_path)
