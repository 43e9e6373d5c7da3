"""`check` of losses of hidden states: planted defects, sound losses, forms, messages, and the printed program."""

from __future__ import annotations

import importlib
import re
import runpy
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere

import logitlab
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.threads import let_idle_threads_sleep
from logitlab.studies.audit import corpus
from logitlab.studies.check import load_framework

let_idle_threads_sleep()

MODULES = {
    "torch": ("torch_linear.losses", "torch_linear.gradients", "torch_linear.option_gradients"), "jax": ("jax.linear",),
    "sound": ("torch_linear.sound", "jax.linear_sound"),
}  # fmt: skip


def framework_of(module):
    return "torch" if module.startswith("torch") else "jax"


IN_JAX = corpus.listed_in("jax", "jax.linear")
DEFECTS = [found for module in MODULES["torch"] for found in corpus.listed_in("torch", module)]
SOUND = [found for module in MODULES["sound"] for found in corpus.listed_in(framework_of(module), module)]
# A sound loss passes everywhere: it is checked on a few batches, with rows of every kind, and on all of them in `full`.
SOME = ("linear_layers/*", "linear_sizes/h16_c10*", "check/linear_b7_h64_c129", "check/linear_b5*", "check/linear_*_b7")
FEW = ("linear_sizes/h16_c10", "check/linear_b5_h5_c5")
OF_SOUND = (*FEW, "linear_layers/bias_s1", "linear_layers/smoothing", "check/linear_b7_h64_c129", "check/linear_*_b7")


def _each(listed):
    """A loss in each of its dtypes; `make test` takes the first."""
    return [
        pytest.param(found, dtype, id=f"{found.name}-{dtype}", marks=[pytest.mark.full] if i else [])
        for found in listed
        for i, dtype in enumerate(found.dtypes)
    ]


def checked(loss, dtype="float32", framework="torch", **options):
    options = {"problem": "linear", "shrink": False, "progress": False} | options
    return logitlab.check(loss, framework, dtype, **options)


def wide(hidden, weight, targets):
    return F.cross_entropy(F.linear(hidden.float(), weight.float()), targets, reduction="none").to(hidden.dtype)


def plain(hidden, weight, targets):
    return F.cross_entropy(F.linear(hidden, weight), targets, reduction="none")


def half(hidden, weight, targets):
    return wide(hidden, weight, targets) / 2


# --- the corpus -------------------------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize(("found", "dtype"), _each(DEFECTS))
def test_a_planted_defect_is_caught(found, dtype):
    planted = found.load()
    result = checked(planted.loss, dtype, cases=planted.shown_by, first=True, name=planted.name, **planted.arguments)
    assert not result.passed, f"{planted.name}: {planted.loss.__doc__}"
    failures = result.failures
    assert (failures["status"] == "ok").all(), str(result)
    if planted.writes:
        assert failures["detail"].str.startswith("the loss writes into its").any(), str(result)
        return
    if planted.wrong == "gradient":
        assert "loss" not in set(failures["quantity"]), str(result)
    if planted.how is not None:
        assert failures["how"].eq(planted.how).all(), str(result)


@pytest.mark.parametrize(
    ("found", "dtype"),
    [pytest.param(f, dtype, id=f"jax-{f.name}-{dtype}", marks=pytest.mark.full) for f in IN_JAX for dtype in f.dtypes],
)
def test_the_default_check_catches_a_planted_defect_where_each_shape_is_compiled(found, dtype):
    planted = found.load()
    result = checked(planted.loss, dtype, "jax", first=True, name=planted.name)
    assert not result.passed, f"{planted.name}: {planted.loss.__doc__}"
    assert (result.failures["status"] == "ok").all(), str(result)
    if planted.wrong == "gradient":
        assert "loss" not in set(result.failures["quantity"]), str(result)


