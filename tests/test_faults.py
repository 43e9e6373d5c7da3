"""A framework that does everything wrong, and a run that loses nothing else by it."""

import sys
import textwrap
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import pytest

from logitlab import pool, runner, worker
from logitlab.errors import UsageError

FAULTS = {
    "sound": "return losses(batch)",
    "raises": "raise RuntimeError('no\\nsuch luck')",
    "exits": "raise SystemExit(3)",
    "lacks": "raise NotImplementedError('not here')",
    "interrupts": "raise KeyboardInterrupt",
    "raises_what_is_no_exception": "raise Unheard('of')",
    "aborts": "os.abort()",
    "segfaults": "ctypes.string_at(0)",
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "hangs": "time.sleep(3600)",
    "holds_the_interpreter": "re.match('(a+)+$', 'a' * 64 + 'b')",
    "stops": "os.kill(os.getpid(), signal.SIGSTOP)",
    "forks": "os.fork(); return losses(batch)",
    "forks_and_raises": "if os.fork() == 0: raise RuntimeError('in the copy')\n        return losses(batch)",
    "wrong_shape": "return losses(batch)[:0]",
    "wrong_dtype": "return losses(batch).astype(int)",
    "wrong_type": "return 'seven'",
    "floods": "os.write(2, b'x' * 1_000_000); return losses(batch)",
}
WITH_A_ZERO = "if (batch.logits == 0).any():"


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A package with an entry point in the group, as another distribution would bring it."""
    site = tmp_path_factory.mktemp("site")
    functions = "\n".join(
        f"def {name}(batch):\n    {WITH_A_ZERO}\n        {line}\n    return losses(batch)\n"
        for name, line in FAULTS.items()
    )
    (site / "faulty.py").write_text(
        textwrap.dedent(
            """
            import ctypes, os, re, signal, time
            import numpy as np
            from logitlab.frameworks import Implementation

            class Unheard(BaseException):
                pass

            def losses(batch):
                x = batch.logits
                m = x.max(1)
                return np.log(np.exp(x - m[:, None]).sum(1)) + m - x[np.arange(len(x)), batch.targets]

            {functions}
            class Faulty:
                name = "faulty"
                def devices(self):
                    return ("cpu",)
                def evaluate(self, implementation, batch, device, mode):
                    yield "loss", implementation.loss(batch)
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
    info = site / "faulty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[logitlab.frameworks]\nfaulty = faulty:FRAMEWORK\nunimportable = unimportable:FRAMEWORK\n"
    )
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(site))
    yield site
    patch.undo()


@pytest.fixture(scope="module")
def measured(faulty):
    """The faults strike rows of width 2 with a zero in them, one of four cases, all in one run."""
    cases = ["gap/5_low", "gap/10_low", "seed/article", "seed/article_mean"]
    return runner.run(cases=cases, frameworks=["faulty", "numpy"], dtypes=["float32"], timeout=4)


