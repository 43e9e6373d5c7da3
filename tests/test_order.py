"""The order of a run's calls, which worker makes its calls next, and the report that comes before the run ends."""

import re
import time
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logitlab import runner
from logitlab.cases import make
from logitlab.cli import _run_report, main
from logitlab.core.formats import FORMATS
from logitlab.execution import _queues
from logitlab.execution._queues import Queue, goes_on, next_to_start
from logitlab.execution.plan import Cell, PlannedCall, groups, ordered
from logitlab.execution.registry import ImplementationInfo
from logitlab.execution.request import Request
from logitlab.execution.worker import Outcome
from logitlab.storage.store import Run

PLAN = {"cases": ["seed/*", "gap/5_*"], "implementations": ["numpy/lse", "numpy/naive"]}


def cell(name, dtype="float32", mode="eager"):
    framework = name.split("/", maxsplit=1)[0]
    return Cell(framework, ImplementationInfo(name, "lse", framework, "1", ("eager", "compiled")), dtype, "cpu", mode)


cells = st.lists(
    st.builds(
        cell,
        st.sampled_from(["a/x", "a/y", "b/x"]),
        st.sampled_from(list(FORMATS)),
        st.sampled_from(["eager", "compiled"]),
    ),
    unique=True,
)


@given(cells, st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_every_call_is_made_once_dtype_by_dtype_and_width_by_width(some, widths):
    cases = [make(f"some/{i}", "A row.", np.zeros((1, width)), np.array([0])) for i, width in enumerate(widths)]
    grouped = {dtype: groups(cases, FORMATS[dtype]) for dtype in {c.dtype for c in some}}
    calls = [PlannedCall(c, group) for c in some for group in grouped[c.dtype]]
    found = ordered(calls)
    assert sorted(map(id, found)) == sorted(map(id, calls))
    for key in {c.worker_key for c in some}:
        kinds = [call.kind for call in found if call.cell.worker_key == key]
        changes = [kinds[0], *(now for before, now in pairwise(kinds) if now != before)]
        assert len(changes) == len(set(kinds)), "a dtype and width is left and comes again"
        dtypes = list(dict.fromkeys(dtype for dtype, _ in changes))
        assert "float32" not in dtypes[1:]
        for dtype in dtypes:
            assert [width for d, width in changes if d == dtype] == sorted({width for d, width in kinds if d == dtype})


@dataclass
class _Waiting:
    cell: Cell
    kind: object = 0


def queue(name, count=1, dtype="float32", mode="eager"):
    one = Queue(f"{name}-{mode}")
    one.waiting.extend(_Waiting(cell(f"{name}/x", dtype, mode)) for _ in range(count))
    return one


def busy(one):
    one.running["a future"] = one.waiting[0]
    return one


def test_no_more_workers_compute_than_requested_and_the_longest_work_starts_first():
    short, long = queue("a", 2, "float16"), queue("b", 9, "float16")
    compiled = queue("a", 2, mode="compiled")
    assert next_to_start([short, long, compiled], 2) == [compiled, long]
    assert next_to_start([busy(compiled), short, long], 2) == [long]
    assert next_to_start([compiled, busy(short), long], 2) == []


def answered(one, seconds):
    """Return the queue after one call, whose answer took this long."""
    one._since = time.monotonic() - seconds
    one.answered(one.waiting[0], Outcome())
    return one


def test_of_three_workers_one_is_the_quickest_whose_grading_would_else_come_last():
    longest, long = (answered(queue(name, count, "float16"), 1) for name, count in (("a", 90), ("b", 80)))
    middle, quick = (answered(queue(name, 70, "float16"), seconds) for name, seconds in (("c", 0.5), ("d", 0.1)))
    assert next_to_start([quick, middle, long, longest], 2) == [longest, long]
    assert next_to_start([quick, middle, long, longest], 3) == [longest, long, quick]
    untried = queue("e", 1, "float16")
    assert next_to_start([untried, quick, busy(queue("f")), busy(queue("g"))], 3) == [untried]
    assert next_to_start([busy(quick), middle, long, longest], 3) == [longest, long]
    assert next_to_start([middle, busy(quick), busy(long), longest], 3) == [longest]


def test_eager_float32_comes_before_all_else_however_short_it_is():
    first, rest = queue("a"), busy(queue("b", 100, "float16"))
    assert not goes_on(rest, [first, rest])
    assert next_to_start([first, queue("c", 100, "float16")], 1) == [first]
    assert goes_on(rest, [busy(first), rest])


def test_a_worker_that_grew_is_replaced_where_a_width_begins_and_not_within_it():
    one = queue("a")
    small, large = (Outcome(resident=size) for size in (2**29, _queues.MAX_RESIDENT + 1))
    narrow, wide = _Waiting(cell("a/x"), "narrow"), _Waiting(cell("a/x"), "wide")
    answers = [(narrow, small), (narrow, large), (wide, large), (wide, large), (narrow, large)]
    # The last value belongs to the next process, which is as large from its first call: a new one would not help.
    assert [one.answered(*answer) for answer in answers] == [False, False, True, False, False]


def test_the_first_look_comes_when_eager_float32_is_complete_and_the_run_is_not(tmp_path):
    seen = []

    def look(run):
        seen.append(Run(run.folder).read())

    request = Request(**PLAN, dtypes=["float16", "float32"])
    whole = runner.execute(request, tmp_path / "run", first_look=look).read()
    (early,) = seen
    assert set(early["dtype"]) == {"float32"}
    pd.testing.assert_frame_equal(
        early, whole[whole["dtype"] == "float32"].reset_index(drop=True), check_categorical=False
    )
    runner.execute(replace(request, dtypes="float32"), tmp_path / "float32 alone", first_look=look)
    assert len(seen) == 1


class _InterruptedError(Exception):
    pass


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("share", [0.2, 0.7], ids=["in the first dtype", "in the second"])
def test_a_run_interrupted_before_or_after_the_first_look_resumes_to_the_same_table(tmp_path, share):
    plan = {**PLAN, "dtypes": ["float16", "float32"]}
    whole = runner.run(**plan)

    def stop(done, total, label):
        if done > share * total:
            raise _InterruptedError

    with pytest.raises(_InterruptedError):
        runner.run(**plan, out=tmp_path / "run", progress=stop)
    kept = Run(tmp_path / "run").read()
    assert set(kept["dtype"]) == (set() if share < 0.5 else {"float32"})
    resumed = runner.run(**plan, out=tmp_path / "run", resume=True)
    pd.testing.assert_frame_equal(resumed.drop(columns="run"), whole.drop(columns="run"))


@pytest.mark.full
def test_the_first_report_says_that_the_run_continues_and_the_last_one_does_not(tmp_path, capsys, monkeypatch):
    seen = []
    start = _run_report.ReportsOfRun.start_first

    def start_and_wait(reports, run):
        start(reports, run)
        assert reports._writing.wait() == 0
        seen.append((run.folder / "report" / "report.txt").read_text())

    monkeypatch.setattr(_run_report.ReportsOfRun, "start_first", start_and_wait)
    words = ["--case", "seed/article", "--implementation", "numpy/lse", "--dtype", "float16", "--dtype", "float32"]
    assert main(["run", "--report", *words, "--out", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr()
    first = tmp_path / "run" / "report" / "report.txt"
    assert f"The first report, of float32 in eager mode, is {first}; the run continues." in shown.err
    assert "The report is " in shown.out
    (early,) = seen
    partial = r"This report is partial: The run run is not complete: [12] of its 2 cells are measured"
    assert re.search(partial, " ".join(early.split()))
    assert "partial" not in first.read_text()
