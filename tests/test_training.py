"""``train-demo``: the same start and batches everywhere, right gradients, and right counts."""

import importlib.util
import io
import math
import shutil
from concurrent.futures import Future
from concurrent.futures import TimeoutError as CallTimeoutError
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pebble import ProcessExpired
from rich.console import Console

from logitlab import UsageError
from logitlab.cli import main
from logitlab.core.formats import FORMATS
from logitlab.execution.registry import Description
from logitlab.frameworks import Implementation, Step
from logitlab.frameworks._training import step_by_hand
from logitlab.frameworks.numpy import FRAMEWORK as NUMPY
from logitlab.studies import training
from logitlab.studies.training import _chart, _demo
from logitlab.studies.training._task import BATCH, MODELS, Task, held_out_images, training_images
from logitlab.studies.training._train import Traced, TrainingInfo, accuracy, describe_training, trace, trace_steps

TOOL = Path(__file__).parent.parent / "benchmarks" / "make_images.py"
FRAMEWORKS = ("jax", "numpy", "tensorflow", "torch")
SANE, ABSURD = 0.125, 100.0  # the sane rate is a number of every dtype
STEPS = 3
STEP_COLUMNS = ["logits_step", "loss_step", "gradient_step", "weights_step"]


@pytest.fixture(
    scope="module",
    params=[("numpy",), pytest.param(FRAMEWORKS, marks=pytest.mark.full)],
    ids=["NumPy", "every framework"],
)
def frameworks(request):
    return request.param


@pytest.fixture(scope="module")
def table(frameworks):
    """Train each framework and loss in two dtypes, for three steps at a sane and an absurd rate."""
    return training.train_demo(frameworks, models="two-layer", rates=[ABSURD, SANE], steps=STEPS)


# --- the images -------------------------------------------------------------------------------------------------


def test_the_images_are_scikit_learns_and_the_tool_recreates_them(tmp_path, capsys):
    from sklearn.datasets import load_digits

    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "studies" / "training").mkdir(parents=True)
    spec = importlib.util.spec_from_file_location("make_images", shutil.copy(TOOL, tmp_path / "benchmarks"))
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.main()
    assert "1797 images" in capsys.readouterr().out
    images, labels = load_digits(return_X_y=True)
    for folder in (tmp_path, TOOL.parent.parent):
        with np.load(folder / "studies" / "training" / "digits.npz", allow_pickle=False) as kept:
            assert kept["images"].dtype == kept["labels"].dtype == np.uint8
            np.testing.assert_array_equal(kept["images"], images)
            np.testing.assert_array_equal(kept["labels"], labels)


def test_training_and_held_out_images_are_all_the_digits_and_share_none():
    (seen, seen_labels), (unseen, unseen_labels) = training_images(), held_out_images()
    assert (seen.shape, unseen.shape) == ((1347, 64), (450, 64))
    assert (np.bincount(seen_labels) + np.bincount(unseen_labels)).tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180,
    ]  # fmt: skip
    assert not {x.tobytes() for x in seen} & {x.tobytes() for x in unseen}


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_images_are_the_same_numbers_in_every_dtype(dtype):
    (images, labels), *_ = Task("linear", dtype, (1.0,), 1, 0).batches()
    (exact, same), *_ = Task("linear", "float64", (1.0,), 1, 0).batches()
    assert images.dtype == FORMATS[dtype].dtype
    np.testing.assert_array_equal(images.astype(np.float64), exact)
    np.testing.assert_array_equal(labels, same)
    assert (exact.min(), exact.max()) == (0.0, 1.0)


# --- the start and the batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", FORMATS)
def test_the_start_is_one_start_rounded_to_the_dtype(model, dtype):
    wide = Task(model, "float64", (1.0,), 1, 0).start()
    start = Task(model, dtype, (1.0,), 1, 0).start()
    assert [w.shape for w in start] == [s for n, m in pairwise(MODELS[model]) for s in ((n, m), (m,))]
    for rounded, w in zip(start, wide, strict=True):
        assert rounded.dtype == FORMATS[dtype].dtype
        np.testing.assert_allclose(rounded.astype(np.float64), w, rtol=FORMATS[dtype].unit_roundoff, atol=1e-7)
    assert wide[0].std() * math.sqrt(64) == pytest.approx(1, abs=0.1)


