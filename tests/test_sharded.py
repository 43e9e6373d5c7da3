"""Sharded losses: the classes divided over ranks or devices, in a run and in a check."""

import importlib
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

import logitlab
from logitlab.cases import all_cases
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.options import OptionValues
from logitlab.core.vocabulary import Problem, Status
from logitlab.execution import registry, worker
from logitlab.execution.variants import variables
from logitlab.frameworks import Batch
from logitlab.frameworks.sharded import divided, has_empty, is_even
from logitlab.frameworks.sharded._ranks import MAX_HANGS, RankError, Ranks
from logitlab.frameworks.sharded.torch import ShardedLoss
from logitlab.studies.audit import corpus
from logitlab.studies.audit.corpus.torch_more import sharded as torch_sharded

# Even and uneven shards, a shard of masked classes, targets and maxima on either rank.
FEW = ("masks/block_64", "check/width_5", "check/width_10", "check/gaps_2")
OPTIONS = ("check/label_smoothing_33", "check/options_5")
MEGATRON = "torch/megatron.core.tensor_parallel.vocab_parallel_cross_entropy"
needs_megatron = pytest.mark.skipif(find_spec("megatron") is None, reason="needs megatron-core")


def planted(name):
    return getattr(torch_sharded, name).planted


def checked(loss, cases=FEW, **options):
    options = {"dtypes": "float32", "shards": 2, "shrink": False} | options
    return logitlab.check(loss, "torch", cases=cases, **options)


# --- how classes and settings are divided --------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "shards"), [(8, 2), (5, 2), (10, 4), (3, 4), (1, 2), (0, 2), (7, 3)])
def test_classes_are_divided_as_pytorch_divides_them(classes, shards):
    parts = [len(range(classes)[part]) for part in divided(classes, shards)]
    chunks = [len(chunk) for chunk in torch.arange(classes).chunk(shards)] if classes else []
    assert parts == [*chunks, *[0] * (shards - len(chunks))]
    assert has_empty(classes, shards) == (0 in parts)


def test_a_worker_of_sharded_jax_has_devices_beside_the_flags_of_a_variant():
    devices = "--xla_force_host_platform_device_count=4"
    assert variables("jax", "sharded") == {"XLA_FLAGS": devices}
    assert variables("jax", "sharded+4-shards") == {"XLA_FLAGS": devices, "LOGITLAB_SHARDS": "4"}
    fast = variables("jax", "sharded+fast-math")["XLA_FLAGS"]
    assert fast.split()[0] == devices
    assert "--xla_cpu_enable_fast_math=true" in fast.split()
    assert variables("torch", "sharded") == {}


@pytest.mark.parametrize("shards", [2, 4])
def test_the_catalogue_has_cases_that_divide_badly(shards):
    found = set()
    for case in all_cases():
        if case.problem is not Problem.LOGITS or case.invalid or case.targets.ndim != 1 or not case.rows:
            continue
        if has_empty(case.classes, shards):
            found.add("a rank without a class")
            continue
        parts = divided(case.classes, shards)
        evenly = "even" if is_even(case.classes, shards) else "uneven"
        found |= {f"smoothing, {evenly}"} if case.label_smoothing else set()
        for row, target in zip(case.logits, case.targets, strict=True):
            if not 0 <= target < case.classes or not np.isfinite(row.max()):
                continue
            of_target, of_maximum = (next(p for p in parts if p.start <= i < p.stop) for i in (target, row.argmax()))
            found |= {f"target and maximum on two ranks, {evenly}"} if of_target != of_maximum else set()
            found |= {f"a rank masked, {evenly}"} if any(np.isneginf(row[part]).all() for part in parts) else set()
    kinds = ("smoothing", "target and maximum on two ranks", "a rank masked")
    assert found == {"a rank without a class", *(f"{kind}, {how}" for kind in kinds for how in ("even", "uneven"))}


# --- check ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", [f for f in corpus.planted_in(torch_sharded) if f.wrong], ids=lambda f: f.name)
def test_a_planted_defect_of_a_sharded_loss_is_caught(found):
    result = checked(found.loss, found.shown_by, first=True, **found.arguments)
    failures = result.failures
    assert not result.passed, found.name
    if found.writes:
        assert failures["detail"].eq("the loss writes into its logits").any()
    assert found.wrong == "loss" or set(failures["quantity"]) == {"gradient"}


