"""The formulas in every framework: the article's numbers, the accuracy of ``log1p``, the backward passes of NumPy."""

import warnings
from functools import cache

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from logitlab.cases import select_cases
from logitlab.core.formats import FORMATS
from logitlab.core.rounding import quantize
from logitlab.core.vocabulary import FORMULAS, Formula, Problem
from logitlab.execution import registry
from logitlab.frameworks import Batch
from logitlab.grading import grade
from logitlab.oracle import reference

NAN, INF = float("nan"), float("inf")
FLOAT32 = FORMATS["float32"]
FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")
BUILTINS = {
    "numpy/scipy.special.log_softmax",
    "numpy/scipy.special.logsumexp",
    "numpy/scipy.special.softmax",
    "numpy/sklearn.metrics.log_loss",
    "torch/F.cross_entropy",
    "torch/F.nll_loss[F.log_softmax]",
    "torch/nn.CrossEntropyLoss",
    "torch/logsumexp",
    "jax/nn.log_softmax",
    "jax/nn.logsumexp",
    "jax/nn.softmax",
    "jax/optax.softmax_cross_entropy",
    "jax/optax.softmax_cross_entropy_with_integer_labels",
    "jax/optax.safe_softmax_cross_entropy",
    "tensorflow/nn.sparse_softmax_cross_entropy_with_logits",
    "tensorflow/nn.softmax_cross_entropy_with_logits",
    "tensorflow/keras.losses.sparse_categorical_crossentropy",
    "tensorflow/keras.losses.sparse_categorical_crossentropy[from_logits]",
    "tensorflow/keras.losses.categorical_crossentropy",
    "tensorflow/keras.losses.categorical_crossentropy[from_logits]",
    "tensorflow/keras.losses.SparseCategoricalCrossentropy",
    "tensorflow/keras.losses.SparseCategoricalCrossentropy[from_logits]",
    "tensorflow/keras.losses.CategoricalCrossentropy",
    "tensorflow/keras.losses.CategoricalCrossentropy[from_logits]",
    "tensorflow/nn.log_softmax",
}


def framework(name):
    return registry.load(name)


def implementation(name):
    (found,) = [i for i in framework(name.split("/")[0]).implementations if i.name == name]
    return found


def evaluate(name, logits, targets, reduction="none"):
    """Return the array of each quantity, eager, on the CPU."""
    owner = framework(name.split("/")[0])
    return dict(owner.evaluate(implementation(name), Batch(logits, targets, reduction), "cpu", "eager"))


def article(name, reduction):
    (case,) = select_cases("seed/article")
    return evaluate(name, case.quantized(FLOAT32), case.targets, reduction)


def grades(name, logits, targets, reduction="none", fmt=FLOAT32):
    """Return the letters of every row and quantity."""
    x = quantize(logits, fmt)
    exact, rows = reference(x, targets, reduction=reduction), reference(x, targets).loss
    answers = evaluate(name, x, np.array(targets), reduction)
    options = {"reduction": reduction, "row_losses": rows}
    return {letter for q, v in answers.items() for letter in grade(q, v, x, fmt, exact, **options).grade}


# --- the article ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", FRAMEWORKS)
def test_naive_fails_as_the_article_says(owner):
    rows, mean = article(f"{owner}/naive", "none"), article(f"{owner}/naive", "mean")
    np.testing.assert_array_equal(rows["probabilities"][1], [NAN, 0, 0])
    np.testing.assert_allclose(rows["loss"], [0.4170, INF, 1.4076], atol=5e-5)
    assert mean["loss"] == INF
    for gradient in (rows["gradient"], mean["gradient"]):
        assert np.isfinite(gradient[[0, 2]]).all()
        assert np.isnan(gradient[1]).all()


@pytest.mark.parametrize("owner", FRAMEWORKS)
def test_lse_stays_finite_as_the_article_says(owner):
    rows, mean = article(f"{owner}/lse", "none"), article(f"{owner}/lse", "mean")
    np.testing.assert_allclose(rows["loss"], [0.4170, 2000, 1.4076], atol=5e-5)
    assert mean["loss"] == pytest.approx(667.2749, abs=1e-4)
    assert np.isfinite(rows["gradient"]).all()
    np.testing.assert_array_equal(rows["gradient"][1], [1, 0, -1])
    np.testing.assert_allclose(mean["gradient"], rows["gradient"] / 3, rtol=1e-6)


