"""How much memory there is: the machine's, or less where a container or a resource manager limits it.

psutil tells the machine's alone, and DuckDB, which knows the limit of a container, only a share of it in words.
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import psutil

CGROUPS = Path("/sys/fs/cgroup")
# Where Linux lists the groups of this process, a line each: number:controllers:path; 0 and no controllers is version 2.
OWN_GROUPS = Path("/proc/self/cgroup")


def total() -> int:
    """Bytes of memory that this machine, or the container that this process runs in, has."""
    return min([int(psutil.virtual_memory().total), *_limits()])


def is_limited() -> bool:
    """Whether a container or a resource manager leaves less than the machine has."""
    return bool(total() < psutil.virtual_memory().total)


def _limits() -> Iterator[int]:
    """The limits of this process's control groups, versions 1 and 2, and of the groups around them.

    Inside a container the group's own path may not be there: its files are then those of the root.
    """
    for folder, name, group in _groups() if sys.platform == "linux" else ():
        for inner in (group, *group.parents):
            with suppress(OSError, ValueError):  # absent, or the word max
                yield int((folder / inner.relative_to("/") / name).read_text())


def _groups() -> Iterator[tuple[Path, str, PurePosixPath]]:
    """The folder of each hierarchy that may limit memory, the file that holds a limit, and this process's group."""
    groups = {"": PurePosixPath("/"), "memory": PurePosixPath("/")}
    with suppress(OSError, ValueError):
        for line in OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            groups |= {controller: PurePosixPath(path) for controller in controllers.split(",")}
    yield CGROUPS, "memory.max", groups[""]
    yield CGROUPS / "unified", "memory.max", groups[""]
    yield CGROUPS / "memory", "memory.limit_in_bytes", groups["memory"]
