"""Whether the set-up works: what is installed, what is missing and how to install it."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..core import memory
from ..core.finding import Finding, State
from ..execution import environment
from ..oracle import cache, reference
from .browse import listing

# By mpmath 1.3 at 60 digits, 667.274878660240737929212619458..., with 0.1 taken as its float64.
ARTICLE_MEAN = 667.2748786602407


def examine() -> Iterator[Finding]:
    """Looks at the core packages, the oracle, the reference cache and every framework."""
    versions = environment.own_versions()
    yield Finding("core", State.OK, ", ".join(f"{name} {version}" for name, version in versions.items()))
    yield _oracle()
    yield _cache()
    yield _memory()
    yield _compiler()
    yield _charts()
    for line in listing.third_party_notices():
        yield Finding("entry point", State.OK, line)
    for name, description in listing.describe_frameworks().items():
        if description.missing is not None:
            yield Finding(name, State.MISSING, f"{description.missing}; {listing.how_to_install(name)}")
            continue
        message = ", ".join(f"{p} {v}" for p, v in description.versions)
        yield Finding(name, State.OK, f"{message}; devices {', '.join(description.devices)}")
        for package in sorted({o.package for o in description.implementations if o.version is None}):
            yield Finding(name, State.MISSING, f"{package} is not installed; {listing.how_to_install(package, name)}")


def _oracle() -> Finding:
    loss = reference([[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0], [3.0, 2.0, 1.0]], [0, 2, 1], reduction="mean").loss
    right = float(loss.hi) == ARTICLE_MEAN
    return Finding("oracle", State.OK if right else State.BROKEN, f"the article's mean loss is {float(loss.hi)!r}")


def _cache() -> Finding:
    folder = cache.folder()
    if folder is None:
        return Finding("reference cache", State.OK, "switched off by LOGITLAB_CACHE")
    kept = [p.stat().st_size for p in folder.rglob("*.npz")] if folder.exists() else []
    nearest = next(p for p in (folder, *folder.parents) if p.exists())
    if not os.access(nearest, os.W_OK):
        return Finding(
            "reference cache", State.MISSING, f"{folder} cannot be written; set LOGITLAB_CACHE to a folder that can"
        )
    return Finding(
        "reference cache", State.OK, f"{_short(folder)}, {len(kept)} references, {sum(kept) / 2**20:.0f} MiB"
    )


def _memory() -> Finding:
    there = f"{memory.total() / 2**30:.3g} GiB"
    whose = "the limit of the container" if memory.is_limited() else "the machine's"
    return Finding("memory", State.OK, f"{there}, {whose}; one worker may take half of it")


def _compiler() -> Finding:
    name = os.environ.get("CXX", "g++")
    found = shutil.which(name)
    message = f"{found}; PyTorch's compiled mode uses it" if found else f"no {name}; PyTorch's compiled mode needs one"
    return Finding("C++ compiler", State.OK if found else State.MISSING, message)


def _charts() -> Finding:
    lacking = [name for name in ("altair", "vl_convert") if importlib.util.find_spec(name) is None]
    if lacking:
        return Finding(
            "charts", State.MISSING, f"{', '.join(lacking)} not installed; {listing.how_to_install('report')}"
        )
    return Finding("charts", State.OK, "altair and vl-convert draw them")


def _short(path: Path) -> str:
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)
