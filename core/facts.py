"""The parts of a run's manifest that describe its cases and files."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict


class Catalogue(TypedDict):
    """The cases held in memory: a digest of their contents, and their names."""

    hash: str
    cases: list[str]


class InputFile(TypedDict):
    """A file of logits, which is one case, or a case file, whose cases are listed."""

    path: str
    digest: str
    case: NotRequired[str]
    rows: NotRequired[int]
    classes: NotRequired[int]
    dtype: NotRequired[str]
    options: NotRequired[Mapping[str, float | str]]
    cases: NotRequired[list[str]]


class LeftOut(TypedDict):
    """A case that a dtype, or the blocks of the run, cannot hold."""

    case: str
    dtype: str
    why: str


class Inputs(TypedDict):
    """The cases, the number of cases of the whole catalogue, the files, the blocks, and the cases left out."""

    catalogue: Catalogue
    catalogue_size: int
    files: list[InputFile]
    blocks: str
    left_out: list[LeftOut]
