"""The cells of a run: each is an implementation with a dtype, a device and a mode."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...core.errors import UsageError
from ...core.formats import FORMATS, get_format, in_table_order
from ...core.interpreting import INTERPRETED
from ...core.vocabulary import OracleKind
from ...oracle import require_quad
from .. import registry, variants
from ..registry import Description, ImplementationInfo
from ._groups import Group

# Compiling takes most of a run's time, and more than half an hour if it is done in every dtype.
SPARED_FOR = "float32"
# The dtype and mode that most readers look for are measured first.
FIRST_DTYPE, FIRST_MODE = "float32", "eager"
# An interpreter and a launch of ranks take seconds a call: a run measures these modes only if it is asked to.
ON_REQUEST = (INTERPRETED, "sharded")
# A driver of OpenCL takes seconds to compile each kernel: a run measures this device only if it is asked to, or if the
# framework finds no other.
DEVICES_ON_REQUEST = ("cl",)
# Simulated arithmetic is an instrument of research, and no loss that a program calls.
FRAMEWORKS_ON_REQUEST = ("simulated",)
OF_ANY_FORMAT = "add the framework simulated, which computes in any format"


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
    def worker_key(self) -> str:
        """The name of the worker process that makes the cell's calls."""
        # A framework that compiles spends most of its time on it, so its modes run side by side.
        # Variants that set no variable share a worker.
        mode = self.mode if self.variables else self.base_mode
        return self.framework if mode == "eager" else f"{self.framework}-{mode}"

    @property
    def comes_first(self) -> bool:
        """Whether the cell is measured before all others, so that a first report is ready early."""
        return (self.dtype, self.mode) == (FIRST_DTYPE, FIRST_MODE)

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment variables of the worker process."""
        return variants.variables(self.framework, self.mode)

    @property
    def call_mode(self) -> str:
        """The mode as the framework gets it."""
        return variants.of_call(self.framework, self.mode)

    @property
    def base_mode(self) -> str:
        """The mode without its variant."""
        return variants.base(self.mode)

    def takes(self, group: Group) -> bool:
        """Return whether the cell measures the cases of a group."""
        return group.problem is self.implementation.problem and group.cases[0].is_taken(plain_only=self.plain_only)

    @property
    def plain_only(self) -> bool:
        """Whether the cell takes only plain cases and those of every mode; see `Case.is_taken`."""
        return self.base_mode in self.implementation.plain_modes


def choose_frameworks(wanted: Sequence[str] | None, implementations: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the requested frameworks, or all but those on request, unless a glob of an implementation names them.

    Raises:
        UsageError: for a name that no installed package provides.
    """
    known = registry.names()
    if not known:
        raise UsageError("no framework is registered; install LogitLab with `pip install -e .`")
    for name in wanted or ():
        if name not in known:
            raise UsageError(f"unknown framework {name!r}; choose one of {', '.join(known)}")
    named = {glob.partition("/")[0] for glob in implementations or ()}
    return tuple(n for n in known if (n in wanted if wanted else n not in FRAMEWORKS_ON_REQUEST or n in named))


def owners(frameworks: Sequence[str], implementations: Sequence[str] | None) -> tuple[str, ...]:
    """Return the frameworks that may have an implementation matching the globs; the others need not be imported."""
    globs = [_literal(g) for g in implementations or ["*"]]
    # `choose_cells` handles globs without a framework, and globs that match no framework.
    heads = [g.partition("/")[0] if "/" in g else "*" for g in globs]
    found = tuple(n for n in frameworks if any(fnmatch.fnmatchcase(n, h) for h in heads))
    return found or tuple(frameworks)


def choose_oracle(name: str) -> OracleKind:
    """Return the oracle of this name.

    Raises:
        UsageError: for an unknown name, or if the package that the oracle needs cannot be imported.
    """
    if name not in set(OracleKind):
        raise UsageError(f"unknown oracle {name!r}; choose one of {', '.join(OracleKind)}")
    if name == OracleKind.QUAD:
        require_quad()
    return OracleKind(name)


