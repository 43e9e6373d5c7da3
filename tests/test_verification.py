"""`logitlab doctor RUN`: a sound run is reported as sound, and each kind of damage by name."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from in_process import calls_in_this_process

import logitlab
from logitlab import runner
from logitlab.cli import main
from logitlab.core import files
from logitlab.core.errors import UsageError
from logitlab.storage.lock import Lock
from logitlab.storage.querying import query
from logitlab.storage.store import Run
from logitlab.storage.verification import verify

pytestmark = pytest.mark.usefixtures("in_this_process")

PLAN = {"cases": ["seed/article", "gap/5_low"], "frameworks": ["numpy"], "implementations": ["numpy/l*"]}
DTYPES = ["float32"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verified") / "run"
    with calls_in_this_process():
        table = runner.run(**PLAN, dtypes=DTYPES, out=folder)
    return folder, table


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "run")


def part(run: Path, index: int = 1) -> Path:
    return run / "parts" / f"{index:05d}.parquet"


def record(run: Path, path: Path) -> None:
    """Record the checksum of a file as if the run had written it."""
    with (run / "parts.sha256").open("a") as file:
        file.write(f"{files.digest(path.read_bytes())}  {path.relative_to(run)}\n")


def rewritten(run: Path, path: Path, change) -> None:
    pq.write_table(change(pq.read_table(path)), path)
    record(run, path)


def flip_a_bit(run: Path) -> None:
    data = bytearray(part(run).read_bytes())
    data[len(data) // 2] ^= 1
    part(run).write_bytes(data)


def truncate(run: Path) -> None:
    part(run).write_bytes(part(run).read_bytes()[:-7])


def alter_the_manifest(run: Path) -> None:
    text = (run / "manifest.json").read_text()
    (run / "manifest.json").write_text(text.replace('"complete": true', '"complete":  true'))


def alter_the_checksums(run: Path) -> None:
    text = (run / "parts.sha256").read_text()
    (run / "parts.sha256").write_text(text.replace("parts/00001.parquet", "parts/00001.parquex"))


DAMAGE = {
    "a flipped bit": (flip_a_bit, "parts/00001.parquet", "its checksum differs"),
    "a truncated part": (truncate, "parts/00001.parquet", "its checksum differs"),
    "a missing part": (lambda run: part(run).unlink(), "parts", "missing: parts/00001.parquet"),
    "a part that is there twice": (
        lambda run: shutil.copy(part(run), part(run, 9)), "parts/00009.parquet", "not in the run's plan"
    ),
    "a part in another's place": (
        lambda run: (shutil.copy(part(run, 0), part(run)), record(run, part(run))),
        "parts/00001.parquet", "does not hold the measurements of",
    ),
    "rows that are there twice": (
        lambda run: rewritten(run, part(run), lambda t: pa.concat_tables([t, t.slice(0, 1)])),
        "parts/00001.parquet", "repeated rows",
    ),
    "a column that is lost": (
        lambda run: rewritten(run, part(run), lambda t: t.drop_columns(["case"])),
        "parts/00001.parquet", "no column case",
    ),
    "a column of another kind": (
        lambda run: rewritten(run, part(run), lambda t: t.set_column(
            t.schema.get_field_index("value"), "value", pa.array(["1"] * len(t))
        )),
        "parts/00001.parquet", "column value holds string; expected double",
    ),
    "a column too many": (
        lambda run: rewritten(run, part(run), lambda t: t.append_column("more", pa.array([1] * len(t)))),
        "parts/00001.parquet", "column 'more'",
    ),
    "a manifest that was altered": (alter_the_manifest, "manifest.json", "changed after the run"),
    "a manifest that is cut off": (
        lambda run: (run / "manifest.json").write_text("{"), "manifest.json", "is damaged"
    ),
    "a manifest that says other things": (
        lambda run: (run / "manifest.json").write_text('{"schema": 1, "cells": [3]}'), "manifest.json", "no plan"
    ),
    "a part that is not Parquet": (
        lambda run: (part(run).write_text("mine"), record(run, part(run))), "parts/00001.parquet", "cannot be read"
    ),
    "a folder in a part's place": (
        lambda run: (part(run).unlink(), part(run).mkdir()), "parts/00001.parquet", "Is a directory"
    ),
    "a checksum that is lost": (alter_the_checksums, "parts/00001.parquet", "no checksum"),
    "cases that were altered": (
        lambda run: (run / "cases.parquet").write_bytes(b"PAR1"), "cases.parquet", "its checksum differs"
    ),
    "cases that are lost": (lambda run: (run / "cases.parquet").unlink(), "cases.parquet", "missing"),
}  # fmt: skip


def test_a_sound_run_is_reported_as_sound(run, whole, capsys):
    seen = verify(run)
    assert (seen.sound, seen.complete) == (True, True)
    assert {f.state for f in seen.findings} == {"ok"}
    assert sum(seen.rows.values()) == len(whole[1])
    assert main(["doctor", str(run)]) == 0
    shown = capsys.readouterr().out
    assert f"ok       parts: {len(seen.rows)} whole of {len(seen.rows)}; " in shown
    assert "ok       run: complete" in shown


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_named(run, kind, capsys):
    damage, subject, message = DAMAGE[kind]
    damage(run)
    broken = [f for f in verify(run).findings if f.state == "broken"]
    assert [f.message for f in broken if f.subject == subject and message in f.message], broken
    assert main(["doctor", str(run)]) == 1
    assert message in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["a flipped bit", "a truncated part", "a missing part", "a checksum that is lost"])
def test_a_damaged_part_is_set_aside_and_measured_again(run, whole, kind, capsys):
    DAMAGE[kind][0](run)
    there = part(run).read_bytes() if part(run).exists() else None
    asked = ["run", "--case=seed/article", "--case=gap/5_low", "--framework=numpy", "--implementation=numpy/l*"]
    assert main([*asked, "--dtype=float32", "--out", str(run), "--resume"]) == 0
    aside = part(run).with_name("00001.parquet.damaged")
    if there is None:
        assert not aside.exists()
    else:
        assert aside.read_bytes() == there
        assert "00001.parquet is damaged" in capsys.readouterr().err
    pd.testing.assert_frame_equal(Run(run).read(), whole[1], check_exact=True)
    assert verify(run).sound


def test_in_python_a_damaged_part_is_a_warning(run, whole):
    flip_a_bit(run)
    with pytest.warns(UserWarning, match=r"00001\.parquet is damaged .* renamed to 00001\.parquet\.damaged"):
        table = runner.run(**PLAN, dtypes=DTYPES, out=run, resume=True)
    pd.testing.assert_frame_equal(table, whole[1], check_exact=True)


def test_a_file_that_was_set_aside_before_is_not_overwritten(run):
    aside = part(run).with_name("00001.parquet.damaged")
    aside.write_text("precious")
    flip_a_bit(run)
    Run.reopen(run).close()
    assert aside.read_text() == "precious"
    assert part(run).with_name("00001.parquet.damaged1").exists()


def test_a_flipped_bit_does_not_reach_a_report(run):
    """Without the checksum Parquet reads most flipped bits as another number."""
    flip_a_bit(run)
    with pytest.raises(UsageError, match=r"00001\.parquet is damaged .*checksum.* --resume"):
        Run(run).read()
    whole, damaged = Run(run).whole_parts()
    assert len(damaged) == 1
    assert part(run) not in whole
    assert len(whole) > 0
    with pytest.raises(UsageError, match=r"00001\.parquet is damaged"):
        query(run, "SELECT count(*) FROM measurements")


def test_a_part_that_the_run_did_not_write_is_not_read(run, whole):
    shutil.copy(part(run), part(run, 9))
    shutil.copy(part(run), run / "parts" / "copy of 00001.parquet")
    pd.testing.assert_frame_equal(Run(run).read(), whole[1])


def test_other_files_are_reported_and_are_not_damage(run):
    (run / "notes.txt").write_text("mine")
    (run / "parts" / "copy of 00001.parquet").write_text("mine")
    (run / "report").mkdir()
    (run / "parts" / ".00002.parquet.tmp").write_text("half")
    seen = verify(run)
    notes = {f.subject: f.message for f in seen.findings if f.state == "note"}
    assert seen.sound
    assert "notes.txt, parts/copy of 00001.parquet:" in notes["other files"]
    assert "parts/.00002.parquet.tmp" in notes["temporary files"]
    Run.reopen(run).close()
    assert not (run / "parts" / ".00002.parquet.tmp").exists()
    assert (run / "notes.txt").read_text() == "mine"


def test_a_stopped_run_is_sound_and_doctor_shows_how_to_resume_it(run, capsys):
    manifest = json.loads((run / "manifest.json").read_text()) | {"complete": False}
    manifest |= {"command": "logitlab run --case x", "interface": "command line"}
    (run / "manifest.json").write_text(json.dumps(manifest))
    part(run).unlink()
    assert main(["doctor", str(run)]) == 0
    shown = capsys.readouterr().out
    assert f"to resume it, run `logitlab run --case x --resume --out {run}`" in shown
    assert "incomplete: 1 of 2 parts are measured" in shown


def test_a_process_that_writes_to_the_run_is_reported(run):
    held = Lock(run)
    try:
        (note,) = (f for f in verify(run).findings if f.state == "note")
    finally:
        held.release()
    assert note.subject == "lock"
    assert note.message.startswith("process ")
    assert "lock" not in {f.subject for f in verify(run).findings}


@pytest.mark.parametrize("content", [None, json.dumps({"schema": 999})], ids=["none", "newer"])
def test_a_folder_without_a_known_run_has_exit_code_2(run, content, capsys):
    (run / "manifest.json").unlink()
    if content is not None:
        (run / "manifest.json").write_text(content)
    assert main(["doctor", str(run)]) == 2
    assert ("newer LogitLab" if content else "is not a run") in capsys.readouterr().err


def test_a_run_from_before_there_were_checksums_is_read_resumed_and_verified(run, whole):
    (run / "parts.sha256").unlink()
    (run / "parts" / "tmpabcd1234.tmp").write_text("half")
    assert verify(run).sound
    pd.testing.assert_frame_equal(Run(run).read(), whole[1])
    truncate(run)
    assert not verify(run).sound
    with pytest.warns(UserWarning, match="damaged"):
        table = runner.run(**PLAN, dtypes=DTYPES, out=run, resume=True)
    pd.testing.assert_frame_equal(table, whole[1])
    assert verify(run).sound
    assert len((run / "parts.sha256").read_text().splitlines()) == len(Run(run).parts()) + 2
    assert not (run / "parts" / "tmpabcd1234.tmp").exists()


def test_a_packed_run_has_checksums_and_is_verified(run, tmp_path):
    packed = Run(run).pack(tmp_path / "packed")
    assert verify(packed.folder).sound
    assert sorted(p.name for p in packed.folder.iterdir()) == [
        "cases.parquet",
        "manifest.json",
        "parts",
        "parts.sha256",
    ]
    part(packed.folder, 0).write_bytes(part(packed.folder, 0).read_bytes()[:-1])
    (broken,) = (f for f in verify(packed.folder).findings if f.state == "broken")
    assert "pack the run again" in broken.message


def test_other_programs_verify_the_checksums_too(run):
    import subprocess

    command = ["sha256sum", "--check", "--strict", "parts.sha256"]
    done = subprocess.run(command, cwd=run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "parts/00001.parquet: OK" in done.stdout
    assert "manifest.json: OK" in done.stdout


def test_a_stopped_run_of_the_python_api_is_resumed_by_the_call_that_doctor_shows(whole, tmp_path, capsys):
    """The report was `-c --resume`: the command came from the interpreter's arguments."""

    def stop(done, total, label):
        raise InterruptedError

    folder = tmp_path / "it's stopped"
    with pytest.raises(InterruptedError):
        runner.run(**PLAN, dtypes=DTYPES, timeout=60, out=folder, progress=stop)
    assert main(["doctor", str(folder)]) == 0
    advice = next(line for line in capsys.readouterr().out.splitlines() if "incomplete" in line)
    call = advice.partition("to resume it, call `")[2].removesuffix("`")
    table = eval(call, {"logitlab": logitlab})  # noqa: S307 - it is for people to paste
    pd.testing.assert_frame_equal(table.drop(columns="run"), whole[1].drop(columns="run"))
    assert Run(folder).manifest.complete


