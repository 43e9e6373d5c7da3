"""The cell and the row that a user names, checked before anything is measured."""

from ..cases import Case
from ..core.arguments import as_dtypes
from ..core.errors import UsageError
from ..core.formats import Format, get_format
from ..core.vocabulary import Problem
from ..execution import variants
from ..execution.plan import Cell, choose_dtypes
from ..execution.registry import Description, ImplementationInfo

REDUCED = -1  # the row of a reduced loss, as in the measurements table; of a linear case, the whole batch


def usual_dtypes(dtypes: object) -> tuple[str, ...]:
    """Return the dtypes of a check, none by default; raise UsageError for one that is not usual."""
    return () if dtypes is None else choose_dtypes(as_dtypes(dtypes), usual_only="check")


def owner_of(implementation: str) -> str:
    """Return the framework of an implementation by its full name."""
    owner, slash, _ = implementation.partition("/")
    if not slash:
        raise UsageError(
            f"unknown implementation {implementation!r}; write framework/name, such as torch/naive; "
            "`logitlab frameworks` lists them"
        )
    return owner


def require_dtype(case: Case, fmt: Format) -> None:
    """Raise a UsageError if the dtype cannot hold the case."""
    if not case.is_measured_in(fmt.name):
        fix = f"choose one of {', '.join(case.dtypes)}" if case.dtypes else "choose another case"
        raise UsageError(f"{fmt.name} cannot hold {case.id}: {case.why_unrepresentable(fmt)}; {fix}")


def require_row(case: Case, row: int | None) -> None:
    """Raise a UsageError if the case has no rows, or lacks this one."""
    reduced = case.reduction != "none"
    has_whole = reduced or case.problem is Problem.LINEAR
    if case.classes == 0 or (case.rows == 0 and not reduced):
        raise UsageError(f"{case.id} has no rows or no classes; choose another case from `logitlab cases`")
    if row is None or 0 <= row < case.rows or (row == REDUCED and has_whole):
        return
    whole = "the whole batch" if case.problem is Problem.LINEAR else "its reduced loss"
    or_reduced = f", or -1 for {whole}" if has_whole else ""
    raise UsageError(f"{case.id} has no row {row}; give a row from 0 to {case.rows - 1}{or_reduced}")


def require_problem(case: Case, info: ImplementationInfo) -> None:
    """Raise a UsageError if an implementation is of another problem than the case."""
    if info.problem is not case.problem:
        raise UsageError(
            f"{info.name} is a loss of {info.problem.inputs}, and {case.id} has {case.problem.inputs}; "
            "choose another implementation from `logitlab frameworks`"
        )


def choose_cell(description: Description, implementation: str, dtype: str, device: str, mode: str, case: Case) -> Cell:
    """Return a cell of a described framework for a case.

    Raises:
        UsageError: for an implementation, device, mode or variant that it does not have, or an implementation of
            another problem than the case.
    """
    if description.missing is not None:
        raise UsageError(f"{description.framework} {description.missing}; for how to install it, see `logitlab doctor`")
    if not description.takes(get_format(dtype)):
        raise UsageError(f"{description.framework} does not take {dtype}; choose another dtype or framework")
    infos = {o.name: o for o in description.implementations}
    if implementation not in infos:
        raise UsageError(f"unknown implementation {implementation!r}; choose one from `logitlab frameworks`")
    info = infos[implementation]
    require_problem(case, info)
    if info.version is None:
        raise UsageError(f"{implementation} needs {info.package}; for how to install it, see `logitlab doctor`")
    base, _, variant = mode.partition(variants.MARK)
    if base not in info.modes:
        raise UsageError(f"{info.name} has no mode {mode!r}; choose one of {', '.join(info.modes)}")
    devices = [d for d in description.devices if info.runs_on(d, base)]
    if device not in devices:
        needed = f" in mode {base}; it needs {' or '.join(info.devices or ())}"
        have = f"; choose one of {', '.join(devices)}" if devices else needed
        raise UsageError(f"{implementation} has no device {device!r}{have}")
    varied = variants.modes_of(description.framework, base, variants.choose_variants([variant] if variant else []))
    if variant and len(varied) != 2:
        why = "stands for several" if len(varied) > 2 else f"does not change {info.name} in mode {base}"
        raise UsageError(f"the variant {variant!r} {why}; leave it out" + " or give one of them" * (len(varied) > 2))
    # The settings of an arithmetic may be given in any order.
    return Cell(description.framework, info, dtype, device, varied[-1])
