"""Facts that a result depends on besides the code: versions, hardware, and environment variables."""

import os
import platform
import re
from pathlib import Path

from ..storage.manifest import Hardware
from . import registry

# Environment variables that change how the frameworks and their libraries compute.
_NUMERIC = re.compile(
    r"^(OMP|MKL|OPENBLAS|BLIS|KMP|GOMP|VECLIB|NUMEXPR|NPY|TF(?!_CLI)|XLA|JAX|PJRT|TORCH|PYTORCH|CUDA|CUBLAS|CUDNN|NVIDIA|"
    r"ONEDNN|DNNL|ATEN|KERAS|ML_DTYPES|TRITON|MLX|POCL(?!_CACHE))_|^LOGITLAB_(?!CACHE)"
    # tinygrad's have no prefix
    r"|^(DEV|BEAM|NOOPT|TRANSCENDENTAL|EMULATED_DTYPES|DEFAULT_FLOAT|SUM_DTYPE)$"
)
_OWN = ("logitlab", "numpy", "pandas", "pyarrow", "ml-dtypes", "python-flint", "pebble")


def numeric_variables() -> dict[str, str]:
    """Return the current environment variables that can change a result."""
    return {k: v for k, v in sorted(os.environ.items()) if _NUMERIC.match(k)}


def own_versions(*also: str) -> dict[str, str]:
    """Return the versions of LogitLab, of the packages it measures with, and of the given packages."""
    return {name: registry.installed_version(name) for name in (*_OWN, *also)}


def hardware() -> Hardware:
    """Return processor, cores, memory and operating system, as far as the machine reports them."""
    return {
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": _from_proc("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory": _from_proc("/proc/meminfo", "MemTotal"),
        "python": platform.python_version(),
    }


def _from_proc(path: str, key: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), None)