STATUS = {
    "sound": "ok",
    "raises": "raised",
    "exits": "raised",
    "lacks": "unsupported",
    "interrupts": "raised",
    "raises_what_is_no_exception": "raised",
    "aborts": "crashed",
    "segfaults": "crashed",
    "killed": "crashed",
    "hangs": "timeout",
    "holds_the_interpreter": "timeout",
    "stops": "timeout",
    "forks": "ok",
    "forks_and_raises": "ok",
    "wrong_shape": "raised",
    "wrong_dtype": "raised",
    "wrong_type": "raised",
    "floods": "ok",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_a_row_with_its_kind(measured, name):
    struck = measured[(measured["implementation"] == f"faulty/{name}") & measured["case"].str.startswith("gap/")]
    assert set(struck["status"]) == {STATUS[name]}
    assert len(struck) == 4


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_costs_no_other_case(measured, name):
    article = measured[(measured["implementation"] == f"faulty/{name}") & (measured["case"] == "seed/article")]
    assert article["status"].to_list() == ["ok"] * 3
    assert article["value"].to_list() == pytest.approx([0.4170, 2000.0, 1.4076], abs=1e-4)


def test_a_fault_reaches_no_other_framework(measured):
    numpy_rows = measured[measured["framework"] == "numpy"]
    assert set(numpy_rows["status"]) == {"ok"}
    assert set(numpy_rows["implementation"]) >= {"numpy/naive", "numpy/lse", "numpy/log1p"}


def test_the_message_is_kept_on_one_line(measured):
    def told(name):
        rows = measured[(measured["implementation"] == f"faulty/{name}") & (measured["status"] != "ok")]
        return rows["detail"].iloc[0]

    assert told("raises") == "RuntimeError: no such luck"
    assert told("exits") == "SystemExit: 3"
    # Without its signal where the process died before it had said that it took the call.
    assert told("aborts").startswith("the worker process died")
    assert told("killed").startswith("the worker process died")
    assert told("hangs") == "no answer within 4 s"
    assert told("wrong_shape") == "TypeError: loss came with shape (0,); expected (2,)"
    assert "int64" in told("wrong_dtype")


def test_only_the_case_at_fault_is_lost_of_a_shared_call(faulty):
    """Both cases have three classes and share a call; only the first has a zero among its logits."""
    df = runner.run(
        cases=["overflow/float32_below", "seed/article"], implementations=["faulty/aborts"], frameworks=["faulty"]
    )
    status = df.groupby("case", observed=True)["status"].agg(lambda s: "/".join(sorted(set(s))))
    assert status.to_dict() == {"overflow/float32_below": "crashed", "seed/article": "ok"}


def test_a_framework_that_cannot_be_imported_is_reported_and_not_fatal(faulty, tmp_path):
    df = runner.run(
        cases="seed/article", frameworks=["numpy", "unimportable"], dtypes=["float32"], out=tmp_path / "run"
    )
    assert set(df["framework"]) == {"numpy"}
    manifest = runner.Run(tmp_path / "run").manifest
    assert "a_package_that_nobody_has" in manifest["missing"]["unimportable"]


def test_with_nothing_left_to_run_the_reason_is_told(faulty):
    with pytest.raises(UsageError, match="nothing to run: unimportable cannot be imported"):
        runner.run(cases="seed/article", frameworks=["unimportable"])


def test_the_frameworks_are_listed_without_importing_any(faulty):
    assert {"faulty", "unimportable", "numpy", "torch", "jax", "tensorflow"} <= set(worker.names())
    assert "faulty" not in sys.modules


class _BrokenOncePool:
    """A pool that breaks as pebble's does when its process dies between taking a call and having said so."""

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


def test_a_single_call_that_fails_is_an_outcome_and_the_next_is_answered(tmp_path):
    with pool.Pools(["numpy"], tmp_path, timeout=20.0) as pools:
        died = pools.answer("numpy", eval, ["__import__('os').abort()"])
        raised = pools.answer("numpy", eval, ["1 / 0"])
        sound = pools.answer("numpy", eval, ["__import__('logitlab.worker').worker.Outcome((), ('loss',))"])
    assert (died.status, raised.status, sound.status) == ("crashed", "raised", "ok")
    assert died.detail.startswith("the worker process died")
    assert raised.detail == "ZeroDivisionError: division by zero"
    assert sound.lacking == ("loss",)


@pytest.mark.parametrize("times", [1, 1000], ids=["once", "whenever it is called"])
def test_a_broken_pool_costs_no_more_than_the_call_that_breaks_it(monkeypatch, times):
    left = [times]

    def breaks(args):
        struck = len(args) > 1 and args[1] == "numpy/lse" and args[2].reduction == "mean" and left[0] > 0
        left[0] -= struck
        return struck

    make = pool.ProcessPool
    monkeypatch.setattr(pool, "ProcessPool", lambda *a, **k: _BrokenOncePool(make(*a, **k), breaks))
    formulas = ["numpy/naive", "numpy/lse", "numpy/log1p"]
    df = runner.run(cases=["seed/*", "gap/5_*"], implementations=formulas, dtypes="float32")
    struck = df[(df["implementation"] == "numpy/lse") & df["case"].isin(["seed/article_mean", "seed/mild_mean"])]
    assert set(struck["status"]) == ({"ok"} if times == 1 else {"crashed"})
    assert set(struck["quantity"]) == {"loss", "gradient"}
    assert set(df.drop(struck.index)["status"]) == {"ok"}
    assert len(df[df["quantity"] == "loss"]) == 3 * (3 + 1 + 1 + 1 + 2 + 2)
