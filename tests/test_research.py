"""The programs of ``docs/research`` measure what their pages say, on small versions of their inputs."""

import math
import re
from fractions import Fraction
from pathlib import Path

import biased_rounding
import digits
import docs_research
import eight_bit_attention
import few_random_bits
import jinja2
import logsumexp_bounds
import mpmath
import numpy as np
import pandas as pd
import published
import pytest
import softmax_collapse
import yaml
from biased_rounding import SETTINGS
from eight_bit_attention import Kernel
from softmax_collapse import Loss

from logitlab.core.formats import get_format
from logitlab.core.rounding import quantize, round_to

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted((DOCS / "research").glob("*.md"))
STUDY = re.compile(r'study\("(\w+)"\)')


def to(dtype):
    return lambda values: round_to(values, get_format(dtype))


# --- shifted and unshifted softmax ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def float16_rows():
    return np.random.default_rng(1).normal(0, 3, (40, 10)).astype(np.float16)


def test_every_operation_is_rounded_as_numpy_rounds_float16(float16_rows):
    x = float16_rows
    found = logsumexp_bounds.unshifted(x.astype(np.float64), to("float16"))
    e, s = np.exp(x), np.zeros(len(x), np.float16)
    for j in range(x.shape[1]):
        s = s + e[:, j]
    y = np.log(s)
    assert (found.lse == y).all()
    assert (found.softmax == e / s[:, None]).all()
    assert (found.divisionless == np.exp(x - y[:, None])).all()


@pytest.mark.parametrize("dtype", logsumexp_bounds.DTYPES)
def test_the_bounds_hold_and_the_division_is_worth_it(float16_rows, dtype):
    table = logsumexp_bounds.errors(to(dtype)(float16_rows.astype(np.float64)), dtype)
    assert (table["error"] <= table["bound"]).all()
    worst = table.groupby(["function", "formula"])["error"].max()
    assert worst["softmax", "shifted, no division"] > 2 * worst["softmax", "shifted"]
    assert worst["log-sum-exp", "shifted"] < 2 * worst["log-sum-exp", "basic"]


def test_only_the_unshifted_formula_overflows():
    table = logsumexp_bounds.errors(np.array([[12.0, 1.0], [3.0, 1.0]]), "float16")
    assert set(table[table["overflowed"]]["formula"]) == {"basic", "basic, no division"}
    assert set(table[table["overflowed"]]["row"]) == {0}


def test_the_error_is_that_of_the_exact_answer():
    x = np.array([[0.5, -1.25, 2.0]])
    table = logsumexp_bounds.errors(x, "bfloat16").set_index(["function", "formula"])
    with mpmath.workdps(40):
        exact = mpmath.log(sum(mpmath.exp(v) for v in x[0]))
        computed = logsumexp_bounds.shifted(x, to("bfloat16")).lse[0]
        error = abs(computed - exact) / exact * 2**8
    assert table.loc[("log-sum-exp", "shifted"), "error"] == pytest.approx(float(error), rel=1e-9)


# --- softmax collapse -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def training():
    losses = (Loss("softmax", "float16"), Loss("softmax", "float32"), Loss("StableMax", "float32"))
    return pd.concat([softmax_collapse.follow(loss, 160) for loss in losses]).set_index(["loss", "step"])


def test_the_softmax_collapses_earlier_with_fewer_bits(training):
    shares = training.xs(160, level="step")["zero_target"]
    assert shares["float16"] > 0.5 > shares["float32"] > 0
    assert shares["StableMax, float32"] == 0


def test_a_collapsed_sample_has_no_gradient_in_its_target(training):
    assert training.loc[["float16", "float32"], "collapsed_not_zero"].sum() == 0
    assert training.loc["float16", "zero_target"].equals(training.loc["float16", "collapsed"])


def test_the_gradient_aligns_with_the_weights_once_the_images_are_right(training):
    assert training.loc[("float32", 160), "accuracy"] > 0.999
    assert abs(training.loc[("float32", 0), "cosine"]) < 0.2
    assert training.loc[("float32", 160), "cosine"] > 0.5


