"""The table of the largest errors as text, Markdown and JSON."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

import pandas as pd

from ...core import strict_json
from ...core.vocabulary import in_words
from ...reports.markdown_code import code_span, pipe_table
from ._entry import Entry

MARK = "*"
_NOTE = "Finite errors in ulp of the dtype, each measured again for this table. A result that is NaN or infinite is a "
_NOTE += "failure, not an error, and is shown by grades. "
_MARKED = f"{MARK} marks an entry whose recorded error differs, or that could not be measured."
_HEAD = ("ulp", "implementation", "mode", "input", "target", "computed", "exact", "case and row")
MAX_INPUT = 200  # characters; eight numbers have up to 24 each


def written(entries: Sequence[Entry], name: str) -> str:
    """Return the table in the format of `FORMATS` with this name."""
    return FORMATS[name](entries)


def _text(entries: Sequence[Entry]) -> str:
    lines = [_NOTE + _MARKED if entries else "No finite error beyond half an ulp is recorded."]
    for title, group in _groups(entries):
        lines += ["", title]
        for entry in group:
            r = entry.recorded
            lines.append(f"{_ulp(entry):>10}  {r.implementation}{_where(entry)}  {_place(entry)}")
            if not entry.problem:
                lines += [f"{'':10}  {_input(entry)}", f"{'':10}  {_values(entry)}"]
            if entry.remark:
                lines.append(f"{'':10}  {MARK} {entry.remark}")
    return "\n".join(lines) + "\n"


def _markdown(entries: Sequence[Entry]) -> str:
    parts = ["# The largest known errors", _NOTE + _MARKED.replace(MARK, "\\*", 1)]
    for title, group in _groups(entries):
        rows = [_HEAD, ("---:", *["---"] * (len(_HEAD) - 1)), *map(_cells, group)]
        parts += [f"## {title}", pipe_table(rows)]
        if remarks := [f"- {code_span(e.recorded.implementation)}: {code_span(e.remark, MAX_INPUT)}"
                       for e in group if e.remark]:  # fmt: skip
            parts.append("\n".join(remarks))
    return "\n\n".join(parts) + "\n"


def _cells(entry: Entry) -> tuple[str, ...]:
    r, failed = entry.recorded, bool(entry.problem)
    shown = [entry.given, entry.target, "" if failed else repr(entry.computed), "" if failed else repr(entry.exact)]
    if entry.options:
        shown[0] += f"; {entry.options}"
    return (
        _ulp(entry).replace(MARK, "\\*"), code_span(r.implementation), _where(entry).strip(" ()") or "eager",
        *(code_span(text, MAX_INPUT) if text else "" for text in shown), code_span(_place(entry)),
    )  # fmt: skip


def _json(entries: Sequence[Entry]) -> str:
    lines = [
        {
            **vars(entry.recorded),
            "recorded_ulp": entry.recorded.ulp,
            "ulp": entry.ulp,
            "differs": entry.differs,
            "input": entry.given,
            "logits": [float(x).hex() for x in entry.numbers] or None,
            "target": entry.target,
            "options": entry.options,
            "entry": entry.entry,
            "computed": float(entry.computed).hex(),
            "exact": float(entry.exact).hex(),
            "remark": entry.remark,
        }
        for entry in entries
    ]
    return strict_json.document({"schema": 1, "entries": strict_json.records(pd.DataFrame(lines))})


FORMATS: Mapping[str, Callable[[Sequence[Entry]], str]] = {"text": _text, "markdown": _markdown, "json": _json}


def _groups(entries: Sequence[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """Yield the entries of each dtype and quantity with a title."""
    for (dtype, quantity), group in groupby(entries, lambda e: (e.recorded.dtype, e.recorded.quantity)):
        yield f"{dtype}, {in_words(quantity)}", list(group)


def _ulp(entry: Entry) -> str:
    return f"{entry.rank_ulp:.3g}" + MARK * entry.differs


def _where(entry: Entry) -> str:
    """The mode and device, if they are not the usual ones."""
    named = [word for word, usual in ((entry.recorded.mode, "eager"), (entry.recorded.device, "cpu")) if word != usual]
    return f" ({', '.join(named)})" * bool(named)


def _place(entry: Entry) -> str:
    return f"{entry.recorded.case}[{entry.recorded.row}]"


def _input(entry: Entry) -> str:
    parts = [entry.given, f"target {entry.target}" * bool(entry.target), f"with {entry.options}" * bool(entry.options)]
    return ", ".join(filter(None, parts))


def _values(entry: Entry) -> str:
    place = "" if entry.recorded.quantity == "loss" else f"entry {entry.entry}: "
    return f"{place}{entry.computed!r} where {entry.exact!r} is exact"
