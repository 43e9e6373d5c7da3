"""Files of logits are measured as they are, piece by piece; a sweep changes only its axis."""

import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from logitlab import runner
from logitlab.cases import all_cases, inputs
from logitlab.cases.inputs import LogitsFile, sweep
from logitlab.cases.inputs import _logits_file as _file
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.core.rounding import quantize
from logitlab.storage.store import Run

pytestmark = pytest.mark.usefixtures("in_this_process")

ROWS, CLASSES = 50, 7


def _lists(array):
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])


def _ragged(array):
    return pa.array([row.tolist() for row in array]) if array.ndim == 2 else pa.array(array)


def save(path, logits, targets):
    """Write both arrays in the format of the path's suffix, and return the path."""
    if path.suffix == ".npz":
        np.savez_compressed(path, logits=logits, targets=targets)
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({"logits": _lists(logits), "targets": _lists(targets)}), path, row_group_size=20)
    else:
        save_file({"logits": logits, "targets": targets}, path)
    return path


def batch(dtype="float32", *, soft=False, rows=ROWS):
    generator = np.random.Generator(np.random.Philox(1))
    logits = quantize(5 * generator.standard_normal((rows, CLASSES)), FORMATS[dtype])
    targets = generator.integers(CLASSES, size=rows)
    return logits, (np.eye(CLASSES)[targets].astype(logits.dtype) if soft else targets)


