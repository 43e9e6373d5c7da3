"""Losses that give other bits in equal calls: a check blames `deterministic` and no other property."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere

import logitlab
from logitlab.studies.check.batches._limits import Limits
from logitlab.studies.check.batches._repeats import COMMON, FREQUENT, RARE, planned

RACE = "a race, or random numbers"


def sound(x, t):
    return F.cross_entropy(x, t, reduction="none")


def racing(share, seed=0, more_than=0):
    """A loss that is wrong in a share of its calls, in batches of more than some rows."""
    rng = np.random.default_rng(seed)

    def loss(x, t):
        rows = sound(x, t)
        return rows * 1.01 if len(x) > more_than and rng.random() < share else rows

    return loss


def checked(loss, **options):
    return logitlab.check(loss, "torch", options.pop("dtypes", "float32"), name="loss", **options)


def broken(result):
    held = result.properties.set_index("property")["held"]
    return set(held.index[~held])


@pytest.mark.full  # the corpus of `audit` has such a race too
def test_a_race_of_one_in_a_thousand_calls_is_found_by_default():
    result = checked(racing(1e-3), min_classes=3, max_classes=3, shrink=False)
    assert broken(result) == {"deterministic"}, str(result)
    assert "of 4,603 equal calls: a race, or random numbers" in " ".join(str(result).split())


def test_a_failing_batch_is_called_again_before_a_property_is_blamed():
    result = checked(racing(0.3), cases=["check/width_5", "check/width_33"], shrink=False)
    assert broken(result) == {"deterministic"}, str(result)
    assert result.failures["detail"].dropna().str.contains(RACE).any()
    assert "in some of its calls" in str(result)


def test_a_race_in_large_batches_only_is_found_by_default_if_it_is_common():
    result = checked(racing(0.02, more_than=64), min_classes=31, max_classes=31, shrink=False)
    assert broken(result) == {"deterministic"}, str(result)


@pytest.mark.full
def test_more_calls_find_a_rare_race_in_large_batches_only():
    rare = {"cases": "check/width_5", "shrink": False}
    assert checked(racing(5e-3, more_than=64), **rare).passed
    result = checked(racing(5e-3, more_than=64), repeat=600, **rare)
    assert broken(result) == {"deterministic"}, str(result)


def test_what_is_wrong_in_every_call_is_no_race():
    def wrong_in_large_batches(x, t):
        return sound(x, t) * (1.01 if len(x) > 64 else 1)

    result = checked(wrong_in_large_batches, cases="check/width_5", shrink=False)
    assert "rows independent of each other" in broken(result)
    assert "deterministic" not in broken(result)


@pytest.mark.full
def test_a_program_repeats_the_call_until_its_bits_differ():
    result = checked(racing(0.1), cases="check/width_5")
    assert result.smallest is not None
    assert result.smallest.logits.size <= 2
    assert result.smallest.property == "deterministic"
    program = result.script.replace("loss = racing.<locals>.loss", "")
    start = program.index("x = torch")
    shown: list[str] = []
    names = {
        "torch": torch,
        "loss": racing(0.1, seed=1),
        "print": lambda *words: shown.append(" ".join(map(str, words))),
    }
    exec(program[start:], names)  # noqa: S102 - the program that the report prints
    assert shown[0].startswith("call 1:")
    assert shown[0].partition(":")[2] != shown[1].partition(":")[2]
    shown.clear()
    exec(program[start:].replace("range(1, ", "range(1, 5) or ("), names | {"loss": sound})  # noqa: S102
    assert shown == ["no call gave other bits"]


def test_a_loss_that_raises_in_some_calls_is_not_deterministic():
    rng = np.random.default_rng(0)

    def loss(x, t):
        if rng.random() < 0.03:
            raise RuntimeError("out of shared memory")
        return sound(x, t)

    result = checked(loss, cases=["check/width_5", "check/width_6"], shrink=False)
    assert "deterministic" in broken(result)
    assert "rows independent of each other" not in broken(result)


def test_how_often_a_batch_is_called():
    eager = planned({3, 31, 1024}, Limits(), first_dtype=True, few_shapes=False)
    assert [(r.classes, r.times) for r in eager] == [(3, RARE), (31, COMMON)]
    assert 0.999**RARE <= 0.01 < 0.999 ** (RARE - 1)
    assert 0.99**COMMON <= 0.01 < 0.99 ** (COMMON - 1)
    assert 0.95**FREQUENT <= 0.01 < 0.95 ** (FREQUENT - 1)
    compiled = planned({3, 31, 1024}, Limits(), first_dtype=True, few_shapes=True)
    assert [(r.classes, r.times) for r in compiled] == [(3, FREQUENT)]
    assert not planned({3, 31, 1024}, Limits(), first_dtype=False, few_shapes=False)
    asked = planned({2, 5, 200, 50_257}, Limits(repeat=7), first_dtype=False, few_shapes=True)
    assert [(r.classes, r.rows, r.times) for r in asked] == [(2, 4, 7), (5, 130, 7), (200, 1025, 7)]
    assert not planned({3}, Limits(repeat=0), first_dtype=True, few_shapes=False)
    with pytest.raises(logitlab.UsageError, match="repeat is -1"):
        checked(sound, repeat=-1)


# --- another dtype before ----------------------------------------------------------------------------------------


def caching_by_shape():
    """A loss that keeps a scratch tensor for each shape, but not for each dtype."""
    kept: dict[tuple[int, ...], torch.Tensor] = {}

    def loss(x, t):
        scratch = kept.setdefault(tuple(x.shape), torch.empty_like(x))
        return sound(x.to(scratch.dtype), t).to(x.dtype)

    return loss


def by_the_first_dtype():
    """A loss that computes in the dtype of the first call."""
    first: list[torch.dtype] = []

    def loss(x, t):
        first.append(x.dtype)
        return sound(x.to(first[0]), t).to(x.dtype)

    return loss


def test_a_cache_by_shape_but_not_by_dtype_is_caught_in_one_dtype():
    result = checked(caching_by_shape(), cases=["check/width_5"], shrink=False)
    assert broken(result) == {"dtypes independent of each other"}, str(result)


def test_a_size_that_fails_is_not_blamed_on_the_dtype_before():
    def loss(x, t):
        return sound(x, t) * (1.01 if len(x) > 700 else 1)

    result = checked(loss, cases=["check/gaps_5", "check/width_5", "check/width_10"], shrink=False)
    assert "after a batch of another dtype" in set(result.failures["how"])
    assert broken(result) == {"rows independent of each other"}, str(result)


@pytest.mark.parametrize(
    "dtypes", [["bfloat16", "float32"], pytest.param(["float16", "bfloat16"], marks=pytest.mark.full)]
)
def test_a_dtype_that_the_first_call_decides_is_caught(dtypes):
    result = checked(by_the_first_dtype(), cases=["check/width_5"], dtypes=dtypes, shrink=False)
    assert not result.passed
    assert set(result.failures["dtype"]) == {dtypes[1]}


def test_a_loss_that_takes_one_dtype_alone_passes():
    def only_float32(x, t):
        if x.dtype != torch.float32:
            raise TypeError("float32 alone")
        return sound(x, t)

    result = checked(only_float32, cases=["check/width_5"], shrink=False)
    assert result.passed, str(result)
    held = result.properties.set_index("property")
    assert held.loc["dtypes independent of each other", "rows"] > 0
