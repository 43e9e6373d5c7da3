"""Bitwise invariance: what changes a row's bits is named, by `check --bitwise` and by `run --bitwise`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import logitlab
from logitlab.cli import main
from logitlab.core import interpreting
from logitlab.core.bitwise import Property
from logitlab.core.formats import FORMATS, get_format
from logitlab.core.vocabulary import Status
from logitlab.execution import registry, variants
from logitlab.execution.bitwise import LINES, Plan, Rows, planned_call, ulps_apart
from logitlab.execution.bitwise import _cells as cells
from logitlab.execution.worker import Outcome
from logitlab.storage.store import Run
from logitlab.storage.verification import verify
from logitlab.studies.audit import corpus
from logitlab.studies.audit.corpus.torch_more import bitwise as torch_bitwise

torch = pytest.importorskip("torch")
CORPUS = list(corpus.planted_in(torch_bitwise))
DEFECTS, SOUND = [p for p in CORPUS if p.wrong], [p for p in CORPUS if not p.wrong]
PLAIN = {"max_classes": 300, "run_script": False, "bitwise": True}
WORDS = (
    "torch {version} was measured: `torch.logsumexp` divides the classes of a row alone among threads, and "
    "`F.cross_entropy` gives each row to one thread. If that has changed, change docs/how-to/bitwise.md and this test"
)


def broken(result):
    """Return the pairs of property and quantity with other bits."""
    changed = result.lines[result.lines["different"] > 0]
    return set(zip(changed["property"], changed["quantity"], strict=True))


# --- the distance and the rows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_distance_counts_the_numbers_between(dtype):
    one = np.array([1.0, -1.0, 0.0, 2.0], FORMATS[dtype].dtype)
    unsigned = f"u{one.itemsize}"
    above = (one.view(unsigned) + 3).view(one.dtype)  # three steps away from 0
    assert ulps_apart(one, above).tolist() == [3, 3, 3, 3]
    assert ulps_apart(above, one).tolist() == [3, 3, 3, 3]
    assert ulps_apart(one, one.copy()).tolist() == [0, 0, 0, 0]


def test_the_distance_of_special_values():
    nan, inf = np.nan, np.inf
    one = np.array([[nan, 1], [nan, 1], [inf, 1], [inf, 1], [0.0, 1]])
    other = np.array([[nan, 1], [1.0, 1], [inf, 1], [1.0, 1], [-0.0, 1]])
    assert ulps_apart(one, other).tolist() == [0, inf, 0, inf, 1]
    assert ulps_apart(one, other.astype(np.float32)).tolist() == [inf] * 5
    tiny = np.array([5e-324])
    assert ulps_apart(tiny, -tiny).tolist() == [3]  # -tiny, -0, 0, tiny


def test_the_rows_are_those_of_the_lines_of_a_program():
    names = {"np": np, "classes": 300}
    exec("\n".join(LINES), names)  # noqa: S102 - the lines of LogitLab
    rows = Rows.of(300, get_format("float32"))
    assert np.array_equal(rows.logits, names["logits"])
    assert rows.logits.dtype == np.float32
    assert np.array_equal(rows.targets, names["targets"])
    assert np.isfinite(rows.logits[:64]).all()


def test_some_rows_have_losses_that_show_the_last_bits_of_a_sum():
    rows = Rows.of(50_257, get_format("float64"))
    loss = logitlab.reference(rows.logits[2:3], rows.targets[2:3]).loss.hi
    assert np.allclose(loss, np.log(2), atol=0.05)


@pytest.mark.parametrize("plan", [Plan(threads=(1, 2)), Plan(rows=5, max_rows=5), Plan(few_shapes=True, large=False)])
def test_the_code_of_a_call_gives_its_rows(plan):
    calls = [plan.base, *plan.singles, *plan.others(300)]
    for number, call in enumerate(calls):
        assert np.array_equal(eval(call.code, {"np": np}), call.rows)  # noqa: S307 - an expression of LogitLab
        assert planned_call(plan, 300, number).words == call.words
    assert max(len(call.rows) for call in calls) <= (plan.max_rows or 2000)
    assert {call.kind for call in calls} >= set(Property) - {Property.THREADS} - {Property.AMONG}


# --- planted defects and sound losses --------------------------------------------------------------------------


@pytest.mark.parametrize("planted", DEFECTS, ids=lambda planted: planted.name)
def test_a_planted_defect_is_named(planted):
    result = logitlab.check(planted.loss, "torch", planted.dtypes, **PLAIN)
    assert not result.passed
    assert (planted.breaks, planted.wrong) in broken(result), str(result)
    if planted.wrong == "gradient":
        assert {quantity for _, quantity in broken(result)} == {"gradient"}, str(result)
    held = result.properties.set_index("property")["held"]
    assert not held[planted.breaks]
    assert planted.breaks in str(result)


def test_what_does_not_change_the_bits_is_not_named():
    for planted, kept in (
        ("odd_rows_are_summed_in_another_order", {"neighbours", "threads", "repeated"}),
        ("the_gradient_depends_on_the_neighbours_by_one_ulp", {"alone", "among others", "position", "threads"}),
        ("the_sum_has_a_part_for_each_thread", {"alone", "among others", "position", "neighbours", "repeated"}),
    ):
        result = logitlab.check(getattr(torch_bitwise, planted), "torch", "float32", **PLAIN)
        assert not {name for name, _ in broken(result)} & kept, str(result)


def test_one_ulp_is_counted_as_one_ulp():
    loss = torch_bitwise.the_gradient_depends_on_the_neighbours_by_one_ulp
    result = logitlab.check(loss, "torch", "float32", **PLAIN)
    assert result.failures["max_ulp"].max() == 1
    assert "at most 1 ulp" in " ".join(str(result).split())


@pytest.mark.parametrize("planted", SOUND, ids=lambda planted: planted.name)
def test_a_sound_loss_passes(planted):
    result = logitlab.check(planted.loss, "torch", planted.dtypes, **PLAIN)
    assert result.passed, str(result)
    assert set(result.lines["property"]) == set(Property)
    assert set(result.lines["quantity"]) == {"loss", "gradient"}
    assert result.script is None


def log_sum(x, t):
    return torch.logsumexp(x, 1) - x.gather(1, t[:, None])[:, 0]


@pytest.mark.pinned
@pytest.mark.parametrize(
    "more",
    [(), pytest.param((torch_bitwise.a_sum_in_a_fixed_order,), marks=pytest.mark.full)],
    ids=["built-in", "more"],
)
def test_the_log_sum_of_a_vocabulary_is_not_invariant_and_the_built_in_loss_is(more):
    message = WORDS.format(version=torch.__version__)
    # Few rows show it: the row alone is in each batch.
    asked = {"dtypes": "float32", "min_classes": 50_257, "max_rows": 5, "bitwise": True, "run_script": False}
    result = logitlab.check(log_sum, "torch", **asked)
    # The row alone with 1 and with 2 threads: the number of cores does not decide.
    assert ("threads", "loss") in broken(result), f"{message}\n{result}"
    for sound in (torch_bitwise.built_in, *more):
        result = logitlab.check(sound, "torch", **asked)
        assert result.passed, f"{message}\n{result}"


def test_the_number_of_threads_is_as_before():
    before = torch.get_num_threads()
    logitlab.check(torch_bitwise.built_in, "torch", "float32", max_classes=5, bitwise=True)
    assert torch.get_num_threads() == before


# --- the other side of a check ---------------------------------------------------------------------------------


@pytest.mark.full  # each program imports PyTorch; the command line below runs one of NumPy
@pytest.mark.parametrize(
    "name",
    [
        "odd_rows_are_summed_in_another_order",
        "the_gradient_depends_on_the_neighbours_by_one_ulp",
        "the_sum_has_a_part_for_each_thread",
        "the_last_bit_is_left_to_chance",
        "noise_depends_on_the_batch_size",
    ],
)
def test_the_program_shows_the_difference(name, tmp_path):
    loss = getattr(torch_bitwise, name)
    result = logitlab.check(loss, "torch", "float32", max_classes=300, bitwise=True)
    assert result.program.shows, str(result)
    assert "numbers differ" in result.program.run.printed
    assert "logitlab" not in result.script.replace(f"from {torch_bitwise.__name__}", "")


@pytest.mark.full
def test_a_difference_that_a_new_process_does_not_show_is_reported_so():
    calls = []

    def later(x, t):
        calls.append(len(x))
        return torch_bitwise.built_in(x, t) * (1 + 1e-6 * (len(calls) > 5))

    result = logitlab.check(later, "torch", "float32", max_classes=5, bitwise=True)
    assert not result.passed
    assert not result.program.shows
    assert "In a new process" in str(result)


def test_a_loss_that_differs_in_equal_calls_is_reported_as_such():
    result = logitlab.check(torch_bitwise.the_last_bit_is_left_to_chance, "torch", "float32", **PLAIN)
    assert "Equal calls differ: a race, or random numbers." in str(result)
    assert "for _ in range(200):" in result.script
    other = logitlab.check(torch_bitwise.odd_rows_are_summed_in_another_order, "torch", "float32", **PLAIN)
    assert "Equal calls differ" not in str(other)
    assert interpreting.NOTE not in " ".join(str(other).split())
    assert interpreting.NOTE in " ".join(str(replace(other, mode="interpreted")).split())


def test_logits_with_positions_and_onehot_targets():
    def loss(logits, targets):  # (b, t, C)
        found = (logits.logsumexp(-1) - (logits * targets).sum(-1)) if logits.shape[1] < 2 else None
        return found if found is not None else -(targets * logits.log_softmax(-1)).sum(-1)

    result = logitlab.check(loss, "torch", "float32", layout="btc", targets="onehot", **PLAIN)
    assert ("alone", "loss") in broken(result)
    assert "shapes = {" in result.script


def by_hand(x, t):
    shifted = x - x.max(1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    p[np.arange(len(t)), t] -= 1
    return p


def in_numpy(x, t):
    top = x.max(1)
    return np.log(np.exp(x - top[:, None]).sum(1)) + top - x[np.arange(len(t)), t]


def test_a_gradient_by_hand_is_compared_and_threads_are_reported_as_not_tried():
    result = logitlab.check(in_numpy, "numpy", "float32", gradient=by_hand, **PLAIN)
    assert result.passed, str(result)
    assert set(result.lines["quantity"]) == {"loss", "gradient"}
    assert "threads" not in set(result.lines["property"])
    assert "Other numbers of threads were not tried" in str(result)

    def shared(x, t):
        return by_hand(x, t) * np.float32(1 + 1e-6 * (x.max() > 200))

    result = logitlab.check(in_numpy, "numpy", "float32", gradient=shared, **PLAIN)
    assert broken(result) == {("neighbours", "gradient")}


def test_a_loss_that_raises_for_some_batches_fails():
    def picky(x, t):
        if len(x) == 2:
            raise ValueError("two rows")
        return in_numpy(x, t)

    result = logitlab.check(picky, "numpy", "float32", **PLAIN)
    assert not result.passed
    assert "two rows" in str(result)
    with pytest.raises(logitlab.UsageError, match=r"cannot compare the bits of .*two rows"):
        logitlab.check(picky, "numpy", "float32", max_rows=2, **PLAIN)


@pytest.mark.parametrize(
    "given", [{"require": "A"}, {"returns": "mean"}, {"problem": "linear"}, {"cases": "seed/*"}, {"huge": True}]
)
def test_arguments_of_grades_are_refused(given):
    (name,) = given
    with pytest.raises(logitlab.UsageError, match=f"{name} does not apply to a check of bits"):
        logitlab.check(in_numpy, "numpy", bitwise=True, **given)


def test_the_command_line_ends_with_0_or_1_and_writes_the_report(tmp_path, monkeypatch, capsys):
    (tmp_path / "bits_of_mine.py").write_text(
        "import numpy as np\n"
        "from scipy.special import logsumexp\n"
        "def sound(x, t):\n    return logsumexp(x, 1) - x[np.arange(len(t)), t]\n"
        "def by_size(x, t):\n    return sound(x, t) * np.float32(1 + 1e-6 * (len(t) == 7))\n"
    )
    monkeypatch.chdir(tmp_path)
    asked = ["--framework", "numpy", "--dtype", "float32", "--bitwise", "--max-classes", "300"]
    assert main(["check", "bits_of_mine.py:sound", *asked]) == 0
    assert "passed, equal bits required" in capsys.readouterr().out
    assert main(["check", "bits_of_mine.py:by_size", *asked, "--out", "kept"]) == 1
    printed = capsys.readouterr().out
    assert "among others (the row in a smaller or larger batch)" in printed
    assert "In a new process it prints:" in printed
    assert "numbers differ" in printed
    assert "logitlab" not in (tmp_path / "kept" / "reproduce.py").read_text()
    assert "in row" in printed
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {
        "report.txt", "failures.csv", "properties.csv", "reproduce.py"
    }  # fmt: skip


def test_a_users_test_can_assert_equal_bits():
    logitlab.assert_conforms(in_numpy, "numpy", "float32", **PLAIN)
    with pytest.raises(AssertionError, match="equal bits required"):
        logitlab.assert_conforms(torch_bitwise.odd_rows_are_summed_in_another_order, "torch", "float32", **PLAIN)


# --- runs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def narrow(monkeypatch, in_this_process, tmp_path):
    """Runs in this process, whose trials have two narrow widths, in a folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cells, "WIDTHS", (5, 300))


