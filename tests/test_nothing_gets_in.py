"""Files, names and packages of others run no code unasked and write nothing outside the output folder."""

import ast
import json
import re
import struct
import sys
import textwrap
import warnings
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import calls_in_this_process

from logitlab import runner
from logitlab.cases.inputs import file_options
from logitlab.cli import main
from logitlab.core import files
from logitlab.core.errors import UsageError
from logitlab.execution import registry
from logitlab.storage.store import Run
from logitlab.studies import check as checking
from logitlab.studies.browse import listing
from logitlab.studies.matrix._requirements import parse_sets

ROOT = Path(__file__).parent.parent
NO_PART = {"tests", "docs", "examples", "build", "dist"}

# --- no pickle --------------------------------------------------------------------------------------------------------

MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
CALLS = {"eval", "exec", "compile_command", "read_pickle", "to_pickle", "extractall", "unpack_archive", "load_module"}
# (module, function) with an argument that allows the objects in a file to be loaded.
GUARDED = {("np", "load"), ("numpy", "load"), ("np", "savez"), ("torch", "load"), ("np", "fromfile")}


def sources() -> list[Path]:
    found = (p for top in ROOT.iterdir() if is_part(top) for p in ([top] if top.is_file() else top.rglob("*")))
    return [p for p in found if p.suffix == ".py" and all(map(is_part, p.relative_to(ROOT).parts))]


def is_part(name: str | Path) -> bool:
    return not (Path(name).name in NO_PART or Path(name).name.startswith("."))


