"""The mode `interpreted`: Liger-Kernel's Triton kernels and a Pallas kernel, run by their interpreters on the CPU.

Triton has to be imported to interpret. So all calls are in worker processes, or in a new process.
"""

import html
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from logitlab import runner
from logitlab.cases import select_cases
from logitlab.cli import main
from logitlab.core import interpreting
from logitlab.core.errors import UsageError
from logitlab.execution import registry, variants
from logitlab.execution.pool import Pools
from logitlab.execution.registry import Description, ImplementationInfo
from logitlab.storage.store import Run
from logitlab.studies._cells import choose_cell

TESTS = Path(__file__).parent
LIGER, FUSED = "torch/liger_kernel.liger_cross_entropy", "torch/liger_kernel.liger_fused_linear_cross_entropy"
FLA = "torch/fla.modules.fused_cross_entropy.cross_entropy_loss"
SOFTMAX = "jax/experimental.pallas.ops.gpu.softmax"
CHANGED = "{} has changed: it was measured with the versions of constraints.txt; state the new behaviour here"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Triton has wheels for Linux alone")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a run of Liger's and fla's kernels on a few cases of each kind, most with options."""
    out = tmp_path_factory.mktemp("interpreted") / "run"
    runner.run(
        cases=[
            "seed/*", "gap/20_high", "scaling/hot", "smoothing/mild_0.1", "offset/1e06", "field_overflow/mlx_4188",
            "masks/block_*", "layout/*", "ignored/one_*", "z_loss/normalized", "weights/article_mean",
            "softcap/saturated", "invalid/classes", "linear_layers/bias_s1", "linear_layers/z_loss",
            "linear_layers/smoothing", "linear_layers/softcap", "linear_layers/class_weights",
            "linear_ignored/nan_row_mean",
        ],
        implementations=["torch/liger*", FLA], dtypes="float32", modes="interpreted", out=out,
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def table(folder):
    return Run(folder).read()


def rows_of(table: pd.DataFrame, case: str, quantity: str = "loss", implementation: str = LIGER) -> pd.DataFrame:
    own = (table["case"] == case) & (table["quantity"] == quantity) & (table["implementation"] == implementation)
    assert own.any(), f"{case} has no {quantity} of {implementation}"
    return table[own]


def test_the_kernels_run_on_the_cpu_under_their_own_mode(table):
    assert set(table["implementation"]) == {LIGER, FUSED, FLA}
    assert set(table["mode"]) == {"interpreted"}
    assert set(table["device"]) == {"cpu"}
    article = rows_of(table, "seed/article")
    np.testing.assert_allclose(article["value"], [0.41703, 2000, 1.40761], atol=1e-5)
    assert set(rows_of(table, "seed/article", "gradient")["grade"]) == {"A"}


@pytest.mark.pinned
def test_liger_s_loss_loses_the_digits_of_an_offset(table):
    row = rows_of(table, "field_overflow/mlx_4188").iloc[1]
    assert row["value"] == 0.048828125, CHANGED.format("Liger's loss of [2, -1] + 1e4")
    assert row["exact"] == pytest.approx(0.0485874, rel=1e-6)
    assert row["grade"] == "C"


@pytest.mark.pinned
def test_liger_gives_nan_where_its_first_block_is_masked(table):
    for quantity in ("loss", "gradient"):
        (row,) = rows_of(table, "masks/block_32768", quantity).to_dict("records")
        assert (row["grade"], row["verdict"]) == ("F", "nan"), CHANGED.format("Liger on a masked first block")
        # Narrower blocks lie in the kernel's one block.
        assert set(rows_of(table, "masks/block_64", quantity)["grade"]) <= {"A", "B"}


@pytest.mark.pinned
def test_liger_s_gradient_of_transposed_logits_is_wrong(table):
    for case in ("layout/transposed", "layout/transposed_mean", "layout/transposed_257"):
        assert "D" in set(rows_of(table, case, "gradient")["grade"]), CHANGED.format("Liger on transposed logits")
        assert set(rows_of(table, case)["grade"]) <= {"A", "B"}
    assert set(rows_of(table, "layout/rows", "gradient")["grade"]) <= {"A", "B"}


@pytest.mark.parametrize(
    "case", ["smoothing/mild_0.1", "ignored/one_mean", "ignored/one_none", "layout/rows_mean", "z_loss/normalized"]
)
def test_liger_is_right_with_options_and_reductions(table, case):
    assert set(rows_of(table, case)["status"]) == {"ok"}
    for quantity in ("loss", "gradient"):
        assert set(rows_of(table, case, quantity)["grade"]) <= {"A", "B"}


@pytest.mark.pinned
def test_options_that_the_interpreter_lacks_are_named_with_its_error(table):
    """Triton 3.7 passes a number to an interpreted kernel as a float of Python, which has no method `to`."""
    of_logits, linear = (
        ("weights/article_mean", "softcap/saturated"),
        ("linear_layers/class_weights", "linear_layers/softcap"),
    )
    for implementation, case in (*((LIGER, case) for case in of_logits), *((FUSED, case) for case in linear)):
        row = rows_of(table, case, implementation=implementation).iloc[0]
        assert row["status"] == "raised", CHANGED.format(f"{implementation} on {case}")
        assert "'float' object has no attribute 'to'" in row["detail"]


@pytest.mark.pinned
def test_fla_loses_the_digits_of_an_offset_in_its_gradient_too(table):
    for quantity in ("loss", "gradient"):
        row = rows_of(table, "field_overflow/mlx_4188", quantity, FLA).iloc[1]
        assert row["grade"] == "C", CHANGED.format("fla's loss of [2, -1] + 1e4")
    assert rows_of(table, "field_overflow/mlx_4188", implementation=FLA).iloc[1]["value"] == 0.048828125


@pytest.mark.parametrize(
    "case", ["masks/block_32768", "layout/transposed", "layout/strided", "smoothing/mild_0.1", "z_loss/normalized", "@"]
)
def test_fla_is_right_with_masks_layouts_and_options(table, case):
    case = case.replace("@", "scaling/hot")
    for quantity in ("loss", "gradient"):
        assert set(rows_of(table, case, quantity, FLA)["grade"]) <= {"A", "B"}


def test_liger_raises_for_a_target_that_is_no_class(table):
    found = rows_of(table, "invalid/classes")
    assert set(found["status"]) == {"raised"}
    assert found["detail"].str.contains("out of bounds").all()


@pytest.mark.parametrize("case", ["linear_layers/bias_s1", "linear_layers/z_loss", "linear_layers/smoothing"])
def test_liger_s_fused_loss_is_right_with_bias_and_options(table, case):
    own = table[(table["case"] == case) & (table["implementation"] == FUSED)]
    assert set(own["quantity"]) >= {"loss", "gradient_hidden", "gradient_weight"}
    assert ("gradient_bias" in set(own["quantity"])) == (case != "linear_layers/z_loss")
    assert set(own["status"]) == {"ok"}
    assert set(own["grade"].dropna()) <= {"A", "B"}


@pytest.mark.pinned
def test_nan_of_an_ignored_row_reaches_the_weight_in_liger_s_fused_loss(table):
    reached = rows_of(table, "linear_ignored/nan_row_mean", "gradient_weight", FUSED)
    assert (reached["n_nan"] > 0).all(), CHANGED.format("Liger's fused loss of an ignored row")


# --- the worker, and what it reports ----------------------------------------------------------------------------


def test_only_a_worker_of_the_mode_interprets(folder, tmp_path, monkeypatch):
    """Also where the user's environment has the variable, which would make a GPU's cells an interpreter's."""
    monkeypatch.setenv(interpreting.VARIABLE, "1")
    assert variants.variables("torch", "interpreted") == {interpreting.VARIABLE: "1"}
    assert variants.variables("torch", "interpreted+one-thread")["OMP_NUM_THREADS"] == "1"
    with Pools(["torch"], tmp_path) as pools:
        workers = [pools.worker(f"torch-{m}", variants.variables("torch", m)) for m in ("eager", "interpreted")]
        found = [worker.schedule(eval, ["__import__('os').environ.get('TRITON_INTERPRET')"]) for worker in workers]
        assert [future.result() for future in found] == [None, "1"]
    assert Run(folder).manifest.variants == {"torch interpreted": interpreting.VARIABLES}


def own_arrays() -> dict[str, object]:
    """Call Liger through the adapter, and return the caller's logits, the loss and the gradient."""
    import torch

    from logitlab.frameworks import _torch_losses

    x = torch.tensor([[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0]], requires_grad=True)
    t = torch.tensor([0, 2])
    loss = _torch_losses.liger_cross_entropy(x, t, reduction="sum", z_loss=0.25)
    loss.backward()
    lse = torch.logsumexp(x.detach(), dim=1)
    expected = torch.nn.functional.cross_entropy(x.detach(), t, reduction="sum") + 0.25 * (lse**2).sum()
    return {"x": x.tolist(), "gradient": x.grad.tolist(), "loss": loss.item(), "expected": expected.item()}


def test_liger_writes_its_gradient_over_a_clone_and_takes_the_z_loss_under_its_own_name(tmp_path):
    with Pools(["torch"], tmp_path) as pools:
        variables = variants.variables("torch", "interpreted")
        found = pools.worker("torch-interpreted", variables).schedule(own_arrays).result()
    assert found["x"] == pytest.approx(np.array([[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0]]))
    assert np.isfinite(found["gradient"]).all()
    assert found["gradient"] != found["x"]
    assert found["loss"] == pytest.approx(found["expected"], rel=1e-6)


@pytest.mark.parametrize(
    "arguments", [(), ("--all",), ("--format", "markdown")], ids=["first screen", "all", "markdown"]
)
def test_each_report_says_that_an_interpreter_is_no_gpu(folder, arguments, capsys):
    assert main(["report", str(folder), *arguments]) == 0
    assert interpreting.NOTE in " ".join(capsys.readouterr().out.split())


@pytest.mark.full
def test_the_site_says_it_beside_the_grades(folder, tmp_path):
    assert main(["report", str(folder), "--format", "html", "--out", str(tmp_path / "site")]) == 0
    for page in ("index.html", "grades.html"):
        assert interpreting.NOTE in html.unescape((tmp_path / "site" / page).read_text())


@pytest.mark.parametrize(
    ("implementation", "case", "line", "before", "printed"),
    [
        pytest.param(
            LIGER, "field_overflow/mlx_4188", "os.environ['TRITON_INTERPRET'] = '1'", "import torch", "0.048828125",
            marks=pytest.mark.full,
        ),
        (SOFTMAX, "seed/article", "softmax(x, interpret=True)", "loss = -jnp.log", "loss: [inf]"),
    ],
)  # fmt: skip
def test_a_program_of_a_measurement_interprets_too(implementation, case, line, before, printed, capsys):
    where = ["--implementation", implementation, "--dtype", "float32", "--mode", "interpreted", "--row", "1"]
    assert main(["reproduce", case, *where]) == 0
    program = capsys.readouterr().out
    assert program.index(line) < program.index(before)
    environment = {k: v for k, v in os.environ.items() if k != interpreting.VARIABLE}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert printed in done.stdout


def test_a_kernel_without_its_gpu_says_how_it_runs(tmp_path):
    with pytest.raises(UsageError, match="--mode interpreted"):
        runner.run(cases="seed/article", implementations=LIGER, dtypes="float32", devices="cpu", out=tmp_path / "run")
    info = ImplementationInfo(LIGER, "builtin", "liger_kernel", "1", ("eager", "interpreted"), devices=("cuda",))
    torch = Description("torch", ("cpu",), (info,))
    (article,) = select_cases("seed/article")
    with pytest.raises(UsageError, match="has no device 'cpu' in mode eager; it needs cuda"):
        choose_cell(torch, LIGER, "float32", "cpu", "eager", article)
    assert choose_cell(torch, LIGER, "float32", "cpu", "interpreted", article).variables == interpreting.VARIABLES


# --- Pallas -----------------------------------------------------------------------------------------------------


def test_jax_compiles_nothing_around_an_interpreted_loss():
    jax = registry.imported("jax")
    assert jax.in_mode(max, "interpreted") is jax.in_mode(max, "eager") is max
    assert jax.in_mode(max, "compiled") is not max


def test_jax_s_pallas_softmax_is_measured():
    table = runner.run(
        cases=["seed/article", "gap/20_high"], implementations=SOFTMAX, dtypes="float32", modes="interpreted"
    )
    assert set(table["quantity"]) == {"probabilities", "loss"}
    assert set(table[table["quantity"] == "probabilities"]["grade"]) <= {"A", "B"}
    # -log(softmax): the article's second row underflows.
    assert list(rows_of(table, "seed/article", implementation=SOFTMAX)["grade"])[1] == "F"


# --- check ------------------------------------------------------------------------------------------------------


def test_check_refuses_a_triton_that_compiles(monkeypatch):
    assert "triton.language" in sys.modules, "conftest.py imports it"
    monkeypatch.setenv(interpreting.VARIABLE, "1")  # too late
    with pytest.raises(UsageError, match=r"triton was imported without TRITON_INTERPRET=1.*before the first import"):
        interpreting.interpret_triton()


def test_check_says_how_to_install_triton(monkeypatch):
    monkeypatch.setattr(interpreting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'logitlab\[interpreted\]'"):
        interpreting.interpret_triton()


# Checks each loss of a module of the corpus, in a new process, since this one's Triton may compile.
CHECK_EACH = """
import importlib, json, sys
import logitlab
from logitlab.core import interpreting
framework, module, quick = sys.argv[1:]
if framework == "torch":
    interpreting.interpret_triton()
from logitlab.studies.audit.corpus import planted_in
found = {}
for planted in list(planted_in(importlib.import_module(f"logitlab.studies.audit.corpus.{module}"))):
    dtypes = planted.dtypes if quick == "whole" else planted.dtypes[:1]
    result = logitlab.check(
        planted.loss, framework, dtypes, mode="interpreted", quick=quick == "quick", first=planted.wrong is not None,
        shrink=False, progress=False,
    )
    wrong = sorted(set(result.failures["quantity"]))
    found[planted.name] = [planted.wrong, result.passed, wrong, len(result.lines), str(result)]
print(json.dumps(found))
"""


def checked(framework: str, module: str, quick: str) -> dict[str, list]:
    environment = {k: v for k, v in os.environ.items() if k != interpreting.VARIABLE}
    command = [sys.executable, "-c", CHECK_EACH, framework, module, quick]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("quick", ["quick", pytest.param("whole", marks=pytest.mark.full)])
@pytest.mark.parametrize(
    ("framework", "module"),
    [("torch", "torch_more.triton"), pytest.param("jax", "jax.pallas", marks=pytest.mark.full)],
)
def test_check_passes_a_sound_kernel_and_fails_each_defective_one(framework, module, quick):
    found = checked(framework, module, quick)
    assert sum(wrong is not None for wrong, *_ in found.values()) >= 2
    for name, (wrong, passed, failing, lines, text) in found.items():
        assert lines > 300 or wrong is not None, name
        assert passed == (wrong is None), f"{name}: {text}"
        assert wrong is None or wrong in failing, f"{name}: {failing}"
        assert "interpreted" in text
        assert interpreting.NOTE in " ".join(text.split())
