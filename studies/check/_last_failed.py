"""The failures of the last check of each loss, in the cache folder, for ``check --last-failed``."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...core import files
from ...core.cache_folder import CacheKind, cache_folder
from ._result import CheckResult
from .batches._limits import Failed

SCHEMA = 1


def last_failed(call: Mapping[str, object]) -> Failed:
    """Return the failures of the last check of a loss that was called in this way; none if it had none, or is unknown.

    Args:
        call: the names of the loss and the framework, and the options that say how the loss is called.
    """
    path = _path(call)
    if path is None:
        return Failed()
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            return Failed()
        return Failed(
            tuple(map(str, content["dtypes"])), tuple(map(int, content["widths"])), tuple(map(str, content["cases"]))
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # no such file, or a damaged one
        return Failed()


def keep_failed(call: Mapping[str, object], result: CheckResult, before: Failed | None = None) -> None:
    """Store the failures of a check for `last_failed`, or that it had none. Without a cache nothing is stored.

    Args:
        call: as in `last_failed`.
        result: the result of the check.
        before: the failures that it was to measure again. Those of a dtype that it did not measure are kept, and all
            of them if it stopped early.
    """
    path = _path(call)
    if path is None:
        return
    failed = _with_unmeasured(Failed.of(result.failures), result, before or Failed())
    with suppress(OSError):  # a read-only cache
        if not failed:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, json.dumps({"schema": SCHEMA, **asdict(failed)}).encode(), in_cache=True)


def _with_unmeasured(failed: Failed, result: CheckResult, before: Failed) -> Failed:
    measured = set(result.lines["dtype"]) if result.complete else set()
    left = tuple(dtype for dtype in before.dtypes if dtype not in measured)
    if not left:
        return failed
    return Failed(
        tuple(dict.fromkeys((*failed.dtypes, *left))),
        tuple(sorted({*failed.widths, *before.widths})),
        tuple(dict.fromkeys((*failed.cases, *before.cases))),
    )


def _path(call: Mapping[str, object]) -> Path | None:
    """Return the file of a loss. The same name in another folder may be another loss."""
    folder = cache_folder(CacheKind.CHECKS)
    key = json.dumps({**call, "folder": str(Path.cwd())}, sort_keys=True, default=str)
    return None if folder is None else folder / f"{files.digest(key.encode('utf-8', 'surrogatepass'))}.json"
