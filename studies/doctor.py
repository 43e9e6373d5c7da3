"""The check of an installation: it lists the parts that work and the missing ones, with their install commands."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..core import extras, memory
from ..core.cache_folder import CacheKind, cache_root
from ..core.cache_limit import cache_entries, cache_limit
from ..core.errors import UsageError
from ..core.finding import Finding, State
from ..execution import environment
from ..oracle import reference
from .browse import listing

# By mpmath 1.3 at 60 digits, 667.274878660240737929212619458..., with 0.1 taken as its float64.
ARTICLE_MEAN = 667.2748786602407


def examine() -> Iterator[Finding]:
    """Examine the core packages, the oracle, the cache and every framework."""
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
        no_wheel = extras.notice(name)
        if no_wheel is not None and description.missing is not None and not description.failed:
            yield Finding(name, State.MISSING, no_wheel)
            continue
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
    root = cache_root()
    if root is None:
        return Finding("cache", State.OK, "off, because LOGITLAB_CACHE is empty")
    nearest = next(p for p in (root, *root.parents) if p.exists())
    if not os.access(nearest, os.W_OK):
        return Finding("cache", State.MISSING, f"cannot write to {root}; set LOGITLAB_CACHE to a writable folder")
    try:
        limit = cache_limit()
    except UsageError as error:
        return Finding("cache", State.BROKEN, str(error))
    entries = cache_entries()
    used, references = sum(e.size for e in entries), sum(e.kind is CacheKind.REFERENCES for e in entries)
    return Finding(
        "cache",
        State.OK,
        f"{_short(root)}, {used / 2**20:,.0f} MiB of {limit / 2**30:g} GiB, {references:,} references; for details, "
        "run `logitlab cache`",
    )


def _memory() -> Finding:
    source = "the limit of the container" if memory.is_limited() else "all of the machine's"
    return Finding("memory", State.OK, f"{memory.total() / 2**30:.3g} GiB, {source}; a worker may use half of it")


def _compiler() -> Finding:
    name = os.environ.get("CXX", "g++")
    found = shutil.which(name)
    message = (
        f"{found}; PyTorch's compiled mode uses it"
        if found
        else f"{name} is not installed; PyTorch's compiled mode needs it: install it, or set CXX"
    )
    return Finding("C++ compiler", State.OK if found else State.MISSING, message)


def _charts() -> Finding:
    lacking = [name for name in ("altair", "vl_convert") if importlib.util.find_spec(name) is None]
    if lacking:
        return Finding(
            "charts", State.MISSING, f"{', '.join(lacking)} not installed: {listing.how_to_install('report')}"
        )
    return Finding("charts", State.OK, "altair and vl-convert are installed")


def _short(path: Path) -> str:
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)
