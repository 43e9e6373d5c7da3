"""Cases from public reports: their citations, the answers the reports expect, and what installed versions do."""

import re

import numpy as np
import pytest
from mpmath import mp, mpf

import logitlab
from logitlab.cases import all_cases, select_cases
from logitlab.core.formats import FORMATS
from logitlab.execution import registry

INF, NAN = float("inf"), float("nan")
FIELD = [c for c in all_cases() if "field" in c.tags]
MESSAGE = (
    "{case} in {dtype}: {what} {version} now gives {now}, and was measured to give {was} (the report is {source}); "
    "if a new version fixed or broke it, say so in the CHANGELOG and change this measurement"
)


def case(case_id):
    (found,) = select_cases(case_id)
    return found


def exact(c, dtype="float64"):
    fmt = FORMATS[dtype]
    return logitlab.reference(c.quantized(fmt), c.quantized_targets(fmt), reduction=c.reduction, **c.options(fmt))


def measured(c, what, version, now, was, *, dtype="float32", rtol=2e-6, atol=0.0):
    """Assert a measurement: NaN equals NaN, and finite values agree to a few roundings."""
    now = np.asarray(now, np.float64)
    message = MESSAGE.format(case=c.id, dtype=dtype, what=what, version=version, now=now, was=was, source=c.source)
    assert np.shape(now) == np.shape(was), message
    assert np.allclose(now, was, rtol=rtol, atol=atol, equal_nan=True), message


# --- what a field case is ---------------------------------------------------------------------------------------


def test_there_are_a_hundred_field_cases_in_seven_families():
    assert len(FIELD) >= 100
    assert {c.family for c in FIELD} == {
        "field_masks",
        "field_options",
        "field_overflow",
        "field_precision",
        "field_scaling",
        "field_temperature",
        "field_widths",
    }
    assert {c.id for c in FIELD} == {c.id for c in select_cases("field_*")}


def test_each_names_its_thread_and_has_one_sentence_on_the_report_and_at_most_one_on_its_version():
    for c in FIELD:
        assert c.source is not None, c.id
        assert re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", c.source), c.id
        assert c.reported is not None, c.id
        assert re.fullmatch(r"\S[^\n]*\.", c.reported), c.id
        fault = re.sub(r" (The part that was read names no version|No version given)\.$", "", c.reported)
        assert not re.search(r"[.!?] [A-Z]", fault), c.id


def test_each_is_named_after_its_thread():
    assert [c.id for c in FIELD if not re.search(rf"_{c.source.split('#')[1]}(_|$)", c.name)] == []


def test_each_report_names_a_version_or_says_that_none_was_found():
    def versioned(text):
        named = (r"\d+\.\d+\.\d+", r"develop version", r"PyTorch 1\.12", r"Keras 2")
        return any(re.search(word, text) for word in (*named, r"(No version given|names no version)\.$"))

    assert [c.id for c in FIELD if not versioned(c.reported)] == []


# --- the exact answers ------------------------------------------------------------------------------------------


def in_mpmath(value, index=()):
    with mp.workprec(300):
        return mpf(float(value.hi[index])) + mpf(float(value.lo[index]))


def log1p_of_exp(x):
    with mp.workprec(300):
        return mp.log1p(mp.exp(mpf(x)))


def close(value, index, expected, rel=1e-30):
    with mp.workprec(300):
        return abs(in_mpmath(value, index) - expected) <= rel * abs(expected)


def test_scipy_18295_is_log1p_of_exp():
    loss = exact(case("field_precision/scipy_18295")).loss
    assert close(loss, 0, log1p_of_exp(-40))
    assert loss.hi[0] == pytest.approx(4.248354255291589e-18, rel=1e-15)  # what the thread expects


def test_pytorch_113708_has_all_digits_in_every_format():
    c = case("field_precision/pytorch_113708")
    for dtype in c.dtypes:
        lead = float(c.quantized(FORMATS[dtype])[0, 0])
        assert close(exact(c, dtype).loss, 0, log1p_of_exp(-lead))


def test_pytorch_101968_is_nine_ones_and_an_exponential():
    loss = exact(case("field_precision/pytorch_101968")).loss
    with mp.workprec(300):
        for lead in range(10):
            assert close(loss, lead, mp.log(9 + mp.exp(lead)) - lead)


