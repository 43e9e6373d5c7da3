"""A framework with every fault, and a run that loses only the faulty calls."""

import sys
import textwrap
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from logitlab import runner
from logitlab.core.errors import UsageError
from logitlab.execution import pool, registry, worker
from logitlab.frameworks import Batch

# For each faulty call: its status, and the message in its detail.
FAULTS = {
    "sound": ("return losses(batch)", "ok"),
    "raises": ("raise RuntimeError('no\\nsuch \\x1b[31mluck')", "raised"),
    "raises_what_has_no_words": ("raise Wordless", "raised"),
    "exits": ("raise SystemExit(3)", "raised"),
    "lacks": ("raise NotImplementedError('not here')", "unsupported"),
    "interrupts": ("raise KeyboardInterrupt", "raised"),
    "raises_what_is_no_exception": ("raise Unheard('of')", "raised"),
    "aborts": ("os.abort()", "crashed"),
    "segfaults": ("ctypes.string_at(0)", "crashed"),
    "ends_well": ("os._exit(0)", "crashed"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "crashed"),
    "hangs": ("time.sleep(3600)", "timeout"),
    "holds_the_interpreter": ("re.match('(a+)+$', 'a' * 64 + 'b')", "timeout"),
    "stops": ("os.kill(os.getpid(), signal.SIGSTOP)", "timeout"),
    "forks": ("os.fork(); return losses(batch)", "ok"),
    "forks_and_raises": ("if os.fork() == 0: raise RuntimeError('in the copy')", "ok"),
    "forks_and_hangs": ("if os.fork() == 0: note(os.getpid()); time.sleep(3600)", "ok"),
    "starts_a_process": ("note(subprocess.Popen(['sleep', '3600']).pid)", "ok"),
    "wrong_shape": ("return losses(batch)[:0]", "raised"),
    "wrong_dtype": ("return losses(batch).astype(int)", "raised"),
    "wrong_type": ("return 'seven'", "raised"),
    "a_list": ("return losses(batch).tolist()", "raised"),
    "wrong_name": ("return iter([('lost', losses(batch))])", "raised"),
    "twice": ("return iter([('loss', losses(batch))] * 2)", "ok"),
    "writes_to_what_it_gave": ("return overwritten(losses(batch))", "ok"),
    "floods": ("for _ in range(64): os.write(2, b'x' * 2**20)", "ok"),
    "takes_all_memory": ("while True: KEPT.append(np.ones(2**21))", "crashed"),
}
# For each call that changes the process: the change, and its message in the detail. All are ok.
LEFT = {
    "changes_a_setting": (
        "SETTINGS['default dtype'] = 'float64'",
        "setting default dtype from float32 to float64",
    ),
    "loses_its_settings": ("SETTINGS.clear()", "setting default dtype from float32 to none"),
    "rounds_up": ("ctypes.CDLL(None).fesetround(0x800)", "rounding from to nearest to up"),
    "makes_numpy_raise": ("np.seterr(all='raise')", "NumPy's handling of divide from warn to raise"),
    "sets_a_variable": ("os.environ['OMP_NUM_THREADS'] = '7'", "environment variable OMP_NUM_THREADS from none to 7"),
    "makes_warnings_errors": ("warnings.simplefilter('error')", "the filters of warnings from"),
    "ignores_a_signal": ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "the handler of signal SIGTERM from"),
    "sets_an_alarm": ("signal.alarm(60)", "an alarm to come from False to True"),
    "goes_elsewhere": ("os.chdir('/')", "the working folder from"),
    "closes_its_output": ("os.close(1)", "the files that output and errors go to from"),
    "leaks_memory": ("KEPT.append(np.ones(25 * 2**20))", ""),
    "leaks_files": ("KEPT.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(600))", ""),
    "leaks_threads": (
        "[threading.Thread(target=time.sleep, args=[3600], daemon=True).start() for _ in range(1500)]",
        "",
    ),
}
FAULTS |= {name: (line, "ok") for name, (line, _) in LEFT.items()}
# Each of these takes a process; `make test` tries another fault of the same kind.
FULL = {
    "segfaults", "ends_well", "holds_the_interpreter", "loses_its_settings", "makes_numpy_raise", "sets_a_variable",
    "makes_warnings_errors", "ignores_a_signal", "sets_an_alarm", "goes_elsewhere", "leaks_memory", "leaks_threads",
    "killed", "stops", "rounds_up",
}  # fmt: skip
NAMES = [pytest.param(name, marks=pytest.mark.full if name in FULL else []) for name in FAULTS]
FORMULAS = ["numpy/naive", "numpy/lse", "numpy/log1p"]
WITH_A_ZERO = "if (batch.logits == 0).any():"


