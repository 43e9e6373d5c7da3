"""One line of `logitlab doctor` or of the verification of a run."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What an examination found; ``MISSING`` is what is optional."""

    OK = "ok"
    MISSING = "missing"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """One thing that was examined."""

    subject: str
    state: State
    message: str
