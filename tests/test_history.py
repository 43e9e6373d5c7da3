"""Results over versions: their order, the version of each change, every format, and what the committed runs show."""

import json
from fnmatch import fnmatch
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from measured_line import line

import logitlab
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.storage.manifest import Manifest
from logitlab.storage.store import COLUMNS, Run, typed
from logitlab.storage.verification import verify
from logitlab.studies import history as over_versions
from logitlab.studies.history._text import text
from logitlab.studies.history._versions import Governing, governing, in_order, labels

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "measured" / "history"
VERSIONS = ("1.2", "1.9", "1.10", "2.0rc1", "2.0")


GOOD = line()
BAD = {"grade": "C", "verdict": "inaccurate", "max_ulp": 4096.0, "bits": 8}
NOT_FINITE = {"grade": "F", "verdict": "nan", "finite": False, "max_ulp": np.inf, "bits": 1}
RAISED = {
    "status": "raised", "detail": "E: no", "grade": None, "verdict": None, "max_ulp": np.nan, "bits": None,
    "finite": None, "expected_finite": None, "value": None,
}  # fmt: skip


def kept(folder, version, *lines, complete=True, **facts):
    """Write a run of one version of the package x."""
    table = typed(pd.DataFrame(list(lines or [GOOD]), columns=list(COLUMNS)))
    manifest = Manifest(**{"frameworks": {"x": {"x": version}}, "run": folder.name} | facts)
    with Run.create(folder, manifest) as run:
        run.write(0, table)
        if complete:
            run.finish()
    return folder


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """Five versions: the third is worse, the fourth raises, and the fifth is as good as the first."""
    folder = tmp_path_factory.mktemp("five")
    worse = {"1.10": BAD, "2.0rc1": RAISED}
    for version in VERSIONS:
        kept(folder / f"x-{version}", version, GOOD | worse.get(version, {}), line(row=1))
    return folder


@pytest.fixture(scope="module")
def whole(five):
    return logitlab.history(five)


def test_the_order_is_that_of_versions_and_not_of_names(whole):
    found = whole
    assert list(found.points["version"]) == [f"x {v}" for v in VERSIONS]
    assert [run.name for run in found.runs] == sorted(f"x-{v}" for v in VERSIONS)


@pytest.mark.parametrize("order", [pytest.param((4, 3, 2, 1, 0), marks=pytest.mark.full), (2, 0, 4, 1, 3)], ids=str)
def test_the_order_of_the_arguments_does_not_matter(five, whole, order):
    found = logitlab.history([five / f"x-{VERSIONS[i]}" for i in order])
    pd.testing.assert_frame_equal(found.points, whole.points)
    pd.testing.assert_frame_equal(found.steps, whole.steps)


@pytest.mark.parametrize("number", [2, *(pytest.param(n, marks=pytest.mark.full) for n in (1, 4))])
def test_a_further_version_is_a_line_that_is_added(five, whole, number):
    first = logitlab.history([five / f"x-{v}" for v in VERSIONS[:number]])
    pd.testing.assert_frame_equal(first.points, whole.points.head(number), check_dtype=False)


def test_the_version_of_each_change_is_named_with_its_case_and_size(whole):
    steps = whole.steps
    columns = ["previous", "version", "change", "case", "row", "before", "after"]
    assert steps[columns].to_numpy().tolist() == [
        ["x 1.9", "x 1.10", "grade lost", "f/a", 0, "A 0.5 ulp", "C 4.1e+03 ulp"],
        ["x 1.10", "x 2.0rc1", "status changed", "f/a", 0, "C 4.1e+03 ulp", "raised"],
        ["x 2.0rc1", "x 2.0", "status changed", "f/a", 0, "raised", "A 0.5 ulp"],
    ]
    assert steps["factor"].iloc[0] == 8192
    assert steps["regressions"].tolist() == [1, 1, 0]
    assert steps["improvements"].tolist() == [0, 0, 1]
    assert steps["detail"].iloc[1] == "E: no"


