"""Keras's losses on its JAX and PyTorch backends: measurements of the installed versions."""

import math
from functools import cache

import numpy as np
import pytest

from logitlab import reference
from logitlab.core.formats import FORMATS
from logitlab.core.vocabulary import GRADES
from logitlab.execution import registry, worker
from logitlab.execution.pool import Pools
from logitlab.frameworks import Batch
from logitlab.grading import grade

# Importing PyTorch and Keras takes as long as all tests with JAX.
BACKENDS = ("keras-jax", pytest.param("keras-torch", marks=pytest.mark.full))
SPARSE, DENSE = "sparse_categorical_crossentropy", "categorical_crossentropy"
DENSE_OBJECT = "CategoricalCrossentropy[from_logits,dtype]"
SPARSE_OBJECT = f"Sparse{DENSE_OBJECT}"

ARTICLE = np.array([[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0], [3.0, 2.0, 1.0]])
# With a masked class in the last row.
HARD, HARD_TARGETS = np.vstack([ARTICLE, [-np.inf, 1.0, 2.0]]), (0, 2, 1, 1)

# The worst loss of the hard rows in float32. A masked class gives 0 x -inf, unless XLA compiles the one-hot, the
# product and the sum into a selection. A clipped probability is wrong everywhere.
MEASURED = {
    ("keras-jax", "eager"): {
        f"{SPARSE}[from_logits]": "F", SPARSE: "D", f"{DENSE}[from_logits]": "F", DENSE: "D",
        SPARSE_OBJECT: "F", DENSE_OBJECT: "F",
    },
    ("keras-jax", "compiled"): {
        f"{SPARSE}[from_logits]": "A", SPARSE: "D", f"{DENSE}[from_logits]": "A", DENSE: "D",
        SPARSE_OBJECT: "A", DENSE_OBJECT: "A",
    },
    ("keras-torch", "eager"): {
        f"{SPARSE}[from_logits]": "A", SPARSE: "D", f"{DENSE}[from_logits]": "F", DENSE: "D",
        SPARSE_OBJECT: "A", DENSE_OBJECT: "F",
    },
}  # fmt: skip
MESSAGE = (
    "{name} is now graded {now} ({framework}, {mode}, Keras {version}), and was {was}: if a new version fixed or "
    "broke it, say so in the CHANGELOG and change this table; if not, find out which is right"
)


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    """A worker starts when it is first asked."""
    with Pools(("keras-jax", "keras-torch"), tmp_path_factory.mktemp("logs")) as opened:
        yield opened


@pytest.fixture(scope="module")
def describe(pools):
    """Return a function that describes a framework in its worker."""
    return cache(lambda name: pools.worker(name).schedule(registry.describe, args=[name]).result())


def _name(framework, loss):
    return f"{framework}/losses.{loss}"


def _outcome(
    pools,
    framework,
    loss,
    *,
    dtype="float32",
    logits=ARTICLE,
    targets=(0, 2, 1),
    reduction="none",
    mode="eager",
    **options,
):
    """Return the answer of the framework's worker."""
    batch = Batch(logits.astype(FORMATS[dtype].dtype), np.array(targets), reduction, options)
    evaluation = worker.Evaluation(framework, _name(framework, loss), batch, mode=mode)
    return pools.worker(framework).schedule(worker.call, args=[evaluation]).result()


def _answer(*cell, **call):
    outcome = _outcome(*cell, **call)
    assert outcome.status == "ok", outcome.detail
    return dict(outcome.values)


CELLS = [
    pytest.param(framework, mode, loss, marks=[pytest.mark.full] if framework == "keras-torch" else [])
    for (framework, mode), losses in MEASURED.items()
    for loss in losses
]


@pytest.mark.sampled
@pytest.mark.parametrize(("framework", "mode", "loss"), CELLS)
def test_the_grade_on_hard_rows_is_the_recorded_one(pools, describe, framework, mode, loss):
    answer = _answer(pools, framework, loss, logits=HARD, targets=HARD_TARGETS, mode=mode)
    exact = reference(HARD.astype(np.float32), np.array(HARD_TARGETS))
    graded = grade("loss", answer["loss"], HARD.astype(np.float32), FORMATS["float32"], exact)
    now, was = max(graded.grade, key=GRADES.index), MEASURED[framework, mode][loss]
    measurement = {"framework": framework, "mode": mode, "version": dict(describe(framework).versions)["keras"]}
    assert now == was, MESSAGE.format(name=loss, now=now, was=was, **measurement)


