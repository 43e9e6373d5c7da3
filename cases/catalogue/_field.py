"""A case reduced from a public report."""

from typing import Any

from numpy.typing import ArrayLike

from .._case import Case, make


def field_case(
    case_id: str,
    why: str,
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    source: str,
    reported: str,
    tags: tuple[str, ...] = (),
    **options: Any,
) -> Case:
    """As `make`, for a case with a public source; it has the tag ``field``."""
    return make(case_id, why, logits, targets, source=source, reported=reported, tags=("field", *tags), **options)
