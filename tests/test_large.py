"""Aggregates of parts that are not loaded: the numbers equal those of pandas and take little memory."""

import importlib.util
import sys
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from distributions_by_pandas import left_out, written_from
from example_counts import examples
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import logitlab
from logitlab import reports
from logitlab.core import files
from logitlab.core.errors import UsageError
from logitlab.core.formats import DTYPES, FORMATS
from logitlab.core.rounding import ulp
from logitlab.reports.tables.ordering import CELL, by_dtype, in_order, without_categories
from logitlab.storage import querying
from logitlab.storage._parts import Checksums
from logitlab.storage.manifest import Manifest
from logitlab.storage.querying import Measurements
from logitlab.storage.store import COLUMNS, Run, typed

INF, NAN = np.inf, np.nan
GRADES = ("A", "B", "C", "D", "F")
MANIFEST = {
    "run": "r", "complete": True, "frameworks": {}, "versions": {"logitlab": "0"}, "missing": {}, "left_out": [],
    "hardware": {"processor": "", "machine": "", "system": ""}, "catalogue": {"cases": [], "hash": "0"},
}  # fmt: skip

# --- the tables by pandas ---------------------------------------------------------------------------------------


def grades(df):
    graded = without_categories(df[df["grade"].notna()])
    graded["rank"] = graded["grade"].map(GRADES.index)
    graded = graded.sort_values(["rank", "max_ulp"], ascending=False, kind="stable")
    worst = graded.drop_duplicates(CELL)[[*CELL, "grade", "case"]]
    ungraded = without_categories(df[df["status"] != "ok"]).drop_duplicates(CELL)
    ungraded = ungraded.assign(grade=ungraded["status"])[[*CELL, "grade", "case"]]
    both = pd.concat([worst, ungraded]).drop_duplicates(CELL)
    return by_dtype(df, both, {"grade": "", "case": " case"})


def finiteness(df):
    rows = without_categories(df[df["grade"].notna()])
    rows["right"] = ((rows["grade"] != "F") | (rows["finite"] == rows["expected_finite"])).astype(float)
    sides = {"finite where it should be": True, "not finite where it should not": False}
    found = {}
    for side, kind in sides.items():
        groups = rows[rows["expected_finite"] == kind].groupby(CELL, sort=False)["right"]
        found[side], found[f"rows {side}"] = groups.mean(), groups.count()
    table = pd.DataFrame(found)[[*sides, *(f"rows {s}" for s in sides)]]
    return in_order(df, table.reset_index())


def counted(rows, keys):
    """Return the median and largest error of the rows that count, and a larger error of the others."""
    out = left_out(rows)
    split = rows.assign(ulps=rows["max_ulp"].mask(out), left_out=rows["max_ulp"].where(out))
    table = split.groupby(keys, sort=False).agg(
        median=("ulps", "median"), largest=("ulps", "max"), uncounted=("left_out", "max")
    )
    larger = table["uncounted"] >= table["largest"].fillna(0.0)
    return table.assign(uncounted=table["uncounted"].where(larger))


def errors(df, quantity):
    rows = without_categories(df[df["grade"].notna() & (df["quantity"] == quantity)])
    table = counted(rows, CELL).dropna(how="all")
    return in_order(df, table.rename(columns=lambda kind: f"{quantity} {kind}").reset_index())


OF_LOSS = ["bias", "too large", "too small"]


def distributions(df):
    """Return the tables of distributions by name, without those that have no line."""
    tables = {}
    for quantity in ("loss", "gradient"):
        table = written_from(df, CELL, [quantity])
        if len(table):
            unwanted = [] if quantity == "loss" else OF_LOSS
            tables[f"distribution_{quantity}"] = in_order(df, table).drop(columns=unwanted)
    keys = ["dtype", "mode", "device", "quantity"]
    tables["distribution_families"] = in_order(df, written_from(df, [*keys, "family", "formula"]))
    swept = written_from(df[df["family"] == "sweep_offset"], [*keys, "formula", "along"])
    if len(swept):
        along = in_order(df, swept.sort_values("along", kind="stable"))
        tables["distribution_along_offset"] = along.rename(columns={"along": "offset"})
    return tables


