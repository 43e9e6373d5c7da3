"""Losses with one planted defect each, all of which a check must catch, and sound ones, all of which it must pass."""

from __future__ import annotations

import defects as corpus
import pytest

import logitlab

# A sound loss fails nowhere: it is checked on a few widths, whose rows are of every kind. JAX compiles each step anew
# for each way of presenting each width, and TensorFlow takes its time: there it is one width.
SOME = ("seed/article", "masks/first", "check/width_5", "check/width_33", "check/gaps_2")
ONE = ("check/width_5",)
DEFECTS, SOUND = corpus.defects(), corpus.sound_ones()


def _each(corpus):
    """A loss in each of its dtypes."""
    return [
        pytest.param(framework, p, dtype, id=f"{framework}-{p.name}-{dtype}")
        for framework, p in corpus
        for dtype in p.dtypes
    ]


def checked(framework, planted, dtype, **options):
    options = {"shrink": False, "name": planted.name} | options
    return logitlab.check(planted.loss, framework, dtype, gradient=planted.gradient, **options)


@pytest.mark.parametrize(("framework", "planted", "dtype"), _each(DEFECTS))
def test_a_planted_defect_is_caught(framework, planted, dtype):
    result = checked(framework, planted, dtype, cases=planted.shown_by, first=True)
    assert not result.passed, f"{planted.name}: {planted.loss.__doc__}"
    failures = result.failures
    if planted.writes:
        assert failures["detail"].str.contains("the loss writes into its logits").any(), str(result)
        return
    assert (failures["status"] == "ok").all() or planted.how == "called again", str(result)
    if planted.wrong == "gradient":
        assert set(failures["quantity"]) == {"gradient"}, str(result)
    if planted.how is not None:
        assert failures["how"].str.startswith(planted.how).all(), str(result)


@pytest.mark.parametrize(("framework", "planted", "dtype"), _each(SOUND))
def test_a_sound_loss_passes(framework, planted, dtype):
    result = checked(framework, planted, dtype, cases=ONE if framework in ("jax", "tensorflow") else SOME)
    assert result.passed, str(result)
    assert {"loss", "gradient"} == set(result.grades_by_quantity[dtype])


def test_the_corpus_is_as_large_as_it_should_be():
    for wrong in ("loss", "gradient"):
        assert sum(p.wrong == wrong for _, p in DEFECTS) >= 60
    for framework in corpus.MODULES:
        assert sum(f == framework for f, _ in DEFECTS) >= 12