RUN = {"cases": "seed/article", "dtypes": "float32", "modes": "eager", "implementations": ["numpy/lse", "torch/lse"]}


def test_a_run_keeps_a_table_of_its_own(narrow, tmp_path, capsys):
    measured = logitlab.run(out=tmp_path / "run", bitwise=True, **RUN)
    plain = logitlab.run(out=tmp_path / "plain", **RUN)
    assert len(measured) == len(plain)
    assert logitlab.bitwise(tmp_path / "plain").empty
    assert "bitwise" not in logitlab.tables(tmp_path / "plain")
    lines = logitlab.bitwise(tmp_path / "run")
    assert set(lines["implementation"]) == {"numpy/lse", "torch/lse"}
    assert set(lines["classes"]) == {5, 300}
    assert set(lines[lines["implementation"] == "torch/lse"]["property"]) == set(Property)
    assert lines["status"].eq("ok").all()
    table = logitlab.tables(tmp_path / "run")["bitwise"].set_index("implementation")
    assert table.loc["numpy/lse", "bits"] == "invariant"
    assert table.loc["numpy/lse", "threads"] == ""
    assert table.loc["numpy/lse", "alone"] == "equal"
    assert main(["report", str(tmp_path / "run")]) == 0
    assert "Bits compared in 2 cells" in capsys.readouterr().out
    assert verify(tmp_path / "run").sound


