"""Grades of the linear problem: kernels that round at known places get the grade of that place, and no better one."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from logitlab.core.formats import FORMATS
from logitlab.core.options import LossOptions
from logitlab.core.rounding import quantize, round_to
from logitlab.core.vocabulary import Quantity
from logitlab.grading import LinearStandards, grade_by
from logitlab.oracle import linear_reference

GRADIENTS = (Quantity.GRADIENT_HIDDEN, Quantity.GRADIENT_WEIGHT, Quantity.GRADIENT_BIAS)
NARROW = ("float16", "bfloat16")


class Batch:
    """Inputs as a dtype holds them, their exact answer, and their standards."""

    def __init__(self, hidden, weight, targets, dtype, bias=None, reduction="none", **options):
        self.fmt, self.targets, self.reduction = FORMATS[dtype], np.asarray(targets), reduction
        parts = (None if part is None else quantize(part, self.fmt) for part in (hidden, weight, bias))
        self.hidden, self.weight, self.bias = parts
        self.options = LossOptions(**options).options(self.fmt)
        exact = {
            r: linear_reference(
                self.hidden, self.weight, self.targets, bias=self.bias, reduction=r, **self.options
            )
            for r in {"none", reduction}
        }  # fmt: skip
        self.exact = exact[reduction]
        wide = (None if part is None else part.astype(np.float64) for part in (self.hidden, self.weight, self.bias))
        self.standards = LinearStandards(*wide, self.fmt, self.exact, exact["none"].loss, reduction)

    def grades(self, results):
        """Return the worst grade of each quantity."""
        graded = {q: grade_by(self.standards.of(q), np.asarray(v)) for q, v in results.items()}
        return {q: max((letter for letter in g.grade if letter), default=None) for q, g in graded.items()}

    def worst(self, results):
        return max(filter(None, self.grades(results).values()))

    def kernel(self, *, logits=None, derivative=None, accumulator=None, bias_in=None):
        """Return loss and gradients computed in float32, with each named place rounded to the dtype."""
        wide = np.float32 if self.fmt.name != "float64" else np.float64
        own = self.fmt.dtype

        def held(values, narrow):
            return values.astype(own).astype(wide) if narrow else values

        h, w = self.hidden.astype(wide), self.weight.astype(wide)
        z = held(h @ w.T, logits)
        if self.bias is not None:
            z = held(z + self.bias.astype(wide), logits)
        rows = np.arange(len(h))
        m = z.max(axis=1, keepdims=True)
        e = np.exp(z - m)
        total = e.sum(axis=1, keepdims=True)
        loss = np.log(total)[:, 0] + (m[:, 0] - z[rows, self.targets])
        p = e / total
        g = p.copy()
        # The target's entry as minus the sum of the others, which does not cancel.
        others = e.copy()
        others[rows, self.targets] = 0
        g[rows, self.targets] = -(others.sum(axis=1) / total[:, 0])
        if self.reduction == "mean":
            g, loss = g / wide(len(g)), loss.mean()
        g = held(g, derivative)
        by_weight = g.T @ h
        if accumulator:
            by_weight = np.zeros_like(w)
            for r in rows:
                by_weight = held(by_weight + g[r][:, None] * h[r], narrow=True)
        found = {
            Quantity.LOSS: np.asarray(loss).astype(own),
            Quantity.GRADIENT_HIDDEN: (g @ w).astype(own),
            Quantity.GRADIENT_WEIGHT: by_weight.astype(own),
        }
        return found | ({} if self.bias is None else {Quantity.GRADIENT_BIAS: g.sum(axis=0).astype(own)})


def normal(rows, hidden, classes, dtype, *, spread=4.0, seed=0, bias=False, reduction="none"):
    generator = np.random.default_rng(seed)
    h = generator.standard_normal((rows, hidden))
    w = spread / np.sqrt(hidden) * generator.standard_normal((classes, hidden))
    targets = generator.integers(classes, size=rows)
    return Batch(h, w, targets, dtype, generator.standard_normal(classes) if bias else None, reduction)


SIZES = [(3, 5, 4), (8, 64, 40), (4, 300, 200), (16, 33, 1000)]


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [*NARROW, "float32"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_a_kernel_with_float32_inside_is_accurate(dtype, size, reduction):
    batch = normal(*size, dtype, bias=True, reduction=reduction)
    assert batch.worst(batch.kernel()) == "A"


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_kernel_that_rounds_the_derivative_is_stable(dtype, size):
    batch = normal(*size, dtype, bias=True)
    grades = batch.grades(batch.kernel(derivative=True))
    assert max(grades[q] for q in GRADIENTS) == "B"


@pytest.mark.parametrize("size", SIZES[1:], ids=str)
def test_a_kernel_that_rounds_the_logits_is_c(size):
    batch = normal(*size, "bfloat16", bias=True)
    grades = batch.grades(batch.kernel(logits=True))
    assert {grades[q] for q in GRADIENTS} == {"C"}


def test_a_kernel_with_a_narrow_accumulator_is_c():
    batch = normal(256, 16, 8, "bfloat16", spread=1.0, reduction="mean")
    grades = batch.grades(batch.kernel(accumulator=True))
    assert grades[Quantity.GRADIENT_WEIGHT] in ("C", "D")
    assert grades[Quantity.GRADIENT_HIDDEN] == "A"


def test_small_derivatives_that_are_left_out_are_worse_than_b():
    batch = normal(4, 16, 3000, "bfloat16", spread=1.0)
    g = batch.exact.of_logits.gradient.hi
    filtered = np.where(np.abs(g) < 2.0**-11, 0.0, g)
    h = batch.hidden.astype(np.float64)
    found = {Quantity.GRADIENT_WEIGHT: (filtered.T @ h).astype(batch.fmt.dtype)}
    assert batch.worst(found) in ("C", "D")


@pytest.mark.parametrize("wrong", ["bias", "row", "class", "scaled"])
def test_a_fault_is_d(wrong):
    batch = normal(8, 32, 50, "float32", bias=True)
    found = batch.kernel()
    if wrong == "bias":
        found[Quantity.GRADIENT_BIAS] = np.zeros_like(found[Quantity.GRADIENT_BIAS])
    elif wrong == "row":
        last = np.outer(batch.exact.of_logits.gradient.hi[7], batch.hidden[7])
        found[Quantity.GRADIENT_WEIGHT] -= last.astype(np.float32)
    elif wrong == "class":
        found[Quantity.GRADIENT_WEIGHT][49] = 0
    else:
        found[Quantity.GRADIENT_HIDDEN] = found[Quantity.GRADIENT_HIDDEN] * np.float32(1.01)
    assert batch.worst(found) == "D"


# --- the bound of rounded logits, against exact arithmetic -------------------------------------------------------


NUMBERS = st.floats(-6.0, 6.0, width=32)


@st.composite
def problems(draw):
    rows, hidden, classes = (draw(st.integers(1, n)) for n in (3, 4, 4))
    h, w = (draw(arrays(np.float64, shape, elements=NUMBERS)) for shape in ((rows, hidden), (classes, hidden)))
    bias = draw(st.none() | arrays(np.float64, classes, elements=NUMBERS))
    targets = draw(arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    return h, w, targets, bias


def exact_gradients(batch, logits):
    """Return the gradients of given logits, exact fractions, by mpmath: by hidden states, weight and bias."""
    with mpmath.workprec(300):
        g = []
        for z, t in zip(logits, batch.targets.tolist(), strict=True):
            e = [mpmath.exp(mpmath.mpf(v.numerator) / v.denominator) for v in z]
            p = [each / mpmath.fsum(e) for each in e]
            g.append([each - (j == t) for j, each in enumerate(p)])
        h, w = batch.hidden.astype(float).tolist(), batch.weight.astype(float).tolist()
        by_hidden = [[mpmath.fdot(row, [line[k] for line in w]) for k in range(len(w[0]))] for row in g]
        columns = [[row[k] for row in h] for k in range(len(h[0]))]
        by_weight = [[mpmath.fdot([r[j] for r in g], column) for column in columns] for j in range(len(w))]
        by_bias = [mpmath.fsum(r[j] for r in g) for j in range(len(w))]
        return [np.array(values, float) for values in (by_hidden, by_weight, by_bias)]


def dot(one, other):
    return sum((Fraction(float(a)) * Fraction(float(b)) for a, b in zip(one, other, strict=True)), Fraction(0))


def rounded(batch, logits):
    return [[Fraction(float(round_to(float(z), batch.fmt))) for z in row] for row in logits]


@settings(deadline=None)
@given(problems(), st.sampled_from([*NARROW, "float32"]))
def test_rounded_logits_move_no_gradient_beyond_the_bound_of_c(problem, dtype):
    """The logits are rounded as the unfused loss rounds them, and all the rest is exact."""
    h, w, targets, bias = problem
    batch = Batch(h, w, targets, dtype, bias)
    logits = rounded(batch, [[dot(row, line) for line in batch.weight] for row in batch.hidden])
    if batch.bias is not None:
        b = [Fraction(float(c)) for c in batch.bias]
        logits = rounded(batch, [[z + c for z, c in zip(row, b, strict=True)] for row in logits])
    found = dict(zip(GRADIENTS, exact_gradients(batch, logits), strict=True))
    if batch.bias is None:
        del found[Quantity.GRADIENT_BIAS]
    for quantity, values in found.items():
        standard = batch.standards.of(quantity)
        error = np.abs(values.reshape(standard.wanted.hi.shape) - standard.wanted.hi)
        assert (error <= standard.allowed.c).all(), quantity


@settings(deadline=None)
@given(problems(), st.sampled_from([*NARROW, "float32", "float64"]), st.sampled_from(["none", "mean", "sum"]))
def test_the_exact_answer_rounded_once_is_accurate(problem, dtype, reduction):
    h, w, targets, bias = problem
    batch = Batch(h, w, targets, dtype, bias, reduction)
    exact = batch.exact
    answers = (exact.loss, exact.gradient_hidden, exact.gradient_weight, exact.gradient_bias)
    found = {q: e for q, e in zip((Quantity.LOSS, *GRADIENTS), answers, strict=True) if e is not None}
    once = {q: round_to(e.hi, batch.fmt).astype(batch.fmt.dtype) for q, e in found.items()}
    assert set(batch.grades(once).values()) <= {"A", None}


@pytest.mark.parametrize(
    "options", [{"softcap": 3.0}, {"logit_scale": 0.25}, {"z_loss": 2.0**-8}, {"label_smoothing": 0.25}]
)
def test_the_bounds_are_in_order_and_finite_with_options(options):
    batch = Batch(*_inputs(), "bfloat16", **options)
    for quantity in (Quantity.LOSS, *GRADIENTS[:2]):
        a, b, c = batch.standards.of(quantity).allowed
        assert np.isfinite(c).all()
        assert (a <= b).all()
        assert (b <= c).all()


def _inputs():
    generator = np.random.default_rng(1)
    return generator.standard_normal((4, 8)), generator.standard_normal((6, 8)), [0, 1, 5, 3]


def test_an_ignored_row_of_nan_leaves_the_loss_graded_and_the_weights_gradient_ungraded():
    h, w, t = _inputs()
    h[2] = np.nan
    t[2] = -100
    batch = Batch(h, w, t, "float32", None, "mean", ignore_index=-100)
    assert all(np.isfinite(bound).all() for bound in batch.standards.of(Quantity.LOSS).allowed)
    found = {Quantity.LOSS: batch.exact.loss.hi.astype(np.float32),
             Quantity.GRADIENT_WEIGHT: np.full(w.shape, np.nan, np.float32)}  # fmt: skip
    assert batch.grades(found) == {Quantity.LOSS: "A", Quantity.GRADIENT_WEIGHT: None}
    graded = grade_by(batch.standards.of(Quantity.GRADIENT_WEIGHT), found[Quantity.GRADIENT_WEIGHT])
    assert graded.verdict.tolist() == ["nan"]
