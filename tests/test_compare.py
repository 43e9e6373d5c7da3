"""What changed between two runs: the kinds of change, the laws they keep, baselines, and every format."""

import html
import json
import random
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from example_counts import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_process import calls_in_this_process
from measured_line import line

import logitlab
from logitlab import runner
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.storage.store import COLUMNS, Run, typed
from logitlab.studies import compare as comparison
from logitlab.studies.compare import _markdown, _render
from logitlab.studies.compare import _wording as wording

KEY = ["implementation", "dtype", "device", "mode", "quantity", "case", "row"]
HOSTILE = ["]]>", "a\nb\r\n::error::x", "\x00\x1b[31m", "`|\\|<b>@you</b>", "%0A,:", "\u202e\ufffe", "x" * 10_000]


NOT_FINITE = {"grade": "F", "verdict": "nan", "finite": False, "max_ulp": np.inf, "bits": 1}
SWALLOWED = {"grade": "F", "verdict": "swallowed", "expected_finite": False, "max_ulp": np.inf, "bits": 2}
UNGRADED = {"grade": None, "verdict": "undefined", "max_ulp": np.nan}
IGNORED = UNGRADED | {"verdict": "correct", "max_ulp": 0.0}  # an ignored row without a softmax
IGNORED_NUMBER = IGNORED | {"verdict": "inaccurate", "max_ulp": 1e30, "bits": 3}
IGNORED_NAN = IGNORED | {"verdict": "nan", "finite": False, "max_ulp": np.inf, "bits": 4}
CRASHED = UNGRADED | {"status": "crashed", "verdict": None, "bits": None, "detail": "the process died"}
RAISED = CRASHED | {"status": "raised", "detail": "E: no"}


def made(*lines):
    return typed(pd.DataFrame(list(lines), columns=list(COLUMNS)))


def changed(before, after, **options):
    """The one change from one line to another: its kind, and which way it is."""
    # A second line, which stays as it is, makes two runs comparable.
    same = line(row=9)
    changes = logitlab.compare(made(same, line(**before)), made(same, line(**after)), **options).changes
    if changes.empty:
        return None, ""
    (found,) = changes.to_dict("records")
    return found["change"], "-" * found["regression"] + "+" * found["improvement"]


# Of a line before and after: the kind of change, and whether it is a regression or an improvement.
CHANGES = [
    ({}, {}, None, ""),
    ({}, NOT_FINITE, "newly not finite", "-"),
    (NOT_FINITE, {}, "newly finite", "+"),
    (NOT_FINITE, NOT_FINITE, None, ""),
    ({"grade": "B"}, {"grade": "C"}, "grade lost", "-"),
    ({"grade": "C"}, {"grade": "B"}, "grade won", "+"),
    # A finite value in place of an infinite one is as wrong as the reverse, but finiteness is not lost.
    ({"expected_finite": False, "finite": False}, SWALLOWED, "grade lost", "-"),
    (SWALLOWED, {"expected_finite": False, "finite": False}, "grade won", "+"),
    ({"max_ulp": 1.0}, {"max_ulp": 2.1, "bits": 8}, "error grown", "-"),
    ({"max_ulp": 2.1}, {"max_ulp": 1.0}, "error shrunk", "+"),
    ({"max_ulp": 0.5}, {"max_ulp": 1.5, "bits": 8}, "bits changed", ""),  # three times, but no ulp more
    ({"max_ulp": 100.0}, {"max_ulp": 200.0, "bits": 8}, "bits changed", ""),  # an exact factor is no more than it
    ({"max_ulp": 0.0}, {"max_ulp": 2.0}, "error grown", "-"),
    ({"max_ulp": 5.0}, {"max_ulp": np.inf}, "error grown", "-"),
    ({"max_ulp": np.inf}, {"max_ulp": np.inf}, None, ""),
    ({"max_ulp": np.nan}, {"max_ulp": np.nan}, None, ""),
    ({}, {"bits": 8}, "bits changed", ""),
    ({}, {"bits": None}, None, ""),
    (UNGRADED, UNGRADED | {"bits": 8}, "bits changed", ""),
    (UNGRADED, UNGRADED | {"finite": False}, None, ""),
    ({}, CRASHED, "status changed", "-"),
    (CRASHED, {}, "status changed", "+"),
    ({}, RAISED, "status changed", "-"),
    (RAISED, CRASHED, "status changed", ""),
    (RAISED, RAISED | {"detail": "E: in other words"}, None, ""),
    # To refuse a row without a right answer is not a regression; a crash is.
    (UNGRADED, RAISED, "status changed", ""),
    (UNGRADED, CRASHED, "status changed", "-"),
    # An ignored row has no grade; its verdict is compared instead.
    (IGNORED, IGNORED_NAN, "verdict lost", "-"),
    (IGNORED, IGNORED_NUMBER, "verdict lost", "-"),
    (IGNORED_NUMBER, IGNORED_NAN, "verdict lost", "-"),
    (IGNORED_NAN, IGNORED, "verdict won", "+"),
    (IGNORED_NAN, IGNORED_NAN, None, ""),
    (IGNORED, RAISED, "status changed", "-"),
    (UNGRADED | {"finite": False, "bits": 4}, IGNORED_NAN, None, ""),  # measured before there were such verdicts
    # A row that is no longer graded, or has another exact answer, is a different row.
    ({}, UNGRADED, "case changed", ""),
    ({}, NOT_FINITE | {"exact": 2.0}, "case changed", ""),
    ({}, NOT_FINITE | {"classes": 3}, "case changed", ""),
    ({"exact": np.nan}, {"exact": np.nan}, None, ""),
    ({"exact": 0.0}, {"exact": -0.0}, None, ""),
]


