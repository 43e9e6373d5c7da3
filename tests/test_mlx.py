"""MLX's loss and the formulas in it: measurements of the installed version on an x86-64 CPU."""

import math

import mlx.core as mx
import numpy as np
import pytest
from in_process import calls_in_this_process

from logitlab import check, reference, runner
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.core.vocabulary import GRADES
from logitlab.execution import registry, worker
from logitlab.execution.pool import Pools
from logitlab.frameworks import Batch
from logitlab.frameworks._batch import in_layout

BUILTIN = "mlx/nn.losses.cross_entropy"
ARTICLE = np.array([[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0], [3.0, 2.0, 1.0]])
PLAIN = ["seed/*", "masks/*", "offset/*", "overflow/*", "underflow/*", "special/*", "certainty/m*", "stagnation/*"]
# The worst grade over the plain families. Where the row's sum is long, the stable losses lose terms of it: D.
MEASURED = {
    ("mlx/naive", "float32"): "F", ("mlx/lse", "float32"): "D", ("mlx/log1p", "float32"): "C",
    (BUILTIN, "float32"): "D", ("mlx/naive", "bfloat16"): "F", ("mlx/lse", "bfloat16"): "C",
    ("mlx/log1p", "bfloat16"): "A", (BUILTIN, "bfloat16"): "B",
}  # fmt: skip
MESSAGE = "{name} in {dtype} is now graded {now} at {case} (MLX {version}), and was {was}: write it in the CHANGELOG"


@pytest.fixture(scope="module")
def plain():
    with calls_in_this_process():
        return runner.run(frameworks="mlx", dtypes=["float32", "bfloat16"], cases=PLAIN, modes="eager")


def answer(name=BUILTIN, logits=ARTICLE, targets=(0, 2, 1), dtype="float32", mode="eager", **more):
    """Return the array of each quantity."""
    outcome = outcome_of(name, logits, targets, dtype, mode, **more)
    assert outcome.status == "ok", outcome.detail
    return dict(outcome.values)


def outcome_of(name, logits, targets, dtype="float32", mode="eager", reduction="none", layout="rows", **options):
    owner = registry.load("mlx")
    fmt = FORMATS[dtype].dtype
    rounded = {k: np.asarray(v, fmt) if isinstance(v, list) else v for k, v in options.items()}
    given = np.array(targets)
    batch = Batch(
        np.asarray(logits, fmt), given.astype(fmt) if given.ndim == 2 else given, reduction, rounded, layout=layout
    )
    return worker.evaluated(owner, owner.all_implementations[name], batch, "cpu", mode)


@pytest.mark.parametrize(("name", "dtype"), MEASURED)
def test_the_grade_is_the_recorded_one(plain, name, dtype):
    rows = plain[(plain["implementation"] == name) & (plain["dtype"] == dtype) & plain["grade"].notna()]
    worst = rows.iloc[rows["grade"].map(GRADES.index).astype(int).argmax()]
    now, was = worst["grade"], MEASURED[name, dtype]
    facts = {"now": now, "was": was, "case": worst["case"], "version": worst["version"]}
    assert now == was, MESSAGE.format(name=name, dtype=dtype, **facts)


def test_every_implementation_has_a_measured_grade(plain):
    assert set(plain["implementation"]) == {name for name, _ in MEASURED}


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_the_articles_numbers(mode):
    naive, lse, builtin = (answer(name, mode=mode) for name in ("mlx/naive", "mlx/lse", BUILTIN))
    for stable in (lse, builtin):
        assert stable["loss"].tolist() == pytest.approx([0.4170, 2000.0, 1.4076], abs=1e-4)
        assert np.isfinite(stable["gradient"]).all()
    assert naive["loss"].tolist() == pytest.approx([0.4170, math.inf, 1.4076], abs=1e-4)
    assert naive["probabilities"][1].tolist() == pytest.approx([math.nan, 0, 0], nan_ok=True)
    assert np.isnan(naive["gradient"][1]).all()
    assert np.isfinite(naive["gradient"][[0, 2]]).all()