def bounds(df):
    rows = without_categories(df[df["quantity"].isin(["probabilities", "loss"]) & df["max_abs"].notna()])
    columns = {}
    for name in ("unshifted", "shifted"):
        rows[name] = rows["max_abs"] / rows[f"bound_{name}"]
        rows[f"{name} over"] = rows[name] > 1
        columns |= {
            f"{name} rows": (name, "count"), f"{name} median": (name, "median"), f"{name} largest": (name, "max"),
            f"{name} beyond": (f"{name} over", "sum"),
        }  # fmt: skip
    rows["stability"] = rows["stability_ratio"].where((rows["quantity"] == "loss") & (rows["condition"] >= 1))
    columns |= {"stability median": ("stability", "median"), "stability largest": ("stability", "max")}
    table = rows.groupby([*CELL, "quantity"], sort=False).agg(**columns).reset_index()
    return in_order(df, table[(table[["unshifted rows", "shifted rows"]] > 0).any(axis=1)])


def curve(df, axis, quantity):
    rows = without_categories(
        df[(df["family"] == f"sweep_{axis}") & (df["quantity"] == quantity) & df["grade"].notna()]
    )
    rows[axis] = rows["case"].str.rsplit("/", n=1).str[-1].astype(float)
    return in_order(df, counted(rows, [*CELL, axis]).reset_index().sort_values(axis, kind="stable"))


def faults(df):
    bad = without_categories(df[(df["status"] != "ok") & (df["family"] != "invalid")])
    keys = ["framework", "implementation", "status", "detail"]
    table = bad.groupby(keys, sort=False, dropna=False).agg(
        cases=("case", "nunique"), dtypes=("dtype", "nunique"), first=("case", "first")
    )
    table = in_order(df, table.reset_index())
    return table.assign(detail=table["detail"].astype(object).where(table["detail"].notna(), NAN))


def spacing(exact, dtypes):
    at = [e if np.isfinite(e) else FORMATS[d].largest for e, d in zip(exact, dtypes, strict=True)]
    return np.array([float(ulp(a, FORMATS[d])) for a, d in zip(at, dtypes, strict=True)])


def apart(one, other, ulps):
    with np.errstate(invalid="ignore", over="ignore"):
        far = np.abs(one - other) / ulps
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    return np.where(same, 0.0, np.where(np.isfinite(one) & np.isfinite(other), far, INF))


def against(df, column, base):
    done = without_categories(df[df["status"] == "ok"])
    keys = ["case", "row", "quantity", *(c for c in CELL if c != column)]
    kept = [*keys, "out_dtype", "bits", "grade", "value", "exact"]
    ours = done[done[column] != base]
    if ours.empty:
        return ours
    ours = ours.assign(against=[m.partition("+")[0] if "+" in m else base for m in ours[column]])
    theirs = done[[*kept, column]].rename(columns={column: "against"})
    both = ours[[*kept, column, "against"]].merge(theirs, on=[*keys, "against"], suffixes=("", " base"))
    both["different"] = ((both["bits"] != both["bits base"]) | (both["out_dtype"] != both["out_dtype base"])).fillna(
        False
    )
    new, old = (both[c].map({g: i for i, g in enumerate(GRADES)}) for c in ("grade", "grade base"))
    both["worse"], both["better"] = new > old, new < old
    value, other, exact = (both[c].to_numpy(np.float64) for c in ("value", "value base", "exact"))
    both["largest"] = np.where(both["quantity"] == "loss", apart(value, other, spacing(exact, both["dtype"])), NAN)
    both = both.sort_values(["worse", "largest", "different"], ascending=False, kind="stable")
    both["case"] = both["case"].where(both["different"])
    table = both.groupby([*CELL, "quantity"], sort=False).agg(
        rows=("different", "size"), different=("different", "sum"), worse=("worse", "sum"), better=("better", "sum"),
        largest=("largest", "max"), case=("case", "first"),
    )  # fmt: skip
    return in_order(df, table.reset_index())