def test_a_step_has_the_changes_that_compare_reports(five, whole):
    for before, after in [VERSIONS[1:3], VERSIONS[3:]]:
        alone = logitlab.compare(five / f"x-{before}", five / f"x-{after}").changes
        ours = whole.changes[whole.changes["version"] == f"x {after}"].reset_index(drop=True)
        pd.testing.assert_frame_equal(ours[list(alone.columns)], alone, check_dtype=False)


def test_points_have_the_largest_finite_error_the_median_and_the_share_of_finite_rows(tmp_path):
    ulps = {0: 0.25, 1: 3.0, 2: 80.0, 3: None}
    rows = [line(row=row, **(NOT_FINITE if ulp is None else {"max_ulp": ulp})) for row, ulp in ulps.items()]
    point = logitlab.history(kept(tmp_path / "a", "1", *rows)).points.iloc[0]
    assert (point["grade"], point["largest_ulp"], point["median_ulp"], point["finite"]) == ("F", 80.0, 3.0, 0.75)
    assert (point["rows"], point["graded"], point["failed"], point["status"]) == (4, 4, 0, "ok")


def test_bits_are_compared_with_the_version_before(tmp_path):
    rows = [line(row=row, bits=row) for row in range(4)]
    kept(tmp_path / "a", "1", *rows)
    kept(tmp_path / "b", "2", *rows[:3], rows[3] | {"bits": 99})
    found = logitlab.history(tmp_path)
    assert found.points["same_bits"].isna().tolist() == [True, False]
    assert found.points["same_bits"].iloc[1] == 0.75
    assert found.steps["change"].tolist() == ["bits changed"]
    assert found.exit_code == 0


def test_a_baseline_is_a_run_too(five, tmp_path):
    for version in VERSIONS[1:3]:
        source, target = str(five / f"x-{version}"), str(tmp_path / f"{version}.json")
        assert main(["baseline", source, target]) == 0
    found = logitlab.history(tmp_path)
    assert found.points[["version", "grade"]].to_numpy().tolist() == [["x 1.9", "A"], ["x 1.10", "C"]]
    assert found.steps[["version", "change", "case"]].to_numpy().tolist() == [["x 1.10", "grade lost", "f/a"]]
    mixed = logitlab.history([tmp_path / "1.9.json", five / "x-1.10"])
    assert mixed.steps[["version", "change", "case"]].to_numpy().tolist() == [["x 1.10", "grade lost", "f/a"]]


def test_a_run_without_the_cell_is_passed_over(tmp_path):
    other = line(implementation="x/other", framework="x")
    kept(tmp_path / "a", "1", GOOD, other)
    kept(tmp_path / "b", "2", GOOD)
    kept(tmp_path / "c", "3", GOOD, other | BAD)
    steps = logitlab.history(tmp_path).steps
    assert steps[["implementation", "previous", "version"]].to_numpy().tolist() == [["x/other", "x 1", "x 3"]]


def test_runs_of_one_version_are_in_the_order_of_their_start_and_have_their_names(tmp_path):
    kept(tmp_path / "a", "1", GOOD | BAD, started="2026-02-02T00:00:00+00:00")
    kept(tmp_path / "b", "1", GOOD, started="2026-01-01T00:00:00+00:00")
    assert logitlab.history(tmp_path).points["version"].tolist() == ["x 1 (b)", "x 1 (a)"]


@pytest.mark.parametrize(
    ("implementation", "expected"),
    [
        ("jax/optax.softmax_cross_entropy", [("optax", "0.2.6"), ("jax", "0.7.2")]),
        ("jax/nn.log_softmax", [("jax", "0.7.2")]),
        ("numpy/scipy.special.logsumexp", [("scipy", "1.15.3"), ("numpy", "2.2.6")]),
        ("numpy/lse", [("numpy", "2.2.6")]),
        ("keras-jax/losses.categorical_crossentropy", [("keras", "3.9.2"), ("jax", "0.7.2")]),
        ("mine/loss", [("mine", "7")]),
        ("theirs/loss", [("theirs", "unknown")]),
    ],
)
def test_an_implementation_depends_on_its_library_and_its_framework(implementation, expected):
    packages = {"jax": "0.7.2", "optax": "0.2.6", "numpy": "2.2.6", "scipy": "1.15.3", "keras": "3.9.2"}
    found = governing(implementation, packages, "7" if implementation.startswith("mine") else "")
    assert found == tuple(Governing(*each) for each in expected)


