"""The losses of hidden states in each framework: values and gradients against float64, shapes, dtypes and refusals."""

import numpy as np
import pytest

import logitlab
from logitlab.cases import LinearCase, all_cases
from logitlab.core.formats import FORMATS
from logitlab.core.vocabulary import Problem, Status
from logitlab.execution import registry
from logitlab.execution.worker import evaluated
from logitlab.frameworks import LinearBatch

FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")
NEEDS = pytest.mark.parametrize("name", FRAMEWORKS)


def runs_eagerly(implementation):
    on_cpu = "eager" in implementation.modes and "cpu" in (implementation.devices or ("cpu",))
    return on_cpu and not implementation.on_request  # test_wild.py has those


def installed(framework):
    """Return the implementations that run in eager mode on a CPU, and whose package is installed."""
    found = framework.linear_implementations
    return [i for i in found if runs_eagerly(i) and registry.version_of(i.package) is not None]


def batch(dtype: str, **others: object) -> LinearBatch:
    generator = np.random.default_rng(3)
    shapes = {"hidden": (5, 7), "weight": (6, 7), "bias": (6,)}
    arrays = {
        key: (0.5 * generator.standard_normal(shape)).astype(FORMATS[dtype].dtype) for key, shape in shapes.items()
    }
    return LinearBatch(**{**arrays, "targets": np.array([0, 5, 2, 2, 1]), **others})


def expected(given: LinearBatch) -> dict[str, np.ndarray]:
    """Return loss and gradients in float64, by the definition."""
    h, w, b = (np.asarray(a, np.float64) for a in (given.hidden, given.weight, given.bias))
    z = h @ w.T + b
    z = z - z.max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    rows = np.arange(len(h))
    g = p.copy()
    g[rows, given.targets] -= 1
    losses = -np.log(p[rows, given.targets])
    scale = 1 / len(h) if given.reduction == "mean" else 1.0
    g *= scale
    loss = losses if given.reduction == "none" else losses.sum() * scale
    return {"loss": loss, "gradient_hidden": g @ w, "gradient_weight": g.T @ h, "gradient_bias": g.sum(axis=0)}


@pytest.mark.sampled
@NEEDS
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_every_loss_and_gradient_is_that_of_the_definition(name, reduction):
    framework = registry.load(name)
    given = batch("float32", reduction=reduction)
    assert framework.linear_implementations
    for implementation in installed(framework):
        assert implementation.problem is Problem.LINEAR
        for mode in implementation.modes:
            outcome = evaluated(framework, implementation, given, "cpu", mode)
            assert outcome.status is Status.OK, outcome.detail
            assert [q for q, _ in outcome.values] == [q.value for q in Problem.LINEAR.quantities]
            for quantity, value in outcome.values:
                np.testing.assert_allclose(value, expected(given)[quantity], rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["numpy", "torch", pytest.param("jax", marks=pytest.mark.full), "tensorflow"])
@pytest.mark.parametrize(
    "dtype", ["bfloat16", *(pytest.param(d, marks=pytest.mark.full) for d in ("float16", "float64"))]
)
def test_each_dtype_comes_out_as_it_went_in(name, dtype):
    framework = registry.load(name)
    given = batch(dtype)
    tolerance = 40 * FORMATS[dtype].unit_roundoff
    for implementation in installed(framework):
        outcome = evaluated(framework, implementation, given, "cpu", implementation.modes[0])
        assert outcome.status in (Status.OK, Status.UNSUPPORTED), f"{implementation.name}: {outcome.detail}"
        for quantity, value in outcome.values:
            assert value.dtype == FORMATS[dtype].dtype, f"{implementation.name} {quantity}"
            wanted = expected(given)[quantity]
            np.testing.assert_allclose(value.astype(float), wanted, rtol=tolerance, atol=tolerance * abs(wanted).max())


@NEEDS
def test_a_batch_without_bias_has_no_gradient_by_one(name):
    framework = registry.load(name)
    for implementation in installed(framework):
        outcome = evaluated(framework, implementation, batch("float32", bias=None), "cpu", "eager")
        assert outcome.status is Status.OK, outcome.detail
        assert [q for q, _ in outcome.values] == ["loss", "gradient_hidden", "gradient_weight"]


@NEEDS
def test_an_option_that_a_loss_lacks_is_unsupported(name):
    framework = registry.load(name)
    for implementation in installed(framework):
        if not implementation.reduces:
            given = batch("float32", reduction="mean", options={"ignore_index": -100})
            outcome = evaluated(framework, implementation, given, "cpu", "eager")
            assert outcome.status is Status.UNSUPPORTED
            assert implementation.name in outcome.detail


def test_class_weights_do_not_take_the_place_of_the_layers_weight():
    framework = registry.load("torch")
    weights = np.linspace(0.5, 2, 6).astype(np.float32)
    plain = batch("float32")
    weighted = batch("float32", options={"weight": weights})
    for implementation in installed(framework):
        if implementation.reduces:
            losses = [
                dict(evaluated(framework, implementation, b, "cpu", "eager").values)["loss"] for b in (plain, weighted)
            ]
            np.testing.assert_allclose(losses[1], losses[0] * weights[plain.targets], rtol=1e-5)


def test_the_catalogue_has_linear_cases_of_many_sizes():
    linear = [case for case in all_cases() if isinstance(case, LinearCase)]
    assert len(linear) >= 40
    assert {1, 4096} <= {case.hidden.shape[1] for case in linear}
    assert 131_072 in {case.classes for case in linear}
    for case in linear:
        assert case.problem is Problem.LINEAR
        assert case.logits.shape == (len(case.hidden), len(case.linear_weight)), case.id
        assert {"float32", "float64"} <= set(case.dtypes) or case.measured_in, case.id


@pytest.mark.full
def test_every_implementation_bears_the_name_of_its_framework_once():
    table = logitlab.implementations().dropna(subset="implementation")
    names = table["implementation"].astype(str)
    assert (names.str.partition("/")[0] == table["framework"].astype(str)).all()
    assert names.is_unique
    assert names.str.contains("[linear]", regex=False).sum() > 10