KINDS = [(suffix, d) for suffix in (".npz", ".parquet", ".safetensors") for d in FORMATS]
KINDS.remove((".parquet", "bfloat16"))  # Parquet has no such type


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("suffix", "dtype"), KINDS)
@pytest.mark.parametrize("piece", [CLASSES, 6 * CLASSES + 3, 10**6])
def test_a_file_gives_back_its_numbers_in_pieces_of_any_size(tmp_path, monkeypatch, suffix, dtype, soft, piece):
    monkeypatch.setattr(_file, "PIECE", piece)
    logits, targets = batch(dtype, soft=soft)
    file = LogitsFile.open(save(tmp_path / f"own{suffix}", logits, targets))
    pieces = list(file.pieces())
    assert (file.rows, file.classes, file.dtype) == (ROWS, CLASSES, dtype)
    assert {p.id for p in pieces} == {"file/own"}
    assert max(p.rows for p in pieces) == min(ROWS, piece // CLASSES)
    assert [p.first_row for p in pieces] == np.cumsum([0, *(p.rows for p in pieces[:-1])]).tolist()
    fmt = FORMATS[dtype]
    np.testing.assert_array_equal(np.concatenate([p.quantized(fmt) for p in pieces]), logits)
    np.testing.assert_array_equal(np.concatenate([p.quantized_targets(fmt) for p in pieces]), targets)


def test_lists_of_equal_length_need_not_be_of_fixed_length(tmp_path):
    logits, targets = batch()
    pq.write_table(pa.table({"logits": _ragged(logits), "targets": targets}), tmp_path / "own.parquet")
    (piece,) = LogitsFile.open(tmp_path / "own.parquet").pieces()
    np.testing.assert_array_equal(piece.logits, logits)


def test_numbers_of_the_other_byte_order_are_read(tmp_path):
    logits, targets = batch()
    (piece,) = LogitsFile.open(save(tmp_path / "own.npz", logits.astype(">f4"), targets.astype(">i8"))).pieces()
    np.testing.assert_array_equal(piece.logits, logits)
    np.testing.assert_array_equal(piece.targets, targets)


def test_the_digest_is_that_of_the_numbers(tmp_path):
    logits, targets = batch()
    kept, changed = LogitsFile.open(save(tmp_path / "a.npz", logits, targets)), logits.copy()
    changed[-1, -1] += 1
    again = LogitsFile.open(save(tmp_path / "b.npz", logits, targets))
    other = LogitsFile.open(save(tmp_path / "c.npz", changed, targets))
    assert kept.digest == again.digest
    assert kept.digest != other.digest


def _change(array, at, value):
    changed = array.copy()
    changed[at] = value
    return changed


LOGITS, TARGETS = batch()
SOFT = batch(soft=True)[1]
DEFECTS = [
    (LOGITS[0], TARGETS, "logits have shape (7,); expected (B, C)"),
    (LOGITS[None], TARGETS, "logits have shape (1, 50, 7); expected (B, C)"),
    (LOGITS[:, :0], TARGETS, "logits have shape (50, 0); expected (B, C) with at least one row and one class"),
    (LOGITS.astype(np.int32), TARGETS, "logits have dtype int32; expected one of float16, bfloat16, float32, float64"),
    (LOGITS, TARGETS[:-1], "targets have shape (49,); expected (50,) or (50, 7)"),
    (LOGITS, TARGETS.astype(np.float32), "targets (B,) have dtype float32; expected integers"),
    (LOGITS, SOFT.astype(np.int64), "targets (B, C) have dtype int64; expected probabilities"),
    (LOGITS, _change(TARGETS, 33, 7), "target 7 in row 33 is not a class; with 7 classes, expected 0 to 6"),
    (LOGITS, _change(TARGETS, 2, -100), "target -100 in row 2 is not a class"),
    (LOGITS, _change(SOFT, (41, 3), np.nan), "target probability nan in row 41, class 3; expected finite numbers"),
    (LOGITS, _change(SOFT, (0, 1), -0.5), "target probability -0.5 in row 0, class 1"),
]


@pytest.mark.parametrize(("logits", "targets", "message"), DEFECTS)
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_wrong_file_is_reported_in_one_line_with_its_path(tmp_path, monkeypatch, suffix, logits, targets, message):
    monkeypatch.setattr(_file, "PIECE", 20 * CLASSES)
    path = save(tmp_path / f"own{suffix}", logits, targets)
    with pytest.raises(UsageError) as caught:
        LogitsFile.open(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


TABLES = [
    ({"logits": [[1.0, 2.0], [3.0]], "targets": [0, 0]}, "logits has rows of 1 and of 2 entries; expected one width"),
    ({"logits": [[1.0, 2.0], None], "targets": [0, 0]}, "logits has missing rows"),
    ({"logits": [[1.0, 2.0], [3.0, None]], "targets": [0, 0]}, "logits has missing entries"),
    ({"logits": [[1.0], [2.0]], "targets": [0, None]}, "targets has missing rows"),
    ({"logits": [["a"], ["b"]], "targets": [0, 0]}, "logits have dtype object"),
    ({"logits": [1.0, 2.0], "targets": [0, 0]}, "logits have shape (2,)"),
    ({"x": [1.0], "targets": [0]}, "has no array 'logits'; it has 'x', 'targets', and needs logits and targets"),
]


@pytest.mark.parametrize(("columns", "message"), TABLES)
def test_a_wrong_table_is_reported(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "own.parquet")
    with pytest.raises(UsageError) as caught:
        LogitsFile.open(tmp_path / "own.parquet")
    assert str(caught.value).startswith(f"{tmp_path / 'own.parquet'}: {message}")


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_damaged_file_is_reported(tmp_path, suffix, share):
    path = save(tmp_path / f"own{suffix}", *batch(rows=500))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UsageError, match=f"own{suffix}: cannot be read as {suffix}"):
        LogitsFile.open(path)


@settings(max_examples=examples(40))
@given(data=st.data())
def test_a_changed_byte_gives_at_most_a_one_line_error(tmp_path_factory, data):
    suffix = data.draw(st.sampled_from([".npz", ".parquet", ".safetensors"]))
    path = save(tmp_path_factory.mktemp("bytes") / f"own{suffix}", *batch(rows=5))
    bytes_ = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(bytes_) - 1))
    bytes_[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes_)
    message = ""
    try:
        file = LogitsFile.open(path)
    except UsageError as error:
        message = str(error)
    assert "\n" not in message
    assert message or sum(p.rows for p in file.pieces()) == file.rows


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_nothing_is_ever_unpickled(tmp_path):
    fuse = tmp_path / "fuse"
    np.savez(tmp_path / "own.npz", logits=np.array([[_Bomb(str(fuse))]], object), targets=[0], allow_pickle=True)
    with pytest.raises(UsageError, match="logits holds Python objects, which LogitLab never unpickles"):
        LogitsFile.open(tmp_path / "own.npz")
    assert not fuse.exists()


def test_an_array_stored_by_columns_is_refused_with_the_remedy(tmp_path):
    np.savez(tmp_path / "own.npz", logits=np.asfortranarray(LOGITS), targets=TARGETS)
    with pytest.raises(UsageError, match=r"logits is stored column by column; save numpy.ascontiguousarray\(logits\)"):
        LogitsFile.open(tmp_path / "own.npz")


def test_a_truncated_member_is_reported(tmp_path):
    save(tmp_path / "whole.npz", *batch())
    with zipfile.ZipFile(tmp_path / "whole.npz") as whole, zipfile.ZipFile(tmp_path / "own.npz", "w") as short:
        for name in whole.namelist():
            short.writestr(name, whole.read(name)[:-1] if name.startswith("targets") else whole.read(name))
    with pytest.raises(UsageError, match="targets ends early, so the file is truncated; write the file again"):
        LogitsFile.open(tmp_path / "own.npz")