def side_by_side(df):
    done = without_categories(df).reset_index(drop=True)
    sides = sorted(dict.fromkeys(zip(done["device"], done["mode"], strict=True)), key=lambda side: side[0] != "cpu")
    done["place"] = range(len(done))
    done = done[done["status"] == "ok"]
    found = []
    for (one, mode), (other, other_mode) in combinations(sides, 2):
        if one == other or mode != other_mode:
            continue
        parts = [done[(done["device"] == d) & (done["mode"] == mode)] for d in (one, other)]
        keys = ["implementation", "dtype", "mode", "case", "row", "quantity"]
        both = parts[0].merge(parts[1], on=keys, suffixes=("", " b"))
        bits, dtypes = (
            both[c].ne(both[f"{c} b"]) & both[c].notna() & both[f"{c} b"].notna() for c in ("bits", "out_dtype")
        )
        both["differs"] = both["row"].where(bits | dtypes)
        far = apart(
            *(both[c].to_numpy(np.float64) for c in ("value", "value b")), spacing(both["exact"], both["dtype"])
        )
        both["apart"] = np.where(both["quantity"] == "loss", far, NAN)
        for c in ("grade", "grade b"):
            both[c] = both[c].map(GRADES.index, na_action="ignore").astype(float)
        table = both.groupby(["implementation", "dtype", "mode", "case"], sort=False).agg(**{
            "grade of one": ("grade", "max"), "grade of other": ("grade b", "max"), "rows": ("row", "nunique"),
            "different": ("differs", "nunique"), "apart": ("apart", "max"), "error of one": ("max_ulp", "max"),
            "error of other": ("max_ulp b", "max"), "first": ("place", "min"),
        }).reset_index()  # fmt: skip
        for c in ("grade of one", "grade of other"):
            table[c] = [None if np.isnan(g) else GRADES[int(g)] for g in table[c]]
        table["same"] = table["grade of one"].fillna("") == table["grade of other"].fillna("")
        table = table[(table["different"] > 0) | ~table["same"]].sort_values("first")
        table = table.sort_values("apart", ascending=False, kind="stable").sort_values("same", kind="stable")
        found.append(table.drop(columns=["first", "same"]).assign(one=one, other=other))
    if not found:
        return pd.DataFrame()
    whole = pd.concat(found, ignore_index=True)
    return whole[["one", "other", *(c for c in whole if c not in ("one", "other"))]]


def losses(df, dtype):
    """Return the losses of a dtype by row and implementation, and the ulp of each row."""
    wanted = (df["mode"] == "eager") & (df["quantity"] == "loss") & (df["dtype"] == dtype) & (df["status"] == "ok")
    eager = without_categories(df[wanted & (df["verdict"] != "undefined")])
    one = eager[eager["device"] == eager["device"].iloc[0]] if len(eager) else eager
    given = {}
    for line in one.to_dict("records"):
        given.setdefault((line["case"], line["row"], line["exact"]), {})[line["implementation"]] = line["value"]
    return given, list(pd.unique(one["implementation"]))


def agreement(df):
    lines = []
    for dtype in DTYPES:
        worst = {}
        given, names = losses(df, dtype)
        for (case, row, exact), values in given.items():
            finite = {n: values[n] for n in names if n in values and np.isfinite(values[n])}
            low, high = (min(finite, key=finite.get), max(finite, key=finite.get)) if finite else ("", "")
            far = apart(*(np.array([finite[n]]) for n in (low, high)), spacing([exact], [dtype]))[0] if finite else 0.0
            broken = [n for n in names if n in values and n not in finite] if finite else []
            answers = len(set(map(str, values.values())))
            line = (case, dtype, row, len(values), answers, far, low, high, ", ".join(broken))
            if case not in worst or (len(broken), far) > worst[case][0]:
                worst[case] = (len(broken), far), line, list(given).index((case, row, exact))
        lines += [line for _, line, _ in sorted(worst.values(), key=lambda w: w[2])]
    names = ["case", "dtype", "row", "implementations", "answers", "apart", "lowest", "highest", "not finite"]
    return pd.DataFrame(lines, columns=names)


