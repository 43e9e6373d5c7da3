"""Measure the wall time, processor time and memory of a process, separately for itself and its children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# On Linux a process inherits the peak memory of its parent, so a small process starts the measured one.
_BETWEEN = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
# The children are the workers, which import a framework, call it, and otherwise wait.
_RUN = """
import json, resource, sys, time
from logitlab.cli import main
began = time.perf_counter()
code = main(sys.argv[2:])
wall = time.perf_counter() - began
of = {name: resource.getrusage(who) for name, who in
      (("own", resource.RUSAGE_SELF), ("children", resource.RUSAGE_CHILDREN))}
used = {"wall": wall} | {name: u.ru_utime + u.ru_stime for name, u in of.items()}
used |= {f"{name}_peak": u.ru_maxrss for name, u in of.items()}
open(sys.argv[1], "w").write(json.dumps(used))
sys.exit(code)
"""


@dataclass(frozen=True)
class Usage:
    """Seconds and bytes of a process (``own``) and its children.

    The peak of the children is that of the largest child, and at least this process's when it started them.
    """

    wall: float
    own: float
    children: float
    own_peak: int
    children_peak: int


def of_command(words: Sequence[str]) -> Usage:
    """Run ``logitlab WORDS`` in a new process and return its usage; raise SystemExit with its output if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "usage.json"
        done = subprocess.run(
            [sys.executable, "-S", "-c", _BETWEEN, sys.executable, "-c", _RUN, str(file), *words],
            capture_output=True,
            text=True,
            check=False,
            env=_quiet(),
        )
        if done.returncode:
            raise SystemExit(f"logitlab {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        found = json.loads(file.read_text(encoding="utf-8"))
    unit = 1 if sys.platform == "darwin" else 2**10
    peaks = {name: found.pop(name) * unit for name in ("own_peak", "children_peak")}
    return Usage(**found, **peaks)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quiet() -> dict[str, str]:
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
