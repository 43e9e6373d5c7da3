"""What a process takes: wall time, processor time and memory, its own and its children's apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# On Linux a process begins with the peak of the one that starts it. This one between is small.
_BETWEEN = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
# The workers are the children: all but waiting of what they do is importing a framework and calling it.
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
    """Seconds and bytes.

    The peak of children is that of the largest, and no less than this process had when it started
    them.
    """

    wall: float
    own: float
    children: float
    own_peak: int
    children_peak: int


def of_command(words: Sequence[str]) -> Usage:
    """What ``logitlab WORDS`` takes, in a process of its own; SystemExit with its output if it fails."""
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
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quiet() -> dict[str, str]:
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