@pytest.fixture(scope="module")
def changes_of_each():
    """Return the changes of all `CHANGES` from one comparison; each is a case with its number as the name."""
    before, after = (made(*(line(case=f"f/{i}") | pair[side] for i, pair in enumerate(CHANGES))) for side in (0, 1))
    return logitlab.compare(before, after).changes


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_the_gravest_change_of_a_line_is_reported(number, changes_of_each):
    *_, kind, way = CHANGES[number]
    found = changes_of_each[changes_of_each["case"] == f"f/{number}"].to_dict("records")
    assert [(f["change"], "-" * f["regression"] + "+" * f["improvement"]) for f in found] == [(kind, way)] * bool(kind)


def test_the_words_of_an_ignored_row_are_its_verdicts():
    (found,) = logitlab.compare(made(line(**IGNORED)), made(line(**IGNORED_NAN))).changes.to_dict("records")
    assert (found["before"], found["after"]) == ("ungraded, correct", "ungraded, nan")


def test_a_baseline_keeps_whether_ignored_rows_are_zero(tmp_path):
    plain, path = line(quantity="gradient", exact=None), tmp_path / "b.json"
    sound, broken = (
        made(line(), plain, line(quantity="gradient", row=1, exact=None) | of) for of in (IGNORED, IGNORED_NAN)
    )
    comparison.write_baseline(sound, path)
    (found,) = logitlab.compare(path, broken).changes.to_dict("records")
    assert (found["change"], found["regression"]) == ("verdict lost", True)
    assert found["after"] == "A 0.5 ulp, an ignored row not 0"
    path = tmp_path / "broken.json"
    comparison.write_baseline(broken, path)
    assert logitlab.compare(path, broken).empty
    assert list(logitlab.compare(path, sound).changes["change"]) == ["verdict won"]


def test_implementations_held_to_other_exact_losses_are_compared_each_with_its_own(tmp_path):
    others = [line(), line(implementation="x/other"), line(implementation="x/own", exact=2.0)]
    whole, path = made(*others), tmp_path / "b.json"
    comparison.write_baseline(whole, path)
    for before in (whole, path):
        assert logitlab.compare(before, whole).empty
        alone = logitlab.compare(before, made(others[2]))
        assert alone.regressed  # cells are gone, and the case is the same
        assert "case changed" not in set(alone.changes["change"])
        changed = logitlab.compare(before, made(*others[:2], line(implementation="x/own", exact=3.0))).changes
        assert list(zip(changed["implementation"], changed["change"], strict=True)) == [("x/own", "case changed")]


def test_the_factor_says_how_much_an_error_may_grow():
    assert changed({"max_ulp": 10.0}, {"max_ulp": 25.0}) == ("error grown", "-")
    assert changed({"max_ulp": 10.0}, {"max_ulp": 25.0}, factor=3.0) == (None, "")


def test_the_factor_of_an_error_that_was_next_to_nothing_is_infinite():
    (found,) = logitlab.compare(made(line(max_ulp=1e-300)), made(line(max_ulp=1e300))).changes.to_dict("records")
    assert (found["change"], found["factor"]) == ("error grown", np.inf)


@pytest.mark.parametrize("factor", [0.5, -1.0, np.nan, np.inf])
def test_a_factor_below_1_or_not_a_number_is_refused(factor):
    with pytest.raises(UsageError, match="expected a number of at least 1"):
        logitlab.compare(made(line()), made(line()), factor=factor)


