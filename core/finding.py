"""One line of `logitlab doctor` or of the verification of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was examined. ``state`` is ``ok``, ``missing`` (optional), ``note`` or ``broken``."""

    subject: str
    state: str
    message: str
