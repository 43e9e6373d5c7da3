"""What a run is asked for, and how it was started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..cases import quick_cases
from ..core.arguments import Strings
from ..core.errors import UsageError
from ..core.vocabulary import OracleKind
from .pool import DEFAULT_TIMEOUT

# Numbers of an array in the words of a command; of class weights there may be many.
MAX_SHOWN = 32
# What a quick run chooses, and the options that would choose it.
CHOSEN_BY_QUICK = {
    "cases": "--case", "logits": "--logits", "sweeps": "--sweep", "case_files": "--case-file", "dtypes": "--dtype",
    "modes": "--mode", "variants": "--variant",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be run; see `runner.run` for the fields. A lone string stands for a list of one."""

    cases: Strings = None
    logits: str | Path | Sequence[str | Path] | None = None
    sweeps: Strings = None
    case_files: str | Path | Sequence[str | Path] | None = None
    frameworks: Strings = None
    implementations: Strings = None
    dtypes: object = None
    devices: Strings = None
    modes: Strings = None
    variants: Strings = None
    quick: bool = False
    resume: bool = False
    timeout: float = DEFAULT_TIMEOUT
    memory_limit: float | None = None
    executor: str | None = None
    oracle: str = OracleKind.BALLS.value
    reduction: str = "none"
    label_smoothing: float = 0.0
    weight: str | Path | ArrayLike | None = None
    ignore_index: int | None = None
    softcap: float | None = None
    logit_scale: float | None = None
    z_loss: float = 0.0

    def planned(self) -> Request:
        """The request with what a quick run chooses: one case of each family, float32 and eager; itself if not quick.

        Raises:
            UsageError: if a quick run is asked for and something that it chooses is given too.
        """
        if not self.quick:
            return self
        given = [option for name, option in CHOSEN_BY_QUICK.items() if getattr(self, name) is not None]
        if given:
            raise UsageError(
                f"--quick sets cases, dtype and mode, and {', '.join(given)} is given too; leave out one of them"
            )
        return replace(self, cases=[case.id for case in quick_cases()], dtypes="float32", modes="eager")

    def as_python(self) -> Command:
        """The call of `run` that makes this request, without ``out`` and ``resume``."""
        literals = {f.name: (_literal(getattr(self, f.name)), _literal(f.default)) for f in fields(self)}
        del literals["resume"]
        words = [f"{name}={value}" for name, (value, default) in literals.items() if value != default]
        return Command(f"logitlab.run({', '.join(words)})", "python")


@dataclass(frozen=True)
class Command:
    """How a run was started: by a command line, or from ``python`` by a call of `run`."""

    words: str
    interface: str = "command line"


def _literal(value: object) -> str:
    if isinstance(value, Path):
        return repr(str(value))
    if isinstance(value, np.ndarray | np.generic):
        return repr(value.tolist()) if value.size <= MAX_SHOWN else f"<array of {value.size} numbers>"
    return f"[{', '.join(map(_literal, value))}]" if isinstance(value, list | tuple) else repr(value)
