"""Fixtures and settings for all tests: a lasting cache, groups of tests for one worker, Hypothesis without chance.

`make test` tries each kind of check on its smallest inputs, `make test-all` everything:

- A test that `make test` leaves out has a mark with the reason: `full`, `cluster`, `latex`, `browser`, `venv` or
  `kills`, which pyproject.toml explains. `full` means more dtypes, cases or inputs than a smaller test. A mark may
  stand at one parameter: `pytest.param("float64", marks=pytest.mark.full)`.
- `sampled` marks a test with many parameters. `make test` tries one in each eight, at another place each time, so that
  no value of a second parameter is left out. The others become `full`.
- Beside each marked test stands a smaller one without a mark, so that `make test` tries every kind of check. Only
  compiled LaTeX and the site in a browser have none.
- `make test` draws 25 Hypothesis examples. `make test-all` runs each such test again and draws 100: its
  plugin for pytest marks them `hypothesis`. Where a test needs another number, `examples` of `example_counts.py` gives
  a fifth of it in `make test`.
- Tests run in groups, each in one worker: the tests of a file, or of several files in `GROUPS`. These share a run, or
  import JAX or TensorFlow, which one worker each does. The groups that take longest come first.
- Share whatever costs seconds: use `float32_of` before you call `runner.run` with a framework, and `small_run` or
  `paper_run` where a run of NumPy will do.
- Call the command line by `logitlab.cli.main([...])`; start a process only to test the process. A run starts
  workers: unless the test is about them, use the fixture `in_this_process`, or `calls_in_this_process` of
  `in_process.py` in a fixture that lasts longer.
- A framework's behaviour that may change with its version is `pinned`: it fails with a message that names the version.
"""

import gc
import importlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import persistent_cache
import psutil
import pytest
from hypothesis import settings
from in_process import calls_in_this_process

from logitlab.core.threads import let_idle_threads_sleep

let_idle_threads_sleep()  # before a test imports PyTorch
# PyTorch imports Triton, which aborts the process if TensorFlow was imported before it: each brings its own LLVM.
if find_spec("triton") is not None:
    importlib.import_module("triton")

settings.register_profile("full", derandomize=True, deadline=None)
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=25)
settings.load_profile("quick")

# Patterns of node ids; the first that matches names the test's group. The workers finish together if the groups that
# take longest come first.
GROUPS = {
    "tensorflow": r"test_(analysis|check|check_forms|check_linear|defects|explain|field_cases|formulas|"
    r"linear_frameworks|model_options|modes|shapes)\.py::.*(keras|tensorflow)"
    r"|test_(options|invalid)\.py::\w+\[tensorflow|test_findings\.py::test_(no_loss_raises_in|a_masked|keras)\w+\[tens"
    r"|test_grades\.py::test_the_grade_in_readme\w+\[tensorflow",
    "frameworks": r"test_(agreement|analysis|explain|explain_grades|field_cases|formulas|linear_frameworks|modes)\.py"
    r"|test_(check_forms|check_linear|defects|model_options)\.py::\w+\[jax"
    r"|test_(arguments|check|check_calls|shapes|state|use_instead)\.py::\w*_jax(_|$|\[)"
    r"|test_(options|invalid)\.py::\w+\[jax|test_findings\.py::test_(no_loss_raises_in|a_masked|log1p)\w+\[jax"
    r"|test_grades\.py::test_the_grade_in_\w+\[jax",
    # Before other tests of its worker: OpenCL compiled nothing in a process in which many others had run.
    "tinygrad": r"test_tinygrad\.py",
    # These import PyTorch.
    "float32_run": r"test_(docs|findings|grades|invalid|options|quick|reports|runner|variants)\.py",
    "planted defects": r"test_defects\.py",
    "interpreted": r"test_interpreted\.py",
    "check": r"test_check\.py",
    "site": r"test_(site|site_browser|paper|figures)\.py",
    "compare": r"test_compare\.py",
    "faults": r"test_faults\.py",
    "large": r"test_large\.py",
    "forks": r"test_(kills|refusals)\.py",
}