def test_another_seed_is_another_start_and_another_order():
    first, second = (Task("linear", "float64", (1.0,), 1, seed) for seed in (0, 1))
    assert not np.array_equal(first.start()[0], second.start()[0])
    assert not np.array_equal(next(first.batches())[0], next(second.batches())[0])


def test_a_pass_shows_each_image_at_most_once_and_more_steps_keep_the_first():
    in_a_pass = 1347 // BATCH
    batches = list(Task("linear", "float64", (1.0,), in_a_pass + 1, 0).batches())
    shown = [image.tobytes() for images, _ in batches[:-1] for image in images]
    assert len(set(shown)) == in_a_pass * BATCH
    (few,) = Task("linear", "float64", (1.0,), 1, 0).batches()
    np.testing.assert_array_equal(few[0], batches[0][0])


# --- the steps are right ----------------------------------------------------------------------------------------


def mean_loss(weights, images, labels):
    """Return the mean cross-entropy of a model with at most one hidden layer, in float64."""
    *hidden, last, last_bias = weights
    if hidden:
        images = np.maximum(images @ hidden[0] + hidden[1], 0)
    logits = images @ last + last_bias
    return (np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]).mean()


def slopes(weights, images, labels):
    """Return the gradient of `mean_loss` by central differences."""
    found = []
    for i, w in enumerate(weights):
        slope = np.zeros_like(w)
        for at in np.ndindex(w.shape):
            ends = []
            for nudge in (1e-6, -1e-6):
                moved = [v.copy() for v in weights]
                moved[i][at] += nudge
                ends.append(mean_loss(moved, images, labels))
            slope[at] = (ends[0] - ends[1]) / 2e-6
        found.append(slope)
    return found


@cache
def slopes_at_the_start(model):
    """Return the gradient of eight images at the start of a model."""
    images, labels = next(Task(model, "float64", (1.0,), 1, 0).batches())
    return slopes(Task(model, "float64", (1.0,), 1, 0).start(), images[:8], labels[:8])


def numpys(formula):
    (found,) = [i for i in NUMPY.implementations if i.formula == formula]
    return found


@pytest.mark.parametrize("formula", ["naive", "lse", "log1p"])
@pytest.mark.parametrize("model", MODELS)
def test_numpys_gradient_is_that_of_finite_differences(model, formula):
    start = Task(model, "float64", (1.0,), 1, 0).start()
    images, labels = next(Task(model, "float64", (1.0,), 1, 0).batches())
    few = images[:8], labels[:8]
    weights, loss, gradient, _ = step_by_hand(numpys(formula), start, *few, np.float64(0.5))
    assert loss == pytest.approx(mean_loss(start, *few), rel=1e-14)
    for made, g, slope, w in zip(weights, gradient, slopes_at_the_start(model), start, strict=True):
        np.testing.assert_allclose(g, slope, atol=2e-9)
        np.testing.assert_array_equal(made, w - 0.5 * g)


def test_an_infinite_slope_does_not_pass_a_unit_that_is_off():
    """NumPy's ReLU agrees with the frameworks': a product of infinity and 0 would be NaN."""
    loss = Implementation("x", "naive", lambda x, t: x[:, 0], "numpy", gradient=lambda x, t: np.full_like(x, np.inf))
    weights = (np.array([[1.0, -1.0]]), np.zeros(2), np.ones((2, 2)), np.zeros(2))
    with np.errstate(invalid="ignore"):
        _, _, gradient, _ = step_by_hand(loss, weights, np.ones((1, 1)), np.array([0]), np.float64(1.0))
    np.testing.assert_array_equal(gradient[0], [[np.inf, 0.0]])