def test_the_float64_gradient_of_jax_40384_and_tensorflow_126636_adds_up_to_zero():
    for name in ("jax_40384", "tensorflow_126636"):
        gradient = exact(case(f"field_precision/{name}")).gradient
        with mp.workprec(300):
            assert close(gradient, (0, 0), -in_mpmath(gradient, (0, 1)))
        assert gradient.hi[0].tolist() == pytest.approx([-5.551115123125776e-17, 5.551115123125776e-17], rel=1e-15)


def test_equal_logits_are_a_guess_at_any_offset():
    for name, classes in (("pytorch_11752", 2), ("optax_1792", 3), ("nnlib_43", 2)):
        loss = exact(case(f"field_overflow/{name}")).loss
        with mp.workprec(300):
            assert all(close(loss, row, mp.log(classes)) for row in range(len(loss.hi)))


def test_tensorflow_21271_is_the_share_of_a_huge_gap():
    c = case("field_overflow/tensorflow_21271")
    (low, high), (share, _) = c.quantized(FORMATS["float32"])[0].astype(float), c.targets[0]
    # The other log-probability is -e^-9763, which is negligible.
    assert close(exact(c, "float32").loss, 0, mpf(float(np.float32(share))) * (mpf(high) - mpf(low)))


THREADS_VALUES = {
    "field_options/pytorch_25571": 1.0598,
    "field_options/pytorch_8062_none": [4000.0, 0.0],
    "field_options/pytorch_8062_mean": 133.3333,
    "field_options/pytorch_107680_indices": 0.8705,
    "field_options/pytorch_107680_probabilities": 54.4052,
    "field_options/pytorch_14289": 0.0141,
    "field_options/paddle_47813": 1.599,
    "field_options/pytorch_104776": [0.138857, 0.088857],  # printed tenfold
    "field_options/pytorch_116349": NAN,
    "field_options/openrlhf_583": NAN,
    "field_options/tensorflow_1234": 0.0,
    "field_overflow/keras_17634": [0.01349, 35.7],
    "field_overflow/tensorflow_1513": [1.53e11, 1.23e11],
    "field_overflow/mlx_4188": [0.04858734] * 4,
    "field_overflow/pytorch_38839": [1.0986, 0.5514, 1.8620],
    "field_masks/tensorflow_40606": [0.693147],
    "field_widths/pytorch_111484": [10.82] * 2,
}


@pytest.mark.parametrize("case_id", THREADS_VALUES)
def test_the_exact_loss_is_the_one_the_thread_calls_right(case_id):
    value, expected = exact(case(case_id)).loss.hi, THREADS_VALUES[case_id]
    # To the digits that the threads print.
    assert np.allclose(value, expected, rtol=5e-3, atol=1e-12, equal_nan=True)


def test_the_weighted_mean_of_paddle_47813_in_closed_form():
    """Smoothed targets 0.9 + 0.1/3 and 0.1/3, weights 1, 2, 3, divided by the targets' weights 1 + 2."""
    a, b = 0.9 + 0.1 / 3, 0.1 / 3
    second = np.log(2 * np.e + 1)
    rows = np.log(3) * (a + 2 * b + 3 * b), b * (second - 1) + 2 * a * second + 3 * b * (second - 1)
    assert exact(case("field_options/paddle_47813")).loss.hi == pytest.approx(sum(rows) / 3, rel=1e-14)


def test_ignored_rows_do_not_count_whatever_they_hold():
    for name in ("field_options/kospeech_37", "field_masks/pytorch_31829"):
        reference = exact(case(name))
        assert np.isfinite(reference.loss.hi)
        assert reference.gradient.hi[0].tolist() == [0.0, 0.0, 0.0]
    for reduction in ("none", "mean"):
        assert exact(case(f"field_options/pytorch_11551_{reduction}")).gradient.hi[1].tolist() == [0.0, 0.0, 0.0]


# --- what PyTorch does ------------------------------------------------------------------------------------------


def in_torch(c, dtype="float32"):
    """Return the losses and the gradient (B, C) of F.cross_entropy on the CPU."""
    import torch

    def tensor(values):
        return torch.tensor(np.asarray(values, np.float64)).to(getattr(torch, dtype))

    x, t = tensor(c.logits), torch.tensor(c.targets) if c.targets.ndim == 1 else tensor(c.targets)
    spatial = c.layout == "spatial"
    if spatial:
        x, t = x.T.contiguous()[None], t[None]
    x.requires_grad_()
    options = {} if c.ignore_index is None else {"ignore_index": c.ignore_index}
    options |= {} if c.weight is None else {"weight": tensor(c.weight)}
    loss = torch.nn.functional.cross_entropy(x, t, reduction=c.reduction, label_smoothing=c.label_smoothing, **options)
    loss.sum().backward()
    value = loss.detach().double().numpy()
    gradient = x.grad[0].T if spatial else x.grad
    return value.reshape(-1) if c.reduction == "none" else value, gradient.double().numpy()