def test_numpys_mean_of_an_empty_batch_is_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = evaluate("numpy/lse", np.empty((0, 3), np.float32), np.empty(0, np.int64), "mean")
    assert np.isnan(values["loss"])
    assert values["loss"].dtype == np.float32
    assert values["gradient"].shape == (0, 3)


@pytest.mark.parametrize("owner", FRAMEWORKS)
def test_answers_come_in_the_dtype_of_the_logits(owner):
    for formula in ("naive", "lse"):
        assert {v.dtype for v in article(f"{owner}/{formula}", "none").values()} == {np.dtype(np.float32)}


OFFSET = [[1e5, 1e5 + 1, 1e5 + 2], [1e5 - 8, 1e5, 1e5 + 4]]


@pytest.mark.parametrize("owner", FRAMEWORKS)
def test_adding_the_maximum_back_costs_digits(owner):
    """The article says that its formula mirrors production code; the grades show that it does not."""
    assert max(grades(f"{owner}/naive", OFFSET, [1, 0])) == "F"
    assert max(grades(f"{owner}/lse", OFFSET, [1, 0])) == "C"
    assert grades(f"{owner}/log1p", OFFSET, [1, 0]) == {"A"}


@pytest.mark.full  # test_field_cases.py has the losses of such rows
def test_optax_with_integer_labels_adds_the_maximum_back_too():
    assert max(grades("jax/optax.softmax_cross_entropy_with_integer_labels", OFFSET, [1, 0])) == "C"


@pytest.mark.parametrize(
    "name",
    ["torch/F.cross_entropy", "tensorflow/nn.sparse_softmax_cross_entropy_with_logits", "jax/nn.log_softmax"],
)
def test_production_code_is_accurate_at_an_offset(name):
    assert grades(name, OFFSET, [1, 0]) <= {"A", "B"}


@pytest.mark.full  # test_field_cases.py has the losses of such rows
def test_a_one_hot_times_a_masked_log_probability_is_nan():
    """google-deepmind/optax#896: 0 x -inf in the loss of a row with a masked class."""
    (case,) = select_cases("masks/first")
    assert "F" in grades("jax/optax.softmax_cross_entropy", case.logits, case.targets)
    assert grades("jax/optax.safe_softmax_cross_entropy", case.logits, case.targets) <= {"A", "B"}


# --- log1p is accurate everywhere -------------------------------------------------------------------------------

NARROW = [f"{family}/*" for family in ("seed", "overflow", "underflow", "gap", "certainty", "masks", "special", "ties")]


@cache
def narrow_rows(dtype):
    """Return all rows of two and three classes as one batch of three, so that compilers see one shape."""
    fmt = FORMATS[dtype]
    fitting = [c for c in select_cases(NARROW) if c.classes in (2, 3) and dtype in c.dtypes]
    masked = ((0, 0), (0, 1))
    rows = [np.pad(c.quantized(fmt), masked, constant_values=-INF)[:, :3] for c in fitting]
    logits, targets = np.concatenate(rows), np.concatenate([c.targets for c in fitting])
    return logits, targets, reference(logits, targets)


# JAX compiles each operation again for each dtype.
@pytest.mark.parametrize(
    ("owner", "dtype"),
    [
        pytest.param(owner, dtype, marks=[pytest.mark.full] if owner == "jax" and dtype != "float32" else [])
        for owner in FRAMEWORKS
        for dtype in FORMATS
    ],
)
def test_log1p_is_accurate_on_every_narrow_row(owner, dtype):
    logits, targets, exact = narrow_rows(dtype)
    endless = (logits.astype(np.float64) == INF).any(axis=1) | ~exact.defined
    expected = np.where(endless, None, "A").tolist()
    answers = evaluate(f"{owner}/log1p", logits, targets)
    assert set(answers) == set(Problem.LOGITS.quantities)
    for quantity, values in answers.items():
        assert grade(quantity, values, logits, FORMATS[dtype], exact).grade.tolist() == expected, quantity


@pytest.mark.parametrize("owner", ["numpy", "torch", pytest.param("jax", marks=pytest.mark.full), "tensorflow"])
def test_log1p_sums_a_thousand_small_terms(owner):
    (case,) = select_cases("certainty/thousand_small")
    assert grades(f"{owner}/log1p", case.logits, case.targets) == {"A"}


