"""How `check` presents rows: few shapes where each is compiled, equal answers graded once, progress, Ctrl-C."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch.nn.functional as F  # noqa: N812 - its name everywhere

import logitlab
from logitlab.cases import select_cases
from logitlab.cli import main
from logitlab.core.formats import get_format
from logitlab.studies.check.batches._again import presented_again
from logitlab.studies.check.batches._chosen import chosen_cases
from logitlab.studies.check.batches._rows import batches, number_of_batches
from logitlab.studies.check.batches._seeded import FEW_WIDTHS
from logitlab.studies.check.forms._named import load_framework
from logitlab.studies.check.measuring._lines import table
from logitlab.studies.check.measuring._loss import Candidate
from logitlab.studies.check.measuring._measure import measure

FLOAT32 = get_format("float32")
GLOBS = ["seed/*", "masks/*", "layout/*", "check/width_5", "check/width_65", "check/gaps_5"]
CATALOGUE = chosen_cases(GLOBS, (), few_shapes=False)


def sound(x, t):
    return F.cross_entropy(x, t, reduction="none")


def by_the_batch(x, t):
    """A loss that is wrong in large batches, for a single row, and beside NaN."""
    rows = sound(x, t)
    return rows * 1.01 if len(x) > 1000 or len(x) == 1 else rows + 0 * rows.sum()


def each_way(cases, *, few_shapes):
    for rows in batches(cases, FLOAT32, few_shapes=few_shapes):
        yield rows
        yield from presented_again(rows, few_shapes=few_shapes)


@pytest.mark.parametrize("few_shapes", [False, True])
def test_an_answer_that_is_not_graded_again_has_the_lines_that_it_would_get(few_shapes):
    candidate = Candidate("by_the_batch", load_framework("torch"), by_the_batch, None, "cpu", "eager")
    # Rows without an origin are graded again.
    for rows in each_way([case for case in CATALOGUE if case.classes in (5, 65)], few_shapes=few_shapes):
        once, again = (table(measure(candidate, r)) for r in (rows, replace(rows, origin=None)))
        assert once.equals(again), str(rows.how)


def test_the_batches_of_a_width_have_few_shapes_where_each_is_compiled():
    def shapes(few_shapes):
        found = {}
        for rows in each_way(CATALOGUE, few_shapes=few_shapes):
            found.setdefault(rows.classes, set()).update(len(batch.logits) for batch in rows.batches)
        return found

    many, few = shapes(False), shapes(True)
    assert many.keys() == few.keys()
    assert len(few[65]) == 1
    assert len(few[128]) == 2, "all rows, and a row alone"
    assert all(len(few[classes]) < len(many[classes]) for classes in (5, 65, 128))


def test_few_shapes_present_every_row_in_every_way():
    def rows_and_ways(few_shapes):
        rows, ways = set(), set()
        for presented in each_way(CATALOGUE, few_shapes=few_shapes):
            rows.update(zip(presented.ids, presented.numbers, strict=True))
            ways.add((presented.how.call, presented.how.arrangement))
        return rows, ways

    assert rows_and_ways(False) == rows_and_ways(True)


def test_a_copy_that_fills_a_batch_up_counts_as_its_row():
    candidate = Candidate("sound", load_framework("torch"), sound, None, "cpu", "eager")

    def counted(few_shapes):
        lines = [measure(candidate, rows) for rows in batches(CATALOGUE, FLOAT32, few_shapes=few_shapes)]
        return table([line for some in lines for line in some])[["case", "row", "quantity", "grade"]]

    assert counted(False).equals(counted(True))


@pytest.fixture
def widths(monkeypatch):
    """Return the widths that `seen` is checked on, in a PyTorch declared to compile each shape."""
    monkeypatch.setattr(type(load_framework("torch")), "compiles_shapes", lambda self, mode: True)
    return set()


def seen(widths):
    def loss(x, t):
        widths.add(x.shape[1])
        return sound(x, t)

    return loss


def fewer_widths():
    return {*FEW_WIDTHS, *(case.classes for case in select_cases() if case.plain)}


def test_jax_gets_fewer_widths_unless_others_are_named(widths):
    logitlab.check(seen(widths), "torch", "float32", cases="check/width_6")
    assert widths == {6}
    few, totals = chosen_cases(None, (), few_shapes=True), set()
    assert {case.classes for case in few} == fewer_widths()

    def stop(done, total, label):
        totals.add(total)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        logitlab.check(sound, "torch", "float32", progress=stop)
    assert totals == {number_of_batches(few, FLOAT32)}


@pytest.mark.full
def test_only_jax_meets_fewer_widths(widths):
    logitlab.check(seen(widths), "torch", "float32")
    assert widths == fewer_widths()


# --- progress, the first failure, Ctrl-C ------------------------------------------------------------------------


def wrong_from_five_classes(x, t):
    return sound(x, t) * (1.01 if x.shape[1] >= 5 else 1.0)


WIDTHS = ["check/width_2", "check/width_3", "check/width_5", "check/width_6"]


def test_progress_and_the_first_failure_are_reported_as_they_come():
    seen = []
    result = logitlab.check(
        wrong_from_five_classes, "torch", "float32", cases=WIDTHS,
        progress=lambda done, total, label: seen.append((done, total, label)), on_failure=seen.append,
        run_script=False,
    )  # fmt: skip
    assert seen[:3] == [(n, 4, f"float32, {c} classes") for n, c in enumerate((2, 3, 5))]
    assert seen[3] == "check/width_5[0] in float32: loss has grade D (inaccurate)"
    assert seen[4] == (3, 4, "float32, 6 classes"), "it continues after the first failure"
    assert seen[5][2] == "looking for the smallest input that fails"
    assert result.complete


def interrupted_at_six(loss):
    def interrupted(x, t):
        if x.shape[1] == 6:
            raise KeyboardInterrupt
        return loss(x, t)

    return interrupted


@pytest.mark.full
def test_ctrl_c_after_a_failure_gives_the_result_so_far():
    result = logitlab.check(interrupted_at_six(wrong_from_five_classes), "torch", "float32", cases=WIDTHS)
    assert not result.passed
    assert not result.complete
    assert set(result.lines["classes"]) == {2, 3, 5}
    assert "Stopped before the end" in str(result)
    assert result.script is not None


def test_ctrl_c_before_a_failure_reports_nothing_about_the_loss():
    with pytest.raises(KeyboardInterrupt):
        logitlab.check(interrupted_at_six(sound), "torch", "float32", cases=WIDTHS)


@pytest.mark.full
def test_the_command_shows_the_first_failure(tmp_path, monkeypatch, capsys):
    (tmp_path / "halved.py").write_text(
        "import torch\n\ndef loss(x, t):\n    return torch.nn.functional.cross_entropy(x, t, reduction='none') / 2\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["check", "halved:loss", "--framework", "torch", "--dtype", "float32", "--case", "seed/*"]) == 1
    shown = capsys.readouterr()
    assert "first failure: seed/article[" in shown.err
    assert "first failure" not in shown.out
