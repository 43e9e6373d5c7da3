"""The catalogue: its required content, and that its thresholds lie where their names say."""

import dataclasses
import importlib
import importlib.util
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from mpmath import mp, mpf
from threadpoolctl import threadpool_limits

from logitlab.cases import Case, all_cases, content_hash, select_cases
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.core.rounding import round_to, ulp
from logitlab.oracle import reference

FAMILIES = {
    "linear_cancellation",
    "linear_extremes",
    "linear_ignored",
    "linear_layers",
    "linear_sizes",
    "seed",
    "overflow",
    "underflow",
    "gap",
    "certainty",
    "offset",
    "ties",
    "random",
    "masks",
    "special",
    "order",
    "real",
    "smoothing",
    "softcap",
    "scaling",
    "contraction",
    "z_loss",
    "weights",
    "ignored",
    "soft",
    "reductions",
    "layout",
    "invalid",
    "padding",
    "stagnation",
    "neighbours",
}
TOOL = Path(__file__).parent.parent / "benchmarks" / "make_digits.py"


def case(case_id):
    (found,) = select_cases(case_id)
    return found


# --- the catalogue as a whole -----------------------------------------------------------------------------------


def test_the_catalogue_has_cases_of_every_family():
    assert len(all_cases()) >= 250
    assert {c.family for c in all_cases() if not c.family.startswith("field_")} == FAMILIES


def test_no_two_cases_share_a_name():
    ids = [c.id for c in all_cases()]
    assert len(set(ids)) == len(ids)


def test_names_are_short_words_that_a_shell_leaves_alone():
    assert [c.id for c in all_cases() if not re.fullmatch(r"[a-z_]+/[a-z0-9_.-]+", c.id)] == []


def test_why_is_one_sentence_on_one_line():
    sentence = re.compile(r"\S[^\n]*\.")
    assert [c.id for c in all_cases() if not sentence.fullmatch(c.why) or re.search(r"[.!?] [A-Z]", c.why)] == []


