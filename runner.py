"""who x what: plan, execute in isolated workers, grade, collect.

``run`` is the library's main call; this file is also the command line: ``python runner.py`` does what
``logitlab run`` does.
"""

from __future__ import annotations

if __name__ == "__main__":
    # A file run by its path is no part of its package; the package's own entry point takes over.
    import sys

    sys.path.pop(0)  # this folder, whose modules would shadow others of their names
    from logitlab.cli import main

    sys.exit(main(["run", *sys.argv[1:]]))

import secrets
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from numpy.typing import ArrayLike

from .cases import UNREPRESENTABLE, case_summary_rows
from .cases.inputs import Selection, file_options, select_inputs
from .core.arguments import Strings, as_dtypes, as_path, as_paths, as_positive, as_string, as_strings
from .core.cache_limit import trim_if_due
from .core.errors import UsageError
from .core.progress import Progress, reporting
from .core.vocabulary import OracleKind
from .execution import environment, registry
from .execution.executors import Executor, opened
from .execution.measuring import Block
from .execution.plan import Cell, choose_cells, choose_dtypes, choose_frameworks, choose_oracle, not_installed, owners
from .execution.pool import DEFAULT_TIMEOUT
from .execution.registry import Description
from .execution.request import Command, Request
from .execution.variants import choose_variants
from .storage.lock import require_free
from .storage.manifest import Manifest, PlannedCell
from .storage.store import Run, is_resumable, require_new

FILES_EXPECTED = (
    "the path of a file (save arrays with numpy.savez('mine.npz', logits=logits, targets=targets) and give 'mine.npz')"
)
Tell = Callable[[str], None]


def run(
    *,
    cases: Strings = None,
    logits: str | Path | Sequence[str | Path] | None = None,
    sweeps: Strings = None,
    case_files: str | Path | Sequence[str | Path] | None = None,
    frameworks: Strings = None,
    implementations: Strings = None,
    dtypes: object = None,
    devices: Strings = None,
    modes: Strings = None,
    variants: Strings = None,
    quick: bool = False,
    out: str | Path | None = None,
    resume: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
    memory_limit: float | None = None,
    executor: str | None = None,
    oracle: str = "balls",
    reduction: str = "none",
    label_smoothing: float = 0.0,
    weight: str | Path | ArrayLike | None = None,
    ignore_index: int | None = None,
    softcap: float | None = None,
    logit_scale: float | None = None,
    z_loss: float = 0.0,
    progress: Progress | bool | None = None,
) -> pd.DataFrame:
    """Runs implementations on cases and returns the measurements, one row per case row, cell and quantity.

    A lone string stands for a list of one. None stands for the default; an empty list is an error.

    Args:
        cases: globs over ``family/name``; if there are neither logits nor sweeps nor case files the whole catalogue,
            and small sweeps in float32 and bfloat16.
        logits: files ``.npz``, ``.parquet`` or ``.safetensors`` with arrays ``logits`` (B, C) and ``targets``, integers
            (B,) or probabilities (B, C). A file is read piece by piece and measured in its own dtype unless ``dtypes``
            says otherwise.
        sweeps: seeded families along an axis, such as ``scale=0.1:1e4:40log``; see `inputs.sweep`.
        case_files: files of cases, as a hunt writes them; see `inputs.read_cases`.
        frameworks: their names; all that are installed by default. One that cannot be imported is left out, and the
            manifest says so.
        implementations: globs over their names.
        dtypes: ``float16``, ``bfloat16``, ``float32``, ``float64``, by name or as a framework's own, such as
            ``numpy.float32`` or ``torch.bfloat16``.
        devices: ``cpu``, ``cuda``, ...; all that the frameworks find by default.
        modes: ``eager``, ``graph``, ``compiled``. By default all that an implementation has; in a run over all dtypes
            those other than eager in float32 alone, since compiling takes most of the time.
        variants: settings that change numbers, measured beside the modes they change; see `variants.VARIANTS`.
        quick: a look in under a minute: one case of each family in float32, eager; chooses ``cases``, ``dtypes`` and
            ``modes``. `logitlab.safety` tells which losses are safe.
        out: the run folder to keep; by default the run is kept nowhere.
        resume: go on with the run in ``out``, which must have the same plan and the same versions.
        timeout: seconds after which one call is given up.
        memory_limit: GiB of memory above which a process that makes calls is ended; half of the machine's by default.
        executor: where the calls are made: ``dask://HOST:PORT`` on the workers of that Dask scheduler; by default in
            processes of this machine.
        oracle: ``balls``, or ``quad`` for rows of files without loss options: their exact answers in quadruple
            precision, several times as fast, good to 100 bits and held to balls on a sample; see `oracle.bulk`.
        reduction: none, mean or sum of each of the files of logits, which must be small enough to be
            measured at once; see `inputs.LogitsFile`.
        label_smoothing: that of the files of logits, in [0, 1].
        weight: class weights (C,) for the files of logits: an array, or a file ``.npy``, ``.npz`` or ``.safetensors``,
            the last two with an array ``weight``.
        ignore_index: rows of the files of logits with this target count nothing.
        softcap: that of the files of logits; see `reference`.
        logit_scale: that of the files of logits.
        z_loss: that of the files of logits.
        progress: called with the rows done, the rows in all (a row counts once for each cell) and the cell at hand. By
            default a bar on a terminal, a line in a notebook, and nothing elsewhere; False for nothing.

    Raises:
        UsageError: for an argument of another type, an empty list, a limit that is not above 0, a name that is not
            known, a file of logits or of cases that is not as it should be, a folder that cannot be used, or a Dask
            cluster that cannot be reached or whose workers do not agree.
    """
    request = Request(
        cases=cases, logits=logits, sweeps=sweeps, case_files=case_files, frameworks=frameworks,
        implementations=implementations, dtypes=dtypes, devices=devices, modes=modes, variants=variants,
        quick=quick, resume=resume, timeout=timeout, memory_limit=memory_limit, executor=executor, oracle=oracle,
        reduction=reduction, label_smoothing=label_smoothing, weight=weight, ignore_index=ignore_index,
        softcap=softcap, logit_scale=logit_scale, z_loss=z_loss,
    )  # fmt: skip
    if resume and out is None:
        raise UsageError("resume is given without out; give the folder of the run as out=")
    with tempfile.TemporaryDirectory(prefix="logitlab-") as temporary, reporting(progress) as report:
        folder = Path(temporary) / run_name() if out is None else as_path(out, "out")
        return execute(request, folder, report).read()