@cache
def loss_of_the_last_batch(model, dtype):
    """Return this loss in float64, from the start of the dtype, with gradients by central differences."""
    weights = [w.astype(np.float64) for w in Task(model, dtype, (SANE,), STEPS, 0).start()]
    *before, last = Task(model, "float64", (SANE,), STEPS, 0).batches()
    for images, labels in before:
        weights = [w - SANE * g for w, g in zip(weights, slopes(weights, images, labels), strict=True)]
    return mean_loss(weights, *last)


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 2e-6), ("float16", 4e-3)])
def test_every_framework_and_loss_trains_alike_at_a_sane_rate(table, frameworks, dtype, rtol):
    runs = table[(table["dtype"] == dtype) & (table["learning_rate"] == SANE)]
    assert len(runs) == 3 * len(frameworks)
    np.testing.assert_allclose(runs["final_loss"], loss_of_the_last_batch("two-layer", dtype), rtol=rtol)
    assert runs[STEP_COLUMNS].isna().all(axis=None)
    assert runs["steps"].eq(STEPS).all()


@pytest.mark.parametrize("name", ["torch/lse", "torch/F.cross_entropy"])
def test_pytorchs_losses_train_as_they_should(name):
    (found,) = trace("torch", name, Task("linear", "float32", (SANE,), STEPS, 0)).traces
    assert found.final_loss == pytest.approx(loss_of_the_last_batch("linear", "float32"), rel=2e-6)


@pytest.mark.parametrize("formula", ["naive", "lse", "log1p"])
def test_the_linear_model_trains_as_it_should(formula):
    (found,) = trace("numpy", f"numpy/{formula}", Task("linear", "float32", (SANE,), STEPS, 0)).traces
    assert found.final_loss == pytest.approx(loss_of_the_last_batch("linear", "float32"), rel=2e-6)


# --- the counts mean what they say ------------------------------------------------------------------------------


def test_each_count_is_the_first_step_at_which_a_number_was_not_finite():
    """Logits fail at step 2, the loss at 3, a gradient at 4, a weight at 5; step 6 is finite but not taken."""
    number = iter(range(1, 9))

    def step(weights, images, labels):
        n = next(number)
        logits = np.array([[1.0, -n, np.inf if n == 2 else 0.0]])
        gradient = (np.zeros(2), np.array([0.0, -np.inf if n == 4 else 0.0]))
        made = (np.zeros((64, 10)), np.full(10, np.nan if n == 5 else 0.0))
        return Step(made, np.float32(np.nan if n == 3 else n / 2), gradient, logits)

    found = trace_steps(step, (), [((), ())] * 8, np.asarray)
    assert found.stopped == {"logits": 2, "loss": 3, "gradient": 4, "weights": 5}
    assert (found.steps, found.final_loss, found.largest_logit, found.accuracy) == (5, 2.5, 5.0, 0.0)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("model", MODELS)
def test_a_nan_in_one_pixel_reaches_everything_in_its_step(model, dtype):
    task = Task(model, dtype, (1.0,), 3, 0)
    batches = list(task.batches())
    batches[1][0][5, 7] = np.nan
    rate = FORMATS[dtype].dtype.type(0.5)
    found = trace_steps(lambda *s: step_by_hand(numpys("log1p"), *s, rate), task.start(), batches, np.asarray)
    assert found.stopped == dict.fromkeys(("logits", "loss", "gradient", "weights"), 2)
    assert math.isnan(found.final_loss)


def test_weights_that_are_nan_recognize_nothing_and_zero_weights_one_class():
    _, labels = held_out_images()
    zero = (np.zeros((64, 10)), np.zeros(10))
    assert accuracy(zero) == np.mean(labels == 0) > 0.05
    assert accuracy((zero[0] * np.nan, zero[1])) == 0.0


