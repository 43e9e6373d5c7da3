"""The mode ``interpreted``: a kernel for a GPU or TPU, run by its language's interpreter on the CPU."""

import importlib.util
import os
import sys
from collections.abc import Iterable

from .errors import UsageError

INTERPRETED = "interpreted"
DEVICE = "cpu"  # an interpreter computes there, whatever device the kernel is for
# Triton reads it when a kernel is defined: its own functions are defined when it is imported.
VARIABLE = "TRITON_INTERPRET"
VARIABLES = {VARIABLE: "1"}
NOTE = (
    "The mode interpreted runs a kernel in its language's interpreter on the CPU: "
    "exp, log and the order of sums are not a GPU's."
)


def notes(modes: Iterable[str]) -> list[str]:
    """Return the sentence that a report with interpreted results needs; modes may have a variant."""
    return [NOTE] if any(mode.partition("+")[0] == INTERPRETED for mode in modes) else []


def interpret_triton() -> None:
    """Set this process to interpret Triton's kernels.

    Raises:
        UsageError: if Triton is not installed, or was imported to compile kernels.
    """
    if importlib.util.find_spec("triton") is None:
        raise UsageError("mode interpreted needs triton; install it: pip install 'logitlab[interpreted]'")
    if "triton.language" not in sys.modules:
        os.environ.update(VARIABLES)
    elif not _interprets():
        raise UsageError(
            f"triton was imported without {VARIABLE}=1, so its kernels are compiled for a GPU; set "
            f'os.environ["{VARIABLE}"] = "1" before the first import of triton, or start Python with {VARIABLE}=1'
        )


def _interprets() -> bool:
    """Return whether Triton's own functions are interpreted, and new kernels will be."""
    # Not the variable alone: it may have been set after the import.
    own = getattr(sys.modules["triton.language"], "cdiv", None)
    return VARIABLE in os.environ and type(own).__name__ == "InterpretedFunction"
