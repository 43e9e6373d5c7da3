"""Loss options for files of logits: any pieces give the rows of a case with the same options."""

import inspect
import re
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from logitlab import runner
from logitlab.cases import inputs, make
from logitlab.cases.inputs import LogitsFile, file_options
from logitlab.cases.inputs import _logits_file as _file
from logitlab.cli import main, run
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.core.options import LossOptions
from logitlab.oracle import reference
from logitlab.storage.store import Run

pytestmark = pytest.mark.usefixtures("in_this_process")

ROWS, CLASSES = 20, 5
PLAN = {"implementations": ["numpy/log1p", "torch/nn.CrossEntropyLoss"], "modes": "eager"}
WEIGHT = np.array([1.0, 2.0, 0.5, 0.0, 3.0])
OPTIONS = {"ignore_index": -100, "label_smoothing": 0.1, "weight": WEIGHT}


def batch():
    generator = np.random.Generator(np.random.Philox(7))
    logits = (4 * generator.standard_normal((ROWS, CLASSES))).astype(np.float32)
    targets = generator.integers(CLASSES, size=ROWS)
    targets[[1, 4, 19]] = -100
    logits[4] = -np.inf
    return logits, targets


@pytest.fixture
def dump(tmp_path):
    """Language models' logits as they are saved: padding has the target -100, and one padded row is fully masked."""
    logits, targets = batch()
    np.savez(tmp_path / "dump.npz", logits=logits, targets=targets, weight=WEIGHT)
    return tmp_path / "dump.npz"


def losses(df, implementation="torch/nn.CrossEntropyLoss"):
    return df[(df["implementation"] == implementation) & (df["quantity"] == "loss")].set_index("row").sort_index()


def test_a_target_of_minus_100_is_refused_with_the_option_that_takes_it(dump, capsys):
    assert main(["run", "--logits", str(dump), "--implementation", "numpy/lse"]) == 2
    message = capsys.readouterr().err
    assert "target -100 in row 1 is not a class; with 5 classes, expected 0 to 4" in message
    assert "to ignore such rows, give --ignore-index -100" in message
    with pytest.raises(UsageError, match=r"target -100 in row 1 is not a class; .* 0 to 4, or 255, which is ignored"):
        LogitsFile.open(dump, file_options(ignore_index=255))


def test_ignored_rows_do_not_count_and_the_others_equal_those_of_a_case(dump):
    df = runner.run(logits=dump, ignore_index=-100, **PLAN)
    found = losses(df)
    assert found.index.to_list() == list(range(ROWS))
    assert found.loc[[1, 4, 19], "exact"].to_list() == [0, 0, 0]
    assert set(found["status"]) == {"ok"}
    logits, targets = batch()
    np.testing.assert_array_equal(found["exact"], reference(logits, targets, ignore_index=-100).loss.hi)
    assert set(found["grade"].dropna()) <= {"A", "B"}
    # LogitLab's own formulas take no options: their status is `unsupported`.
    assert set(losses(df, "numpy/log1p")["status"]) == {"unsupported"}


def test_the_command_line_takes_every_option_and_weights_from_the_same_file(dump, tmp_path):
    command = ["run", "--logits", str(dump), "--framework", "torch", "--implementation", "torch/nn.CrossEntropyLoss"]
    command += ["--ignore-index", "-100", "--label-smoothing", "0.1", "--weight", str(dump), "--reduction", "mean"]
    assert main([*command, "--mode", "eager", "--out", str(tmp_path / "run")]) == 0
    run = Run(tmp_path / "run")
    logits, targets = batch()
    exact = reference(logits, targets, reduction="mean", **OPTIONS).loss.hi
    (row,) = losses(run.read()).to_dict("records")
    assert (row["exact"], row["grade"]) == (float(exact), "A")
    assert row["value"] == pytest.approx(float(exact), rel=1e-6)
    (file,) = run.manifest.files
    assert re.fullmatch("sha256:[0-9a-f]{64}", file["options"]["weight"])
    assert file["options"] == {
        "reduction": "mean", "label_smoothing": 0.1, "weight": file["options"]["weight"], "ignore_index": -100
    }  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_reduced_loss_is_the_whole_files_though_rows_are_read_in_pieces(dump, monkeypatch, reduction):
    monkeypatch.setattr(_file, "PIECE", 3 * CLASSES)
    df = runner.run(logits=dump, reduction=reduction, **OPTIONS, **PLAN)
    logits, targets = batch()
    exact = reference(logits, targets, reduction=reduction, **OPTIONS)
    (loss,) = losses(df).to_dict("records")
    assert loss["exact"] == float(exact.loss.hi)
    gradients = df[(df["implementation"] == "torch/nn.CrossEntropyLoss") & (df["quantity"] == "gradient")]
    assert sorted(gradients["row"]) == list(range(ROWS))