@pytest.mark.full
def test_a_loss_that_changes_its_bits_is_named_in_the_report(narrow, tmp_path, monkeypatch, capsys):
    framework = registry.load("numpy")
    known = framework.all_implementations["numpy/lse"]

    def by_size(x, t, **options):
        return known.loss(x, t, **options) * x.dtype.type(1 + 1e-6 * (len(t) == 7))

    changed = tuple(replace(i, loss=by_size) if i is known else i for i in framework.implementations)
    monkeypatch.setattr(type(framework), "implementations", changed)
    logitlab.run(out=tmp_path / "run", bitwise=True, **RUN | {"implementations": ["numpy/lse", "numpy/log1p"]})
    table = logitlab.tables(tmp_path / "run")["bitwise"].set_index("implementation")
    assert table["bits"].to_dict() == {"numpy/lse": "not invariant", "numpy/log1p": "invariant"}
    assert "ulp" in table.loc["numpy/lse", "among others"]
    assert table.loc["numpy/lse", "position"] == "equal"
    assert main(["report", str(tmp_path / "run"), "--format", "html", "--format", "markdown", "--out", "site"]) == 0
    capsys.readouterr()
    assert main(["report", str(tmp_path / "run"), "--all"]) == 0
    printed = capsys.readouterr().out
    assert "Rows change their bits with their batch or the threads: numpy/lse" in printed
    assert "Bitwise invariance" in printed


