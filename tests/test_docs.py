"""README and docs are true: commands parse, names and files exist, columns are documented, the notebook runs."""

import ast
import importlib.util
import io
import pkgutil
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

import griffe
import nbformat
import pytest
import typer
from command_line import parsed
from nbclient import NotebookClient

import logitlab
from logitlab.cli import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
FENCED = re.compile(r"^```(\w+)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:\.?[\w-]+/)+(?:[\w.-]+\.(?:py|md|json|ipynb|yml|toml))?)`")


def tool(name):
    folder = "docs/hooks" if name.startswith("docs_") else "benchmarks"
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(*languages):
    for page in PAGES:
        for language, body in FENCED.findall(page.read_text()):
            if (language or "") in languages:
                yield page, body


def shown_commands():
    for page, body in blocks("sh", "", "console"):
        for line in body.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True) if "logitlab " in line else []
            if words[:1] == ["logitlab"]:
                yield pytest.param(words[1:], id=f"{page.name}: {' '.join(words[1:])}")


@pytest.mark.parametrize("arguments", list(shown_commands()))
def test_every_command_line_that_is_shown_parses(arguments):
    assert parsed(arguments).name


def test_a_command_line_that_does_not_parse_is_noticed():
    with pytest.raises(Exception, match="No such option"):
        parsed(["run", "--no-such-option"])


def test_every_command_named_in_prose_exists():
    commands = typer.main.get_command(app).commands
    named = {(p.name, c) for p in PAGES for c in re.findall(r"`logitlab ([\w-]+)", p.read_text())}
    assert {(page, command) for page, command in named if command not in commands} == set()
    assert len(named) > 10


def test_every_python_block_compiles_and_names_what_is_public():
    found = list(blocks("python"))
    assert len(found) > 8
    for page, body in found:
        compile(body, page.name, "exec")
        for name in re.findall(r"\blogitlab\.(\w+)", body):
            assert hasattr(logitlab, name) or importlib.util.find_spec(f"logitlab.{name}"), f"{page.name}: {name}"


def test_the_python_reference_has_every_public_name():
    named = re.findall(r"^(?::::|###) logitlab\.(\w+)$", (ROOT / "docs/reference/python.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(logitlab.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_linked_or_named_exists(page):
    text = FENCED.sub("", page.read_text())
    linked = [link for link in LINK.findall(text) if "://" not in link]
    assert [link for link in linked if not (page.parent / link).exists()] == []
    tops = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"build", "runs"}
    named = [name for name in PATH.findall(text) if name.split("/")[0] in tops]
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.fixture(scope="module")
def measured(float32_of):
    names = ["torch/F.cross_entropy", "torch/log1p", "torch/naive", "torch/lse"]
    df = float32_of("torch")
    df = df[df["implementation"].isin(names) & df["family"].isin(["gap", "seed"])]
    return df.astype({"grade": "object", "verdict": "object"})


IDENTIFIERS = sorted({name for page in PAGES for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)})


@pytest.mark.parametrize("name", IDENTIFIERS)
def test_a_docstring_on_a_page_is_read_without_a_warning(name, caplog):
    """A page with such a warning is not built. The class's own docstring, and those of its public members."""
    shown = pkgutil.resolve_name(name)
    members = vars(shown).values() if isinstance(shown, type | ModuleType) else ()
    found = [text for one in (shown, *members) if isinstance(text := getattr(one, "__doc__", None), str)]
    for text in found:
        griffe.Docstring(text, lineno=1).parse("google", warn_missing_types=False, warn_unknown_params=False)
    assert [record.getMessage() for record in caplog.records] == []


def test_a_finding_is_computed_from_the_run(measured):
    findings = tool("findings")
    facts = findings.near_zero(measured)
    assert facts["zero"]["value"] == 0.0
    assert facts["zero"]["exact"] == pytest.approx(2.0611536e-9)
    assert facts["kept"]["value"] == pytest.approx(2.0611536e-9, rel=1e-6)
    assert findings.naive(measured)["exact"] == 2000.0


def test_a_finding_that_no_longer_holds_stops_the_build(measured):
    findings = tool("findings")
    accurate = measured.assign(value=measured["exact"])
    with pytest.raises(findings.FindingGoneError, match=r"'near zero' no longer holds.*change docs/findings\.md"):
        findings.near_zero(accurate)
    worse = measured.assign(grade=measured["grade"].where(measured["formula"] != "log1p", "B"))
    with pytest.raises(findings.FindingGoneError, match="results of the log1p formula are below A"):
        findings.log1p(worse)


def test_a_run_without_the_rows_of_a_finding_is_reported(measured):
    findings = tool("findings")
    with pytest.raises(findings.FindingGoneError, match=r"needs measurements of .*masks/first"):
        findings.masks(measured)


def test_every_finding_is_on_the_page():
    page = (ROOT / "docs/findings.md").read_text()
    assert set(re.findall(r'finding\("(\w+)"\)', page)) == set(tool("findings").FINDINGS)


def outputs(notebook):
    """Return what each step shows: text, or the HTML of a styled table without pandas' random names."""
    shown = []
    for cell in (c for c in notebook.cells if c.cell_type == "code"):
        kept = [out for out in cell["outputs"] if out.get("name") != "stderr"]
        data = [{"text/plain": out["text"]} if out["output_type"] == "stream" else out["data"] for out in kept]
        shown.append([nameless(d.get("text/html", d["text/plain"])) for d in data])
    return shown


def nameless(text):
    return re.sub(r"T_[0-9a-f]{5}", "T", text)


@pytest.fixture
def notebook():
    return nbformat.read(ROOT / "docs/example.ipynb", as_version=4)


def step(source, names):
    """Return what a step prints, and the value of its last line as a notebook shows it."""
    *before, last = ast.parse(source).body
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(ast.Module(before, []), "a step", "exec"), names)  # noqa: S102 - the notebook is ours
        value = eval(compile(ast.Expression(last.value), "a step", "eval"), names)  # noqa: S307
    shown = [printed.getvalue(), "" if value is None else value._repr_html_()]
    return [nameless(text) for text in shown if text]


def test_the_steps_of_the_notebook_give_the_shown_outputs(notebook, in_this_process):
    """The steps run in this process, which has imported PyTorch; `make test-all` starts a kernel."""
    names = {"__name__": "__main__"}
    shown = [step(cell.source, names) for cell in notebook.cells if cell.cell_type == "code"]
    assert shown == outputs(notebook)


@pytest.mark.full
@pytest.mark.filterwarnings("default")  # from the packages that run notebooks
def test_the_notebook_gives_the_shown_outputs(notebook):
    fresh = nbformat.from_dict(notebook)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell["outputs"] = []
    NotebookClient(fresh, timeout=300).execute()
    assert outputs(fresh) == outputs(notebook)
    assert all(outputs(notebook)), "a step that shows nothing"
