"""The macros and filters of mkdocs-macros for the pages of ``docs``."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import nbformat
import pandas as pd
from mkdocs_macros.plugin import MacrosPlugin
from nbconvert import MarkdownExporter

import logitlab
from logitlab.core import schemas as schema_files
from logitlab.storage.schema import MEASUREMENTS

# mkdocs-macros loads this file by its path, and then Python does not look for modules in its folder.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "research"))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from docs_history import history_of
from docs_measurements import ROOT, runs, table
from docs_programs import programs
from docs_research import study
from findings import FINDINGS, Facts
from wild_findings import WILD_FINDINGS

THREAD = re.compile(r"([\w.-]+/[\w.-]+)#(\d+)")


@cache
def measurements() -> pd.DataFrame:
    """Return the measurements behind the documentation, read once for a build."""
    return table(runs())


def define_env(env: MacrosPlugin) -> None:
    """Register the macros and filters."""
    pages = (finding, wild_finding, provenance, upstream, columns, catalogue, implementations, command_line, notebook)
    for function in (*pages, history_of, schemas, study):
        env.macro(function)
    env.filter(number)
    env.filter(names)


@cache
def finding(name: str) -> Facts:
    """Return the numbers of a finding; raise FindingGoneError if it no longer holds."""
    return FINDINGS[name](measurements())


@cache
def wild_finding(name: str) -> Facts:
    """Return the numbers of a finding in a library's loss; raise FindingGoneError if it no longer holds."""
    return WILD_FINDINGS[name]()


def number(value: float, digits: int = 4) -> str:
    """Return a number as text for prose."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def names(words: list[str]) -> str:
    """Return names as code, separated by commas."""
    return ", ".join(f"`{word}`" for word in words)


def provenance() -> str:
    """Return the number of measurements, the versions of the packages, and the machine."""
    manifests = [run.manifest for run in runs()]
    versions = {p: v for m in manifests for p, v in m.packages.items()}
    machine = manifests[0].hardware
    packages = ", ".join(f"{package} {version}" for package, version in sorted(versions.items()))
    where = f"{machine['processor']} ({machine['machine']}), {machine['cores']} cores, Python {machine['python']}"
    return f"{len(measurements()):,} measurements with {packages}; {where}; LogitLab {manifests[0].logitlab}."


def upstream(name: str) -> str:
    """Return the program of a page in ``docs/upstream``, its output, and a link to the page."""
    page = (ROOT / "docs" / "upstream" / f"{name}.md").read_text()
    (program, output), *_ = programs(page)
    return (
        f"```python\n{program}```\n\nIt prints:\n\n```text\n{output}```\n\n"
        f"**Upstream.** Not yet reported. [The text for a report](upstream/{name}.md) is ready."
    )


def columns() -> str:
    """Return a table of the columns of the measurements table."""
    lines = [f"| `{name}` | {c.kind.description} | {c.meaning} |" for name, c in MEASUREMENTS.items()]
    return "\n".join(["| column | type | |", "|---|---|---|", *lines])


def schemas() -> str:
    """Return a table of the kinds of documents that have a schema."""
    lines = []
    for name in schema_files.NAMES:
        schema = schema_files.read(name)
        lines.append(f"| `{name}` | {_cell(schema['description'])} | {schema['$id'].rpartition(':')[2]} |")
    return "\n".join(["| kind | document | version |", "|---|---|---|", *lines])


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("<", "&lt;").replace("$", "&#36;")


def catalogue() -> str:
    """Return every family with its purpose and its cases."""
    parts = []
    for family, cases in logitlab.catalogue().groupby("family", sort=True):
        purpose = (importlib.import_module(f"logitlab.cases.catalogue.{family}").__doc__ or "").strip()
        lines = []
        for case in cases.fillna({"source": ""}).to_dict("records"):
            source = THREAD.sub(r" [\1#\2](https://github.com/\1/issues/\2)", _cell(case["source"]))
            shape = f"{case['rows']} x {case['classes']}"
            lines.append(f"| `{case['case']}` | {shape} | {_cell(case['why'])} {source} |")
        parts.append(
            "\n".join([f"## {family}", "", purpose, "", "| case | shape | why |", "|---|---|---|", *lines, ""])
        )
    return "\n".join(parts)


def implementations() -> str:
    """Return a table of the installed implementations with their worst float32 grade in eager mode."""
    found = logitlab.implementations()
    grades = {name: g for g, of in finding("matrix")["table"].items() for name in of}
    shown = found[found["available"]].assign(
        grade=found["implementation"].map(grades).fillna(""), implementation="`" + found["implementation"] + "`"
    )
    return str(shown[["implementation", "formula", "version", "modes", "grade"]].to_markdown(index=False))


def command_line() -> str:
    """Return the command-line reference that typer generates."""
    asked = [sys.executable, "-m", "typer", "logitlab.cli", "utils", "docs", "--name", "logitlab"]
    page = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=ROOT / "docs").stdout
    page = re.sub(r"^Example: (.*)$", r"**Example**: `\1`", page, flags=re.MULTILINE)
    return page.split("\n", 1)[1]  # the page has its own title


def notebook(name: str) -> str:
    """Execute a notebook of ``docs`` and return it as Markdown."""
    read = nbformat.read(ROOT / "docs" / name, as_version=4)
    body, _ = MarkdownExporter().from_notebook_node(read)
    # A table of the page's own style, not the browser's.
    return re.sub(r"<style scoped>.*?</style>", "", body, flags=re.DOTALL).replace(' border="1" class="dataframe"', "")
