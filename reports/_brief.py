"""The Markdown of a pull request: under 60 lines for any run, and where the rest is."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from ..core.formats import DTYPES
from ..core.vocabulary import Formula, Grade, Status, grade_rank
from ..storage.querying import Measurements
from ._report import PARTIAL, Report
from .tables.curves import axes
from .tables.errors import by_family
from .tables.grades import Column, alike, grade_cells, grades_across, labels, reference_column, score
from .tables.ignored import in_brief, lets_nan_through
from .tables.uncounted import MARK, MEANING

# Lines of each table; with headings and what is between them they make fewer than 60, since grades give way.
MAX_LINES, MAX_RUNS, MAX_GRADES, MAX_BROKEN, MAX_AXES, MAX_IGNORED, MAX_FAULTS = 59, 3, 15, 6, 4, 4, 3
AROUND = 5  # lines about a table: its title, its heading, and two empty ones
MAX_NAME, MAX_WORDS, MAX_DAMAGE = 90, 110, 300  # characters
MAX_FAMILIES = 3  # named of a line
OTHERWISE = "in other modes"
ALIKE_BY = 2  # families: losses that break on the same ones most are told together
HEADINGS = {f: f.label for f in Formula} | {Formula.BUILTIN: f"the worst {Formula.BUILTIN.label}"}


def brief(found: Report) -> str:
    """What matters of a report: the worst grades, what is not finite, errors along sweeps, faults, and provenance."""
    cells = found.source.cells
    tables = {section.name: section.table for section in found.sections}
    reference = reference_column(cells)
    column = code_span(reference.label) if reference else ""
    parts = ["# LogitLab report", *_partial(found), *_provenance(found), _headline(cells), *_nan(found.source)]
    after = [
        (f"Not finite where the answer is, or the reverse: {column}", _broken(found.source, reference)),
        ("Largest error of the loss along the sweeps, in ulp", _along(axes(found.source), cells, tables)),
        ("Ignored rows, loss / gradient, and where no row counts", _ignored(tables.get("ignored", pd.DataFrame()))),
        ("Faults", _faults(tables.get("faults", pd.DataFrame()))),
    ]
    taken = sum(part.count("\n") + 2 for part in parts) + sum(len(t) + AROUND for _, t in after if len(t)) + AROUND + 1
    taken += 2 * sum(_is_marked(t) for _, t in after)
    grades = _grades(tables.get("grades", pd.DataFrame()), max(2, min(MAX_GRADES, MAX_LINES - taken)))
    for title, table in [("Worst grades", grades), *after]:
        if len(table):
            parts += [f"## {title}", _markdown(table)]
            parts += [MEANING] * _is_marked(table)
    own_means = list(dict.fromkeys(name for m in found.manifests for name in m.conventions))
    return "\n\n".join([*parts, _rest(int(cells["unsupported"].sum()), own_means)]) + "\n"


def _is_marked(table: pd.DataFrame) -> bool:
    return any(MARK in str(cell) for cell in table.to_numpy().ravel())


def _markdown(table: pd.DataFrame) -> str:
    """A table of escaped words, not padded as tabulate's are: a cell of thirty names would widen every line."""
    lines: list[Iterable[object]] = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def code_span(words: object, most: int = MAX_NAME) -> str:
    """Words that are data as a code span, on one line: in it nothing is markup, a mention or a link."""
    short = textwrap.shorten(str(words), most, placeholder=" ...")
    # `shorten` keeps whole words, and a message may be a single one.
    whole = short if short != "..." else f"{str(words).strip()[: most - 4]} ..."
    # A backslash of its own before the bar would escape the one that escapes the bar.
    return "`" + re.sub(r"\\*\|", r"\\|", whole.replace("`", "'")) + "`"


def _names(names: Sequence[str]) -> str:
    """Names as code spans, the framework said once: ``jax/lse``, ``nn.logsumexp``; ``torch/lse``."""
    spans: list[str] = []
    last = ""
    for name in names:
        framework, slash, rest = str(name).partition("/")
        spans.append(
            ("; " if spans and framework != last else ", " * bool(spans))
            + code_span(rest if framework == last and slash else name)
        )
        last = framework
    return "".join(spans)


