"""The programs that a run keeps show what failed, and reports show them."""

import numpy as np
import pandas as pd
import pytest
from test_reproduce import assert_as_in_the_table, numbers, printed

from logitlab import reports, runner
from logitlab.cases import make
from logitlab.cases.inputs import write_cases
from logitlab.core.vocabulary import FAILING, grade_rank
from logitlab.storage.schema import ProgramLine
from logitlab.storage.store import Run
from logitlab.storage.verification import verify

CASES = [
    "seed/article", "seed/article_mean", "masks/on_target", "smoothing/gap_100", "layout/spatial", "overflow/*",
    "linear_ignored/nan_row_mean", "special/nan", "underflow/float32_subnormal_at",
]  # fmt: skip
PAIR = ["case", "implementation"]


def measured(folder, **asked):
    runner.run(out=folder, modes="eager", **asked)
    return Run(folder)


SOME = ["numpy/naive*", "numpy/log1p*", "numpy/scipy.special.softmax"]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param({"implementations": SOME}, id="numpy"),
        *(
            pytest.param({"frameworks": name}, id=f"all of {name}", marks=pytest.mark.full)
            for name in ("numpy", "torch")
        ),
    ],
)
def run(tmp_path_factory, request):
    from in_process import calls_in_this_process

    with calls_in_this_process():
        return measured(
            tmp_path_factory.mktemp("kept") / "run", cases=CASES, dtypes=["float32", "bfloat16"], **request.param
        )


def of_program(df, line):
    """Return the measurement that a program shows, as a table."""
    return df[
        (df["case"] == line.case) & (df["implementation"] == line.implementation) & (df["dtype"] == line.dtype)
        & (df["quantity"] == line.quantity) & (df["row"] == line.row) & (df["mode"] == line.mode)
    ]  # fmt: skip


def assert_programs_show(run, exactly=True):
    df, kept = run.read(), run.programs()
    for line, text in zip(kept.itertuples(index=False), printed(list(kept["program"])), strict=True):
        rows = of_program(df, line)
        assert len(rows) == 1
        assert rows["grade"].iloc[0] == line.grade
        key = (line.case, line.implementation, line.dtype, line.mode, line.quantity)
        if exactly:
            assert_as_in_the_table(key, rows, line.program, text)
            continue
        # Alone, a row may have other bits than beside others; the failure is the same.
        value = numbers(text, line.quantity)
        assert value is not None, f"{line.program}\n{text}"
        if line.quantity == "loss":
            assert np.isnan(value).any() == np.isnan(rows["value"].iloc[0]), f"{line.program}\n{text}"


def test_each_failing_implementation_has_a_program_that_prints_what_was_measured(run):
    df, kept = run.read(), run.programs()
    failing = df[df["grade"].isin(FAILING)]
    assert set(map(tuple, kept[PAIR].to_numpy())) == set(map(tuple, failing[PAIR].drop_duplicates().to_numpy()))
    assert not kept["program"].str.contains("logitlab").any()
    assert {"loss", "gradient"} <= set(kept["quantity"])
    assert_programs_show(run)


def test_the_first_program_is_of_float32_and_each_further_one_shows_a_worse_grade(run):
    kept = run.programs()
    order = kept.sort_values("dtype", key=lambda dtypes: dtypes != "float32", kind="stable")
    for _, programs in order.groupby(PAIR):
        ranks = [grade_rank(grade) for grade in programs["grade"]]
        assert ranks == sorted(set(ranks))
    assert set(kept.loc[kept["case"] == "seed/article", "dtype"]) == {"float32"}


def test_a_row_stands_alone_with_a_remark_on_the_run(run):
    kept = run.programs().set_index(PAIR)
    naive = next(name for _, name in kept.index if name.endswith("/naive"))
    program = kept.loc[("seed/article", naive), "program"]
    assert program.splitlines()[:3] == [
        f"# seed/article, row 1: {naive} in float32, eager, on cpu",
        "# The loss is graded F, not finite (overflow).",
        "# In the run, beside other rows, the loss was [inf].",
    ]
    assert "([[1000.0, 1.0, -1000.0]], " in program