def execute(
    request: Request,
    folder: Path,
    progress: Progress | None = None,
    tell: Tell = warnings.warn,
    command: Command | None = None,
    first_look: Callable[[Run], None] | None = None,
) -> Run:
    """Does what `run` does and leaves the measurements on disk, where they may be more than memory holds.

    ``tell`` is given a line for each framework that was asked for and is missing, or whose import failed, and for each
    part of a resumed run that was damaged and is measured again. ``command`` is kept in the manifest; by default it is
    the call of `run` that makes the request. ``first_look`` is called once, with the run, when the cases are measured
    in float32 and eager mode, which comes first, and other cells or files are still to come; the workers wait for it.
    """
    command = command or request.as_python()
    request = request.planned()
    # Checked before anything is started: a typing error costs no import of a framework.
    timeout = as_positive(request.timeout, "timeout", "seconds")
    memory_limit = None if request.memory_limit is None else as_positive(request.memory_limit, "memory_limit", "GiB")
    cases, sweeps = as_strings(request.cases, "cases"), as_strings(request.sweeps, "sweeps")
    files, case_files = as_paths(request.logits, "logits", FILES_EXPECTED), as_paths(request.case_files, "case_files")
    asked, devices = as_strings(request.implementations, "implementations"), as_strings(request.devices, "devices")
    modes, varied = as_strings(request.modes, "modes"), choose_variants(as_strings(request.variants, "variants"))
    frameworks = as_strings(request.frameworks, "frameworks")
    names = owners(choose_frameworks(frameworks), asked)
    wanted = choose_dtypes(as_dtypes(request.dtypes)) if request.dtypes is not None else None
    oracle = choose_oracle(request.oracle)
    place = None if request.executor is None else as_string(request.executor, "executor")
    resume = request.resume and is_resumable(folder)
    if not resume:
        require_new(folder, resumable=True)
    require_free(folder)
    options = file_options(
        request.reduction, request.weight, label_smoothing=request.label_smoothing, ignore_index=request.ignore_index,
        softcap=request.softcap, logit_scale=request.logit_scale, z_loss=request.z_loss,
    )  # fmt: skip
    chosen = select_inputs(cases, files, sweeps, wanted, case_files, options)
    with (
        tempfile.TemporaryDirectory(prefix="logitlab-") as logs,
        opened(place, names, Path(logs), timeout, memory_limit) as executor,
    ):
        descriptions = executor.describe()
        sparing = bool(chosen.cases) and not wanted and not modes
        cells = choose_cells(descriptions, chosen.dtypes, asked, devices, modes, varied, sparing=sparing)
        for d in descriptions.values():
            if d.missing is not None and (d.failed or d.framework in frameworks):
                tell(f"{d.framework} is not measured: {d.missing}")
        if not any(chosen.has_case_for(cell.dtype, plain_only=cell.plain_only) for cell in cells):
            raise UsageError(_nothing_for(cells))
        missing = not_installed(descriptions, frameworks, asked)
        manifest = executor.recorded(_manifest(chosen, cells, descriptions, missing, _name_of(folder), command, oracle))
        with _reopen(folder, manifest) if resume else Run.create(folder, manifest) as store:
            for line in store.set_aside:
                tell(line)
            store.keep_cases([line for case in chosen.cases for line in case_summary_rows(case)])
            total = sum(chosen.rows(cell.dtype, plain_only=cell.plain_only) for cell in cells)
            first = _first_parts(chosen, cells, store)
            for done, label in _measure(executor, store, chosen, cells, oracle):
                while first and store.was_written(first[-1]):
                    first.pop()
                    if not first and first_look is not None:
                        first_look(store)
                if progress is not None:
                    progress(done, total, label)
            executor.fetch_logs()
            store.keep_logs(Path(logs))
            store.manifest = executor.recorded(store.manifest)
            store.finish(_now())
    trim_if_due()
    return store