def _provenance(found: Report) -> Iterator[str]:
    lines = []
    for m in found.manifests[:MAX_RUNS]:
        packages = ", ".join(f"{package} {version}" for package, version in m.packages.items())
        catalogue = f"{len(m.catalogue['cases'])} cases, {m.catalogue['hash'][:12]}"
        words = f"{m.run}: LogitLab {m.logitlab}; {packages}; {m.machine}; {catalogue}"
        lines.append(
            f"Run {code_span(words, 400)}" + ("" if m.complete else " **NOT COMPLETE: a part of it is missing**")
        )
    more = len(found.manifests) - MAX_RUNS
    yield "  \n".join(lines) + (f", and {more} more runs" if more > 0 else "")


def _partial(found: Report) -> Iterator[str]:
    """What is missing of the runs, in one line."""
    if found.damage:
        more = len(found.damage) - 1
        yield f"**{PARTIAL}**: {code_span(found.damage[0], MAX_DAMAGE)}" + f", and {more} more" * (more > 0)


def _headline(cells: pd.DataFrame) -> str:
    graded = cells[cells["graded"] > 0].sort_values("first graded")
    if graded.empty:
        return "Nothing could be graded."
    count = graded["implementation"].nunique()
    wide = labels(graded[["dtype", "mode", "device"]].drop_duplicates())
    rows, wrong = int(graded["graded"].sum()), int(graded["F"].sum())
    return (
        f"{count} implementation{'s' * (count > 1)} in {', '.join(map(code_span, wide))}: {rows:,} rows graded, "
        f"{wrong:,} of them F ({wrong / rows:.1%})."
    )


def _grades(matrix: pd.DataFrame, most: int) -> pd.DataFrame:
    if matrix.empty:
        return pd.DataFrame()
    wide = grades_across(matrix)
    columns = list(wide.columns[2:])
    if not columns:
        return pd.DataFrame()
    cells = grade_cells(matrix).assign(label=labels)
    case = cells.set_index(["implementation", "label"])["case"].to_dict()
    base = [c for c in columns if c in DTYPES] or columns
    others = [c for c in columns if c not in base]
    wide[OTHERWISE] = [_changes(dict(zip(columns, line, strict=True)), others) for line in wide[columns].to_numpy()]
    groups = alike(wide, [*base, OTHERWISE])
    groups = groups.loc[score(groups, base).sort_values(ascending=False, kind="stable").index]
    lines = []
    for group in groups.to_dict("records"):
        first = group["implementations"][0]
        worst = max(base, key=lambda c: (grade_rank(group[c]), -base.index(c)))
        grades = {c if c in DTYPES else code_span(c): _letter(group[c]) for c in base} | (
            {OTHERWISE: group[OTHERWISE]} if others else {}
        )
        where = code_span(case[first, worst]) if (first, worst) in case else ""
        lines.append({**grades, "implementations": _names(group["implementations"]), "worst case": where})
    return _cut(pd.DataFrame(lines), most, "implementations", [len(g) for g in groups["implementations"]])


def _changes(line: Mapping[str, object], others: Sequence[str]) -> str:
    """The grades of other modes and devices than the first, where they are not those of the dtype in it."""
    changed = (label for label in others if isinstance(line[label], str) and line[label] != line.get(label.split()[0]))
    return ", ".join(f"{code_span(label)} {_letter(line[label])}" for label in changed)


def _letter(grade: object) -> str:
    return "" if not isinstance(grade, str) else f"**{grade}**" if grade == Grade.F else grade


def _cut(table: pd.DataFrame, most: int, column: str, sizes: Sequence[int]) -> pd.DataFrame:
    """The first lines, and in the last one how many implementations the others are about."""
    if len(table) <= most:
        return table
    rest = dict.fromkeys(table.columns, "") | {column: f"and {sum(sizes[most - 1 :])} more"}
    return pd.concat([table.head(most - 1), pd.DataFrame([rest])], ignore_index=True)