def defects(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            found.append(node.module)
        elif isinstance(node, ast.Call):
            function = node.func
            name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            if name in CALLS:
                found.append(name)
            if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
                of = (function.value.id, function.attr)
                given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
                if of in GUARDED and given.get("allow_pickle") is not False:
                    found.append(".".join(of))
    return found


# Only a file that has one of these words is parsed.
WORDS = re.compile(rf"\b({'|'.join({*MODULES, *CALLS, *(name for _, name in GUARDED)})})\b")


def test_no_source_reads_a_pickle_or_executes_data():
    texts = {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8") for p in sources()}
    found = {path: defects(ast.parse(text)) if WORDS.search(text) else [] for path, text in texts.items()}
    assert len(found) > 100
    # Written for the repository's own data, by a tool that is not installed; savez writes no objects by itself. The
    # programs of `reproduce` are made from the source of installed code, whose constants are evaluated. A rank imports
    # the user's loss by the lines that its parent process made for it.
    own = ("benchmarks/", ".ci/", "frameworks/source/", "frameworks/sharded/_rank.py")
    assert {p: o for p, o in found.items() if o and not p.startswith(own)} == {}


@pytest.mark.parametrize(
    "line",
    ["import pickle", "from joblib import load", "import yaml", "pd.read_pickle(f)", "torch.load(f)", "eval(x)",
     "np.load(f)", "np.load(f, allow_pickle=True)"],
)  # fmt: skip
def test_the_search_for_pickles_finds_them(line):
    assert WORDS.search(line)
    assert defects(ast.parse(line))


class Bomb:
    """Unpickling an instance creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.usefixtures("in_this_process")
def test_a_pickle_in_an_archive_is_refused_and_not_loaded(tmp_path, monkeypatch, capsys):
    canary = tmp_path / "canary"
    np.savez(tmp_path / "bomb.npz", logits=np.array([[Bomb(canary)]], object), targets=[0])
    assert main(["run", "--logits", str(tmp_path / "bomb.npz"), "--framework", "numpy"]) == 2
    assert "Python objects, which LogitLab never unpickles" in capsys.readouterr().err
    assert not canary.exists()


@pytest.mark.usefixtures("in_this_process")
def test_a_pickle_in_the_cache_is_not_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGITLAB_CACHE", str(tmp_path / "cache"))
    canary = tmp_path / "canary"
    # Wide enough to be kept.
    plan = {"cases": "ties/50257", "implementations": "numpy/lse", "dtypes": "float32"}
    (loss,) = runner.run(**plan).query("quantity == 'loss'")["exact"]
    kept = list((tmp_path / "cache").rglob("*.npz"))
    assert kept
    for file in kept:
        np.savez(file, **dict.fromkeys(("loss", "probabilities", "gradient"), np.array(Bomb(canary), object)))
    again = runner.run(**plan)
    assert again.query("quantity == 'loss'")["exact"].to_list() == [loss]
    assert not canary.exists()


# --- files that swell -------------------------------------------------------------------------------------------------


def npz_header(path: Path, header: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("logits", "targets"):
            body = header.encode() + b"\n"
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body)
    return path


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1000000000000), }", "at most 67,108,864"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000, 3), }", "ends early"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1, " * 4000 + "), }", "not a NumPy array"),
        ("{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (1, 2), }", "not a NumPy array"),
    ],
    ids=["wide", "long", "dimensions", "code"],
)  # fmt: skip
def test_a_header_that_promises_too_much_is_refused(tmp_path, header, message, capsys):
    path = npz_header(tmp_path / "swells.npz", header)
    assert main(["run", "--logits", str(path), "--framework", "numpy"]) == 2
    assert message in capsys.readouterr().err


def test_class_weights_whose_header_promises_too_much_are_refused(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000000000,), }\n"
    (tmp_path / "w.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with pytest.raises(UsageError, match="weight has 100,000,000,000,000,000 classes; expected at most 67,108,864"):
        file_options(weight=tmp_path / "w.npy")


@pytest.mark.usefixtures("in_this_process")
def test_a_parquet_file_whose_first_row_would_fill_the_memory_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("logitlab.cases.inputs._readers.MAX_CLASSES", 2**16)
    row = pa.array([[0.0] * (2**16 + 1)], pa.list_(pa.float32()))
    pq.write_table(pa.table({"logits": row, "targets": [0]}), tmp_path / "swells.parquet")
    assert (tmp_path / "swells.parquet").stat().st_size < 4000
    assert main(["run", "--logits", str(tmp_path / "swells.parquet"), "--framework", "numpy"]) == 2
    assert "expected at most 65,536" in capsys.readouterr().err


# --- names ------------------------------------------------------------------------------------------------------------

NAMES = [
    "../../canary/x", "/canary", "..", ".", "a\0b", "nul", "CON.txt", "com1", "x" * 10_000, "\x1b[2J",
    "a\\..\\b", "C:\\x", "-rf", "~", "x.", "", " ", "\udc80", "é/ß", "a\nb", "$(touch x)", "..%2f..%2fx",
]  # fmt: skip


@given(st.text() | st.sampled_from(NAMES))
def test_a_file_name_made_of_any_name_stays_in_its_folder_and_is_unique(name):
    made = files.plain_name(name)
    assert made == Path(made).name
    assert made.encode("ascii").decode() == made
    assert 0 < len(made) <= 100
    assert made not in (".", "..")
    assert made[0] not in ".-"
    assert not made.endswith((".", " "))
    assert made.partition(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt1"}
    assert files.plain_name(made) == made
    assert made == name or files.plain_name(name + "x") != made


def test_ordinary_names_are_left_as_they_are():
    for name in ("torch", "keras-jax", "jax-compiled+fast-math", "numpy", "a.b_c"):
        assert files.plain_name(name) == name


@pytest.fixture
def canary(tmp_path):
    """Return a folder inside another that must have no new files when the test ends."""
    (tmp_path / "in").mkdir()
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary" / "x").write_text("untouched")
    yield tmp_path / "in"
    outside = {p for p in tmp_path.rglob("*") if not p.is_relative_to(tmp_path / "in")}
    assert outside == {tmp_path / "canary", tmp_path / "canary" / "x"}
    assert (tmp_path / "canary" / "x").read_text() == "untouched"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured") / "run"
    with calls_in_this_process():
        runner.run(
            cases=["seed/article"], sweeps="offset=1:10:2", implementations="numpy/lse", dtypes="float32", out=folder
        )
    return Run(folder)


FORMATS = ("csv", "text", "markdown", "html", "latex", "figures")


@pytest.mark.parametrize(
    ("name", "formats"),
    [
        # The site has a file for each table, figure and case.
        ("../../canary/x", ["csv", "html"]),
        *(pytest.param(n, FORMATS, marks=pytest.mark.full) for n in ("/../../canary/x", "..", "a\0b", "x" * 3000)),
    ],
)
def test_a_report_stays_in_its_folder_whatever_the_names_in_a_run(canary, measured, name, formats):
    """A foreign run in which every name is hostile."""
    columns = ("case", "family", "implementation", "framework", "mode", "device", "run", "version")
    table = measured.read().astype(dict.fromkeys(columns, object))
    sweep = table["family"].str.startswith("sweep_")
    for column in columns[2:]:
        table[column] = name
    table["case"] = table["case"].where(sweep, f"{name}/{name}")
    table["family"] = name
    table.loc[sweep, "family"] = f"sweep_{name}"
    hostile = dict.fromkeys(("run", "command", "started", "finished"), name)
    with Run.create(canary / "run", replace(measured.manifest, **hostile, complete=False)) as made:
        made.write(0, table)
        made.keep_cases([{"case": f"{name}/{name}", "family": name, "why": name, "rows": 1, "classes": 1}])
        made.finish()
    for kind in formats:
        runs, out = str(canary / "run"), str(canary / "out" / kind)
        assert main(["report", runs, "--format", kind, "--out", out]) == 0, kind
    assert main(["pack", str(canary / "run"), str(canary / "packed")]) == 0
    assert main(["baseline", str(canary / "run"), str(canary / "baseline.json")]) == 0
    assert main(["doctor", str(canary / "run")]) in (0, 1)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "a/../b",
        "a\0b/c",
        *(
            pytest.param(n, marks=pytest.mark.full)
            for n in ("../x", "/absolute/x", "a b/c", "\x1b[2J/x", "file/x", "nul/con", "a/" + "x" * 10_000)
        ),
    ],
)
def test_case_names_that_are_not_plain_names_are_refused(canary, name, capsys):
    case = {"name": name, "why": "Hostile.", "logits": [[1.0, 2.0]], "targets": [0]}
    (canary / "cases.json").write_text(json.dumps({"format": "logitlab cases", "version": 1, "cases": [case]}))
    asked = ["--case-file", str(canary / "cases.json"), "--implementation", "numpy/lse", "--dtype", "float32"]
    ended = main(["run", *asked, "--out", str(canary / "run")])
    if ended == 0:
        for kind in ("html", "csv"):
            assert main(["report", str(canary / "run"), "--format", kind, "--out", str(canary / "o")]) == 0
    else:
        assert ended == 2
        assert not (canary / "run").exists()


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("name", ["parts", "logs", "cases.parquet", "parts.sha256", "lock", "parts/00000.parquet"])
def test_a_run_is_not_resumed_through_a_link_in_its_folder(canary, measured, name):
    run = canary / "run"
    run.mkdir()
    (run / "manifest.json").write_bytes(measured.manifest.encoded())
    if "/" in name:
        (run / "parts").mkdir()
    outside = canary.parent / "canary"
    (run / name).symlink_to(outside if name in ("parts", "logs") else outside / "x")
    plan = {"cases": "seed/article", "sweeps": "offset=1:10:2", "implementations": "numpy/lse", "dtypes": "float32"}
    with warnings.catch_warnings(action="ignore"), suppress(UsageError):
        runner.run(**plan, out=run, resume=True)
    if name in ("parts", "logs"):
        with pytest.raises(
            UsageError, match=f"{name} is a link to .*; LogitLab does not write through links: remove it"
        ):
            runner.run(**plan, out=run, resume=True)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_report_is_not_written_through_a_link(canary, measured, kind, capsys):
    out = canary / "out"
    out.mkdir()
    outside = canary.parent / "canary"
    for room in ("tables", "figures", "assets", "data"):
        (out / room).symlink_to(outside)
    for name in ("report.txt", "report.md", "index.html", "main.tex", "measurements.csv.gz", "reproduce.md"):
        (out / name).symlink_to(outside / "x")
    assert main(["report", str(measured.folder), "--format", kind, "--out", str(out)]) == 2
    assert "is a link; LogitLab does not write through links" in capsys.readouterr().err


def test_other_outputs_are_not_written_through_a_link(canary, measured, tmp_path):
    outside = canary.parent / "canary" / "x"
    for name in ("report.txt", "compare.md", "hunt.json", "baseline.json"):
        (canary / name).symlink_to(outside)
    run = str(measured.folder)
    assert main(["compare", run, run, "--format", "markdown", "--out", str(canary)]) == 0
    assert main(["baseline", run, str(canary / "baseline.json")]) == 2
    assert main(["hunt", "numpy/lse", "--evaluations", "1", "--out", str(canary / "hunt.json")]) == 2
    result = checking.check(lambda x, t: x[:, 0], "numpy", ["float32"], cases="seed/article")
    with pytest.raises(UsageError, match="is a link"):
        list(checking.write(result, canary))


def test_a_link_to_another_folder_beside_a_report_is_allowed(canary, measured):
    (canary / "elsewhere").symlink_to(canary.parent)
    assert main(["report", str(measured.folder), "--format", "markdown", "--out", str(canary)]) == 0


# --- packages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "-r requirements.txt",
        "--index-url=http://elsewhere",
        "-e .",
        "--pre scipy",
        "scipy --no-deps",
        "-c x",
        "./folder",
    ],
)
def test_an_option_of_pip_in_a_set_of_requirements_is_refused(words):
    with pytest.raises(UsageError, match="is not a requirement"):
        parse_sets([words, "scipy"])


@pytest.fixture
def site(tmp_path_factory, monkeypatch, distribution):
    """Return a function that writes distributions whose modules leave a trace when they are imported."""

    tmp_path = tmp_path_factory.mktemp("packages")

    def install(name: str, points: str) -> Path:
        folder = tmp_path / "site"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / name)!r}).touch()\n")
        distribution(folder, name, textwrap.dedent(points), "1.5")
        monkeypatch.syspath_prepend(str(folder))
        return tmp_path / name

    return install


def test_entry_points_are_listed_without_an_import(site, capsys):
    trace = site("stranger", "stranger = stranger:FRAMEWORK")
    assert main(["frameworks", "--entry-points"]) == 0
    shown = capsys.readouterr().out
    assert ["stranger", "stranger:FRAMEWORK", "stranger", "1.5"] in [line.split() for line in shown.splitlines()]
    assert ["numpy", "logitlab.frameworks.numpy:FRAMEWORK", "logitlab"] in [
        line.split()[:3] for line in shown.splitlines()
    ]
    assert not trace.exists()


@pytest.mark.usefixtures("in_this_process")
def test_a_run_reports_whose_code_it_imports_before_the_import(site, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "stranger", None)  # so that it is not imported after this test
    monkeypatch.delitem(sys.modules, "stranger")
    trace = site("stranger", "stranger = stranger:FRAMEWORK")
    execute, seen = runner.execute, []
    monkeypatch.setattr(runner, "execute", lambda *a, **k: (seen.append(trace.exists()), execute(*a, **k))[1])
    asked = ["run", "--case=seed/article", "--framework=numpy", "--implementation=*/lse", "--dtype=float32"]
    assert main([*asked, "--framework", "stranger", "--out", str(tmp_path / "run")]) == 0
    assert (
        "stranger comes from stranger 1.5, not from LogitLab; LogitLab imports stranger:FRAMEWORK"
        in capsys.readouterr().err
    )
    assert seen == [False]
    assert trace.exists()
    assert Run(tmp_path / "run").manifest.entry_points == {"stranger": "stranger:FRAMEWORK (stranger 1.5)"}
    assert main([*asked, "--out", str(tmp_path / "own")]) == 0
    assert "stranger" not in capsys.readouterr().err
    assert Run(tmp_path / "own").manifest.entry_points == {}


def test_a_package_cannot_take_the_place_of_another_framework(site):
    trace = site("stranger", "numpy = stranger:FRAMEWORK")
    reason = listing.describe_frameworks(["numpy"])["numpy"].missing
    assert "2 packages offer it, as logitlab.frameworks.numpy:FRAMEWORK and stranger:FRAMEWORK" in reason
    assert not trace.exists()


def test_a_framework_of_any_name_logs_into_its_folder(site, canary):
    name = "../../canary/x"
    site("stranger", f"{name} = stranger:FRAMEWORK")
    assert name in registry.names()
    with pytest.warns(UserWarning, match=f"{name} is not measured: failed when it was imported"):
        runner.run(
            cases="seed/article", frameworks=["numpy", name], implementations="*/lse", dtypes="float32",
            out=canary / "run",
        )  # fmt: skip
    logs = [p.name for p in (canary / "run" / "logs").iterdir()]
    assert len(logs) == 2
    assert all(log.endswith(".log") for log in logs)