def test_long_logits_and_pieces_of_files_have_no_program(tmp_path, in_this_process):
    drawn = np.random.default_rng(1).normal(0, 500, (4, 1500))
    write_cases(tmp_path / "mine.json", [make("mine/long", "Long rows.", drawn, [0, 1, 2, 3])])
    run = measured(tmp_path / "long", case_files=tmp_path / "mine.json", implementations="numpy/naive")
    assert (run.read()["grade"] == "F").any()
    assert run.programs().empty
    np.savez(tmp_path / "mine.npz", logits=np.array([[1000.0, 0.0]]), targets=np.array([1]))
    run = measured(tmp_path / "file", logits=tmp_path / "mine.npz", implementations="numpy/naive")
    assert (run.read()["grade"] == "F").any()
    assert run.programs().empty
    assert not (run.folder / "programs").exists()


def test_a_resumed_run_and_a_packed_run_keep_them(run, tmp_path, in_this_process):
    asked = {"cases": "seed/article", "implementations": ["numpy/naive", "numpy/lse"], "dtypes": "float32"}
    whole = measured(tmp_path / "whole", **asked)
    expected = whole.programs()
    assert len(expected) == 1
    (part,) = [path for path in whole.parts() if "numpy/naive" in set(pd.read_parquet(path)["implementation"])]
    part.write_bytes(b"PAR1")
    with pytest.warns(UserWarning, match="is damaged"):
        measured(tmp_path / "whole", resume=True, **asked)
    pd.testing.assert_frame_equal(Run(whole.folder).programs(), expected)
    assert verify(whole.folder).sound
    packed = Run(whole.folder).pack(tmp_path / "packed")
    pd.testing.assert_frame_equal(packed.programs(), expected)


def test_a_damaged_file_of_programs_is_found_and_the_report_says_so(tmp_path, in_this_process):
    run = measured(tmp_path / "run", cases="seed/article", implementations="numpy/naive", dtypes="float32")
    (path,) = (run.folder / "programs").iterdir()
    path.write_bytes(b"PAR1")
    found = verify(run.folder)
    assert not found.sound
    assert [f.subject for f in found.findings if f.state.name == "BROKEN"] == [f"programs/{path.name}"]
    assert "programs in the report are incomplete" in next(
        f.message for f in found.findings if "programs/" in f.subject
    )
    report = reports.write(run, ["markdown"], tmp_path / "report")[0].read_text()
    assert f"{path} is damaged" in report
    assert "numpy/naive" in report


def test_pages_show_the_program_and_the_command_where_there_is_none(tmp_path):
    from test_site import Parsed, kept, line, site_of

    failing = [line(grade="F", value=np.inf, case=case) for case in ("f/a", "f/b")]
    described = [
        {"case": case, "family": "f", "why": "w", "rows": 1, "classes": 2, "row": 0, "shown": [], "logits": []}
        for case in ("f/a", "f/b")
    ]
    run = kept(tmp_path / "run", *failing, cases=described)
    hostile = "print('</pre><script>alert(1)</script>')\n"
    run.write(0, run.read(), [ProgramLine("f/a", "x/loss", "float32", "cpu", "eager", 0, "loss", "F", hostile)])
    site = site_of(run, tmp_path / "site")
    page, without = ((site / "cases" / f"{name}.html") for name in ("f-a", "f-b"))
    assert "<script>alert" not in page.read_text()
    assert hostile.strip() in Parsed(page).words
    assert "logitlab reproduce" not in Parsed(page).words
    assert "logitlab reproduce f/b --implementation x/loss --dtype float32 --row 0" in Parsed(without).words
    assert hostile.strip() in Parsed(next((site / "implementations").iterdir())).words


@pytest.mark.full
@pytest.mark.parametrize("framework", ["jax", "tensorflow", "keras-jax", "keras-torch", "onnxruntime", "mlx"])
def test_the_programs_of_every_framework_show_the_failure(tmp_path, framework):
    run = measured(tmp_path / "run", cases=CASES, frameworks=framework, dtypes=["float32", "bfloat16"])
    assert framework == "onnxruntime" or len(run.programs()) > 5
    assert_programs_show(run, exactly=False)