@pytest.mark.parametrize("formula", ["softmax", "StableMax", "log1p"])
def test_a_gradient_is_the_slope_of_its_loss(formula):
    x, target = [0.5, -1.25, 2.0], 2

    def loss(*logits):
        if formula == "StableMax":
            terms = [1 + v if v >= 0 else 1 / (1 - v) for v in logits]
        else:
            terms = [mpmath.exp(v) for v in logits]
        return -mpmath.log(terms[target] / sum(terms))

    found = Loss(formula, "float64").gradient(np.array([x]), np.array([target]))[0]
    with mpmath.workdps(40):
        exact = [mpmath.diff(loss, x, tuple(int(i == j) for j in range(3))) for i in range(3)]
    assert found == pytest.approx([float(v) for v in exact], rel=1e-7)


def test_the_training_goes_down():
    weights = digits.train(60)
    logits = digits.logits(weights)[: len(digits.training()[1])]
    assert (logits.argmax(axis=1) == digits.training()[1]).mean() > 0.8


# --- biased rounding --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "lowest", "highest"),
    [
        ("two", -0.25, -0.15), ("four", -0.15, -0.05), ("one", 0.0, 0.1), ("exact", -0.03, 0.03),
        ("signs", -0.03, 0.03), ("beta", -0.03, 0.03), ("stochastic", -0.03, 0.03),
    ],
)  # fmt: skip
def test_two_probabilities_of_one_bias_the_sum(key, lowest, highest):
    assert lowest < biased_rounding.signed_errors(SETTINGS[key], 4000).mean() < highest


def test_the_worked_example_of_the_paper():
    total, rounded, error = biased_rounding.EXAMPLE
    assert round_to(total, get_format("bfloat16")) == rounded
    assert Fraction(rounded) - Fraction(total) == Fraction(error)


def test_the_bias_changes_its_sign_with_larger_small_terms():
    small, large = (biased_rounding._swept("two", gap, 2000)["mean"] for gap in (12.0, 8.5))
    assert small < -0.2
    assert large > 0.15


# --- attention in e4m3 ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scores():
    return eight_bit_attention.rows(7, 16, 1024, seed=3)


def test_forward_order_loses_the_share_of_the_formula(scores):
    _, lost = eight_bit_attention.attend(*scores, Kernel(False, 1.0))
    predicted = eight_bit_attention.normal_cdf(7 + eight_bit_attention.SHIFT - 10 * math.log(2))
    assert lost[:, eight_bit_attention.SINKS :].mean() == pytest.approx(predicted, abs=0.1)


def test_reverse_order_loses_probabilities_in_the_sinks_block_alone(scores):
    _, lost = eight_bit_attention.attend(*scores, Kernel(True, 1.0))
    assert lost[:, 4:128].mean() > 0.7
    assert lost[:, 128:].mean() < 0.01
    _, scaled = eight_bit_attention.attend(*scores, Kernel(True, 256.0))
    assert not scaled[:, 128:].any()


def test_a_probability_becomes_0_where_logitlab_rounds_it_to_0(scores):
    of_scores, values = scores
    kernel = Kernel(False, 256.0, block=of_scores.shape[1])  # one block: the maximum is the row's
    p = np.exp(of_scores - of_scores.max(axis=1, keepdims=True))
    cast = quantize(256 * p, get_format("e4m3fn")).astype(np.float64)
    out, lost = eight_bit_attention.attend(of_scores, values, kernel)
    assert (lost == (cast == 0)).all()
    assert out == pytest.approx(cast @ values / (256 * p.sum(axis=1, keepdims=True)), rel=1e-12, abs=1e-15)


def test_both_changes_make_the_error_smaller():
    scores, values = eight_bit_attention.rows(6, 8, 8192, seed=0)
    exact = eight_bit_attention.exact_output(scores, values)
    kernels = Kernel(False, 1.0), Kernel(False, 256.0), Kernel(True, 1.0), Kernel(True, 256.0)
    plain, *others = (((eight_bit_attention.attend(scores, values, k)[0] - exact) ** 2).mean() for k in kernels)
    assert all(plain > 3 * other for other in others)


def test_a_tile_of_medium_size_loses_least_in_e4m3():
    errors = eight_bit_attention.losses_by_tile(count=2).set_index("settings")["mean"].abs()
    assert errors["tile-64"] < 0.5 * errors["tile-1"]
    assert errors["tile-64"] < 0.5 * errors["tile-1024"]
    assert errors["accumulate-float32"] == errors.min()


