"""The words of a check's report: statuses, messages, warnings, and programs that were run."""

from __future__ import annotations

import functools
import sys
import warnings

import numpy as np
import pytest

import logitlab
from logitlab.cli import main
from logitlab.frameworks.numpy import FRAMEWORK
from logitlab.studies.check import named
from logitlab.studies.check.forms._import import definition
from logitlab.studies.check.judging._wording import message_key
from logitlab.studies.check.measuring._faults import fault
from logitlab.studies.check.reproducing._program import _shortened

CASES = ["seed/*", "check/width_1", "check/width_3"]


def sound(x, t):
    x = x.astype(np.float64)
    with np.errstate(all="ignore"):
        high = x.max(1, keepdims=True)
        shifted = x - np.where(np.isfinite(high), high, 0)
        return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(t)), t]


def checked(loss, **options):
    options = {"dtypes": None, "cases": CASES, "shrink": False} | options
    return logitlab.check(loss, "numpy", **options)


def raising(error, where=lambda x: x.dtype == np.float32):
    def loss(x, t):
        if where(x):
            raise error
        return sound(x, t).astype(x.dtype)

    return loss


# --- unsupported only if the loss says so -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TypeError("oops, a bug"), "raised"),
        (TypeError("'numpy.float32' object does not support item assignment"), "raised"),
        (TypeError("unsupported operand type(s) for +: 'NoneType' and 'float'"), "raised"),
        (TypeError("Cannot cast ufunc 'subtract' output from dtype('float64') to dtype('float32')"), "raised"),
        (TypeError("loss() got an unexpected keyword argument 'weight'"), "raised"),
        (NotImplementedError("out of ideas"), "raised"),
        (ValueError("not supported"), "raised"),
        (ValueError("float32"), "raised"),
        (SystemExit("float32 is not supported"), "raised"),
        (TypeError("no float32 here"), "unsupported"),
        (TypeError("ufunc 'exp' not supported for the input types"), "unsupported"),
        (NotImplementedError(), "unsupported"),
        (NotImplementedError("the kernel is not implemented"), "unsupported"),
        (ValueError("float32 is not supported"), "unsupported"),
    ],
    ids=lambda value: f"{type(value).__name__}({value})" if isinstance(value, BaseException) else value,
)
def test_a_call_is_unsupported_only_if_the_error_says_so(error, status):
    assert fault(FRAMEWORK, error, "float32")[0] == status


def test_a_message_names_the_dtype_of_the_call():
    assert fault(FRAMEWORK, TypeError("no bfloat16 here"), "bfloat16")[0] == "unsupported"
    assert fault(FRAMEWORK, TypeError("no bfloat16 here"), "float16")[0] == "raised"


def test_a_bug_in_one_dtype_fails_with_its_message_once():
    result = checked(raising(TypeError("oops, a bug")))
    assert not result.passed
    assert result.grades["float32"] == "raised"
    assert result.grades["float64"] == "B"
    assert str(result).count("TypeError: oops, a bug") == 1
    assert "float32   raised on all rows" in str(result)


def test_an_unsupported_dtype_shows_its_message_on_its_line():
    result = checked(raising(TypeError("no float32 here")))
    assert result.passed
    assert result.grades["float32"] == "unsupported"
    assert "float32   unsupported: TypeError: no float32 here" in str(result)


def test_rows_that_are_unsupported_in_words_are_reported():
    result = checked(raising(NotImplementedError("three classes are not supported"), lambda x: x.shape[1] == 3))
    assert result.passed
    assert "unsupported on 34 rows, all of 3 classes; A elsewhere" in " ".join(str(result).split())
    assert str(result).count("NotImplementedError: three classes") == 1


# --- one class --------------------------------------------------------------------------------------------------


def test_one_class_is_a_property_that_hides_no_grade():
    loss = raising(ValueError("needs two classes"), lambda x: x.shape[1] == 1)
    result = checked(loss, dtypes="float64")
    assert not result.passed
    table = result.properties.set_index("property")
    assert table.index[~table["held"]].tolist() == ["one class"]
    assert result.grades == {"float64": "raised"}
    assert "raised on 24 rows, all of 1 class; B elsewhere" in str(result)


# --- words ------------------------------------------------------------------------------------------------------


def test_a_long_message_is_wrapped_between_words_and_not_cut():
    words = " ".join(f"word{i}" for i in range(150))
    text = str(checked(raising(ValueError(words)), dtypes=["float32", "float64"]))
    assert words in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100


