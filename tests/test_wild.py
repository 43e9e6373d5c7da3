"""Losses of training libraries (extra `wild`): measurements of the installed versions, and how a run chooses them."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import metadata, util
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
import wild_findings
from findings import FindingGoneError
from in_process import calls_in_this_process
from printed_programs import printed

from logitlab import runner
from logitlab.cli import main
from logitlab.execution import plan, registry
from logitlab.execution.registry import Description, ImplementationInfo
from logitlab.frameworks import _torch_wild
from logitlab.studies.browse import listing

DOCS = Path(__file__).resolve().parents[1] / "docs"
CAUSAL = "torch/transformers.loss.loss_utils.ForCausalLMLoss"
FIXED = "torch/transformers.loss.loss_utils.fixed_cross_entropy"
SMOOTHER = "torch/transformers.trainer_pt_utils.LabelSmoother"
SELECTIVE = "torch/trl.trainer.utils.selective_log_softmax"
KERNEL = "torch/trl.kernels.selective_log_softmax_and_entropy"
TILES = "torch/trl.kernels.ChunkedLogProbFunction"
PACKAGES = ("transformers", "trl", "torchmetrics")

installed = pytest.mark.skipif(
    any(util.find_spec(p) is None for p in PACKAGES), reason="the extra wild is not installed"
)


def changed(what: str) -> str:
    versions = ", ".join(f"{p} {metadata.version(p)}" for p in PACKAGES)
    return f"{what} has changed with {versions}; measure again, and change docs/wild.md and the CHANGELOG"


@pytest.fixture(scope="module")
def table_of() -> Callable[[str], pd.DataFrame]:
    """Return a function that gives the table of an implementation's library; TRL's import takes as long as all else.

    The table has a few cases of each kind in float32 and in float64.
    """
    cases = [
        "seed/article", "gap/20_high", "offset/1e06", "offset/1e10", "masks/first", "ignored/one_*",
        "smoothing/mild_0.1", "layout/rows_*", "invalid/minus_one", "linear_layers/bias_s1", "linear_layers/softcap",
        "linear_layers/logit_scale", "linear_extremes/masked_by_bias", "linear_ignored/two_mean", "reductions/empty_*",
    ]  # fmt: skip

    @cache
    def measured(library: str) -> pd.DataFrame:
        with calls_in_this_process():
            return runner.run(
                cases=cases, dtypes=["float32", "float64"], implementations=f"torch/{library}.*", modes="eager"
            )

    return lambda implementation: measured(implementation.removeprefix("torch/").partition(".")[0])


def rows_of(table_of, implementation: str, case: str, quantity: str = "loss", dtype: str = "float32"):
    table = table_of(implementation)
    own = (table["implementation"] == implementation) & (table["case"] == case)
    own &= (table["quantity"] == quantity) & (table["dtype"] == dtype)
    assert own.any(), f"{case} has no {quantity} of {implementation} in {dtype}"
    return table[own]


# --- measurements of the installed versions ---------------------------------------------------------------------


@installed
@pytest.mark.parametrize("implementation", [CAUSAL, FIXED, pytest.param(SELECTIVE, marks=pytest.mark.full)])
def test_a_library_s_loss_has_the_article_s_values(table_of, implementation):
    rows = rows_of(table_of, implementation, "seed/article")
    np.testing.assert_allclose(rows["value"], [0.41703, 2000, 1.40761], atol=1e-5)
    for quantity in ("loss", "gradient"):
        assert set(rows_of(table_of, implementation, "seed/article", quantity)["grade"]) <= {"A", "B"}


@installed
@pytest.mark.pinned
@pytest.mark.parametrize("implementation", [CAUSAL, FIXED])
def test_transformers_keeps_the_digits_of_an_offset(table_of, implementation):
    assert set(rows_of(table_of, implementation, "offset/1e10")["grade"]) <= {"A", "B"}


@pytest.mark.full
@installed
@pytest.mark.pinned
def test_trl_s_selective_log_softmax_loses_the_digits_of_an_offset(table_of):
    losses = rows_of(table_of, SELECTIVE, "offset/1e10")
    assert list(losses["value"]) == [0, 0], changed("TRL's loss at an offset of 1e10")
    np.testing.assert_allclose(losses["exact"], np.log(5), rtol=1e-6)
    assert set(losses["grade"]) == {"C"}
    assert set(rows_of(table_of, SELECTIVE, "offset/1e06", "gradient")["grade"]) == {"C"}


@installed
@pytest.mark.pinned
def test_transformers_computes_float64_logits_in_float32(table_of):
    (first, _, third) = rows_of(table_of, CAUSAL, "seed/article", dtype="float64").to_dict("records")
    assert {first["grade"], third["grade"]} == {"D"}, changed("ForCausalLMLoss of float64 logits")
    assert first["out_dtype"] == "float32"
    assert set(rows_of(table_of, FIXED, "seed/article", dtype="float64")["grade"]) <= {"A", "B"}


@pytest.mark.full
@installed
@pytest.mark.pinned
def test_trl_s_tiles_keep_float64_sums_in_float32(table_of):
    rows = rows_of(table_of, TILES, "linear_layers/bias_s1", dtype="float64")
    assert set(rows["grade"]) == {"D"}, changed("ChunkedLogProbFunction of float64 hidden states")
    assert set(rows["out_dtype"]) == {"float32"}


@pytest.mark.full  # test_linear_frameworks.py has PyTorch's losses of hidden states
@installed
@pytest.mark.parametrize("implementation", [TILES, f"{TILES}[chunk_size=3]"])
@pytest.mark.parametrize(
    "case",
    ["linear_layers/bias_s1", "linear_layers/softcap", "linear_layers/logit_scale", "linear_extremes/masked_by_bias"],
)
def test_trl_s_tiles_are_right_in_float32(table_of, implementation, case):
    table = table_of(implementation)
    own = table[(table["implementation"] == implementation) & (table["case"] == case) & (table["dtype"] == "float32")]
    assert set(own["status"]) == {"ok"}
    assert set(own["quantity"]) >= {"loss", "gradient_hidden", "gradient_weight"}
    assert set(own["grade"].dropna()) <= {"A", "B"}


@installed
@pytest.mark.parametrize("implementation", [CAUSAL, FIXED])
def test_ignored_rows_means_and_sums_are_those_of_the_library(table_of, implementation):
    for case in ("ignored/one_none", "ignored/one_mean", "ignored/one_sum", "layout/rows_mean"):
        found = rows_of(table_of, implementation, case)
        assert set(found["status"]) == {"ok"}, f"{implementation} on {case}"
        assert set(found["grade"].dropna()) <= {"A", "B"}


@pytest.mark.full
@installed
def test_the_error_of_trl_s_loss_of_no_rows_is_kept(table_of):
    raised = rows_of(table_of, SELECTIVE, "reductions/empty_mean")
    assert raised["detail"].str.contains("stack expects a non-empty TensorList").all()


@installed
def test_the_label_smoother_is_measured_with_smoothing_only(table_of):
    assert set(rows_of(table_of, SMOOTHER, "smoothing/mild_0.1")["grade"]) <= {"A", "B"}
    plain = rows_of(table_of, SMOOTHER, "seed/article")
    assert set(plain["status"]) == {"unsupported"}
    assert plain["detail"].str.contains("without label smoothing").all()


@pytest.mark.full
@installed
@pytest.mark.pinned
@pytest.mark.skipif(util.find_spec("triton") is None, reason="Triton is not installed")
def test_trl_s_triton_kernel_reads_other_logits_and_gives_nan_for_a_masked_block():
    table = runner.run(
        cases=["seed/article", "layout/transposed", "masks/block_32768", "offset/1e10"],
        implementations=KERNEL, dtypes="float32", modes="interpreted",
    )  # fmt: skip

    def kernels(implementation: str) -> pd.DataFrame:
        return table

    assert set(rows_of(kernels, KERNEL, "seed/article")["grade"]) <= {"A", "B"}
    assert set(rows_of(kernels, KERNEL, "layout/transposed")["grade"]) == {"D"}, changed(
        "the kernel on transposed logits"
    )
    for quantity in ("loss", "gradient"):
        masked = rows_of(kernels, KERNEL, "masks/block_32768", quantity)
        assert set(masked["verdict"]) == {"nan"}, changed("the kernel on a masked block")
    assert set(rows_of(kernels, KERNEL, "offset/1e10")["grade"]) == {"C"}


@installed
@pytest.mark.pinned
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n == "transformers" else pytest.mark.full) for n in wild_findings.WILD_FINDINGS],
)
def test_each_finding_on_the_page_holds(name):
    if name == "trl_kernel" and util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    facts = wild_findings.WILD_FINDINGS[name]()
    assert "logitlab" not in facts["program"]


def test_a_finding_that_is_gone_stops_the_build(monkeypatch):
    right = {"torchmetrics": [14.676], "torch": [14.676]}
    monkeypatch.setattr(wild_findings, "reproduced", lambda name: right)
    with pytest.raises(FindingGoneError, match="'torchmetrics' no longer holds"):
        wild_findings.torchmetrics()


def test_every_finding_is_on_the_page():
    page = (DOCS / "wild.md").read_text()
    assert set(re.findall(r'wild_finding\("(\w+)"\)', page)) == set(wild_findings.WILD_FINDINGS)
    assert page.count("**Upstream.**") == len(wild_findings.WILD_FINDINGS)


# --- programs ---------------------------------------------------------------------------------------------------


def printed_by_a_process(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, check=True
    ).stdout


@installed
@pytest.mark.parametrize(
    ("implementation", "loss", "run"),
    [
        pytest.param(SELECTIVE, "loss: -0.0", printed_by_a_process, marks=pytest.mark.full),
        # Transformers is imported here already.
        (CAUSAL, "loss: 1.609437", printed),
    ],
)
@pytest.mark.usefixtures("in_this_process")
def test_a_program_shows_a_measurement_without_logitlab(implementation, loss, run, capsys):
    words = ["reproduce", "offset/1e10", "--implementation", implementation, "--dtype", "float32", "--row", "0"]
    assert main(words) == 0
    program = capsys.readouterr().out
    assert "import logitlab" not in program
    lines = run(program).replace("[", "").splitlines()
    assert any(loss in line for line in lines), lines
    assert implementation.split("/")[1].split(".")[0] in lines[-1]  # its version


# --- how a run chooses them -------------------------------------------------------------------------------------

PLAIN = ImplementationInfo("torch/F.cross_entropy", "builtin", "torch", "2", ("eager",))
WILD = ImplementationInfo("torch/trl.x", "builtin", "trl", "1", ("eager",), on_request=True)


@pytest.mark.parametrize(
    ("globs", "expected"),
    [(None, {PLAIN.name}), (["torch/*"], {PLAIN.name, WILD.name}), (["torch/trl*"], {WILD.name})],
)
def test_a_run_measures_an_implementation_on_request_only_if_a_glob_names_it(globs, expected):
    described = {"torch": Description("torch", ("cpu",), implementations=(PLAIN, WILD))}
    cells = plan.choose_cells(described, ["float32"], globs)
    assert {cell.implementation.name for cell in cells} == expected


@pytest.mark.parametrize(("globs", "expected"), [(None, set()), (["torch/trl*"], {WILD.name})])
def test_one_that_is_missing_is_named_only_if_a_glob_names_it(globs, expected):
    missing = ImplementationInfo(WILD.name, "builtin", "trl", None, ("eager",), on_request=True)
    described = {"torch": Description("torch", ("cpu",), implementations=(PLAIN, missing))}
    assert set(plan.not_installed(described, None, globs)) == expected


def test_a_missing_library_comes_with_how_to_install_it():
    assert listing.how_to_install("trl", "torch") == "pip install 'logitlab[wild]'"
    assert listing.how_to_install("torchtune", "torch").endswith("pip install torchtune torchao==0.9.0")
    names = listing.tabulated({"torch": registry.describe("torch")})["implementation"].to_list()
    assert {i.name for i in _torch_wild.WILD} <= set(names)


class StandIn:
    """torchtune's loss, with its signature: chunks of logits (1, n, C) and labels (1, N) to the mean."""

    def __init__(self, num_output_chunks: int = 8, ignore_index: int = -100) -> None:
        self.ignore_index, self.chunks = ignore_index, num_output_chunks

    def __call__(self, logits: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        assert len(logits) == len(labels.chunk(self.chunks, dim=1))
        flat = torch.cat(list(logits), dim=1)[0]
        return torch.nn.functional.cross_entropy(flat, labels[0], ignore_index=self.ignore_index)


def test_torchtune_gets_chunks_of_positions(monkeypatch):
    """The package needs an older torchao than the others; docs/wild.md has its measurements."""
    for name in ("torchtune", "torchtune.modules", "torchtune.modules.loss"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["torchtune.modules.loss"].CEWithChunkedOutputLoss = StandIn
    logits, targets = torch.randn(10, 5, generator=torch.Generator().manual_seed(0)), torch.arange(10) % 5
    of = torch.nn.functional.cross_entropy
    for options in ({}, {"ignore_index": 2}):
        mean = _torch_wild.chunked_cross_entropy(logits, targets, reduction="mean", **options)
        torch.testing.assert_close(mean, of(logits, targets, **options))
    rows = _torch_wild.chunked_cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(rows, of(logits, targets, reduction="none"))
    for reduction, options in (("sum", {}), ("none", {"ignore_index": 2})):
        with pytest.raises(NotImplementedError, match="returns the mean"):
            _torch_wild.chunked_cross_entropy(logits, targets, reduction=reduction, **options)


def test_row_losses_come_from_calls_on_single_rows():
    logits, targets = torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 0])
    rows = _torch_wild.of_each_row(torch.nn.functional.cross_entropy, logits, targets)
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    np.testing.assert_array_equal(rows, expected)
    assert _torch_wild.of_each_row(torch.nn.functional.cross_entropy, logits[:0], targets[:0]).shape == (0,)