def test_a_changed_case_taints_every_quantity_and_a_reduced_one_every_row():
    row = [line(case="f/r"), line(case="f/r", quantity="gradient", exact=None), line(case="f/r", row=1)]
    mean = [line(case="f/m", row=-1), line(case="f/m", quantity="gradient", exact=None)]
    before = made(line(), *row, *mean)
    worse = before.assign(grade=pd.Categorical(["A"] + ["F"] * 5))
    worse.loc[[1, 4], "exact"] = 2.0
    found = logitlab.compare(before, worse)
    kinds = found.others.set_index(["case", "quantity", "row"])["change"]
    assert set(kinds.index) == {("f/r", "loss", 0), ("f/r", "gradient", 0), ("f/m", "loss", -1), ("f/m", "gradient", 0)}
    assert set(kinds) == {"case changed"}
    assert found.regressions[["case", "row"]].to_numpy().tolist() == [["f/r", 1]]


def test_a_missing_cell_is_a_regression_unless_allowed():
    before = made(line(), line(implementation="x/b"), line(implementation="x/b", row=1))
    found = logitlab.compare(before, made(line()))
    (gone,) = found.changes.to_dict("records")
    assert (gone["change"], gone["implementation"], gone["quantity"], gone["before"]) == (
        "cell gone",
        "x/b",
        "",
        "2 lines",
    )
    assert found.exit_code == 1
    assert "add --allow-gone" in wording.advice(found)
    allowed = logitlab.compare(before, made(line()), allow_gone=True)
    assert wording.advice(allowed) == ""
    assert (allowed.exit_code, allowed.others["change"].to_list()) == (0, ["cell gone"])
    new = logitlab.compare(made(line()), before)
    assert (new.exit_code, new.changes["change"].to_list()) == (0, ["cell new"])


def test_a_quantity_that_a_cell_no_longer_has_is_gone():
    both = made(line(), line(quantity="gradient"))
    (gone,) = logitlab.compare(both, both[:1]).changes.to_dict("records")
    assert (gone["change"], gone["quantity"], gone["regression"]) == ("cell gone", "gradient", True)


def test_a_skipped_case_is_a_regression_and_a_case_that_was_not_requested_is_not():
    whole = made(*(line(implementation=i, case=c) for i in ("x/a", "x/b") for c in ("f/a", "f/b", "f/c")))
    narrower = whole[whole["case"] != "f/c"]
    (gone,) = logitlab.compare(whole, narrower).changes.to_dict("records")
    assert (gone["change"], gone["case"], gone["implementation"], gone["regression"]) == ("case gone", "f/c", "", False)
    skipped = whole.drop(index=5)
    (gone,) = logitlab.compare(whole, skipped).changes.to_dict("records")
    assert (gone["implementation"], gone["case"], gone["regression"]) == ("x/b", "f/c", True)
    assert logitlab.compare(skipped, whole).changes["change"].to_list() == ["case new"]


def test_a_case_that_is_now_reduced_is_gone_and_new_and_not_a_regression():
    rows = [line(case="f/r", row=r) for r in (0, 1)]
    found = logitlab.compare(made(line(), *rows), made(line(), line(case="f/r", row=-1)))
    assert found.changes["change"].to_list() == ["case gone", "case new"]
    assert not found.regressed


