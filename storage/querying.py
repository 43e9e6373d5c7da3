"""SQL queries of a run's measurements, which DuckDB answers from the Parquet parts without loading them."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..core import arguments, memory
from ..core.arguments import Strings
from ..core.errors import UsageError, short_repr
from .schema import CELL, COLUMNS, MEASUREMENTS, REAL, WORDS, typed
from .store import Run

MEMORY = 10**9  # bytes; above it DuckDB uses the disk
LOADED = 1_000_000  # lines; a smaller run is loaded, since each table would open its many small parts again
BATCH = 100_000  # lines
_QUERIES = (duckdb.StatementType.SELECT, duckdb.StatementType.MULTI)  # PIVOT is several in one
_FOLDER = "the folder of a run"
_PART = 32  # bits of a line's place within its part
# NaN in a float column of the table means missing, which is NULL in SQL.
_MACROS = "CREATE MACRO number(x) AS CASE WHEN isnan(x) THEN NULL ELSE x END"


class Measurements:
    """The SQL table ``measurements``: the columns of the measurements table, and ``place``, which orders its lines.

    Args:
        relations: for each run, SQL that selects its lines with their places. If several runs have a case of a cell,
            the first run's lines count.
        given: a table that the relations use by this name.
        lines: the largest possible number of lines.
    """

    def __init__(self, relations: Sequence[str], lines: int, given: pa.Table | None = None) -> None:
        folder = tempfile.mkdtemp(prefix="logitlab-query-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._connection = duckdb.connect(
            config={
                "memory_limit": f"{min(MEMORY, memory.total() // 2)}B",
                "temp_directory": folder,
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            }
        )
        self._connection.execute("SET parquet_metadata_cache = true")
        self._connection.execute(_MACROS)
        self._defined: set[str] = set()
        if given is not None:
            self._connection.register("given", given)
        self.several = len(relations) > 1
        self.repeated = [0] * len(relations)  # for each run, the number of cells with cases of an earlier run
        whole = self._put_together(relations) if self.several else relations[0]
        kind = "TEMP TABLE" if lines <= LOADED else "TEMP VIEW"
        order = " ORDER BY place" if self.several and lines <= LOADED else ""
        self._connection.execute(f"CREATE {kind} measurements AS {whole}{order}")

    @classmethod
    def of(cls, source: Measurements | pd.DataFrame) -> Measurements:
        """Return the measurements of a DataFrame that has the table's columns, or some of them."""
        if isinstance(source, Measurements):
            return source
        known = source[[c for c in COLUMNS if c in source]]
        table = pa.Table.from_pandas(known.astype({str(c): COLUMNS[str(c)] for c in known}), preserve_index=False)
        table = table.append_column("place", pa.array(np.arange(len(table))))
        return cls([f"SELECT {_typed(table.column_names)}, place FROM given"], len(table), table)

    @classmethod
    def of_parts(cls, runs: Sequence[Sequence[Path]]) -> Measurements:
        """Return the measurements in the parts of runs.

        Raises:
            UsageError: for a part that is not a readable Parquet file.
        """
        relations, lines = [], 0
        for number, parts in enumerate(runs):
            relation, of_run = _from_parts(parts, number)
            relations.append(relation)
            lines += of_run
        return cls(relations, lines)

    def _put_together(self, relations: Sequence[str]) -> str:
        """Return SQL for the lines of all runs, without the cases of a cell that an earlier run has."""
        key = f'{", ".join(CELL)}, "case"'
        declared = ", ".join(f'"{name}" {MEASUREMENTS[name].kind.sql}' for name in [*CELL, "case"])
        self._connection.execute(f"CREATE TEMP TABLE measured (run_number INTEGER, {declared})")
        kept = []
        for number, relation in enumerate(relations):
            self._connection.execute(f"INSERT INTO measured SELECT DISTINCT {number}, {key} FROM ({relation})")
            earlier = f"SELECT {key} FROM measured WHERE run_number < {number}"
            kept.append(f"SELECT * FROM ({relation}) ANTI JOIN ({earlier}) USING ({key})" if number else relation)
            (self.repeated[number],) = self._connection.execute(
                f"SELECT count(DISTINCT ({', '.join(CELL)})) FROM measured SEMI JOIN ({earlier}) USING ({key}) "
                f"WHERE run_number = {number}"
            ).fetchone() or (0,)
        return " UNION ALL ".join(f"({each})" for each in kept)

    def sql(self, query: str, **tables: pd.DataFrame) -> pd.DataFrame:
        """Return the result of a query on ``tables`` too. Strings are objects, and NaN where they are missing."""
        for name, table in tables.items():
            self._connection.register(name, table)
        found: pd.DataFrame = self._connection.execute(query).df()
        for name in tables:
            self._connection.unregister(name)
        strings = [c for c in found if not pd.api.types.is_numeric_dtype(found[c])]
        for column in strings:
            values = found[column].to_numpy(object, na_value=np.nan)
            found[column] = pd.Series(values, found.index, object)  # of an array pandas would infer the dtype
        return found

    def confine(self, parts: Sequence[Path]) -> None:
        """Block access to all files except the parts, permanently."""
        self._connection.execute(f"SET allowed_paths = [{', '.join(quoted(str(p.absolute())) for p in parts)}]")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def require_query(self, sql: str) -> None:
        """Raise a UsageError unless ``sql`` is one query.

        Blocked access alone does not protect the parts: a statement could write to the files that a view reads.
        """
        statements = self._connection.extract_statements(sql)
        if len(statements) != 1:
            raise UsageError(f"{len(statements)} statements given; expected one query, such as SELECT")
        kind = statements[0].type
        if kind not in _QUERIES:
            raise UsageError(
                f"{short_repr(sql)} is a statement of the type {kind.name}; expected a query, such as SELECT"
            )
        # In a subquery DuckDB accepts only a query, and no WITH that writes.
        self._connection.execute(f"EXPLAIN SELECT * FROM (\n{statements[0].query.strip().rstrip(';')}\n)")

    def run(self, statement: str) -> None:
        """Execute a statement without a result, such as one that creates a temporary table."""
        self._connection.execute(statement)

    def define(self, name: str, function: Callable[..., pa.Array], given: Sequence[str], gives: str) -> None:
        """Register a function of Arrow arrays as an SQL function, once."""
        if name not in self._defined:
            create: Any = self._connection.create_function  # its annotations do not allow names of types
            create(name, function, list(given), gives, type="arrow", null_handling="special")
            self._defined.add(name)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A line for each cell, in the order of their first lines.

        Returns:
            Columns `CELL`, ``formula`` and ``version``. ``lines`` is the number of lines; ``graded``, ``F`` and
            ``unsupported`` are the numbers of such lines. ``first`` and ``first graded`` are the places of the first
            line and of the first graded line.
        """
        return self.sql(
            f"""SELECT {", ".join(CELL)}, arg_min(formula, place) AS formula, arg_min(version, place) AS version,
                count(*) AS lines, count(grade) AS graded, count(*) FILTER (grade = 'F') AS F,
                count(*) FILTER (status = 'unsupported') AS unsupported,
                min(place) AS first, min(place) FILTER (grade IS NOT NULL) AS "first graded"
            FROM measurements GROUP BY {", ".join(CELL)} ORDER BY first"""
        )

    def cells_of(self, run_number: int) -> int:
        """Return the number of cells of a run; runs are numbered in the order given."""
        if not self.several:
            return len(self.cells)
        cells = f"SELECT DISTINCT {', '.join(CELL)} FROM measured WHERE run_number = {run_number}"
        return len(self.sql(cells))

    @cached_property
    def families(self) -> list[str]:
        """The families of cases, in the order of their first lines."""
        return list(self.sql("SELECT family FROM measurements GROUP BY family ORDER BY min(place)")["family"])

    def batches(self, columns: Sequence[str] | None = None, where: str = "true") -> pa.RecordBatchReader:
        """Return the lines in order and in batches, with strings and with null for missing numbers.

        Args:
            columns: all by default.
            where: a condition in SQL.
        """
        wanted = ", ".join(f'"{c}"' for c in (COLUMNS if columns is None else columns))
        # The lines of one run are in order already, and may be too many to sort.
        order = "ORDER BY place" if self.several else ""
        lines = self._connection.sql(f"SELECT {wanted} FROM measurements WHERE {where} {order}")
        return lines.to_arrow_reader(BATCH)

    def frame(self, columns: Sequence[str] | None = None, where: str = "true") -> pd.DataFrame:
        """Return the lines of `batches` in one DataFrame of the table's types, all in memory."""
        names = list(COLUMNS if columns is None else columns)
        tables = [_with_categories(batch) for batch in self.batches(names, where)]
        if not tables:
            return typed(pd.DataFrame(columns=names))[names]
        df: pd.DataFrame = pa.concat_tables(tables).unify_dictionaries().to_pandas()
        df = df.astype({c: COLUMNS[c] for c in names})
        for column in set(names).intersection(WORDS):
            df[column] = df[column].cat.set_categories(pd.Index(sorted(df[column].cat.categories), dtype=str))
        return df


