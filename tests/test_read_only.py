"""A query reads only its run: no query writes a file or reads another."""

import pytest

import logitlab
from logitlab.core.errors import UsageError
from logitlab.storage import querying

FORCED = "(FORMAT parquet, USE_TMP_FILE false)"  # DuckDB would else stop at a second file that it may not write


# A view of the parts has to let DuckDB reach them; a table in memory has not.
@pytest.fixture(params=["table", "view"])
def run(small_run, request, monkeypatch):
    monkeypatch.setattr(querying, "LOADED", {"table": querying.LOADED, "view": 0}[request.param])
    return small_run


def state(folder) -> dict:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "sql",
    [
        "COPY measurements TO '{out}'",
        "COPY (SELECT 1 AS a) TO '{part}' {forced}",
        "COPY (PIVOT measurements ON grade USING count(*)) TO '{part}' {forced}",
        "EXPLAIN ANALYZE COPY (SELECT 1 AS a) TO '{part}' {forced}",
        "WITH x AS (COPY (SELECT 1 AS a) TO '{part}' {forced}) SELECT * FROM x",
        "WITH x AS (COPY (SELECT 1 AS a) TO '{out}' {forced}) SELECT * FROM x",
        "SELECT 1; COPY (SELECT 1 AS a) TO '{part}' {forced}",
        "SELECT 1) TO '{part}' {forced}; COPY (SELECT 1",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM read_text('{secret}')",
        "FROM '{secret}'",
        "ATTACH '{out}'",
        "EXPORT DATABASE '{out}'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "DROP TABLE measurements",
        "",
    ],
)
def test_anything_but_a_query_of_the_run_is_refused_and_changes_nothing(run, sql, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    before = state(run.folder)
    given = sql.format(part=run.part(0), out=tmp_path / "out", secret=tmp_path / "secret.csv", forced=FORCED)
    with pytest.raises(UsageError) as caught:
        logitlab.query(run.folder, given)
    assert "\n" not in str(caught.value)
    assert state(run.folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


@pytest.mark.parametrize(
    "where",
    ["true; COPY (SELECT 1 AS a) TO '{part}' {forced}", "true UNION ALL FROM read_csv('{secret}')", "true) --"],
)
def test_the_condition_of_read_reaches_nothing_but_the_run(run, where, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    before = state(run.folder)
    given = where.format(part=run.part(0), secret=tmp_path / "secret.csv", forced=FORCED)
    with pytest.raises(UsageError):
        logitlab.read(run.folder, "case", given)
    assert state(run.folder) == before


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) AS n FROM measurements -- all of them",
        "SELECT count(*) AS n FROM measurements;",
        "WITH x AS (FROM measurements) SELECT count(*) AS n FROM x",
        "SELECT sum(n)::BIGINT AS n FROM (SELECT grade, count(*) AS n FROM measurements GROUP BY ALL ORDER BY n)",
        "SELECT sum(COLUMNS('k.*')) AS n FROM (SELECT 1 AS k FROM measurements)",
    ],
)
def test_every_query_is_answered(run, sql):
    assert logitlab.query(run.folder, sql)["n"].to_list() == [run.lines()]


def test_a_query_keeps_its_order_and_may_be_a_pivot(run):
    found = logitlab.query(run.folder, "SELECT place FROM measurements ORDER BY place DESC LIMIT 3")["place"]
    assert found.is_monotonic_decreasing
    table = logitlab.query(run.folder, "PIVOT measurements ON quantity USING count(*) GROUP BY dtype")
    assert {"loss", "gradient", "probabilities"} < set(table.columns)
    assert len(logitlab.query(run.folder, "SUMMARIZE measurements")) > 30