def test_equal_messages_with_other_numbers_are_one_message():
    def loss(x, t):
        if x.shape[1] > 1:
            raise ValueError(f"cannot take {len(x)} rows")
        return sound(x, t)

    result = checked(loss, dtypes="float64", cases=[*CASES, "check/width_5"])
    assert result.failures["detail"].nunique() == 2
    assert str(result).count("ValueError: cannot take") == 1
    assert message_key("3 rows of 17") == message_key("1 rows of 2")


def test_warnings_are_gathered_and_counted(recwarn):
    def loss(x, t):
        warnings.warn(f"slow for {len(x)} rows", stacklevel=1)
        return sound(x, t)

    with warnings.catch_warnings():
        warnings.resetwarnings()
        result = checked(loss, dtypes="float64")
    (warned,) = result.warnings
    assert warned.count > 20
    assert warned.message.startswith("UserWarning: slow for")
    assert str(result).count("UserWarning") == 1
    assert not recwarn.list


def test_a_check_without_a_gradient_says_so():
    assert "No gradient was checked, since numpy does not differentiate" in str(checked(sound, dtypes="float64"))
    assert "--gradient MODULE:FUNCTION" in str(checked(sound, dtypes="float64"))
    both = checked(sound, dtypes="float64", gradient=gradient)
    assert "No gradient" not in str(both)


def gradient(x, t):
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True) - (np.arange(x.shape[1]) == t[:, None])


# --- programs ---------------------------------------------------------------------------------------------------

MODULE = """
import functools
import numpy as np

EPS = 0.25

def right(x, t):
    high = x.max(1, keepdims=True)
    return np.log(np.exp(x - high).sum(1)) - (x - high)[np.arange(len(t)), t]

def wrong(x, t):
    return right(x, t) + EPS

class Wrong:
    def __init__(self, eps=1.0):
        self.eps = eps
    def __call__(self, x, t):
        return right(x, t) + self.eps
    def method(self, x, t):
        return right(x, t) + self.eps
    @staticmethod
    def static(x, t):
        return right(x, t) + 1

held = Wrong()

def scaled(x, t, factor):
    return right(x, t) * factor

seen = []

def stateful(x, t):
    seen.append(x.shape)
    return right(x, t) * (1 if len(seen) < 8 else 1.5)

def make(eps):
    def inner(x, t):
        return right(x, t) + eps
    return inner
"""


