"""The runner: the table, isolation, faults, resuming, and the ways to start it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import calls_in_this_process

from logitlab import reports, runner
from logitlab.cases import select_cases
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.execution.plan import _grouping, groups, owners
from logitlab.execution.pool import Pools
from logitlab.storage.store import COLUMNS, Run, typed

pytestmark = pytest.mark.usefixtures("in_this_process")

FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")
ROOT = Path(__file__).parent.parent


CASES = ["seed/article", "seed/article_mean", "seed/article_sum", "seed/mild_mean", "masks/first", "special/nan"]
ALL_LOSSES = ["numpy/*", "torch/l*", "torch/n*", "torch/F.*", "tensorflow/*", "jax/naive", "jax/lse"]
FEW_LOSSES = ["numpy/naive", "numpy/lse", "numpy/scipy.*p", "torch/naive", "torch/lse", "torch/F.cross_entropy"]


@pytest.fixture(scope="module", params=["two frameworks", pytest.param("four frameworks", marks=pytest.mark.full)])
def tables(request, tmp_path_factory):
    """Return tables of `CASES` in all dtypes."""
    if request.param == "four frameworks":
        out = tmp_path_factory.mktemp("runs") / "run"
        return [runner.run(cases=CASES, frameworks=FRAMEWORKS, implementations=ALL_LOSSES, modes="eager", out=out)]
    with calls_in_this_process():
        return [runner.run(cases=CASES, implementations=FEW_LOSSES, modes="eager")]


@pytest.fixture(scope="module")
def everywhere(tables):
    return typed(pd.concat([table.astype(object) for table in tables], ignore_index=True))


def rows_of(df, **wanted):
    for column, value in wanted.items():
        df = df[df[column] == value]
    return df


def test_every_framework_gives_the_same_columns(tables, everywhere):
    for table in tables:
        assert list(table.columns) == list(COLUMNS)
        assert {name: str(kind) for name, kind in table.dtypes.items()} == COLUMNS
    assert set(everywhere["framework"]) in ({"numpy", "torch"}, set(FRAMEWORKS))
    assert set(everywhere["dtype"]) == set(FORMATS)
    assert set(everywhere["mode"]) == {"eager"}


def test_no_call_failed(everywhere):
    own_words = everywhere["detail"].fillna("").str.contains("autocast makes logits of|Input contains NaN")
    failed = everywhere[(everywhere["status"] != "ok") & ~own_words]
    assert failed.empty, failed[["implementation", "dtype", "case", "status", "detail"]].drop_duplicates().to_string()


def test_each_cell_has_each_case_row_once(everywhere):
    keys = ["case", "row", "implementation", "dtype", "device", "mode", "quantity"]
    assert not everywhere.duplicated(keys).any()
    cells = everywhere.groupby(["implementation", "dtype", "device", "mode"], observed=True)
    losses = cells["quantity"].apply(lambda q: (q == "loss").sum())
    # article 3, its mean and sum 1 each, mild mean 1, the mask 2, the NaN 1.
    assert set(losses) == {9}


def test_the_article_breaks_naive_and_not_lse(everywhere):
    article, mean = {"case": "seed/article", "quantity": "loss"}, {"case": "seed/article_mean", "quantity": "loss"}
    for framework in set(everywhere["framework"]):
        batch = rows_of(everywhere, framework=framework, dtype="float32", mode="eager")
        naive = rows_of(batch, implementation=f"{framework}/naive")
        lse = rows_of(batch, implementation=f"{framework}/lse")
        assert rows_of(naive, **article)["value"].to_list() == pytest.approx([0.4170, np.inf, 1.4076], abs=1e-4)
        assert rows_of(lse, **article)["value"].to_list() == pytest.approx([0.4170, 2000.0, 1.4076], abs=1e-4)
        assert rows_of(naive, **mean)["value"].to_list() == [np.inf]
        assert rows_of(lse, **mean)["value"].to_list() == pytest.approx([667.2749], abs=1e-4)
        gradients = rows_of(naive, case="seed/article", quantity="gradient")
        assert gradients["n_nan"].to_list() == [0, 3, 0]
        assert rows_of(lse, case="seed/article", quantity="gradient")["finite"].all()
        assert rows_of(naive, case="seed/article", quantity="probabilities")["n_nan"].to_list() == [0, 1, 0]


def test_a_failing_row_names_the_stage_where_it_first_failed(everywhere):
    for framework in set(everywhere["framework"]):
        batch = rows_of(everywhere, framework=framework, dtype="float32", mode="eager", case="seed/article")
        naive = rows_of(batch, implementation=f"{framework}/naive")
        for quantity in ("probabilities", "loss", "gradient"):
            first = rows_of(naive, quantity=quantity)["first_failure"].astype(object)
            assert first.fillna("none").to_list() == ["none", "exp", "none"], (framework, quantity)
        assert rows_of(batch, implementation=f"{framework}/lse")["first_failure"].isna().all()


def test_a_failure_is_named_where_there_is_one_and_nowhere_else(everywhere):
    failed = everywhere["verdict"].notna() & ~everywhere["verdict"].isin(["correct", "undefined"])
    assert (everywhere["first_failure"].notna() == failed).all()
    inside_unseen = everywhere[failed & (everywhere["formula"] == "builtin")]
    assert (inside_unseen["first_failure"].astype(object) == inside_unseen["quantity"].astype(object)).all()


def test_the_analysis_is_given_where_it_applies(everywhere):
    graded = everywhere[everywhere["grade"].notna() & (everywhere["case"] == "seed/article")]
    losses, gradients = rows_of(graded, quantity="loss"), rows_of(graded, quantity="gradient")
    assert losses["bound_shifted"].notna().all()
    assert losses["stability_ratio"].notna().all()
    assert gradients["bound_shifted"].isna().all()
    sound = losses[losses["formula"].isin(["lse", "log1p"])]
    assert (sound["max_abs"] <= sound["bound_shifted"]).all()
    # exp(1000) has no unshifted bound below float64; the other rows do not overflow.
    single = rows_of(losses, dtype="float32")
    assert (single["bound_unshifted"].notna() == (single["row"] != 1)).all()


def test_a_reduced_loss_is_row_minus_one_and_its_gradient_has_rows(everywhere):
    mean = rows_of(everywhere, case="seed/article_mean", implementation="torch/lse", dtype="float64")
    assert rows_of(mean, quantity="loss")["row"].to_list() == [-1]
    assert rows_of(mean, quantity="gradient")["row"].to_list() == [0, 1, 2]


@pytest.mark.parametrize(
    "asked", [("numpy",), pytest.param(("numpy", "torch", "jax"), marks=pytest.mark.full)], ids=len
)
def test_a_worker_imports_only_its_own_framework(tmp_path, asked):
    """The workers of ONNX Runtime, and of PyTorch with Keras, are tested with their losses."""
    modules = {"torch": "torch", "jax": "jaxlib", "tensorflow": "tensorflow", "pandas": "pandas", "flint": "flint"}
    # Leave out TensorFlow, which imports JAX or pandas if they are installed.
    with Pools(asked, tmp_path) as pools:
        pools.describe()
        question = "sorted({m.split('.')[0] for m in __import__('sys').modules})"
        futures = {name: pools.worker(name).schedule(eval, args=[question]) for name in asked}
        loaded = {name: set(future.result()) for name, future in futures.items()}
    for name, found in loaded.items():
        others = {module for owner, module in modules.items() if owner != name}
        assert not (found & others), f"the {name} worker loaded {found & others}"


def test_a_case_that_a_dtype_cannot_hold_is_left_out_and_named_in_the_manifest(tmp_path):
    dtypes = ["float16", "float32"]
    df = runner.run(cases="offset/1e30", implementations="numpy/lse", dtypes=dtypes, out=tmp_path / "run")
    assert set(df["dtype"]) == {"float32"}
    left_out = Run(tmp_path / "run").manifest.left_out
    assert [(e["case"], e["dtype"]) for e in left_out] == [("offset/1e30", "float16")]


def test_the_manifest_records_what_decides_a_result(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    runner.run(cases="seed/article", implementations="numpy/lse", dtypes="float32", out=tmp_path / "run")
    manifest = Run(tmp_path / "run").manifest
    assert manifest.complete is True
    assert manifest.environment["OMP_NUM_THREADS"] == "1"
    assert manifest.frameworks["numpy"]["numpy"] == np.__version__
    assert manifest.catalogue["cases"] == ["seed/article"]
    assert manifest.hardware["cores"] >= 1


@pytest.mark.parametrize(
    "losses",
    [
        ["numpy/l*", "numpy/naive"],
        "torch/F.cross_entropy",
        pytest.param(["torch/l*", "torch/n*", "torch/F.*"], marks=pytest.mark.full),
    ],
)
def test_batched_and_one_by_one_tables_are_bitwise_equal(losses, monkeypatch):
    """Batching changes no bit: a row's result does not depend on its neighbours."""
    patterns = ["seed/*", "overflow/float32_*", "masks/*", "special/n*", "gap/1?_*", "ties/??", "certainty/m*"]
    request = {"cases": patterns, "implementations": losses, "dtypes": "float32", "modes": "eager"}

    def table():
        return runner.run(**request).drop(columns="run")

    together = table()
    monkeypatch.setattr(_grouping, "MAX_LOGITS", 1)
    assert all(len(g.cases) == 1 for g in groups(select_cases(patterns), FORMATS["float32"]))
    alone = table()
    assert together["bits"].nunique() > 20
    pd.testing.assert_frame_equal(together, alone, check_exact=True)