def test_naive_never_outlives_lse(table, frameworks):
    runs = table[table["learning_rate"] == ABSURD].fillna({"weights_step": STEPS + 1})
    wide = runs.pivot(index=["framework", "dtype"], columns="formula", values="weights_step")
    assert len(wide) == 2 * len(frameworks)
    assert (wide["naive"] <= wide["lse"]).all()
    # Measured with the versions of constraints.txt: after the first step exp of the logits overflows.
    assert wide["naive"].eq(2).all()
    float32 = wide.xs("float32", level="dtype")
    assert float32["lse"].eq(STEPS + 1).all(), "lse stays finite in float32"


# --- the table --------------------------------------------------------------------------------------------------


BUILT_IN = {
    "numpy": "numpy/log1p",
    "torch": "torch/F.cross_entropy",
    "jax": "jax/optax.softmax_cross_entropy_with_integer_labels",
    "tensorflow": "tensorflow/nn.sparse_softmax_cross_entropy_with_logits",
}


def test_the_table_has_a_line_for_each_run(table, frameworks):
    assert tuple(table.columns) == training.COLUMNS
    assert len(table) == len(frameworks) * 3 * 2 * 2
    assert not table.duplicated(["implementation", "dtype", "model", "learning_rate"]).any()
    assert tuple(table["framework"].unique()) == frameworks
    assert set(table.loc[table["formula"].isin(["builtin", "log1p"]), "implementation"]) == {
        BUILT_IN[name] for name in frameworks
    }
    assert table[["version", "mode", "largest_logit", "accuracy"]].notna().all(axis=None)
    assert np.isfinite(table["final_loss"][table["loss_step"].isna()]).all()
    assert table["fault"].isna().all()
    assert (table[["steps", *STEP_COLUMNS]].dtypes == "Int64").all()
    assert table["accuracy"].between(0, 1).all()
    died = table["weights_step"].notna()
    assert (table["steps"][died] == table["weights_step"][died]).all()
    assert table["learning_rate"].iloc[:2].tolist() == [SANE, ABSURD]


def test_a_loss_that_raises_is_a_fault():
    found = trace("numpy", "numpy/lse", Task("linear", "float32", (1.0,), -1, 0))
    assert found.traces[0].steps == 0
    assert trace("numpy", "numpy/none", Task("linear", "float32", (1.0,), 1, 0)).fault.startswith("ValueError: ")


@pytest.mark.parametrize(
    ("error", "message"),
    [(CallTimeoutError(), "no answer within 7 s"), (ProcessExpired("gone", -9), "the worker process died (SIGKILL)")],
)
def test_a_process_that_dies_or_hangs_is_a_fault(error, message):
    future = Future()
    future.set_exception(error)
    assert _demo._result(future, 7.0) == Traced((), message)


def test_a_missing_framework_is_left_out_and_raises_if_it_was_requested():
    here, gone = Description("numpy"), Description("torch", missing="cannot be imported: no torch")
    assert _demo._present({"numpy": here, "torch": gone}, asked=False) == {"numpy": here}
    with pytest.raises(UsageError, match="no framework to train with: torch cannot be imported: no torch"):
        _demo._present({"numpy": here, "torch": gone}, asked=True)


# --- the command and the chart ----------------------------------------------------------------------------------


def shown(table):
    page = io.StringIO()
    training.show(table, Console(file=page, width=100, color_system=None, highlight=False, markup=False))
    return page.getvalue()


def test_the_printed_table_fits_a_hundred_columns_and_shows_deaths_and_faults(table):
    builtin = {"framework": "torch", "implementation": BUILT_IN["torch"], "formula": "builtin"}
    both = pd.concat([table[table["formula"] == "log1p"].assign(**builtin), table])
    more = [both.assign(learning_rate=both["learning_rate"] * 10.0**i) for i in range(4)]
    page = shown(pd.concat(more))
    assert max(map(len, page.splitlines())) <= 100
    assert page.count("two-layer in float16") == 2, "eight rates are two tables"
    assert "dies 2" in page
    assert f"the built-ins: {BUILT_IN['torch']}" in page
    broken = table[table["framework"] == "numpy"].assign(fault="no answer within 7 s")
    assert "fault  numpy/lse, two-layer in float16: no answer within 7 s" in shown(broken)