def test_the_default_check_of_few_shapes_catches_a_planted_defect(monkeypatch):
    """As of JAX, with PyTorch declared to compile each shape."""
    monkeypatch.setattr(type(load_framework("torch")), "compiles_shapes", lambda self, mode: True)
    planted = DEFECTS[0].load()
    assert not checked(planted.loss, first=True, **planted.arguments).passed


@pytest.mark.full
def test_a_sound_loss_passes_everywhere_where_each_shape_is_compiled():
    (found,) = corpus.listed_in("jax", "jax.linear_sound")
    for dtype in found.dtypes:
        assert checked(found.load().loss, dtype, "jax").passed


@pytest.mark.sampled
@pytest.mark.parametrize(("found", "dtype"), _each(SOUND))
def test_a_sound_loss_passes(found, dtype):
    planted = found.load()
    cases = OF_SOUND if found.framework == "torch" else FEW
    result = checked(planted.loss, dtype, found.framework, cases=cases, **planted.arguments)
    assert result.passed, str(result)
    assert {"loss", "gradient_hidden", "gradient_weight"} <= set(result.grades_by_quantity[dtype])


@pytest.mark.full
@pytest.mark.parametrize(("found", "dtype"), [p for p in _each(SOUND) if p.values[0].framework == "torch"])
def test_a_sound_loss_passes_everywhere(found, dtype):
    planted = found.load()
    result = checked(planted.loss, dtype, **planted.arguments)
    assert result.passed, str(result)


def test_the_corpus_is_as_large_as_it_should_be():
    assert len(DEFECTS) >= 50
    assert sum(found.wrong == "gradient" for found in DEFECTS) >= 25
    assert len(SOUND) >= 10
    assert {found.framework for found in SOUND} == {"torch", "jax"}


@pytest.mark.parametrize("module", [m for modules in MODULES.values() for m in modules])
def test_every_loss_that_a_module_marks_is_tested(module):
    marked = list(corpus.planted_in(importlib.import_module(f"{corpus.__name__}.{module}")))
    assert [found.load() for found in corpus.listed_in(framework_of(module), module)] == marked


@pytest.mark.parametrize(
    ("dtype", "grade"), [("float32", "B"), ("bfloat16", "C"), pytest.param("float16", "C", marks=pytest.mark.full)]
)
def test_the_unfused_loss_rounds_its_logits(dtype, grade):
    result = checked(plain, dtype, require=grade, cases=SOME if grade == "B" else OF_SOUND)
    assert result.passed, str(result)
    assert result.grades[dtype] == grade
    if grade == "C":
        assert not checked(plain, dtype, cases=OF_SOUND, first=True).passed


# --- what is tried ----------------------------------------------------------------------------------------------


def test_options_bias_and_reductions_are_tried_if_the_signature_names_them():
    def loss(hidden, weight, targets, bias=None, label_smoothing=0.0, reduction="mean", class_weight=None):
        z = F.linear(hidden, weight, bias)
        return F.cross_entropy(z, targets, class_weight, label_smoothing=label_smoothing, reduction=reduction)

    cases = ["check/linear_*_none_b7", "check/linear_plain_*_b7", "check/linear_label_smoothing_*_b7"]
    result = checked(loss, cases=cases, require="D")
    assert result.options == ("label_smoothing", "weight", "reduction")
    names = set(result.lines["options"])
    assert {"label_smoothing", "weight", "reduction", "label_smoothing, reduction"} <= names
    assert result.grades_by_quantity["float32"].keys() == {
        "loss",
        "gradient_hidden",
        "gradient_weight",
        "gradient_bias",
    }
    assert not result.lines["options"].str.contains("softcap").any()


def test_a_loss_without_options_gets_none():
    lines = checked(wide, cases=FEW).lines
    assert set(lines["options"]) == {""}
    assert "gradient_bias" not in set(lines["quantity"])