def pairs(df):
    lines = []
    for dtype in DTYPES:
        given, names = losses(df, dtype)
        for one, other in combinations(names, 2):
            both = [(v[one], v[other], key[2]) for key, v in given.items() if one in v and other in v]
            a, b, exact = np.array(both, float).reshape(-1, 3).T
            far = apart(a, b, spacing(exact, [dtype] * len(exact)))
            counts = [(far == 0).sum(), (far <= 1).sum(), (far <= 10).sum(), (far > 10).sum()]
            lines.append((dtype, one, other, len(far), *counts))
    columns = ["dtype", "one", "other", "rows", "equal", "within 1 ulp", "within 10 ulp", "apart"]
    return pd.DataFrame(lines, columns=columns)


def by_pandas(df):
    """Return the tables of a report that aggregate measurements and have lines."""
    of_bounds = bounds(df)
    loss = of_bounds[of_bounds["quantity"] == "loss"]
    tables = {
        "grades": grades(df),
        "finiteness": finiteness(df),
        **{f"errors_{q}": errors(df, q) for q in ("loss", "gradient")},
        **{
            f"bounds_{q}": of_bounds[of_bounds["quantity"] == q].drop(columns="quantity")
            for q in ("loss", "probabilities")
        },
        **distributions(df),
        "stability": loss[[*CELL, "stability median", "stability largest"]].dropna(),
        **{f"curve_offset_{q}": curve(df, "offset", q) for q in ("loss", "gradient")},
        "modes": against(df, "mode", "eager"),
        "devices": against(df, "device", "cpu"),
        "device_pairs": side_by_side(df),
        "agreement": agreement(df),
        "pairs": pairs(df),
        "faults": faults(df),
    }
    return {name: table for name, table in tables.items() if len(table)}


# --- they are the same ------------------------------------------------------------------------------------------


def drawn(seed, share):
    """Return a random share of a few cells' measurements, in any order, with every kind of number."""
    rng = np.random.default_rng(seed)
    cases = ["f/a", "f/b", "sweep_offset/1", "sweep_offset/1e3", "invalid/minus_one"]
    cells = [["x", "y"], ["a", "b"], ["float16", "float32"], ["cpu", "cuda"], ["eager", "compiled", "compiled+fast"]]
    keys = list(product(cases, range(-1, 2), *cells, ["loss", "gradient", "probabilities"]))
    kept = [keys[i] for i in rng.permutation(len(keys))[: int(share * len(keys))]]
    n = len(kept)
    names = ["case", "row", "framework", "implementation", "dtype", "device", "mode", "quantity"]
    df = pd.DataFrame(kept, columns=names)
    df["implementation"] = df["framework"] + "/" + df["implementation"]
    df["family"] = df["case"].str.partition("/")[0]

    def some(*values):
        return rng.choice(np.array(values, object), n)

    df["run"], df["classes"], df["version"] = "r", 2, "1"
    df["formula"] = np.where(df["implementation"].str.endswith("/a"), "lse", "builtin")
    df["status"] = some(*["ok"] * 8, "raised", "unsupported")
    ok = df["status"] == "ok"
    df["detail"] = np.where(ok, None, some("E: x", "E: y | z", None))
    df["verdict"] = np.where(ok, some("correct", "lost", "undefined"), None)
    df["first_failure"] = np.where(ok, some("exp", "log", None), None)
    df["grade"] = np.where(ok & (df["verdict"] != "undefined"), some(*GRADES), None)
    for name in ("finite", "expected_finite"):
        df[name] = np.where(ok, some(True, False), None)
    df["out_dtype"], df["bits"] = np.where(ok, some("float32", "float64"), None), np.where(ok, some(1, 2), None)
    for name in ("n_nan", "n_posinf", "n_neginf"):
        df[name] = np.where(ok, 0, None)
    df["n_zeroed"] = np.where(ok, some(0, 1, 2), None)
    numbers = (0.0, 5e-324, 0.1, 0.3, 0.7, 1.0, 1.0000000000000002, 3e-5, 7.5, 1e300, 8e307, INF)
    for name in ("max_abs", "max_rel", "max_ulp", "stability_ratio", "condition", "bound_unshifted", "bound_shifted"):
        df[name] = np.where(ok, np.where(rng.random(n) < 0.2, NAN, rng.choice(numbers, n)), NAN)
    losses = (df["quantity"] == "loss") & ok
    df["signed_ulp"] = np.where(losses, df["max_ulp"] * rng.choice([-1, 1], n), NAN)
    df["value"] = np.where(losses, rng.choice([1.0, 1.0 + 2.0**-23, 1.5, -0.0, 0.0, 3e300, INF, -INF, NAN], n), NAN)
    exact = {key: rng.choice([1.0, 1.25, 2000.0, INF]) for key in product(df["case"].unique(), range(-1, 2))}
    df["exact"] = np.where(losses, [exact[key] for key in zip(df["case"], df["row"], strict=True)], NAN)
    return typed(df.assign(max_ulp=df["max_ulp"].where(df["grade"].notna())))