@settings(max_examples=examples(100))
@given(versions=st.lists(st.from_regex(r"[0-9]{1,2}\.[0-9]{1,2}(rc1|\+cpu)?|main|", fullmatch=True), max_size=6))
def test_any_versions_have_an_order(versions):
    ordered = sorted([(Governing("x", v),) for v in versions], key=in_order)
    assert [each[0].version for each in ordered if each[0].version in ("main", "")] == [
        each[0].version for each in ordered[: sum(v in ("main", "") for v in versions)]
    ]


def test_a_label_names_what_differs():
    one, two = (Governing("optax", "0.2.5"), Governing("jax", "0.7")), (Governing("optax", "0.2.6"),)
    assert labels([one, (*two, one[1])]) == ["optax 0.2.5", "optax 0.2.6"]
    assert labels([one, (one[0], Governing("jax", "0.8"))]) == ["jax 0.7", "jax 0.8"]
    assert labels([one, (*two, Governing("jax", "0.8"))]) == ["optax 0.2.5, jax 0.7", "optax 0.2.6, jax 0.8"]
    assert labels([one, one]) == ["optax 0.2.5", "optax 0.2.5"]


@pytest.mark.parametrize(
    ("versions", "code"),
    [(("1.2", "1.9"), 0), (("1.9", "1.10"), 1), pytest.param(("2.0rc1", "2.0"), 0, marks=pytest.mark.full)],
)
def test_the_exit_code_is_1_for_a_regression(five, versions, code, capsys):
    assert main(["history", *(str(five / f"x-{v}") for v in versions)]) == code
    assert "2 runs" in capsys.readouterr().out


def test_runs_that_cannot_be_compared_give_exit_code_2(tmp_path, capsys):
    kept(tmp_path / "a", "1", line(exact=1.0))
    kept(tmp_path / "b", "2", line(exact=2.0))
    assert main(["history", str(tmp_path)]) == 2
    assert "have the same names but different contents" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/none"], "does not exist; give a run folder"),
        (["{}/empty"], "holds neither a run nor a baseline"),
        (["{}/x-1.9", "--implementation", "y/*"], "no measurement of the runs matches"),
        (["{}/x-1.9", "--format", "html"], "give a folder, such as --out history"),
        (["{}/x-1.9", "--format", "pdf"], "unknown format 'pdf'"),
        (["{}/x-1.9", "--factor", "0.5"], "expected a number of at least 1"),
    ],
)
def test_bad_input_is_explained(five, arguments, message, capsys):
    (five / "empty").mkdir(exist_ok=True)
    assert main(["history", *(each.format(five) for each in arguments)]) == 2
    assert message in capsys.readouterr().err


def test_an_incomplete_run_is_named(tmp_path):
    kept(tmp_path / "a", "1")
    kept(tmp_path / "b", "2", complete=False)
    assert logitlab.history(tmp_path).notes == ("b is incomplete",)


def test_only_regressions_leaves_out_the_rest(five, tmp_path, capsys):
    kept(tmp_path / "y", "1.9", line(implementation="x/same"))
    runs = [str(five), str(tmp_path)]
    assert main(["history", *runs, "--only-regressions"]) == 1
    out = capsys.readouterr().out
    assert "x/same float32" not in out
    assert out.count("status changed") == 1, "the one that is better is left out"


def test_text_has_one_line_for_versions_with_the_same_results(whole):
    out = text(whole)
    assert "x 1.2 to x 1.9" in out
    assert "A (1 rows raised)" in out


def schema():
    return json.loads((ROOT / "core" / "schemas" / "history.schema.json").read_text(encoding="utf-8"))


