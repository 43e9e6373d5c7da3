"""Losses with one planted defect each, all of which a check must catch, and sound ones, all of which it must pass."""

from __future__ import annotations

import importlib

import pytest

import logitlab
from logitlab.studies.audit import corpus

# A sound loss passes everywhere: it is checked on a few widths, with rows of every kind. JAX compiles each step again
# for each presentation of each width, and TensorFlow is slow: they use one width.
SOME = ("seed/article", "masks/first", "check/width_5", "check/width_33", "check/gaps_2")
ONE = ("check/width_5",)
DEFECTS, SOUND = corpus.defects(), corpus.sound_ones()


# Each check of a sound loss compiles all that JAX is given.
IN_JAX = 1


def _each(listed):
    """A loss in each of its dtypes; `make test` takes the first, and of JAX's sound losses some."""
    some = [found for found in listed if found.framework != "jax" or found.wrong]
    some += [found for found in listed if found not in some][:IN_JAX]
    return [
        pytest.param(
            found, dtype, id=f"{found.framework}-{found.name}-{dtype}",
            marks=[pytest.mark.full] if i or found not in some else [],
        )
        for found in listed
        for i, dtype in enumerate(found.dtypes)
    ]  # fmt: skip


def checked(framework, planted, dtype, **options):
    options = {"shrink": False, "name": planted.name} | options
    return logitlab.check(planted.loss, framework, dtype, gradient=planted.gradient, **options)


@pytest.mark.sampled
@pytest.mark.parametrize(("found", "dtype"), _each(DEFECTS))
def test_a_planted_defect_is_caught(found, dtype):
    planted = found.load()
    result = checked(found.framework, planted, dtype, cases=planted.shown_by, repeat=planted.repeat, first=True)
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


@pytest.mark.sampled
@pytest.mark.parametrize(("found", "dtype"), _each(SOUND))
def test_a_sound_loss_passes(found, dtype):
    planted = found.load()
    cases = planted.shown_by or (ONE if found.framework in ("jax", "tensorflow") else SOME)
    result = checked(found.framework, planted, dtype, cases=cases)
    assert result.passed, str(result)
    assert {"loss", "gradient"} == set(result.grades_by_quantity[dtype])


def test_the_corpus_is_as_large_as_it_should_be():
    for wrong in ("loss", "gradient"):
        assert sum(found.wrong == wrong for found in DEFECTS) >= 60
    for framework in corpus.MODULES:
        assert sum(found.framework == framework for found in DEFECTS) >= 12


@pytest.mark.parametrize(
    ("framework", "module"),
    [(framework, f"{framework}.{part}") for framework, parts in corpus.MODULES.items() for part in (*parts, "sound")],
)
def test_every_loss_that_a_module_marks_is_tested(framework, module):
    """The tests are named by reading a module's source, so that no worker imports a framework for it."""
    marked = list(corpus.planted_in(importlib.import_module(f"{corpus.__name__}.{module}")))
    listed = corpus.listed_in(framework, module)
    assert [found.load() for found in listed] == marked
    assert [(f.name, f.dtypes, f.wrong, f.breaks) for f in listed] == [
        (p.name, p.dtypes, p.wrong, p.breaks) for p in marked
    ]
