"""The programs of `logitlab reproduce` print what the measurements table has."""

import json
import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import InThisProcess

import logitlab
from logitlab import runner
from logitlab.cases import get_case, make
from logitlab.cases.inputs import write_cases
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.core.literals import nested_list, short_list, short_list_within
from logitlab.core.rounding import quantize, ulp
from logitlab.studies import _session
from logitlab.studies.reproduce import Reproducer, ReproduceRequest, run_program

# Options, layouts, targets and verdicts of each kind.
CASES = (
    "seed/article", "seed/article_mean", "special/nan", "masks/on_target", "smoothing/gap_100", "weights/article_mean",
    "ignored/one_none", "soft/article_none", "layout/transposed", "layout/strided", "layout/spatial",
    "invalid/minus_one", "underflow/float32_subnormal_at", "overflow/float32_above", "ties/2049",
)  # fmt: skip
# The number of programs of each framework, and its modes.
SAMPLES = {
    "numpy": (30, ["eager"]), "torch": (30, ["eager", "compiled"]), "onnxruntime": (10, ["eager"]),
    "jax": (20, ["eager", "compiled"]), "tensorflow": (24, ["eager", "graph", "compiled"]),
    "keras-jax": (20, ["eager", "compiled"]), "keras-torch": (20, ["eager"]), "mlx": (35, ["eager", "compiled"]),
    "tinygrad": (16, ["compiled"]),
}  # fmt: skip
FEW = ["numpy/naive", "numpy/lse", "numpy/scipy.special.log_softmax"]
COMPILED = ("seed/article", "layout/transposed", "underflow/float32_subnormal_at", "overflow/float32_above")


@pytest.fixture
def here(monkeypatch):
    """Let programs be written in this process, without workers."""
    monkeypatch.setattr(_session, "Pools", InThisProcess)


def sample(df, size):
    """Return tables of single results: one of each implementation, dtype and mode in turn, over all cases."""
    known = df[df["status"].isin(["ok", "raised"])]
    keys = ["case", "implementation", "dtype", "mode", "quantity"]
    groups = dict(iter(known.groupby(keys, observed=True)))
    used, chosen = [Counter() for _ in keys], []
    while groups and len(chosen) < size:
        rarest = min(groups, key=lambda key: (sum(c[word] for c, word in zip(used, key, strict=True)), key))
        for count, word in zip(used, rarest, strict=True):
            count[word] += 1
        chosen.append((rarest, groups.pop(rarest).sort_values("row")))
    return chosen


def printed(programs):
    """Return what programs print, run one after the other in one new process."""
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "printed_programs.py"],
        input=json.dumps(programs), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def numbers(text, name):
    """Return the numbers that a program printed under a name, or None."""
    found = re.search(rf"^{name}: (.*)$", text, re.MULTILINE)
    return None if found is None else np.array(eval(found[1], {"nan": math.nan, "inf": math.inf}), np.float64)  # noqa: S307


def assert_as_in_the_table(key, rows, program, text):
    case, _, dtype, _, quantity = key
    value, exact = numbers(text, quantity), numbers(text, "exact")
    message = f"{key}\n{program}\n{text}"
    if (rows["status"] != "ok").any():
        assert value is None, message
        return
    assert value is not None, message
    if exact is None:
        assert get_case(case).invalid, message
        return
    if value.ndim == 1 and quantity != "loss":  # a row of the whole case
        value, exact = value.reshape(1, -1), exact.reshape(1, -1)
    if value.ndim == 0 and quantity != "loss":  # the entry with the largest error
        value, exact = value.reshape(1, 1), exact.reshape(1, 1)
        rows = rows.loc[[rows["max_ulp"].fillna(0).idxmax()]]
    if quantity == "loss":
        value, exact = value.reshape(-1, 1), exact.reshape(-1, 1)
        np.testing.assert_array_equal(value[:, 0], rows["value"], err_msg=message)
        np.testing.assert_array_equal(exact[:, 0], rows["exact"], err_msg=message)
    else:
        assert np.isnan(value).sum() == rows["n_nan"].sum(), message
        assert np.isposinf(value).sum() == rows["n_posinf"].sum(), message
    finite = np.isfinite(value) & np.isfinite(exact)
    fmt = FORMATS[dtype]
    # Just below a power of two the spacing is half; the printed exact value may have been rounded to the power.
    with np.errstate(invalid="ignore"):
        errors = [
            np.max(np.where(finite, np.abs(value - exact) / ulp(exact, fmt, side * np.abs(exact)), 0), axis=1)
            for side in (0.0, -1e-30, 1e-30)
        ]
    for i, found in enumerate(zip(*errors, strict=True)):
        expected = rows["max_ulp"].iloc[i]
        if finite[i].all() and np.isfinite(expected):
            # The table's exact values have more digits than a float64.
            slack = 1.0 if dtype == "float64" else 1e-9
            assert any(abs(e - expected) <= 1e-6 * expected + slack for e in found), (message, found, expected)