def _measure(
    executor: Executor, store: Run, chosen: Selection, cells: Sequence[Cell], oracle: OracleKind
) -> Iterator[tuple[int, str]]:
    """Makes every call that the store does not hold yet, block by block; yields how many rows are done and the cell."""
    done = 0

    def left() -> Iterator[Block]:
        nonlocal done
        for number, block in enumerate(chosen.blocks()):
            parts = {store.manifest.part(number, i): cell for i, cell in enumerate(cells) if cell.dtype in block.dtypes}
            todo = {cell: part for part, cell in parts.items() if not store.has(part)}
            there = (cell for cell in parts.values() if cell not in todo)
            done += sum(block.rows(cell.dtype, plain_only=cell.plain_only) for cell in there)
            if todo:
                yield Block(block.cases, todo, oracle, is_last=not chosen.files)

    for rows, label in executor.measure(left(), store):
        done += rows
        yield done, label


def _first_parts(chosen: Selection, cells: Sequence[Cell], store: Run) -> list[int]:
    """The parts that `execute` calls ``first_look`` after; none where they are the whole run."""
    first = [store.manifest.part(0, i) for i, cell in enumerate(cells) if cell.comes_first and chosen.cases]
    return first if len(first) < len(cells) or chosen.files else []


def _manifest(
    chosen: Selection,
    cells: Sequence[Cell],
    descriptions: Mapping[str, Description],
    missing: Mapping[str, str],
    run_name: str,
    command: Command,
    oracle: OracleKind,
) -> Manifest:
    present = {n: d for n, d in descriptions.items() if d.missing is None}
    infos = [c.implementation for c in cells]
    plugins = [e for e in registry.entries() if e.foreign and e.framework in descriptions]
    return Manifest(
        started=_now(),
        # What a resumed run must have had too: so the versions tell the oracle.
        versions=environment.own_versions(*["numpy-quaddtype"] * (oracle is OracleKind.QUAD)),
        oracle=oracle.value,
        frameworks={n: dict(d.versions) for n, d in present.items()},
        distributions={package: name for d in present.values() for package, name in d.distributions},
        entry_points={e.framework: f"{e.value} ({e.distribution} {e.version})" for e in plugins},
        plugins={e.framework: {"distribution": e.distribution, "version": e.version} for e in plugins},
        missing=dict(missing),
        hardware=environment.hardware(),
        devices={n: list(d.devices) for n, d in present.items()},
        environment=environment.numeric_variables(),
        settings={n: dict(d.settings) for n, d in present.items()},
        conventions={i.name: i.convention.wording for i in infos if i.convention.differs},
        **chosen.facts(),
        cells=[PlannedCell(c.implementation.name, c.dtype, c.device, c.mode, c.implementation.version) for c in cells],
        variants={f"{c.framework} {c.mode}": dict(c.variables) for c in cells if c.variables},
        plain_only=sorted({f"{c.framework} {c.mode}" for c in cells if c.plain_only}),
        run=run_name,
        command=command.words,
        interface=command.interface,
    )


def _reopen(folder: Path, manifest: Manifest) -> Run:
    """The run in the folder, if what it measured so far is what would be measured now."""
    store = Run(folder)
    if store.manifest.packed:
        raise UsageError(f"cannot resume {folder}: it is a packed, complete run; choose another --out")
    for fact in ("files", "catalogue", "cells", "versions", "frameworks", "environment"):
        if getattr(store.manifest, fact) != getattr(manifest, fact):
            raise UsageError(
                f"cannot resume {folder}: its {fact} differ from those of this run; to see its own command, run "
                f"`logitlab doctor {folder}`"
            )
    return Run.reopen(folder)


def run_name() -> str:
    """A name for a run started now, and no other's: two may start in the same second, in two processes."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}-{secrets.token_hex(4)}"


def _name_of(folder: Path) -> str:
    """A run's name: its folder's."""
    return (folder.resolve().name if folder.name in ("", "..") else folder.name) or run_name()


def _nothing_for(cells: Sequence[Cell]) -> str:
    dtypes = ", ".join(dict.fromkeys(cell.dtype for cell in cells))
    modes = ", ".join(dict.fromkeys(cell.mode for cell in cells))
    return (
        f"nothing to run: no chosen case can be measured in {dtypes}, mode {modes}: {UNREPRESENTABLE}, or the mode "
        "takes no loss options; choose another --dtype or --mode"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