@pytest.mark.parametrize("others", [False, pytest.param(True, marks=pytest.mark.full)], ids=["alone", "whole site"])
def test_the_site_has_a_page_of_bits(narrow, tmp_path, monkeypatch, others):
    """Writing the other pages of tables takes most of the time, and test_site.py tests them."""
    pytest.importorskip("altair")
    if not others:
        from logitlab.reports.site.pages import tables as pages

        for name in ("_cases", "_errors", "_distributions", "_side", "_devices", "_agreement", "_bounds", "_faults"):
            monkeypatch.setattr(pages, name, lambda site, *given: pages._grades(site, {}))
    logitlab.run(out="run", bitwise=True, **RUN | {"implementations": "numpy/lse"})
    assert main(["report", "run", "--format", "html", "--out", "site"]) == 0
    page = (tmp_path / "site" / "bitwise.html").read_text()
    assert "Bitwise invariance" in page
    assert "numpy/lse" in page


def test_the_command_line_names_the_losses_that_change_their_bits(narrow, capsys):
    asked = ["run", "--bitwise", "--case", "seed/article", "--dtype", "float32", "--implementation", "numpy/lse"]
    assert main([*asked, "--out", "run"]) == 0
    assert "Bits compared in 1 cell: every measured row keeps them." in capsys.readouterr().out