@pytest.mark.full
def test_a_compiled_gradient_is_that_of_the_eager_one():
    for name in ("mlx/log1p", BUILTIN):
        eager, compiled = (answer(name, mode=mode)["gradient"] for mode in ("eager", "compiled"))
        np.testing.assert_allclose(compiled, eager, rtol=1e-5, atol=1e-7)


def test_the_loss_of_2049_classes_is_0_if_the_maximum_comes_first(plain):
    """MLX adds a row's exponentials to one float32 sum, where each is below half an ulp of the 1 that it begins with.

    On Apple silicon the sum may be divided among the lanes of a vector.
    """
    rows = plain[(plain["case"] == "stagnation/float32_2049") & (plain["dtype"] == "float32")]
    rows = rows[(rows["implementation"] == BUILTIN) & (rows["quantity"] == "loss")].set_index("row")
    assert rows.loc[0, "exact"] == pytest.approx(1.52587e-05, rel=1e-5)
    assert rows.loc[0, "value"] == 0, f"MLX {rows.loc[0, 'version']} no longer loses the sum: write it in the CHANGELOG"
    assert rows.loc[0, "grade"] == "D"
    assert rows.loc[1, "value"] == pytest.approx(1.52587e-05, rel=1e-3), "the maximum comes last"


def test_a_float64_exponential_has_the_digits_of_float32():
    exact = np.array([math.exp(x / 8) for x in range(-40, 1)])
    error = np.abs(np.array(mx.exp(mx.array(np.arange(-40, 1) / 8, mx.float64))) / exact - 1).max()
    message = f"MLX {mx.__version__} now has an exp of float64 with an error of {error:.1e}: write it in the CHANGELOG"
    assert 2**-30 < error < 2**-22, message


COMPILED = pytest.param("compiled", marks=pytest.mark.full, id="compiled")


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("mode", ["eager", COMPILED])
def test_a_loss_answers_in_the_dtype_of_its_logits(dtype, mode):
    returned = answer("mlx/log1p", dtype=dtype, mode=mode)
    assert {quantity: array.dtype.name for quantity, array in returned.items()} == {
        "probabilities": dtype, "loss": dtype, "gradient": dtype,
    }  # fmt: skip
    # By mpmath 1.3 at 60 digits, with 0.1 taken as its float64. The exp of float64 is not more accurate.
    digits = {"float16": 1e-3, "bfloat16": 1e-2}.get(dtype, 1e-6)
    assert float(returned["loss"][0]) == pytest.approx(0.4170300162778335, rel=digits)


def test_the_loss_takes_the_options_that_mlx_documents():
    smoothed = answer(label_smoothing=0.1)
    # A tenth of the target's logit is replaced with a tenth of the three logits' mean.
    expected = [0.41703 + 0.1 * (2 - 3.1 / 3), 2000 + 0.1 * (-1000 - 1 / 3), 1.40761]
    assert smoothed["loss"].tolist() == pytest.approx(expected, rel=1e-5)
    for option in ({"weight": [1.0, 2.0, 3.0]}, {"ignore_index": -100}, {"softcap": 30.0}):
        refused = outcome_of(BUILTIN, ARTICLE, (0, 2, 1), **option)
        assert refused.status == "unsupported"
        assert f"takes no {next(iter(option))}" in refused.detail


