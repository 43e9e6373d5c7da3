"""The available memory: the machine's, or the lower limit of a container or a resource manager.

psutil reports only the machine's memory.
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import psutil

CGROUPS = Path("/sys/fs/cgroup")
# Linux lists the groups of this process here, one a line: number:controllers:path. Version 2 has no controllers.
OWN_GROUPS = Path("/proc/self/cgroup")


def total() -> int:
    """Return the bytes of memory of this machine, or of the container that this process runs in."""
    return min([int(psutil.virtual_memory().total), *_limits()])


def is_limited() -> bool:
    """Return whether a container or a resource manager limits memory to less than the machine has."""
    return bool(total() < psutil.virtual_memory().total)


def _limits() -> Iterator[int]:
    """Yield the limits of this process's control groups, versions 1 and 2, and of their parents.

    Inside a container the group's own path may not exist; the files of the root then apply.
    """
    for folder, name, group in _groups() if sys.platform == "linux" else ():
        for inner in (group, *group.parents):
            with suppress(OSError, ValueError):  # absent, or the word max
                yield int((folder / inner.relative_to("/") / name).read_text())


def _groups() -> Iterator[tuple[Path, str, PurePosixPath]]:
    """Yield each hierarchy that may limit memory: its folder, the file that holds a limit, and this process's group."""
    groups = {"": PurePosixPath("/"), "memory": PurePosixPath("/")}
    with suppress(OSError, ValueError):
        for line in OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            groups |= {controller: PurePosixPath(path) for controller in controllers.split(",")}
    yield CGROUPS, "memory.max", groups[""]
    yield CGROUPS / "unified", "memory.max", groups[""]
    yield CGROUPS / "memory", "memory.limit_in_bytes", groups["memory"]
