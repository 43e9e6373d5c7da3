"""A loss of one's own: what check says of sound ones, and of ones with a single planted defect."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere

import logitlab
from logitlab.checking import named
from logitlab.cli import main

FEW = ["seed/*", "masks/*", "ties/*", "offset/*", "special/*", "layout/*", "gap/*"]


def sound(x, t):
    return F.cross_entropy(x, t, reduction="none")


def naive(x, t):
    e = torch.exp(x)
    return -torch.log((e / e.sum(1, keepdim=True)).gather(1, t[:, None])[:, 0])


def checked(loss, **options):
    options = {"dtypes": "float32", "cases": FEW, "shrink": False} | options
    return logitlab.check(loss, "torch", **options)


def broken(result):
    table = result.properties
    return set(table.loc[~table["held"], "property"])


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
    result = checked(naive, cases=[*FEW, "overflow/*"], shrink=True)
    assert not result.passed
    assert result.grades == {"float32": "F"}
    assert {"finite where the answer is", "large logits", "offset", "masks"} & broken(result)
    assert {"deterministic", "rows independent of their order"}.isdisjoint(broken(result))
    ranks = result.failures["grade"].map("ABCDF".index).to_list()
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


class _Flat(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t):
        ctx.save_for_backward(x, t)
        return sound(x, t)

    @staticmethod
    def backward(ctx, upstream):
        x, t = ctx.saved_tensors
        return torch.softmax(x, 1) - F.one_hot(t, x.shape[1]), None


def upstream_ignored(x, t):
    return _Flat.apply(x, t)


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
        (wide_rows_in_parts, "large vocabularies"),
        (wants_contiguous, "right in every layout"),
        (upstream_ignored, "gradient passed on from above"),
        (gradient_detached, "gradient is the loss's derivative"),
        (ties_counted_once, "ties"),
        (eps, "near-zero loss"),
        (_Noisy(), "deterministic"),
    ],
    ids=lambda value: getattr(value, "__name__", None) if callable(value) else value,
)
def test_a_planted_defect_breaks_its_property(loss, property_):
    result = checked(loss, cases=None if property_ == "large vocabularies" else FEW)
    assert not result.passed
    assert property_ in broken(result), str(result)


def test_a_defect_of_one_property_breaks_no_other():
    assert broken(checked(upstream_ignored)) == {"gradient passed on from above"}
    assert broken(checked(wants_contiguous)) == {"right in every layout"}


def test_a_loss_that_writes_into_its_logits_is_told():
    def in_place(x, t):
        with torch.no_grad():
            x -= x.max(1, keepdim=True).values
        return sound(x, t)

    result = checked(in_place, cases="seed/article")
    assert not result.passed
    assert "the loss writes into its logits" in set(result.failures["detail"])


@pytest.mark.parametrize("wrong", [lambda x, t: sound(x, t).mean(), lambda x, t: sound(x, t)[:, None]])
def test_a_loss_of_another_shape_is_told(wrong):
    result = checked(wrong, cases="seed/article", shrink=True)
    assert result.grades == {"float32": "raised"}
    assert "one number a row" in result.failures["detail"].iloc[0]


def test_a_loss_that_raises_fails_and_keeps_its_words():
    def raises(x, t):
        raise ValueError("no such kernel")

    result = checked(raises, cases="seed/article", shrink=True)
    assert not result.passed
    assert "no such kernel" in str(result)


def test_an_interrupt_is_the_users():
    def interrupted(x, t):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checked(interrupted)


def test_the_first_failing_batch_can_be_the_last():
    whole, stopped = checked(naive), checked(naive, first=True)
    assert not stopped.passed
    assert len(stopped.lines) < len(whole.lines)


def test_a_check_gives_the_same_lines_again():
    one, other = (checked(naive, cases="offset/*") for _ in range(2))
    assert one.lines.equals(other.lines)


def test_a_dtype_that_is_not_supported_fails_only_where_it_was_asked_for():
    def wide_only(x, t):
        if x.dtype is torch.float16:
            raise NotImplementedError("\"loss\" not implemented for 'Half'")
        return sound(x, t)

    asked = checked(wide_only, dtypes=["float16", "float32"], cases="seed/article")
    assert asked.grades["float16"] == "unsupported"
    assert not asked.passed
    assert checked(wide_only, dtypes=None, cases="seed/article").passed


# --- the other frameworks ---------------------------------------------------------------------------------------


def test_jax_losses_and_what_the_process_had():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    def of_jax(x, t):
        return -jnp.take_along_axis(jax.nn.log_softmax(x, axis=1), t[:, None], axis=1)[:, 0]

    def naive_of_jax(x, t):
        return -jnp.log(jnp.take_along_axis(jnp.exp(x) / jnp.exp(x).sum(1, keepdims=True), t[:, None], axis=1)[:, 0])

    before = jax.config.jax_enable_x64
    assert logitlab.check(of_jax, "jax", ["float32", "float64"], cases=["seed/*", "masks/*"]).passed
    assert logitlab.check(of_jax, "jax", "float32", mode="compiled", cases="seed/*").passed
    failed = logitlab.check(naive_of_jax, "jax", "float32", cases=["seed/*"])
    assert failed.grades == {"float32": "F"}
    assert "jax.grad" in failed.script or "print('loss:'" in failed.script
    assert jax.config.jax_enable_x64 == before


def test_tensorflow_losses_in_every_mode():
    tf = pytest.importorskip("tensorflow")

    def of_tensorflow(x, t):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(logits=x, labels=t)

    def naive_of_tensorflow(x, t):
        return -tf.math.log(tf.gather(tf.nn.softmax(x), t, axis=1, batch_dims=1))

    for mode in ("eager", "graph"):
        assert logitlab.check(of_tensorflow, "tensorflow", "float32", mode=mode, cases=["seed/*", "masks/*"]).passed
    assert not logitlab.check(naive_of_tensorflow, "tensorflow", "float32", cases="seed/*").passed


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


def test_numpy_is_given_its_gradient():
    cases = ["seed/*", "ties/*", "gap/*"]
    alone = logitlab.check(numpy_loss, "numpy", "float32", cases=cases)
    assert alone.passed
    assert set(alone.grades_by_quantity["float32"]) == {"loss"}
    both = logitlab.check(numpy_loss, "numpy", "float32", gradient=numpy_gradient, cases=cases)
    assert set(both.grades_by_quantity["float32"]) == {"loss", "gradient"}
    flipped = logitlab.check(numpy_loss, "numpy", "float32", gradient=lambda x, t: -numpy_gradient(x, t), cases=cases)
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
        ({"mode": "quick"}, "torch has no mode 'quick'; it has eager, compiled"),
        ({"cases": "weights/*"}, "no case of weights/* is logits and class indices alone"),
        ({"cases": "nothing/*"}, "nothing/*"),
        ({"loss": 3}, "the loss is int"),
    ],
)
def test_what_cannot_be_checked_is_told(options, words):
    options = {"loss": sound, "framework": "torch", "dtypes": "float32", "cases": "seed/*"} | options
    with pytest.raises(logitlab.UsageError, match=words.replace("*", r"\*")):
        logitlab.check(options.pop("loss"), options.pop("framework"), **options)


@pytest.mark.parametrize("path", ["numpy", "numpy:", "no.such.module:loss", "numpy:no_such_loss", "numpy:pi"])
def test_a_name_that_leads_to_no_function_is_told(path):
    with pytest.raises(logitlab.UsageError):
        named(path)


MODULE = """
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere

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


def test_the_command_says_yes_no_and_cannot(project, capsys):
    options = ["--framework", "torch", "--dtype", "float32", "--case", "seed/*"]
    assert main(["check", "my_losses:sound", *options]) == 0
    assert "passed, grade B required" in capsys.readouterr().out
    assert main(["check", "my_losses:naive", *options]) == 1
    assert "FAILED" in capsys.readouterr().out
    assert main(["check", "my_losses:absent", *options]) == 2
    assert "it has sound, naive" in capsys.readouterr().err


def test_the_reproducer_runs_without_logitlab(project, capsys):
    assert main(["check", "my_losses:naive", "--framework", "torch", "--dtype", "float32", "--out", "found"]) == 1
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