def test_256_has_the_smallest_step_of_the_scales():
    steps = {s: eight_bit_attention.step(s) for s in (128, 192, 256, 300, 448)}
    assert steps[256] == steps[128] == 2.0**-4 == min(steps.values())
    assert steps[448] == 32 / 448
    assert eight_bit_attention.coverage(448) > eight_bit_attention.coverage(256)


# --- few random bits --------------------------------------------------------------------------------------------


class AllDraws:
    """Each random number once, in place of a generator."""

    def integers(self, low, high, shape):
        assert (low, shape) == (0, (high,))
        return np.arange(high)


@pytest.mark.parametrize("bits", [1, 3, 6])
def test_the_mean_of_all_draws_is_the_truncated_value(bits):
    value = 1 + 0.37 * 2.0**-7
    found = few_random_bits.stochastic(np.full(2**bits, value), get_format("bfloat16"), bits, AllDraws())
    truncated = 1 + Fraction(math.floor(0.37 * 2**bits), 2 ** (bits + 7))
    assert sum(map(Fraction, found)) / 2**bits == truncated
    assert set(found) <= {1.0, 1 + 2.0**-7}


def test_few_bits_move_the_stagnation():
    """Ones in bfloat16 stop to count at 256; with r bits, at 256 * 2^r."""
    nearest, chance = few_random_bits.sums(np.ones(1200), get_format("bfloat16"), 3, np.random.default_rng(0))
    assert nearest.max() == 256
    one, two = chance[-1, 0], chance[-1, 1]
    assert (one == 512).all()
    assert (two == 1024).all()
    assert chance[-1, -1].mean() == pytest.approx(1200, rel=0.1)


def test_one_random_bit_makes_the_loss_of_many_classes_too_small():
    found = few_random_bits.losses(rows=2).set_index("rounding")
    exact = found["exact"].iloc[0]
    assert found.loc["nearest", "most"] < found.loc["1 bit", "most"] < exact - 0.5
    assert found.loc["16 bits", "least"] - 0.1 < exact < found.loc["16 bits", "most"] + 0.1


# --- the pages --------------------------------------------------------------------------------------------------


def test_every_program_has_a_page_and_every_page_is_in_the_navigation():
    named = {name for page in PAGES for name in STUDY.findall(page.read_text())}
    programs = {p.stem for p in (DOCS / "research").glob("*.py")} - {"published", "digits"}
    assert named == programs
    text = (DOCS.parent / "mkdocs.yml").read_text()
    for page in PAGES:
        assert f"research/{page.name}" in text
    assert (
        "/research/*.py" in yaml.safe_load(re.search(r"exclude_docs:.*?(?=\n\n)", text, re.DOTALL)[0])["exclude_docs"]
    )


def test_a_claim_that_does_not_hold_is_marked():
    claims = (published.Claim("Section 1", "x", "0.5", True), published.Claim("Section 2", "y", "0.7", False))
    table = pd.DataFrame({"x": [1, 2]})
    chart = published.panel(table, "title").mark_point().encode(x="x:Q")
    study = published.Study(claims, {}, table, chart, 'a "caption"')
    assert study.claims_table().splitlines()[2:] == [
        "| Section 1 | x | 0.5 | holds |",
        "| Section 2 | y | 0.7 | **does not hold** |",
    ]
    assert 'src="data:image/svg+xml;base64,' in study.figure()
    assert "a &quot;caption&quot;" in study.figure()


# The statements that do not hold on the data of the pages, by program and place.
CONTRADICTED = {
    ("softmax_collapse", "the collapse stops learning"),
    ("eight_bit_attention", "reverse order with S = 256 guarantees that nothing becomes 0"),
}


@pytest.mark.full
@pytest.mark.parametrize("name", sorted({n for page in PAGES for n in STUDY.findall(page.read_text())}))
def test_a_page_can_be_built_with_its_measurements(name):
    study = docs_research.study(name)
    assert {(name, c.statement) for c in study.claims if not c.holds} == {c for c in CONTRADICTED if c[0] == name}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - Markdown
    environment.filters["number"] = lambda value, digits=4: f"{value:.{digits}g}"
    (page,) = [p for p in PAGES if f'study("{name}")' in p.read_text()]
    built = environment.from_string(page.read_text().split("---\n", 2)[2]).render(study=docs_research.study)
    assert "data:image/svg+xml" in built
    assert "nan" not in built.replace("data:image", "").split("<figure>")[0]
