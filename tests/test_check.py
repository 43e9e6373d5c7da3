"""`check` of a user's loss: what it reports for sound losses and for losses with one planted defect."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import textwrap
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from rich.console import Console
from small_check import SOURCE

import logitlab
from logitlab.cli import main
from logitlab.studies.audit.corpus.torch.parts import differentiated_by
from logitlab.studies.check import named, show

# Rows of 2, 3 and 5 classes: every other width is measured in as many presentations again. Those of 2 and 5 classes
# are even in number, so that in reverse order each has another parity.
FEW = ["seed/*", "masks/[!bw]*", "ties/two_*", "offset/*", "special/*", "layout/*[!7]", "gap/*"]
WIDE = [*FEW, "masks/*", "ties/*", "layout/*"]


def sound(x, t):
    return F.cross_entropy(x, t, reduction="none")


def naive(x, t):
    e = torch.exp(x)
    return -torch.log((e / e.sum(1, keepdim=True)).gather(1, t[:, None])[:, 0])


def checked(loss, **options):
    options = {"dtypes": "float32", "cases": FEW, "shrink": False} | options
    return logitlab.check(loss, "torch", **options)


@cache
def checked_once(loss, cases=tuple(FEW)):
    return checked(loss, cases=cases)


def broken(result):
    table = result.properties
    return set(table.loc[~table["held"], "property"])


@pytest.mark.full
def test_a_sound_loss_passes_every_property_on_every_case():
    result = checked(sound, cases=None)
    assert result.passed, str(result)
    assert result.grades == {"float32": "B"}
    assert set(result.grades_by_quantity["float32"]) == {"loss", "gradient"}
    assert result.failures.empty
    assert result.script is None
    assert (result.properties["rows"] > 0).all(), result.properties
    assert result.properties["held"].all()


def test_the_naive_loss_fails_and_says_where():
    result = checked(naive, cases=[*FEW, "overflow/*"], shrink=True, run_script=False)
    assert not result.passed
    assert result.grades == {"float32": "F"}
    assert {"finite where the answer is", "large logits", "offset", "masks"} & broken(result)
    assert {"deterministic", "rows independent of their order"}.isdisjoint(broken(result))
    ranks = result.failures["grade"].dropna().map("ABCDF".index).to_list()
    assert ranks == sorted(ranks, reverse=True), "the worst come first"
    assert result.smallest is not None
    assert result.smallest.logits.size <= 2
    assert not np.isnan(result.smallest.logits).any()


# --- each with one defect, and the property that it breaks ------------------------------------------------------


def swallows_nan(x, t):
    return torch.nan_to_num(sound(x, t), nan=0.0, posinf=torch.inf)


def mask_is_minus_1e4(x, t):
    return sound(x.clamp(min=-1e4), t)


def no_shift(x, t):
    return torch.log(torch.exp(x).sum(1)) - x.gather(1, t[:, None])[:, 0]


def batch_maximum(x, t):
    m = x.max()
    return torch.log(torch.exp(x - m).sum(1)) - (x - m).gather(1, t[:, None])[:, 0]


def second_of_a_pair(x, t):
    rows = sound(x, t)
    return torch.where(torch.arange(len(x)) % 2 == 1, rows * 1.01, rows)


def last_class_is_lost(x, t):
    return sound(torch.cat([x[:, :-1], x[:, -1:] - 1], 1), t) if x.shape[1] > 1 else sound(x, t)


def wide_rows_in_parts(x, t):
    return sound(x, t) + (0.01 if x.shape[1] > 4096 else 0.0)


def wants_contiguous(x, t):
    return sound(x if x.is_contiguous() else x.t().contiguous().view(x.shape), t)


@differentiated_by
def upstream_ignored(x, t, upstream):
    return torch.softmax(x, 1) - F.one_hot(t, x.shape[1])


def gradient_detached(x, t):
    return sound(x, t).detach() + (x.gather(1, t[:, None])[:, 0] * 0)


def ties_counted_once(x, t):
    high = x.max(1, keepdim=True).values
    others = torch.where(x == high, 0, torch.exp(x - high)).sum(1)
    return torch.log1p(others) + (high[:, 0] - x.gather(1, t[:, None])[:, 0])


def eps(x, t):
    return -torch.log(torch.softmax(x, 1).gather(1, t[:, None])[:, 0] + 1e-6)


class _Noisy:
    def __init__(self):
        self.calls = 0

    def __call__(self, x, t):
        self.calls += 1
        return sound(x, t) * (1 + self.calls * torch.finfo(x.dtype).eps / 4)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("loss", "property_"),
    [
        (swallows_nan, "NaN propagated"),
        (mask_is_minus_1e4, "infinite where the answer is"),
        (no_shift, "offset"),
        (no_shift, "large logits"),
        (no_shift, "finite where the answer is"),
        (batch_maximum, "rows independent of each other"),
        (second_of_a_pair, "rows independent of their order"),
        (last_class_is_lost, "last class"),
        (last_class_is_lost, "classes in any order"),
        pytest.param(wide_rows_in_parts, "large vocabularies", marks=pytest.mark.full),  # all rows, wide ones too
        (wants_contiguous, "right in every layout"),
        (upstream_ignored, "gradient passed on from above"),
        (gradient_detached, "gradient is the loss's derivative"),
        (ties_counted_once, "ties"),
        (eps, "near-zero loss"),
        pytest.param(_Noisy(), "deterministic", marks=pytest.mark.full),
    ],
    ids=lambda value: getattr(value, "__name__", None) if callable(value) else value,
)
@pytest.mark.parametrize("cases", [FEW, pytest.param(WIDE, marks=pytest.mark.full)], ids=["few cases", "wide rows too"])
def test_a_planted_defect_breaks_its_property(loss, property_, cases):
    result = checked_once(loss, None if property_ == "large vocabularies" else tuple(cases))
    assert not result.passed
    assert property_ in broken(result), str(result)


def test_a_defect_of_one_property_breaks_no_other():
    upstream = {"gradient passed on from above", "upstream gradients in any memory"}
    assert broken(checked_once(upstream_ignored)) == upstream
    assert broken(checked_once(wants_contiguous)) == {"right in every layout"}


def test_a_loss_that_writes_into_its_logits_is_reported():
    def in_place(x, t):
        with torch.no_grad():
            x -= x.max(1, keepdim=True).values
        return sound(x, t)

    result = checked(in_place, cases="seed/article")
    assert not result.passed
    assert "the loss writes into its logits" in set(result.failures["detail"])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x, t: sound(x, t).mean(), "the loss has shape ().*expected (3,), one number a row.*add --returns mean"),
        (lambda x, t: sound(x, t)[:, None], "the loss has shape (3, 1)"),
        (lambda x, t: None, "the loss is NoneType"),
        (lambda x: x, "cannot be called with logits and targets"),
        (lambda x, t, other: x, "missing a required argument: 'other'"),
        (torch.nn.CrossEntropyLoss, "CrossEntropyLoss is a class"),
        (torch.nn.CrossEntropyLoss(), "the loss has shape ()"),
        (lambda x, t: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda x, t: sound(x, t, reduction="none"), "got an unexpected keyword argument 'reduction'"),
    ],
)
def test_a_loss_that_cannot_be_measured_is_refused(wrong, words):
    expected = ".*".join(map(re.escape, words.split(".*")))
    with pytest.raises(logitlab.UsageError, match=expected) as caught:
        checked(wrong, cases="seed/article", dtypes=None)
    assert "\n" not in str(caught.value)


def test_the_message_about_a_mean_says_once_what_was_expected():
    with pytest.raises(logitlab.UsageError) as caught:
        checked(lambda x, t: sound(x, t).mean(), cases="seed/article")
    assert str(caught.value).count("; expected") == 1
    assert str(caught.value).endswith("add --returns mean or --returns sum")


def far_too_large(x, t):
    return sound(x, t) * 1.53125e11


@pytest.mark.parametrize("width", [80, 100])
def test_no_number_of_the_worst_rows_is_broken(width):
    result = checked_once(far_too_large, ("field_widths/*",))
    out = io.StringIO()
    show(result, Console(file=out, width=width, color_system=None, highlight=False))
    assert max(map(len, out.getvalue().splitlines())) <= width
    words = " ".join(out.getvalue().split())
    losses = result.failures[result.failures["quantity"] == "loss"].drop_duplicates("case")
    assert len(losses) > 1
    for line in losses.itertuples():
        assert f": loss {line.grade}, {line.value:.6g} where {line.exact:.6g} is exact, off by" in words


def test_a_loss_that_raises_on_some_inputs_or_dtypes_fails_with_its_message():
    def wants_many_rows(x, t):
        if len(x) < 64 or x.dtype is torch.float64:
            raise ValueError(f"no kernel for {len(x)} rows")
        return sound(x, t)

    result = checked(wants_many_rows, cases="seed/article", shrink=True, run_script=False)
    assert not result.passed
    assert "ValueError: no kernel for 3 rows" in set(result.failures["detail"])
    only = checked(wants_many_rows, cases="seed/article", dtypes="float64")
    assert only.grades == {"float64": "raised"}


def test_a_gradient_by_hand_that_cannot_be_measured_is_refused():
    with pytest.raises(logitlab.UsageError, match="cannot measure the gradient of numpy_loss"):
        logitlab.check(numpy_loss, "numpy", "float32", gradient=lambda x, t: None, cases="seed/*")


def test_a_module_of_a_framework_is_a_loss():
    assert checked(torch.nn.CrossEntropyLoss(reduction="none"), cases="seed/article").passed


# --- what is required, and loss options -------------------------------------------------------------------------


def test_a_grade_may_be_required_of_each_quantity():
    def float32_inside(x, t):
        return sound(x.float(), t).to(x.dtype)

    bfloat16 = {"dtypes": "bfloat16", "cases": "gap/*"}
    grades = checked(float32_inside, **bfloat16).grades_by_quantity["bfloat16"]
    refused = checked(sound, cases="gap/*", require_loss="A")
    assert refused.passed is False
    assert checked(sound, cases="gap/*", require="A", require_loss="B", require_gradient="B").passed
    assert checked(float32_inside, require="A", require_loss=grades["loss"], **bfloat16).passed == (
        grades["gradient"] == "A"
    )
    assert "grade A of the loss and B of the gradient required" in str(refused)
    with pytest.raises(logitlab.UsageError, match="cannot require grade 'E'"):
        checked(sound, require_gradient="E")


def with_every_option(x, t, weight=None, *, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    x = x.masked_fill((t == ignore_index)[:, None], 0.0)  # PyTorch's gradient is NaN where an ignored row holds NaN
    return F.cross_entropy(
        x, t, weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction
    )


OPTION_CASES = ["check/*_3", "weights/*", "ignored/*", "smoothing/*"]


def test_a_loss_is_measured_with_and_without_the_options_that_its_signature_names():
    result = checked(with_every_option, cases=OPTION_CASES)
    assert result.passed, str(result)
    assert result.options == ("label_smoothing", "weight", "ignore_index", "reduction")
    assert "Measured with and without label_smoothing, weight, ignore_index, reduction" in str(result)
    held = result.properties.set_index("property")
    for option in result.options:
        assert held.loc[f"with {option}", "rows"] > 100
    assert {"", "weight", "ignore_index, reduction", "label_smoothing, weight, ignore_index, reduction"} <= set(
        result.lines["options"]
    )
    reduced = result.lines[result.lines["how"].str.startswith("under the upstream gradient 1/2, with")]
    assert set(reduced["grade"].dropna()) <= {"A", "B"}
    assert len(reduced) > 100


def test_a_loss_without_options_gets_no_options():
    result = checked(sound, cases=["seed/*", "check/width_3"])
    assert result.options == ()
    assert set(result.lines["options"]) == {""}
    assert not result.properties["property"].str.startswith("with ").any()


def half_of_the_classes(x, t, *, label_smoothing=0.0):
    """Each of two ranks treats its half of the classes as all classes: NVIDIA/Megatron-LM#737."""
    half, log_p = max(x.shape[1] // 2, 1), torch.log_softmax(x, 1)
    rows = -log_p.gather(1, t[:, None]).squeeze(1)
    return (1.0 - label_smoothing) * rows - label_smoothing * log_p[:, :half].mean(1) if label_smoothing else rows


def mean_of_all_rows(x, t, *, ignore_index=-100, reduction="none"):
    """The mean divides by the ignored rows too: NVIDIA/TransformerEngine#2476."""
    rows = F.cross_entropy(x, t, ignore_index=ignore_index, reduction="none")
    return rows if reduction == "none" else rows.sum() / (len(rows) if reduction == "mean" else 1)


def upstream_of_a_mean_ignored(x, t, *, reduction="none"):
    """The forward pass computes the gradient of a reduced loss, and the upstream gradient is ignored."""
    return upstream_ignored(x, t) if reduction == "none" else _Reduced.apply(x, t, reduction)


class _Reduced(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t, reduction):
        ctx.save_for_backward(x, t)
        ctx.mean = reduction == "mean"
        return F.cross_entropy(x, t, reduction=reduction)

    @staticmethod
    def backward(ctx, upstream):
        x, t = ctx.saved_tensors
        return (torch.softmax(x, 1) - F.one_hot(t, x.shape[1])) / (len(x) if ctx.mean else 1), None, None


@pytest.mark.parametrize(
    ("loss", "property_"),
    [
        (half_of_the_classes, "with label_smoothing"),
        (mean_of_all_rows, "with reduction"),
        (upstream_of_a_mean_ignored, "gradient passed on from above"),
    ],
)
def test_a_fault_of_an_option_is_found(loss, property_):
    result = checked(loss, cases=["check/*_3", "seed/*"])
    assert not result.passed
    assert property_ in broken(result)


def test_an_option_without_a_default_is_always_given():
    def wants_all(x, t, weight, reduction):
        return F.cross_entropy(x, t, weight=weight, reduction=reduction)

    result = checked(wants_all, cases=["check/*_3"])
    assert result.passed, str(result)
    assert result.options == ("weight", "reduction")


def test_an_interrupt_reaches_the_caller():
    def interrupted(x, t):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checked(interrupted)


def test_the_first_failing_batch_can_be_the_last():
    whole, stopped = (checked(naive, cases="seed/*", first=first) for first in (False, True))
    assert not stopped.passed
    assert len(stopped.lines) < len(whole.lines)


def test_a_check_gives_the_same_lines_again():
    one, other = (checked(naive, cases="seed/*") for _ in range(2))
    assert one.lines.equals(other.lines)


def test_an_unsupported_dtype_fails_only_where_it_was_requested():
    def wide_only(x, t):
        if x.dtype is torch.float16:
            raise NotImplementedError("\"loss\" not implemented for 'Half'")
        return sound(x, t)

    asked = checked(wide_only, dtypes=["float16", "float32"], cases="seed/article")
    assert asked.grades["float16"] == "unsupported"
    assert not asked.passed
    assert checked(wide_only, dtypes=None, cases="seed/article").passed


def _printed(script):
    """Return the lines that a program prints, without their first word."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(script, "reproduce.py", "exec"), {})  # noqa: S102 - the program under test
    return [line.partition(": ")[2] for line in out.getvalue().splitlines()]


# --- the other frameworks ---------------------------------------------------------------------------------------


def test_a_check_in_jax_keeps_the_settings_of_the_process():
    jax = pytest.importorskip("jax")

    def of_jax(x, t):
        return -jax.numpy.take_along_axis(jax.nn.log_softmax(x, axis=1), t[:, None], axis=1)[:, 0]

    before = jax.config.jax_enable_x64
    result = logitlab.check(of_jax, "jax", "float64", cases="check/width_5", max_rows=8)
    assert result.passed
    rows = result.properties.set_index("property")["rows"]
    assert (rows[["second derivatives", "under vmap and grad"]] > 0).all()
    assert "refused" not in set(result.lines["verdict"])
    assert jax.config.jax_enable_x64 == before


@pytest.mark.full
def test_a_loss_of_jax_passes_in_two_modes_and_the_naive_one_fails_with_a_program():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    def of_jax(x, t):
        return -jnp.take_along_axis(jax.nn.log_softmax(x, axis=1), t[:, None], axis=1)[:, 0]

    def naive_of_jax(x, t):
        return -jnp.log(jnp.take_along_axis(jnp.exp(x) / jnp.exp(x).sum(1, keepdims=True), t[:, None], axis=1)[:, 0])

    assert logitlab.check(of_jax, "jax", ["float32", "float64"], cases=["seed/article", "masks/first"]).passed
    assert logitlab.check(of_jax, "jax", "float32", mode="compiled", cases="seed/article").passed
    failed = logitlab.check(naive_of_jax, "jax", "float32", cases="seed/article", run_script=False)
    assert failed.grades == {"float32": "F"}
    assert "print('exact:'" in failed.script
    given, exact = _printed(failed.script)
    assert given != exact


@pytest.mark.full
def test_tensorflow_losses_in_every_mode():
    tf = pytest.importorskip("tensorflow")

    def of_tensorflow(x, t):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(logits=x, labels=t)

    def naive_of_tensorflow(x, t):
        return -tf.math.log(tf.gather(tf.nn.softmax(x), t, axis=1, batch_dims=1))

    for mode in ("eager", "graph"):
        checked_there = logitlab.check(of_tensorflow, "tensorflow", "float32", mode=mode, cases=["seed/*", "masks/*"])
        assert checked_there.passed
    failed = logitlab.check(naive_of_tensorflow, "tensorflow", "float32", cases="seed/article", run_script=False)
    assert not failed.passed
    given, exact = _printed(failed.script)
    assert given != exact


def numpy_loss(x, t):
    high = x.max(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        shifted = (x - np.where(np.isfinite(high), high, 0)).astype(np.float64)
        return (np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(t)), t]).astype(x.dtype)


def numpy_gradient(x, t):
    high = x.max(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        e = np.exp((x - high).astype(np.float64))
        e /= e.sum(axis=1, keepdims=True)
    e[np.arange(len(t)), t] -= 1
    return e.astype(x.dtype)


def test_a_numpy_loss_takes_its_gradient_as_an_argument():
    cases = ["seed/*", "gap/*"]
    alone = logitlab.check(numpy_loss, "numpy", "float32", cases=cases)
    assert alone.passed
    assert set(alone.grades_by_quantity["float32"]) == {"loss"}
    both = logitlab.check(numpy_loss, "numpy", "float32", gradient=numpy_gradient, cases=cases)
    assert set(both.grades_by_quantity["float32"]) == {"loss", "gradient"}
    options = {"gradient": lambda x, t: -numpy_gradient(x, t), "cases": cases, "shrink": False}
    flipped = logitlab.check(numpy_loss, "numpy", "float32", **options)
    assert flipped.grades_by_quantity["float32"]["gradient"] in "DF"
    assert not flipped.passed


# --- for people -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"framework": "theano"}, "unknown framework 'theano'"),
        ({"dtypes": "float8"}, "unknown dtype 'float8'"),
        ({"require": "E"}, "cannot require grade 'E'"),
        ({"device": "abacus"}, "finds no device 'abacus'"),
        ({"mode": "quick"}, "torch has no mode 'quick'; choose one of eager, compiled"),
        ({"cases": "weights/*"}, "no case of weights/* holds logits and class indices alone"),
        ({"cases": "nothing/*"}, "nothing/*"),
        ({"loss": 3}, "the loss is 3"),
    ],
)
def test_an_impossible_check_is_reported(options, words):
    options = {"loss": sound, "framework": "torch", "dtypes": "float32", "cases": "seed/*"} | options
    with pytest.raises(logitlab.UsageError, match=words.replace("*", r"\*")):
        logitlab.check(options.pop("loss"), options.pop("framework"), **options)


@pytest.mark.parametrize("path", ["numpy", "numpy:", "no.such.module:loss", "numpy:no_such_loss", "numpy:pi"])
def test_a_name_without_a_function_is_reported(path):
    with pytest.raises(logitlab.UsageError):
        named(path)


MODULE = """
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from rich.console import Console

def sound(x, t):
    return F.cross_entropy(x, t, reduction="none")

def naive(x, t):
    e = torch.exp(x)
    return -torch.log((e / e.sum(1, keepdim=True)).gather(1, t[:, None])[:, 0])
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_command_reports_a_pass_a_failure_and_an_error(project, capsys):
    (project / "my_losses.py").write_text(SOURCE)  # a program of a failure starts quicker in NumPy
    sys.modules.pop("my_losses", None)
    options = ["--framework", "numpy", "--dtype", "float32", "--case", "seed/*"]
    assert main(["check", "my_losses:sound", *options]) == 0
    assert "passed, grade B required" in capsys.readouterr().out
    assert main(["check", "my_losses:naive", *options]) == 1
    assert "FAILED" in capsys.readouterr().out
    assert main(["check", "my_losses:absent", *options]) == 2
    assert "choose one of sound, naive" in capsys.readouterr().err
    assert main(["check", "my_losses:naive", *options, "--require-loss", "A", "--require-gradient", "D"]) == 1
    assert "grade A of the loss and D of the gradient required" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "loss", "words"),
    [
        (
            "raise RuntimeError('no device')",
            "loss",
            "'broken_module' raises RuntimeError: no device",
        ),
        ("import sys; sys.exit(3)", "loss", "'broken_module' raises SystemExit: 3"),
        ("class Loss: pass", "Loss", "the loss Loss is a class"),
        ("loss = 3", "loss", "give a function of logits"),
        ("def loss(x, t): return x.sum()", "loss", "the loss has shape (); expected (3,), one number a row"),
        ("def loss(x): return x", "loss", "cannot be called with logits and targets"),
    ],
)
def test_a_loss_that_cannot_be_measured_gives_exit_code_2_and_one_line(project, capsys, source, loss, words):
    (project / "broken_module.py").write_text(source)
    sys.modules.pop("broken_module", None)
    assert main(["check", f"broken_module:{loss}", "--framework", "torch", "--case", "seed/*"]) == 2
    shown = capsys.readouterr()
    assert words in " ".join(shown.err.split())
    assert not shown.out