def test_sources_name_a_public_thread():
    sources = [c.source for c in all_cases() if c.source is not None]
    assert sources
    assert [s for s in sources if not re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", s)] == []


def test_logits_and_targets_fit():
    for c in all_cases():
        assert (c.logits.shape, c.logits.dtype) == ((c.rows, c.classes), np.float64)
        assert c.targets.shape in ((c.rows,), (c.rows, c.classes))
        if c.targets.ndim == 2:
            assert (c.targets >= 0).all()
        elif not c.invalid:
            counted = c.targets[c.targets != c.ignore_index]
            assert ((counted >= 0) & (counted < c.classes)).all()


def test_every_case_fits_a_dtype():
    assert [c.id for c in all_cases() if not c.dtypes] == []


def test_a_dtype_that_cannot_hold_a_case_is_left_out():
    assert case("special/float64_largest").dtypes == ("float64",)
    assert case("offset/100000").dtypes == ("bfloat16", "float32", "float64")
    assert case("seed/article").dtypes == tuple(FORMATS)


def test_infinite_and_nan_logits_leave_no_dtype_out():
    assert (
        case("masks/first").dtypes == case("special/nan").dtypes == case("special/two_posinf").dtypes == tuple(FORMATS)
    )


@pytest.mark.parametrize("name", FORMATS)
def test_quantized_logits_are_of_the_dtype_and_finite_where_they_were(name):
    fmt = FORMATS[name]
    for c in select_cases(["seed/*", "special/*", "offset/*"]):
        if name in c.dtypes:
            quantized = c.quantized(fmt)
            assert quantized.dtype == fmt.dtype
            assert np.array_equal(np.isfinite(quantized.astype(np.float64)), np.isfinite(c.logits))


def test_a_case_cannot_be_changed():
    for c in all_cases():
        assert not c.logits.flags.writeable
        assert not c.targets.flags.writeable
    with pytest.raises(dataclasses.FrozenInstanceError):
        all_cases()[0].why = "another reason"


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_is_the_same_on_each_build(family):
    module = importlib.import_module(f"logitlab.cases.catalogue.{family}")
    assert content_hash(module.cases()) == content_hash(module.cases()) == content_hash(select_cases(f"{family}/*"))


# --- selecting and hashing --------------------------------------------------------------------------------------


def test_select_without_a_pattern_gives_everything():
    assert select_cases() == select_cases(None) == select_cases("*") == all_cases()


def test_select_takes_globs_in_the_catalogues_order_and_no_case_twice():
    picked = select_cases(["seed/*", "gap/5_*", "seed/article"])
    assert [c.id for c in picked if c.family == "gap"] == ["gap/5_low", "gap/5_high"]
    assert {c.id for c in picked if c.family == "seed"} == {c.id for c in all_cases() if c.family == "seed"}
    assert list(picked) == [c for c in all_cases() if c in picked]


def test_select_refuses_a_pattern_without_a_case_and_names_the_families():
    with pytest.raises(UsageError, match=r"no case matches 'sede/\*'.*certainty, .*masks, .*underflow"):
        select_cases(["seed/*", "sede/*"])


def changed(c, **fields):
    return content_hash([dataclasses.replace(c, **fields)])


def test_the_content_hash_depends_on_everything_that_decides_a_result():
    c = case("seed/article")
    moved = c.logits.copy()
    moved[0, 0] = np.nextafter(moved[0, 0], 3)
    hashes = [
        content_hash([c]),
        changed(c, logits=moved),
        changed(c, logits=c.logits.reshape(1, -1)),
        changed(c, targets=c.targets[::-1].copy()),
        changed(c, reduction="sum"),
        changed(c, name="another"),
    ]
    assert len(set(hashes)) == len(hashes)


def test_the_content_hash_does_not_depend_on_the_words():
    c = case("seed/article")
    assert changed(c, why="Another reason.", tags=("new",), source="someone/something#1") == content_hash([c])


# --- what the families hold -------------------------------------------------------------------------------------


def test_the_seed_is_the_articles_batch():
    c = case("seed/article")
    assert c.logits.tolist() == [[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0], [3.0, 2.0, 1.0]]
    assert c.targets.tolist() == [0, 2, 1]
    assert c.reduction == "none"
    assert {select_cases(f"seed/article_{r}")[0].reduction for r in ("mean", "sum")} == {"mean", "sum"}


def exp(x):
    with mp.workprec(200):
        return mp.exp(mpf(x))


def threshold_logits(prefix, column):
    return [float(case(f"{prefix}_{side}").logits[0, column]) for side in ("below", "at", "above")]


@pytest.mark.parametrize("name", FORMATS)
def test_overflow_cases_straddle_the_rounding_boundary(name):
    fmt = FORMATS[name]
    below, at, above = threshold_logits(f"overflow/{name}", 0)
    # Half an ulp above the largest number; not a float64 for float64 itself.
    boundary = mpf(2) ** (fmt.emax + 1) - mpf(2) ** (fmt.emax - fmt.precision)
    assert exp(below) < boundary <= exp(above)
    assert below < at < above


@pytest.mark.parametrize("name", FORMATS)
def test_underflow_cases_straddle_the_smallest_normal_number(name):
    fmt = FORMATS[name]
    below, at, above = threshold_logits(f"underflow/{name}_subnormal", 1)
    assert exp(below) < mpf(2) ** fmt.emin <= exp(above)
    assert below < at < above


@pytest.mark.parametrize("name", FORMATS)
def test_underflow_cases_straddle_what_rounds_to_zero(name):
    fmt = FORMATS[name]
    below, at, above = threshold_logits(f"underflow/{name}_zero", 1)
    assert exp(below) <= mpf(2) ** (fmt.emin - fmt.precision) < exp(above)
    assert below < at < above


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("event", ["overflow/{}", "underflow/{}_subnormal", "underflow/{}_zero"])
def test_threshold_logits_are_neighbouring_numbers_of_their_format(name, event):
    fmt = FORMATS[name]
    column = 0 if event.startswith("overflow") else 1
    logits = np.array(threshold_logits(event.format(name), column))
    assert np.array_equal(logits.astype(fmt.dtype).astype(np.float64), logits)
    between = (logits[:-1] + logits[1:]) / 2
    assert all(float(m.astype(fmt.dtype)) in logits for m in between)


@pytest.mark.parametrize("name", FORMATS)
def test_the_sum_overflows_where_no_exponential_does(name):
    fmt = FORMATS[name]
    row = case(f"overflow/{name}_sum").quantized(fmt).astype(np.float64)[0]
    terms = [exp(float(x)) for x in row]
    assert max(terms) < fmt.largest < mp.fsum(terms)


def test_gaps_put_the_target_on_either_side():
    low, high = case("gap/1000_low"), case("gap/1000_high")
    assert np.array_equal(low.logits, high.logits)
    assert (low.logits.max(axis=1) - low.logits[[0, 1], low.targets]).tolist() == [1000, 1000]
    assert (high.logits.max(axis=1) - high.logits[[0, 1], high.targets]).tolist() == [0, 0]


def test_random_cases_ask_for_the_best_and_the_worst_class():
    for c in select_cases("random/*"):
        assert c.logits[0].argmax() == c.targets[0]
        assert c.logits[1].argmin() == c.targets[1]


def test_tied_cases_reach_a_language_models_width():
    widest = max(select_cases("ties/*"), key=lambda c: c.classes)
    assert widest.classes == 131072
    assert np.unique(widest.logits).size == 1


def test_masks_leave_something_to_grade_except_where_they_say_so():
    hidden = [c.id for c in select_cases("masks/*") if (c.logits == -np.inf).all(axis=1).any()]
    assert hidden == ["masks/all", "masks/all_beside_finite"]


def test_a_case_with_an_invalid_target_raises():
    make = importlib.import_module("logitlab.cases._case").make
    assert isinstance(make("a/b", "Why.", [[0.0, 1.0]], [1]), Case)
    with pytest.raises(ValueError, match="a/b: a target is not one of its 2 classes"):
        make("a/b", "Why.", [[0.0, 1.0]], [2])
    with pytest.raises(ValueError, match=r"a/b: logits \(1, 2\) and targets \(2,\)"):
        make("a/b", "Why.", [[0.0, 1.0]], [0, 1])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("classes", [257, 2049])
def test_a_stagnating_sum_stands_still_at_one_and_its_loss_does_not(name, classes):
    fmt = FORMATS[name]
    c = case(f"stagnation/{name}_{classes}")
    first, last = np.exp(c.quantized(fmt)[:2].astype(np.float64)).astype(fmt.dtype)
    in_order = [np.array(0, fmt.dtype), np.array(0, fmt.dtype)]
    for e, f in zip(first, last, strict=True):
        in_order = [(in_order[0] + e).astype(fmt.dtype), (in_order[1] + f).astype(fmt.dtype)]
    assert float(in_order[0]) == 1 < float(in_order[1])
    assert reference(c.quantized(fmt), c.targets).loss.hi[0] > (classes - 1) / 16 * fmt.unit_roundoff


@pytest.mark.parametrize("classes", [257, 2049])
def test_the_harmonic_series_stops_at_five_and_a_sixteenth_in_bfloat16(classes):
    bfloat16 = FORMATS["bfloat16"].dtype
    total = np.array(0, bfloat16)
    for k in range(1, classes + 1):
        total = (total + np.array(1 / k, bfloat16)).astype(bfloat16)
    assert float(total) == 5.0625
    falling = case(f"stagnation/harmonic_{classes}").logits[0]
    assert np.exp(falling) == pytest.approx(1 / np.arange(1, classes + 1), rel=1e-15)


@pytest.mark.parametrize("c", select_cases("neighbours/*"), ids=lambda c: c.name)
def test_neighbours_have_no_number_between_them(c):
    fmt = FORMATS[c.name.split("_")[0]]
    low, high = c.quantized(fmt)[0].astype(np.float64)
    assert (low, high) == tuple(c.logits[0])
    assert high - low == float(ulp(low, fmt))


def test_padding_stands_in_for_minus_infinity():
    """Beside ordinary classes the padded ones change nothing; without any, they share the softmax."""
    for c in select_cases("padding/*"):
        padded = c.logits <= -1e4
        if c.name in ("1e4", "1e9", "float16_min", "float32_min", "vocabulary"):
            masked = np.where(padded, -np.inf, c.logits)
            assert np.array_equal(reference(c.logits, c.targets).loss.hi, reference(masked, c.targets).loss.hi)
        if c.name.endswith("_everywhere"):
            assert reference(c.logits, c.targets).loss.hi == pytest.approx(np.log(128), rel=1e-15)


def test_a_padded_target_lies_on_either_side_of_what_float16_rounds_to_infinity():
    c, fmt = case("padding/float16_min_beyond"), FORMATS["float16"]
    loss = reference(c.quantized(fmt), c.targets).loss
    assert round_to(loss.hi, fmt, loss.lo).tolist() == [np.inf, fmt.largest]


def test_scores_added_to_minus_1e9_are_ties_in_float32():
    c = case("padding/1e9_added")
    assert np.unique(c.quantized(FORMATS["float32"])).size == 1
    assert np.unique(c.quantized(FORMATS["float64"])).size == 65


# --- the digits -------------------------------------------------------------------------------------------------


@pytest.fixture
def single_thread():
    with threadpool_limits(1):  # small matrices, and the other workers want the cores
        yield


def load(path):
    spec = importlib.util.spec_from_file_location("make_digits", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def close_to_float32(a, b):
    return np.abs(a - b).max() <= 4 * np.finfo(np.float32).eps * np.abs(b).max()


@pytest.mark.usefixtures("single_thread")
def test_the_tool_recreates_the_committed_digits(tmp_path, capsys):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "cases" / "catalogue").mkdir(parents=True)
    load(shutil.copy(TOOL, tmp_path / "benchmarks")).main()
    assert "sane: rate" in capsys.readouterr().out
    with np.load(tmp_path / "cases" / "catalogue" / "digits.npz") as made:
        for stage in ("sane", "large", "absurd"):
            c = case(f"real/digits_{stage}")
            assert np.array_equal(made["targets"], c.targets)
            assert close_to_float32(made[stage], c.logits)


@pytest.mark.usefixtures("single_thread")
@pytest.mark.parametrize("stage", ["sane", "large", "absurd"])
def test_training_gives_the_same_digits_whatever_the_order_of_its_sums(stage):
    """A matrix product on another processor adds in another order; the tool must write the same file there."""
    from sklearn.datasets import load_digits

    tool = load(TOOL)
    images, labels = load_digits(return_X_y=True)
    rate = tool.RATES[stage]
    straight, reversed_ = (
        images[:24] @ tool.train(images[s], labels[s], rate) for s in (slice(None), slice(None, None, -1))
    )
    assert close_to_float32(reversed_, straight)


def test_the_digits_logits_grow_with_the_learning_rate():
    sizes = [np.abs(case(f"real/digits_{stage}").logits).max() for stage in ("sane", "large", "absurd")]
    assert sizes[0] < 100
    assert 1000 < sizes[1] < 1e5
    assert sizes[2] > 1e6