def test_json_follows_its_schema(five, tmp_path, capsys):
    kept(tmp_path / "a", "3.0", line(), line(row=1) | NOT_FINITE)
    main(["history", str(five), str(tmp_path), "--format", "json"])
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, schema(), cls=jsonschema.Draft202012Validator)
    assert found["schema"] == 1
    assert found["result"] == "regressed"
    assert {s["change"] for s in found["steps"]} >= {"grade lost", "newly not finite"}
    (last,) = [s for s in found["steps"] if s["version"] == "x 3.0"]
    assert (last["case"], last["row"], last["after_ulp"]) == ("f/a", 1, "inf")


def test_the_schema_is_one_and_closed():
    jsonschema.Draft202012Validator.check_schema(schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": 1}, schema())


def test_every_format_is_written(five, tmp_path, capsys):
    formats = [word for name in over_versions.FORMATS for word in ("--format", name)]
    assert main(["history", str(five), *formats, "--out", str(tmp_path / "out")]) == 1
    printed = [Path(path) for path in capsys.readouterr().out.split()]
    assert all(path.is_file() for path in printed)
    points = pd.read_csv(tmp_path / "out" / "history-points.csv")
    assert list(points["version"]) == [f"x {v}" for v in VERSIONS]
    (figure,) = (tmp_path / "out").glob("*.svg")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert f"charts/{figure.name}" in page
    assert (tmp_path / "out" / "charts" / figure.name).read_text().startswith("<svg")
    assert "x 1.10" in figure.read_text()
    assert 'data-grid="points"' in page


@pytest.mark.parametrize("name", ["json", "csv", "html"])
def test_a_file_in_place_of_the_folder_is_refused(whole, tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another --out"):
        over_versions.write(whole, [name], tmp_path / "file")


def test_the_functions_refuse_bad_arguments():
    with pytest.raises(UsageError, match="runs is 3; expected a run folder"):
        logitlab.history(3)
    with pytest.raises(UsageError, match="runs is an empty list"):
        logitlab.history([])


@pytest.mark.parametrize(
    ("package", "version", "implementation", "case", "better"),
    [
        # google-deepmind/optax#1792
        ("optax", "0.2.6", "jax/optax.softmax_cross_entropy_with_integer_labels", "offset/1e10", False),
        # scipy/scipy#21597
        pytest.param(
            "scipy", "1.15.3", "numpy/scipy.special.logsumexp", "field_precision/scipy_18295", True,
            marks=pytest.mark.full,
        ),
    ],
)  # fmt: skip
def test_the_kept_runs_show_the_known_changes(package, version, implementation, case, better):
    found = logitlab.history(KEPT / package, implementations=implementation, dtypes="float32")
    moved = found.steps["regressions"] + found.steps["improvements"] > 0
    steps = found.steps[(found.steps["quantity"] == "loss") & moved]
    assert steps["version"].tolist() == [f"{package} {version}"], "one version changes the loss, for better or worse"
    named = found.changes[[fnmatch(c, case) for c in found.changes["case"]]]
    kind, way = ("grade won", "improvement") if better else ("grade lost", "regression")
    hits = named[(named["change"] == kind) & (named["quantity"] == "loss")]
    assert len(hits)
    assert set(hits["version"]) == {f"{package} {version}"}
    assert hits[way].all()
    assert found.exit_code == int(not better)
    assert (hits["factor"] < 1e-5 if better else hits["factor"] > 1e5).all()


@pytest.mark.full  # one of the known changes above is enough
def test_a_sum_in_jax_loses_wins_and_loses_its_digits_again():
    found = logitlab.history(KEPT / "jax", implementations="jax/nn.logsumexp", dtypes="float32").changes
    own = found[(found["case"] == "stagnation/float32_257") & (found["quantity"] == "loss") & (found["row"] == 0)]
    assert list(zip(own["version"], own["change"], strict=True)) == [
        ("jax 0.5.3", "grade lost"), ("jax 0.7.2", "grade won"), ("jax 0.8.3", "grade lost")
    ]  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize("package", sorted(path.name for path in KEPT.iterdir() if path.is_dir()))
def test_kept_runs_are_whole_and_small(package):
    for folder in (KEPT / package).iterdir():
        assert verify(folder).sound, folder
        assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 150 * 2**10
        assert Run(folder).manifest.packages[package] == folder.name.removeprefix(f"{package}-")
