"""Settings that change numbers: a worker gets them before it imports its framework, and the run records them."""

import pytest
from in_process import calls_in_this_process

from logitlab import runner
from logitlab.core.errors import UsageError
from logitlab.execution.pool import Pools
from logitlab.execution.variants import VARIANTS, base, choose_variants, modes_of, variables
from logitlab.storage.store import Run


def test_a_variant_stands_beside_the_mode_it_changes():
    assert modes_of("torch", "eager", ["one-thread", "onednn-off"]) == ("eager", "eager+one-thread")
    assert modes_of("tensorflow", "compiled", ["onednn-off"]) == ("compiled",)
    assert base("compiled+fast-math") == "compiled"
    assert base("eager") == "eager"
    assert variables("torch", "eager") == {}
    assert variables("jax", "eager+one-thread") == VARIANTS["one-thread"].variables["jax"]


def test_all_selects_every_variant_and_an_unknown_name_is_refused():
    assert choose_variants(["all"]) == tuple(VARIANTS)
    assert choose_variants(None) == ()
    with pytest.raises(UsageError, match="unknown variant 'fast'; choose from onednn-off"):
        choose_variants(["fast"])


@pytest.mark.parametrize(
    ("framework", "question"),
    [
        ("jax", "__import__('jax').device_count()"),
        pytest.param("torch", "__import__('torch').get_num_threads()", marks=pytest.mark.full),
    ],
    ids=["jax", "torch"],
)
def test_a_worker_has_its_variables_before_its_framework_is_imported(framework, question, tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_min_max=false")
    devices = "--xla_force_host_platform_device_count=3"
    given = {"XLA_FLAGS": devices, "OMP_NUM_THREADS": "1"}
    with Pools([framework], tmp_path) as pools:
        worker = pools.worker(f"{framework}-eager+x", given)
        found = worker.schedule(eval, args=["dict(__import__('os').environ)"]).result()
        number = worker.schedule(eval, args=[question]).result()
    assert found["XLA_FLAGS"] == f"--xla_cpu_enable_fast_min_max=false {devices}"
    assert number == {"jax": 3, "torch": 1}[framework]


def run_of(folder):
    """Return a run in NumPy and PyTorch with a variant of PyTorch."""
    runner.run(
        cases=["seed/article", "gap/100_low"], frameworks=["numpy", "torch"], implementations=["*/lse", "torch/naive"],
        dtypes="float32", modes="eager", variants="flush-subnormals", out=folder,
    )  # fmt: skip
    return Run(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return such a run without workers, and so without the settings that a worker has."""
    with calls_in_this_process():
        return run_of(tmp_path_factory.mktemp("variants") / "run")


def test_a_run_measures_the_variant_beside_the_mode_and_records_the_settings(run):
    df = run.read()
    assert set(df["mode"]) == {"eager", "eager+flush-subnormals"}
    assert set(df[df["framework"] == "numpy"]["mode"]) == {"eager"}
    assert (df["status"] == "ok").all()
    assert run.manifest.variants == {"torch eager+flush-subnormals": {"LOGITLAB_FLUSH_SUBNORMALS": "1"}}


@pytest.mark.full  # two workers import PyTorch; the one above has its variables too
def test_flushing_subnormals_loses_them(tmp_path):
    """e^-100 is subnormal in float32 and flushed to 0; it is 0 in the other row too, where exp(100) is infinite."""
    df = run_of(tmp_path / "run").read()
    df = df[
        (df["case"] == "gap/100_low") & (df["implementation"] == "torch/naive") & (df["quantity"] == "probabilities")
    ]
    zeroed = df.groupby("mode", observed=True)["n_zeroed"].sum()
    assert zeroed.to_dict() == {"eager": 1, "eager+flush-subnormals": 2}


@pytest.mark.full
def test_every_variant_runs_where_it_applies():
    df = runner.run(
        cases="seed/article", implementations=["torch/lse", "jax/lse", "tensorflow/lse"], dtypes="float32",
        frameworks=["torch", "jax", "tensorflow"], modes="eager", variants="all",
    )  # fmt: skip
    assert (df["status"] == "ok").all()
    expected = {m for f in ("torch", "jax", "tensorflow") for m in modes_of(f, "eager", tuple(VARIANTS))}
    assert set(df["mode"]) == expected