def written(folder, df, parts, without=()):
    """Write a run of these measurements in this many parts; the first lacks columns that were added later."""
    run = Run.create(folder, Manifest.parse(MANIFEST))
    for i, places in enumerate(np.array_split(np.arange(len(df)), parts)):
        run.write(i, df.iloc[places])
    old = pq.read_table(run.part(0))
    pq.write_table(old.drop_columns(list(without)), run.part(0))
    checksums = Checksums(folder)
    checksums.rewrite({**checksums.known, "parts/00000.parquet": files.digest_of(run.part(0))})
    return run


def same(found, expected):
    assert set(found) == set(expected)
    for name, table in expected.items():
        if "bias" in table:  # pandas adds floating-point numbers
            np.testing.assert_allclose(found[name]["bias"], table["bias"].astype(float), atol=1e-9, rtol=1e-12)
        one, other = (t.drop(columns="bias", errors="ignore").reset_index(drop=True) for t in (found[name], table))
        pd.testing.assert_frame_equal(
            one, other, check_exact=True, check_dtype=False, check_column_type=False, obj=name
        )


@pytest.mark.full
@settings(max_examples=examples(9), phases=[Phase.generate])  # a seed does not shrink
@given(
    seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.001, 0.02, 0.2, 0.9]), parts=st.integers(1, 4),
    without=st.sets(
        st.sampled_from(["bits", "stability_ratio", "signed_ulp", "bound_shifted", "first_failure", "detail"])
    ),
)  # fmt: skip
def test_tables_from_parts_equal_those_of_pandas_to_the_last_bit(tmp_path_factory, seed, share, parts, without):
    assert_same_as_pandas(tmp_path_factory.mktemp("drawn") / "run", seed, share, parts, without)


def assert_same_as_pandas(folder, seed, share, parts, without):
    run = written(folder, drawn(seed, share), parts, without)
    df = run.read()
    expected = by_pandas(df)
    filled = [c for c in df if df[c].notna().any()]  # an empty column may have categories of any type
    for loaded in (0, 10**6):  # queries of the parts, and of a table in memory
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(querying, "LOADED", loaded)
            found = reports.make_report([run])
        same({s.name: s.table for s in found.sections if s.name != "invalid"}, expected)
        pd.testing.assert_frame_equal(found.source.frame()[filled], df[filled], check_exact=True)


@pytest.mark.full
def test_tables_of_a_real_run_equal_those_of_pandas(small_run):
    df = small_run.read()
    expected = by_pandas(df)
    for sections in (reports.make_report([small_run]).sections, reports.sections(df)):
        same({s.name: s.table for s in sections if s.name != "article"}, expected)


