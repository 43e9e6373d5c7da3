"""``matrix``: run one plan with several sets of requirements, and compare each set with the one before it."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ...cases import select_cases
from ...core.arguments import Strings, as_dtypes, as_path, as_strings
from ...core.errors import UsageError
from ...storage.store import Run, require_new
from ..compare import Comparison, compare, growth_factor
from ._environment import SetError, Tell, environment, environments_folder, variables
from ._requirements import parse_sets, scope
from ._source import running_source

DTYPES, MODES = ("float32",), ("eager",)


class Compared(NamedTuple):
    """Two sets and their comparison."""

    before: str
    after: str
    comparison: Comparison


class NotCompared(NamedTuple):
    """Two sets that cannot be compared, and the reason."""

    before: str
    after: str
    reason: str


@dataclass(frozen=True, eq=False)
class Matrix:
    """The result of each set of requirements.

    Attributes:
        runs: the run folder of each measured set, by the set's text.
        failed: the error of each other set.
        comparisons: the comparison of each measured set with the one measured before it.
        not_compared: the pairs that cannot be compared.
    """

    runs: Mapping[str, Path]
    failed: Mapping[str, str]
    comparisons: tuple[Compared, ...]
    not_compared: tuple[NotCompared, ...] = ()

    @property
    def exit_code(self) -> int:
        """2 if a set was not measured or two cannot be compared, else 1 if there is a regression, else 0."""
        return max([2 if self.failed or self.not_compared else 0, *(c.comparison.exit_code for c in self.comparisons)])


def matrix(
    requirements: Strings,
    out: str | Path,
    *,
    cases: Strings = None,
    frameworks: Strings = None,
    implementations: Strings = None,
    dtypes: object = None,
    modes: Strings = None,
    factor: float = 2.0,
    python: str | None = None,
    fresh: bool = False,
    tell: Tell = lambda line: None,
) -> Matrix:
    """Run one plan with each set of requirements, in separate environments, and compare the results.

    An environment holds this LogitLab, the requirements, and the packages of each LogitLab extra that contains one of
    them. It is kept in the cache. uv builds it if it is on the path, else venv and pip; both use their configuration of
    indexes, constraints and proxies. If one set fails, its error is in ``failed`` and the other sets are measured.

    Args:
        requirements: two sets or more, each as for pip: ``"scipy==1.14.1 numpy<2.3"``.
        out: a folder, in which each set's run gets a folder.
        cases: globs over ``family/name``; the whole catalogue by default.
        frameworks: by default those of the packages, or all that the environments have.
        implementations: globs over their names.
        dtypes: float32 by default.
        modes: eager by default.
        factor: an error that grew by more than this factor is reported.
        python: the interpreter for the environments; by default this one.
        fresh: rebuild the environments.
        tell: called with a line for each step.

    Raises:
        UsageError: for invalid requirements, or a folder that holds a run or cannot be written.
    """
    sets, folder = parse_sets(as_strings(requirements, "requirements")), as_path(out, "out")
    factor = growth_factor(factor)
    for one in sets:
        require_new(folder / one.folder)
    extras, of_packages = scope(sets, as_strings(frameworks, "frameworks"))
    plan = _plan(cases, of_packages, implementations, dtypes, modes)
    runs: dict[str, Path] = {}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="logitlab-")))
        root = environments_folder() or temporary / "environments"
        source = running_source(temporary / "logitlab")
        for one in sets:
            try:
                built = environment(root, source, extras, one.requirements, python or sys.executable, tell, fresh=fresh)
                tell(f"measuring with {one}")
                _run(built, plan, folder / one.folder, tell)
            except SetError as error:
                failed[str(one)] = str(error)
            else:
                runs[str(one)] = folder / one.folder
    comparisons: list[Compared] = []
    not_compared: list[NotCompared] = []
    for before, after in pairwise(runs):
        try:
            comparisons.append(Compared(before, after, compare(runs[before], runs[after], factor=factor)))
        except UsageError as error:
            not_compared.append(NotCompared(before, after, str(error)))
    return Matrix(runs, failed, tuple(comparisons), tuple(not_compared))


def _plan(
    cases: Strings, frameworks: Sequence[str], implementations: Strings, dtypes: object, modes: Strings
) -> list[str]:
    """Return the options of ``logitlab run``; raise a UsageError for one that every environment would reject."""
    globs = as_strings(cases, "cases")
    select_cases(globs)
    options = {
        "--case": globs,
        "--framework": frameworks,
        "--implementation": as_strings(implementations, "implementations"),
        "--dtype": as_dtypes(dtypes) or DTYPES,
        "--mode": as_strings(modes, "modes") or MODES,
    }
    return [word for name, values in options.items() for value in values for word in (name, value)]


def _run(python: Path, options: Sequence[str], out: Path, tell: Tell) -> None:
    command = [str(python), "-m", "logitlab", "run", *options, "--out", str(out)]
    last = ""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=variables()
    ) as running:
        for line in running.stderr or ():
            last = line.strip()
            tell(f"  {last}")
    if running.returncode and not _is_complete(out):
        raise SetError(last or f"the run ended with exit code {running.returncode}")


def _is_complete(folder: Path) -> bool:
    """Return whether the run is complete. A complete run without any result exits with code 1, and can be compared."""
    try:
        return Run(folder).manifest.complete
    except UsageError:
        return False