@pytest.fixture(scope="module")
def faulty(tmp_path_factory, distribution):
    """Write a package with an entry point, as another distribution would."""
    site = tmp_path_factory.mktemp("site")
    functions = "\n".join(
        f"def {name}(batch):\n    {WITH_A_ZERO}\n        {line}\n    return losses(batch)\n"
        for name, (line, _) in FAULTS.items()
    )
    (site / "faulty.py").write_text(
        textwrap.dedent(
            """
            import ctypes, os, pathlib, re, signal, subprocess, threading, time, warnings
            import numpy as np
            from logitlab.frameworks import Framework, Implementation

            KEPT, SETTINGS = [], {{"default dtype": "float32"}}

            class Unheard(BaseException):
                pass

            class Wordless(Exception):
                def __str__(self):
                    raise Unheard

            def note(pid):
                (pathlib.Path(__file__).parent / f"{{pid}}.pid").touch()

            def overwritten(values):
                yield "loss", values
                values[:] = 0

            def losses(batch):
                x = batch.logits
                m = x.max(1)
                return np.log(np.exp(x - m[:, None]).sum(1)) + m - x[np.arange(len(x)), batch.targets]

            {functions}
            class Faulty(Framework):
                name = "faulty"
                def settings(self):
                    return dict(SETTINGS)
                def evaluate(self, implementation, batch, device, mode):
                    given = implementation.loss(batch)
                    yield from given if hasattr(given, "__next__") else [("loss", given)]
                def unsupported(self, error):
                    return isinstance(error, NotImplementedError)
                implementations = [
                    Implementation(f"faulty/{{f.__name__}}", "builtin", f, "numpy", differentiable=False)
                    for f in ({names},)
                ]

            FRAMEWORK = Faulty()
            """
        ).format(functions=functions, names=", ".join(FAULTS))
    )
    (site / "unimportable.py").write_text("import a_package_that_nobody_has\n")
    distribution(site, "faulty", "faulty = faulty:FRAMEWORK\nunimportable = unimportable:FRAMEWORK")
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(site))
    yield site
    patch.undo()


def measure(names, out):
    """Measure all faults in one run; they happen for rows with a zero, in the first of three cases."""
    return runner.run(
        cases=["gap/5_low", "seed/article", "seed/article_mean"], frameworks=["faulty", "numpy"],
        implementations=[*(f"faulty/{name}" for name in names), *FORMULAS], dtypes=["float32"], timeout=6,
        memory_limit=0.5, out=out,
    ).assign(out=str(out))  # fmt: skip


@pytest.fixture(scope="module")
def measured(faulty, tmp_path_factory):
    return measure([name for name in FAULTS if name not in FULL], tmp_path_factory.mktemp("faults") / "run")


