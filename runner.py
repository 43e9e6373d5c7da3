"""Plan a run, execute it in worker processes, grade the results and store them.

``run`` is the library's main function. ``python runner.py`` is the same command as ``logitlab run``.
"""

from __future__ import annotations

if __name__ == "__main__":
    # A file that is run by its path is not in its package, so the package's entry point takes over.
    import sys

    sys.path.pop(0)  # this folder: its modules would shadow others of the same name
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
from .cases.inputs import CaseBlock, Selection, file_options, get_blocks, select_inputs
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
Warn = Callable[[str], None]


def run(
    *,
    cases: Strings = None,
    logits: str | Path | Sequence[str | Path] | None = None,
    sweeps: Strings = None,
    case_files: str | Path | Sequence[str | Path] | None = None,
    frameworks: Strings = None,
    implementations: Strings = None,
    dtypes: object = None,
    blocks: str | None = None,
    devices: Strings = None,
    modes: Strings = None,
    variants: Strings = None,
    quick: bool = False,
    bitwise: bool = False,
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
    """Run implementations on cases and return the measurements, one row per case row, cell and quantity.

    A string is the same as a list of one. None selects the default; an empty list is an error.

    Args:
        cases: globs over ``family/name``. Without ``cases``, ``logits``, ``sweeps`` and ``case_files``, the whole
            catalogue runs, and small sweeps in float32 and bfloat16.
        logits: files ``.npz``, ``.parquet`` or ``.safetensors`` with arrays ``logits`` (B, C) and ``targets``, integers
            (B,) or probabilities (B, C). A file is read in pieces and measured in its own dtype, or in ``dtypes``.
        sweeps: seeded families along an axis, such as ``scale=0.1:1e4:40log``; see `inputs.sweep`.
        case_files: case files, as a hunt writes them; see `inputs.read_cases`.
        frameworks: their names; by default all installed ones but `simulated`. A framework that cannot be imported is
            skipped and recorded in the manifest.
        implementations: globs over their names.
        dtypes: by name or as a framework's dtype, such as ``numpy.float32``; by default ``float16``, ``bfloat16``,
            ``float32`` and ``float64``. Narrow formats such as ``e4m3fn`` are measured only if they are named, and
            described ones such as ``e5m6`` by the framework ``simulated``; see `formats.get_format`.
        blocks: ``mxfp8_e4m3``, ``mxfp8_e5m2``, ``mxfp6_e3m2``, ``mxfp6_e2m3`` or ``mxfp4_e2m1``: replace the logits by
            those that the blocks of this MX format hold, before they are rounded to the dtype.
        devices: ``cpu``, ``cuda``, ...; by default all that the frameworks find but OpenCL's ``cl``.
        modes: ``eager``, ``graph`` or ``compiled``; all three by default. ``interpreted`` and ``sharded`` run only if
            they are named here. Without ``dtypes``, modes other than eager run in float32 only, since compilation takes
            most of the time.
        variants: settings that change numbers, measured beside the modes that they change; see `variants.VARIANTS`.
            For the framework `simulated` also arithmetics, such as ``stochastic-4,seed-0..99``; see `core.arithmetic`.
        quick: run one case of each family in eager float32, in under a minute. This sets ``cases``, ``dtypes`` and
            ``modes``. `logitlab.safety` lists the safe losses.
        bitwise: also measure whether each row keeps its bits alone, in other batches, and with other numbers of
            threads; it adds seconds to minutes for each cell. `logitlab.bitwise` reads the results from ``out``.
        out: the run folder to keep; by default the run is not kept.
        resume: resume the run in ``out``, which must have the same plan and the same versions.
        timeout: time limit of one call in seconds.
        memory_limit: stop a worker that uses more GiB of memory than this; half of the machine's memory by default.
        executor: ``dask://HOST:PORT`` to run on the workers of that Dask scheduler; by default this machine.
        oracle: ``balls``, or ``quad`` for rows of files without loss options. ``quad`` computes exact answers in
            quadruple precision. It is several times as fast, accurate to 100 bits, and compared with balls on a sample;
            see `oracle.bulk`.
        reduction: none, mean or sum of each file of logits, which must be small enough to be measured in one call; see
            `inputs.LogitsFile`.
        label_smoothing: for the files of logits, in [0, 1].
        weight: class weights (C,) for the files of logits: an array, or a file ``.npy``, ``.npz`` or ``.safetensors``,
            the last two with an array ``weight``.
        ignore_index: ignore rows of the files of logits with this target.
        softcap: for the files of logits; see `reference`.
        logit_scale: for the files of logits.
        z_loss: for the files of logits.
        progress: called with the rows done, the total (a row counts once for each cell) and the current cell. By
            default a bar on a terminal, a line in a notebook, and nothing elsewhere; False for nothing.

    Raises:
        UsageError: for an argument of the wrong type, an empty list, a limit that is not above 0, or an unknown name.
            Also for an invalid file of logits or cases, a folder that cannot be used, or a Dask cluster that cannot be
            reached or whose workers differ.
    """
    request = Request(
        cases=cases, logits=logits, sweeps=sweeps, case_files=case_files, frameworks=frameworks,
        implementations=implementations, dtypes=dtypes, blocks=blocks, devices=devices, modes=modes, variants=variants,
        quick=quick, bitwise=bitwise, resume=resume, timeout=timeout, memory_limit=memory_limit, executor=executor,
        oracle=oracle, reduction=reduction, label_smoothing=label_smoothing, weight=weight, ignore_index=ignore_index,
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
    warn: Warn = warnings.warn,
    command: Command | None = None,
    first_look: Callable[[Run], None] | None = None,
) -> Run:
    """Run a request like `run`, and leave the measurements on disk, where they may exceed memory.

    Args:
        request: what to run.
        folder: the run folder.
        progress: see `run`.
        warn: called with a line for each requested framework that is missing, each framework whose import fails, and
            each damaged part of a resumed run.
        command: recorded in the manifest; by default the call of `run` that makes the request.
        first_look: called once with the run, after the cases are measured in eager float32, which comes first, if other
            cells or files are left. The workers wait for it.
    """
    command = command or request.as_python()
    request = request.planned()
    # Arguments are checked before any worker starts, so that a typing error costs no time.
    timeout = as_positive(request.timeout, "timeout", "seconds")
    memory_limit = None if request.memory_limit is None else as_positive(request.memory_limit, "memory_limit", "GiB")
    cases, sweeps = as_strings(request.cases, "cases"), as_strings(request.sweeps, "sweeps")
    files, case_files = as_paths(request.logits, "logits", FILES_EXPECTED), as_paths(request.case_files, "case_files")
    asked, devices = as_strings(request.implementations, "implementations"), as_strings(request.devices, "devices")
    modes, varied = as_strings(request.modes, "modes"), choose_variants(as_strings(request.variants, "variants"))
    frameworks = as_strings(request.frameworks, "frameworks")
    names = owners(choose_frameworks(frameworks, asked), asked)
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
    blocks = None if request.blocks is None else get_blocks(as_string(request.blocks, "blocks"))
    chosen = select_inputs(cases, files, sweeps, wanted, case_files, options, blocks)
    with (
        tempfile.TemporaryDirectory(prefix="logitlab-") as logs,
        opened(place, names, Path(logs), timeout, memory_limit) as executor,
    ):
        descriptions = executor.describe()
        sparing = bool(chosen.cases) and not wanted and not modes
        cells = choose_cells(descriptions, chosen.dtypes, asked, devices, modes, varied, sparing=sparing)
        for d in descriptions.values():
            if d.missing is not None and (d.failed or d.framework in frameworks):
                warn(f"{d.framework} is not measured: {d.missing}")
        if not any(_has_case(chosen, cell) for cell in cells):
            raise UsageError(_nothing_for(cells))
        # A loss of hidden states has no results in a run of logits, and the reverse.
        cells = tuple(cell for cell in cells if cell.implementation.problem in chosen.problems)
        missing = not_installed(descriptions, frameworks, asked)
        manifest = executor.recorded(_manifest(chosen, cells, descriptions, missing, _name_of(folder), command, oracle))
        with _reopen(folder, manifest) if resume else Run.create(folder, manifest) as store:
            for line in store.set_aside:
                warn(line)
            store.keep_cases([line for case in chosen.cases for line in case_summary_rows(case)])
            total = sum(_rows(chosen, cell) for cell in cells)
            first = _first_parts(chosen, cells, store)
            for done, label in _measure(executor, store, chosen, cells, oracle):
                while first and store.was_written(first[-1]):
                    first.pop()
                    if not first and first_look is not None:
                        first_look(store)
                if progress is not None:
                    progress(done, total, label)
            for done, trials, label in executor.compare_bits(cells, store) if request.bitwise else ():
                if progress is not None:
                    progress(total + done, total + trials, f"bits of {label}")
            executor.fetch_logs()
            store.keep_logs(Path(logs))
            store.manifest = executor.recorded(store.manifest)
            store.finish(_now())
    trim_if_due()
    return store


def _measure(
    executor: Executor, store: Run, chosen: Selection, cells: Sequence[Cell], oracle: OracleKind
) -> Iterator[tuple[int, str]]:
    """Run every call whose results are not stored yet, block by block; yield the number of rows done and the cell."""
    done = 0

    def left() -> Iterator[Block]:
        nonlocal done
        for number, block in enumerate(chosen.blocks()):
            parts = {store.manifest.part(number, i): cell for i, cell in enumerate(cells) if cell.dtype in block.dtypes}
            todo = {cell: part for part, cell in parts.items() if not store.has(part)}
            stored = (cell for cell in parts.values() if cell not in todo)
            done += sum(_rows(block, cell) for cell in stored)
            if todo:
                yield Block(block.cases, todo, oracle, is_last=not chosen.files)

    for rows, label in executor.measure(left(), store):
        done += rows
        yield done, label


def _rows(chosen: Selection | CaseBlock, cell: Cell) -> int:
    """Return the number of rows that a cell measures."""
    return chosen.rows(cell.dtype, problem=cell.implementation.problem, plain_only=cell.plain_only)


def _has_case(chosen: Selection, cell: Cell) -> bool:
    return chosen.has_case_for(cell.dtype, problem=cell.implementation.problem, plain_only=cell.plain_only)


def _first_parts(chosen: Selection, cells: Sequence[Cell], store: Run) -> list[int]:
    """Return the parts after which `execute` calls ``first_look``; none if they are the whole run."""
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
        # A resumed run must have the same versions, and so the same oracle.
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
    """Return the run in the folder, if its plan and versions equal those of this run."""
    store = Run(folder)
    if store.manifest.packed:
        raise UsageError(f"cannot resume {folder}: it is a packed, complete run; choose another --out")
    for fact in ("files", "catalogue", "blocks", "cells", "versions", "frameworks", "environment"):
        if getattr(store.manifest, fact) != getattr(manifest, fact):
            raise UsageError(
                f"cannot resume {folder}: its {fact} differ from those of this run; to see its own command, run "
                f"`logitlab doctor {folder}`"
            )
    return Run.reopen(folder)


def run_name() -> str:
    """Return a unique name for a run that starts now; two runs may start in the same second."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}-{secrets.token_hex(4)}"


def _name_of(folder: Path) -> str:
    """Return a run's name, which is its folder's."""
    return (folder.resolve().name if folder.name in ("", "..") else folder.name) or run_name()


def _nothing_for(cells: Sequence[Cell]) -> str:
    dtypes = ", ".join(dict.fromkeys(cell.dtype for cell in cells))
    modes = ", ".join(dict.fromkeys(cell.mode for cell in cells))
    return (
        f"no chosen case can be measured in {dtypes} and mode {modes}: {UNREPRESENTABLE}, the mode takes no "
        "options, or the losses have another problem; choose another --dtype, --mode or --implementation"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
