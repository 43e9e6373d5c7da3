"""The pytest plugin: a fixture with the catalogue's cases one by one, and an assertion that a loss has a grade.

pytest imports this module and calls its hooks in every project with LogitLab installed. Slow imports therefore wait
until a test needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .core.project_settings import ProjectSettings
    from .studies.testing import LogitCase

MARKER = "logit_cases"
FIXTURE = "logit_case"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, and their defaults in the project's configuration."""
    group = parser.getgroup("logitlab", "cases of LogitLab's catalogue")
    group.addoption(
        "--logit-cases", action="append", metavar="GLOB",
        help="cases for the fixture logit_case in tests that name none: globs over family/name; repeatable",
    )  # fmt: skip
    group.addoption(
        "--logit-dtypes", action="append", metavar="DTYPE",
        help="dtypes for the fixture logit_case: float16, bfloat16, float32 (the default) or float64; repeatable",
    )  # fmt: skip
    parser.addini("logit_cases", "cases for the fixture logit_case, globs over family/name", "args")
    parser.addini("logit_dtypes", "dtypes for the fixture logit_case", "args")


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker for ``pytest --markers``."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(*globs, dtypes=...): the cases of LogitLab's catalogue, globs over family/name, and the dtypes for "
        f"the fixture {FIXTURE}.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Generate one test for each case and dtype, named ``family/name-dtype``."""
    if FIXTURE not in metafunc.fixturenames:
        return
    from .studies.testing import logit_cases  # noqa: PLC0415 - see above

    try:
        cases = logit_cases(*_selection(metafunc))
    except UsageError as error:
        message = f"{metafunc.definition.nodeid}: {error}"
    else:
        metafunc.parametrize(FIXTURE, cases, indirect=True, ids=[f"{c.name}-{c.dtype}" for c in cases])
        return
    # This fails the collection of one file, without a traceback; other files are still collected.
    pytest.fail(message, pytrace=False)


def _selection(metafunc: pytest.Metafunc) -> tuple[Any, Any]:
    """Return globs and dtypes: of the nearest marker, else the command line, else the configuration."""
    config = metafunc.config
    of_project = {"logit_cases": "cases", "logit_dtypes": "dtypes"}
    globs, dtypes = (
        config.getoption(name) or config.getini(name) or getattr(_settings(config), key) or None
        for name, key in of_project.items()
    )
    marker = metafunc.definition.get_closest_marker(MARKER)
    if marker is None:
        return globs, dtypes
    unknown = set(marker.kwargs) - {"dtypes"}
    if unknown:
        raise UsageError(
            f"the marker {MARKER} has unknown arguments {', '.join(sorted(unknown))}; give globs and dtypes= only"
        )
    return marker.args or globs, marker.kwargs.get("dtypes", dtypes)


def _settings(config: pytest.Config) -> ProjectSettings:
    """Return ``[tool.logitlab]`` of the project's pyproject.toml."""
    from .core.project_settings import read_settings  # noqa: PLC0415 - see above

    return read_settings(config.rootpath)


@pytest.fixture
def logit_case(request: pytest.FixtureRequest) -> LogitCase:
    """A case of LogitLab's catalogue in a dtype: logits, targets, the exact answer, and assertions on results."""
    case: LogitCase = request.param
    return case


@pytest.fixture(scope="session")
def assert_conforms(pytestconfig: pytest.Config) -> Callable[..., None]:
    """logitlab.assert_conforms(loss, framework=..., dtypes=..., require="B"): assert that a loss has a grade.

    Arguments that are left out come from ``[tool.logitlab]`` of the project's pyproject.toml.
    """
    from .studies.testing import assert_conforms as conforms  # noqa: PLC0415 - see above

    settings = _settings(pytestconfig)
    names = ("framework", "dtypes", "require", "cases")
    defaults = {name: value for name in names if (value := getattr(settings, name))}

    def with_defaults(loss: Any, *positional: Any, **given: Any) -> None:
        __tracebackhide__ = True  # pytest shows the caller's line, not this one
        free = {name: value for name, value in defaults.items() if name not in names[: len(positional)]}
        conforms(loss, *positional, **free | given)

    return with_defaults if defaults else conforms
