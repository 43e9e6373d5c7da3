"""The pytest plugin: a fixture with the catalogue's cases one by one, and a loss held to a grade.

pytest imports this module in every project beside which LogitLab is installed, and calls its hooks there: what costs
time to import is imported when a test asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .studies.testing import LogitCase

MARKER = "logit_cases"
FIXTURE = "logit_case"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and their defaults in the project's configuration."""
    group = parser.getgroup("logitlab", "cases of LogitLab's catalogue")
    group.addoption(
        "--logit-cases", action="append", metavar="GLOB",
        help="cases for the fixture logit_case where a test names none, globs over family/name; repeatable",
    )  # fmt: skip
    group.addoption(
        "--logit-dtypes", action="append", metavar="DTYPE",
        help="their dtypes: float16, bfloat16, float32 or float64; repeatable; float32 by default",
    )  # fmt: skip
    parser.addini("logit_cases", "cases for the fixture logit_case, globs over family/name", "args")
    parser.addini("logit_dtypes", "dtypes for the fixture logit_case", "args")


def pytest_configure(config: pytest.Config) -> None:
    """The marker's description for ``pytest --markers``."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(*globs, dtypes=...): which cases of LogitLab's catalogue the fixture {FIXTURE} gives, globs over "
        "family/name, and in which dtypes.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each case and dtype, named ``family/name-dtype``."""
    if FIXTURE not in metafunc.fixturenames:
        return
    from .studies.testing import logit_cases  # noqa: PLC0415 - see above

    try:
        cases = logit_cases(*_asked(metafunc))
    except UsageError as error:
        message = f"{metafunc.definition.nodeid}: {error}"
    else:
        metafunc.parametrize(FIXTURE, cases, indirect=True, ids=[f"{c.name}-{c.dtype}" for c in cases])
        return
    # Of this file alone, and without the traceback of what was caught: the others are collected.
    pytest.fail(message, pytrace=False)


def _asked(metafunc: pytest.Metafunc) -> tuple[Any, Any]:
    """Globs and dtypes: the nearest marker's, else the command line's, else the configuration's."""
    config = metafunc.config
    globs, dtypes = (config.getoption(name) or config.getini(name) or None for name in ("logit_cases", "logit_dtypes"))
    marker = metafunc.definition.get_closest_marker(MARKER)
    if marker is None:
        return globs, dtypes
    unknown = set(marker.kwargs) - {"dtypes"}
    if unknown:
        raise UsageError(f"the marker {MARKER} takes globs and dtypes=, and was given {', '.join(sorted(unknown))}")
    return marker.args or globs, marker.kwargs.get("dtypes", dtypes)


@pytest.fixture
def logit_case(request: pytest.FixtureRequest) -> LogitCase:
    """A case of LogitLab's catalogue in a dtype: logits, targets, the exact answer, and assertions on what came out."""
    case: LogitCase = request.param
    return case


@pytest.fixture(scope="session")
def assert_conforms() -> Callable[..., None]:
    """logitlab.assert_conforms(loss, framework=..., dtypes=..., require="B"): a loss held to a grade."""
    from .studies.testing import assert_conforms as conforms  # noqa: PLC0415 - see above

    return conforms
