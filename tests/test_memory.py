"""The available memory: the machine's, or the limit of a control group (version 1 or 2) if it is less."""

import psutil
import pytest

from logitlab.core import memory
from logitlab.execution import _watchdog as watchdog
from logitlab.storage import querying
from logitlab.storage.querying import Measurements
from logitlab.studies import doctor

MACHINE = psutil.virtual_memory().total
LIMIT = 300 * 2**20
# For each hierarchy: the text of /proc/self/cgroup, and the file that holds the limit.
GROUPS = {
    "version 2": ("0::/\n", "memory.max"),
    "version 2, a separate group": ("0::/system.slice/job\n", "system.slice/job/memory.max"),
    "version 2, the group around": ("0::/system.slice/job\n", "system.slice/memory.max"),
    "version 1": ("5:memory:/\n0::/\n", "memory/memory.limit_in_bytes"),
    "version 1, seen from inside": ("5:cpu,memory:/docker/0a1b\n", "memory/memory.limit_in_bytes"),
    "version 1, seen from outside": ("5:cpu,memory:/docker/0a1b\n", "memory/docker/0a1b/memory.limit_in_bytes"),
    "both": ("5:memory:/\n0::/job\n", "unified/job/memory.max"),
    "no list of groups": (None, "memory.max"),
}


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Return a function that replaces the machine's files of control groups."""
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")

    def write(own, name, limit):
        if own is not None:
            (tmp_path / "own").write_text(own)
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{limit}\n")

    return write


@pytest.mark.parametrize("name", GROUPS)
def test_the_limit_of_a_container_is_the_memory_there_is(group, name):
    own, file = GROUPS[name]
    group(own, file, LIMIT)
    assert memory.total() == LIMIT
    assert memory.is_limited()


@pytest.mark.parametrize("limit", ["max", 2**63 - 4096, "nonsense"])
def test_without_a_limit_it_is_the_memory_of_the_machine(group, limit):
    group("0::/\n", "memory.max", limit)
    assert memory.total() == MACHINE
    assert not memory.is_limited()


def test_workers_queries_reports_and_doctor_respect_it(group, small_run, tmp_path):
    group("0::/\n", "memory.max", LIMIT)
    assert watchdog.default_limit() == LIMIT // 2
    (set_,) = Measurements.of(small_run.read()).sql("SELECT current_setting('memory_limit') AS m")["m"]
    assert set_ == "150.0 MiB"
    message = next(f.message for f in doctor.examine() if f.subject == "memory")  # the frameworks come after it
    assert message == "0.293 GiB, the limit of the container; a worker may use half of it"
    assert querying.MEMORY > LIMIT // 2