def test_ignored_rows_all_of_them_too_are_tried():
    def loss(hidden, weight, targets, ignore_index=-100):
        return F.cross_entropy(F.linear(hidden, weight), targets, ignore_index=ignore_index, reduction="none")

    tried = ("ignored_all_none_b7", "ignored_some_none_b66", "ignored_class_none_b7")
    lines = checked(loss, cases=[f"check/linear_{case}" for case in tried]).lines
    assert {case.removeprefix("check/linear_") for case in lines["case"]} == set(tried)
    everything = lines[lines["case"] == "check/linear_ignored_all_none_b7"]
    assert (everything["exact"] == 0).all()
    assert set(everything["verdict"]) == {"correct"}


def test_quick_tries_fewer_batches():
    assert len(checked(wide, quick=True).lines) < 4000


def test_every_presentation_is_tried():
    from logitlab.studies.check.linear._presentations import How

    assert set(checked(wide, cases="check/linear_b7_h64_c129").lines["how"]) == {how.value for how in How}


def test_first_stops_at_the_first_batch_that_fails():
    result = checked(half, first=True, cases=FEW)
    assert not result.complete
    assert result.lines["case"].nunique() == 1


# --- forms ------------------------------------------------------------------------------------------------------


def test_the_weight_may_be_given_by_features():
    def by_features(hidden, weight, targets):
        assert weight.shape[0] == hidden.shape[1]
        return wide(hidden, weight.T, targets)

    assert checked(by_features, weight_layout="hc", cases=FEW[:1]).passed
    with pytest.raises(UsageError, match="cannot be measured"):
        checked(by_features, cases=FEW[:1])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_loss_may_return_one_number(reduction):
    def reduced(hidden, weight, targets):
        return F.cross_entropy(F.linear(hidden, weight), targets, reduction=reduction)

    result = checked(reduced, returns=reduction, cases=FEW)
    assert result.passed, str(result)
    assert set(result.lines.loc[result.lines["quantity"] == "loss", "row"]) == {-1}
    other = {"mean": "sum", "sum": "mean"}[reduction]
    assert not checked(reduced, returns=other, cases=FEW, first=True).passed


def test_the_order_of_arguments_follows_their_names():
    def weight_first(lin_weight, _input, target):
        return wide(_input, lin_weight, target)

    assert checked(weight_first, cases=FEW).passed


def test_pytorchs_own_function_is_checked_as_it_is():
    if not hasattr(F, "linear_cross_entropy"):
        pytest.skip("this PyTorch has no linear_cross_entropy")
    result = checked(F.linear_cross_entropy, cases=["linear_layers/bias_s1", "linear_layers/class_weights"])
    assert result.passed, str(result)
    assert {"gradient_bias"} <= set(result.lines["quantity"])


def test_numpy_has_a_loss_and_no_gradient():
    def loss(hidden, weight, targets):
        z = (hidden.astype(np.float64) @ weight.astype(np.float64).T).astype(np.float32)
        z = z - z.max(axis=1, keepdims=True)
        return np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), targets]

    result = checked(loss, framework="numpy", cases=FEW)
    assert result.passed, str(result)
    assert set(result.lines["quantity"]) == {"loss"}
    assert "No gradient was checked, since numpy does not differentiate" in str(result)


@pytest.mark.full
def test_tensorflow_differentiates():
    tf = pytest.importorskip("tensorflow")

    def loss(hidden, weight, targets):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, tf.matmul(hidden, weight, transpose_b=True))

    result = checked(loss, framework="tensorflow", cases=FEW[:1])
    assert result.passed, str(result)
    halved = checked(lambda h, w, t: loss(h, w, t) / 2, framework="tensorflow", cases=FEW[:1], name="halved")
    assert not halved.passed


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's compiler
def test_a_compiled_loss_is_checked():
    assert checked(wide, mode="compiled", cases=FEW[:1]).passed


# --- the result -------------------------------------------------------------------------------------------------


