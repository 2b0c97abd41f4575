"""SQL over a store: DuckDB reads the store's own records, and nothing else.

One in-memory database a store, whose views are the store's tables (``tables.py``). It has no access to files, network
or extensions, its settings are locked, and each query is one SELECT in a read-only transaction of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from os import getpid
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from chronicle.access.libraries import library
from chronicle.access.opened.catalog import coverage_of, instruments_of
from chronicle.access.opened.segments import Shelf
from chronicle.access.opened.symbols import Directory
from chronicle.access.ranges.columns import ROWS_PER_BATCH, Decimals
from chronicle.access.sql.predicates import STAMP
from chronicle.access.sql.sql_books import MACROS, BookFunction, book_type
from chronicle.access.sql.tables import CHANNELS, ChannelTable, Failure, RowTable, StatusTable, Table
from chronicle.access.trust.gaps import gaps_of_all
from chronicle.core.errors import CapacityError, ChronicleError, ConfigError, SqlError

if TYPE_CHECKING:
    from chronicle.access.store import Store

__all__ = ["Answer", "Database"]

DUCKDB_MAJOR = 2
"""Before it, queries were seen to wait for ever, and other filters came through."""
THREADS = 2
"""More would only wait for one another: rows are made under Python's lock."""
_LOCKED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_unsigned_extensions": "false",
    "temp_directory": "",
    "python_enable_replacements": "false",
}
_READS = ("SELECT", "EXPLAIN")

_TEXT, _WHOLE, _TIME = pa.string(), pa.int64(), STAMP
INSTRUMENTS = pa.schema(
    [(name, _TEXT) for name in ("symbol", "venue", "venue_symbol", "base", "quote", "type")]
    + [("channels", pa.list_(_TEXT)), ("tick", pa.float64()), ("lot", pa.float64())]
    + [("price_exponent", _WHOLE), ("size_exponent", _WHOLE)]
)
GAPS = pa.schema(
    [("symbol", _TEXT), ("lane", _WHOLE), ("cause", _TEXT), ("state", _TEXT)]
    + [(name, _TIME) for name in ("last_good_ts", "detected_ts", "recovery_ts")]
    + [(f"{name}_ns", _WHOLE) for name in ("last_good_ts", "detected_ts", "recovery_ts")]
    + [("first_missing", _WHOLE), ("last_missing", _WHOLE), ("index", _WHOLE)]
)
SEGMENTS = pa.schema(
    [
        *(("symbol", _TEXT), ("channel", _TEXT), ("lane", _WHOLE), ("number", _WHOLE), ("place", _TEXT)),
        *(("state", _TEXT), ("ts_first", _TIME), ("ts_last", _TIME), ("ts_first_ns", _WHOLE)),
        *(("ts_last_ns", _WHOLE), ("base_index", _WHOLE), ("records", _WHOLE), ("bytes", _WHOLE)),
    ]
)


