"""Arguments of the public functions: a mistake raises one line before any work starts; each convenience works."""

import math

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from in_process import calls_in_this_process

import logitlab
from logitlab import runner
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.formats import get_format, to_numpy
from logitlab.studies import training
from logitlab.studies.testing import logit_cases

ONE = {"cases": "seed/article", "implementations": "numpy/lse", "frameworks": "numpy"}
NO_LIMITS = ["x", 0, -1, math.nan, math.inf, True]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Return the folder of a run of one case."""
    folder = tmp_path_factory.mktemp("one") / "run"
    with calls_in_this_process():
        runner.run(**ONE, dtypes="float32", out=folder)
    return folder


@pytest.fixture
def _nothing_starts(monkeypatch):
    """Fail the test if a worker process starts: a wrong argument is refused first."""
    monkeypatch.setattr("logitlab.execution.pool.ProcessPool", lambda *_, **__: pytest.fail("a process was started"))


def sound_loss(logits, targets):
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), targets]


def refused(function, *arguments, **keywords) -> str:
    with pytest.raises(UsageError) as caught:
        function(*arguments, **keywords)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- limits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", NO_LIMITS, ids=repr)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda limit: logitlab.run(**ONE, timeout=limit), "timeout"),
        (lambda limit: logitlab.run(**ONE, memory_limit=limit), "memory_limit"),
        (lambda limit: logitlab.explain("seed/article", "numpy/lse", timeout=limit), "timeout"),
        (lambda limit: logitlab.hunt("numpy/lse", timeout=limit), "timeout"),
        (lambda limit: logitlab.hunt("numpy/lse", seconds=limit), "seconds"),
        (lambda limit: training.train_demo("numpy", timeout=limit), "timeout"),
    ],
    ids=["run", "run, memory", "explain", "hunt", "hunt, seconds", "train_demo"],
)
@pytest.mark.usefixtures("_nothing_starts")
def test_a_limit_other_than_a_positive_number_is_refused_before_anything_starts(call, name, limit):
    assert refused(call, limit).startswith(f"{name} is {limit!r}; expected a finite number of ")


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--case", "seed/article", "--timeout", "inf"],
        ["run", "--case", "seed/article", "--memory-limit", "inf"],
        ["explain", "seed/article", "--implementation", "numpy/lse", "--timeout", "inf"],
        ["hunt", "numpy/lse", "--timeout", "inf"],
        ["hunt", "numpy/lse", "--seconds", "nan"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("_nothing_starts")
def test_the_command_line_refuses_such_a_limit_too(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"is {command[-1]}; expected a finite number of" in line


# --- lists ------------------------------------------------------------------------------------------------------

LISTS = [
    *((logitlab.run, name) for name in (
        "cases", "logits", "sweeps", "case_files", "frameworks", "implementations", "dtypes", "devices", "modes",
        "variants",
    )),
    *((logitlab.catalogue, name) for name in ("patterns", "families", "tags", "dtypes", "sources")),
    (logitlab.implementations, "frameworks"),
    *((lambda **given: logitlab.hunt("numpy/lse", **given), name) for name in ("cases", "quantities")),
    (lambda **given: logitlab.explain("seed/article", "numpy/lse", **given), "case_files"),
    *((lambda **given: logitlab.check(sound_loss, "numpy", **given), name) for name in ("cases", "dtypes")),
    (lambda **given: logitlab.assert_conforms(sound_loss, "numpy", **given), "dtypes"),
    *((logit_cases, name) for name in ("patterns", "dtypes")),
    *((training.train_demo, name) for name in ("frameworks", "dtypes", "models", "rates")),
    *((lambda **given: logitlab.matrix(["scipy==1.14.1", "scipy==1.15.3"], "out", **given), name) for name in (
        "cases", "frameworks", "implementations", "dtypes", "modes",
    )),
    *((logitlab.largest, name) for name in ("runs", "case_files", "implementations", "dtypes", "quantities")),
    (lambda by: logitlab.distributions("run", by), "by"),
    (lambda requirements: logitlab.matrix(requirements, "out"), "requirements"),
]  # fmt: skip


@pytest.mark.parametrize("empty", [[], (), np.zeros(0), pd.Series([], dtype=object)], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(("function", "name"), LISTS, ids=[f"{f.__name__}-{n}" for f, n in LISTS])
@pytest.mark.usefixtures("_nothing_starts")
def test_an_empty_list_is_refused_and_does_not_mean_everything(function, name, empty):
    assert refused(function, **{name: empty}).startswith(f"{name} is an empty list; ")


@pytest.mark.parametrize(("function", "name"), LISTS, ids=[f"{f.__name__}-{n}" for f, n in LISTS])
@pytest.mark.usefixtures("_nothing_starts")
def test_a_value_of_another_type_is_refused_alone_and_in_a_list(function, name):
    for given in (object(), [object()]):
        message = refused(function, **{name: given})
        assert message.startswith((f"{name} is <object", f"an item of {name} is <object", "unknown dtype <object"))


def test_an_empty_list_of_runs_is_refused_in_every_form():
    for runs in ([], [[]], [None]):
        assert refused(logitlab.tables, *runs) == "no run is given; give the folders of one or more runs"


@pytest.mark.usefixtures("_nothing_starts")
def test_a_set_of_requirements_alone_is_one_set():
    assert refused(logitlab.matrix, "scipy==1.14.1", "out").startswith(
        "expected at least two sets of requirements, and 1 is given; "
    )


@pytest.mark.usefixtures("in_this_process")
def test_a_lone_string_is_a_list_of_one(measured):
    assert set(logitlab.implementations("numpy")["framework"]) == {"numpy"}
    pd.testing.assert_frame_equal(logitlab.read(measured, columns="case"), logitlab.read(measured, columns=["case"]))
    assert [(c.name, c.dtype) for c in logit_cases("seed/article", "float16")] == [("seed/article", "float16")]


@pytest.mark.usefixtures("in_this_process")
def test_a_list_of_runs_has_the_tables_of_the_runs(measured):
    alone, listed = logitlab.tables(measured), logitlab.tables([str(measured)])
    assert list(alone) == list(listed)
    pd.testing.assert_frame_equal(alone["grades"], listed["grades"])


# --- one thing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: logitlab.run(logits=np.zeros((2, 3))), r"numpy\.savez\('mine\.npz', logits=logits, targets=targets\)"),
        (lambda: logitlab.run(**ONE, out=5), "out is 5; expected a path"),
        (lambda: logitlab.run(**ONE, executor=5), "executor is 5; expected a string"),
        (lambda: logitlab.run(**ONE, progress=5), "progress is 5; expected a function"),
        (lambda: logitlab.hunt("numpy/lse", seconds="30"), "seconds is '30'; expected a finite number of seconds"),
        (lambda: logitlab.hunt("numpy/lse", seed=-1), "seed is -1; expected a whole number of at least 0"),
        (lambda: logitlab.hunt("numpy/lse", seed=0.5), r"seed is 0\.5; expected a whole number"),
        (lambda: logitlab.hunt("numpy/lse", evaluations=1.5), r"evaluations is 1\.5; expected a whole number"),
        (lambda: logitlab.hunt("numpy/lse", keep="x"), "keep is 'x'; expected a whole number of at least 1"),
        (lambda: logitlab.hunt("numpy/lse", None), "unknown dtype None; choose one of"),
        (lambda: logitlab.hunt("numpy/lse", device=5), "device is 5; expected a string"),
        (lambda: logitlab.hunt(5), "implementation is 5; expected a string"),
        (lambda: logitlab.explain(5, "numpy/lse"), "case is 5; expected a string"),
        (lambda: logitlab.explain("seed/article", "numpy/lse", row="first"), "row is 'first'; expected a whole"),
        (lambda: logitlab.check(sound_loss, "numpy", gradient=5), "the gradient is 5; expected a function"),
        (lambda: logitlab.compare("a", "b", factor="2"), "factor is '2'; expected a number of at least 1"),
        (lambda: logitlab.compare(5, "b"), "before is 5; expected a run folder"),
        (lambda: logitlab.matrix(["scipy==1.14.1", "scipy==1.15.3"], "out", factor="2"), "factor is '2'"),
        (lambda: logitlab.matrix(["scipy==1.14.1", "scipy==1.15.3"], "out", cases="no/such"), "no case matches"),
        (lambda: logitlab.matrix(["scipy==1.14.1", "scipy==1.15.3"], "out", dtypes="f4"), "unknown dtype 'f4'"),
        (lambda: logitlab.style([1, 2]), r"the table is \[1, 2\]; expected a pandas\.DataFrame"),
        (
            lambda: logitlab.tables(pd.DataFrame({"a": [1]})),
            "an item of runs is of type DataFrame; expected the folder",
        ),
        (lambda: logitlab.read(5), "run is 5; expected the folder of a run"),
        (lambda: logitlab.query("runs", 5), "runs is not a run"),
        (lambda: training.train_demo("numpy", steps="x"), "steps is 'x'; expected a whole number of at least 1"),
    ],
)
@pytest.mark.usefixtures("_nothing_starts")
def test_a_wrong_argument_is_reported_in_one_line(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float16, np.dtype("float16"), [np.float16]], ids=repr)
@pytest.mark.usefixtures("in_this_process")
def test_a_dtype_may_be_numpys_own(dtype):
    assert set(logitlab.run(**ONE, dtypes=dtype)["dtype"]) == {"float16"}
    assert set(logitlab.catalogue("seed/article", dtypes=dtype)["case"]) == {"seed/article"}


def test_a_dtype_may_be_a_frameworks_own():
    torch = pytest.importorskip("torch")
    assert get_format(torch.bfloat16).name == get_format(ml_dtypes.bfloat16).name == "bfloat16"
    assert get_format(torch.float32).name == "float32"
    with pytest.raises(UsageError, match=r"unknown dtype torch\.int8; choose one of"):
        get_format(torch.int8)


# --- arrays -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_tensor_that_requires_a_gradient_has_a_reference(dtype):
    torch = pytest.importorskip("torch")
    logits = torch.tensor([[1.0, 2.7, -3.0]], dtype=getattr(torch, dtype), requires_grad=True)
    weight = torch.tensor([1.0, 2.0, 3.0], dtype=getattr(torch, dtype), requires_grad=True)
    found = logitlab.reference(logits, torch.tensor([1]), weight=weight)
    numbers = logits.detach().double().numpy()
    expected = logitlab.reference(numbers, [1], weight=[1.0, 2.0, 3.0])
    np.testing.assert_array_equal(found.loss.hi, expected.loss.hi)
    np.testing.assert_array_equal(found.gradient.hi, expected.gradient.hi)
    assert to_numpy(logits, "logits").dtype.name == dtype


def test_a_jax_array_has_a_reference():
    jnp = pytest.importorskip("jax.numpy")
    logits = jnp.asarray([[1.0, 2.75, -3.0]], jnp.bfloat16)
    assert to_numpy(logits, "logits").dtype.name == "bfloat16"
    found = logitlab.reference(logits, jnp.asarray([1]))
    np.testing.assert_array_equal(found.loss.hi, logitlab.reference([[1.0, 2.75, -3.0]], [1]).loss.hi)


class Bits:
    """A bfloat16 array that converts to the integers of its bits, as Paddle's does."""

    dtype = "paddle.bfloat16"

    def __init__(self, numbers):
        self._numbers = np.asarray(numbers, np.float32)

    def __array__(self, dtype=None, copy=None):
        return self._numbers.astype(ml_dtypes.bfloat16).view(np.uint16)

    def astype(self, dtype):
        return self._numbers.astype(dtype)


