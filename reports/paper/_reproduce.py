"""``reproduce.md``: the commands and versions behind a report, from the manifests of its runs."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ...storage.manifest import Manifest
from ...storage.store import Run

# Distributions whose name differs from their package, for a run that does not record distributions.
_DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "paddle": "paddlepaddle",
    "liger_kernel": "liger-kernel",
    "fla": "fla-core",
}


def write_reproduce(runs: Sequence[Run], formats: Sequence[str], out: Path, missing: Sequence[str] = ()) -> Path:
    """Write ``out/reproduce.md`` for a report of these runs in these formats, and return its path.

    ``missing`` has a sentence for each thing that the report lacks.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "reproduce.md"
    path.write_text(reproduce(runs, formats, out, missing), encoding="utf-8")
    return path


def reproduce(runs: Sequence[Run], formats: Sequence[str], out: Path, missing: Sequence[str] = ()) -> str:
    """Return the page: the packages to install, the commands, the machine, and what must be the same."""
    report = ["logitlab", "report", *(str(run.folder) for run in runs)]
    report += [word for name in formats for word in ("--format", name)] + ["--out", str(out)]
    parts = ["# How to reproduce this report", *(f"**{_span(message)}**" for message in missing)]
    for run in runs:
        parts += _run(run.manifest)
    parts += ["## The report", "From the folders of these runs:", _code(shlex.join(report), "sh")]
    return "\n\n".join(parts) + "\n"


def _run(m: Manifest) -> Iterator[str]:
    yield f"## Run {_span(m.run)}"
    if not m.complete:
        yield "**Not complete: the run was stopped, so this report lacks the rest of it.**"
    yield "The packages:"
    pins = list(_pins(m))
    yield _code(shlex.join(["pip", "install", *(f"{name}=={_public(version)}" for name, version in pins)]), "sh")
    if builds := {name: version for name, version in pins if version != _public(version)}:
        yield (
            "The run measured these builds, which are not on the package index (PyTorch's builds are at "
            "https://download.pytorch.org/whl/). Another build of the same version may give other results:"
        )
        yield _lines(builds)
    if m.environment or m.variants:
        yield "The environment variables that change results:"
        yield _code("\n".join(f"export {name}={shlex.quote(value)}" for name, value in m.environment.items()), "sh")
    yield f"The command, started {m.started}:" if m.started else "The command:"
    yield _code(m.command or "not recorded", "sh")
    yield "The machine:"
    yield _lines(m.hardware)
    if settings := m.nonempty_settings:
        yield "The settings of the frameworks:"
        yield _lines({name: "; ".join(f"{k} {v}" for k, v in of.items()) for name, of in settings.items()})
    if m.variants:
        yield "The variants, by framework and mode:"
        yield _lines({name: " ".join(f"{k}={v}" for k, v in of.items()) for name, of in m.variants.items()})
    if m.files:
        yield "The files read:"
        yield _lines({str(i + 1): file for i, file in enumerate(m.files)})
    yield (
        f"A run of the same cases has the catalogue hash {_span(m.catalogue['hash'])} in its manifest "
        f"({len(m.catalogue['cases']):,} cases)."
    )
    if m.missing:
        yield "Not measured because it was not installed:"
        yield _lines(m.missing)


def _pins(m: Manifest) -> Iterator[tuple[str, str]]:
    """The distributions, by their names for pip, and versions: of each package and of each framework's plugin."""
    for package, version in (m.versions | m.packages).items():
        yield m.distributions.get(package, _DISTRIBUTIONS.get(package, package)), version
    measured = (plugin for name, plugin in m.plugins.items() if name in m.frameworks)
    yield from dict.fromkeys((plugin["distribution"], plugin["version"]) for plugin in measured)


def _public(version: str) -> str:
    """The version without the local part that names a build, such as ``+cpu``, which a package index does not have."""
    return str(version).partition("+")[0]


def _lines(facts: Mapping[str, object]) -> str:
    return "\n".join(f"- {_span(name)}: {_span(value)}" for name, value in facts.items())


def _span(words: object) -> str:
    """Data as a code span on one line."""
    return "`" + " ".join(str(words).split()).replace("`", "'") + "`"


def _code(words: str, language: str) -> str:
    """A code block, fenced by more backticks than it contains."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", words))])
    return f"{fence}{language}\n{words}\n{fence}"
