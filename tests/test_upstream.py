"""The programs in docs/findings.md and docs/upstream print what the pages show, with the installed frameworks."""

import json
import math
import os
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from docs_programs import programs

DOCS = Path(__file__).resolve().parents[1] / "docs"
PACKAGES = ("torch", "jax", "optax", "tensorflow_cpu", "keras", "liger_kernel", "triton")
# Runs programs in one process, since each import of a framework costs seconds. Each starts with fresh names.
DRIVER = """
import contextlib, io, json, sys
outputs = []
for program in json.load(sys.stdin):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(program, "program", "exec"), {"__name__": "__main__"})
    outputs.append(out.getvalue())
print(json.dumps(outputs))
"""


class Documented(NamedTuple):
    """A program on a page, and the output shown there."""

    page: Path
    program: str
    output: str

    @property
    def name(self) -> str:
        return f"{self.page.stem}: {self.output.split()[0]}"

    @property
    def group(self) -> str:
        """Return the group of programs that share a process; a slow program has its own."""
        if "torch.compile" in self.program:
            return "inductor"
        if "TRITON_INTERPRET" in self.program:
            return "interpreted"
        return next(g for g in ("tensorflow", "keras", "jax", "torch") if f"import {g}" in self.program)


PAGES = [DOCS / "findings.md", *sorted((DOCS / "upstream").glob("*.md"))]
ALL = [Documented(page, *found) for page in PAGES for found in programs(page.read_text())]


@pytest.fixture(scope="module")
def outputs(request):
    """Return a function that gives what each program of a group prints, of those that are tested now."""
    asked = [item.callspec.params.get("documented") for item in request.session.items if hasattr(item, "callspec")]
    return cache(lambda group: printed_by([d.program for d in ALL if d in asked and d.group == group]))


def printed_by(programs: list[str]) -> dict[str, str]:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER], input=json.dumps(programs), capture_output=True, text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return dict(zip(programs, json.loads(ran.stdout.splitlines()[-1]), strict=True))


def same(printed: str, shown: str) -> bool:
    """Return whether words are equal and numbers nearly equal: the last digits depend on the processor."""

    def alike(a: str, b: str) -> bool:
        try:
            x, y = float(a), float(b)
        except ValueError:
            return a == b
        return (math.isnan(x) and math.isnan(y)) or math.isclose(x, y, rel_tol=1e-3)

    left, right = ([line.split() for line in text.splitlines()] for text in (printed, shown))
    return [len(line) for line in left] == [len(line) for line in right] and all(
        alike(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True)
    )


def vectors() -> str:
    import torch

    return torch.backends.cpu.get_cpu_capability()


def versions() -> str:
    installed = {d.metadata["Name"].lower().replace("-", "_"): d.version for d in metadata.distributions()}
    return ", ".join(f"{p} {installed[p]}" for p in PACKAGES if p in installed)


@pytest.mark.sampled
@pytest.mark.pinned
@pytest.mark.parametrize(
    "documented",
    [
        pytest.param(d, id=d.name, marks=[pytest.mark.full] if d.group in ("inductor", "tensorflow", "keras") else [])
        for d in ALL
    ],
)
def test_a_program_prints_what_its_page_shows(documented, outputs):
    if documented.group == "inductor" and vectors() != "AVX512":
        pytest.skip("measured with AVX-512: the finding depends on the vector width")
    printed = outputs(documented.group)[documented.program]
    assert same(printed, documented.output), (
        f"{documented.page.name}: with {versions()} the program prints\n{printed}and the page shows\n"
        f"{documented.output}If a new version changed this, change the page, docs/findings.md and the CHANGELOG"
    )


@pytest.mark.parametrize(
    ("printed", "expected"),
    [("loss 1.0000001\n", True), ("loss 1.1\n", False), ("loss nan\n", False), ("los 1.0\n", False), ("loss\n", False)],
)
def test_outputs_are_compared_by_words_and_numbers(printed, expected):
    assert same(printed, "loss 1.0\n") is expected


def test_every_upstream_page_is_complete_and_listed():
    index = (DOCS / "upstream" / "README.md").read_text()
    for page in sorted((DOCS / "upstream").glob("*.md")):
        if page.name == "README.md":
            continue
        text = page.read_text()
        headings = re.findall(r"^## (\w+)$", text, re.MULTILINE)
        assert headings == ["Program", "Expected", "Actual", "Cause"], page.name
        assert re.search(r"\*\*Project:\*\* [\w-]+/[\w-]+\. \*\*Versions:\*\* \w+", text), page.name
        assert re.search(r"\*\*Searched on \d{4}-\d\d-\d\d\*\*", text), page.name
        assert len(programs(text)) == 1, page.name
        assert f"]({page.name})" in index


def test_every_finding_ends_with_a_program_and_its_report_upstream():
    text = (DOCS / "findings.md").read_text()
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    sections.pop("The grades")
    assert len(sections) == 15
    for title, body in sections.items():
        named = re.findall(r'\{\{ upstream\("([\w-]+)"\) \}\}', body)
        assert all((DOCS / "upstream" / f"{name}.md").exists() for name in named), title
        assert named or ("```python" in body and "**Upstream.**" in body), title