def test_rows_of_one_width_share_a_call():
    made = groups(select_cases(), FORMATS["float32"])
    widths = [g.logits.shape[1] for g in made if g.cases[0].plain]
    assert len(widths) == len(set(widths))
    assert sum(len(g.cases) for g in made) == sum("float32" in c.dtypes for c in select_cases())


class _InterruptedError(Exception):
    pass


def test_an_interrupted_run_resumes_to_the_same_table(tmp_path):
    plan = {"cases": ["seed/*", "gap/5_*"], "implementations": "numpy/l*", "dtypes": ["float16", "float32"]}
    whole = runner.run(**plan, out=tmp_path / "whole")

    def stop_half_way(done, total, label):
        if done * 2 > total:
            raise _InterruptedError

    with pytest.raises(_InterruptedError):
        runner.run(**plan, out=tmp_path / "broken", progress=stop_half_way)
    kept = Run(tmp_path / "broken")
    assert kept.manifest.complete is False
    assert 0 < len(kept.read()) < len(whole)
    resumed = runner.run(**plan, out=tmp_path / "broken", resume=True)
    pd.testing.assert_frame_equal(resumed.drop(columns="run"), whole.drop(columns="run"))


def test_a_run_is_not_resumed_with_another_plan(tmp_path):
    runner.run(cases="gap/5_low", implementations="numpy/lse", dtypes=["float32"], out=tmp_path / "run")
    with pytest.raises(UsageError, match=r"cannot resume .*catalogue"):
        runner.run(
            cases="gap/5_high", implementations="numpy/lse", dtypes=["float32"], out=tmp_path / "run", resume=True
        )
    with pytest.raises(UsageError, match="already holds a run"):
        runner.run(cases="gap/5_low", implementations="numpy/lse", dtypes=["float32"], out=tmp_path / "run")


