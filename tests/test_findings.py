"""What the installed versions do, as measurements: when a new version mends one, the message says so."""

import pandas as pd
import pytest

from logitlab import runner
from logitlab.cases import select
from logitlab.grading import GRADES

MEASURED = {
    "torch/F.cross_entropy": "B",
    "torch/F.nll_loss[F.log_softmax]": "B",
    "tensorflow/nn.log_softmax": "B",
    "tensorflow/nn.sparse_softmax_cross_entropy_with_logits": "B",
    "tensorflow/keras.losses.sparse_categorical_crossentropy[from_logits]": "B",
    "tensorflow/keras.losses.SparseCategoricalCrossentropy[from_logits]": "B",
    "numpy/scipy.special.log_softmax": "B",
    "jax/nn.log_softmax": "B",
    "jax/optax.safe_softmax_cross_entropy": "B",
    # The maximum is added back before the target logit is subtracted.
    "jax/optax.softmax_cross_entropy_with_integer_labels": "C",
    "numpy/scipy.special.logsumexp": "C",
    "torch/logsumexp": "C",
    "jax/nn.logsumexp": "C",
    "numpy/lse": "C",
    "torch/lse": "C",
    "jax/lse": "C",
    "tensorflow/lse": "C",
    "numpy/naive": "F",
    "torch/naive": "F",
    "jax/naive": "F",
    "tensorflow/naive": "F",
    # The logarithm of a softmax that was shifted: it underflows still.
    "numpy/scipy.special.softmax": "F",
    "jax/nn.softmax": "F",
    # A masked class gives 0 x -inf (google-deepmind/optax#896).
    "jax/optax.softmax_cross_entropy": "F",
    "torch/F.cross_entropy[probabilities]": "F",
    "torch/nn.CrossEntropyLoss": "F",
    "torch/F.linear_cross_entropy": "F",
    # A row that is ignored is multiplied by 0, and that does not help where its softmax is NaN.
    "torch/F.linear_cross_entropy[chunked]": "F",
    # Over 50,257 classes the gradient at the target is right to three digits.
    "torch/F.cross_entropy[label_smoothing]": "D",
    "tensorflow/nn.softmax_cross_entropy_with_logits": "F",
    "tensorflow/keras.losses.categorical_crossentropy[from_logits]": "F",
    "tensorflow/keras.losses.CategoricalCrossentropy[from_logits]": "F",
    # The probability is clipped, so that an infinite loss comes out finite (keras-team/keras#17634).
    "tensorflow/keras.losses.sparse_categorical_crossentropy": "F",
    "tensorflow/keras.losses.categorical_crossentropy": "F",
    "tensorflow/keras.losses.SparseCategoricalCrossentropy": "F",
    "tensorflow/keras.losses.CategoricalCrossentropy": "F",
    "numpy/sklearn.metrics.log_loss": "F",
    "numpy/log1p": "A",
    "torch/log1p": "A",
    "jax/log1p": "A",
    "tensorflow/log1p": "A",
}
TOLD = (
    "{name} is graded {now} in float32 ({version}, worst at {case}), and was {was}: if a new version mended or broke "
    "it, say so in the CHANGELOG and change this table; if not, find out which is right"
)


# JAX compiles each shape: the cases that are called alone would cost it minutes, and change none of its grades.
# JAX compiles each step for each width.
OF_JAX = [c.id for c in select() if c.plain and c.classes in (2, 3, 10, 257, 2049)]


@pytest.fixture(scope="module")
def float32():
    """The catalogue in float32, eager, through every implementation; in JAX the plain cases of some widths."""
    whole = runner.run(frameworks=["numpy", "torch", "tensorflow"], dtypes="float32", modes="eager")
    jax = runner.run(frameworks="jax", dtypes="float32", modes="eager", cases=OF_JAX)
    df = pd.concat([whole, jax])
    failed = df[~df["status"].isin(["ok", "unsupported"]) & (df["family"] != "invalid")]
    # scikit-learn takes no NaN, and a softmax of NaN or of +inf logits is NaN.
    failed = failed[failed["detail"] != "ValueError: Input contains NaN."]
    assert failed.empty, failed[["implementation", "case", "status", "detail"]].drop_duplicates().to_string()
    return df[df["grade"].notna()]


def worst(rows):
    return rows.iloc[rows["grade"].map(GRADES.index).astype(int).argmax()]


@pytest.mark.parametrize("name", MEASURED)
def test_the_float32_grade_is_what_was_measured(float32, name):
    rows = float32[float32["implementation"] == name]
    of_all = worst(rows)
    now, was = of_all["grade"], MEASURED[name]
    assert now == was, TOLD.format(name=name, now=now, was=was, version=of_all["version"], case=of_all["case"])


def test_every_implementation_has_a_measured_grade(float32):
    assert set(float32["implementation"]) == set(MEASURED)


def test_log1p_is_accurate_in_every_other_dtype():
    """In JAX the widths that cost seconds to compile are left to the float32 run."""
    dtypes = ["float16", "bfloat16", "float64"]
    narrow = ["seed/*", "overflow/*", "underflow/*", "gap/*", "certainty/m*", "masks/*", "special/*", "offset/*"]
    asked = ["numpy/log1p", "torch/log1p", "tensorflow/log1p"]
    wide = runner.run(implementations=asked, dtypes=dtypes, modes="eager")
    jax = runner.run(implementations=["jax/log1p"], frameworks=["jax"], dtypes=dtypes, modes=["compiled"], cases=narrow)
    for df in (wide, jax):
        below = df[df["grade"].notna() & (df["grade"] != "A")]
        assert below.empty, below[
            ["implementation", "dtype", "case", "row", "quantity", "grade", "max_ulp"]
        ].to_string()


def test_a_masked_class_breaks_the_one_hot_losses(float32):
    """google-deepmind/optax#896: a class at -inf that is not the target makes the loss NaN."""
    for name in ("jax/optax.softmax_cross_entropy", "tensorflow/nn.softmax_cross_entropy_with_logits"):
        rows = float32[(float32["implementation"] == name) & (float32["case"] == "masks/first")]
        losses = rows[rows["quantity"] == "loss"]
        assert losses["verdict"].to_list() == ["nan", "nan"], f"{name} no longer gives NaN for a masked class"


def test_keras_from_probabilities_saturates(float32):
    """keras-team/keras#17634: the probability is clipped to 1e-7, and a loss of 500 comes out as -log(1e-7)."""
    name = "tensorflow/keras.losses.sparse_categorical_crossentropy"
    rows = float32[(float32["implementation"] == name) & (float32["case"] == "gap/500_low")]
    losses = rows[rows["quantity"] == "loss"]
    assert losses["exact"].to_list() == [500.0, 500.0]
    assert losses["value"].to_list() == pytest.approx([16.118095] * 2, abs=1e-5), "Keras no longer clips at 1e-7"


def test_a_float16_row_of_131072_ties_is_infinite_in_torch():
    """The sum of 131,072 ones is rounded to float16, beyond its largest number; the loss is log 131072 = 11.78."""
    df = runner.run(cases="ties/131072", implementations=["torch/F.cross_entropy"], dtypes=["float16"], modes="eager")
    loss = df[df["quantity"] == "loss"].iloc[0]
    assert loss["exact"] == pytest.approx(11.7835, abs=1e-4)
    assert loss["value"] == float("inf"), f"torch {loss['version']} now gives {loss['value']}"
