"""Measure the runs that the documentation shows when it is built, and cache them in ``build/measurements``.

A cached run is used again while its plan, the installed packages, the catalogue and LogitLab's sources are the same.
The environment variable ``RUN="folder ..."`` selects other runs instead, such as one of the whole catalogue.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path

import pandas as pd

from logitlab.cases import select_cases
from logitlab.core.progress import reporting
from logitlab.execution.request import Request
from logitlab.runner import execute
from logitlab.storage.schema import MEASUREMENT_KEY
from logitlab.storage.store import Run

# This file is also loaded by its path, and then Python does not look for modules in its folder.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import kept_grades

ROOT = kept_grades.ROOT
KEPT = ROOT / "build" / "measurements"
SOURCES = ("core", "cases", "oracle", "frameworks", "grading", "execution")
# Each width takes JAX seconds to compile, and the findings about JAX do not need all widths.
WIDTHS_FOR_JAX = (2, 3, 5, 10)
LINEAR = ["linear_cancellation/*", "linear_extremes/*", "linear_ignored/*", "linear_layers/*", "linear_sizes/*"]
FEW = ["seed/*", "masks/*", "gap/*", "special/*", "ties/131072", "offset/1e06", "certainty/*"]


def plans() -> dict[str, Request]:
    """Return the runs to measure, by name; they take a few minutes on two cores, most of them for JAX to compile."""
    # With the cases that decide README's grades, these frameworks get the same grades as there.
    deciding = kept_grades.read().cases
    jax = [c.id for c in select_cases() if c.family == "invalid" or (c.plain and c.classes in WIDTHS_FOR_JAX)]
    eager = Request(dtypes="float32", modes="eager")
    return {
        # This plan names no cases. It thus includes the sweep of the offset.
        "float32": replace(eager, frameworks=["numpy", "torch", "tensorflow"]),
        "jax": replace(eager, frameworks="jax", cases=sorted({*jax, *deciding})),
        "keras": replace(eager, frameworks=["keras-jax", "keras-torch"], cases=deciding),
        "narrow": replace(
            eager, frameworks=["torch", "tensorflow"], dtypes=["float16", "bfloat16"],
            cases=[*FEW, "ties/*", "stagnation/*"],
        ),
        "onnxruntime": replace(eager, frameworks="onnxruntime"),
        "linear": replace(
            eager, frameworks="torch", dtypes=["float16", "bfloat16", "float32"], cases=LINEAR,
            implementations=["torch/F.cross_entropy[linear]", "torch/F.linear_cross_entropy*"],
        ),
        "compiled": replace(
            eager, frameworks=["jax", "tensorflow", "torch"], modes="compiled",
            implementations=[
                "jax/optax.softmax_cross_entropy", "tensorflow/nn.softmax_cross_entropy_with_logits", "torch/lse",
            ],
            cases=["masks/first", "random/c5_s1", "offset/1e06"],
        ),
    }  # fmt: skip


def installed() -> dict[str, str]:
    """Every installed package and its version."""
    return {d.metadata["Name"]: d.version for d in metadata.distributions()}


def _key(plan: Request) -> str:
    facts = json.dumps([asdict(plan), installed(), sys.version], sort_keys=True)
    digest = hashlib.blake2b(facts.encode(), digest_size=8)
    for name in SOURCES:
        for file in sorted((ROOT / name).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def runs() -> list[Run]:
    """The runs that the documentation is built from, measured now if they are not there."""
    if given := os.environ.get("RUN", "").split():
        return [Run(Path(folder)) for folder in given]
    return [kept_run(name, plan) for name, plan in plans().items()]


def kept_run(name: str, plan: Request) -> Run:
    """The run of this plan, measured now unless it is kept."""
    folder = KEPT / f"{name}-{_key(plan)}"
    is_resumable = (folder / "manifest.json").exists()
    if not is_resumable or not Run(folder).manifest.complete:
        print(f"measuring for the documentation: {name}", file=sys.stderr, flush=True)
        with reporting(None) as progress:
            execute(replace(plan, resume=is_resumable), folder, progress)
    return Run(folder)


def table(of: list[Run]) -> pd.DataFrame:
    """Their measurements together; of a cell's row and quantity that several have, the first."""
    whole = pd.concat([run.read() for run in of], ignore_index=True)
    return whole.drop_duplicates(list(MEASUREMENT_KEY)).astype({"grade": "object", "verdict": "object"})


if __name__ == "__main__":
    for run in runs():
        print(f"{run.folder}: {run.lines()} measurements")