def torch_gives(case_id, was, *, dtype="float32", rtol=2e-6, atol=0.0):
    c = case(case_id)
    loss, gradient = in_torch(c, dtype)
    import torch

    measured(c, "F.cross_entropy of torch", torch.__version__, loss, was, dtype=dtype, rtol=rtol, atol=atol)
    return gradient


MENDED_IN_TORCH = [
    "field_masks/flash_attention_1930",
    "field_masks/xla_2553",
    "field_overflow/pytorch_11752",
    "field_overflow/pytorch_38839",
    "field_overflow/pytorch_100775",
    "field_options/pytorch_63004",
    "field_options/pytorch_15508",
    "field_options/pytorch_20406",
    "field_options/pytorch_73205_mean",
    "field_options/pytorch_73205_sum",
    "field_options/pytorch_69339",
    "field_options/pytorch_72056",
    "field_options/pytorch_91383",
    "field_options/pytorch_104776",
    "field_options/pytorch_8062_mean",
    "field_options/pytorch_25571",
    "field_options/pytorch_14289",
    "field_options/pytorch_107680_indices",
    "field_options/pytorch_107680_probabilities",
    "field_options/paddle_47813",
    "field_options/pytext_1698",
]


@pytest.mark.parametrize("case_id", MENDED_IN_TORCH)
def test_torch_gives_the_exact_loss_in_float32(case_id):
    """Fixed since the report, right at the time, or an error of another library."""
    # A loss near zero comes from a log-softmax with the absolute error of numbers near 1.
    torch_gives(case_id, exact(case(case_id), "float32").loss.hi, atol=2.0**-22)


@pytest.mark.parametrize("layout", ["rows", "spatial"])
def test_torch_is_finite_for_float16_logits_of_minus_20000(layout):
    """pytorch/pytorch#158310, fixed since 2.7.1."""
    torch_gives(f"field_overflow/pytorch_158310_{layout}", [16.0, 0.693359375, 0.0], dtype="float16", rtol=0)


def test_torch_shifts_bfloat16_logits_along_an_inner_dimension():
    torch_gives("field_overflow/pytorch_63132", [0.69140625, 0.0], dtype="bfloat16", rtol=0)


def test_torch_has_all_positions_of_a_wide_row():
    torch_gives("field_widths/pytorch_111484", [10.828125] * 2, dtype="float16", rtol=0)


@pytest.mark.parametrize("case_id", ["field_overflow/pytorch_29429", "field_overflow/pytorch_85791"])
def test_the_float16_mean_of_nine_losses_of_8192_is_infinite_in_torch(case_id):
    """Reported for CUDA; the CPU gives the same for rows and positions."""
    assert exact(case(case_id), "float16").loss.hi == 8192.0
    torch_gives(case_id, INF, dtype="float16")
    torch_gives(case_id, 8192.0, dtype="bfloat16", rtol=0)


def test_label_smoothing_over_a_vocabulary_is_infinite_in_torch_in_float16():
    """huggingface/transformers#10674 was about the trainer's sum of log-probabilities; torch's does the same."""
    assert exact(case("field_widths/transformers_10674"), "float16").loss.hi[0] == pytest.approx(2.0, abs=1e-3)
    torch_gives("field_widths/transformers_10674", [INF], dtype="float16")


def test_label_smoothing_over_a_vocabulary_costs_torchs_gradient_three_digits():
    """Shares of 2e-6 are added to a sum near 1, in float32; the target's entry is softmax - 0.9 and exactly 0.09989.

    The sum depends on the vector width: torch 2.13.0 gave 0.0998291 with AVX-512 and 0.0997716 with AVX2.
    """
    c = case("field_widths/transformers_10674")
    gradient = torch_gives(c.id, exact(c, "float32").loss.hi, rtol=1e-5)
    assert exact(c, "float32").gradient.hi[0, 3] == pytest.approx(0.0998944, abs=1e-7)
    measured(c, "the gradient of F.cross_entropy of torch", "", gradient[0, 3], 0.0998, rtol=5e-4)
    assert abs(gradient[0, 3] / 0.0998944 - 1) > 1e-4, "the gradient of F.cross_entropy of torch has more digits now"