class Database:
    """The tables of a store in DuckDB.

    Parameters
    ----------
    store : Store
        Whose books :func:`book_at` gives.
    shelf, directory
        Its segments and names.
    decimals : "float" or "decimal"
        Prices and sizes as DOUBLE, or exact as DECIMAL with as many decimals as the finest instrument has.
    memory_bytes : int
        What DuckDB may hold; a query that needs more fails (there is no disk to spill to).

    Raises
    ------
    ConfigError
        When duckdb is not installed, or too old.
    """

    def __init__(
        self, store: Store, shelf: Shelf, directory: Directory, *, decimals: Decimals, memory_bytes: int
    ) -> None:
        self.duckdb = library("duckdb", "sql")
        if int(self.duckdb.__version__.partition(".")[0]) < DUCKDB_MAJOR:
            raise ConfigError(
                "this version of duckdb cannot read a store",
                expected=f"{DUCKDB_MAJOR}.0 or newer",
                found=self.duckdb.__version__,
                hint="pip install --upgrade duckdb",
            )
        self.failure = Failure()
        config = _LOCKED | {"threads": str(THREADS), "memory_limit": f"{memory_bytes}B"}
        self._base = self.duckdb.connect(config=config)
        self.close = weakref.finalize(self, _close, self._base, getpid())
        """Releases the database; at the end of the process at the latest."""
        self._base.execute("SET GLOBAL TimeZone = 'UTC'")  # each query has a cursor: a session's setting is not its
        scales = _scales(directory) if decimals == "decimal" else None
        for name, table in _tables(shelf, directory, scales, self.failure).items():
            self._base.from_arrow(table).create_view(name)
        function = BookFunction(store, scales, self.failure)
        words = ["VARCHAR", "VARCHAR", "INTEGER"]
        self._base.create_function("chronicle_book", function, words, book_type(scales)[1], type="arrow")
        for macro in MACROS:
            self._base.execute(macro)
        self._base.execute("SET lock_configuration = true")

    def ask(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> Answer:
        """Return the answer to one SELECT; it runs when its rows are asked for.

        Raises
        ------
        SqlError
            When it cannot be read, names what is not there, or is no SELECT.
        """
        try:
            statements = self._base.extract_statements(query)
        except self.duckdb.Error as error:
            raise self._refusal(error) from error
        kinds = [str(statement.type).rpartition(".")[2].removesuffix("_STATEMENT") for statement in statements]
        if len(kinds) != 1 or kinds[0] not in _READS:
            raise SqlError(
                "a store answers one SELECT at a time and changes nothing",
                expected="SELECT ..., FROM ..., DESCRIBE ... or EXPLAIN SELECT ...",
                found=", ".join(kinds).lower() or "no statement",
            )
        return Answer(self, query, parameters)

    def relation(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> tuple[Any, Any]:
        """Return (connection, relation) of a query, in a read-only transaction."""
        connection = self._base.cursor()
        try:
            connection.execute("BEGIN TRANSACTION READ ONLY")
            return connection, connection.sql(query, params=parameters or None)
        except BaseException:
            connection.close()
            raise

    def translated(self, error: Exception) -> ChronicleError:
        """Return what DuckDB reports as an error of ours: the one that a table met, else what it says itself."""
        met, self.failure.error = self.failure.error, None
        if met is not None and met.message in str(error):
            return met
        if isinstance(error, getattr(self.duckdb, "OutOfMemoryException", ())):
            return CapacityError(
                f"the query needs more memory than it may have: {_said(error)}",
                hint="ask for a shorter range or fewer columns, or give more: sql(..., memory_bytes=...)",
            )
        return self._refusal(error)

    def _refusal(self, error: Exception) -> SqlError:
        duckdb = self.duckdb
        about_names = isinstance(error, duckdb.CatalogException | duckdb.BinderException | duckdb.ParserException)
        return SqlError(_said(error), hint=_HINT if about_names else None)


_HINT = "tables: book, trade, quote, candle, status, gaps, instruments, segments; SQL is DuckDB's"


class Answer:
    """The answer to a query: rows are computed when they are asked for, each time anew.

    Attributes
    ----------
    query : str
        What was asked.
    columns : list of str
        Names of the columns.
    types : list of str
        Their types, as DuckDB names them.
    """

    def __init__(self, database: Database, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> None:
        self.query = query
        self._database, self._parameters = database, parameters
        connection, relation = self._begin()
        try:
            self.columns: list[str] = list(relation.columns)
            self.types: list[str] = [str(kind) for kind in relation.types]
        finally:
            connection.close()

    def _begin(self) -> tuple[Any, Any]:
        try:
            return self._database.relation(self.query, self._parameters)
        except self._database.duckdb.Error as error:
            raise self._database.translated(error) from error

    def batches(self, rows: int = ROWS_PER_BATCH) -> Iterator[Any]:
        """Yield pyarrow.RecordBatch of at most `rows` rows while the query runs; memory stays bounded.

        Raises
        ------
        SqlError, CapacityError
            When the query fails, or needs more memory than it may have; and what reading the store raises.
        """
        if rows < 1:
            raise ConfigError("a batch needs at least one row", expected=">= 1", found=rows)
        connection, relation = self._begin()
        try:
            yield from relation.to_arrow_reader(rows)
        except (self._database.duckdb.Error, pa.ArrowException, OSError) as error:
            raise self._database.translated(error) from error
        finally:
            connection.close()

    def to_arrow(self) -> Any:
        """Return a pyarrow.Table."""
        batches = list(self.batches())
        return pa.Table.from_batches(batches, schema=batches[0].schema if batches else self.schema())

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame."""
        library("pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """Return a polars.DataFrame."""
        return library("polars").from_arrow(self.to_arrow())

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows as dicts of Python values."""
        for batch in self.batches():
            yield from batch.to_pylist()

    __iter__ = rows

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Give the answer as an Arrow stream."""
        reader = pa.RecordBatchReader.from_batches(self.schema(), self.batches())
        return reader.__arrow_c_stream__(requested_schema)

    def schema(self) -> Any:
        """Return the pyarrow.Schema."""
        connection, relation = self._begin()
        try:
            return relation.limit(0).to_arrow_reader(1).schema
        finally:
            connection.close()

    def __repr__(self) -> str:
        columns = ", ".join(f"{name} {kind}" for name, kind in zip(self.columns, self.types, strict=True))
        return f"<Answer {columns}>"


def _tables(shelf: Shelf, directory: Directory, scales: tuple[int, int] | None, failure: Failure) -> dict[str, Table]:
    def symbols() -> list[str]:
        return directory.symbols(fresh=True)

    def instruments() -> list[dict[str, Any]]:
        found = instruments_of(shelf, directory)
        return [item.to_dict() | {"tick": _float(item.tick), "lot": _float(item.lot)} for item in found]

    def gaps() -> list[dict[str, Any]]:
        return [gap.to_dict() for gap in gaps_of_all(shelf, symbols(), None, None)]

    def segments() -> list[dict[str, Any]]:
        return [
            {"symbol": symbol} | one
            for symbol in symbols()
            for one in coverage_of(shelf, directory, symbol, None).to_dict()["segments"]
        ]

    tables: dict[str, Table] = {
        channel: ChannelTable(shelf, directory, channel, scales, failure) for channel in CHANNELS
    }
    return tables | {
        "status": StatusTable(shelf, directory, failure),
        "instruments": RowTable(INSTRUMENTS, failure, instruments),
        "gaps": RowTable(GAPS, failure, gaps),
        "segments": RowTable(SEGMENTS, failure, segments),
    }


def _close(base: Any, process: int) -> None:
    if getpid() == process:  # a fork's copy is not its own
        base.close()


def _scales(directory: Directory) -> tuple[int, int]:
    """Return the most decimals of prices and of sizes among the instruments.

    No more than that: a product has the decimals of both, and 38 digits in all.
    """
    known = [definition for name in directory.symbols() if (definition := directory.definition(name)) is not None]
    return (
        max((definition.price_exponent for definition in known), default=0),
        max((definition.size_exponent for definition in known), default=0),
    )


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _said(error: Exception) -> str:
    """Return DuckDB's message as one line, without the picture of the place."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("LINE ", "^")))[:600]