def test_a_path_without_a_file_of_logits_is_reported(tmp_path):
    (tmp_path / "own.csv").write_text("1,2\n")
    for name, message in {
        "nowhere.npz": "no such file",
        "own.csv": "give a file of logits that ends in .npz, .parquet, .s",
    }.items():
        with pytest.raises(UsageError, match=message):
            LogitsFile.open(tmp_path / name)


# --- runs -------------------------------------------------------------------------------------------------------

PLAN = {"frameworks": ["numpy"], "implementations": ["*/lse", "*/log1p"]}


PYTORCH = ["torch/F.cross_entropy[probabilities]", "torch/lse"]


@pytest.mark.parametrize(
    ("soft", "implementations"),
    [
        pytest.param(True, ["numpy/naive", "numpy/lse"], id="class probabilities"),
        pytest.param(True, PYTORCH, marks=pytest.mark.full, id="class probabilities, PyTorch"),
        pytest.param(False, PYTORCH, marks=pytest.mark.full, id="class indices, PyTorch"),
    ],
)
def test_results_do_not_depend_on_the_pieces_of_a_file(tmp_path, monkeypatch, soft, implementations):
    path = save(tmp_path / "own.npz", *batch(soft=soft))
    plan = {"implementations": implementations, "modes": "eager"}
    whole = runner.run(logits=path, **plan)
    monkeypatch.setattr(_file, "PIECE", 8 * CLASSES)
    pieces = runner.run(logits=str(path), **plan)
    keys = ["implementation", "quantity", "row"]
    tables = [t.drop(columns="run").sort_values(keys).reset_index(drop=True).astype(object) for t in (whole, pieces)]
    pd.testing.assert_frame_equal(*tables)
    assert set(whole["case"]) == {"file/own"}
    assert sorted(whole["row"].unique()) == list(range(ROWS))


def test_a_file_is_measured_in_its_own_dtype_and_in_the_requested_ones(tmp_path):
    logits, targets = batch()
    path = save(tmp_path / "own.npz", _change(logits, (0, 0), 1e5), targets)
    assert set(runner.run(logits=path, **PLAN)["dtype"]) == {"float32"}
    asked = runner.run(logits=path, dtypes=["float16", "bfloat16"], out=tmp_path / "run", **PLAN)
    assert set(asked["dtype"]) == {"bfloat16"}
    (left_out,) = Run(tmp_path / "run").manifest.left_out
    assert left_out == {"case": "file/own", "dtype": "float16", "why": "a finite logit would become infinite"}


def test_a_file_is_left_out_only_in_dtypes_that_were_requested_for_it(tmp_path):
    logits, targets = batch()
    path = save(tmp_path / "own.npz", _change(logits, (0, 0), 1e5), targets)

    def left_out(dtypes):
        facts = inputs.select_inputs("offset/1e30", [path], dtypes=dtypes).facts()
        return [(entry["case"], entry["dtype"]) for entry in facts["left_out"]]

    assert left_out(None) == [("offset/1e30", "float16")]
    assert left_out(("float16", "float32")) == [("offset/1e30", "float16"), ("file/own", "float16")]


def test_files_sweeps_and_cases_go_together(tmp_path):
    paths = [save(tmp_path / name, *batch("float16")) for name in ("a.npz", "b.safetensors")]
    df = runner.run(cases="seed/article", logits=paths, sweeps="gap=1,2", dtypes="float16", **PLAN)
    assert set(df["case"]) == {"seed/article", "file/a", "file/b", "sweep_gap/1", "sweep_gap/2"}


def test_two_files_with_one_name_are_refused(tmp_path):
    paths = [save(tmp_path / name, *batch()) for name in ("own.npz", "own.parquet")]
    with pytest.raises(UsageError, match="another file of this run has the same name; rename one of the files"):
        inputs.select_inputs(logits=paths)


class _InterruptedError(Exception):
    pass


