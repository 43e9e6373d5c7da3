"""The templates, which escape all values, and the files that pages load."""

import re
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from shutil import copyfile

import jinja2
from jinja2.bccache import Bucket
from markupsafe import Markup, escape

from ...storage.manifest import Manifest
from .._report import Report
from ..charts.palette import GRADE_COLOURS
from ..tables.grades import MEANINGS
from ._grids import NAMELESS, short
from ._site import state
from .pages import NAVIGATION


class _Compiled(jinja2.BytecodeCache):
    """The compiled templates of this process: its next site takes them."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


HERE = files(__package__)
COMPILED = _Compiled()
JOINTS = re.compile(r"(?<=[/._,\[\]-])|(?<=[a-z])(?=[A-Z])")


def environment(found: Report) -> jinja2.Environment:
    """Return the templates, with the values that all pages of a report share."""
    return environment_of(NAVIGATION, found.manifests, found.damage)


def environment_of(
    navigation: Sequence[tuple[str, str]], runs: Sequence[Manifest], damage: Sequence[str]
) -> jinja2.Environment:
    """Return the templates for pages with these links, runs and messages about damage."""
    templates = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        bytecode_cache=COMPILED,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.filters |= {"short": _short, "broken": broken, "size": _size}
    templates.globals |= {
        "nav": navigation,
        "state": state,
        "meanings": MEANINGS,
        "runs": runs,
        "damage": damage,
    }
    return templates


def broken(words: object) -> Markup:
    """Return words with a possible line break at each joint of a dotted name."""
    pieces = [piece for piece in JOINTS.split(_short(words)) if piece]
    return Markup("<wbr>").join(map(escape, pieces))


def copy_assets(folder: Path) -> None:
    """Copy the style sheet, scripts, and libraries with their licences; add the colours of grades to the style."""
    with as_file(HERE / "assets") as assets:
        for file in sorted(assets.rglob("*")):
            if file.is_file():
                target = folder / file.relative_to(assets)
                target.parent.mkdir(exist_ok=True)
                copyfile(file, target)
    style = folder / "site.css"
    colours = " ".join(f"--grade-{grade}: {colour};" for grade, colour in GRADE_COLOURS.items())
    style.write_text(f":root {{ {colours} }}\n{style.read_text(encoding='utf-8')}", encoding="utf-8")


def _size(file: Path) -> str:
    count = file.stat().st_size
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{max(count / 2**10, 0.1):.1f} KiB"


def _template(name: str) -> str:
    return (HERE / "templates" / name).read_text(encoding="utf-8")


def _short(words: object) -> str:
    return short(str(words)) or NAMELESS