def test_two_sides_with_nothing_in_common_cannot_be_compared():
    with pytest.raises(UsageError, match=r"cannot compare BASE with NEW: they share no measurement"):
        logitlab.compare(made(line()), made(line(case="f/b")))
    with pytest.raises(UsageError, match="the same names but different contents"):
        logitlab.compare(made(line()), made(line(exact=2.0)))
    with pytest.raises(UsageError, match="share no measurement"):
        logitlab.compare(made(), made())


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"a": [1]}), "its column implementation is missing or has gaps"),
        (made(line(), line()), "has 1 repeated measurements"),
        (made(line(status="lost")), "has the unknown status 'lost'; expected one of ok, unsupported"),
        (made(line(grade="E")), "has the unknown grade 'E'"),
        (made(line(device=None)), "its column device is missing or has gaps"),
    ],
)
def test_a_table_of_anything_but_measurements_is_refused(table, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        logitlab.compare(table, table)


def test_cells_count_the_comparisons_and_the_changes():
    cells = [line(row=r, quantity=q) for r in range(3) for q in ("loss", "gradient")]
    after = made(cells[0] | NOT_FINITE, cells[1], cells[2] | {"bits": 8}, *cells[3:])
    table = logitlab.compare(made(*cells), after).cells.set_index("quantity")
    assert table.loc["loss", ["rows", "regressions", "newly not finite", "bits changed"]].to_list() == [3, 1, 1, 1]
    assert table.loc["gradient", ["rows", "regressions", "improvements"]].to_list() == [3, 0, 0]


def test_the_worst_change_comes_first():
    rows = [line(implementation=i, row=r) for i in ("x/bits", "x/one", "x/grown", "x/two") for r in (0, 1)]
    worse = {0: {"bits": 9}, 1: {"bits": 9}, 2: NOT_FINITE, 4: {"max_ulp": 50.0}, 6: NOT_FINITE, 7: NOT_FINITE}
    before, after = made(*rows), made(*(row | worse.get(i, {}) for i, row in enumerate(rows)))
    found = logitlab.compare(before, after)
    assert found.changes["implementation"].to_list() == ["x/two"] * 2 + ["x/one", "x/grown"] + ["x/bits"] * 2
    assert repr(found) == "Comparison(4 regressions, 0 improvements, 2 others, 8 compared)"


words = st.sampled_from(["x/a", "x/b", *HOSTILE])
states = st.one_of(
    st.builds(
        lambda grade, ulp, bits: {"grade": grade, "max_ulp": ulp, "bits": bits},
        st.sampled_from("ABCD"),
        st.one_of(st.floats(0, 1e300), st.sampled_from([0.0, 0.5, 1.0, 2.0, np.inf, np.nan])),
        st.sampled_from([None, 0, 1, -1]),
    ),
    st.sampled_from(
        [NOT_FINITE, SWALLOWED, UNGRADED, IGNORED, IGNORED_NAN, CRASHED, RAISED, CRASHED | {"detail": HOSTILE[1]}]
    ),
)


ALWAYS = line(case="f/always")  # so that any two tables can be compared


@st.composite
def drawn(draw, most=12):
    """The lines of a table, as dictionaries."""
    name = st.tuples(
        words, st.sampled_from(["float16", "float32"]), st.sampled_from(["loss", "gradient", HOSTILE[3]]),
        st.sampled_from(["f/a", "f/b", HOSTILE[1]]), st.integers(-1, 2),
    )  # fmt: skip
    names = draw(st.lists(name, min_size=1, max_size=most, unique=True))
    exact = draw(st.sampled_from([1.0, 1.0, 1.0, np.nan]))  # mostly the same in two tables
    return [
        line(implementation=i, dtype=d, quantity=q, case=c, row=r, exact=exact) | draw(states)
        for i, d, q, c, r in names
    ]


@st.composite
def pairs(draw):
    """Two tables, drawn apart or the second from the first: lines gone, and lines in another state."""
    before = draw(drawn())
    if draw(st.booleans()):
        return made(ALWAYS, *before), made(ALWAYS, *draw(drawn()))
    kept = [row for row in before if draw(st.integers(0, 3))]
    return made(ALWAYS, *before), made(ALWAYS, *(row | draw(st.one_of(st.just({}), states)) for row in kept))


@st.composite
def tables(draw):
    return made(ALWAYS, *draw(drawn()))


# Each law holds for tables that Hypothesis draws, and for one pair with every kind of change.
NAMES = ["x/a", HOSTILE[3]]


@pytest.fixture(scope="module")
def every_change():
    """Return two tables: `CHANGES` under an ordinary and a hostile name, and cells that one table does not have."""
    sides = []
    for side, own in enumerate(["x/before", "x/after"]):
        rows = [line(implementation=n, case=f"f/{i}") | pair[side] for i, pair in enumerate(CHANGES) for n in NAMES]
        sides.append(made(ALWAYS, *rows, line(implementation=own), line(case=f"f/{own}", row=side)))
    return tuple(sides)


def shuffler():
    return random.Random(0)  # noqa: S311 - no secret


def test_every_change_compared_with_itself_is_empty(every_change):
    for table in every_change:
        assert_empty(table)


@pytest.mark.full
@given(tables())
@settings(max_examples=examples(25))
def test_a_table_compared_with_itself_is_empty(table):
    assert_empty(table)


def assert_empty(table):
    found = logitlab.compare(table, table.copy())
    assert found.empty
    assert len(found) == 0
    assert (found.exit_code, found.compared) == (0, len(table))


SYMMETRIC = [
    "status changed",
    "newly not finite",
    "grade lost",
    "verdict lost",
    "error grown",
    "newly finite",
    "grade won",
    "verdict won",
    "error shrunk",
]


def lines_of(changes):
    own = changes[changes["change"].isin(SYMMETRIC)]
    return sorted(map(tuple, own[KEY].astype(object).fillna("").to_numpy().tolist()), key=str)


def test_the_other_way_round_every_regression_is_an_improvement(every_change):
    assert_symmetric(every_change)


@pytest.mark.full
@given(pairs())
@settings(max_examples=examples(25))
def test_the_other_way_round_regressions_are_improvements(pair):
    assert_symmetric(pair)


def assert_symmetric(pair):
    there, back = logitlab.compare(*pair), logitlab.compare(*reversed(pair))
    assert lines_of(there.regressions) == lines_of(back.improvements)
    assert lines_of(there.improvements) == lines_of(back.regressions)
    assert set(there.regressions["change"]) <= {"cell gone", "case gone", *SYMMETRIC[:5]}


def test_the_order_of_lines_does_not_matter_to_any_change(every_change):
    assert_without_order(every_change, shuffler())


@pytest.mark.full
@given(pairs(), st.randoms())
@settings(max_examples=examples(15))
def test_the_order_of_lines_and_of_categories_does_not_matter(pair, random):
    assert_without_order(pair, random)


def assert_without_order(pair, random):
    def shuffled(table):
        order = list(range(len(table)))
        random.shuffle(order)
        mixed = table.iloc[order]
        categories = list(table["implementation"].cat.categories)
        random.shuffle(categories)
        return mixed.assign(implementation=mixed["implementation"].cat.set_categories([*categories, "never/used"]))

    found, again = logitlab.compare(*pair), logitlab.compare(*map(shuffled, pair))
    pd.testing.assert_frame_equal(found.changes, again.changes)
    pd.testing.assert_frame_equal(found.cells, again.cells)


def test_a_baseline_can_replace_a_table_with_every_change(tmp_path, every_change):
    assert_replaceable(tmp_path, every_change, shuffler())


@pytest.mark.full
@given(pairs(), st.randoms())
@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_baseline_can_replace_its_table(tmp_path, pair, random):
    assert_replaceable(tmp_path, pair, random)


def assert_replaceable(tmp_path, pair, random):
    before, after = pair
    kept, again, last = (tmp_path / name for name in ("base.json", "again.json", "last.json"))
    for path in (kept, again, last):  # from an earlier example
        path.unlink(missing_ok=True)
    order = list(range(len(before)))
    random.shuffle(order)
    comparison.write_baseline(before, kept)
    comparison.write_baseline(before.iloc[order], again)
    assert kept.read_bytes() == again.read_bytes()
    assert logitlab.compare(kept, before).empty
    assert logitlab.compare(before, kept).empty
    comparison.write_baseline(after, last)
    found = logitlab.compare(kept, after)
    # The message of an error is in the table alone.
    columns = found.changes.columns.drop("detail")
    pd.testing.assert_frame_equal(found.changes[columns], logitlab.compare(kept, last).changes[columns])


def test_a_comparison_with_a_baseline_reports_a_case_as_a_whole(tmp_path):
    rows = [*(line(row=r, max_ulp=0.1 + r) for r in range(3)), line(case="f/b")]
    comparison.write_baseline(made(*rows), tmp_path / "b.json")
    after = made(rows[0], rows[1] | NOT_FINITE, *rows[2:])
    (found,) = logitlab.compare(tmp_path / "b.json", after).changes.to_dict("records")
    assert (found["change"], found["case"], found["before"], found["after"]) == (
        "newly not finite",
        "f/a",
        "A 2.1 ulp",
        "F 1 of 3 not finite",
    )
    assert pd.isna(found["row"])


def test_a_baseline_is_json_with_a_line_for_each_case_of_a_cell(tmp_path):
    path = tmp_path / "deep" / "b.json"
    comparison.write_baseline(made(line(), line(row=1, max_ulp=0.12345), line(quantity="gradient"), line(row=5)), path)
    (cell,) = json.loads(path.read_text())["cells"]
    assert list(cell["cases"]) == ["f/a"]
    assert re.fullmatch(r"A 0\.5 0/3 #[0-9a-f]{6}", cell["cases"]["f/a"]["loss"])
    (entry,) = [text for text in path.read_text().splitlines() if text.startswith('"f/a": {')]
    assert json.loads(f"{{{entry}}}")["f/a"] == cell["cases"]["f/a"]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    """Return a table and the text of its baseline."""
    table, path = made(line()), tmp_path_factory.mktemp("baseline") / "b.json"
    comparison.write_baseline(table, path)
    return table, path.read_text()


def test_a_baseline_notices_two_rows_that_exchanged_their_bits(tmp_path):
    comparison.write_baseline(made(line(row=0, bits=1), line(row=1, bits=2)), tmp_path / "b.json")
    (found,) = logitlab.compare(tmp_path / "b.json", made(line(row=0, bits=2), line(row=1, bits=1))).changes.to_dict(
        "records"
    )
    assert (found["change"], found["regression"]) == ("bits changed", False)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema": 2', '"schema": 3', "a newer LogitLab .* upgrade"),
        ('"schema": 2', '"schema": 1', "an older LogitLab .* write it again"),
        ('"schema": 2', '"schema": Infinity', "not a baseline"),
        ('"logitlab": "baseline"', '"logitlab": "other"', "not a baseline"),
        ("{", "[", "not a baseline"),
        ("A 0.5", "E 0.5", "damaged"),
        ("A 0.5", "A half", "damaged"),
        ('"device"', '"where"', "damaged"),
        ('"cpu"', "[]", "damaged"),
        ('"exact": {', '"exact": [{', "not a baseline"),
        ('"facts": {}', '"facts": []', "damaged"),
        ('0/1 #', '0/99999999999999999999 #', "damaged"),
    ],
)  # fmt: skip
def test_a_damaged_or_newer_baseline_is_reported(baseline, tmp_path, old, new, message):
    table, text = baseline
    assert old in text
    path = tmp_path / "b.json"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=message):
        logitlab.compare(path, table)


