"""Measurements of the installed versions; a failure names the version that changed one."""

import findings
import kept_grades
import pandas as pd
import pytest

from logitlab import runner
from logitlab.cases import select_cases
from logitlab.core.vocabulary import GRADES

# The grades in README of the frameworks that are measured over the whole catalogue here.
KEPT = {d.implementation: d.grade for d in kept_grades.read().decisions}
MEASURED = {
    name: grade for name, grade in KEPT.items() if name.split("/")[0] in ("numpy", "torch", "jax", "tensorflow")
}
MESSAGE = (
    "{name} is graded {now} in float32 ({version}, worst at {case}), and was {was}: if a new version fixed or broke "
    "it, run `make grades` and say so in the CHANGELOG; if not, find out which is right"
)


# JAX compiles each step for each width. All cases would take minutes; those that decide its grades are included.
OF_JAX = [c.id for c in select_cases() if c.plain and c.classes in (2, 3, 10, 257, 2049)]
DECIDING = kept_grades.read().cases


@pytest.fixture(scope="module")
def whole_float32():
    """Measure the catalogue in eager float32 in every implementation; in JAX only plain cases of some widths."""
    whole = runner.run(frameworks=["numpy", "torch", "tensorflow"], dtypes="float32", modes="eager", cases="*")
    jax = runner.run(frameworks="jax", dtypes="float32", modes="eager", cases=[*OF_JAX, *DECIDING])
    return pd.concat([whole, jax])


def worst(rows):
    return rows.iloc[rows["grade"].map(GRADES.index).astype(int).argmax()]


def assert_nothing_failed(table):
    failed = table[~table["status"].isin(["ok", "unsupported"]) & (table["family"] != "invalid")]
    # scikit-learn takes no NaN, and a softmax of NaN or of +inf logits is NaN.
    failed = failed[failed["detail"] != "ValueError: Input contains NaN."]
    assert failed.empty, failed[["implementation", "case", "status", "detail"]].drop_duplicates().to_string()


@pytest.mark.parametrize("framework", ["numpy", "torch", "onnxruntime", "jax", "tensorflow"])
def test_no_loss_raises_in_float32(float32_of, framework):
    assert_nothing_failed(float32_of(framework))


@pytest.mark.full
def test_no_loss_raises_anywhere_in_the_catalogue(whole_float32):
    assert_nothing_failed(whole_float32)


@pytest.mark.full
@pytest.mark.pinned
@pytest.mark.parametrize("name", MEASURED)
def test_the_float32_grade_over_the_whole_catalogue_is_the_recorded_one(whole_float32, name):
    """test_grades.py measures the cases that decide them."""
    rows = whole_float32[(whole_float32["implementation"] == name) & whole_float32["grade"].notna()]
    of_all = worst(rows)
    now, was = of_all["grade"], MEASURED[name]
    assert now == was, MESSAGE.format(name=name, now=now, was=was, version=of_all["version"], case=of_all["case"])


@pytest.mark.full
def test_every_implementation_has_a_measured_grade(whole_float32):
    assert set(whole_float32[whole_float32["grade"].notna()]["implementation"]) == set(MEASURED)


# Of one number of rows, since JAX compiles for each.
SOME = ["gap/5_*", "gap/100_*", "gap/1000_*", "masks/first"]
# JAX leaves the widths that take seconds to compile to the float32 run.
NARROW = ["seed/*", "overflow/*", "underflow/*", "gap/*", "certainty/m*", "masks/*", "special/*", "offset/*"]


@pytest.mark.parametrize(
    ("framework", "cases"),
    [
        ("numpy", SOME), ("torch", SOME), ("jax", SOME),
        *(pytest.param(name, "*", marks=pytest.mark.full) for name in ("numpy", "torch", "tensorflow")),
        pytest.param("jax", NARROW, marks=pytest.mark.full),
    ],
    ids=["numpy", "torch", "jax", "numpy, all cases", "torch, all cases", "tensorflow, all cases", "jax, many cases"],
)  # fmt: skip
def test_log1p_is_accurate_in_every_other_dtype(framework, cases, request):
    if cases == SOME:
        request.getfixturevalue("in_this_process")
    df = runner.run(
        implementations=f"{framework}/log1p", dtypes=["float16", "bfloat16", "float64"], cases=cases,
        modes="compiled" if framework == "jax" else "eager",
    )  # fmt: skip
    below = df[df["grade"].notna() & (df["grade"] != "A")]
    columns = ["implementation", "dtype", "case", "row", "quantity", "grade", "max_ulp"]
    assert below.empty, below[columns].to_string()


def losses_of(float32_of, name, case):
    df = float32_of(name.split("/")[0])
    return df[(df["implementation"] == name) & (df["case"] == case) & (df["quantity"] == "loss")]


@pytest.mark.pinned
@pytest.mark.parametrize("name", ["jax/optax.softmax_cross_entropy", "tensorflow/nn.softmax_cross_entropy_with_logits"])
def test_a_masked_class_breaks_the_one_hot_losses(float32_of, name):
    """google-deepmind/optax#896: a class at -inf that is not the target makes the loss NaN."""
    losses = losses_of(float32_of, name, "masks/first")
    assert losses["verdict"].to_list() == ["nan", "nan"], f"{name} no longer gives NaN for a masked class"


@pytest.mark.pinned
@pytest.mark.parametrize("name", ["tensorflow/keras.losses.sparse_categorical_crossentropy"])
def test_keras_from_probabilities_saturates(float32_of, name):
    """keras-team/keras#17634: the probability is clipped to 1e-7, and a loss of 500 comes out as -log(1e-7)."""
    losses = losses_of(float32_of, name, "gap/500_low")
    assert losses["exact"].to_list() == [500.0, 500.0]
    assert losses["value"].to_list() == pytest.approx([16.118095] * 2, abs=1e-5), "Keras no longer clips at 1e-7"


@pytest.mark.pinned
@pytest.mark.usefixtures("in_this_process")
def test_a_float16_row_of_131072_ties_is_infinite_in_torch():
    """The sum of 131,072 ones is rounded to float16, beyond its largest number; the loss is log 131072 = 11.78."""
    df = runner.run(cases="ties/131072", implementations=["torch/F.cross_entropy"], dtypes=["float16"], modes="eager")
    loss = df[df["quantity"] == "loss"].iloc[0]
    assert loss["exact"] == pytest.approx(11.7835, abs=1e-4)
    assert loss["value"] == float("inf"), f"torch {loss['version']} now gives {loss['value']}"


@pytest.mark.pinned
@pytest.mark.parametrize("framework", ["jax", pytest.param("tensorflow", marks=pytest.mark.full)])
def test_compiled_by_xla_scaled_logits_have_an_infinite_loss(framework):
    """jax-ml/jax#38609: the rounding error of x / 0.7 stands where the maximum's own term should be 0."""
    loss, *gradient = findings.compiled_scaled(framework)
    assert (loss, len(gradient)) == (-float("inf"), 4)


@pytest.mark.full  # the program above is run too
@pytest.mark.pinned
def test_pytorch_sums_bfloat16_losses_in_bfloat16():
    assert findings.summed()["largest"] == pytest.approx(0.0226, abs=1e-4)


@pytest.mark.full  # the same program as above, with a flag
@pytest.mark.pinned
def test_without_fusion_the_scaled_logits_have_a_loss_of_0():
    given = findings.reproduced("scaled_jax", XLA_FLAGS="--xla_disable_hlo_passes=fusion")
    assert given == {"eager": [0.0] * 5, "compiled": [0.0] * 5}