@pytest.mark.parametrize(
    "entry",
    [
        ["runner.py"],
        # Other tests start a run these two ways too: test_kills.py, and two processes below.
        pytest.param(["-m", "logitlab", "run"], marks=pytest.mark.full),
        pytest.param(["-c", "from logitlab.cli import main; raise SystemExit(main())", "run"], marks=pytest.mark.full),
    ],
    ids=["python runner.py", "python -m logitlab run", "logitlab run"],
)
def test_three_ways_to_start_give_one_table(tmp_path, entry):
    options = ["--case=seed/article", "--implementation=numpy/lse", "--dtype=float32", f"--out={tmp_path / 'run'}"]
    done = subprocess.run([sys.executable, *entry, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    df = Run(tmp_path / "run").read()
    assert rows_of(df, implementation="numpy/lse", quantity="loss")["value"].to_list() == pytest.approx(
        [0.4170, 2000.0, 1.4076], abs=1e-4
    )


def test_a_script_without_a_main_guard_runs_once(tmp_path):
    """Spawned workers import the main module again, unless LogitLab prevents it."""
    script = tmp_path / "script.py"
    script.write_text(
        "import logitlab\n"
        "df = logitlab.run(cases='seed/article', implementations='numpy/lse', dtypes='float32')\n"
        "print('rows', len(df))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "rows 6\n"


@pytest.mark.parametrize(
    ("globs", "found"),
    [
        (None, FRAMEWORKS),
        (["torch/*"], ("torch",)),
        (["torch/F.cross_entropy[probabilities]", "jax/lse"], ("torch", "jax")),
        (["*/lse"], FRAMEWORKS),
        (["*log_softmax*"], FRAMEWORKS),
        (["nowhere/lse"], FRAMEWORKS),
    ],
)
def test_only_frameworks_that_a_glob_may_match_are_imported(globs, found):
    assert owners(FRAMEWORKS, globs) == found


def test_a_call_holds_a_limited_number_of_logits(monkeypatch):
    monkeypatch.setattr(_grouping, "MAX_LOGITS", 3000)
    made = [g for g in groups(select_cases(["random/*"]), FORMATS["float32"]) if g.plain]
    assert all(g.logits.size <= 3000 or len(g.cases) == 1 for g in made)
    assert sorted(c.id for g in made for c in g.cases) == sorted(c.id for c in select_cases(["random/*"]))
    assert len(made) > len({g.logits.shape[1] for g in made})


SMALL = {"cases": "seed/article", "implementations": "numpy/lse", "dtypes": "float32"}


def test_runs_started_in_the_same_second_have_different_names():
    names = [runner.run(**SMALL)["run"].iloc[0] for _ in range(2)]
    assert len({*names, *(runner.run_name() for _ in range(1000))}) == 1002


@pytest.mark.full
def test_two_processes_that_start_in_the_same_second_run_beside_each_other(tmp_path):
    """The clock is stopped, so that both start in the same second on any machine."""
    program = (
        "import datetime, logitlab.runner as runner\n"
        "class Still(datetime.datetime):\n"
        "    now = classmethod(lambda cls, tz=None: cls(2026, 1, 2, 3, 4, 5, tzinfo=tz))\n"
        "runner.datetime = Still\n"
        "from logitlab.cli import main\n"
        "raise SystemExit(main('run --case seed/article --implementation numpy/lse --dtype float32'.split()))\n"
    )
    command = [sys.executable, "-c", program]
    both = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    stderr = [p.communicate()[1] for p in both]
    assert [p.returncode for p in both] == [0, 0], stderr
    folders = sorted((tmp_path / "runs").iterdir())
    assert len(folders) == 2
    assert all(folder.name.startswith("2026-01-02T03-04-05Z-") for folder in folders)
    for folder in folders:
        assert Run(folder).manifest.run == folder.name
        assert set(Run(folder).read()["run"]) == {folder.name}


def test_a_run_has_the_name_of_its_folder(tmp_path):
    df = runner.run(**SMALL, out=tmp_path / "größer 1")
    assert set(df["run"]) == {Run(tmp_path / "größer 1").manifest.run} == {"größer 1"}


def test_a_run_in_the_working_folder_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert set(runner.run(**SMALL, out=".")["run"]) == {tmp_path.name}


def test_runs_of_one_name_in_two_folders_are_one_report(tmp_path, capsys):
    folders = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    for folder, dtype in zip(folders, ["float32", "float64"], strict=True):
        runner.run(**SMALL | {"dtypes": dtype}, out=folder)
    assert main(["report", *map(str, folders)]) == 0
    found = reports.make_report([Run(f) for f in folders]).source.frame(["dtype"])
    assert set(found["dtype"]) == {"float32", "float64"}
    assert main(["report", str(folders[0]), str(tmp_path / "a" / ".." / "a" / "run")]) == 2
    assert "run is given twice; give each run once" in capsys.readouterr().err


def test_a_run_of_cases_without_rows_completes_and_reports_that_nothing_was_measured(tmp_path, capsys):
    """The report was a ZeroDivisionError in the progress line."""
    options = ["--implementation", "numpy/lse", "--dtype", "float32", "--out", str(tmp_path / "run")]
    assert main(["run", "--case", "reductions/empty_none", *options]) == 1
    expected = "nothing was measured: the chosen cases have no rows; choose other cases from `logitlab cases`\n"
    assert capsys.readouterr().err == expected
    assert Run(tmp_path / "run").manifest.complete


def test_a_run_whose_calls_all_fail_is_not_a_success(tmp_path, capsys):
    # LogitLab's own formulas take no class weights.
    options = ["--implementation", "numpy/lse", "--dtype", "float32", "--out", str(tmp_path / "run")]
    assert main(["run", "--case", "weights/*", *options]) == 1
    assert "nothing was measured: no call returned a result; read the messages with `" in capsys.readouterr().err


def test_a_dtype_that_holds_no_chosen_case_is_reported_before_anything_is_measured(tmp_path):
    with pytest.raises(UsageError, match="no chosen case can be measured in float16 and mode eager: a finite number"):
        runner.run(cases="offset/1e30", frameworks="numpy", dtypes="float16", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
