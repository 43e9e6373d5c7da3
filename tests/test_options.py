"""Loss options: which implementations take them, which report them as unsupported, and the results."""

import numpy as np
import pytest

from logitlab.cases import select_cases
from logitlab.cases._case import make
from logitlab.core.formats import FORMATS
from logitlab.frameworks import Batch, Implementation
from logitlab.oracle import reference

OPTIONS = ["smoothing", "weights", "ignored", "soft", "reductions", "layout", "linear_layers", "linear_ignored"]


@pytest.fixture(scope="module")
def options_of(float32_of):
    """Return a function that gives the rows of a framework's run with options."""

    def of(framework):
        df = float32_of(framework)
        return df[df["family"].isin(OPTIONS)]

    return of


@pytest.fixture(scope="module")
def of_torch(options_of):
    return options_of("torch")


def rows_of(df, **wanted):
    for column, value in wanted.items():
        df = df[df[column] == value]
    return df


@pytest.mark.parametrize("framework", ["numpy", "torch", "jax", "tensorflow"])
def test_a_case_without_a_measurement_is_unsupported_with_a_message(options_of, framework):
    float32 = options_of(framework)
    failed = float32[float32["status"] != "ok"]
    # scikit-learn takes no NaN, and raises for a row that has one.
    failed = failed[failed["detail"] != "ValueError: Input contains NaN."]
    shown = failed[["implementation", "case", "status", "detail"]].drop_duplicates()
    assert set(failed["status"]) == {"unsupported"}, shown[shown["status"] != "unsupported"].to_string()
    assert failed["detail"].str.len().min() > 0


def test_cross_entropy_of_torch_takes_every_option_and_is_stable(of_torch):
    rows = rows_of(of_torch, implementation="torch/F.cross_entropy")
    refused = rows[rows["status"] != "ok"]["case"].astype(str)
    elsewhere = refused.str.contains("soft") | refused.str.contains("smooth")
    assert set(refused[~elsewhere]) == {"layout/int32_targets"}
    below = rows[rows["grade"].isin(["C", "D", "F"])]
    assert below.empty, below[["case", "row", "quantity", "grade", "value", "exact"]].to_string()


@pytest.mark.parametrize(
    ("implementation", "case"),
    [
        ("jax/optax.safe_softmax_cross_entropy", "smoothing/mild_0.1"),
        ("jax/optax.safe_softmax_cross_entropy", "soft/zero_on_mask"),
        ("jax/optax.softmax_cross_entropy", "soft/less_than_one"),
        ("tensorflow/nn.softmax_cross_entropy_with_logits", "soft/article_mean"),
        ("tensorflow/keras.losses.categorical_crossentropy[from_logits]", "smoothing/gap_100"),
        ("tensorflow/keras.losses.sparse_categorical_crossentropy[from_logits]", "ignored/one_none"),
        ("tensorflow/nn.sparse_softmax_cross_entropy_with_logits", "layout/spatial"),
        ("torch/F.nll_loss[F.log_softmax]", "weights/article_mean"),
        ("torch/F.cross_entropy[probabilities]", "soft/article_mean"),
        ("torch/nn.CrossEntropyLoss", "weights/article_mean"),
        ("torch/nn.CrossEntropyLoss", "soft/article_mean"),
        ("torch/nn.CrossEntropyLoss", "layout/spatial"),
        ("torch/F.linear_cross_entropy", "linear_layers/class_weights"),
        ("torch/F.linear_cross_entropy", "linear_layers/soft"),
        ("torch/F.linear_cross_entropy[chunked,compact]", "linear_layers/class_weights"),
        ("torch/log1p[linear]", "linear_layers/softcap"),
        ("numpy/log1p[linear]", "linear_layers/z_loss"),
        ("jax/log1p[linear]", "linear_layers/logit_scale"),
        ("tensorflow/keras.losses.SparseCategoricalCrossentropy[from_logits]", "ignored/one_none"),
        ("tensorflow/keras.losses.CategoricalCrossentropy[from_logits]", "smoothing/gap_100"),
        ("torch/F.cross_entropy[probabilities]", "layout/spatial_soft"),
        ("torch/F.cross_entropy[label_smoothing]", "smoothing/gap_100"),
        ("torch/F.cross_entropy[label_smoothing]", "weights/smoothed"),
        ("torch/F.cross_entropy[label_smoothing]", "ignored/smoothed_mean"),
        ("torch/log1p", "layout/strided"),
        ("numpy/log1p", "layout/transposed"),
    ],
)
def test_an_option_that_a_loss_has_is_measured_and_right(options_of, implementation, case):
    rows = rows_of(options_of(implementation.split("/")[0]), implementation=implementation, case=case)
    assert set(rows["status"]) == {"ok"}, rows["detail"].iloc[0]
    assert set(rows["grade"]) <= {"A", "B"}