@pytest.mark.parametrize("framework", BACKENDS)
def test_every_keras_loss_has_a_measured_grade(describe, framework):
    offered = {(mode, o.name) for o in describe(framework).implementations for mode in o.modes}
    measured = {mode: losses for (name, mode), losses in MEASURED.items() if name == framework}
    assert offered == {(mode, _name(framework, loss)) for mode, losses in measured.items() for loss in losses}


@pytest.mark.parametrize("framework", BACKENDS)
def test_the_losses_from_logits_are_right_on_the_articles_rows(pools, framework):
    loss = _answer(pools, framework, f"{SPARSE}[from_logits]")["loss"]
    assert loss.tolist() == pytest.approx([0.4170, 2000.0, 1.4076], abs=1e-4)


@pytest.mark.parametrize("framework", BACKENDS)
@pytest.mark.parametrize("loss", [SPARSE, DENSE])
def test_the_loss_from_probabilities_saturates_and_loses_its_gradient(pools, framework, loss):
    """keras-team/keras#17634: the probability is clipped to 1e-7, on every backend; the exact loss is 2000."""
    answer = _answer(pools, framework, loss)
    assert answer["loss"][1] == pytest.approx(-math.log(1e-7), abs=1e-5), f"{loss} no longer clips at 1e-7"
    assert answer["gradient"][1].tolist() == [0, 0, 0], f"{loss} now has a gradient where the probability is clipped"


@pytest.mark.parametrize("loss", [f"{SPARSE}[from_logits]", f"{DENSE}[from_logits]"])
def test_compiling_fixes_a_masked_class_on_jax(pools, loss):
    """Eager mode multiplies the one-hot with a log-probability of -inf; XLA's program does not."""
    masked = {"logits": HARD, "targets": HARD_TARGETS}
    eager, compiled = (
        _answer(pools, "keras-jax", loss, mode=mode, **masked)["loss"][3] for mode in ("eager", "compiled")
    )
    assert np.isnan(eager), f"{loss} no longer gives NaN for a masked class"
    assert compiled == pytest.approx(np.log1p(np.e), rel=1e-6), f"{loss} compiled gives {compiled} for a masked class"


