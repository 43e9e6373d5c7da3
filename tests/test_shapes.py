"""Workers stay cheap: compilers see few shapes, programs do not pile up in memory, waiting threads sleep."""

import os
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from logitlab.cases import select_cases
from logitlab.core.formats import FORMATS
from logitlab.core.vocabulary import Problem
from logitlab.execution import _watchdog, registry, worker
from logitlab.execution.plan import groups
from logitlab.execution.plan._grouping import MAX_FILLED_LOGITS
from logitlab.execution.pool import Pools
from logitlab.frameworks import Batch, Framework, Implementation

LOGITS = np.array([[1.0, 2.0, np.nan], [3.0, -1.0, 0.5]], np.float32)
TARGETS = np.array([2, 0])


def _loss(logits, targets):
    return -logits[np.arange(len(logits)), targets]


class Filling(Framework):
    """A framework that fills up every batch, and records its batches and how often it forgot its programs."""

    name = "filling"
    implementations = (Implementation("filling/loss", "builtin", _loss, "numpy"),)

    def __init__(self):
        self.given = []
        self.forgotten = 0

    def fills_up(self, implementation, batch, mode):
        return True

    def forget_programs(self):
        self.forgotten += 1

    def evaluate(self, implementation, batch, device, mode):
        self.given.append(batch)
        rows = implementation.loss(batch.logits, batch.targets)
        own = rows[: len(rows) - batch.filler]
        yield "loss", rows if batch.reduction == "none" else np.asarray(own.sum())
        yield "gradient", -batch.logits


def evaluated(framework, batch):
    outcome = worker.evaluated(framework, framework.implementations[0], batch, "cpu", "eager")
    assert outcome.detail == ""
    return dict(outcome.values)


def test_narrow_groups_have_the_rows_of_the_largest_and_wide_ones_of_the_largest_of_their_width():
    made = [g for g in groups(select_cases(), FORMATS["float32"]) if g.problem is Problem.LOGITS]
    by_width = defaultdict(list)
    for group in made:
        by_width[group.classes].append(group)
    largest = max(len(g.logits) for g in made)
    assert len(by_width) > 10
    for width, of_width in by_width.items():
        own = max(len(g.logits) for g in of_width)
        assert {g.common_rows for g in of_width} == {largest if width * largest <= MAX_FILLED_LOGITS else own}
    (divided, *_) = max(made, key=lambda g: len(g.cases)).divided()
    assert len(divided.logits) < divided.common_rows == divided.batch().common_rows


@pytest.mark.parametrize("pattern", ["seed/article", "reductions/*", "weights/*"])
def test_a_case_alone_is_not_filled_up(pattern):
    for case in select_cases(pattern):
        (group,) = groups([case], FORMATS["float32"])
        batch = group.batch()
        assert batch.filled() is batch


def test_filler_repeats_the_rows_of_the_batch_and_is_dropped():
    framework = Filling()
    batch = Batch(LOGITS, TARGETS, common_rows=5)
    values = evaluated(framework, batch)
    (given,) = framework.given
    np.testing.assert_array_equal(given.logits, LOGITS[[0, 1, 0, 1, 0]])
    np.testing.assert_array_equal(given.targets, TARGETS[[0, 1, 0, 1, 0]])
    assert given.filler == 3
    for quantity, array in evaluated(framework, replace(batch, common_rows=None)).items():
        np.testing.assert_array_equal(values[quantity], array)


def test_a_reduction_leaves_the_filler_out():
    batch = Batch(LOGITS[1:], TARGETS[1:], reduction="sum", common_rows=4)
    values = evaluated(Filling(), batch)
    assert values["loss"] == -3.0
    assert values["gradient"].shape == (1, 3)


def test_a_batch_without_rows_gets_no_filler():
    empty = Batch(LOGITS[:0], TARGETS[:0], reduction="mean", common_rows=4)
    assert empty.filled() is empty


@pytest.mark.parametrize("name", ["numpy", "torch", "tensorflow"])
def test_a_framework_without_a_compiler_gets_the_original_batch(name):
    framework = registry.load(name)
    assert not framework.fills_up(framework.implementations[0], Batch(LOGITS, TARGETS, common_rows=5), "eager")


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_jax_returns_only_the_original_rows_of_a_filled_batch(reduction):
    framework = registry.load("jax")
    chosen = next(i for i in framework.implementations if i.name == "jax/lse")
    alone = Batch(np.delete(LOGITS, 0, axis=0).repeat(2, axis=0), np.array([0, 1]), reduction)
    assert framework.fills_up(chosen, alone, "eager")
    assert framework.fills_up(chosen, alone, "compiled") == (reduction == "none")
    wanted = worker.evaluated(framework, chosen, alone, "cpu", "eager")
    found = worker.evaluated(framework, chosen, replace(alone, common_rows=7), "cpu", "eager")
    for (quantity, value), (_, array) in zip(wanted.values, found.values, strict=True):
        np.testing.assert_allclose(array, value, rtol=1e-6, err_msg=quantity)


def test_jax_compiles_like_batches_once_and_forgets_its_programs():
    jax = pytest.importorskip("logitlab.frameworks.jax")
    framework = registry.load("jax")
    chosen = next(i for i in framework.implementations if i.name == "jax/nn.log_softmax")
    framework.forget_programs()
    batch = Batch(LOGITS, TARGETS, options={"logit_scale": 0.5})
    program = jax._compiled(chosen, batch)
    assert jax._compiled(chosen, replace(batch, logits=LOGITS[::-1], options={"logit_scale": 0.5})) is program
    assert jax._compiled(chosen, replace(batch, options={"logit_scale": 0.25})) is not program
    worker.evaluated(framework, chosen, batch, "cpu", "compiled")
    assert program._cache_size() == 1
    framework.forget_programs()
    assert program._cache_size() == 0
    assert jax._compiled(chosen, batch) is not program


def test_programs_that_jax_lowers_in_a_worker_share_one_context_until_they_are_forgotten():
    jax = pytest.importorskip("jax")
    framework = registry.load("jax")

    def context(f):
        return jax.jit(f).lower(LOGITS).compiler_ir().context

    shared = context(lambda x: x + 1)
    assert context(lambda x: x * 2) is shared
    framework.forget_programs()
    assert context(lambda x: x - 3) is not shared


def test_a_worker_that_has_grown_forgets_programs_when_the_dtype_or_the_width_changes(monkeypatch):
    framework, size = Filling(), 0
    monkeypatch.setattr(_watchdog, "resident", lambda: size)
    process = worker._Worker(memory=2**40)
    wide = Batch(np.zeros((2, 4), np.float32), TARGETS)
    process.begin(framework, Batch(LOGITS, TARGETS))
    size = 2 * worker.PROGRAM_BYTES
    process.begin(framework, Batch(LOGITS, TARGETS))
    assert framework.forgotten == 0
    process.begin(framework, wide)
    process.begin(framework, Batch(LOGITS, TARGETS))  # not grown since
    assert framework.forgotten == 1
    size = 4 * worker.PROGRAM_BYTES
    process.begin(framework, Batch(LOGITS.astype(np.float64), TARGETS))
    assert framework.forgotten == 2


@pytest.mark.parametrize(("given", "found"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_of_a_worker_sleep_unless_the_user_has_said_otherwise(given, found, monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    with Pools([], tmp_path) as pools:
        assert pools.worker("any").schedule(os.getenv, args=["OMP_WAIT_POLICY"]).result() == found
