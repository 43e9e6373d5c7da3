"""The templates, which escape whatever they are given, and the files that pages load."""

import re
from importlib.resources import as_file, files
from pathlib import Path
from shutil import copyfile

import jinja2
from markupsafe import Markup, escape

from .._report import Report
from ..charts.palette import GRADE_COLOURS
from ..tables.grades import MEANINGS
from ._grids import NAMELESS, short
from ._site import state
from .pages import NAVIGATION

HERE = files(__package__)
JOINTS = re.compile(r"(?<=[/._,\[\]-])|(?<=[a-z])(?=[A-Z])")


def environment(found: Report) -> jinja2.Environment:
    """The templates, with what all pages of a report have in common."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {"short": _short, "broken": broken, "size": _size}
    made.globals |= {
        "nav": NAVIGATION,
        "state": state,
        "meanings": MEANINGS,
        "runs": found.manifests,
        "damage": found.damage,
    }
    return made


def broken(words: object) -> Markup:
    """Words that may be broken at the joints of dotted names, and where one is too long anywhere."""
    pieces = [piece for piece in JOINTS.split(_short(words)) if piece]
    return Markup("<wbr>").join(map(escape, pieces))


def copy_assets(folder: Path) -> None:
    """Style, with the colours of grades, scripts and the libraries with their licences."""
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