@pytest.mark.parametrize("owner", FRAMEWORKS)
def test_log1p_finds_the_tiny_loss_that_lse_rounds_away(owner):
    logits, targets = np.array([[25.0, 0.0, 0.0], [0.0, 0.0, 25.0]], np.float32), np.array([0, 2])
    np.testing.assert_array_equal(evaluate(f"{owner}/lse", logits, targets)["loss"], [0, 0])
    np.testing.assert_allclose(evaluate(f"{owner}/log1p", logits, targets)["loss"], 2 * np.exp(-25.0), rtol=1e-6)


# --- NumPy's backward passes are those of automatic differentiation ---------------------------------------------

ROWS = st.lists(
    st.lists(st.one_of(st.floats(-300, 300), st.sampled_from([1000.0, -1000.0, 0.0])), min_size=3, max_size=3),
    min_size=1,
    max_size=4,
)


def gradients(formula, logits, targets):
    return [evaluate(f"{owner}/{formula}", logits, targets)["gradient"] for owner in ("numpy", "torch")]


@settings(max_examples=examples(200, 10))
@given(ROWS, st.sampled_from(["naive", "lse", "log1p"]), st.integers(0, 2))
def test_numpys_gradients_are_those_of_pytorchs_autograd(rows, formula, target):
    ours, torchs = gradients(formula, np.array(rows), np.full(len(rows), target))
    np.testing.assert_allclose(ours, torchs, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("formula", ["naive", "lse", "log1p"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_nan_spreads_in_numpy_as_in_pytorch(formula, dtype):
    cases = [c for c in select_cases(["seed/article", "special/nan*", "masks/*"]) if c.classes == 3]
    for case in cases:
        ours, torchs = gradients(formula, case.quantized(FORMATS[dtype]), case.targets)
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(torchs), err_msg=case.id)


@pytest.mark.parametrize(("dtype", "low"), [("float32", -100.0), ("float64", -740.0)])
def test_infinity_spreads_in_numpy_as_in_pytorch(dtype, low):
    """The target's probability is subnormal and its reciprocal, the slope of the logarithm, infinite."""
    ours, torchs = gradients("naive", np.array([[0.0, low, 1.0]], dtype), np.array([1]))
    assert np.isinf(ours).any()
    np.testing.assert_array_equal(ours, torchs)


# --- what each framework offers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", FRAMEWORKS)
def test_implementations_are_named_after_their_framework_and_formula(owner):
    offered = framework(owner).implementations
    assert framework(owner).name == owner
    assert {i.formula for i in offered} == set(FORMULAS) - {Formula.ONLINE}
    written = [i for i in offered if i.formula != "builtin" and "eager" in i.modes]  # not those of divided classes
    assert all(i.name == f"{owner}/{i.formula}" for i in written)
    assert all(i.name.startswith(f"{owner}/") for i in offered)
    assert len({i.name for i in offered}) == len(offered)


@pytest.mark.parametrize("owner", FRAMEWORKS)
def test_the_built_in_losses_are_all_there(owner):
    offered = {i.name for i in framework(owner).implementations if i.formula == "builtin"}
    assert offered >= {name for name in BUILTINS if name.startswith(f"{owner}/")}


@pytest.mark.parametrize(
    "name", [*(f"{o}/{f}" for o in FRAMEWORKS for f in ("naive", "lse", "log1p")), *sorted(BUILTINS)]
)
def test_every_implementation_is_good_on_ordinary_rows(name):
    (case,) = select_cases("seed/mild_mean")
    answers = evaluate(name, case.quantized(FLOAT32), case.targets, "mean")
    assert tuple(answers) == implementation(name).quantities
    assert grades(name, case.logits, case.targets, "mean") <= {"A", "B"}


@pytest.mark.parametrize("owner", FRAMEWORKS)
def test_every_framework_finds_a_cpu(owner):
    assert framework(owner).devices()[0] == "cpu"


@pytest.mark.parametrize("owner", FRAMEWORKS)
def test_a_bug_in_logitlab_is_not_reported_as_unsupported(owner):
    assert not framework(owner).unsupported(ValueError("could not broadcast shapes"))


@pytest.mark.parametrize(
    ("owner", "error"),
    [
        ("numpy", TypeError("ufunc 'exp' not supported for the input types")),
        ("torch", RuntimeError("\"log_softmax\" not implemented for 'Half'")),
        ("jax", NotImplementedError("float8")),
    ],
)
def test_a_frameworks_message_that_it_lacks_a_feature_is_recognized(owner, error):
    assert framework(owner).unsupported(error)
