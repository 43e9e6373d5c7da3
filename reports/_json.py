"""A report as programs read it: strict JSON, with what is missing of the runs before any number."""

import json

from ..core import strict_json
from ._report import Report

SCHEMA = 1


def json_text(found: Report) -> str:
    """The report: ``partial`` and ``missing`` first, then the runs and the tables with their numbers.

    An infinite number is the word ``inf`` or ``-inf``, a missing one null.
    """
    content = {
        "schema": SCHEMA,
        "partial": bool(found.damage),
        "missing": found.damage,
        "runs": [
            {name: getattr(m, name) for name in ("run", "complete", "versions", "frameworks", "hardware")}
            for m in found.manifests
        ],
        "tables": {
            s.name: {"title": s.title, "note": s.note, "lines": strict_json.records(s.table)} for s in found.sections
        },
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"
