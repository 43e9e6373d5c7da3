"""The mode `interpreted`: Liger-Kernel's Triton kernels and a Pallas kernel, run by their interpreters on the CPU.

Triton has to be imported to interpret. So all calls are in worker processes, or in a new process.
"""

import html
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import printed_programs
import pytest
from in_process import InThisProcess

from logitlab import runner
from logitlab.cases import select_cases
from logitlab.cli import main
from logitlab.core import interpreting
from logitlab.core.errors import UsageError
from logitlab.execution import executors, registry, variants
from logitlab.execution.pool import Pools
from logitlab.execution.registry import Description, ImplementationInfo
from logitlab.storage.store import Run
from logitlab.studies import _session
from logitlab.studies._cells import choose_cell

LIGER, FUSED = "torch/liger_kernel.liger_cross_entropy", "torch/liger_kernel.liger_fused_linear_cross_entropy"
FLA = "torch/fla.modules.fused_cross_entropy.cross_entropy_loss"
SOFTMAX = "jax/experimental.pallas.ops.gpu.softmax"
CHANGED = "{} has changed: it was measured with the versions of constraints.txt; state the new behaviour here"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Triton has wheels for Linux alone")


class DescribedHere(executors.Local):
    """Workers measure. This process describes the frameworks: another worker would import PyTorch for that."""

    def describe(self):
        return InThisProcess.describe(self)


def measured(out: Path, implementations: list[str], cases: list[str]) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executors, "Local", DescribedHere)
        runner.run(cases=cases, implementations=implementations, dtypes="float32", modes="interpreted", out=out)
    return out


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Return a run of Liger's kernels on a case of each kind."""
    out = tmp_path_factory.mktemp("few") / "run"
    return measured(out, [LIGER, FUSED], ["seed/article", "smoothing/mild_0.1", "linear_layers/smoothing"])


@pytest.fixture(scope="module")
def few_lines(few):
    return Run(few).read()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a run of Liger's and fla's kernels on a few cases of each kind, most with options."""
    return measured(
        tmp_path_factory.mktemp("interpreted") / "run", ["torch/liger*", FLA],
        [
            "seed/*", "gap/20_high", "scaling/hot", "smoothing/mild_0.1", "offset/1e06", "field_overflow/mlx_4188",
            "masks/block_*", "layout/*", "ignored/one_*", "z_loss/normalized", "weights/article_mean",
            "softcap/saturated", "invalid/classes", "linear_layers/bias_s1", "linear_layers/z_loss",
            "linear_layers/smoothing", "linear_layers/softcap", "linear_layers/class_weights",
            "linear_ignored/nan_row_mean",
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def table(folder):
    return Run(folder).read()


def rows_of(table: pd.DataFrame, case: str, quantity: str = "loss", implementation: str = LIGER) -> pd.DataFrame:
    own = (table["case"] == case) & (table["quantity"] == quantity) & (table["implementation"] == implementation)
    assert own.any(), f"{case} has no {quantity} of {implementation}"
    return table[own]


@pytest.mark.parametrize(
    ("lines", "implementations"),
    [("few_lines", {LIGER, FUSED}), pytest.param("table", {LIGER, FUSED, FLA}, marks=pytest.mark.full)],
)
def test_the_kernels_run_on_the_cpu_under_their_own_mode(request, lines, implementations):
    lines = request.getfixturevalue(lines)
    assert set(lines["implementation"]) == implementations
    assert set(lines["mode"]) == {"interpreted"}
    assert set(lines["device"]) == {"cpu"}
    article = rows_of(lines, "seed/article")
    np.testing.assert_allclose(article["value"], [0.41703, 2000, 1.40761], atol=1e-5)
    assert set(rows_of(lines, "seed/article", "gradient")["grade"]) == {"A"}


def test_the_kernels_are_right_with_an_option(few_lines):
    assert_right(rows_of(few_lines, "smoothing/mild_0.1"), rows_of(few_lines, "smoothing/mild_0.1", "gradient"))
    assert_fused_right(few_lines, "linear_layers/smoothing")


def assert_right(*quantities: pd.DataFrame) -> None:
    for rows in quantities:
        assert set(rows["status"]) == {"ok"}
        assert set(rows["grade"]) <= {"A", "B"}


def assert_fused_right(lines: pd.DataFrame, case: str) -> None:
    own = lines[(lines["case"] == case) & (lines["implementation"] == FUSED)]
    assert set(own["quantity"]) >= {"loss", "gradient_hidden", "gradient_weight"}
    assert ("gradient_bias" in set(own["quantity"])) == (case != "linear_layers/z_loss")
    assert set(own["status"]) == {"ok"}
    assert set(own["grade"].dropna()) <= {"A", "B"}


@pytest.mark.full
@pytest.mark.pinned
def test_liger_s_loss_loses_the_digits_of_an_offset(table):
    row = rows_of(table, "field_overflow/mlx_4188").iloc[1]
    assert row["value"] == 0.048828125, CHANGED.format("Liger's loss of [2, -1] + 1e4")
    assert row["exact"] == pytest.approx(0.0485874, rel=1e-6)
    assert row["grade"] == "C"


@pytest.mark.full
@pytest.mark.pinned
def test_liger_gives_nan_where_its_first_block_is_masked(table):
    for quantity in ("loss", "gradient"):
        (row,) = rows_of(table, "masks/block_32768", quantity).to_dict("records")
        assert (row["grade"], row["verdict"]) == ("F", "nan"), CHANGED.format("Liger on a masked first block")
        # Narrower blocks lie in the kernel's one block.
        assert set(rows_of(table, "masks/block_64", quantity)["grade"]) <= {"A", "B"}


@pytest.mark.full
@pytest.mark.pinned
def test_liger_s_gradient_of_transposed_logits_is_wrong(table):
    for case in ("layout/transposed", "layout/transposed_mean", "layout/transposed_257"):
        assert "D" in set(rows_of(table, case, "gradient")["grade"]), CHANGED.format("Liger on transposed logits")
        assert set(rows_of(table, case)["grade"]) <= {"A", "B"}
    assert set(rows_of(table, "layout/rows", "gradient")["grade"]) <= {"A", "B"}


@pytest.mark.full
@pytest.mark.parametrize(
    "case", ["smoothing/mild_0.1", "ignored/one_mean", "ignored/one_none", "layout/rows_mean", "z_loss/normalized"]
)
def test_liger_is_right_with_options_and_reductions(table, case):
    assert_right(rows_of(table, case), rows_of(table, case, "gradient"))


@pytest.mark.full
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


@pytest.mark.full
@pytest.mark.pinned
def test_fla_loses_the_digits_of_an_offset_in_its_gradient_too(table):
    for quantity in ("loss", "gradient"):
        row = rows_of(table, "field_overflow/mlx_4188", quantity, FLA).iloc[1]
        assert row["grade"] == "C", CHANGED.format("fla's loss of [2, -1] + 1e4")
    assert rows_of(table, "field_overflow/mlx_4188", implementation=FLA).iloc[1]["value"] == 0.048828125


@pytest.mark.full
@pytest.mark.parametrize(
    "case", ["masks/block_32768", "layout/transposed", "layout/strided", "smoothing/mild_0.1", "z_loss/normalized", "@"]
)
def test_fla_is_right_with_masks_layouts_and_options(table, case):
    case = case.replace("@", "scaling/hot")
    for quantity in ("loss", "gradient"):
        assert set(rows_of(table, case, quantity, FLA)["grade"]) <= {"A", "B"}


@pytest.mark.full
def test_liger_raises_for_a_target_that_is_no_class(table):
    found = rows_of(table, "invalid/classes")
    assert set(found["status"]) == {"raised"}
    assert found["detail"].str.contains("out of bounds").all()


@pytest.mark.full
@pytest.mark.parametrize("case", ["linear_layers/bias_s1", "linear_layers/z_loss", "linear_layers/smoothing"])
def test_liger_s_fused_loss_is_right_with_bias_and_options(table, case):
    assert_fused_right(table, case)


@pytest.mark.full
@pytest.mark.pinned
def test_nan_of_an_ignored_row_reaches_the_weight_in_liger_s_fused_loss(table):
    reached = rows_of(table, "linear_ignored/nan_row_mean", "gradient_weight", FUSED)
    assert (reached["n_nan"] > 0).all(), CHANGED.format("Liger's fused loss of an ignored row")


# --- the worker, and what it reports ----------------------------------------------------------------------------


def test_only_a_worker_of_the_mode_interprets(few, tmp_path, monkeypatch):
    """Also where the user's environment has the variable, which would make a GPU's cells an interpreter's."""
    monkeypatch.setenv(interpreting.VARIABLE, "1")
    assert variants.variables("torch", "interpreted") == {interpreting.VARIABLE: "1"}
    assert variants.variables("torch", "interpreted+one-thread")["OMP_NUM_THREADS"] == "1"
    with Pools(["torch"], tmp_path) as pools:
        workers = [pools.worker(f"torch-{m}", variants.variables("torch", m)) for m in ("eager", "interpreted")]
        found = [worker.schedule(eval, ["__import__('os').environ.get('TRITON_INTERPRET')"]) for worker in workers]
        assert [future.result() for future in found] == [None, "1"]
    assert Run(few).manifest.variants == {"torch interpreted": interpreting.VARIABLES}


