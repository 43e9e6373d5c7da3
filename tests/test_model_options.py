"""Softcap, logit scale and z-loss: the catalogue's cases, what the formulas make of them, and what compilers break."""

import numpy as np
import pytest

from logitlab import runner
from logitlab.cases import all_cases, make, select_cases
from logitlab.cases.inputs._selection import CaseBlock
from logitlab.core.formats import FORMATS
from logitlab.execution import registry
from logitlab.frameworks import Batch, Implementation
from logitlab.grading import grade
from logitlab.oracle import reference
from logitlab.studies.explain import explain

OF_MODELS = {"softcap", "logit_scale", "z_loss"}
WITH_OPTIONS = [c for c in all_cases() if OF_MODELS & set(c.set_options)]
# The formulas take no other options.
ALONE = [c for c in WITH_OPTIONS if set(c.set_options) <= OF_MODELS]
MESSAGE = (
    "{name} in {mode} mode on {case} now gives {now}, and gave {was}: if a new version of {framework} fixed or broke "
    "it, change docs/findings.md, this test and the CHANGELOG; a processor without fused multiply-add gives 0 too"
)


def implementation(name):
    (found,) = [i for i in registry.load(name.split("/")[0]).implementations if i.name == name]
    return found


def evaluate(name, case, dtype, mode="eager"):
    fmt = FORMATS[dtype]
    batch = Batch(case.quantized(fmt), case.quantized_targets(fmt), case.reduction, case.options(fmt))
    return dict(registry.load(name.split("/")[0]).evaluate(implementation(name), batch, "cpu", mode))


def grades(answers, case, dtype):
    """Return the worst grade of each quantity; without a grade, an empty string."""
    fmt = FORMATS[dtype]
    given = case.quantized(fmt), case.quantized_targets(fmt)
    exact = reference(*given, reduction=case.reduction, **case.options(fmt))
    more = {"reduction": case.reduction, "row_losses": reference(*given, **case.options(fmt)).loss}
    graded = {q: grade(q, v, given[0], fmt, exact, **more).grade for q, v in answers.items()}
    return {q: max((g for g in letters if g is not None), default="") for q, letters in graded.items()}


# --- the cases --------------------------------------------------------------------------------------------------


def test_the_catalogue_has_cases_of_each_option_from_threads_and_of_its_own():
    for option in OF_MODELS:
        assert len([c for c in WITH_OPTIONS if option in c.set_options]) >= 10, option
    assert len([c for c in WITH_OPTIONS if c.source]) >= 12
    assert any(c.reduction == "mean" and c.ignore_index is not None and c.label_smoothing for c in WITH_OPTIONS)


def test_cases_for_every_mode_share_a_program():
    shared = [c for c in all_cases() if c.in_every_mode]
    assert {c.logits.shape for c in shared} == {(2, 3)}
    assert len({tuple(c.set_options.items()) for c in shared}) == 1
    assert {c.family for c in shared} == {"contraction", "field_temperature"}


def test_a_mode_for_plain_cases_measures_cases_for_every_mode_too():
    plain = make("mine/plain", "why", [[1.0, 2.0]], [0])
    scaled = make("mine/scaled", "why", [[1.0, 2.0], [3.0, 4.0]], [0, 1], logit_scale=0.7)
    everywhere = make("mine/everywhere", "why", [[1.0, 2.0]] * 4, [0] * 4, logit_scale=0.7, in_every_mode=True)
    block = CaseBlock((plain, scaled, everywhere), ("float32",))
    assert block.rows("float32") == 7
    assert block.rows("float32", plain_only=True) == 5


# --- the bounds, by code of their own ---------------------------------------------------------------------------


def plainly(case, dtype):
    """Return loss and gradient of NumPy code that is float32 inside, without a softmax of the formulas."""
    fmt, options = FORMATS[dtype], case.options(FORMATS[dtype])
    wide = np.float64 if dtype == "float64" else np.float32
    scale, cap, c = (wide(options.get(k, d)) for k, d in (("logit_scale", 1), ("softcap", 0), ("z_loss", 0)))
    with np.errstate(all="ignore"):
        z = scale * case.quantized(fmt).astype(wide)
        tanh = np.tanh(z / cap) if cap else z
        x = cap * tanh if cap else z
        top = x.max(axis=1, keepdims=True)
        e = np.exp(x - top)
        total = e.sum(axis=1, keepdims=True)
        at = np.eye(x.shape[1], dtype=bool)[case.targets]
        y = top + np.log(total)
        rows = np.log(total)[:, 0] + (top - x[at][:, None])[:, 0] + (c * y * y)[:, 0]
        p = e / total
        slope = scale * (1 - tanh * tanh) if cap else scale
        gradient = (p - at + 2 * c * y * p) * slope
    if case.reduction != "none":
        divisor = wide(len(rows) if case.reduction == "mean" else 1)
        rows, gradient = rows.sum() / divisor, gradient / divisor
    return {"loss": np.asarray(rows).astype(fmt.dtype), "gradient": gradient.astype(fmt.dtype)}


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_loss_that_is_float32_inside_is_stable_on_every_case_with_options(dtype):
    below = {
        c.id: found
        for c in ALONE
        if dtype in c.dtypes and max((found := grades(plainly(c, dtype), c, dtype)).values()) > "B"
    }
    assert not below


# --- the formulas -----------------------------------------------------------------------------------------------

# JAX compiles each step for each set of options.
FEW = [c for c in ALONE if c.family in ("contraction", "scaling")]


