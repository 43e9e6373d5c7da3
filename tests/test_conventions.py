"""Class weights and their means: each implementation is held to the definition that it documents."""

from fractions import Fraction

import numpy as np
import pytest
from in_process import calls_in_this_process

import logitlab
from logitlab import reports
from logitlab.cases import select_cases
from logitlab.core.conventions import STANDARD, Convention, MeanDivisor, Weighting
from logitlab.core.formats import FORMATS
from logitlab.execution.plan import groups
from logitlab.reports import _markdown
from logitlab.storage.store import Run

LOGITS = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])
WEIGHT = [1.0, 2.0, 0.5]
SHARES = [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]
ROWS = Convention(MeanDivisor.ROWS, source="a test")
MASS = Convention(MeanDivisor.TARGET_MASS, source="a test")
OF_ROWS = Convention(MeanDivisor.TARGET_MASS, Weighting.ROWS, "a test")


def minus_log_p():
    return np.log(np.exp(LOGITS).sum(axis=1, keepdims=True)) - LOGITS


def smoothed(targets, smoothing):
    targets = np.asarray(targets)
    y = np.eye(3)[targets] if targets.ndim == 1 else targets
    return (1 - smoothing) * y + smoothing / 3


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
@pytest.mark.parametrize("targets", [[1, 2], SHARES], ids=["indices", "probabilities"])
@pytest.mark.parametrize("convention", [STANDARD, ROWS, MASS, OF_ROWS], ids=["standard", "rows", "mass", "of_rows"])
def test_the_oracle_has_each_definition(convention, targets, smoothing):
    y, w = smoothed(targets, smoothing), np.array(WEIGHT)
    mass = (w * y).sum(axis=1)
    rows = (w * y * minus_log_p()).sum(axis=1)
    if convention.weighting is Weighting.ROWS:
        rows = mass * (y * minus_log_p()).sum(axis=1)
    divisor = {MeanDivisor.ROWS: 2.0, MeanDivisor.TARGET_MASS: mass.sum()}.get(convention.mean)
    if divisor is None:
        divisor = w[targets].sum() if np.ndim(targets) == 1 else 2.0
    given = {"weight": WEIGHT, "label_smoothing": smoothing, "convention": convention}
    assert logitlab.reference(LOGITS, targets, **given).loss.hi == pytest.approx(rows, rel=1e-14)
    mean = logitlab.reference(LOGITS, targets, reduction="mean", **given)
    assert float(mean.loss.hi) == pytest.approx(rows.sum() / divisor, rel=1e-14)
    # Each row's gradient adds up to zero, and the weights' part of it to its mass.
    assert mean.gradient.hi.sum(axis=1) == pytest.approx([0, 0], abs=1e-15)


def test_a_divisor_is_exact():
    tenth = Fraction(0.1)
    share = (1 - tenth) + tenth / 3
    mass = sum((Fraction(w) * (share if j == 1 else tenth / 3) for j, w in enumerate(WEIGHT)), Fraction(0))
    scale = logitlab.reference(
        LOGITS[:1], [1], weight=WEIGHT, label_smoothing=0.1, reduction="mean", convention=MASS
    ).scale
    assert float(scale) == float(1 / mass)


def test_a_convention_other_than_the_default_names_its_source():
    with pytest.raises(ValueError, match="source is ''; give package, version and function"):
        Convention(MeanDivisor.ROWS)
    assert ROWS.wording == "a weighted mean is divided by the number of rows (a test)"


def test_pytorch_and_paddle_give_the_values_of_a_public_report():
    (case,) = select_cases("field_options/paddle_47813")
    given = {"weight": case.weight, "label_smoothing": 0.1, "reduction": "mean"}
    standard, paddle = (
        float(logitlab.reference(case.logits, case.targets, convention=c, **given).loss.hi) for c in (STANDARD, OF_ROWS)
    )
    assert (round(standard, 3), round(paddle, 4)) == (1.6, 1.5481)


def test_iree_24228_divides_by_the_weights_of_the_targets():
    (case,) = select_cases("field_options/iree_24228")
    loss = logitlab.reference(case.logits, case.targets, weight=case.weight, reduction="mean").loss
    assert float(loss.hi) == pytest.approx(3.0587, abs=5e-5)


def test_a_group_without_weights_is_one_for_all_conventions():
    names = ("ignored/one_mean", "weights/article_mean")
    plain, weighted = (groups(select_cases(name), FORMATS["float32"])[0] for name in names)
    assert plain.with_convention(ROWS) is plain
    assert weighted.with_convention(ROWS) is weighted.with_convention(ROWS) is not weighted
    assert weighted.with_convention(STANDARD) is weighted
    assert float(weighted.with_convention(ROWS).exact.scale) == 1 / 3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    cases, asked = ["weights/*_mean", "field_options/*"], ["torch/F.*", "torch/nn*"]
    with calls_in_this_process():
        logitlab.run(dtypes="float64", cases=cases, modes="eager", implementations=asked, out=folder)
    return Run(folder)


@pytest.fixture(scope="module")
def weighted_means(run):
    return run.read()


def test_every_loss_of_pytorch_agrees_with_its_documented_mean(weighted_means):
    of_weights = weighted_means[weighted_means["case"].isin([c.id for c in select_cases() if c.weight is not None])]
    graded = of_weights[of_weights["grade"].notna()]
    wrong = graded[~graded["grade"].isin(["A", "B"])]
    assert wrong[["implementation", "case", "quantity", "grade", "value", "exact"]].to_dict("records") == []
    # One divides by N, one by the weights' sum of 5: each is right by its documentation.
    iree = graded[(graded["case"] == "field_options/iree_24228") & (graded["row"] == -1)]
    values = iree.set_index("implementation")["value"]
    assert values["torch/F.cross_entropy"] == pytest.approx(3.0587, abs=5e-5)
    assert values["torch/F.cross_entropy[probabilities]"] == pytest.approx(3.0587 * 5 / 4, abs=1e-4)


def test_a_report_names_those_that_are_held_to_their_own_definition(run):
    name = "torch/F.cross_entropy[probabilities]"
    definition = "a weighted mean is divided by the number of rows (torch 2.13.0, torch.nn.CrossEntropyLoss)"
    assert run.manifest.conventions == {name: definition}
    page = reports.make_report([run])
    assert f"{name} is graded by its own definition: {definition}" in page.preamble
    assert f"Graded by its documented weighted mean: `{name}`." in _markdown.markdown(page)


def test_implementations_of_two_definitions_are_not_compared_on_their_weighted_means(run):
    farthest = reports.make_report([run]).sections
    (agreement,) = (s.table for s in farthest if s.name == "agreement")
    apart = agreement.set_index("case")["apart"]
    assert (apart[["weights/far_apart_mean", "field_options/iree_24228"]] < 10).all()