@pytest.mark.parametrize("found", [f for f in corpus.planted_in(torch_sharded) if not f.wrong], ids=lambda f: f.name)
@pytest.mark.parametrize("cases", [FEW, pytest.param(None, marks=pytest.mark.full)], ids=["few", "all"])
@pytest.mark.sampled
def test_a_sound_sharded_loss_passes(found, cases):
    smooths = "label_smoothing" in str(found.loss.__code__.co_varnames)
    cases = (*cases, *OPTIONS) if cases and smooths else cases
    result = checked(found.loss, cases, **found.arguments)
    assert result.passed, str(result)
    shards = found.arguments["shards"]
    assert f"cpu, {shards} shards)" in str(result)


@pytest.mark.full
def test_a_sound_loss_passes_with_4_shards_too():
    result = checked(planted("sharded_loss_with_options").loss, ("check/width_10", "check/options_33"), shards=4)
    assert result.passed, str(result)


def test_ranks_that_disagree_are_named_with_their_losses():
    """As in NVIDIA/Megatron-LM#737: each rank smooths over its own classes."""
    result = checked(planted("smoothing_over_the_rank").loss, "check/label_smoothing_33")
    (detail,) = set(result.failures["detail"])
    assert "DisagreementError: the ranks disagree about the loss: row 0 is " in detail
    assert " on rank 0 and " in detail


def test_a_loss_whose_ranks_always_disagree_is_a_failure():
    result = checked(planted("denominator_of_the_rank").loss, "check/width_8")
    assert set(result.lines["status"]) == {"raised"}


@pytest.mark.full
def test_even_shards_leave_out_the_other_widths():
    loss = planted("equal_shards_assumed").loss
    assert not checked(loss, "check/width_5").passed
    result = checked(loss, ("check/width_4", "check/width_5"), even_shards=True)
    assert result.passed
    assert set(result.lines["classes"]) == {4}
    with pytest.raises(UsageError, match="no case has a number of classes that 2 shards divide evenly"):
        checked(loss, "check/width_5", even_shards=True)


def test_a_rank_that_raises_ends_the_check_with_its_message(tmp_path, monkeypatch, capsys):
    (tmp_path / "ranks_raise.py").write_text(
        "def loss(logits, targets, group):\n    if group.rank() == 1:\n        raise ValueError('rank one says no')\n"
        "    group.barrier()\n    return logits.sum(dim=1)\n"
    )
    os.utime(tmp_path / "ranks_raise.py", (0, 0))  # ranks that are older than a module would start again
    monkeypatch.chdir(tmp_path)
    command = ["check", "ranks_raise:loss", "--framework", "torch", "--shards", "2", "--case", "check/width_4"]
    assert main(command) == 2
    assert "ValueError: rank 1: rank one says no" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shards": 1}, "shards is 1"),
        ({"shards": 2, "layout": "btc"}, "layout does not apply to a sharded loss"),
        ({"shards": 2, "mode": "compiled"}, "mode does not apply to a sharded loss"),
        ({"shards": 2, "problem": "linear"}, "shards does not apply to a loss of hidden states"),
    ],
)
def test_what_does_not_apply_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        logitlab.check(planted("sharded_loss").loss, "torch", **arguments)


def test_a_sharded_loss_is_given_its_shards_and_no_mode():
    with pytest.raises(UsageError, match="torch has no mode 'sharded'"):
        logitlab.check(torch.nn.functional.cross_entropy, "torch", mode="sharded")


def test_a_loss_without_a_group_is_refused():
    with pytest.raises(UsageError, match="does not take the process group; expected a function of local logits"):
        logitlab.check(lambda logits, targets: logits.sum(dim=1), "torch", shards=2)
    with pytest.raises(UsageError, match="numpy has no sharded losses here; give a loss of torch or jax"):
        logitlab.check(planted("sharded_loss").loss, "numpy", shards=2)