@pytest.fixture(scope="module")
def table_of(faulty, measured, tmp_path_factory):
    """Return a function that gives the table of a fault; faults in `FULL` are measured on the first request."""

    @cache
    def others():
        return measure(FULL, tmp_path_factory.mktemp("others") / "run")

    return lambda name: others() if name in FULL else measured


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_is_a_row_with_its_kind(table_of, name):
    table = table_of(name)
    struck = table[(table["implementation"] == f"faulty/{name}") & table["case"].str.startswith("gap/")]
    assert set(struck["status"]) == {FAULTS[name][1]}
    assert len(struck) == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_affects_no_other_case(table_of, name):
    table = table_of(name)
    article = table[(table["implementation"] == f"faulty/{name}") & (table["case"] == "seed/article")]
    assert article["status"].to_list() == ["ok"] * 3
    assert article["value"].to_list() == pytest.approx([0.4170, 2000.0, 1.4076], abs=1e-4)


def test_a_fault_affects_no_other_framework(measured):
    numpy_rows = measured[measured["framework"] == "numpy"]
    assert set(numpy_rows["status"]) == {"ok"}
    assert set(numpy_rows["implementation"]) == set(FORMULAS)


def test_the_message_is_kept_on_one_line(measured):
    def message(name):
        rows = measured[(measured["implementation"] == f"faulty/{name}") & (measured["status"] != "ok")]
        return rows["detail"].iloc[0]

    assert message("raises") == "RuntimeError: no such [31mluck"
    assert message("raises_what_has_no_words") == "Wordless: no message, Unheard in __str__"
    assert message("exits") == "SystemExit: 3"
    # The signal is missing if the process died before it confirmed the call.
    assert message("aborts").startswith("the worker process died")
    assert message("hangs") == "no answer within 6 s"
    assert message("wrong_shape") == "TypeError: loss has shape (0,); expected (2,)"
    assert "int64" in message("wrong_dtype")
    assert message("a_list") == "TypeError: loss is a list; expected a NumPy array"
    assert message("wrong_name") == "ValueError: faulty returned 'lost'; expected loss"
    assert message("takes_all_memory") == "the worker process died (it exceeded its memory limit)"


@pytest.mark.parametrize("name", [param for param in NAMES if param.values[0] in LEFT])
def test_changes_made_by_a_call_are_reported_and_affect_no_other_call(table_of, measured, name):
    def of(table, implementation):
        return table[table["implementation"] == f"faulty/{implementation}"]

    rows = of(table_of(name), name)
    (struck,) = rows[rows["case"] == "gap/5_low"]["detail"].fillna("").unique()
    message = LEFT[name][1]
    assert struck.startswith(f"changed {message}") if message else not struck
    after, sound = (rows[rows["case"] == "seed/article"] for rows in (rows, of(measured, "sound")))
    assert after["detail"].isna().all()
    assert after["bits"].to_list() == sound["bits"].to_list()


def test_a_call_finds_its_process_as_the_first_did(faulty, tmp_path, evaluate):
    batch = Batch(np.zeros((1, 2), np.float32), np.zeros(1, np.int64))
    evaluation = worker.Evaluation("faulty", "faulty/sets_a_variable", batch)
    with pool.Pools(["faulty"], tmp_path) as pools:
        outcomes = evaluate(pools, "faulty", worker.call, [evaluation] * 2)
    assert [o.changed for o in outcomes] == [("environment variable OMP_NUM_THREADS from none to 7",)] * 2


def test_printed_output_is_kept_in_part(measured):
    log = Path(measured["out"].iloc[0]) / "logs" / "faulty.log"
    assert 2**20 < log.stat().st_size < 2**24
    assert b"LogitLab left out what was printed here" in log.read_bytes()


def test_processes_started_by_a_call_end_with_its_worker(faulty, measured, gone):
    pids = [int(file.stem) for file in faulty.glob("*.pid")]
    assert len(pids) >= 2
    assert all(gone(pid) for pid in pids)


def test_a_shared_call_loses_only_the_case_at_fault(faulty):
    """Both cases have three classes and share a call; only the first has a zero among its logits."""
    df = runner.run(
        cases=["overflow/float32_below", "seed/article"], implementations="faulty/aborts", frameworks="faulty",
        dtypes="float32",
    )  # fmt: skip
    status = df.groupby("case", observed=True)["status"].agg(lambda s: "/".join(sorted(set(s))))
    assert status.to_dict() == {"overflow/float32_below": "crashed", "seed/article": "ok"}