def test_an_interrupted_run_over_a_file_resumes_to_the_same_table(tmp_path, monkeypatch):
    monkeypatch.setattr(_file, "PIECE", 8 * CLASSES)
    path = save(tmp_path / "own.npz", *batch())
    whole = runner.run(logits=path, **PLAN)

    def stop_half_way(done, total, label):
        if done * 2 > total:
            raise _InterruptedError

    with pytest.raises(_InterruptedError):
        runner.run(logits=path, out=tmp_path / "run", progress=stop_half_way, **PLAN)
    assert 0 < Run(tmp_path / "run").lines() < len(whole)
    seen = []
    resumed = runner.run(
        logits=path, out=tmp_path / "run", resume=True, progress=lambda *counts: seen.append(counts[:2]), **PLAN
    )
    pd.testing.assert_frame_equal(
        resumed.drop(columns="run").astype(object), whole.drop(columns="run").astype(object), check_dtype=False
    )
    assert seen[-1] == (2 * ROWS, 2 * ROWS)
    save(path, *batch(rows=51))
    with pytest.raises(UsageError, match="its files differ"):
        runner.run(logits=path, out=tmp_path / "run", resume=True, **PLAN)


PEAK = """
import resource, sys
from logitlab.cli import main
assert main(sys.argv[1:]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def _peak(folder, rows):
    """Return the peak MiB of the run and of its worker, over a file of float32 logits, 1,024 classes."""
    generator = np.random.Generator(np.random.Philox(2))
    # Few distinct numbers, so that the exact answers take little time.
    logits = generator.integers(-80, 80, size=(rows, 1024)).astype(np.float32) / 8
    save(folder / f"rows{rows}.safetensors", logits, generator.integers(1024, size=rows))
    command = ["run", "--logits", f"{folder}/rows{rows}.safetensors", "--implementation", "numpy/log1p"]
    command += ["--framework", "numpy", "--out", f"{folder}/run{rows}"]
    done = subprocess.run([sys.executable, "-c", PEAK, *command], capture_output=True, text=True, check=True)
    kib = done.stdout.splitlines()[-1].split()
    return [int(k) / 1024 for k in kib]


@pytest.mark.full
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Compares files of 48 and 8 MiB; in memory the larger and its exact answers would take 500 MiB more."""
    small, large = _peak(tmp_path, 2048), _peak(tmp_path, 12288)
    # A measured piece may wait for the garbage collector beside the next one: about 100 MiB.
    assert large[0] - small[0] < 200
    assert large[1] - small[1] < 60


# --- sweeps -----------------------------------------------------------------------------------------------------


def test_a_range_has_as_many_values_as_it_says_at_equal_ratios():
    cases = sweep("scale=0.1:1e4:6log")
    assert [c.id for c in cases] == [f"sweep_scale/{v:g}" for v in (0.1, 1, 10, 100, 1000, 10000)]
    assert [float(c.name) for c in sweep("offset=-2:2:5")] == [-2, -1, 0, 1, 2]


def test_values_and_ranges_join_without_duplicates():
    assert [c.classes for c in sweep("classes=10,2:4:3,3")] == [2, 3, 4, 10]


@given(st.floats(1e-3, 1e4), st.floats(-1e4, 1e4), st.floats(0, 1e3))
@settings(max_examples=examples(25))
def test_only_the_axis_changes_along_a_sweep(scale, offset, gap):
    (unit,) = sweep("scale=1")
    (scaled,), (moved,), (apart,) = sweep(f"scale={scale!r}"), sweep(f"offset={offset!r}"), sweep(f"gap={gap!r}")
    np.testing.assert_array_equal(scaled.logits, float(scaled.name) * unit.logits)
    np.testing.assert_array_equal(moved.logits, unit.logits + float(moved.name))
    ordered = np.sort(apart.logits, axis=1)
    np.testing.assert_allclose(ordered[:, -1] - ordered[:, -2], float(apart.name), atol=1e-12)
    np.testing.assert_array_equal(ordered[:, :-1], np.sort(unit.logits, axis=1)[:, :-1])


