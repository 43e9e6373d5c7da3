"""The layout: ten packages whose imports lead downward, no import cycle, no file that is too long."""

import ast
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EVERY_ROOM = {"cases", "cli", "core", "execution", "frameworks", "grading", "oracle", "reports", "storage", "studies"}
# A -> B: A may import B. Every room may import core, and cli every room.
MAY_IMPORT = {
    "core": set(),
    "cases": set(),
    "frameworks": set(),
    "oracle": set(),
    "storage": set(),
    "grading": {"oracle", "frameworks", "cases"},
    "execution": {"grading", "cases", "frameworks", "oracle", "storage"},
    "runner": {"execution", "cases", "storage"},
    "reports": {"storage"},
    "studies": {"runner", "execution", "grading", "cases", "frameworks", "oracle", "storage", "reports"},
    "cli": {*EVERY_ROOM, "runner"},
}
FOLDERS = {"benchmarks", "docs", "examples", "tests", ".ci"}
MAX_LINES = 350


@cache
def modules() -> dict[str, tuple[Path, bool]]:
    """Return the modules by dotted name without ``logitlab``, and whether each is a package."""
    files = [*ROOT.glob("*.py"), *(f for room in EVERY_ROOM for f in (ROOT / room).rglob("*.py"))]
    found = {}
    for file in files:
        parts = file.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        found[".".join(parts[:-1] if is_package else parts)] = (file, is_package)
    return found


@cache
def imported(name: str) -> frozenset[str]:
    """Return the modules of LogitLab that a module imports, including those in functions and for type checking."""
    file, is_package = modules()[name]
    package = name.split(".") if name else []
    package = package if is_package else package[:-1]
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                full = f"{module}.{alias.name}".strip(".")
                found.add(full if full in modules() else module)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            # runner.py is also a program, which imports the package from outside.
            assert name in ("runner", "__main__") or not any(n.split(".")[0] == "logitlab" for n in names), file
    return frozenset(found - {name})


def room(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def tracked_files() -> list[str]:
    command = [shutil.which("git") or "git", "ls-files"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_the_root_holds_ten_rooms_and_four_modules():
    tracked = tracked_files()
    folders = {path.split("/")[0] for path in tracked if "/" in path}
    assert folders == EVERY_ROOM | FOLDERS
    assert {p for p in tracked if p.endswith(".py") and "/" not in p} == {
        "__init__.py", "__main__.py", "pytest_plugin.py", "runner.py"
    }  # fmt: skip


@pytest.mark.parametrize("source", sorted(MAY_IMPORT))
def test_a_room_imports_only_the_rooms_below_it(source):
    upward = {
        f"{name} -> {target}"
        for name in modules()
        if room(name) == source
        for target in imported(name)
        if room(target) not in {*MAY_IMPORT[source], source, "core"}
    }
    assert upward == set()


def test_no_room_imports_another_rooms_private_modules():
    private = {
        f"{name} -> {target}"
        for name in modules()
        for target in imported(name)
        if room(target) != room(name) and any(part.startswith("_") for part in target.split("."))
    }
    assert private == set()


def test_no_files_import_each_other_in_a_circle():
    remaining = {name: imported(name) for name in modules()}
    while free := [name for name, targets in remaining.items() if not targets & remaining.keys()]:
        for name in free:
            del remaining[name]
    assert dict(remaining) == {}


def test_every_source_file_is_short():
    sources = [p for p in tracked_files() if p.endswith(".py") and not p.startswith("tests/")]
    lengths = {p: len((ROOT / p).read_text().splitlines()) for p in sources}
    assert {path: lines for path, lines in lengths.items() if lines >= MAX_LINES} == {}


def test_the_wheel_holds_every_schema():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    (pattern,) = settings["package-data"]["logitlab.core.schemas"]
    folder = ROOT / "core" / "schemas"
    assert {p.name for p in folder.glob(pattern)} == {p.name for p in folder.iterdir() if p.suffix == ".json"} != set()


def test_the_wheel_holds_every_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = [f"logitlab.{name}".rstrip(".") for name, (_, is_package) in modules().items() if is_package]
    assert settings["packages"] == sorted(packages)