def read(run: Path | str, columns: Strings = None, where: str = "true") -> pd.DataFrame:
    """Return some columns and lines of a run's measurements, without loading the others.

    Args:
        run: the folder of a run.
        columns: of the measurements table, one or a list; all by default.
        where: a condition on the columns in DuckDB's SQL, such as ``"quantity = 'loss' AND max_ulp > 100"``.
            Put ``case`` in double quotes.

    Returns:
        A DataFrame of the table's types, in the order of the run.

    Raises:
        UsageError: for a folder that is not a run, a damaged part, an unknown column, an empty list of columns, or an
            invalid condition.
    """
    names, condition = arguments.as_strings(columns, "columns") or None, arguments.as_string(where, "where")
    unknown = [c for c in names or () if c not in COLUMNS]
    if unknown:
        raise UsageError(f"unknown column {unknown[0]!r}; choose from {', '.join(COLUMNS)}")
    with _of_run(arguments.as_path(run, "run", _FOLDER), f"cannot read {run} where {where!r}") as found:
        found.require_query(f"SELECT * FROM measurements WHERE {condition}")
        return found.frame(names, condition)


def query(run: Path | str, sql: str) -> pd.DataFrame:
    """Return the result of a query in DuckDB's SQL on a run's measurements, without loading them.

    ::

        logitlab.query("runs/mine", "SELECT implementation, dtype, max(max_ulp) FROM measurements GROUP BY ALL")

    The query cannot change the run, and cannot read or write any other file.

    Args:
        run: the folder of a run.
        sql: one query of the table ``measurements``. The table has the columns of the measurements table, with NULL for
            missing numbers, and ``place``, which gives the order of the run. Put ``case`` in double quotes.

    Raises:
        UsageError: for a folder that is not a run, a damaged part, an invalid query, or a statement that is not a
            query, such as COPY.
    """
    with _of_run(arguments.as_path(run, "run", _FOLDER), f"cannot answer {short_repr(sql)} of {run}") as found:
        found.require_query(arguments.as_string(sql, "sql"))
        return found.sql(sql)