@pytest.mark.parametrize("framework", BACKENDS)
def test_the_loss_object_reduces_by_itself(pools, framework):
    """mpmath 1.3 at 60 digits gives a mean of 667.2748786602407... and three times that as the sum."""
    mean = _answer(pools, framework, SPARSE_OBJECT, reduction="mean")
    total = _answer(pools, framework, DENSE_OBJECT, reduction="sum")
    assert float(mean["loss"]) == pytest.approx(667.2748786602407, rel=1e-7)
    assert float(total["loss"]) == pytest.approx(3 * 667.2748786602407, rel=1e-7)
    assert mean["gradient"].shape == (3, 3)
    assert mean["gradient"][1].tolist() == pytest.approx([1 / 3, 0, -1 / 3])


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_the_loss_object_of_no_rows_is_one_number_on_jax(pools, mode):
    """Keras returns an array of no losses, whatever the reduction."""
    none = {"logits": np.empty((0, 3)), "targets": np.empty(0, np.int64)}
    answer = _answer(pools, "keras-jax", SPARSE_OBJECT, reduction="sum", mode=mode, **none)
    assert (answer["loss"].shape, float(answer["loss"])) == ((), 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("framework", BACKENDS)
def test_a_loss_answers_in_the_dtype_of_its_logits(pools, framework, dtype):
    """64 bits are on only for float64 in JAX: the one-hot, and with it a float32 sparse loss, would be float64."""
    answer = _answer(pools, framework, f"{SPARSE}[from_logits]", dtype=dtype)
    assert {quantity: array.dtype.name for quantity, array in answer.items()} == {"loss": dtype, "gradient": dtype}
    # By mpmath 1.3 at 60 digits, with 0.1 taken as its float64.
    digits = {"float32": 1e-6, "float64": 1e-15}[dtype]
    assert float(answer["loss"][0]) == pytest.approx(0.4170300162778335, rel=digits)


@pytest.mark.full
def test_a_float64_mean_of_keras_is_float32_on_torch(pools):
    by_object = _answer(pools, "keras-torch", SPARSE_OBJECT, dtype="float64", reduction="mean")
    by_caller = _answer(pools, "keras-torch", f"{SPARSE}[from_logits]", dtype="float64", reduction="mean")
    assert by_caller["loss"].dtype == np.float64
    assert by_object["loss"].dtype == np.float32, "Keras's own mean now keeps float64"


@pytest.mark.parametrize("framework", BACKENDS)
def test_the_sparse_loss_object_rounds_the_class_index_to_the_dtype(pools, framework):
    """It casts targets like logits: bfloat16 has no odd numbers above 256, so the loss is that of another class."""
    logits = np.zeros((1, 300))
    logits[0, 257] = 8
    batch = {"dtype": "bfloat16", "logits": logits, "targets": [257]}
    # 257 is rounded to 256 or 258; both have the loss of every other class.
    right, another = np.log(299 + np.exp(8)) - 8, np.log(299 + np.exp(8))
    by_function = float(_answer(pools, framework, f"{SPARSE}[from_logits]", **batch)["loss"][0])
    by_object = float(_answer(pools, framework, SPARSE_OBJECT, **batch)["loss"][0])
    assert by_function == pytest.approx(right, rel=2e-2)
    assert by_object == pytest.approx(another, rel=2e-2), "the object of a sparse loss no longer rounds its targets"


@pytest.mark.parametrize("framework", BACKENDS)
def test_each_loss_takes_the_options_that_keras_documents(pools, framework):
    for loss in (f"{SPARSE}[from_logits]", SPARSE_OBJECT):
        ignored = _answer(pools, framework, loss, targets=[0, -100, 1], ignore_index=-100)
        assert ignored["loss"].tolist() == pytest.approx([0.41703, 0, 1.40761], abs=1e-5)
        assert (ignored["gradient"][1] == 0).all()
        assert _outcome(pools, framework, loss, label_smoothing=0.1).status == "unsupported"
    for loss in (f"{DENSE}[from_logits]", DENSE_OBJECT):
        # A tenth of the target's logit is replaced with a tenth of the three logits' mean.
        smoothed = _answer(pools, framework, loss, label_smoothing=0.1)
        expected = [0.41703 + 0.1 * (2 - 3.1 / 3), 2000 + 0.1 * (-1000 - 1 / 3), 1.40761]
        assert smoothed["loss"].tolist() == pytest.approx(expected, rel=1e-5)
        assert _outcome(pools, framework, loss, ignore_index=-100).status == "unsupported"


INVALID = pytest.mark.parametrize("target", [-1, 3])


@INVALID
def test_an_invalid_target_has_a_loss_of_0_on_jax(pools, target):
    """Its one-hot is all zeros, which makes the row's loss and gradient 0."""
    on_jax = _answer(pools, "keras-jax", f"{SPARSE}[from_logits]", targets=[0, target, 1])
    assert on_jax["loss"][1] == 0, "Keras no longer gives a loss of 0 for an invalid target"
    assert (on_jax["gradient"][1] == 0).all()


@pytest.mark.full
@INVALID
def test_an_invalid_target_is_refused_on_torch(pools, target):
    outcome = _outcome(pools, "keras-torch", f"{SPARSE}[from_logits]", targets=[0, target, 1])
    assert outcome.status == "raised"


@pytest.mark.parametrize("framework", BACKENDS)
def test_a_worker_imports_only_the_framework_of_its_backend(pools, framework):
    frameworks = {"torch", "jax", "jaxlib", "tensorflow", "onnxruntime", "paddle"}
    own = {"keras-jax": {"jax", "jaxlib"}, "keras-torch": {"torch"}}
    question = "{m.split('.')[0] for m in __import__('sys').modules}"
    loaded = pools.worker(framework).schedule(eval, args=[question]).result()
    assert "keras" in loaded
    assert loaded & frameworks == own[framework]