def test_results_with_options_do_not_depend_on_the_pieces_of_a_file(dump, monkeypatch):
    whole = runner.run(logits=dump, **OPTIONS, **PLAN)
    monkeypatch.setattr(_file, "PIECE", 3 * CLASSES)
    pieces = runner.run(logits=dump, **OPTIONS, **PLAN)
    keys = ["implementation", "quantity", "row"]
    tables = [t.drop(columns="run").sort_values(keys).reset_index(drop=True).astype(object) for t in (whole, pieces)]
    pd.testing.assert_frame_equal(*tables)


def test_a_file_too_large_to_be_reduced_at_once_is_refused_with_advice(dump, monkeypatch):
    monkeypatch.setattr(_file, "MAX_REDUCED", 7 * CLASSES)
    with pytest.raises(UsageError) as caught:
        LogitsFile.open(dump, file_options("mean", ignore_index=-100))
    assert str(caught.value) == (
        f"{dump}: its 20 rows of 5 classes are too many for --reduction mean, which takes all at once: measure row "
        "losses, without --reduction, or give at most 7 rows"
    )
    assert LogitsFile.open(dump, file_options(ignore_index=-100)).rows == ROWS


def test_files_take_every_loss_option(dump):
    """Fails if `run` lacks a new option in its command line, its arguments or its files."""
    names = {f.name for f in fields(LossOptions)}
    assert names <= {f.name for f in fields(runner.Request)}
    assert names <= set(inspect.signature(runner.run).parameters)
    assert names <= set(inspect.signature(run.run).parameters)
    df = runner.run(logits=dump, ignore_index=-100, softcap=2.0, frameworks="numpy", implementations="numpy/lse")
    logits, targets = batch()
    assert set(df["status"]) == {"unsupported"}
    (piece,) = LogitsFile.open(dump, file_options(ignore_index=-100, softcap=2.0)).pieces()
    found = reference(piece.logits, piece.targets, **piece.options(FORMATS["float32"])).loss.hi
    np.testing.assert_array_equal(found, reference(logits, targets, ignore_index=-100, softcap=2.0).loss.hi)


def test_a_run_is_resumed_only_with_the_same_options(dump, tmp_path):
    runner.run(logits=dump, ignore_index=-100, out=tmp_path / "run", **PLAN)
    with pytest.raises(UsageError, match="its files differ"):
        runner.run(logits=dump, ignore_index=-100, weight=WEIGHT, out=tmp_path / "run", resume=True, **PLAN)


def test_weights_and_probabilities_of_a_file_decide_which_dtypes_hold_it(tmp_path):
    logits = np.zeros((1, 2), np.float32)
    np.savez(tmp_path / "soft.npz", logits=logits, targets=np.array([[1e5, 0.0]], np.float32))
    np.savez(tmp_path / "hard.npz", logits=logits, targets=[1])
    soft = LogitsFile.open(tmp_path / "soft.npz")
    weighted = LogitsFile.open(tmp_path / "hard.npz", file_options(weight=[1.0, 1e5]))
    assert soft.dtypes == weighted.dtypes == ("bfloat16", "float32", "float64")
    assert soft.why_unrepresentable(FORMATS["float16"]) == "a finite target probability would become infinite"
    assert weighted.why_unrepresentable(FORMATS["float16"]) == "weight would become infinite"


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_weights_are_read_from_each_kind_of_file(tmp_path, suffix):
    path, weight = tmp_path / f"w{suffix}", WEIGHT.astype(np.float32)
    if suffix == ".npy":
        np.save(path, weight)
    elif suffix == ".npz":
        np.savez(path, weight=weight)
    else:
        save_file({"weight": weight}, path)
    np.testing.assert_array_equal(file_options(weight=path).weight, WEIGHT)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UsageError, match=f"w{suffix}: "):
        file_options(weight=str(path))