# These import TensorFlow and JAX, which stay in memory: their workers run nothing else.
SEPARATE = {"tensorflow", "frameworks"}


@cache
def _group(nodeid: str) -> str:
    """Return the group of a test: one of `GROUPS`, or its file."""
    return next((name for name, ids in GROUPS.items() if re.search(ids, nodeid)), nodeid.partition("::")[0])


# `make test` tries one in so many parameters of a `sampled` test.
SAMPLE = 8


def _is_sampled(number: int) -> bool:
    return number % SAMPLE == number // SAMPLE % SAMPLE


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    seen: Counter[str] = Counter()
    for item in items:
        if item.get_closest_marker("sampled") is not None and item.get_closest_marker("full") is None:
            test = item.nodeid.partition("[")[0]
            if not _is_sampled(seen[test]):
                item.add_marker(pytest.mark.full)
            seen[test] += 1
    first = dict.fromkeys(GROUPS) | dict.fromkeys(_group(item.nodeid) for item in items)
    rank = {group: number for number, group in enumerate(first)}
    items.sort(key=lambda item: rank[_group(item.nodeid)])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give each group to one worker, in the order in which the tests are collected."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

        def _reschedule(self, node: object) -> None:
            others = sum(other is not node and not other.shutting_down for other in self.nodes)
            if others > 1 and SEPARATE & self.assigned_work[node].keys():
                node.shutdown()  # it finishes the tests that it has
            else:
                super()._reschedule(node)

    config.option.loadscopereorder = False
    return Groups(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Add to the failure of a pinned test the versions that differ from constraints.txt."""
    report = yield
    if report.failed and item.get_closest_marker("pinned") is not None:
        others = persistent_cache.unpinned()
        message = f"installed are {', '.join(others)}" if others else "the pinned versions are installed"
        report.sections.append(("measured with the versions of constraints.txt", message))
    return report


@pytest.fixture(scope="session", autouse=True)
def cache_folder():
    folder = persistent_cache.open_cache()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGITLAB_CACHE", str(folder))
        yield folder


# A test process that has grown by this many bytes drops its compiled programs.
GROWTH = 200 * 2**20


@pytest.fixture(scope="session")
def _size_when_dropped() -> list[int]:
    return [psutil.Process().memory_info().rss]


@pytest.fixture(autouse=True)
def _drop_programs(_size_when_dropped):
    """Keep this process below 1.5 GiB: frameworks keep their compiled programs, and malloc keeps freed memory."""
    yield
    from logitlab.execution import registry
    from logitlab.execution._watchdog import return_freed_memory

    process = psutil.Process()
    if process.memory_info().rss > _size_when_dropped[0] + GROWTH:
        for entry in registry.entries():
            if entry.value.partition(":")[0] in sys.modules:
                registry.imported(entry.framework).forget_programs()
        gc.collect()
        return_freed_memory()
        _size_when_dropped[0] = process.memory_info().rss


class Forks:
    """The program that forks runs and kills them (`forked.py`), and the seconds that an undisturbed run takes."""

    def __init__(self, folder: Path) -> None:
        self.plan = {
            "cases": ["seed/article", "seed/article_mean", "gap/5_low"],
            "implementations": ["numpy/naive", "numpy/lse", "numpy/log1p"],
            "dtypes": ["float16", "float32"],
        }
        self.small = {**self.plan, "cases": "seed/article", "implementations": ["numpy/l*"], "dtypes": "float32"}
        self._program = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "forked.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert json.loads(self._program.stdout.readline()) == "ready"
        self.folder = folder
        start = time.monotonic()
        assert self.run(folder / "plan", self.plan) == 0
        self.seconds = time.monotonic() - start
        assert self.run(folder / "small", self.small) == 0
        from logitlab.storage.store import Run

        self.tables = {name: Run(folder / name).read() for name in ("plan", "small")}
        self.programs = {name: Run(folder / name).programs() for name in ("plan", "small")}

    def run(self, out: Path, plan: dict, **also) -> int:
        """Start or resume a run in the folder and return its exit code."""
        asked = {"out": str(out), "plan": plan, "resume": out.exists(), **also}
        self._program.stdin.write(json.dumps(asked) + "\n")
        self._program.stdin.flush()
        return json.loads(self._program.stdout.readline())

    def end(self) -> str:
        return self._program.communicate()[1]

    def assert_whole(self, folder: Path, name: str) -> None:
        """Assert that the table equals an undisturbed run's bit for bit, except its name; `doctor` finds nothing."""
        import numpy as np
        import pandas as pd

        from logitlab.storage.store import Run
        from logitlab.storage.verification import verify

        found, expected = (table.drop(columns="run") for table in (Run(folder).read(), self.tables[name]))
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
        for column in found.select_dtypes("float64"):
            bits, wanted = (table[column].to_numpy().view(np.int64) for table in (found, expected))
            np.testing.assert_array_equal(bits, wanted)
        seen = verify(folder)
        assert seen.sound
        assert seen.complete
        there = {p.name for p in folder.iterdir()}
        assert there - {"programs"} == {"manifest.json", "cases.parquet", "parts", "parts.sha256", "logs"}
        # A resumed run may keep one more program of a pair, since it does not know those of the parts it has.
        pairs = (
            set(zip(p["case"], p["implementation"], strict=True)) for p in (Run(folder).programs(), self.programs[name])
        )
        assert next(pairs) == next(pairs)
        assert [f"parts/{p.name}" for p in sorted((folder / "parts").iterdir())] == list(seen.rows)


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    made = Forks(tmp_path_factory.mktemp("undisturbed"))
    yield made
    # No run printed a traceback or an error, whatever state it found.
    assert made.end() == ""


@pytest.fixture(scope="session")
def distribution():
    """Return a function that writes the metadata pip would: name, version, and frameworks as entry points."""

    def write(site: Path, name: str, points: str, version: str = "1.0") -> None:
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[logitlab.frameworks]\n{points}\n")

    return write


@pytest.fixture
def gone():
    """Return a function that says whether a process has ended; a zombie counts as ended."""
    import psutil

    def ended(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return ended


# --- runs that are measured once ---------------------------------------------------------------------------------

# Cases with options, plain cases that findings are about, and invalid targets. JAX and TensorFlow dispatch slowly, and
# JAX compiles for each shape: only the cases that a test needs.
FLOAT32_CASES = {
    "numpy, torch": [
        "smoothing/*", "weights/*", "ignored/*", "soft/*", "layout/*", "reductions/tiny_mean",
        "reductions/infinite_row_mean", "reductions/nan_row_sum", "reductions/empty_*", "linear_layers/class_weights",
        "linear_layers/soft", "linear_layers/softcap", "linear_layers/z_loss", "seed/*", "special/nan", "masks/first",
        "gap/*", "invalid/*",
    ],
    "onnxruntime": [],
    "jax": [
        "smoothing/mild_0.1", "soft/less_than_one", "soft/zero_on_mask", "weights/article_none", "layout/spatial",
        "invalid/minus_one", "invalid/classes", "linear_layers/logit_scale", "masks/first",
    ],
    "tensorflow": [
        "smoothing/gap_100", "soft/article_mean", "soft/less_than_one", "soft/zero_on_mask", "weights/article_mean",
        "ignored/one_none", "layout/spatial", "invalid/classes", "gap/500_low", "linear_ignored/two_mean",
        "masks/first",
    ],
}  # fmt: skip
# Losses of libraries and one formula: JAX compiles each.
FLOAT32_LOSSES = {"jax": ["jax/optax.*", "jax/log1p*"]}


def _float32(frameworks, cases, implementations=None):
    from logitlab import runner

    with calls_in_this_process():
        return runner.run(
            frameworks=frameworks, implementations=implementations, cases=cases, dtypes="float32", modes="eager"
        )


@pytest.fixture(scope="session")
def float32_of():
    """Return a function that gives a framework's table of an eager float32 run, over `FLOAT32_CASES`.

    Those of NumPy, PyTorch and ONNX Runtime have the cases that decide README's grades too. Tests of JAX and
    TensorFlow are in the groups that have imported these.
    """
    import kept_grades

    deciding = kept_grades.read().cases

    @cache
    def whole(frameworks):
        cases = FLOAT32_CASES[frameworks]
        if frameworks in ("jax", "tensorflow"):
            return _float32(frameworks, cases, FLOAT32_LOSSES.get(frameworks))
        return _float32(frameworks.split(", "), [*cases, *deciding])

    def one(framework):
        table = whole("numpy, torch" if framework in ("numpy", "torch") else framework)
        return table[table["framework"] == framework]

    return one


@pytest.fixture(scope="session")
def deciding_of(float32_of):
    """Return a function that gives a framework's results at the cases that decide README's grades."""
    import kept_grades

    deciding = kept_grades.read().cases

    @cache
    def one(framework):
        separate = framework in ("jax", "tensorflow")
        table = _float32(framework, deciding) if separate else float32_of(framework)
        return table[table["case"].isin(deciding) & table["grade"].notna()]

    return one


# A built-in loss and the formulas.
FOUR = ["numpy/naive", "numpy/lse", "numpy/log1p", "numpy/scipy.special.softmax"]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """Return a run of a few cases and a sweep, in four of NumPy's losses."""
    from logitlab import runner
    from logitlab.storage.store import Run

    folder = tmp_path_factory.mktemp("small") / "run"
    with calls_in_this_process():
        runner.run(
            cases=["seed/*", "masks/first", "masks/on_target"], sweeps="offset=1:1e4:3log",
            implementations=FOUR, dtypes=["float32", "float64"], out=folder,
        )  # fmt: skip
    return Run(folder)


@pytest.fixture(scope="session")
def paper_run(tmp_path_factory):
    """Return a run for tables and figures: four of NumPy's losses in two dtypes, on a few cases and along two axes."""
    from logitlab import runner
    from logitlab.storage.store import Run

    folder = tmp_path_factory.mktemp("paper") / "run"
    with calls_in_this_process():
        runner.run(
            cases=["seed/*", "masks/first", "masks/on_target", "overflow/float32_*", "overflow/float16_*"],
            sweeps=["offset=1:1e5:6log", "classes=3,10"], implementations=FOUR, dtypes=["float16", "float32"],
            modes="eager", out=folder,
        )  # fmt: skip
    return Run(folder)


@pytest.fixture
def in_this_process():
    """Let runs make their calls in this process, without workers: see `in_process.py`."""
    with calls_in_this_process():
        yield


@pytest.fixture(scope="session")
def small_site(small_run, tmp_path_factory):
    """Return the folder of the site of `small_run`."""
    from logitlab import reports

    (first,) = reports.write(small_run, ["html"], tmp_path_factory.mktemp("site"))
    return first.parent


@pytest.fixture(scope="session")
def browser():
    """Yield Debian's Chromium or Google Chrome, driven by Playwright."""
    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if found is None:
        pytest.skip("no browser: install Debian's chromium, or Google Chrome, to test the site in one")
    from playwright.sync_api import sync_playwright

    arguments = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ]  # fmt: skip
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def evaluate():
    """Return a function that calls any function in a framework's worker and returns the outcomes in order."""
    from logitlab.execution.plan import Call, Cell
    from logitlab.execution.registry import ImplementationInfo

    @dataclass(frozen=True, eq=False)
    class FunctionCall(Call):
        asked: Callable
        argument: object

        @property
        def function(self):
            return self.asked

        def batch(self):
            raise NotImplementedError

        def evaluation(self):
            return self.argument

    def made(pools, framework, function, arguments):
        info = ImplementationInfo(f"{framework}/lse", "lse", framework, "1", ("eager",))
        cell = Cell(framework, info, "float32", "cpu", "eager")
        calls = [FunctionCall(cell, function, argument) for argument in arguments]
        outcomes = dict(pools.evaluate(calls))
        return [outcomes[call] for call in calls]

    return made
