"""WHAT is computed: the catalogue of extreme logits. Imports no framework."""

from ._case import WHY_NOT_HELD, Case, make, why_not_held
from ._case_summary import case_summary_rows
from ._catalogue import all_cases, content_hash, named, select
from ._tags import WIDE_FROM

__all__ = [
    "WHY_NOT_HELD",
    "WIDE_FROM",
    "Case",
    "all_cases",
    "case_summary_rows",
    "content_hash",
    "make",
    "named",
    "select",
    "why_not_held",
]
