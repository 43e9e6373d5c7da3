"""The catalogue: the cases of every family module in `catalogue/`."""

import fnmatch
import hashlib
import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

from ..core.errors import UsageError
from ._case import Case
from ._tags import derived_tags

QUICK = "quick"  # the tag of the cases of a quick run
# The options that `content_hash` hashes by themselves.
HASHED = ("label_smoothing", "weight", "ignore_index")


@cache
def all_cases() -> tuple[Case, ...]:
    """Return all cases. A module without a leading underscore is a family, with ``cases()`` and ``QUICK``."""
    package = importlib.import_module(".catalogue", __package__)
    families = sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))
    modules = {name: importlib.import_module(f"{package.__name__}.{name}") for name in families}
    found = [case for module in modules.values() for case in module.cases()]
    ids = [case.id for case in found]
    doubled = sorted({i for i in ids if ids.count(i) > 1})
    if doubled:
        raise ValueError(f"two cases have the same name: {', '.join(doubled)}")
    quick = {f"{name}/{module.QUICK}" for name, module in modules.items() if hasattr(module, "QUICK")}
    if unknown := sorted(quick.difference(ids)):
        raise ValueError(f"QUICK names no case of its family: {', '.join(unknown)}")
    return tuple(replace(c, tags=(*c.tags, *[QUICK] * (c.id in quick), *derived_tags(c))) for c in found)


def quick_cases() -> tuple[Case, ...]:
    """Return the cases of a quick run, one of each family."""
    return tuple(case for case in all_cases() if QUICK in case.tags)


def get_case(case_id: str) -> Case:
    """Return the case of this ``family/name``; raise UsageError if there is none."""
    found = [c for c in all_cases() if c.id == case_id]
    if not found:
        raise UsageError(f"no case is named {case_id!r}; give a full family/name, listed by `logitlab cases`")
    return found[0]


def select_cases(patterns: str | Sequence[str] | None = None) -> tuple[Case, ...]:
    """Return the cases whose ``family/name`` matches one of the globs; all cases if there are no globs.

    Raises:
        UsageError: for a pattern that matches no case.
    """
    globs = [patterns] if isinstance(patterns, str) else list(patterns or ["*"])
    for glob in globs:
        if not any(fnmatch.fnmatchcase(c.id, glob) for c in all_cases()):
            families = sorted({c.family for c in all_cases()})
            raise UsageError(
                f"no case matches {glob!r}; the families are {', '.join(families)}; list all cases: `logitlab cases`"
            )
    return tuple(c for c in all_cases() if any(fnmatch.fnmatchcase(c.id, g) for g in globs))


def content_hash(cases: Iterable[Case]) -> str:
    """Return a digest of everything in the cases that determines a result."""
    digest = hashlib.sha256()
    for case in cases:
        options = (case.reduction, case.label_smoothing, case.ignore_index, case.layout, case.targets.dtype.str)
        digest.update(f"{case.id}|{options}|{case.logits.shape}|".encode())
        digest.update(b"".join(array.tobytes() for array in case.arrays.values()))
        digest.update(b"" if case.weight is None else case.weight.tobytes())
        others = {name: value for name, value in case.set_options.items() if name not in HASHED}
        # Without such options the digest is the same as before they existed.
        digest.update(repr(others).encode() if others else b"")
    return digest.hexdigest()