@pytest.mark.full
def test_the_program_of_a_failure_starts_its_own_ranks(tmp_path):
    result = checked(planted("target_without_offset").loss, "check/width_4", shrink=True)
    file = tmp_path / "reproduce.py"
    file.write_text(result.script)
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    printed = dict(re.findall(r"(rank \d|exact): (.*)$", done.stdout, re.MULTILINE))  # gloo prints too
    assert printed.keys() == {"rank 0", "rank 1", "exact"}, done.stdout
    given, exact = (np.array(json.loads(printed[name])) for name in ("rank 0", "exact"))
    assert printed["rank 0"] == printed["rank 1"]
    assert not np.allclose(given, exact)


OF_JAX = """
import jax
import jax.numpy as jnp
import logitlab

def loss(logits, targets, axis_name):
    places = targets - jax.lax.axis_index(axis_name) * logits.shape[1]
    own = (places >= 0) & (places < logits.shape[1])
    picked = jnp.take_along_axis(logits, jnp.where(own, places, 0)[:, None], axis=1)[:, 0]
    total = jax.lax.psum(jnp.exp(logits).sum(axis=1), axis_name)
    return jnp.log(total) - jax.lax.psum(jnp.where(own, picked, 0), axis_name)

if __name__ == "__main__":
    result = logitlab.check(loss, "jax", "float32", shards=2, cases="check/gaps_2")
    print(result.script)
"""