REFUSED = [
    ({"weight": [1.0, -2.0]}, "weight has a factor that is negative or not finite"),
    ({"weight": [[1.0]]}, r"weight has shape \(1, 1\); expected \(C,\)"),
    ({"weight": ["a"]}, "weight has dtype <U1; expected numbers"),
    ({"weight": "nowhere.npy"}, "nowhere.npy: no such file; give a file of class weights"),
    ({"weight": "pyproject.toml"}, "give a file of class weights that ends in .npy, .npz, .safetensors"),
    ({"reduction": "average"}, "unknown reduction 'average'; choose one of none, mean, sum"),
    ({"label_smoothing": 2}, "label_smoothing is 2; expected a number from 0 to 1"),
    ({"label_smoothing": "a"}, "label_smoothing is 'a'; expected a number from 0 to 1"),
    ({"ignore_index": 1.5}, "ignore_index is 1.5; expected a whole number"),
    ({"softcap": -1.0}, "softcap is -1.0; expected a positive finite number"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_an_invalid_option_is_reported_in_one_line(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        file_options(**options)
    assert "\n" not in str(caught.value)


def test_options_that_do_not_fit_the_file_are_refused(dump, tmp_path):
    with pytest.raises(UsageError, match="weight has 2 factors; expected 5, one for each class"):
        LogitsFile.open(dump, file_options(weight=[1.0, 2.0]))
    np.savez(tmp_path / "soft.npz", logits=np.zeros((1, 2)), targets=np.ones((1, 2)))
    with pytest.raises(UsageError, match="are probabilities, and --ignore-index is for class indices"):
        LogitsFile.open(tmp_path / "soft.npz", file_options(ignore_index=-100))
    with pytest.raises(UsageError, match="--ignore-index is given without a file of logits; add --logits FILE"):
        inputs.select_inputs("seed/*", options=file_options(ignore_index=-100))
    with pytest.raises(UsageError, match="has no array 'weight'; it has 'logits', 'targets'"):
        file_options(weight=tmp_path / "soft.npz")


def test_a_weight_file_that_holds_python_objects_is_never_unpickled(tmp_path):
    np.save(tmp_path / "w.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(UsageError, match="weight holds Python objects, which LogitLab never unpickles"):
        file_options(weight=tmp_path / "w.npy")


# --- cases ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "weight", "what"),
    [([0], [1.0, 1e5], "weight"), ([[0.5, 7e4]], None, "a finite target probability")],
)
def test_a_weight_or_probability_that_a_dtype_cannot_hold_leaves_the_dtype_out(tmp_path, targets, weight, what):
    case = make("mine/large", "A large number beside the logits.", [[0.0, 1.0]], targets, weight=weight)
    assert case.dtypes == ("bfloat16", "float32", "float64")
    inputs.write_cases(tmp_path / "mine.json", [case])
    run = tmp_path / "run"
    asked = {"implementations": "torch/F.cross_entropy", "modes": "eager"}
    df = runner.run(case_files=tmp_path / "mine.json", **asked, out=run)
    assert set(df["dtype"]) == {"bfloat16", "float32", "float64"}
    why = f"{what} would become infinite"
    assert Run(run).manifest.left_out == [{"case": "mine/large", "dtype": "float16", "why": why}]


@pytest.mark.parametrize(
    ("fields", "message"),
    [('"targets": [5], "reduction": "mean"', "the reduction 'mean'"), ('"targets": [[1, 0]]', "class probabilities")],
)
def test_an_invalid_case_with_a_reduction_or_probabilities_is_refused_when_it_is_read(tmp_path, fields, message):
    path = tmp_path / "mine.json"
    path.write_text(
        '{"format": "logitlab cases", "version": 1, "cases": [{"name": "mine/a", "why": "A target that is no class.",'
        f'"logits": [[0, 1]], "invalid": true, {fields}}}]}}'
    )
    with pytest.raises(UsageError, match=f"case 0 .*the case is invalid and has {message}") as caught:
        inputs.read_cases(path)
    assert "\n" not in str(caught.value)
