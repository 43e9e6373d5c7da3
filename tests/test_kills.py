"""A run killed at any moment resumes to the table of an undisturbed run and leaves no process behind."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from logitlab.cli import main
from logitlab.storage.store import Run

KILLED = -9


@pytest.mark.parametrize("number", [4, pytest.param(100, marks=pytest.mark.kills)])
def test_a_run_killed_at_random_moments_loses_and_repeats_no_row(forks, tmp_path, number):
    random = np.random.default_rng(0)
    kills = chains = 0
    while kills < number:
        folder, killed = tmp_path / f"{chains}", 0
        # Resumed runs are killed in later stages. The chain ends with an undisturbed run or a tenth kill.
        while killed < 10 and forks.run(folder, forks.plan, after=random.uniform(0, 0.7 * forks.seconds)) == KILLED:
            killed += 1
        assert killed < 10 or forks.run(folder, forks.plan) == 0
        forks.assert_whole(folder, "plan")
        kills, chains = kills + killed, chains + 1


# `make test` kills at every sixteenth step.
STEPS = pytest.mark.parametrize("apart", [16, pytest.param(1, marks=pytest.mark.kills)])


@STEPS
@pytest.mark.parametrize("how", ["step", "torn"])
def test_a_run_killed_at_any_step_in_the_folder_resumes(forks, tmp_path, how, apart):
    """``step`` kills before each change there; ``torn`` cuts the end of the file that is being written."""
    number = 0
    while (ended := forks.run(tmp_path / f"{number}", forks.small, **{how: number})) == KILLED:
        folder = tmp_path / f"{number}"
        assert forks.run(folder, forks.small) == 0
        forks.assert_whole(folder, "small")
        number += apart
    assert ended == 0
    # manifest, cases, two parts, each with its checksum, the log, the checksums again and the manifest again.
    assert number >= (20 if how == "step" else 10)


@STEPS
def test_a_resumed_run_killed_at_any_step_resumes(forks, tmp_path, apart):
    half, number = tmp_path / "half", 0
    assert forks.run(half, forks.small, step=16) == KILLED
    assert len(Run(half).parts()) == 1
    while True:
        folder = shutil.copytree(half, tmp_path / f"{number}")
        ended = forks.run(folder, forks.small, step=number)
        if ended == 0:
            break
        assert forks.run(folder, forks.small) == 0
        forks.assert_whole(folder, "small")
        number += apart
    assert number >= 15


def wait_until(condition, seconds=60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize("kills", [(1,), pytest.param((0, 1, 3), marks=pytest.mark.kills)])
@pytest.mark.usefixtures("in_this_process")  # the last run
def test_a_command_killed_with_busy_workers_resumes_and_its_workers_end(forks, tmp_path, gone, kills):
    """Each kill comes after this many parts."""
    words = [f"--{name.removesuffix('s')}={value}" for name, values in forks.plan.items() for value in values]
    command = [sys.executable, "-m", "logitlab", "run", *words, "--out", str(tmp_path / "run")]
    for parts in kills:
        resume = ["--resume"] if (tmp_path / "run").exists() else []
        with subprocess.Popen([*command, *resume], stderr=subprocess.DEVNULL, start_new_session=True) as running:
            wait_until(lambda parts=parts: len(list((tmp_path / "run").glob("parts/*.parquet"))) >= parts)
            process = psutil.Process(running.pid)
            wait_until(lambda process=process: process.children())
            workers = [child.pid for child in process.children()]
            running.kill()
        assert running.returncode == KILLED
        wait_until(lambda workers=workers: all(map(gone, workers)))
    resume = ["--resume"] if (tmp_path / "run").exists() else []
    assert main([*command[3:], *resume]) == 0
    forks.assert_whole(tmp_path / "run", "plan")


@pytest.mark.parametrize(
    "call",
    [
        pytest.param("__import__('time').sleep(600)", id="waiting", marks=pytest.mark.full),
        pytest.param("sum(range(10**12))", id="computing"),
    ],
)
def test_a_worker_ends_with_its_parent_in_the_middle_of_a_call(tmp_path, call, gone):
    """The second call holds the interpreter throughout, as native code may."""
    program = """
import sys, tempfile
from pathlib import Path
from logitlab.execution.pool import Pools
with Pools(["numpy"], Path(sys.argv[1])) as pools:
    worker = pools.worker("numpy")
    print(worker.schedule(eval, args=["__import__('os').getpid()"]).result(), flush=True)
    worker.schedule(eval, args=[f"[print('begun', flush=True), {sys.argv[2]}]"]).result()
"""
    command = [sys.executable, "-c", program, str(tmp_path), call]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        worker = int(parent.stdout.readline())
        wait_until(lambda: "begun" in (tmp_path / "numpy.log").read_text())
        assert not gone(worker)
        parent.kill()
    wait_until(lambda: gone(worker))
    assert worker != os.getpid()