@pytest.mark.parametrize(
    ("framework", "cases"),
    [
        ("numpy", ALONE[::3]), ("torch", FEW), ("jax", FEW[:3]),
        pytest.param("numpy", ALONE, marks=pytest.mark.full), pytest.param("torch", ALONE, marks=pytest.mark.full),
        pytest.param("tensorflow", ALONE, marks=pytest.mark.full), pytest.param("jax", ALONE, marks=pytest.mark.full),
    ],
    ids=["numpy, some", "torch, few", "jax, few", "numpy", "torch", "tensorflow", "jax"],
)  # fmt: skip
def test_log1p_is_accurate_with_options(framework, cases):
    owner = registry.load(framework)
    owner.prepare()
    with owner.placed("cpu"):
        below = {
            (c.id, dtype): found
            for c in cases
            for dtype in c.dtypes
            if max((found := grades(evaluate(f"{framework}/log1p", c, dtype), c, dtype)).values()) > "A"
        }
    assert not below


@pytest.mark.parametrize("formula", ["naive", "lse"])
@pytest.mark.parametrize("case", ALONE, ids=lambda c: c.id)
def test_numpys_gradients_with_options_are_those_of_pytorchs_autograd(formula, case):
    if "float64" in case.dtypes and np.isfinite(case.logits).all():
        ours, torchs = (evaluate(f"{o}/{formula}", case, "float64")["gradient"] for o in ("numpy", "torch"))
        np.testing.assert_allclose(ours, torchs, rtol=1e-10, atol=1e-12 * float(case.logit_scale or 1))


def test_a_formula_refuses_other_options_and_probabilities_that_would_leave_one_out():
    batch = Batch(np.zeros((1, 2), np.float32), np.zeros(1, np.int64), options={"softcap": 2.0, "z_loss": 1.0})
    of_loss = Implementation("numpy/mine", "builtin", lambda x, t, softcap, z_loss: x, "numpy", lambda x: x)
    assert batch.refusal(of_loss) == "takes no softcap for its probabilities"
    assert batch.refusal(implementation("numpy/naive")) is None
    weighted = Batch(np.zeros((1, 2), np.float32), np.zeros(1, np.int64), options={"label_smoothing": 0.5})
    assert weighted.refusal(implementation("numpy/naive")) == "numpy/naive takes no label_smoothing"[12:]


@pytest.mark.parametrize("case", WITH_OPTIONS, ids=lambda c: c.id)
def test_the_capped_loss_of_pytorch_is_stable_in_float32_but_for_a_huge_z_loss(case):
    if "float32" in case.dtypes:
        found = grades(evaluate("torch/F.cross_entropy[softcap]", case, "float32"), case, "float32")
        # torch.logsumexp takes its gradient from its rounded result: three equal classes get 1 each in place of 1/3.
        assert max(found.values()) <= ("C" if case.id == "z_loss/huge_offset" else "B"), found


def test_models_cap_in_their_dtype_which_costs_digits_in_bfloat16():
    """karpathy/nanochat#326: the cap in bfloat16, the loss in float32."""
    (case,) = select_cases("field_scaling/nanochat_326")
    assert max(grades(evaluate("torch/F.cross_entropy[softcap]", case, "bfloat16"), case, "bfloat16").values()) == "C"


# --- compiled ---------------------------------------------------------------------------------------------------

LOSSES = {"residue_up": np.inf, "residue_down": -np.inf}


@pytest.mark.pinned
@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("framework", "builtin"),
    [("jax", "nn.log_softmax"), pytest.param("tensorflow", "nn.log_softmax", marks=pytest.mark.full)],
)
def test_compiled_by_xla_a_scale_makes_losses_infinite_where_eager_mode_is_right(framework, builtin):
    """jax-ml/jax#38609, SlopDotCash/asi#2886: the product's rounding error stands where the maximum's own 0 should."""
    names = [f"{framework}/{name}" for name in ("lse", "log1p", builtin)]
    df = runner.run(
        cases="contraction/*", implementations=names, dtypes="float32", modes=["eager", "compiled"], devices="cpu"
    )
    losses = df[df["quantity"] == "loss"].set_index(["implementation", "mode", "case"])["value"].sort_index()
    for name in names:
        for case, was in LOSSES.items():
            for mode, expected in {"eager": 0.0, "compiled": 0.0 if name.endswith("log1p") else was}.items():
                now = losses.loc[name, mode, f"contraction/{case}"].tolist()
                given = {"name": name, "mode": mode, "case": case, "framework": framework}
                assert now == [expected] * 2, MESSAGE.format(now=now, was=expected, **given)
    assert set(df[df["implementation"] == names[1]]["grade"]) == {"A"}, "log1p scales differences, which is safe"


@pytest.mark.pinned
@pytest.mark.full
@pytest.mark.usefixtures("in_this_process")
def test_compiled_by_inductor_a_scale_does_no_harm():
    names = ["torch/lse", "torch/log1p", "torch/F.cross_entropy[softcap]"]
    df = runner.run(cases="contraction/*", implementations=names, dtypes="float32", modes="compiled", devices="cpu")
    assert set(df["case"]) == {c.id for c in select_cases("contraction/*")}, "compiled modes measure the family"
    assert max(df["grade"].astype(str)) <= "C", "PyTorch's compiler contracts the product again; see docs/findings.md"


# --- explained --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_this_process")
def test_explain_says_that_a_formula_with_options_has_no_stages():
    explained = explain("softcap/saturated", "numpy/naive")
    assert explained.stages["stage"].tolist() == ["logits", "probabilities", "loss", "gradient"]
    assert "with softcap the call's input and output are shown, and no stages between them" in explained.remarks
    assert "no stages" not in str(explain("seed/article", "numpy/naive"))