def test_a_missing_or_unreadable_file_is_reported(tmp_path):
    (tmp_path / "bad.parquet").write_text("no")
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe")
    for name, message in (
        ("none", "does not exist"),
        ("bad.parquet", "cannot be read as Parquet"),
        ("bad.json", "not a ba"),
    ):
        with pytest.raises(UsageError, match=message):
            logitlab.compare(tmp_path / name, made(line()))
    with pytest.raises(UsageError, match="not a run"):
        logitlab.compare(tmp_path, made(line()))


def test_a_parquet_file_of_a_table_is_that_table(tmp_path):
    table = made(line(), line(row=1) | CRASHED)
    table.to_parquet(tmp_path / "t.parquet")
    assert logitlab.compare(tmp_path / "t.parquet", table).empty


def test_different_versions_are_reported():
    found = logitlab.compare(made(line()), made(line(version="2")))
    assert found.notes == ("They differ in x/loss 1 -> 2",)


def hostile_pair():
    """Every word that is data taken from `HOSTILE`: many cells regressed, some improved, some gone."""
    cells = [{"implementation": name, "device": device} for name in HOSTILE for device in ("cpu", "\n::error::")]
    rows = [line(**cell, case=case, row=r) for cell in cells for case in HOSTILE for r in range(2)]
    after = [
        row | (RAISED | {"detail": row["case"]} if row["row"] else NOT_FINITE if i % 3 else {"bits": 9})
        for i, row in enumerate(rows)
    ]
    better = [line(implementation=name, mode="graph", case=HOSTILE[0]) for name in HOSTILE]
    gone = line(implementation=HOSTILE[3], mode="gone")
    return made(*rows, *(b | NOT_FINITE for b in better), gone), made(*after, *better)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    found = logitlab.compare(*hostile_pair())
    return found, {p.suffix: p.read_text(encoding="utf-8") for p in comparison.write(found, comparison.FORMATS, folder)}