@pytest.mark.usefixtures("in_this_process")  # test_imports.py has imports in workers
def test_a_framework_that_cannot_be_imported_is_reported_and_not_fatal(faulty, tmp_path):
    frameworks = ["numpy", "unimportable"]
    plan = {"cases": "seed/article", "frameworks": frameworks, "implementations": "*/lse", "dtypes": "float32"}
    with pytest.warns(UserWarning, match="unimportable is not measured: cannot be imported: ModuleNotFoundError"):
        df = runner.run(**plan, out=tmp_path / "run")
    assert set(df["framework"]) == {"numpy"}
    manifest = runner.Run(tmp_path / "run").manifest
    assert "a_package_that_nobody_has" in manifest.missing["unimportable"]


@pytest.mark.usefixtures("in_this_process")
def test_the_reason_is_reported_when_nothing_is_left_to_run(faulty):
    with pytest.raises(UsageError, match="no chosen framework is installed: unimportable cannot be imported"):
        runner.run(cases="seed/article", frameworks=["unimportable"])


def test_the_frameworks_are_listed_without_importing_any(faulty):
    assert {"faulty", "unimportable", "numpy", "torch", "jax", "tensorflow"} <= set(registry.names())
    assert "faulty" not in sys.modules


class _BrokenOncePool:
    """A pool that breaks as pebble's does if its process dies after it takes a call and before it confirms it."""

    def __init__(self, pool, breaks):
        self.pool, self.breaks, self.active = pool, breaks, True

    def schedule(self, function, args, timeout):
        if not self.breaks(args):
            return self.pool.schedule(function, args=args, timeout=timeout)
        self.active = False
        future = Future()
        future.set_exception(BrokenProcessPool("All workers expired"))
        return future

    def stop(self):
        self.pool.stop()

    def join(self):
        self.pool.join()


@pytest.mark.full  # the run above has such calls, and others
def test_a_call_that_fails_is_an_outcome_and_the_next_is_answered(tmp_path, evaluate):
    outcome = "__import__('logitlab.execution.worker').execution.worker.Outcome(lacking=('loss',))"
    with pool.Pools(["numpy"], tmp_path, timeout=20.0) as pools:
        died, raised, sound = evaluate(pools, "numpy", eval, ["__import__('os').abort()", "1 / 0", outcome])
    assert (died.status, raised.status, sound.status) == ("crashed", "raised", "ok")
    assert died.detail.startswith("the worker process died")
    assert raised.detail == "ZeroDivisionError: division by zero"
    assert sound.lacking == ("loss",)


@pytest.mark.parametrize(
    "times", [pytest.param(1, marks=pytest.mark.full), 1000], ids=["once", "whenever it is called"]
)
def test_a_broken_pool_loses_only_the_call_that_breaks_it(monkeypatch, times):
    left = [times]

    def breaks(args):
        of_call = isinstance(args[0], worker.Evaluation) and args[0].implementation == "numpy/lse"
        struck = of_call and args[0].batch.reduction == "mean" and left[0] > 0
        left[0] -= struck
        return struck

    make = pool.ProcessPool
    monkeypatch.setattr(pool, "ProcessPool", lambda *a, **k: _BrokenOncePool(make(*a, **k), breaks))
    cases, formulas = ["seed/article", "seed/article_mean"], ["numpy/naive", "numpy/lse"]
    df = runner.run(cases=cases, implementations=formulas, dtypes="float32")
    struck = df[(df["implementation"] == "numpy/lse") & (df["case"] == "seed/article_mean")]
    assert set(struck["status"]) == ({"ok"} if times == 1 else {"crashed"})
    assert set(struck["quantity"]) == {"loss", "gradient"}
    assert set(df.drop(struck.index)["status"]) == {"ok"}
    assert len(df[df["quantity"] == "loss"]) == 2 * (3 + 1)