@pytest.mark.parametrize(
    ("implementation", "case", "word"),
    [
        ("numpy/sklearn.metrics.log_loss", "weights/article_none", "takes no weight"),
        ("torch/F.cross_entropy[autocast]", "smoothing/mild_0.1", "autocast makes logits of float16 or bfloat16"),
        ("torch/F.linear_cross_entropy[chunked,compact]", "linear_layers/soft", "takes class indices"),
        ("torch/F.linear_cross_entropy", "linear_layers/softcap", "unexpected keyword argument 'softcap'"),
        ("tensorflow/naive[linear]", "linear_ignored/two_mean", "defines no mean over weighted or ignored rows"),
        ("torch/naive", "smoothing/mild_0.1", "takes no label_smoothing"),
        ("torch/F.nll_loss[F.log_softmax]", "smoothing/mild_0.1", "unexpected keyword argument 'label_smoothing'"),
        ("jax/optax.softmax_cross_entropy", "weights/article_none", "takes no weight"),
        ("numpy/lse", "soft/onehot", "takes class indices, not class probabilities"),
        ("jax/log1p", "layout/spatial", "takes logits (B, C) alone"),
        ("tensorflow/lse", "weights/article_mean", "defines no mean over weighted or ignored rows"),
        ("tensorflow/nn.softmax_cross_entropy_with_logits", "soft/less_than_one", "class probabilities that sum to 1"),
        ("torch/F.cross_entropy", "soft/onehot", "takes class indices, not class probabilities"),
        ("torch/F.cross_entropy[probabilities]", "ignored/one_none", "takes no ignore_index"),
        ("torch/F.cross_entropy", "layout/int32_targets", "expected target dtype to be Long"),
    ],
)
def test_an_option_that_a_loss_does_not_have_is_reported(options_of, implementation, case, word):
    rows = rows_of(options_of(implementation.split("/")[0]), implementation=implementation, case=case)
    assert word in rows[rows["status"] == "unsupported"]["detail"].iloc[0]


@pytest.mark.parametrize(
    "name",
    [
        "jax/optax.softmax_cross_entropy",
        "tensorflow/nn.softmax_cross_entropy_with_logits",
        "torch/F.cross_entropy[probabilities]",
    ],
)
def test_a_masked_class_with_target_zero_breaks_the_dense_losses(options_of, name):
    """google-deepmind/optax#896, with the targets written as probabilities."""
    losses = rows_of(options_of(name.split("/")[0]), implementation=name, case="soft/zero_on_mask", quantity="loss")
    assert losses["verdict"].to_list() == ["nan", "nan"], f"{name} no longer gives NaN for 0 x -inf"


def test_an_empty_batch_has_no_rows_and_one_reduced_loss(of_torch):
    torch = rows_of(of_torch, implementation="torch/F.cross_entropy", quantity="loss")
    assert rows_of(torch, case="reductions/empty_none").empty
    (mean,) = rows_of(torch, case="reductions/empty_mean").to_dict("records")
    (total,) = rows_of(torch, case="reductions/empty_sum").to_dict("records")
    assert np.isnan(mean["value"])
    assert mean["verdict"] == "undefined"
    assert (total["value"], total["grade"]) == (0.0, "A")