def test_text_fits_a_hundred_columns_and_escapes_control_characters(hostile):
    text = hostile[1][".txt"]
    assert max(map(len, text.splitlines())) <= 100
    assert all(c == "\n" or c.isprintable() for c in text)
    assert "newly not finite" in text
    assert "status changed" in text


def cells_of(line):
    """The cells of a line of a table of Markdown, as they are read."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_is_a_screenful_in_which_data_is_code(hostile):
    page = hostile[1][".md"]
    assert len(page.splitlines()) <= _markdown.MAX_LINES == 40
    assert page.startswith(f"## LogitLab compare: {wording.headline(hostile[0])}\n")
    for text in page.splitlines():
        outside = re.sub(r"`[^`]*`", "", text)
        assert "<" not in outside
        assert "@" not in outside
        if text.startswith("|"):
            assert len(cells_of(text)) in (5, 7)
            assert max(map(len, cells_of(text))) <= _markdown.MAX_CELL == 80


@pytest.fixture(scope="module")
def large_difference(folder):
    """A real run, and the same with every kind of change in most of its cells, under long names."""
    before = Run(folder).read().astype({"implementation": object})
    ends = [f".losses.a_loss_of_a_long_name_{i}[from_logits,dtype]" for i in range(5)]
    copies = [before.assign(implementation=before["implementation"] + end) for end in ends]
    whole = pd.concat(copies, ignore_index=True)
    new = whole.astype(dict.fromkeys(["status", "grade", "verdict", "detail", "bits"], object))
    turn = np.arange(len(new)) % 7
    graded = new["grade"].notna() & (new["status"] == "ok")
    each = [NOT_FINITE, {"grade": "D"}, RAISED, {"grade": "A", "max_ulp": 0.0}]
    for i, change in enumerate(each):
        for column, value in change.items():
            new[column] = new[column].mask(graded & (turn == i), value)
    new["max_ulp"] = new["max_ulp"].mask(turn == 4, new["max_ulp"] * 100 + 10)
    new["bits"] = new["bits"].mask(turn == 5, 9)
    gone = new["implementation"].isin(list(pd.unique(new["implementation"]))[:3])
    return logitlab.compare(typed(whole), typed(new[~gone]))


def test_markdown_of_a_large_difference_is_a_screenful(large_difference):
    found = large_difference
    assert len(found.regressions) > 1000
    assert found.regressions["change"].nunique() >= 5
    page = _markdown.markdown(found)
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert len(page.splitlines()) <= _markdown.MAX_LINES
    assert max(len(cell) for line in tables for cell in cells_of(line)) <= _markdown.MAX_CELL
    shown = {kind: int(count.replace(",", "")) for kind, count in re.findall(r"\*\*([a-z ]+)\*\*: ([\d,]+) in", page)}
    assert shown == found.regressions["change"].value_counts().to_dict()
    assert [line[:2] for line in page.splitlines()[2:5]] == ["1.", "2.", "3."]
    assert "`logitlab compare BASE NEW --all --format markdown` prints every change." in page


def test_markdown_with_all_has_a_line_for_each_regression(large_difference):
    page = _markdown.markdown(large_difference, whole=True)
    shown = [line for line in page.partition("### Improvements")[0].splitlines() if line.startswith("| `")]
    assert len(shown) == len(large_difference.regressions)


def test_json_is_strict_and_has_every_change_but_bits(hostile):
    def refuse(name):
        raise AssertionError(name)

    found, files = hostile
    content = json.loads(files[".json"], parse_constant=refuse)
    assert content["verdict"] == "regressed"
    assert len(content["changes"]) == (found.changes["change"] != "bits changed").sum() > 0
    assert sum(cell["bits changed"] for cell in content["cells"]) == (found.changes["change"] == "bits changed").sum()
    assert {change["case"] for change in content["changes"]} == {"", *HOSTILE}
    (after,) = {str(c["after_ulp"]) for c in content["changes"] if c["change"] == "newly not finite"}
    assert after == "inf"


def test_junit_is_xml_with_a_test_for_each_cell_and_quantity(hostile):
    found, files = hostile
    root = ET.fromstring(files[".xml"])  # noqa: S314 - written above
    assert {suite.get("name") for suite in root} == {wording.full_name(name) for name in HOSTILE}
    tests = root.findall("testsuite/testcase")
    assert len(tests) == len(found.cells) == int(root.get("tests"))
    failed = [test for test in tests if test.find("failure") is not None]
    assert len(failed) == (found.cells["regressions"] > 0).sum() == int(root.get("failures"))
    assert "... and" not in failed[0].find("failure").get("message")


def test_annotations_are_ten_errors_and_a_notice_one_line_each(hostile):
    lines = hostile[1][".github"].removesuffix("\n").split("\n")
    assert [re.match(r"::(\w+) title=[^:,]*::", text)[1] for text in lines] == ["error"] * 10 + ["notice"]
    assert all(c.isprintable() for text in lines for c in text)
    assert all(re.fullmatch(r"[0-9A-F]{2}", code) for text in lines for code in re.findall("%(..)", text))


LONG = "framework/" + "losses.a_loss_of_a_long_name." * 5 + "end[from_logits]"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Two tables, as files, of one cell in which 38 grades are lost and 2 errors grow."""
    folder = tmp_path_factory.mktemp("many")
    before = [line(implementation=LONG, case=f"family/case{i:02d}") for i in range(42)]
    worse = [{"grade": "C", "max_ulp": 9.0}] * 38 + [{"max_ulp": 8.0, "bits": 8}] * 2 + [{"bits": 8}] * 2
    after = [row | change for row, change in zip(before, worse, strict=True)]
    for name, rows in (("before", before), ("after", after)):
        made(*rows).to_parquet(folder / f"{name}.parquet")
    return str(folder / "before.parquet"), str(folder / "after.parquet")