@settings(max_examples=examples(40))
@given(
    st.lists(
        st.lists(st.floats(-8e307, 8e307) | st.sampled_from([INF, 0.0, -0.0, 5e-324, 8e307])),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_medians_of_any_numbers_equal_those_of_pandas(groups):
    lines = [(f"x/{i}", x) for i, numbers in enumerate(groups) for x in numbers]
    df = pd.DataFrame(lines, columns=["implementation", "max_ulp"])
    from logitlab.reports.tables.medians import medians

    found = medians(Measurements.of(df), ["implementation"], {"m": "max_ulp"}, "SELECT * FROM measurements")
    with np.errstate(over="ignore", invalid="ignore"):
        expected = df.groupby("implementation", as_index=False).agg(m=("max_ulp", "median"))
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_dtype=False, check_column_type=False)


@pytest.mark.parametrize("tables", [False, pytest.param(True, marks=pytest.mark.full)])
def test_the_first_of_several_runs_that_has_a_case_in_a_cell_counts(tmp_path, tables):
    one, other = (drawn(seed, 0.1) for seed in (1, 2))
    runs = [written(tmp_path / "one", one, 2), written(tmp_path / "two", other, 3)]
    runs[1].manifest = replace(runs[1].manifest, run="two")
    key = [*CELL, "case"]
    taken = pd.MultiIndex.from_frame(one[key].astype(str))
    kept = other[~pd.MultiIndex.from_frame(other[key].astype(str)).isin(taken)]
    page = reports.make_report(runs)
    expected = typed(pd.concat([one.astype(object), kept.astype(object)], ignore_index=True))
    pd.testing.assert_frame_equal(page.source.frame(), expected, check_exact=True)
    if tables:
        same({s.name: s.table for s in page.sections if s.name != "invalid"}, by_pandas(expected))


def test_a_run_in_a_folder_with_any_name_is_read(tmp_path):
    run = written(tmp_path / "it's [a] run=1 * ?", drawn(3, 0.1), 2)
    assert len(logitlab.read(run.folder)) == run.lines()


# --- what is damaged is left out --------------------------------------------------------------------------------


DAMAGE = {"empty": 0, "no footer": 100, "half": 0.5, "a page of zeros": None}
# Torn parts of a table in memory are in the tests of reports and of the site.
TRIED = [("a page of zeros", 0)]


@pytest.mark.parametrize(
    ("damage", "loaded"),
    [pytest.param(*p, marks=[] if p in TRIED else pytest.mark.full) for p in product(DAMAGE, [0, 10**6])],
)
def test_a_damaged_part_is_left_out_and_named(tmp_path, monkeypatch, damage, loaded):
    monkeypatch.setattr(querying, "LOADED", loaded)
    """The first part lacks columns that were added later."""
    kept = DAMAGE[damage]
    run = written(tmp_path / "run", drawn(5, 0.1), 3, {"bits", "signed_ulp", "detail"})
    content = run.part(1).read_bytes()
    if kept is None:
        run.part(1).write_bytes(content[:100] + bytes(len(content) // 2) + content[100 + len(content) // 2 :])
    else:
        run.part(1).write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    page = reports.make_report([run])
    (damage,) = page.damage
    assert "00001.parquet is damaged" in damage
    whole = typed(pd.concat([pd.read_parquet(run.part(i)).astype(object) for i in (0, 2)], ignore_index=True))
    filled = [c for c in whole if whole[c].notna().any()]
    pd.testing.assert_frame_equal(page.source.frame()[filled], whole[filled], check_exact=True)
    same({s.name: s.table for s in page.sections if s.name != "invalid"}, by_pandas(whole))


# --- for users --------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    return written(tmp_path / "run", drawn(7, 0.1), 3)


def test_only_the_requested_columns_and_lines_are_read(run):
    df = run.read()
    found = logitlab.read(run.folder, ["case", "row", "max_ulp"], "quantity = 'loss' AND grade = 'F' AND \"row\" >= 0")
    wanted = df[(df["quantity"] == "loss") & (df["grade"] == "F") & (df["row"] >= 0)]
    expected = wanted[["case", "row", "max_ulp"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.astype({"case": str}), expected.astype({"case": str}))
    assert {c: str(t) for c, t in found.dtypes.items()} == {c: COLUMNS[c] for c in found}
    pd.testing.assert_frame_equal(logitlab.read(run.folder), df)
    assert list(logitlab.read(run.folder, ["row"], "false").columns) == ["row"]


def test_the_tables_of_a_report_come_as_dataframes(run):
    same({name: t for name, t in logitlab.tables(run.folder).items() if name != "invalid"}, by_pandas(run.read()))


def test_a_query_is_answered(run):
    df = run.read()
    found = logitlab.query(run.folder, "SELECT dtype, max(max_ulp) AS m FROM measurements GROUP BY ALL ORDER BY dtype")
    assert found["m"].to_list() == df.groupby("dtype", observed=True)["max_ulp"].max().sort_index().to_list()


@pytest.mark.parametrize("words", ["no SQL", "SELECT nothing FROM measurements", "SELECT * FROM elsewhere"])
def test_an_invalid_query_is_reported(run, words):
    with pytest.raises(UsageError, match="cannot answer"):
        logitlab.query(run.folder, words)


def test_an_unknown_column_and_an_invalid_condition_are_reported(run):
    with pytest.raises(UsageError, match="unknown column 'ulp'"):
        logitlab.read(run.folder, ["ulp"])
    with pytest.raises(UsageError, match="where 'grade >'"):
        logitlab.read(run.folder, where="grade >")


def test_a_run_without_measurements_is_empty(tmp_path):
    empty = Run.create(tmp_path / "run", Manifest.parse(MANIFEST | {"complete": False}))
    pd.testing.assert_frame_equal(logitlab.read(empty.folder), empty.read())
    assert reports.make_report([empty]).sections == []
    written = reports.write(empty, ["csv", "text", "markdown"], tmp_path / "report")
    (table,) = (p for p in written if p.name == "measurements.csv.gz")
    assert list(pd.read_csv(table).columns) == list(COLUMNS)


@pytest.mark.full
def test_no_report_loads_all_measurements(monkeypatch, tmp_path):
    df = drawn(7, 0.2)  # figures of one framework, device, mode and dtype are enough
    df = df[(df["device"] == "cpu") & (df["mode"] == "eager") & (df["dtype"] == "float32") & (df["framework"] == "x")]
    run = written(tmp_path / "run", df, 3)
    frame = Measurements.frame

    def some(self, columns=None, where="true"):
        assert where != "true"
        return frame(self, columns, where)

    monkeypatch.setattr(Measurements, "frame", some)
    assert reports.write(run, reports.FORMATS, tmp_path / "report")


# --- in little memory -------------------------------------------------------------------------------------------


def benchmark():
    path = Path(__file__).parents[1] / "benchmarks" / "large.py"
    spec = importlib.util.spec_from_file_location("large", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.full
def test_a_report_takes_a_fraction_of_the_memory_that_the_table_would(small_run, tmp_path):
    large = benchmark()
    run = large.make(small_run, tmp_path / "run", 1_500_000)
    load = f"import pathlib, logitlab.storage.store as s; print(len(s.Run(pathlib.Path({str(run.folder)!r})).read()))"
    loading = large.measured([sys.executable, "-c", load])["peak MiB"]
    report = large.measured(
        [sys.executable, "-m", "logitlab", "report", str(run.folder), "--out", str(tmp_path / "out")]
    )["peak MiB"]
    assert run.lines() > 1_400_000
    assert report < loading / 2, (report, loading)


def test_duckdb_keeps_to_its_memory_limit():
    found = Measurements.of(drawn(1, 0.01))
    (limit,) = found.sql("SELECT current_setting('memory_limit') AS m")["m"]
    assert limit == "953.6 MiB"