@pytest.fixture
def losses(tmp_path, monkeypatch):
    (tmp_path / "word_losses.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("word_losses", None)
    import word_losses

    yield word_losses
    sys.modules.pop("word_losses", None)


def failing(loss, **options):
    return checked(loss, dtypes="float64", cases="seed/*", shrink=True, **options)


def test_the_program_is_run_and_the_report_shows_what_it_prints(losses):
    result = failing(losses.wrong)
    assert result.smallest.run.shown == "failure"
    assert result.smallest.run.printed.splitlines() == ["given: [0.25]", "exact: [0.0]"]
    assert "In a new process it prints:\n    given: [0.25]\n    exact: [0.0]" in str(result)


def test_a_long_line_of_a_program_shows_its_start_and_its_end():
    line = f"given: [{'1.0, ' * 1000}2.0]"
    assert _shortened(line).startswith("given: [1.0,")
    assert _shortened(line).endswith("1.0, 2.0]")
    assert _shortened("given: [1.0]") == "given: [1.0]"


def test_the_program_of_a_loss_with_state_makes_the_earlier_calls(losses):
    result = failing(losses.stateful)
    assert result.smallest.run.shown == "failure after earlier calls"
    assert "# earlier calls" in result.script
    assert "only after the earlier calls" in str(result)


POSITIONS = """
import torch
import torch.nn.functional as F

calls = []

class Stateful(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t):
        ctx.save_for_backward(x, t)
        calls.append(x.shape)
        return F.cross_entropy(x, t, reduction="none")

    @staticmethod
    def backward(ctx, upstream):
        x, t = ctx.saved_tensors
        gradient = x.softmax(1) - F.one_hot(t, x.shape[1]).transpose(1, 2)
        wrong = len(calls) > 8 and x.shape[2] > 1
        return gradient * upstream[:, None] * (1.5 if wrong else 1), None

def stateful(x, t):
    return Stateful.apply(x, t)
"""


@pytest.mark.full  # each program imports PyTorch
def test_a_printed_gradient_is_read_in_the_layout_of_the_loss(tmp_path):
    """A right one, of the first call, is not taken for the failure."""
    (tmp_path / "positions.py").write_text(POSITIONS)
    _, loss = named(f"{tmp_path}/positions.py:stateful")
    result = logitlab.check(loss, "torch", "float32", layout="bct", cases=["seed/*", "check/width_2"])
    assert result.smallest.run.shown == "failure after earlier calls", str(result)


def test_a_program_that_was_not_run_has_no_output(losses):
    result = failing(losses.wrong, run_script=False)
    assert result.script is not None
    assert result.smallest.run is None


def test_a_loss_without_an_import_has_its_source_and_a_sentence(losses):
    offset = 0.5
    result = failing(lambda x, t: losses.right(x, t) + offset)
    assert result.smallest.run.shown == "failure"
    assert "offset = 0.5" in result.script
    assert "The loss is a lambda, which a new process cannot import" in " ".join(str(result).split())


def defined(loss, called="", **options):
    found = definition(loss, called, "loss", **options)
    namespace = {}
    exec("\n".join(found.lines), namespace)  # noqa: S102 - the lines under test
    return found, namespace["loss"]


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda m: m.wrong, "from word_losses import wrong as loss"),
        (lambda m: m.held, "from word_losses import held as loss"),
        (lambda m: m.held.method, "loss = owner.method"),
        (lambda m: m.Wrong.static, "loss = Wrong.static"),
        (lambda m: m.Wrong(eps=0.5), "loss = Wrong(eps=0.5)"),
        (lambda m: functools.partial(m.scaled, factor=2.0), "loss = functools.partial(function, factor=2.0)"),
    ],
)
def test_a_callable_is_imported_or_built(losses, make, line):
    loss = make(losses)
    found, again = defined(loss)
    assert found.lines[-1] == line
    assert not found.problem
    x, t = np.array([[1.0, 2.0]]), np.array([0])
    assert again(x, t) == loss(x, t)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda m: m.make(0.125), "inner, defined inside a function"),
        (lambda m: lambda x, t: m.right(x, t) + m.EPS, "a lambda"),
    ],
)
def test_a_loss_that_cannot_be_imported_is_copied(losses, make, words):
    loss = make(losses)
    found, again = defined(loss)
    assert words in found.problem
    x, t = np.array([[1.0, 2.0]]), np.array([0])
    assert again(x, t) == loss(x, t)


def test_an_object_without_a_name_or_arguments_has_a_sentence(losses):
    found = definition(functools.partial(losses.scaled, factor=object()), "", "loss")
    assert found.lines == ("from ... import ... as loss  # your function",)
    assert "assign it to a name in a module" in found.problem


def wide(x, t):
    return sound(x, t) + (x.shape[1] > 18_000)


def test_a_wide_row_that_fails_yields_a_program():
    result = checked(wide, dtypes="float64", cases="check/width_30522", shrink=True, run_script=False)
    assert result.smallest.logits.shape == (1, 18_001)
    assert "[[0.0] * 18001]" in result.script


# --- what cannot be measured ------------------------------------------------------------------------------------

UNMEASURED = {
    "scalar": "return r(x, t).sum()",
    "a_float": "return float(r(x, t).sum())",
    "lists": "return r(x, t).tolist()",
    "complex": "return r(x, t).astype(complex)",
    "short": "return r(x, t)[1:]",
    "objects": "return r(x, t).astype(object)",
    "generator": "yield from r(x, t)",
    "nothing": "pass",
    "exits": "raise SystemExit(3)",
}


@pytest.mark.parametrize("name", UNMEASURED)
def test_what_cannot_be_measured_has_one_line_and_exit_code_2(losses, name, capsys, tmp_path):
    source = f"from word_losses import right as r\ndef {name}(x, t):\n    {UNMEASURED[name]}\n"
    (tmp_path / "unmeasured.py").write_text(source)
    sys.modules.pop("unmeasured", None)
    assert main(["check", f"unmeasured:{name}", "--framework", "numpy", "--case", "seed/*"]) == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert len(shown.err.splitlines()) == 1
    assert shown.err.startswith(f"logitlab: cannot measure the loss of {name}")
    assert shown.err.count("expected") <= 1


def test_a_module_that_prints_and_exits_has_one_line(capsys, losses, tmp_path):
    (tmp_path / "exits_on_import.py").write_text("import sys\nprint('usage: me')\nsys.exit(2)\n")
    assert main(["check", "exits_on_import:loss", "--framework", "numpy"]) == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert len(shown.err.splitlines()) == 1
    assert "raises SystemExit: 2 and prints 'usage: me'" in shown.err