def test_the_mean_of_ignored_rows_is_nan_in_torch_and_each_of_them_zero():
    gradient = torch_gives("field_options/pytorch_116349", NAN)
    assert (gradient == 0).all()
    for name in ("pytorch_75181", "openrlhf_583"):
        assert np.isnan(torch_gives(f"field_options/{name}", NAN)).sum() == 0


@pytest.mark.parametrize("case_id", ["field_options/kospeech_37", "field_masks/pytorch_31829"])
def test_an_ignored_row_without_a_softmax_makes_torchs_gradient_nan(case_id):
    """The loss is right; 0 times the NaN softmax of the ignored row is NaN in its gradient, which is exactly 0."""
    c = case(case_id)
    gradient = torch_gives(case_id, exact(c, "float32").loss.hi)
    was = exact(c, "float32").gradient.hi
    was[0] = NAN
    measured(c, "the gradient of F.cross_entropy of torch", "", gradient, was)


def test_a_dense_label_of_zero_on_a_masked_class_is_nan_in_torch():
    """0 x -inf, as in google-deepmind/optax#896; the gradient is right."""
    assert exact(case("field_masks/optax_896_dense")).loss.hi.tolist() == [0.0, 0.0]
    assert torch_gives("field_masks/optax_896_dense", [NAN, NAN]).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert np.isfinite(torch_gives("field_masks/modelcenter_14", NAN)).all()


def test_torch_loses_the_loss_of_a_confident_prediction():
    """pytorch/pytorch#113708 and scipy/scipy#19521: 0 where the loss is 2^-126 and 4e-8."""
    torch_gives("field_precision/pytorch_113708", [0.0])
    c = case("field_precision/scipy_19521")
    assert exact(c, "float32").loss.hi == pytest.approx([8.7709e-8, 4.3855e-8], rel=1e-3)
    loss, _ = in_torch(c)
    assert loss[1] == 0, MESSAGE.format(
        case=c.id, dtype="float32", what="torch", version="", now=loss, was=0, source=""
    )