def test_half_of_the_targets_are_the_largest_logit():
    (case,) = sweep("scale=3")
    top = case.logits.argmax(axis=1) == case.targets
    assert top[: case.rows // 2].all()
    assert not top[case.rows // 2 :].all()


@pytest.mark.parametrize(
    "axis", ["softcap", *(pytest.param(name, marks=pytest.mark.full) for name in ("logit_scale", "z_loss"))]
)
def test_an_axis_of_an_option_sets_it_on_the_same_logits(axis):
    (unit,) = sweep("scale=10")
    cases = sweep(f"{axis}=0.5,30")
    assert [case.set_options for case in cases] == [{axis: 0.5}, {axis: 30.0}]
    for case in cases:
        np.testing.assert_array_equal(case.logits, unit.logits)
        assert axis.replace("_", " ").replace("z loss", "z-loss") in case.why
    df = runner.run(sweeps=f"{axis}=0.5,30", implementations=["numpy/log1p", "numpy/scipy.special.log_softmax"])
    status = df.groupby("implementation", observed=True)["status"].unique()
    assert list(status["numpy/log1p"]) == ["ok"]
    assert list(status["numpy/scipy.special.log_softmax"]) == ["unsupported"]
    assert set(df.loc[df["implementation"] == "numpy/log1p", "grade"]) == {"A"}


def test_an_option_of_0_is_out_of_the_range_of_its_axis():
    with pytest.raises(UsageError, match="softcap goes from"):
        sweep("softcap=0")


def test_a_run_without_a_choice_has_the_catalogue_and_sweeps_along_every_axis():
    chosen = inputs.select_inputs()
    swept = [c for c in chosen.cases if c.family.startswith("sweep_")]
    assert [c for c in chosen.cases if c not in swept] == list(all_cases())
    points = {axis: sum(c.family == f"sweep_{axis}" for c in swept) for axis in ("offset", "scale", "gap", "classes")}
    assert sum(points.values()) == len(swept)
    assert all(9 <= count <= 13 for count in points.values()), points
    assert sum(c.rows for c in swept) < 200
    assert [c["case"] for c in chosen.facts()["left_out"] if c["case"].startswith("sweep_")] == []


def test_default_sweeps_are_measured_in_two_dtypes_and_at_widths_that_the_catalogue_has():
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        held = [c for c in inputs.select_inputs(dtypes=(dtype,)).cases if dtype in c.dtypes and c.plain]
        swept = {c.id for c in held if c.family.startswith("sweep_")}
        assert bool(swept) == (dtype in ("bfloat16", "float32"))
        widths = {c.classes for c in held if c.id not in swept}
        assert {c.classes for c in held if c.id in swept} <= widths


@pytest.mark.parametrize(
    "named", [{"cases": "seed/*"}, {"cases": "*"}, {"sweeps": ["gap=7"]}, {"cases": "seed/*", "sweeps": ["gap=7"]}]
)
def test_a_run_of_named_inputs_has_no_default_sweeps(named):
    chosen = inputs.select_inputs(**named)
    assert {c.id for c in chosen.cases if c.family.startswith("sweep_")} <= {"sweep_gap/7"}
    assert all(c.measured_in is None for c in chosen.cases)


def test_a_default_sweep_has_the_first_rows_of_the_sweep_of_its_name():
    """Reports of a default run and of a sweep show the same logits for their common rows."""
    for case in (c for c in inputs.select_inputs().cases if c.family.startswith("sweep_")):
        whole = inputs.find_case(case.id)
        assert whole.rows >= case.rows
        np.testing.assert_array_equal(case.logits, whole.logits[: case.rows])
        np.testing.assert_array_equal(case.targets, whole.targets[: case.rows])
        assert whole.why == case.why.replace(f"{case.rows} rows", f"{whole.rows} rows")


@pytest.mark.parametrize("name", ["sweep_offset/1e3", "sweep_offset/", "sweep_width/1", "sweep_gap/1,2", "sweep_gap"])
def test_a_name_that_no_sweep_gives_finds_no_case(name):
    with pytest.raises(UsageError, match="no case is named"):
        inputs.find_case(name)


def test_a_sweep_is_the_same_every_time():
    first, second = sweep("classes=1000"), sweep("classes=1000")
    np.testing.assert_array_equal(first[0].logits, second[0].logits)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("scale", "unknown axis 'scale'; choose one of scale, offset"),
        ("width=1", "unknown axis 'width'; choose one of scale, offset, gap, classes, softcap"),
        ("scale=", "'' is neither a number nor a range"),
        ("scale=1:2", "'1:2' is neither a number nor a range"),
        ("scale=1:2:x", "'1:2:x' is neither a number nor a range"),
        ("scale=1:2:0", "--sweep 'scale=1:2:0' has no value"),
        ("scale=0:1:5log", "a range with log includes 0; give two limits of the same sign"),
        ("scale=-1", "-1 is out of range; give a value within it: scale goes from 0 to"),
        ("gap=nan", "nan is out of range"),
        ("offset=inf", "inf is out of range"),
        ("classes=0", "0 is out of range; give a value within it: classes goes from 1 to"),
    ],
)
def test_an_invalid_sweep_is_reported_in_one_line(spec, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--sweep", spec]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_error_of_lse_grows_along_the_offset():
    """The article's lse rounds the maximum that it adds back: its error in ulp of the loss grows with the offset."""
    df = runner.run(sweeps="offset=0,10000", implementations="numpy/lse", frameworks="numpy", dtypes="float32")
    worst = df[df["quantity"] == "loss"].groupby("case", observed=True)["max_ulp"].max()
    assert worst["sweep_offset/10000"] > 100 * worst["sweep_offset/0"]
