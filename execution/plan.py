"""Who x what: which implementations meet which cases, in which dtype, on which device, in which mode."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..cases import Case
from ..core.conventions import STANDARD, Convention
from ..core.errors import UsageError
from ..core.formats import FORMATS, Format, get_format
from ..core.vocabulary import OracleKind
from ..frameworks import Batch
from ..frameworks.stages import FORMULAS
from ..grading import Graded, Standard, apriori_bounds, grade_by
from ..oracle import Exact, Reference, bulk, reference, require_quad, stack_references, without_answers
from . import variants, worker
from .worker import Description, ImplementationInfo, Outcome

T = TypeVar("T")

# Of a call's batch: what bounds the memory of a device, on which a call keeps a few arrays of that size.
MAX_LOGITS = 2**22
# Of a group whose standards are kept for the next cell: that of the whole catalogue's widest rows.
KEPT_UP_TO = 2**19
# Compiling is most of a run's time, and more than half an hour where it is done in every dtype.
SPARED_FOR = "float32"


@dataclass(frozen=True)
class Cell:
    """implementation x dtype x device x mode."""

    framework: str
    implementation: ImplementationInfo
    dtype: str
    device: str
    mode: str

    @property
    def label(self) -> str:
        return f"{self.implementation.name} {self.dtype} {self.device} {self.mode}"

    @property
    def lane(self) -> str:
        """The process that its calls are made in."""
        # Compiling takes most of the time of a framework that does it: its modes run side by side.
        return self.framework if self.mode == "eager" else f"{self.framework}-{self.mode}"

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variables of that process."""
        return variants.variables(self.framework, self.mode)

    def arguments(self, batch: Batch) -> tuple[Any, ...]:
        """What `worker.call` is given to evaluate a batch."""
        return (self.framework, self.implementation.name, batch, self.device, variants.base(self.mode))

    @property
    def plain_only(self) -> bool:
        """Whether the cell takes cases of logits and class indices alone."""
        return variants.base(self.mode) in self.implementation.plain_modes