# --- what JAX, optax and SciPy do -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jax():
    # Enable float64, as in LogitLab's workers. An import does not suffice: another test of this process may have
    # imported JAX first, and a check restores the flag. The first `load` enables it too, for the tests after these.
    import jax

    registry.load("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield jax
    jax.config.update("jax_enable_x64", before)


def jax_case(jax, case_id, dtype="float32"):
    c = case(case_id)
    dtype = getattr(jax.numpy, dtype)
    t = jax.numpy.asarray(c.targets, dtype if c.targets.ndim == 2 else None)
    return c, jax.numpy.asarray(c.logits, dtype), t


def test_optax_gives_nan_for_a_dense_label_of_zero_on_a_masked_class(jax):
    import optax

    c, x, t = jax_case(jax, "field_masks/optax_896_dense")
    version = optax.__version__
    measured(c, "optax.softmax_cross_entropy", version, optax.softmax_cross_entropy(x, t), [NAN, NAN])
    measured(c, "optax.safe_softmax_cross_entropy", version, optax.safe_softmax_cross_entropy(x, t), [0, 0])


# Those with this mark compile for a second each; the tests around them measure JAX and optax too.
@pytest.mark.full
def test_the_forward_derivative_of_optaxs_safe_loss_is_nan_at_a_mask(jax):
    import optax

    c, x, t = jax_case(jax, "field_masks/optax_1762")
    (x,), (t,) = x, t
    loss, version = optax.safe_softmax_cross_entropy, optax.__version__
    measured(c, "jacfwd of optax's safe loss", version, jax.jacfwd(loss)(x, t), [NAN, NAN, NAN])
    measured(c, "grad of optax's safe loss", version, jax.grad(loss)(x, t), [0.0, -0.5, 0.5])


def test_optaxs_integer_loss_rounds_an_offset_into_the_loss(jax):
    import optax

    for case_id, was in (
        ("field_overflow/optax_1792", [0.0, 0.0]),
        ("field_overflow/mlx_4188", [0.04858732, 0.04882812, 0.0625, 0.0]),
    ):
        c, x, t = jax_case(jax, case_id)
        now = optax.softmax_cross_entropy_with_integer_labels(x, t)
        measured(c, "optax.softmax_cross_entropy_with_integer_labels", optax.__version__, now, was)


@pytest.mark.full
def test_optaxs_integer_loss_is_quantized_in_bfloat16(jax):
    import optax

    c, x, t = jax_case(jax, "field_precision/optax_1020", "bfloat16")
    now = optax.softmax_cross_entropy_with_integer_labels(x, t).astype("float32")
    what = "optax.softmax_cross_entropy_with_integer_labels"
    measured(c, what, optax.__version__, now, [5.375, 4.40625], dtype="bfloat16", rtol=0)


def test_logsumexp_of_masked_logits_in_jax(jax):
    c, x, _ = jax_case(jax, "field_masks/jax_6811")
    measured(c, "grad of logsumexp of jax", jax.__version__, jax.grad(jax.nn.logsumexp)(x[0]), [NAN, NAN])
    x, where = jax.numpy.array([0.0, 100.0], "float32"), jax.numpy.array([True, False])
    now = jax.grad(jax.scipy.special.logsumexp)(x, where=where)
    measured(case("field_masks/jax_23842"), "grad of logsumexp(where=) of jax", jax.__version__, now, [1.0, 0.0])


def test_jax_loses_the_targets_gradient_in_float64(jax):
    c, x, _ = jax_case(jax, "field_precision/jax_40384", "float64")
    now = jax.grad(lambda x: -jax.nn.log_softmax(x)[0])(x[0])
    measured(c, "grad of jax.nn.log_softmax", jax.__version__, now, [0.0, 5.551115123125776e-17], dtype="float64")


@pytest.mark.full
def test_131072_float16_classes_are_infinite_in_jax_and_their_gradients_nan(jax):
    c, x, _ = jax_case(jax, "field_widths/jax_40409", "float16")
    assert exact(c, "float16").loss.hi[0] == pytest.approx(11.5335, abs=1e-3)
    now = -jax.nn.log_softmax(x[0])[65536]
    measured(c, "jax.nn.log_softmax", jax.__version__, now, INF, dtype="float16")
    gradient = jax.grad(lambda x: jax.nn.log_softmax(x).sum())(x[0])
    now = jax.numpy.isnan(gradient).sum()
    measured(c, "the NaNs in grad of jax.nn.log_softmax", jax.__version__, now, 131072, dtype="float16")


def test_scipys_logsumexp_keeps_the_digits_that_its_log_softmax_loses():
    import scipy
    from scipy.special import log_softmax, logsumexp

    c = case("field_precision/scipy_18295")
    measured(c, "logsumexp of scipy", scipy.__version__, logsumexp(c.logits[0]), 4.248354255291589e-18, rtol=1e-15)
    measured(c, "log_softmax of scipy", scipy.__version__, log_softmax(c.logits[0]), [0.0, -40.0], dtype="float64")


# --- what TensorFlow and Keras do -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tf():
    import tensorflow

    import logitlab.frameworks.tensorflow  # noqa: F401

    return tensorflow


def tf_case(tf, case_id, dtype="float32"):
    c = case(case_id)
    return c, tf.constant(c.logits, dtype), tf.constant(c.targets, dtype if c.targets.ndim == 2 else c.targets.dtype)


def with_gradient(tf, loss, x, t):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(labels=t, logits=x)
    return value.numpy(), tape.gradient(value, x).numpy()


def test_tensorflows_sparse_loss_at_a_mask_is_right_eagerly_and_compiled(tf):
    c, x, t = tf_case(tf, "field_masks/tensorflow_40606")
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits
    compiled = tf.function(lambda x: loss(labels=t, logits=x), jit_compile=True)
    measured(c, "the sparse loss of TensorFlow", tf.__version__, loss(labels=t, logits=x), [0.6931472])
    measured(c, "the compiled sparse loss of TensorFlow", tf.__version__, compiled(x), [0.6931472])


def test_tensorflows_dense_loss_at_a_mask_is_nan(tf):
    c, x, t = tf_case(tf, "field_masks/optax_896_dense")
    now = tf.nn.softmax_cross_entropy_with_logits(labels=t, logits=x)
    measured(c, "the dense loss of TensorFlow", tf.__version__, now, [NAN, NAN])


@pytest.mark.parametrize(
    ("case_id", "was"),
    [
        ("field_options/tensorflow_2327", [[0.98201376, 0.01798621], [0.18242551, -0.18242556]]),
        ("field_options/tensorflow_1234", [[1 / 3, 1 / 3, 1 / 3], [1.0, 0.0, 0.0]]),
    ],
)
def test_a_row_without_a_label_has_a_gradient_in_tensorflow(tf, case_id, was):
    """The loss is 0 and the gradient softmax - labels, which is right only where the labels add up to 1."""
    c, x, t = tf_case(tf, case_id)
    value, gradient = with_gradient(tf, tf.nn.softmax_cross_entropy_with_logits, x, t)
    assert value[0] == 0
    assert exact(c, "float32").gradient.hi[0].tolist() == [0.0] * c.classes
    measured(c, "the gradient of the dense loss of TensorFlow", tf.__version__, gradient, was)


def test_an_invalid_label_raises_in_tensorflow_and_is_nan_compiled(tf):
    c, x, t = tf_case(tf, "field_options/tensorflow_8484")
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits
    with pytest.raises(tf.errors.InvalidArgumentError):
        loss(labels=t, logits=x)
    now = tf.function(lambda x: loss(labels=t, logits=x), jit_compile=True)(x)
    measured(c, "the compiled sparse loss of TensorFlow", tf.__version__, now, [NAN, 2.4519143])


def test_tensorflow_loses_the_targets_gradient_in_float64(tf):
    c, x, t = tf_case(tf, "field_precision/tensorflow_126636", "float64")
    _, gradient = with_gradient(tf, tf.nn.sparse_softmax_cross_entropy_with_logits, x, t)
    was = [[0.0, 5.551115123125776e-17]]
    measured(c, "the gradient of the sparse loss of TensorFlow", tf.__version__, gradient, was, dtype="float64")


def test_a_softmax_of_one_class_is_one_or_the_number_below_in_tensorflow(tf):
    """Reported for a nightly of 2.22, for batches of 8 and more.

    2.21.0 gave 1 in all rows on one processor. On another with AVX-512 it gave the report's 1 - 2^-24 in the first
    eight rows of nine.
    """
    c, x, _ = tf_case(tf, "field_precision/tensorflow_116933")
    found = np.asarray(tf.nn.softmax(x), np.float64)
    first = found[0, 0] if found[0, 0] == 1 - 2.0**-24 else 1.0
    measured(c, "tf.nn.softmax", tf.__version__, found, [[first]] * 8 + [[1.0]], rtol=0)


def test_tensorflow_is_right_about_huge_gaps(tf):
    c, x, t = tf_case(tf, "field_overflow/tensorflow_1513")
    now = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=t, logits=x)
    measured(c, "the sparse loss of TensorFlow", tf.__version__, now, exact(c, "float32").loss.hi)
    c, x, t = tf_case(tf, "field_overflow/tensorflow_21271")
    now = tf.nn.softmax_cross_entropy_with_logits(labels=t, logits=x)
    measured(c, "the dense loss of TensorFlow", tf.__version__, now, exact(c, "float32").loss.hi)