@pytest.mark.parametrize("case", ["ignored/all_mean", "weights/only_zero_mean"])
def test_a_mean_over_no_rows_has_no_value_and_no_gradient(of_torch, case):
    rows = rows_of(of_torch, implementation="torch/F.cross_entropy", case=case)
    assert set(rows["verdict"]) == {"undefined"}
    assert rows["grade"].isna().all()


def test_the_reference_reports_mass_and_scale():
    logits = np.array([[1.0, 2.0, 3.0]] * 3)
    found = reference(logits, [0, -100, 2], weight=[0.5, 1.0, 2.0], ignore_index=-100, reduction="mean")
    assert found.mass.tolist() == [0.5, 0.0, 2.0]
    assert found.scale == 1 / 2.5
    assert reference(logits, [[0.5, 0.25, 0.0]] * 3).mass.tolist() == [0.75] * 3


@pytest.mark.parametrize(
    ("layout", "strides"), [("rows", (24, 8)), ("transposed", (8, 32)), ("strided", (48, 16)), ("spatial", (24, 8))]
)
def test_a_layout_moves_the_numbers_and_not_their_values(layout, strides):
    logits = np.arange(12.0).reshape(4, 3)
    laid = Batch(logits, np.zeros(4, np.int64), layout=layout).in_memory()
    assert laid.strides == strides
    np.testing.assert_array_equal(laid, logits)


@pytest.mark.parametrize(("axis", "shape"), [(1, (1, 3, 4)), (-1, (1, 4, 3))])
def test_spatial_rows_become_positions(axis, shape):
    batch = Batch(np.arange(12.0).reshape(4, 3), np.full((4, 3), 0.25), layout="spatial")
    logits, targets = batch.spatial(batch.logits, batch.targets, axis)
    assert logits.shape == targets.shape == shape
    flat, indices = batch.spatial(batch.logits, np.arange(4), axis)
    assert (flat.shape, indices.shape) == (shape, (1, 4))


def test_rounded_probabilities_still_count_as_a_distribution():
    own = Implementation("x/x", "builtin", lambda: None, "x", soft=True, normalized=True)
    for fmt in FORMATS.values():
        case = make("x/y", "Why.", np.zeros((2, 3)), [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
        batch = Batch(case.quantized(fmt), case.quantized_targets(fmt))
        assert batch.refusal(own) is None


def test_weights_and_probabilities_are_rounded_to_the_dtype_like_logits():
    fmt = FORMATS["bfloat16"]
    case = make("x/y", "Why.", [[1.0, 2.0]], [[0.3, 0.7]], weight=[0.1, 1.0])
    assert case.options(fmt)["weight"].dtype == fmt.dtype
    assert float(case.quantized_targets(fmt)[0, 0]) == 0.30078125


@pytest.mark.parametrize(
    "changes",
    [
        {"targets": [0, 3]},
        {"targets": [0]},
        {"weight": [1.0]},
        {"layout": "heap"},
        {"targets": [[0.5, 0.5]]},
    ],
    ids=str,
)
def test_a_mistake_in_a_case_raises_when_the_case_is_made(changes):
    with pytest.raises(ValueError, match="x/y: "):
        make(**({"case_id": "x/y", "why": "Why.", "logits": np.zeros((2, 3)), "targets": [0, 1]} | changes))


def test_cases_with_options_are_called_alone():
    plain = {c.id for c in select_cases() if c.plain}
    assert "seed/article" in plain
    assert not plain & {c.id for c in select_cases(["smoothing/*", "weights/*", "ignored/*", "soft/*"])}
    assert "layout/int32_targets" not in plain