@dataclass(frozen=True, eq=False)
class Group:
    """Cases evaluated in one call: plain rows of equal width stacked, or one case with options of its own."""

    cases: tuple[Case, ...]
    fmt: Format
    quad: bool = False
    convention: Convention = STANDARD
    _made: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def plain(self) -> bool:
        """Whether it is plain rows, without loss options."""
        return self.cases[0].plain

    @property
    def reduction(self) -> str:
        return self.cases[0].reduction

    def held_to(self, convention: Convention) -> Group:
        """The same cases, with the exact answers of this definition; itself where that makes no difference."""
        if convention == self.convention or "weight" not in self.options:
            return self
        return self._once(f"held to {convention}", lambda: replace(self, convention=convention, _made={}))

    @cached_property
    def logits(self) -> NDArray[Any]:
        return np.concatenate([c.quantized(self.fmt) for c in self.cases])

    @cached_property
    def targets(self) -> NDArray[Any]:
        return np.concatenate([c.quantized_targets(self.fmt) for c in self.cases])

    @property
    def options(self) -> dict[str, Any]:
        return self.cases[0].options(self.fmt)

    @cached_property
    def exact(self) -> Reference:
        """The reference under the group's reduction; each case's own, so that the disk cache serves every grouping."""
        return stack_references([self._reference(c, c.reduction) for c in self.cases])

    @cached_property
    def row_losses(self) -> Exact:
        """The losses before any reduction."""
        return self.exact.loss if self.reduction == "none" else self._reference(self.cases[0], "none").loss

    def _reference(self, case: Case, reduction: str) -> Reference:
        targets = case.quantized_targets(self.fmt)
        if case.invalid:
            return without_answers(reference(case.quantized(self.fmt), np.zeros(case.rows, np.int64)))
        if self.quad and case.plain and case.first_row is not None:
            return bulk(case.quantized(self.fmt), targets, case.first_row)
        # A piece of a file is seen once: its reference, ten times as large, would only fill the disk.
        how = case.options(self.fmt) | {"keep": case.first_row is None, "convention": self.convention}
        return reference(case.quantized(self.fmt), targets, reduction=reduction, **how)

    def standard(self, quantity: str, info: ImplementationInfo) -> Standard:
        """What a quantity is held against, in every cell of an implementation that the group is given to."""
        # A loss that leaves the reduction to others exposes its rows.
        exposed = self.reduction != "none" and quantity == "loss" and not info.reduces
        return self._once(f"standard of {quantity}, {exposed}", lambda: self._standard(quantity, exposed))

    def apriori(self, quantity: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The a-priori bounds of a quantity's rows, unshifted and shifted."""
        return self._once(
            f"bounds of {quantity}", lambda: apriori_bounds(quantity, self.logits, self.targets, self.fmt, self.exact)
        )

    def _standard(self, quantity: str, exposed: bool) -> Standard:
        losses = self.row_losses if quantity == "loss" else None
        return Standard.of(quantity, self.logits, self.fmt, self.exact, self.reduction, losses, rows_exposed=exposed)

    def _once(self, name: str, make: Callable[[], T]) -> T:
        # Not of the large blocks of a file, which few cells see: they would be most of the memory.
        if self.logits.size > KEPT_UP_TO:
            return make()
        if name not in self._made:
            self._made[name] = make()
        made: T = self._made[name]
        return made

    def batch(self) -> Batch:
        """What a worker is sent."""
        return Batch(self.logits, self.targets, self.reduction, self.options, self.cases[0].layout)

    def single(self) -> tuple[Group, ...]:
        """One group a case; empty if there is only one."""
        return tuple(Group((c,), self.fmt, self.quad) for c in self.cases) if len(self.cases) > 1 else ()


@dataclass(frozen=True, eq=False)
class PlannedCall:
    """One group given to one cell; a `pool.Call`."""

    cell: Cell
    group: Group
    traced: bool = False  # whether it is made again stage by stage

    @property
    def lane(self) -> str:
        return self.cell.lane

    @property
    def variables(self) -> Mapping[str, str]:
        return self.cell.variables

    @property
    def framework(self) -> str:
        return self.cell.framework

    @property
    def function(self) -> Callable[..., Outcome]:
        return worker.trace_stages if self.traced else worker.call

    def arguments(self) -> tuple[Any, ...]:
        batch = self.group.batch()
        if not self.traced:
            return self.cell.arguments(batch)
        rows = replace(batch, targets=batch.targets.astype(np.int64), layout="rows")
        return self.cell.arguments(rows)[:-1]  # without the mode: stages are traced eagerly

    def graded(self, outcome: Outcome) -> dict[str, Graded]:
        """The grades of what the call gave."""
        return {q: grade_by(self.group.standard(q, self.cell.implementation), array) for q, array in outcome.values}

    @property
    def traceable(self) -> bool:
        """Whether `worker.trace_stages` can compute it: a written formula, eager, on row losses alone."""
        written = self.cell.implementation.formula in FORMULAS and variants.base(self.cell.mode) == "eager"
        case = self.group.cases[0]
        return written and not self.group.options and self.group.reduction == "none" and not case.invalid

    def divided(self) -> tuple[PlannedCall, ...]:
        singles = () if self.traced else self.group.single()
        return tuple(PlannedCall(self.cell, g.held_to(self.cell.implementation.convention)) for g in singles)


def groups(cases: Iterable[Case], fmt: Format, *, quad: bool = False) -> tuple[Group, ...]:
    """The cases that the format can hold, rows of equal width together, so that compilers see few shapes.

    ``quad``: whether rows of files are answered by `oracle.bulk`.
    """
    held = [c for c in cases if fmt.name in c.dtypes]
    rows = sorted((c for c in held if c.plain), key=lambda c: c.classes)
    stacked = [Group(few, fmt, quad) for _, same in groupby(rows, key=lambda c: c.classes) for few in _within(same)]
    return (*stacked, *(Group((c,), fmt, quad) for c in held if not c.plain))


def _within(cases: Iterable[Case]) -> Iterator[tuple[Case, ...]]:
    """The cases in lots of at most `MAX_LOGITS`, or of one."""
    lot: list[Case] = []
    for case in cases:
        if lot and sum(c.logits.size for c in lot) + case.logits.size > MAX_LOGITS:
            yield tuple(lot)
            lot = []
        lot.append(case)
    yield tuple(lot)


def choose_frameworks(wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The frameworks asked for, or all.

    Raises:
        UsageError: for a name that no installed package offers.
    """
    known = worker.names()
    if not known:
        raise UsageError("no framework is registered: install LogitLab (`make setup`, or `pip install -e .`)")
    for name in wanted or ():
        if name not in known:
            raise UsageError(f"unknown framework {name!r}; the frameworks are {', '.join(known)}")
    return tuple(n for n in known if not wanted or n in wanted)


def owners(frameworks: Sequence[str], implementations: Sequence[str] | None) -> tuple[str, ...]:
    """Those of the frameworks that can have an implementation of these globs: the others need not be imported."""
    globs = [_literal(g) for g in implementations or ["*"]]
    # A glob that says nothing of its framework, or names none, is left to `choose_cells`.
    heads = [g.partition("/")[0] if "/" in g else "*" for g in globs]
    found = tuple(n for n in frameworks if any(fnmatch.fnmatchcase(n, h) for h in heads))
    return found or tuple(frameworks)


def choose_oracle(name: str) -> OracleKind:
    """The oracle of this name.

    Raises:
        UsageError: for an unknown name, or if the package that the oracle needs cannot be imported.
    """
    if name not in set(OracleKind):
        raise UsageError(f"unknown oracle {name!r}; the oracles are {', '.join(OracleKind)}")
    if name == OracleKind.QUAD:
        require_quad()
    return OracleKind(name)


def choose_dtypes(wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The dtypes asked for, in the order of the formats, or all four."""
    asked = {get_format(d).name for d in wanted or FORMATS}
    return tuple(name for name in FORMATS if name in asked)


def choose_cells(
    descriptions: Mapping[str, Description],
    dtypes: Sequence[str],
    implementations: Sequence[str] | None = None,
    devices: Sequence[str] | None = None,
    modes: Sequence[str] | None = None,
    chosen_variants: Sequence[str] = (),
    *,
    sparing: bool = False,
) -> tuple[Cell, ...]:
    """Every cell that the described frameworks offer and the selection admits, and its variants.

    ``sparing`` leaves out modes other than eager in dtypes other than `SPARED_FOR`.

    Raises:
        UsageError: if an implementation, device or mode was asked for that none of them has, or nothing is left.
    """
    present = {n: d for n, d in descriptions.items() if d.missing is None}
    if not present:
        raise UsageError(f"nothing to run: {'; '.join(f'{n} {d.missing}' for n, d in descriptions.items())}")
    infos = [o for d in present.values() for o in d.implementations if o.version is not None]
    for glob in implementations or ():
        if not any(fnmatch.fnmatchcase(o.name, _literal(glob)) for o in infos):
            raise UsageError(f"no implementation matches {glob!r}; `logitlab frameworks` lists them")
    _known("device", devices, {d for p in present.values() for d in p.devices} | {"auto"})
    _known("mode", modes, {m for o in infos for m in o.modes})
    cells = tuple(
        Cell(name, info, dtype, device, variant)
        for name, description in present.items()
        for info in description.implementations
        if info.version is not None and _matches(info.name, implementations)
        for dtype in dtypes
        for device in description.devices
        if (not devices or "auto" in devices or device in devices) and device in (info.devices or (device,))
        for mode in info.modes
        if (not modes or mode in modes) and not (sparing and mode != "eager" and dtype != SPARED_FOR)
        for variant in variants.modes_of(name, mode, chosen_variants)
    )
    if not cells:
        raise UsageError("nothing to run: no implementation has the chosen device and mode together")
    return cells


def not_installed(
    descriptions: Mapping[str, Description], frameworks: Sequence[str] | None, implementations: Sequence[str] | None
) -> dict[str, str]:
    """What was asked for and cannot run, and why: frameworks, and implementations whose own package is missing.

    ``--framework torch`` asks for torch, and for no package around it.
    """
    absent = {n: d.missing for n, d in descriptions.items() if d.missing is not None}
    infos = (o for d in descriptions.values() if d.missing is None for o in d.implementations if o.version is None)
    asked = (o for o in infos if (_matches(o.name, implementations) if implementations else not frameworks))
    return absent | {o.name: f"{o.package} is not installed" for o in asked}


def _matches(name: str, globs: Sequence[str] | None) -> bool:
    return not globs or any(fnmatch.fnmatchcase(name, _literal(g)) for g in globs)


def _literal(glob: str) -> str:
    # Brackets are part of a built-in's name, so they are not taken for a set of characters.
    return glob.replace("[", "[[]")


def _known(kind: str, wanted: Sequence[str] | None, known: Iterable[str]) -> None:
    for name in wanted or ():
        if name not in known:
            raise UsageError(f"no chosen framework has the {kind} {name!r}; there is {', '.join(sorted(known))}")
