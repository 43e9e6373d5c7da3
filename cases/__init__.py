"""WHAT is computed: the catalogue of extreme logits. Imports no framework."""

from ._case import UNREPRESENTABLE, Case, make, why_unrepresentable
from ._case_summary import case_summary_rows
from ._catalogue import all_cases, content_hash, get_case, quick_cases, select_cases
from ._linear_case import LinearCase, make_linear
from ._tags import WIDE_FROM

__all__ = [
    "UNREPRESENTABLE",
    "WIDE_FROM",
    "Case",
    "LinearCase",
    "all_cases",
    "case_summary_rows",
    "content_hash",
    "get_case",
    "make",
    "make_linear",
    "quick_cases",
    "select_cases",
    "why_unrepresentable",
]