def test_a_loss_that_was_not_finite_on_the_way_is_marked(table):
    run = table[(table["implementation"] == "numpy/lse") & (table["learning_rate"] == SANE)].head(1)
    assert "0.500 " in shown(run.assign(accuracy=0.5)).replace("\n", " ")
    assert "0.500*" in shown(run.assign(accuracy=0.5, loss_step=2))


def test_the_command_shows_the_table_and_writes_it_with_a_chart(table, tmp_path, capsys):
    out = tmp_path / "demo"
    rates = ["--rate", str(SANE), "--rate", str(ABSURD)]
    assert main(["train-demo", "--framework", "numpy", "--steps", str(STEPS), *rates, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "linear in float32" in printed
    assert printed.splitlines()[-3:] == [str(out / f"training.{kind}") for kind in ("csv", "svg", "png")]
    written = pd.read_csv(out / "training.csv").astype(dict.fromkeys(["steps", *STEP_COLUMNS], "Int64"))
    assert written.pop("fault").isna().all()
    again = written[written["model"] == "two-layer"].reset_index(drop=True)
    before = table[table["framework"] == "numpy"].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, before.drop(columns="fault"))
    assert (out / "training.png").read_bytes().startswith(b"\x89PNG")
    svg = (out / "training.svg").read_text()
    for words in ("two-layer, float16", "learning rate", "accuracy", "log1p (NumPy)"):
        assert words in svg


def test_the_chart_marks_dead_runs_and_draws_no_line_through_them(table):
    drawn = _chart._drawn(table)
    died = table["weights_step"].notna()
    assert died.any()
    assert drawn["outcome"].eq(_chart._DEAD).tolist() == died.tolist()
    assert drawn["kept_accuracy"].isna().tolist() == died.tolist()
    assert drawn.loc[died, "height"].lt(0).all()
    assert drawn.loc[~died, "height"].between(0, 1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--framework", "mxnet"], "unknown framework 'mxnet'; choose one of"),
        (["--dtype", "float8"], "unknown dtype 'float8'; choose one of"),
        (["--model", "three-layer"], "unknown model 'three-layer'; choose one of linear, two-layer"),
        (["--rate", "-1"], "the learning rate is -1; expected a positive number that is finite in float16"),
        (["--rate", "nan"], "the learning rate is nan; expected a positive number that is finite in float16"),
        (["--rate", "1e5"], "the learning rate is 100000; expected a positive number that is finite in float16"),
        (["--steps", "0"], "steps is 0; expected a whole number of at least 1"),
        (["--seed", "-1"], "seed is -1; expected a whole number of at least 0"),
        (["--out", "file"], "file is a file; give a folder as --out"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert main(["train-demo", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_command_names_the_missing_extra_before_it_trains(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_chart, "find_spec", lambda module: None)
    assert main(["train-demo", "--out", str(tmp_path / "demo")]) == 2
    message = "logitlab: the chart needs altair and vl-convert-python; install with `pip install 'logitlab[report]'`\n"
    assert capsys.readouterr().err == message
    assert not (tmp_path / "demo").exists()


def test_a_framework_without_a_training_step_is_left_out_and_raises_if_it_was_requested():
    numpy, none = describe_training("numpy"), describe_training("onnxruntime")
    assert numpy == TrainingInfo("eager", ("numpy/naive", "numpy/lse", "numpy/log1p"))
    assert none is None
    assert _demo._trained({"numpy": numpy, "onnxruntime": none}, asked=False) == {"numpy": numpy}
    with pytest.raises(UsageError, match="onnxruntime has no training step; choose another framework, or define"):
        _demo._trained({"numpy": numpy, "onnxruntime": none}, asked=True)