def _broken(found: Measurements, reference: Column | None) -> pd.DataFrame:
    rows = by_family(found, reference.condition if reference else "false")
    if not rows["F"].any():
        return pd.DataFrame()
    rows["share"] = rows["F"] / rows["rows"]
    shares = rows.pivot_table(index="implementation", columns="family", values="share", sort=False)
    sums = rows.groupby("implementation", sort=False)[["F", "rows"]].sum()
    whole = sums["F"] / sums["rows"]
    broken = shares[shares.gt(0).any(axis=1)].fillna(0.0)
    worst = broken.apply(lambda s: " ".join(sorted(s[s > 0].nlargest(ALIKE_BY).index)), axis=1)
    lines, sizes = [], []
    for names in worst.groupby(worst, sort=False).groups.values():
        largest = broken.loc[names].max().sort_values(ascending=False, kind="stable")
        largest = largest[largest > 0]
        families = [f"{code_span(family)} {_share(share)}" for family, share in largest.head(MAX_FAMILIES).items()]
        families += [f"and {len(largest) - MAX_FAMILIES} more"] * (len(largest) > MAX_FAMILIES)
        lines.append({"F": whole[names].max(), "implementations": _names(list(names)), "families": ", ".join(families)})
        sizes.append(len(names))
    order = np.argsort([-line["F"] for line in lines], kind="stable")
    table = pd.DataFrame([lines[i] for i in order])
    table = table.assign(F=table["F"].map(_share)).rename(columns={"F": "rows", "families": "most in"})
    return _cut(table, MAX_BROKEN, "implementations", [sizes[i] for i in order])


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else f"{share:.1%}" if share >= 0.001 else "< 0.1%"


def _along(found: Sequence[str], cells: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    formula = cells.drop_duplicates("implementation").set_index("implementation")["formula"]
    lines = []
    for axis in found[:MAX_AXES]:
        table = tables.get(f"curve_{axis}_loss")
        if table is None:
            continue
        table = table[table["dtype"] == ("float32" if "float32" in set(table["dtype"]) else table["dtype"].iloc[0])]
        low, high = table[axis].min(), table[axis].max()
        of = table.groupby(table["implementation"].map(formula))[["largest", "uncounted"]].max()
        words = dict(zip(of.index, map(_largest, of["largest"], of["uncounted"]), strict=True))
        errors = {title: words.get(f, "") for f, title in HEADINGS.items()}
        lines.append({"axis": f"{axis}, {low:g} to {high:g}, {table['dtype'].iloc[0]}", **errors})
    return pd.DataFrame(lines)


def _nan(found: Measurements) -> Iterator[str]:
    """The losses that let NaN from an ignored row through, in one line."""
    reached = [f"{where}: {_names(names)}" for where, names in lets_nan_through(found).items()]
    if reached:
        yield f"**NaN from an ignored row** reaches {'; '.join(reached)}."


def _ignored(table: pd.DataFrame) -> pd.DataFrame:
    """What ignored rows do, a line for all implementations that do alike."""
    if table.empty:
        return table
    brief = in_brief(table)
    words = [c for c in brief if c not in ("framework", "implementation", "mode", "device", "dtypes")]
    groups = brief.groupby(words, sort=False, dropna=False)["implementation"].agg(lambda n: list(dict.fromkeys(n)))
    lines = groups.reset_index()
    sizes = [len(names) for names in lines["implementation"]]
    lines["implementation"] = lines["implementation"].map(_names)
    return _cut(lines.rename(columns={"implementation": "implementations"}), MAX_IGNORED, "implementations", sizes)


def _largest(largest: float, uncounted: float) -> str:
    number = "" if pd.isna(largest) else f"{largest:.2g}"
    return f"{number} {MARK}".strip() if uncounted > (0.0 if pd.isna(largest) else largest) else number


def _faults(bad: pd.DataFrame) -> pd.DataFrame:
    if bad.empty:
        return bad
    faults = bad[bad["status"] != Status.UNSUPPORTED].sort_values("cases", ascending=False, kind="stable")
    words = faults["detail"].map(lambda detail: code_span(detail, MAX_WORDS))
    lines = faults.assign(implementation=faults["implementation"].map(code_span), words=words)
    return _cut(lines[["implementation", "status", "words", "cases"]], MAX_FAULTS, "words", [1] * len(lines))


def _rest(refused: int, own_means: Sequence[str]) -> str:
    held = f"Held to the weighted mean that it documents: {_names(own_means)}. " if own_means else ""
    unsupported = f"Unsupported, by somebody's own word: {refused:,} measurements. " if refused else ""
    return (
        f"{held}{unsupported}The rest: `logitlab report RUN --format csv` (every table and measurement), "
        "`logitlab explain CASE --implementation I --dtype D` (where it went wrong)."
    )