@pytest.mark.full
def test_a_loss_of_jax_without_a_maximum_overflows_in_a_program_too(tmp_path):
    (tmp_path / "check_it.py").write_text(OF_JAX)
    command = [sys.executable, "check_it.py"]
    checking = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300)
    (tmp_path / "reproduce.py").write_text(checking.stdout)
    command = [sys.executable, "reproduce.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    given, exact = done.stdout.splitlines()
    assert given == "given: [inf]"
    assert exact.startswith("exact: [")


# --- the ranks -----------------------------------------------------------------------------------------------------

FAULTY = """
import os, time
import torch, torch.distributed as dist
groups = []
def one_raises(logits, targets, group):
    if group.rank() == 1:
        raise ValueError("boom")
    dist.all_reduce(logits.detach().clone(), group=group)
    return logits.sum(dim=1)
def all_raise(logits, targets, group):
    raise NotImplementedError("not for me")
def one_dies(logits, targets, group):
    if group.rank() == 1:
        os._exit(7)
    return logits.sum(dim=1)
def one_hangs(logits, targets, group):
    while group.rank() == 1:
        time.sleep(0.1)
    return logits.sum(dim=1)
def one_more_collective(logits, targets, group):
    for _ in range(1 + group.rank()):
        dist.all_reduce(logits.detach().clone(), group=group)
    return logits.sum(dim=1)
def keeps_the_group(logits, targets, group):
    if not groups:
        groups.append(dist.new_group())
    if torch.isinf(logits).any():
        raise ValueError("a mask")
    dist.all_reduce(logits.detach().clone(), group=groups[0])
    return targets * 0.0
"""


def faulty(name):
    def like(logits, targets, group): ...

    return ShardedLoss(f"{FAULTY}\nloss = {name}", inspect.signature(like), 2)


def call(name, logits=((0.0, 0.0),)):
    return faulty(name)(torch.tensor(logits), torch.tensor([0] * len(logits)))


@pytest.fixture
def hasty(monkeypatch):
    """Return ranks that give up after two seconds."""
    ranks = Ranks(2, seconds=2.0)
    monkeypatch.setattr("logitlab.frameworks.sharded.torch.ranks_of", lambda shards: ranks)
    yield ranks
    ranks.close()


def processes():
    return {p.pid for p in psutil.Process().children(recursive=True) if "sharded._starter" in " ".join(p.cmdline())}


def test_a_rank_that_raises_leaves_the_ranks_usable():
    checked(planted("sharded_loss").loss, "check/width_4")
    before = processes()
    for _ in range(2):
        with pytest.raises(NotImplementedError, match=r"^every rank: not for me$"):
            call("all_raise")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^rank 1: boom$"):
            call("one_raises")
    assert checked(planted("sharded_loss").loss, "check/width_4").passed
    assert before <= processes()


@pytest.mark.full
def test_ranks_import_a_module_again_after_a_change(tmp_path, monkeypatch):
    file = tmp_path / "changing_sharded_loss.py"
    monkeypatch.syspath_prepend(tmp_path)
    for number, expected in ((1, "'1'"), (2, "'2'")):
        file.write_text(f"def loss(logits, targets, group):\n    raise KeyError({str(number)!r})\n")
        os.utime(file, (time.time() + number,) * 2)  # the clock of a file system may be coarse
        sys.modules.pop("changing_sharded_loss", None)
        importlib.invalidate_caches()
        loss = importlib.import_module("changing_sharded_loss").loss
        with pytest.raises(UsageError, match=f"KeyError: {expected}"):
            checked(loss, "check/width_4")


def test_a_loss_that_keeps_its_group_gets_new_ranks_after_one_that_raised():
    assert call("keeps_the_group").tolist() == [0.0]
    with pytest.raises(ValueError, match="rank 1: a mask"):
        call("keeps_the_group", [[0.0, -np.inf]])
    assert call("keeps_the_group").tolist() == [0.0]


@pytest.mark.full
def test_a_rank_that_hangs_ends_its_call(hasty):
    for _ in range(MAX_HANGS):
        with pytest.raises(RankError, match="rank 1 did not end within 7 s; do all ranks call the same collectives"):
            call("one_hangs")
    start = time.monotonic()
    with pytest.raises(RankError, match="not called: 2 calls before it did not end within 2 s"):
        call("one_hangs")
    assert time.monotonic() - start < 1
    with pytest.raises(RankError, match=r"rank 1: .*Timed out waiting 2000ms"):
        call("one_more_collective")


@pytest.mark.full
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_ranks_end_with_the_process_that_started_them(tmp_path):
    program = textwrap.dedent("""
        import sys, torch, psutil
        from logitlab.studies.audit.corpus.torch_more.sharded import sharded_loss
        from logitlab.studies.check.forms._sharding import Sharding
        whole = Sharding.of(sharded_loss, "sharded_loss", "torch", 2, even=False).whole
        print(whole(torch.zeros(1, 4), torch.tensor([0])).tolist(), flush=True)
        print(*(p.pid for p in psutil.Process().children(recursive=True)), flush=True)
        sys.stdin.read()
    """)
    started = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    assert started.stdout.readline().startswith("[1.386")
    ranks = [psutil.Process(int(pid)) for pid in started.stdout.readline().split()]
    assert len(ranks) == 3  # the process that started them too
    started.kill()
    started.communicate()
    assert psutil.wait_procs(ranks, timeout=10)[1] == []


# --- a run ---------------------------------------------------------------------------------------------------------


def evaluated(name, logits, targets, dtype="float32", **options):
    framework = registry.load("torch")
    logits = np.array(logits, dtype)
    batch = Batch(logits.copy(), np.array(targets), options=OptionValues(options))
    return worker.evaluated(framework, framework.all_implementations[name], batch, "cpu", "sharded")


def test_the_written_loss_divides_any_number_of_classes():
    rng = np.random.default_rng(0)
    for classes in (1, 2, 5, 8):
        x, t = rng.normal(size=(4, classes)), rng.integers(classes, size=4)
        for options in ({}, {"label_smoothing": 0.25}):
            outcome = evaluated("torch/lse[all_reduce]", x, t, "float64", **options)
            exact = logitlab.reference(x, t, **options)
            np.testing.assert_allclose(dict(outcome.values)["loss"], exact.loss.hi, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(dict(outcome.values)["gradient"], exact.gradient.hi, rtol=1e-12, atol=1e-12)


@pytest.mark.pinned
def test_loss_parallel_takes_uneven_shards_and_weights_and_no_smoothing():
    name, x, t = "torch/F.cross_entropy[loss_parallel]", np.arange(10.0).reshape(2, 5), [0, 4]
    registry.load("torch")
    framework, weight = registry.load("torch"), np.linspace(0.5, 1.5, 5, dtype=np.float32)
    for options in ({}, {"weight": weight}):
        batch = Batch(x.astype(np.float32), np.array(t), "mean", OptionValues(options))
        outcome = worker.evaluated(framework, framework.all_implementations[name], batch, "cpu", "sharded")
        exact = logitlab.reference(x, np.array(t), reduction="mean", **options)
        np.testing.assert_allclose(dict(outcome.values)["loss"], exact.loss.hi, rtol=1e-6)
        np.testing.assert_allclose(dict(outcome.values)["gradient"], exact.gradient.hi, rtol=1e-5, atol=1e-7)
    smoothed = evaluated(name, x, t, label_smoothing=0.1)
    assert smoothed.status is Status.RAISED, "loss_parallel takes label smoothing now: change docs/how-to/shards.md"
    empty = evaluated(name, [[1.0]], [0])
    assert "index 0 is out of bounds for dimension 1 with size 0" in empty.detail


@pytest.mark.pinned
@pytest.mark.full  # each rank imports it for seconds
@needs_megatron
def test_megatron_writes_into_float32_logits_and_smooths_over_the_rank():
    outcome = evaluated(MEGATRON, [[1.0, 2.0, 3.0, 4.0]], [1])
    exact = logitlab.reference([[1.0, 2.0, 3.0, 4.0]], [1])
    np.testing.assert_allclose(dict(outcome.values)["loss"], exact.loss.hi, rtol=1e-6)
    framework = registry.load("torch")
    for dtype, writes in (("float32", True), ("float16", False)):
        x = np.array([[1, 2, 3, 4]], dtype)
        batch = Batch(x, np.array([1]))
        worker.evaluated(framework, framework.all_implementations[MEGATRON], batch, "cpu", "sharded")
        assert (x != np.array([[1, 2, 3, 4]], dtype)).any() == writes, "see docs/how-to/shards.md"
    smoothed = evaluated(f"{MEGATRON}[label_smoothing]", [[1.0, 2.0, 3.0, 4.0]], [1], label_smoothing=0.1)
    assert "the ranks disagree about the loss" in smoothed.detail, "NVIDIA/Megatron-LM#737 seems fixed"
    uneven = evaluated(MEGATRON, [[1.0, 2.0, 3.0]], [1])
    assert (uneven.status, "3 is not divisible by 2" in uneven.detail) == (Status.UNSUPPORTED, True)


@pytest.mark.usefixtures("in_this_process")
def test_implementations_of_the_mode_are_measured_on_request():
    with pytest.raises(UsageError, match="only on request; add --mode sharded"):
        logitlab.run(implementations="torch/lse[all_reduce]", dtypes="float32", cases="gap/5_low")


OPTAX = "jax/optax.softmax_cross_entropy_with_integer_labels"
LOSS_PARALLEL, ALL_REDUCE = "torch/F.cross_entropy[loss_parallel]", "torch/lse[all_reduce]"


@pytest.mark.usefixtures("in_this_process")
def test_a_run_grades_loss_parallel():
    df = logitlab.run(implementations=LOSS_PARALLEL, dtypes="float32", modes="sharded", cases="masks/block_64")
    assert (df["status"] == "ok").all()
    assert set(df["grade"]) <= {"A", "B"}


@pytest.mark.parametrize(
    ("losses", "variants", "modes"),
    [
        ([ALL_REDUCE], None, {"sharded"}),
        pytest.param(
            [LOSS_PARALLEL, OPTAX, ALL_REDUCE, "jax/lse[shard_map]"], "4-shards", {"sharded", "sharded+4-shards"},
            marks=pytest.mark.full,
        ),
    ],
    ids=["2 shards of torch", "4 shards of JAX too"],
)  # fmt: skip
def test_a_worker_starts_ranks(losses, variants, modes):
    cases = ["masks/block_64", "seed/article"] if variants else "masks/block_64"
    df = logitlab.run(implementations=losses, dtypes="float32", modes="sharded", variants=variants, cases=cases)
    assert set(df["mode"]) == modes
    of_mask = df[df["case"] == "masks/block_64"]
    assert set(of_mask["implementation"]) == set(losses)
    assert (of_mask["status"] == "ok").all()
    of_builtins = of_mask[of_mask["implementation"].isin([LOSS_PARALLEL, OPTAX])]
    assert set(of_builtins["grade"]) <= {"A", "B"}
    of_three = df[(df["case"] == "seed/article") & (df["framework"] == "jax")]
    assert set(of_three["status"]) == ({"unsupported"} if variants else set())
    assert of_three["detail"].str.contains("should evenly divide the shape").all()


def test_a_rank_that_dies_ends_its_call():
    """The last test, so that the other tests have the same ranks."""
    with pytest.raises(RankError, match="rank 1 died with exit code 7"):
        call("one_dies")