def test_failures_are_sorted_and_name_the_broken_property():
    def no_upstream(hidden, weight, targets):
        from logitlab.studies.audit.corpus.torch_linear.gradients import upstream_reaches_hidden_alone

        return upstream_reaches_hidden_alone(hidden, weight, targets)

    result = checked(no_upstream, cases=FEW)
    assert set(result.failures["breaks"]) == {"gradient passed on from above", "differentiated twice"}
    held = result.properties.set_index("property")["held"]
    assert not held["gradient passed on from above"]
    assert held["rows in any order"]
    assert "Broken: gradient passed on from above" in str(result)


def test_the_grade_is_the_worst_and_a_gradient_names_its_worst_entry():
    from logitlab.studies.audit.corpus.torch_linear.gradients import square_weight_gradient_is_transposed

    result = checked(square_weight_gradient_is_transposed, cases="check/linear_b5_h5_c5")
    assert result.grades == {"float32": "D"}
    assert set(result.failures["quantity"]) == {"gradient_weight"}
    line = result.failures.iloc[0]
    assert re.fullmatch(r"class \d, feature \d", line["detail"])
    assert abs(line["value"] - line["exact"]) > 1e-4


def test_a_difference_between_two_calls_is_reported_and_graded():
    calls = []

    def drifting(hidden, weight, targets):
        calls.append(1)
        return wide(hidden, weight, targets) * (1 + 1e-7 * (len(calls) % 2))

    result = checked(drifting, cases="linear_sizes/h16_c10")
    assert result.passed, str(result)
    assert "Other bits in the second of two calls" in str(result)


def test_a_loss_that_raises_on_some_batches_fails_with_its_message():
    def picky(hidden, weight, targets):
        if len(hidden) == 1:
            raise ValueError("needs two rows")
        return wide(hidden, weight, targets)

    result = checked(picky, cases="check/linear_b1*")
    assert not result.passed
    assert "ValueError: needs two rows" in str(result)


def test_a_dtype_that_a_loss_lacks_is_unsupported():
    def only_float32(hidden, weight, targets):
        if hidden.dtype != torch.float32:
            raise NotImplementedError(f"{hidden.dtype} is not supported")
        return wide(hidden, weight, targets)

    result = checked(only_float32, None, cases=FEW)
    assert result.passed, str(result)
    assert result.grades["bfloat16"] == "unsupported"
    assert not checked(only_float32, ["float32", "bfloat16"], cases=FEW[1:]).passed


# --- the program ------------------------------------------------------------------------------------------------

SOURCE = """
import torch
import torch.nn.functional as F

def sound(hidden, weight, targets, bias=None):
    return F.cross_entropy(F.linear(hidden, weight, bias), targets, reduction="none")

def tail(hidden, weight, targets, label_smoothing=0.0):
    z = F.linear(hidden, weight)
    kept = z[:, : max(z.shape[1] // 4 * 4, 1)]
    return kept.logsumexp(1) - z.gather(1, targets[:, None])[:, 0]

def mean(hidden, weight, targets):
    return F.cross_entropy(hidden @ weight, targets) * 2

def scalar(hidden, weight, targets):
    return F.cross_entropy(F.linear(hidden, weight), targets)

def detached(hidden, weight, targets):
    return sound(hidden.detach(), weight.detach(), targets)

def two(hidden, weight):
    return hidden

def strides(hidden, weight, targets):
    if hidden.stride(-1) != 1:
        hidden = hidden.as_strided(hidden.shape, (hidden.shape[1], 1))
    return sound(hidden, weight, targets)


def reader(hidden, weight, targets):
    import sys
    assert len(sys.argv) == 1
    return sound(hidden, weight, targets)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


IN_NUMPY = """
import numpy as np

def mean(hidden, weight, targets):
    z = hidden @ weight
    z = z - z.max(axis=1, keepdims=True)
    return (np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), targets]).mean() * 2