def test_a_resumed_run_measures_only_what_is_missing_and_a_packed_run_keeps_it(narrow, tmp_path, monkeypatch):
    numpy = RUN | {"implementations": ["numpy/lse", "numpy/log1p"]}
    logitlab.run(out="run", bitwise=True, **numpy)
    before = logitlab.bitwise("run")
    (tmp_path / "run" / "bitwise" / "00001.parquet").write_bytes(b"damaged")
    with pytest.raises(logitlab.UsageError, match="damaged"):
        logitlab.bitwise("run")
    assert any("bitwise invariance in the report is incomplete" in f.message for f in verify("run").findings)
    tried = []
    try_in_worker = cells.try_in_worker
    monkeypatch.setattr(cells, "try_in_worker", lambda given: tried.append(given) or try_in_worker(given))
    logitlab.run(out="run", bitwise=True, resume=True, **numpy)
    assert len({given.implementation for given in tried}) == 1
    assert len(tried) == 2  # one cell, two widths
    assert logitlab.bitwise("run").equals(before)
    assert verify("run").sound
    Run(tmp_path / "run").pack(tmp_path / "packed")
    assert logitlab.bitwise("packed").equals(before)
    assert verify("packed").sound


def test_a_framework_that_cannot_set_its_threads_is_compared_with_another_process(narrow, monkeypatch):
    # In this process the variant's variables have no effect, so the results are equal.
    variant = variants.VARIANTS["one-thread"]
    with_numpy = {**variants.VARIANTS, "one-thread": variants.Variant(variant.effect, {"numpy": {}})}
    monkeypatch.setattr(cells, "VARIANTS", with_numpy)
    monkeypatch.setattr(variants, "VARIANTS", with_numpy)
    logitlab.run(out="run", bitwise=True, **RUN | {"implementations": "numpy/lse"})
    lines = logitlab.bitwise("run")
    threads = lines[lines["property"] == "threads"]
    assert set(threads["quantity"]) == {"loss", "gradient", "probabilities"} & set(lines["quantity"])
    assert threads["rows"].eq(16).all()  # eight rows among others and alone
    assert threads["different"].eq(0).all()


def test_a_call_without_a_result_is_reported(narrow, monkeypatch):
    monkeypatch.setattr(cells, "try_in_worker", lambda given: Outcome(status=Status.RAISED, detail="no memory"))
    logitlab.run(out="run", bitwise=True, **RUN | {"implementations": "numpy/lse"})
    lines = logitlab.bitwise("run")
    assert lines["status"].eq("raised").all()
    assert lines["detail"].eq("no memory").all()
    assert logitlab.tables("run")["bitwise"]["bits"].tolist() == ["not measured"]


def test_bits_are_not_compared_on_a_cluster():
    with pytest.raises(logitlab.UsageError, match="on this machine only"):
        logitlab.run(bitwise=True, executor="dask://localhost:1", **RUN)


@pytest.mark.full
def test_a_run_in_worker_processes_names_the_log_sum_of_a_vocabulary(tmp_path):
    asked = RUN | {"implementations": ["torch/lse", "torch/F.cross_entropy", "jax/lse"]}
    logitlab.run(out=tmp_path / "run", bitwise=True, **asked)
    table = logitlab.tables(tmp_path / "run")["bitwise"].set_index("implementation")
    assert table.loc["torch/F.cross_entropy", "bits"] == "invariant", WORDS.format(version=torch.__version__)
    assert table.loc["torch/lse", "bits"] == "not invariant", WORDS.format(version=torch.__version__)
    assert table.loc["jax/lse", "threads"] != ""  # measured in a process with one thread
