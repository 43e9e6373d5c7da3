"""``logitlab compare`` and ``logitlab baseline``: the changes between two runs, and a small file to compare with."""

from ._changes import KINDS, Change, Kind
from ._compare import Comparison, compare, compare_sources, growth_factor
from ._lines import BY_SEVERITY, CELL, KEY, OK, Lines, Source, by_case, joined
from ._render import FORMATS, write
from ._source import read_source, write_baseline

__all__ = [
    "BY_SEVERITY",
    "CELL",
    "FORMATS",
    "KEY",
    "KINDS",
    "OK",
    "Change",
    "Comparison",
    "Kind",
    "Lines",
    "Source",
    "by_case",
    "compare",
    "compare_sources",
    "growth_factor",
    "joined",
    "read_source",
    "write",
    "write_baseline",
]