def test_the_command_line_that_doctor_shows_resumes_a_run_however_it_was_started(run):
    manifest = json.loads((run / "manifest.json").read_text()) | {"complete": False, "interface": "command line"}
    for command, advice in {
        "logitlab run --case 'gap/*' --out 'my runs/a'": "run `logitlab run --case 'gap/*' --out 'my runs/a' --resume`",
        "logitlab run --out=a --resume": "run `logitlab run --out=a --resume`",
        "__main__.py run --case x": f"run `logitlab run --case x --resume --out {run}`",
        "-c": f"run the same program with `resume=True, out='{run}'`",
    }.items():
        (run / "manifest.json").write_text(json.dumps(manifest | {"command": command}))
        (note,) = (f.message for f in verify(run).findings if f.subject == "run")
        assert note == f"incomplete: 2 of 2 parts are measured; to resume it, {advice}"


def test_a_run_records_the_command_line_that_started_it(tmp_path):
    options = ["--case", "seed/article", "--implementation", "numpy/lse", "--dtype", "float32", "--out"]
    assert main(["run", *options, str(tmp_path / "run")]) == 0
    manifest = Run(tmp_path / "run").manifest
    assert manifest.command == f"logitlab run {' '.join(options)} {tmp_path / 'run'}"
    assert manifest.interface == "command line"