@contextmanager
def _of_run(folder: Path, failure: str) -> Iterator[Measurements]:
    """Give a run's measurements for a user's query, without access to other files and with errors on one line."""
    whole, damaged = Run(folder).whole_parts()
    if damaged:
        raise UsageError(damaged[0])
    found = Measurements.of_parts([whole])
    found.confine(whole)
    try:
        yield found
    except duckdb.Error as error:
        message = str(error).split("\n\n")[0]  # without DuckDB's excerpt of the query
        raise UsageError(f"{failure}: {' '.join(message.split())}") from error


def quoted(text: str) -> str:
    """Return text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _from_parts(parts: Sequence[Path], number: int) -> tuple[str, int]:
    """Return SQL for the lines of the run of this number, and their number. A part of an older run may lack columns."""
    lines, names = 0, set()
    for path in parts:
        try:
            metadata = pq.read_metadata(path)
        except (OSError, pa.ArrowException) as error:
            raise UsageError(f"{path} is damaged ({error}); to see all damage, run `logitlab doctor RUN`") from error
        lines += metadata.num_rows
        names |= set(metadata.schema.names)
    if not parts:
        return f"SELECT {_typed([])}, NULL::BIGINT AS place WHERE false", 0
    paths = ", ".join(quoted(str(path.absolute())) for path in parts)
    place = f"({number}::BIGINT << {_PART + 20}) + (file_index::BIGINT << {_PART}) + file_row_number AS place"
    files = f"read_parquet([{paths}], union_by_name = true, file_row_number = true, hive_partitioning = false)"
    return f"SELECT {_typed(names)}, {place} FROM {files}", lines


def _typed(names: Sequence[str] | set[str]) -> str:
    """Return SQL for the table's columns with their types, with NULL for missing columns."""
    columns = []
    for name, column in MEASUREMENTS.items():
        value = f'"{name}"' if name in names else "NULL"
        of_type = f"CAST({value} AS {column.kind.sql})"
        columns.append((f"number({of_type})" if column.kind is REAL else of_type) + f' AS "{name}"')
    return ", ".join(columns)


def _with_categories(batch: pa.RecordBatch) -> pa.Table:
    columns = [
        column.dictionary_encode() if name in WORDS else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.table(columns, names=batch.schema.names)
