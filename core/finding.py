"""One line of `logitlab doctor` or of the verification of a run."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The result of one examination; ``MISSING`` is for optional parts."""

    OK = "ok"
    MISSING = "missing"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """The examined subject, its state, and a message."""

    subject: str
    state: State
    message: str
