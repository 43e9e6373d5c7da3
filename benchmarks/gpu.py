"""Measure an accelerator in a few minutes: run the default plan there, pack the run, and compare it with other runs.

Measure the runs to compare with beforehand, on any machine with the same versions, so that the accelerator only runs
its own plan. Without them the script measures them after the plan, in the time that is left.

    logitlab run --framework torch --framework jax --device cpu --out runs/cpu
    logitlab run --implementation 'torch/liger*' --mode interpreted --out runs/interpreted
    pip download --no-deps --dest wheels liger-kernel            # the packages that the machine lacks
    python benchmarks/gpu.py runs/gpu --device cuda --cpu runs/cpu --interpreted runs/interpreted --wheels wheels

The plan has the implementations of PyTorch and JAX, Liger's and cut cross-entropy's kernels among them. If the time is
up, the run keeps its measurements so far, which start with float32 in eager mode, and ``--resume`` continues it. To
rehearse it without an accelerator, give another device, such as ``cpu``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

import logitlab
from logitlab.core.errors import UsageError
from logitlab.core.interpreting import INTERPRETED
from logitlab.storage.store import Run
from logitlab.studies.compare import write

SECONDS = 420.0  # of eight minutes, one is for the imports and the tables
EAGER = "eager"
Progress = Callable[[int, int, str], None]


class OutOfTimeError(Exception):
    """The time of a run is up."""


def until(deadline: float) -> Progress:
    """Return a progress function that ends a run at a time of `time.monotonic`."""

    def check(done: int, total: int, label: str) -> None:
        if time.monotonic() > deadline:
            raise OutOfTimeError(f"the time was up after {done:,} of {total:,} rows, at {label}")

    return check


def measure(folder: Path, asked: argparse.Namespace, deadline: float, device: str, mode: str | None = None) -> None:
    """Run the plan on a device into a folder, or resume it there; say if the time is up or nothing can be run."""
    started = time.monotonic()
    try:
        logitlab.run(
            frameworks=asked.framework, devices=device, modes=mode, implementations=asked.implementation,
            cases=asked.case, out=folder, resume=asked.resume and folder.is_dir(), progress=until(deadline),
        )  # fmt: skip
        print(f"{folder}: measured on {device} in {time.monotonic() - started:.0f} s")
    except (OutOfTimeError, UsageError) as error:
        print(f"{folder}: {error}")


def measurements(folder: Path, device: str, mode: str | None = None) -> pd.DataFrame:
    """Return a run's measurements of a mode, or of all, under the name of one device and, with a mode, of eager."""
    df = Run(folder).read()
    df = df if mode is None else df[df["mode"] == mode].assign(mode=EAGER)
    return df.assign(device=device).astype({"device": "category", "mode": "category"})


def show_comparison(title: str, before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Print the comparison of two tables of the same cells."""
    print(f"\n{title}\n{'-' * len(title)}", flush=True)
    try:
        write(logitlab.compare(before, after, allow_gone=True), ["text"], None)
    except UsageError as error:
        print(error)


def install(wheels: Path) -> None:
    """Install the packages in a folder, without any network."""
    files = map(str, sorted(wheels.glob("*.whl")))
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", *files], check=True)


def compare_with_others(asked: argparse.Namespace, deadline: float) -> None:
    """Print the tables of the accelerator against the CPU and against an interpreter."""
    beside = asked.out.parent
    for title, given, mode in (("the CPU", asked.cpu, None), ("an interpreter", asked.interpreted, INTERPRETED)):
        folder = given or beside / f"{asked.out.name}-{mode or 'cpu'}"
        if given is None:
            measure(folder, asked, deadline, "cpu", mode)
        if not folder.is_dir():
            continue
        device = measurements(asked.out, asked.device, None if mode is None else EAGER)
        show_comparison(f"{asked.device} against {title}", measurements(folder, asked.device, mode), device)


def main(arguments: list[str] | None = None) -> None:
    """Run the script with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="the folder of the run; the packed run is OUT-packed")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--framework", action="append", help="by default torch and jax")
    parser.add_argument("--implementation", action="append", help="globs; by default all")
    parser.add_argument("--case", action="append", help="globs; by default the default plan")
    parser.add_argument("--cpu", type=Path, help="a run of the same plan on a CPU")
    parser.add_argument("--interpreted", type=Path, help="a run in the mode interpreted")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels to install first")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="the time for all runs")
    parser.add_argument("--resume", action="store_true")
    asked = parser.parse_args(arguments)
    asked.framework = asked.framework or ["torch", "jax"]
    deadline = time.monotonic() + asked.seconds
    if asked.wheels is not None:
        install(asked.wheels)
    measure(asked.out, asked, deadline, asked.device)
    if not asked.out.is_dir():
        sys.exit(1)
    run = Run(asked.out)
    if run.manifest.complete:
        packed = asked.out.with_name(f"{asked.out.name}-packed")
        run.pack(packed)
        print(f"{packed}: packed")
    compare_with_others(asked, deadline)


if __name__ == "__main__":
    main()