def test_bits_that_come_as_integers_are_not_read_as_numbers():
    np.testing.assert_array_equal(to_numpy(Bits([[1.5, -2.0]]), "logits"), np.array([[1.5, -2.0]], ml_dtypes.bfloat16))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([[1.0, 2.0], [3.0]], [0, 0]), {}, "logits cannot be read as an array"),
        (([[1.0, 2.0]], [[0.5, 0.5], [1.0]]), {}, "targets cannot be read as an array"),
        (([[1.0, 2.0]], [0]), {"weight": [[1.0], [1.0, 2.0]]}, "weight cannot be read as an array"),
        (([[1.0, 2.0]], [0]), {"weight": ["a", "b"]}, "weight has dtype <U1; expected one of"),
        (([[1.0, 2.0]], [0]), {"ignore_index": 1.5}, "ignore_index is 1.5; expected a whole number"),
        (([[1.0, 2.0]], [0]), {"label_smoothing": "x"}, "label_smoothing is 'x'; expected a number from 0 to 1"),
        (("abc", [0]), {}, "logits have dtype <U3; expected one of"),
        ((None, [0]), {}, "logits have dtype object; expected one of"),
    ],
)
def test_anything_but_an_array_of_numbers_is_reported_in_one_line(arguments, options, message):
    assert refused(logitlab.reference, *arguments, **options).startswith(message)


# --- names before work ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [("{run}", "nope"), ("nope", "{run}")])
def test_compare_says_which_folder_is_missing_before_it_reads_the_other(measured, sides, monkeypatch):
    monkeypatch.setattr("logitlab.storage.store.Run.read", lambda run: pytest.fail("a run was read"))
    given = [side.format(run=measured) for side in sides]
    assert refused(logitlab.compare, *given).startswith("nope does not exist; ")


def test_a_missing_file_of_logits_is_reported_before_another_is_read(tmp_path, monkeypatch):
    np.savez(tmp_path / "there.npz", logits=np.zeros((2, 3), np.float32), targets=[0, 1])
    monkeypatch.setattr(
        "logitlab.cases.inputs._logits_file.LogitsFile.open", lambda path: pytest.fail("a file was read")
    )
    missing = tmp_path / "missing.npz"
    assert (
        refused(runner.run, logits=[tmp_path / "there.npz", missing])
        == f"{missing}: no such file; give the path of an existing file"
    )