def check(framework, size, modes, cases=CASES, dtypes=tuple(FORMATS), implementations=None):
    """Write and run the programs of a sample of a run, and return their cells and texts."""
    found = []
    if "eager" in modes:
        chosen = {"frameworks": framework, "implementations": implementations, "dtypes": list(dtypes)}
        found = [runner.run(cases=list(cases), modes="eager", **chosen)]
    others = [mode for mode in modes if mode != "eager"]
    if others:  # each compiles its programs for each dtype
        found.append(runner.run(cases=list(COMPILED), frameworks=framework, dtypes="float32", modes=others))
    df = pd.concat(found, ignore_index=True)
    chosen = sample(df, size)
    with Reproducer([framework]) as reproducer:
        programs = [
            reproducer.reproduce(ReproduceRequest(case, name, dtype, None, "cpu", mode, quantity)).program
            for (case, name, dtype, mode, quantity), _ in chosen
        ]
    shared = 0
    for (key, rows), program, text in zip(chosen, programs, printed(programs), strict=True):
        assert "logitlab" not in program
        if "In a run, this case shares its call" in program:
            shared += 1  # its numbers are those of the case alone
            continue
        assert_as_in_the_table(key, rows, program, text)
    assert shared <= len(chosen) / 10
    return chosen, programs


@pytest.mark.parametrize("framework", ["numpy", *(pytest.param(f, marks=pytest.mark.full) for f in ("torch", "mlx"))])
def test_programs_print_what_the_table_has(here, in_this_process, framework):
    some = FEW if framework == "numpy" else None
    chosen, _ = check(framework, 10 if some else 16, ["eager"], CASES[:-1], ["float32", "bfloat16"], some)
    assert len({key[0] for key, _ in chosen}) >= 8
    assert {"loss", "gradient"} <= {key[4] for key, _ in chosen}


@pytest.mark.full
@pytest.mark.parametrize("framework", SAMPLES)
def test_programs_of_every_framework_print_what_the_table_has(framework):
    size, modes = SAMPLES[framework]
    chosen, _ = check(framework, size, modes)
    assert len(chosen) == size
    assert {key[3] for key, _ in chosen} == set(modes)


@pytest.mark.parametrize(
    "framework",
    ["numpy", *(pytest.param(f, marks=pytest.mark.full) for f in ("torch", "jax", "tensorflow", "keras-jax"))],
)
def test_a_program_runs_in_a_new_process(framework):
    name = {"keras-jax": "keras-jax/losses.sparse_categorical_crossentropy"}.get(framework, f"{framework}/log1p")
    program = logitlab.reproduce("seed/article", name)
    shown = run_program(program)
    np.testing.assert_allclose(numbers(shown, "exact"), [0.41703001642, 2000, 1.40760596444])
    assert re.search(r"\d+\.\d+\.\d+", shown.splitlines()[-1])


def test_public_names_are_the_shortest(here):
    program = logitlab.reproduce("softcap/saturated", "torch/F.cross_entropy[softcap]")
    assert "torch.tanh(" in program
    assert "F.torch" not in program


def test_a_variant_is_the_first_line(here):
    program = logitlab.reproduce("seed/article", "torch/lse", mode="eager+one-thread")
    lines = [line for line in program.splitlines() if not line.startswith("#")]
    assert lines[0] == "import os; os.environ['OMP_NUM_THREADS'] = '1'; os.environ['MKL_NUM_THREADS'] = '1'"
    flushed = logitlab.reproduce("seed/article", "torch/lse", mode="eager+flush-subnormals")
    assert "torch.set_flush_denormal(True)" in flushed
    assert "LOGITLAB" not in flushed


def test_a_built_in_is_the_public_call(here):
    program = logitlab.reproduce("weights/article_mean", "torch/F.cross_entropy", quantity="loss")
    assert "loss = F.cross_entropy(x, t, reduction='mean', weight=weight)" in program
    assert len(program.splitlines()) <= 12
    soft = logitlab.reproduce("soft/article_none", "torch/F.cross_entropy[probabilities]", quantity="loss")
    assert "loss = F.cross_entropy(x, t, None, reduction='none')" in soft


def test_a_row_stands_alone_if_the_result_is_the_same(here):
    program = logitlab.reproduce("seed/article", "numpy/naive", row=1)
    assert "x = np.array([[1000.0, 1.0, -1000.0]], 'float32')" in program
    assert "row 1" in program.splitlines()[0]
    of_the_mean = logitlab.reproduce("seed/article_mean", "numpy/naive", row=1, quantity="gradient")
    assert "[2.0, 1.0, 0.1]" in of_the_mean
    assert "print('gradient:', np.asarray(gradient[1])" in of_the_mean