@pytest.fixture(scope="module")
def rendered(many):
    """Return each format of the comparison of these tables, and Markdown with every change."""
    found = logitlab.compare(*many)
    pages = {name: _render._RENDERERS[name][1](found, False) for name in comparison.FORMATS}
    return pages | {"whole markdown": _markdown.markdown(found, whole=True)}


def test_each_kind_of_change_is_shown_and_the_rest_is_counted(many, capsys):
    assert main(["compare", *many]) == 1
    lines = [text.strip() for text in capsys.readouterr().out.splitlines()]
    assert sum(text.startswith("grade lost ") for text in lines) == 18
    assert lines.index("... and 20 more") < min(i for i, text in enumerate(lines) if text.startswith("error grown "))
    assert sum(text.startswith("error grown ") for text in lines) == 2
    assert "`logitlab compare BASE NEW --all` prints the rest" in lines


@pytest.mark.parametrize("name", ["text", "markdown"])
def test_all_prints_every_line(many, name, capsys):
    assert main(["compare", *many, "--all", "--format", name]) == 1
    page = capsys.readouterr().out
    assert all(f"family/case{i:02d}" in page for i in range(40))
    assert "more" not in page


@pytest.mark.parametrize(("name", "most"), [("junit", 20), ("github", 3)])
def test_each_format_shows_each_kind_of_change(rendered, name, most):
    page = rendered[name]
    lines = r"(?:\| |\n|%0A|>){}(?: \||:)"  # of a table, of words, of an annotation, of XML
    shown = {kind: len(re.findall(lines.format(kind), page)) for kind in ("grade lost", "error grown")}
    assert sum(shown.values()) == most
    assert shown["error grown"] == min(2, most // 2)
    assert f"... and {40 - most} more" in page


def test_only_short_markdown_cuts_names(rendered):
    for name, page in (rendered | {"markdown": rendered["whole markdown"]}).items():
        assert LONG in "".join(html.unescape(page).split()), name


@pytest.fixture(scope="module")
def unchanged():
    return logitlab.compare(made(line()), made(line()))


@pytest.mark.parametrize("name", comparison.FORMATS)
def test_every_format_reports_that_nothing_changed(name, unchanged, tmp_path, capsys):
    found = unchanged
    (path,) = comparison.write(found, [name], tmp_path)
    if name == "junit":
        root = ET.fromstring(path.read_text())  # noqa: S314 - written above
        assert (root.get("tests"), root.get("failures"), root.findall(".//failure")) == ("1", "0", [])
    else:
        assert "unchanged" in path.read_text() or "nothing changed" in path.read_text()
    assert comparison.write(found, [name]) == []
    assert path.read_text() in capsys.readouterr().out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    with calls_in_this_process():
        runner.run(
            cases=["seed/*", "masks/*"],
            implementations=["numpy/l*", "numpy/naive"],
            dtypes=["float32", "float16"],
            out=path,
        )
    return path


def test_a_run_compared_with_itself_and_with_its_baseline_is_empty(folder, tmp_path, capsys):
    kept = tmp_path / "baseline.json"
    assert main(["compare", str(folder), str(folder)]) == 0
    assert f"nothing changed, {Run(folder).lines():,} measurements compared" in capsys.readouterr().out
    assert main(["baseline", str(folder), str(kept)]) == 0
    assert f"{kept}, " in capsys.readouterr().out
    assert main(["compare", str(kept), str(folder)]) == 0
    assert "nothing changed" in capsys.readouterr().out


def test_a_worse_formula_under_the_same_name_is_a_regression(folder, tmp_path, capsys):
    df = Run(folder).read()

    def only(name):
        part = df[df["implementation"] == name]
        return part.assign(implementation=pd.Categorical(["numpy/loss"] * len(part)))

    only("numpy/lse").to_parquet(tmp_path / "lse.parquet")
    only("numpy/naive").to_parquet(tmp_path / "naive.parquet")
    sides = [str(tmp_path / "lse.parquet"), str(tmp_path / "naive.parquet")]
    out = tmp_path / "out"
    assert main(["compare", *sides, "--format", "json", "--format", "github", "--out", str(out)]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("::error title=numpy/loss ")
    assert str(out / "compare.json") in printed
    changes = json.loads((out / "compare.json").read_text())["changes"]
    article = [c for c in changes if c["case"] == "seed/article" and c["dtype"] == "float32" and c["row"] == 1]
    assert {c["quantity"]: (c["change"], c["after"]) for c in article if c["quantity"] != "probabilities"} == {
        "loss": ("newly not finite", "F overflow"),
        "gradient": ("newly not finite", "F nan"),
    }


def test_an_unfinished_run_is_reported_and_makes_no_baseline(folder, tmp_path, capsys):
    whole = Run(folder)
    half = Run.create(tmp_path / "half", replace(whole.manifest, complete=False))
    half.write(0, whole.read())
    assert f"{half.folder} is incomplete" in logitlab.compare(folder, half).notes
    assert main(["compare", str(folder), str(half.folder)]) == 0
    assert f"{half.folder} is incomplete" in capsys.readouterr().err
    with pytest.raises(UsageError, match="is incomplete; to see how to resume, run `logitlab doctor"):
        comparison.write_baseline(half, tmp_path / "b.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "a", "b"], "a does not exist; give a run folder"),
        (
            ["compare", "a", "b", "--format", "papyrus"],
            "unknown format 'papyrus'; give --format one of text, markdown, json",
        ),
        (["baseline", "a", "b"], "a does not exist"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