def choose_dtypes(wanted: Sequence[str] | None, *, usual_only: str = "") -> tuple[str, ...]:
    """Return the requested dtypes in the order of tables, or the four usual ones.

    Raises:
        UsageError: for an unknown dtype. If ``usual_only`` names a command, also for a dtype that is not usual.
    """
    chosen = in_table_order(get_format(d).name for d in wanted or FORMATS)
    for name in chosen if usual_only else ():
        if name not in FORMATS:
            usual = ", ".join(FORMATS)
            raise UsageError(f"{usual_only} takes {usual}, not {name}; measure {name} with `logitlab run`")
    return chosen


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
    """Return the cells of the described frameworks that match the selection, with their variants.

    ``sparing`` leaves out modes other than eager in dtypes other than `SPARED_FOR`.

    Raises:
        UsageError: if no framework has a requested implementation, device or mode, or takes a dtype, or no cell
            matches.
    """
    present = {n: d for n, d in descriptions.items() if d.missing is None}
    if not present:
        missing = "; ".join(f"{n} {d.missing}" for n, d in descriptions.items())
        raise UsageError(f"no chosen framework is installed: {missing}; for how to install them, see `logitlab doctor`")
    infos = [o for d in present.values() for o in d.implementations if o.version is not None]
    for glob in implementations or ():
        if not any(fnmatch.fnmatchcase(o.name, _literal(glob)) for o in infos):
            raise UsageError(f"no implementation matches {glob!r}; choose from those listed by `logitlab frameworks`")
    for dtype in dtypes:
        if not any(d.takes(get_format(dtype)) for d in present.values()):
            raise UsageError(f"no chosen framework takes {dtype}; {OF_ANY_FORMAT}, or choose another dtype")
    _known("device", devices, {d for p in present.values() for d in p.devices} | {"auto"})
    _known("mode", modes, {m for o in infos for m in o.modes})
    cells = tuple(
        Cell(name, info, dtype, device, variant)
        for name, description in present.items()
        for info in description.implementations
        if info.version is not None and _is_asked_for(info, implementations)
        for dtype in dtypes
        if description.takes(get_format(dtype))
        for device in description.devices
        if _is_wanted(device, devices, description)
        for mode in info.modes
        if (mode in modes if modes else mode not in ON_REQUEST) and info.runs_on(device, mode)
        if not (sparing and mode != "eager" and dtype != SPARED_FOR)
        for variant in variants.modes_of(name, mode, chosen_variants)
    )
    if not cells:
        chosen = [info for info in infos if matches_name(info.name, implementations)]
        raise UsageError(_no_cell(chosen, devices, modes))
    return cells


def _no_cell(chosen: Iterable[ImplementationInfo], devices: Sequence[str] | None, modes: Sequence[str] | None) -> str:
    """Return why no implementation of those chosen can be measured, and what to do."""
    offered = {mode for info in chosen for mode in info.modes}
    ways = " or ".join(f"--mode {mode}" for mode in ON_REQUEST if mode in offered)
    if ways and not modes:
        return f"the chosen implementations are measured only on request; add {ways}"
    asked = f"the device {' or '.join(devices or ['auto'])} with the mode {' or '.join(modes or ['any'])}"
    instead = f"give {ways}, or " if ways else ""
    return f"no chosen implementation has {asked}; {instead}choose another from `logitlab frameworks`"


def not_installed(
    descriptions: Mapping[str, Description], frameworks: Sequence[str] | None, implementations: Sequence[str] | None
) -> dict[str, str]:
    """Return why requested frameworks and implementations cannot run, by name.

    An implementation cannot run if its package is missing. ``--framework torch`` requests only torch itself, not the
    implementations of packages around it. An implementation on request is reported only if a glob names it.
    """
    absent = {n: d.missing for n, d in descriptions.items() if d.missing is not None}
    infos = (o for d in descriptions.values() if d.missing is None for o in d.implementations if o.version is None)
    asked = (o for o in infos if _is_asked_for(o, implementations) and (implementations or not frameworks))
    return absent | {o.name: f"{o.package} is not installed" for o in asked}


def _is_asked_for(info: ImplementationInfo, globs: Sequence[str] | None) -> bool:
    return matches_name(info.name, globs) if globs else not info.on_request


def matches_name(name: str, globs: Sequence[str] | None) -> bool:
    """Return whether an implementation has a name that one of the globs matches; no globs match every name."""
    return not globs or any(fnmatch.fnmatchcase(name, _literal(g)) for g in globs)


def _is_wanted(device: str, wanted: Sequence[str] | None, description: Description) -> bool:
    if wanted:
        return "auto" in wanted or device in wanted
    return device not in DEVICES_ON_REQUEST or set(description.devices) <= set(DEVICES_ON_REQUEST)


def _literal(glob: str) -> str:
    # Brackets are part of a built-in's name, not a set of characters.
    return glob.replace("[", "[[]")


def _known(kind: str, wanted: Sequence[str] | None, known: Iterable[str]) -> None:
    for name in wanted or ():
        if name not in known:
            raise UsageError(f"no chosen framework has the {kind} {name!r}; choose one of {', '.join(sorted(known))}")
