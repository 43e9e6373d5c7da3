"""``reproduce.md``: the commands and versions behind a report, from the manifests of its runs."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ...storage.manifest import Manifest
from ...storage.store import Run

# Of a run that does not record the distributions: those that bear another name than their package.
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "paddle": "paddlepaddle", "liger_kernel": "liger-kernel"}


def write_reproduce(runs: Sequence[Run], formats: Sequence[str], out: Path, missing: Sequence[str] = ()) -> Path:
    """Writes ``out/reproduce.md`` for a report of these runs in these formats, and returns its path.

    ``missing`` is what the report lacks, in sentences.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "reproduce.md"
    path.write_text(reproduce(runs, formats, out, missing), encoding="utf-8")
    return path


def reproduce(runs: Sequence[Run], formats: Sequence[str], out: Path, missing: Sequence[str] = ()) -> str:
    """The page: how to install what was measured, the commands, what they ran on, and what must come out the same."""
    report = ["logitlab", "report", *(str(run.folder) for run in runs)]
    report += [word for name in formats for word in ("--format", name)] + ["--out", str(out)]
    parts = ["# How to reproduce this report", *(f"**{_span(message)}**" for message in missing)]
    for run in runs:
        parts += _run(run.manifest)
    parts += ["## The report", "Of these runs, in their folders:", _code(shlex.join(report), "sh")]
    return "\n\n".join(parts) + "\n"


def _run(m: Manifest) -> Iterator[str]:
    yield f"## Run {_span(m.run)}"
    if not m.complete:
        yield "**Not complete: the run was stopped, and what is missing of it is missing here.**"
    yield "The packages:"
    pins = list(_pins(m))
    yield _code(shlex.join(["pip", "install", *(f"{name}=={_public(version)}" for name, version in pins)]), "sh")
    if builds := {name: version for name, version in pins if version != _public(version)}:
        yield (
            "Measured were these builds, which the index of packages does not have (PyTorch's are at "
            "https://download.pytorch.org/whl/). Another build of the same version may compute otherwise:"
        )
        yield _lines(builds)
    if m.environment or m.variants:
        yield "The environment, as far as it changes numbers:"
        yield _code("\n".join(f"export {name}={shlex.quote(value)}" for name, value in m.environment.items()), "sh")
    yield f"The command, started {m.started}:" if m.started else "The command:"
    yield _code(m.command or "not recorded", "sh")
    yield "It was run on:"
    yield _lines(m.hardware)
    if settings := m.nonempty_settings:
        yield "The frameworks computed with:"
        yield _lines({name: "; ".join(f"{k} {v}" for k, v in of.items()) for name, of in settings.items()})
    if m.variants:
        yield "Variants set, by framework and mode:"
        yield _lines({name: " ".join(f"{k}={v}" for k, v in of.items()) for name, of in m.variants.items()})
    if m.files:
        yield "Files read:"
        yield _lines({str(i + 1): file for i, file in enumerate(m.files)})
    yield (
        f"The same cases have the catalogue hash {_span(m.catalogue['hash'])} in the manifest "
        f"({len(m.catalogue['cases']):,} cases)."
    )
    if m.missing:
        yield "Not measured, since it was not there:"
        yield _lines(m.missing)


def _pins(m: Manifest) -> Iterator[tuple[str, str]]:
    """Distributions, by the names that pip knows, and versions: of each package, and of what brought a framework."""
    for package, version in (m.versions | m.packages).items():
        yield m.distributions.get(package, _DISTRIBUTIONS.get(package, package)), version
    measured = (plugin for name, plugin in m.plugins.items() if name in m.frameworks)
    yield from dict.fromkeys((plugin["distribution"], plugin["version"]) for plugin in measured)


def _public(version: str) -> str:
    """The version without the local part that names a build, as ``+cpu``: an index of packages takes none."""
    return str(version).partition("+")[0]


def _lines(facts: Mapping[str, object]) -> str:
    return "\n".join(f"- {_span(name)}: {_span(value)}" for name, value in facts.items())


def _span(words: object) -> str:
    """Words that are data, all of them, as a code span on one line."""
    return "`" + " ".join(str(words).split()).replace("`", "'") + "`"


def _code(words: str, language: str) -> str:
    """A block fenced by more backticks than there are in it."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", words))])
    return f"{fence}{language}\n{words}\n{fence}"