def test_the_largest_error_of_a_wide_gradient_is_printed(here):
    program = logitlab.reproduce("ties/2049", "numpy/naive", "bfloat16", quantity="gradient")
    assert "[[0.0] * 2049]" in program
    assert re.search(r"gradient\[0, \d+\]", program)
    assert max(map(len, program.splitlines())) < 200


def test_long_logits_go_into_a_file(here, tmp_path):
    drawn = np.random.default_rng(1).normal(0, 5, (4, 500))
    path, out = tmp_path / "mine.json", tmp_path / "found"
    write_cases(path, [make("mine/long", "Long rows.", drawn, [0, 1, 2, 3])])
    with pytest.raises(UsageError, match=r"no short expression gives its 4 x 500 logits; give --out FOLDER"):
        logitlab.reproduce("mine/long", "numpy/lse", case_files=path)
    program = logitlab.reproduce("mine/long", "numpy/lse", "bfloat16", out=out, quantity="loss", case_files=path)
    assert (out / "reproduce.py").read_text() == program
    np.testing.assert_array_equal(np.load(out / "logits.npy"), quantize(drawn, FORMATS["bfloat16"]).astype(np.float32))
    df = runner.run(case_files=path, implementations="numpy/lse", dtypes="bfloat16")
    expected = df.loc[df["quantity"] == "loss", "value"].to_numpy()
    np.testing.assert_array_equal(numbers(run_program(program, out), "loss"), expected)
    with pytest.raises(UsageError, match="already exists"):
        logitlab.reproduce("mine/long", "numpy/lse", out=out, case_files=path)


def test_a_case_of_a_case_file_is_found(here, tmp_path):
    case = make("mine/one", "A case.", [[100.0, 0.25]], [1])
    path = tmp_path / "mine.json"
    write_cases(path, [case])
    program = logitlab.reproduce("mine/one", "numpy/naive", case_files=path)
    assert "[[100.0, 0.25]]" in program


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed/none", "--implementation", "numpy/lse"], "no case is named 'seed/none'"),
        (["seed/article", "--implementation", "lse"], "unknown implementation 'lse'"),
        (["seed/article", "--implementation", "numpy/lse", "--row", "9"], "seed/article has no row 9"),
        (["seed/article", "--implementation", "numpy/lse", "--quantity", "slope"], "unknown quantity 'slope'"),
        (["seed/article", "--implementation", "numpy/lse", "--quantity", "probabilities"], "returns no probabilities"),
        (["weights/article_none", "--implementation", "numpy/lse"], "it takes no weight, so no call is made"),
        (["seed/article_mean", "--implementation", "numpy/lse", "--row", "1", "--quantity", "loss"], "give --row -1"),
    ],
)
def test_what_has_no_program_ends_with_exit_code_2_and_one_line(here, capsys, words, message):
    assert main(["reproduce", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_run_prints_the_output_below_the_program(here, capsys):
    assert main(["reproduce", "seed/article", "--implementation", "numpy/naive", "--run"]) == 0
    program, _, output = capsys.readouterr().out.partition("\n\n")
    assert program.startswith("# seed/article: numpy/naive in float32, eager, on cpu\n# The loss is graded F")
    np.testing.assert_array_equal(numbers(output, "loss")[1], np.inf)
    assert numbers(output, "exact")[1] == 2000


@pytest.mark.parametrize(
    "dtype", [pytest.param(d, marks=[pytest.mark.full] if d in ("float16", "float32") else []) for d in FORMATS]
)
def test_literals_give_the_numbers_again(dtype):
    fmt = FORMATS[dtype]
    drawn = np.random.default_rng(1).normal(0, 50, (4, 40))
    ramp = np.stack([np.arange(40) * 0.5 - 3, 7 - np.arange(40) * 1.0, np.full(40, 2.5), np.r_[9.0, np.arange(39) / 4]])
    edges = [[fmt.largest, -fmt.smallest_subnormal, fmt.smallest_normal, -0.0, 0.1] * 8]
    for values in (drawn, ramp, np.array(edges)):
        held = quantize(values, fmt)
        again = np.array(eval(short_list(held)))  # noqa: S307
        np.testing.assert_array_equal(quantize(again, fmt), held)
        if fmt.precision <= 24:  # frameworks convert by way of float32
            np.testing.assert_array_equal(quantize(again.astype(np.float32), fmt), held)
    assert short_list(quantize(ramp, fmt)[:1]) == "[[-3.0 + 0.5 * i for i in range(40)]]"
    assert nested_list(np.zeros(20)) == "[0.0] * 20"
    for values in (drawn, ramp, np.array(edges), np.zeros((9, 50257)), np.tile(ramp, (1, 1))[:, 0]):
        held = quantize(values, fmt)
        whole = short_list(held)
        assert short_list_within(held, len(whole)) == whole
        assert short_list_within(held, len(whole) - 1) is None
    assert short_list_within(quantize(np.random.default_rng(1).normal(size=(3, 2**20)), fmt), 4000) is None
