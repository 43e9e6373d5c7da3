"""The options of a run, and the command that started it."""

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

# The most numbers of an array that a command shows; class weights may be many.
MAX_SHOWN = 32
# The fields that a quick run sets, and the command-line option of each.
CHOSEN_BY_QUICK = {
    "cases": "--case", "logits": "--logits", "sweeps": "--sweep", "case_files": "--case-file", "dtypes": "--dtype",
    "modes": "--mode", "variants": "--variant",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of a run; see `runner.run` for the fields. A single string stands for a list of one."""

    cases: Strings = None
    logits: str | Path | Sequence[str | Path] | None = None
    sweeps: Strings = None
    case_files: str | Path | Sequence[str | Path] | None = None
    frameworks: Strings = None
    implementations: Strings = None
    dtypes: object = None
    blocks: str | None = None
    devices: Strings = None
    modes: Strings = None
    variants: Strings = None
    quick: bool = False
    bitwise: bool = False
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
        """Return the request; a quick one with one case of each family, float32 and eager mode.

        Raises:
            UsageError: if a quick request also sets one of these options, or if bits are to be compared on a cluster.
        """
        if self.bitwise and self.executor is not None:
            raise UsageError(
                "bitwise invariance is measured on this machine only; leave out the executor, or leave out bitwise"
            )
        if not self.quick:
            return self
        given = [option for name, option in CHOSEN_BY_QUICK.items() if getattr(self, name) is not None]
        if given:
            raise UsageError(
                f"--quick sets cases, dtype and mode, and {', '.join(given)} is given too; leave out one of them"
            )
        return replace(self, cases=[case.id for case in quick_cases()], dtypes="float32", modes="eager")

    def as_python(self) -> Command:
        """Return the call of `run` with these options, without ``out`` and ``resume``."""
        literals = {f.name: (_literal(getattr(self, f.name)), _literal(f.default)) for f in fields(self)}
        del literals["resume"]
        words = [f"{name}={value}" for name, (value, default) in literals.items() if value != default]
        return Command(f"logitlab.run({', '.join(words)})", "python")


@dataclass(frozen=True)
class Command:
    """The command line or, with the interface ``python``, the call of `run` that started a run."""

    words: str
    interface: str = "command line"


def _literal(value: object) -> str:
    if isinstance(value, Path):
        return repr(str(value))
    if isinstance(value, np.ndarray | np.generic):
        return repr(value.tolist()) if value.size <= MAX_SHOWN else f"<array of {value.size} numbers>"
    return f"[{', '.join(map(_literal, value))}]" if isinstance(value, list | tuple) else repr(value)