def test_the_formulas_take_the_options_of_language_models():
    """The exact loss of the options, by the oracle."""
    options = {"softcap": 30.0, "logit_scale": 0.5, "z_loss": 0.25}
    exact = reference(ARTICLE.astype(np.float32), np.array([0, 2, 1]), **options)
    for name in ("mlx/lse", "mlx/log1p"):
        returned = answer(name, **options)
        np.testing.assert_allclose(returned["loss"], exact.loss.hi, rtol=2e-6)
        np.testing.assert_allclose(returned["gradient"], exact.gradient.hi, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_the_loss_reduces_by_itself(mode):
    """mpmath 1.3 at 60 digits gives a mean of 667.2748786602407... and three times that as the sum."""
    mean, total = (answer(reduction=reduction, mode=mode) for reduction in ("mean", "sum"))
    assert float(mean["loss"]) == pytest.approx(667.2748786602407, rel=1e-6)
    assert float(total["loss"]) == pytest.approx(3 * 667.2748786602407, rel=1e-6)
    assert mean["gradient"][1].tolist() == pytest.approx([1 / 3, 0, -1 / 3])


def test_a_masked_class_is_nan_with_probabilities_as_targets():
    """MLX multiplies the shifted logit, -inf, with its probability, 0."""
    masked, onehot = [[-math.inf, 1.0, 2.0]], [[0.0, 1.0, 0.0]]
    assert answer(logits=masked, targets=[1])["loss"].tolist() == pytest.approx([1.3132617], rel=1e-6)
    value = answer(logits=masked, targets=onehot)["loss"][0]
    assert np.isnan(value), f"MLX {mx.__version__} now gives {value} for a masked class: write it in the CHANGELOG"


def test_probabilities_that_do_not_sum_to_1_are_taken_as_if_they_did():
    """The exact loss of the targets (0.5, 0, 0) is half of that of the first class, 0.2085; MLX gives another."""
    (value,) = answer(logits=ARTICLE[:1], targets=[[0.5, 0.0, 0.0]])["loss"]
    assert value == pytest.approx(0.41703, abs=1e-5), (
        "MLX's loss now scales with the targets: write it in the CHANGELOG"
    )


def test_logits_of_three_axes_have_their_classes_last():
    spatial, rows = answer(layout="spatial"), answer()
    np.testing.assert_array_equal(spatial["loss"], rows["loss"])
    np.testing.assert_array_equal(spatial["gradient"], rows["gradient"])


@pytest.mark.parametrize("dtype", FORMATS)
def test_arrays_keep_their_numbers_and_their_layout(dtype):
    """MLX exports its strides with the buffer; bfloat16 has no buffer."""
    owner = registry.load("mlx")
    numbers = np.arange(6.0).reshape(2, 3).astype(FORMATS[dtype].dtype)
    wide = np.arange(24.0).reshape(3, 8).astype(FORMATS[dtype].dtype)
    for laid in (in_layout(numbers, "transposed"), in_layout(numbers, "strided"), wide[1:, 2:6], numbers[::-1]):
        array = owner.to_array(laid, "cpu")
        np.testing.assert_array_equal(owner.to_numpy(array), laid)
        if dtype != "bfloat16" and min(laid.strides) > 0:
            mx.eval(array)
            assert np.array(array, copy=False).strides == laid.strides


def test_check_finds_the_faults_of_a_loss_in_mlx():
    def careless(logits, targets):
        p = mx.softmax(logits, axis=-1)
        return -mx.log(mx.take_along_axis(p, targets[..., None], axis=-1)[..., 0])

    result = check(careless, framework="mlx", dtypes="float32", require="B", cases=["seed/*", "gap/*_low"])
    assert not result.passed
    assert result.grades == {"float32": "F"}
    assert result.smallest is not None
    assert set(result.failures["case"].str.split("/").str[0]) <= {"seed", "gap"}


def test_check_refuses_a_loss_of_another_shape():
    with pytest.raises(UsageError):
        check(lambda logits, targets: logits, framework="mlx", dtypes="float32")


def test_the_worker_imports_no_other_framework(tmp_path):
    with Pools(["mlx"], tmp_path) as pools:
        pools.describe()
        question = "{m.split('.')[0] for m in __import__('sys').modules}"
        loaded = pools.worker("mlx").schedule(eval, args=[question]).result()
    assert "mlx" in loaded
    assert not loaded & {"torch", "jax", "jaxlib", "tensorflow", "keras", "onnxruntime", "paddle", "pandas", "flint"}