@pytest.mark.full
def test_the_program_of_an_object_imports_it(project, capsys):
    source = "import torch\nclass Half(torch.nn.Module):\n    def forward(self, x, t):\n"
    source += "        return torch.nn.functional.cross_entropy(x, t, reduction='none') / 2\nhalf = Half()\n"
    (project / "my_objects.py").write_text(source)
    sys.modules.pop("my_objects", None)
    assert main(["check", "my_objects:half", "--framework", "torch", "--dtype", "float32", "--case", "seed/*"]) == 1
    assert "from my_objects import half as loss" in capsys.readouterr().out


@pytest.mark.full
def test_the_reproducer_runs_without_logitlab(project, capsys):
    asked = ["--framework", "torch", "--dtype", "float32", "--case", "seed/*", "--out", "found"]
    assert main(["check", "my_losses:naive", *asked]) == 1
    capsys.readouterr()
    program = project / "found" / "reproduce.py"
    source = program.read_text()
    assert "logitlab" not in source
    assert len(source.splitlines()) <= 12
    # Nothing of this project can be imported there.
    hidden = {**os.environ, "PYTHONPATH": ""}
    blocked = f"import sys; sys.modules['logitlab'] = None; exec(open({str(program)!r}).read())"
    done = subprocess.run([sys.executable, "-c", blocked], cwd=project, env=hidden, capture_output=True, check=True)
    assert b"inf" in done.stdout or b"nan" in done.stdout
    assert {"report.txt", "failures.csv", "properties.csv"} <= {path.name for path in (project / "found").iterdir()}