def test_keras_from_probabilities_stops_at_16(tf):
    import keras

    c, x, t = tf_case(tf, "field_overflow/keras_17634")
    loss = keras.losses.sparse_categorical_crossentropy
    now = loss(t, x, from_logits=True)
    measured(c, "Keras's loss from logits", keras.__version__, now, [0.0134955, 35.7], rtol=1e-5)
    now = loss(t, tf.nn.softmax(x))
    measured(c, "Keras's loss from probabilities", keras.__version__, now, [0.0134955, 16.118095], rtol=1e-5)


def test_keras_leaves_an_ignored_class_out(tf):
    import keras

    c, x, t = tf_case(tf, "field_options/tf_keras_734")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    measured(c, "Keras's mean loss", keras.__version__, loss(t, x), exact(c, "float32").loss.hi)


@pytest.mark.usefixtures("in_this_process")
def test_jax_38609_is_infinite_compiled_and_0_in_eager_mode():
    c = case("field_scaling/jax_38609")
    df = logitlab.run(implementations="jax/nn.log_softmax", cases=c.id, dtypes="float32", modes=["eager", "compiled"])
    losses = df[df["quantity"] == "loss"].set_index("mode")
    for mode, was in {"eager": 0.0, "compiled": -INF}.items():
        measured(c, f"{mode} jax.nn.log_softmax", losses.loc[mode, "version"], losses.loc[mode, "value"], was)
    gradient = df[(df["quantity"] == "gradient") & (df["mode"] == "compiled")]
    assert (gradient["verdict"].tolist(), gradient["grade"].tolist()) == (["nan"], ["F"])