"""


@pytest.mark.parametrize(
    ("framework", "name", "options"),
    [
        ("numpy", "mean", ["--returns", "mean", "--weight-layout", "hc"]),
        pytest.param("torch", "mean", ["--returns", "mean", "--weight-layout", "hc"], marks=pytest.mark.full),
        pytest.param("torch", "tail", [], marks=pytest.mark.full),
        pytest.param("torch", "strides", [], marks=pytest.mark.full),
    ],
)
def test_the_program_runs_and_shows_the_failure(here, capfd, framework, name, options):
    (here / "own_of_numpy.py").write_text(IN_NUMPY)
    file = "own_of_numpy.py" if framework == "numpy" else "own.py"
    asked = ["--problem", "linear", "--framework", framework, "--dtype", "float32", "--case", "check/linear_b5_h5_c5"]
    assert main(["check", f"{file}:{name}", *asked, *options, "--out", "found"]) == 1
    shown = capfd.readouterr().out
    assert f"{name}: FAILED, grade B required" in shown
    assert "In a new process it prints:" in shown
    program = (here / "found" / "reproduce.py").read_text()
    assert "logitlab" not in program
    runpy.run_path("found/reproduce.py")  # the check has run it in a new process
    lines = capfd.readouterr().out.splitlines()
    given, exact = (eval(line.partition(": ")[2]) for line in lines[-2:])  # noqa: S307 - our own
    assert not np.allclose(given, exact, rtol=1e-4)
    assert np.size(given) == np.size(exact) <= 30


def test_a_loss_that_reads_the_arguments_of_the_process_finds_none(here, capfd, monkeypatch):
    asked = ["check", "own.py:reader", "--problem", "linear", "--framework", "torch", "--dtype", "float32", "--quick"]
    monkeypatch.setattr(sys, "argv", ["logitlab", *asked])
    assert main(asked) == 0
    assert sys.argv == ["logitlab", *asked]


def test_the_exit_code_is_0_for_a_sound_loss(here, capfd):
    asked = ["--problem", "linear", "--framework", "torch", "--dtype", "float32", "--case", "linear_layers/bias_s1"]
    assert main(["check", "own.py:sound", *asked]) == 0
    assert "sound: passed, grade B required" in capfd.readouterr().out


# --- what cannot be measured ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("scalar", [], r"scalar cannot be measured: the loss has shape \(\); expected \(3,\), .*--returns mean or sum"),
        ("sound", ["--returns", "mean"], r"the loss has shape \(3,\); expected one number, the mean"),
        ("two", [], r"the loss two\(hidden, weight\) cannot be called with hidden states, weight and targets"),
        ("detached", [], r"detached cannot be measured: it has no gradient by its arguments \(RuntimeError"),
        ("mean", [], r"mean cannot be measured: it raises RuntimeError: .*expected a function of hidden \(B, H\)"),
        ("sound", ["--layout", "btc"], "layout does not apply to a loss of hidden states"),
        ("sound", ["--huge"], "huge does not apply"),
        ("sound", ["--weight-layout", "cc"], "weight_layout is 'cc'; expected one of ch, hc"),
        ("sound", ["--case", "masks/first"], "no case of masks/first suits the loss"),
        ("sound", ["--mode", "graph"], "torch has no mode 'graph'"),
        ("sound", ["--problem", "matrix"], "problem is 'matrix'; expected one of logits, linear"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_exit_code_2(here, capfd, name, options, message):
    command = ["check", f"own.py:{name}", "--framework", "torch", "--dtype", "float32"]
    options = options if "--problem" in options else ["--problem", "linear", *options]
    assert main([*command, *options]) == 2
    shown = capfd.readouterr().err.strip()
    assert re.search(message, shown), shown
    assert len(shown.splitlines()) == 1


def test_the_weight_layout_is_of_the_linear_problem():
    with pytest.raises(UsageError, match="weight_layout is an argument of the linear problem"):
        logitlab.check(lambda x, t: x, "torch", weight_layout="hc")
