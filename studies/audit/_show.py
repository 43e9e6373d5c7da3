"""The result of an audit in each format: text, Markdown and JSON are made here."""

import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd

from ...core import strict_json
from ...core.counting import count
from ._changes import Change
from ._ci import junit, sarif
from ._kinds import MEANING, Kind
from ._result import NOTICED, Audited

WIDTH = 100
HEAD = ("kind", "noticed", "what shows it")
MAX_CHANGES = 3  # of a kind, in text; all are in the JSON


def written(result: Audited, name: str) -> str:
    """Return the result in the format of `FORMATS` with this name."""
    return FORMATS[name](result)


def summary(result: Audited) -> str:
    """Return the result as one sentence."""
    noticed = int(result.faults["outcome"].eq(NOTICED).sum())
    sound = len(result.table) - len(result.faults)
    return (
        f"{result.name} notices {noticed} of {count(len(result.faults), 'fault')} and rejects "
        f"{len(result.rejected)} of {count(sound, 'sound loss')}"
    )


def _where(result: Audited) -> str:
    given = "row losses" if result.returns == "rows" else f"the {result.returns} of a batch"
    return f"{result.framework} {result.version}, {', '.join(result.dtypes)}, {given}"


def _uncounted(result: Audited) -> str:
    return f"Not counted: {count(result.uncounted, 'fault')} that {', '.join(result.dtypes)} does not show."


def _text(result: Audited) -> str:
    return "\n".join(_text_lines(result)) + "\n"


def _text_lines(result: Audited) -> Iterator[str]:
    yield from _wrapped(f"{summary(result)} ({_where(result)})", "")
    yield ""
    for kind, noticed, needs in (HEAD, *_kind_rows(result)):
        yield f"{kind:<18} {noticed:>9}  {needs}"
    if result.uncounted:
        yield from ("", _uncounted(result))
    for title, names in _lists(result):
        yield from ("", f"{title}:")
        for name, text in names:
            yield from _wrapped(f"{name}: {text}", "  ")
    if result.changes:
        yield from ("", "The smallest changes that would notice them:")
    for change, left in _shown_changes(result):
        yield from _wrapped(f"{change.kind}: {_change(change)}", "  ")
        if left:
            yield f"    and {count(left, 'other change')}; see --format json"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  " if indent else "", break_on_hyphens=False
    )


def _kind_rows(result: Audited) -> list[tuple[str, str, str]]:
    columns = (result.kinds["kind"], result.kinds["noticed"], result.kinds["faults"])
    return [(str(kind), f"{n} of {all_}", MEANING[Kind(kind)]) for kind, n, all_ in zip(*columns, strict=True)]


def _lists(result: Audited) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the lists of losses that the report names, each with a title."""
    for title, table, column in (
        ("Faults that slip through", result.missed, "description"),
        ("Sound losses that it rejects", result.rejected, "message"),
        ("Not finished in time", result.unfinished, "message"),
    ):
        columns = (table["loss"], table[column], table["source"])
        lines = [(str(loss), f"{text}{_source(source)}") for loss, text, source in zip(*columns, strict=True)]
        if lines:
            yield title, lines


def _source(source: object) -> str:
    return f" Modelled on {source}." if isinstance(source, str) else ""


def _shown_changes(result: Audited) -> Iterator[tuple[Change, int]]:
    """Yield the first changes of each kind, the last with the number of those left out."""
    for kind in Kind:
        of_kind = [change for change in result.changes if change.kind is kind]
        left = max(len(of_kind) - MAX_CHANGES, 0)
        shown = of_kind[:MAX_CHANGES]
        yield from ((change, left if change is shown[-1] else 0) for change in shown)


def _change(change: Change) -> str:
    return f"{change.text}. This notices {', '.join(change.notices)}."


def _markdown(result: Audited) -> str:
    parts = [
        f"# {summary(result)}", f"{_where(result)}.",
        pd.DataFrame(_kind_rows(result), columns=list(HEAD)).to_markdown(index=False),
    ]  # fmt: skip
    if result.uncounted:
        parts.append(_uncounted(result))
    for title, names in _lists(result):
        parts += [f"## {title}", "\n".join(f"- `{name}`: {_escaped(text)}" for name, text in names)]
    changes = list(_shown_changes(result))
    if changes:
        parts += ["## The smallest changes that would notice them"]
        parts += ["\n".join(f"- {change.kind}: {_escaped(_change(change))}" for change, _ in changes)]
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    """Return text whose characters have no meaning in Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_<>[]|#" else c for c in text)


def _json(result: Audited) -> str:
    return strict_json.document(as_json(result))


def as_json(result: Audited) -> dict[str, Any]:
    """Return the result as `core/schemas/audit.schema.json` describes it."""
    return {
        "schema": 1,
        "test": result.name,
        "framework": result.framework,
        "version": result.version,
        "dtypes": list(result.dtypes),
        "returns": result.returns,
        "passed": result.passed,
        "faults": len(result.faults),
        "noticed": int(result.faults["outcome"].eq(NOTICED).sum()),
        "sound": len(result.table) - len(result.faults),
        "rejected": len(result.rejected),
        "unfinished": len(result.unfinished),
        "uncounted": result.uncounted,
        "kinds": strict_json.records(result.kinds),
        "losses": strict_json.records(result.table),
        "changes": [
            {
                "kind": change.kind.value,
                "dtype": change.dtype,
                "case": change.call.case,
                "how": change.call.how,
                "quantity": change.call.quantity,
                "text": change.text,
                "notices": list(change.notices),
            }
            for change in result.changes
        ],
    }


FORMATS: Mapping[str, Callable[[Audited], str]] = {
    "text": _text, "markdown": _markdown, "json": _json, "junit": junit, "sarif": sarif
}  # fmt: skip
