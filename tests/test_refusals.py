"""A full disk, a missing permission or a removed folder is reported in one line, and no measurement is lost."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from logitlab import runner
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.storage.store import Run
from logitlab.storage.verification import verify

pytestmark = pytest.mark.usefixtures("in_this_process")

REFUSED = 2
STEPS = 40  # more than a small run has
PLAN = {"cases": ["seed/article", "gap/5_low"], "implementations": ["numpy/l*"], "dtypes": ["float16", "float32"]}


def error_of(folder: Path) -> str:
    return folder.with_suffix(".error").read_text()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.parquet")}


@pytest.mark.parametrize("apart", [16, pytest.param(1, marks=pytest.mark.full)])
def test_a_run_reports_a_full_disk_at_any_step_and_can_be_resumed(forks, tmp_path, apart):
    refusals = 0
    for number in range(0, STEPS, apart):
        folder = tmp_path / f"{number}"
        ended = forks.run(folder, forks.small, step=number, refused=errno.ENOSPC)
        if ended != 0:  # the lock is tried again, and may be left
            assert ended == REFUSED
            assert f"cannot write to {folder}: No space left on device; make room, or " in error_of(folder)
            assert not list(folder.rglob("*.tmp"))
            before = contents(folder)
            assert forks.run(folder, forks.small) == 0
            assert before.items() <= contents(folder).items()
            refusals += 1
        (folder / "lock").unlink(missing_ok=True)
        forks.assert_whole(folder, "small")
    assert refusals >= 20 // apart


@pytest.mark.parametrize("apart", [2, pytest.param(1, marks=pytest.mark.full)])
def test_a_limit_on_the_size_of_files_is_reported(forks, tmp_path, apart):
    """The system enforces this limit in the middle of a file, wherever the tests run."""
    sizes = sorted({p.stat().st_size for p in (forks.folder / "small").rglob("*") if p.is_file()})
    kept = set()
    for largest in [size - 1 for size in sizes if size > 100][::apart]:
        folder = tmp_path / f"{largest}"
        assert forks.run(folder, forks.small, largest=largest) == REFUSED
        assert "File too large; raise the limit on the size of files, or " in error_of(folder)
        assert not list(folder.rglob("*.tmp"))
        kept.add(len(contents(folder)))
        assert forks.run(folder, forks.small) == 0
        forks.assert_whole(folder, "small")
    assert len(kept) >= 2


@pytest.mark.parametrize(
    "number", [errno.EROFS, pytest.param(errno.EACCES, marks=pytest.mark.full), errno.EDQUOT, errno.EIO]
)
def test_other_refusals_are_reported_with_advice(forks, tmp_path, number):
    folder = tmp_path / "run"
    assert forks.run(folder, forks.small, step=16, refused=number) == REFUSED
    remedy = {errno.EIO: ""}.get(number, "make room, or " if number == errno.EDQUOT else "make it writable, or ")
    assert error_of(folder) == (
        f"cannot write to {folder}: {os.strerror(number)}; {remedy}resume the run with --resume: its "
        "measurements so far are kept"
    )
    assert len(Run(folder).parts()) == 1


def in_a_namespace_of_its_own(script: str, *arguments: object) -> subprocess.CompletedProcess:
    command = ["unshare", "--map-root-user", "--mount", "sh", "-euc", script, "sh", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def may_mount(tmp_path_factory):
    """Return whether a file system can be mounted here; if not, the tests above cover the same errors."""
    if shutil.which("unshare") is None:
        return False
    return in_a_namespace_of_its_own("mount -t tmpfs -o size=64k none $1", tmp_path_factory.mktemp("m")).returncode == 0


COMMAND = [sys.executable, "-m", "logitlab", "run"] + [
    f"--{name[:-1]}={value}" for name, values in PLAN.items() for value in values
]


@pytest.mark.full
def test_a_full_disk_and_a_read_only_disk_are_reported(may_mount, tmp_path):
    if not may_mount:
        pytest.skip("no file system can be mounted here; the limit on the size of files above is enforced everywhere")
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    script = """
    disk=$1 kept=$2; shift 2
    mount -t tmpfs -o size=48k none $disk
    "$@" --out $disk/run || echo "ended $?"
    find $disk -name '*.tmp'
    mount -o remount,ro $disk
    "$@" --out $disk/run --resume || echo "ended $?"
    "$@" --out $disk/other || echo "ended $?"
    mount -o remount,rw,size=9m $disk
    "$@" --out $disk/run --resume
    cp -r $disk/run $kept
    """
    done = in_a_namespace_of_its_own(script, disk, kept, *COMMAND)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:3] == [f"ended {REFUSED}"] * 3
    refused = [line for line in done.stderr.splitlines() if line.startswith("logitlab: ")]
    assert len(refused) == 3
    assert (
        f"cannot write to {disk}/run: No space left on device; make room, or resume the run with --resume" in refused[0]
    )
    assert f"cannot write to {disk}/run: Read-only file system; make it writable, or" in refused[1]
    assert f"cannot write to {disk}/other: Read-only file system; make it writable, or choose" in refused[2]
    table = runner.run(**PLAN)
    pd.testing.assert_frame_equal(Run(kept).read().drop(columns="run"), table.drop(columns="run"))
    assert verify(kept).sound


def test_a_folder_removed_during_the_run_is_reported(tmp_path):
    def remove(done, total, label):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)

    with pytest.raises(UsageError, match=r"run was removed during the run; start the run again"):
        runner.run(**PLAN, out=tmp_path / "run", progress=remove)


def test_a_second_run_into_the_folder_is_refused_and_the_first_is_not_disturbed(tmp_path, capsys):
    folder, refused = tmp_path / "run", []

    def meanwhile(done, total, label):
        if not refused:
            for resume in ([], ["--resume"]):
                assert main([*COMMAND[3:], "--out", str(folder), *resume]) == REFUSED
                refused.append(capsys.readouterr().err)
            Run(folder).read()
            assert main(["doctor", str(folder)]) == 0
            assert f"note     lock: process {os.getpid()} on " in capsys.readouterr().out

    table = runner.run(**PLAN, out=folder, progress=meanwhile)
    assert "already holds a run; resume it with --resume" in refused[0]
    assert re.search(rf"run is in use by process {os.getpid()} on \S+; wait for that run", refused[1])
    pd.testing.assert_frame_equal(table.drop(columns="run"), runner.run(**PLAN).drop(columns="run"))
    assert not (folder / "lock").exists()


TIMES = pytest.mark.parametrize("times", [1, pytest.param(6, marks=pytest.mark.full)])


@TIMES
def test_only_one_of_several_runs_starts_in_one_new_folder(forks, tmp_path, times):
    for number in range(times):
        folder = tmp_path / f"{number}"
        ends = forks.run(folder, forks.small, together=4)
        assert sorted(ends) == [0, REFUSED, REFUSED, REFUSED]
        assert re.search("is in use by|already holds a run", error_of(folder))
        forks.assert_whole(folder, "small")


@TIMES
def test_runs_that_resume_one_folder_at_once_all_end_with_the_whole_table(forks, tmp_path, times):
    for number in range(times):
        folder = tmp_path / f"{number}"
        forks.run(folder, forks.small, step=15 - number)
        ends = forks.run(folder, forks.small, together=4)
        assert 0 in ends
        assert set(ends) <= {0, REFUSED}
        forks.assert_whole(folder, "small")


@pytest.mark.parametrize(
    "left",
    [
        [],
        ["parts", "lock", ".manifest.json.tmp"],
        *(pytest.param(left, marks=pytest.mark.full) for left in (["parts"], ["parts", "lock"])),
    ],
)
def test_a_run_killed_before_it_had_a_manifest_starts_with_and_without_resume(tmp_path, left):
    for resume in (True, False):
        folder = tmp_path / f"{resume}"
        folder.mkdir()
        for name in left:
            (folder / name).mkdir() if name == "parts" else (folder / name).write_text("left\n")
        plan = {"cases": "seed/article", "implementations": "numpy/lse", "dtypes": "float32"}
        table = runner.run(**plan, out=folder, resume=resume)
        assert verify(folder).complete
        assert np.isfinite(table["value"]).any()


@pytest.mark.parametrize("name", ["parts/00000.parquet", "notes.txt"])
def test_resume_does_not_start_a_run_in_a_folder_of_other_files(tmp_path, name):
    (tmp_path / "run" / "parts").mkdir(parents=True)
    (tmp_path / "run" / name).write_text("mine")
    with pytest.raises(UsageError, match=r"is not a run: it has no manifest\.json; to start a run there, leave out"):
        runner.run(**PLAN, out=tmp_path / "run", resume=True)


def test_parts_without_a_manifest_are_not_taken_for_those_of_a_new_run(tmp_path):
    runner.run(**PLAN, out=tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(UsageError, match="holds parts of a run without its manifest"):
        runner.run(**PLAN, out=tmp_path / "run")