@pytest.mark.parametrize(
    "arguments", [(), ("--all",), ("--format", "markdown")], ids=["first screen", "all", "markdown"]
)
def test_each_report_says_that_an_interpreter_is_no_gpu(few, arguments, capsys):
    assert main(["report", str(few), *arguments]) == 0
    assert interpreting.NOTE in " ".join(capsys.readouterr().out.split())


@pytest.mark.full
def test_the_site_says_it_beside_the_grades(few, tmp_path):
    assert main(["report", str(few), "--format", "html", "--out", str(tmp_path / "site")]) == 0
    for page in ("index.html", "grades.html"):
        assert interpreting.NOTE in html.unescape((tmp_path / "site" / page).read_text())


def output(program: str) -> str:
    """Return what the program prints in a new process, as Triton needs it."""
    environment = {k: v for k, v in os.environ.items() if k != interpreting.VARIABLE}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout


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
def test_a_program_of_a_measurement_interprets_too(implementation, case, line, before, printed, capsys, monkeypatch):
    if implementation == SOFTMAX:  # JAX needs no worker to interpret
        monkeypatch.setattr(_session, "Pools", InThisProcess)
    where = ["--implementation", implementation, "--dtype", "float32", "--mode", "interpreted", "--row", "1"]
    assert main(["reproduce", case, *where]) == 0
    program = capsys.readouterr().out
    assert program.index(line) < program.index(before)
    assert printed in (printed_programs.printed(program) if implementation == SOFTMAX else output(program))


def test_a_kernel_without_its_gpu_says_how_it_runs(in_this_process, tmp_path):
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


def test_jax_s_pallas_softmax_is_measured(in_this_process):
    table = runner.run(
        cases=["seed/article", "gap/20_high"], implementations=SOFTMAX, dtypes="float32", modes="interpreted"
    )
    assert set(table["quantity"]) == {"probabilities", "loss"}
    assert set(table[table["quantity"] == "probabilities"]["grade"]) <= {"A", "B"}
    # -log(softmax): the article's second row underflows.
    assert list(rows_of(table, "seed/article", implementation=SOFTMAX)["grade"])[1] == "F"
