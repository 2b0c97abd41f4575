"""Tables: what SQL sees of a store. A table a channel, and small ones of instruments, segments, gaps and statuses.

DuckDB hands a pyarrow Dataset the columns and the filter of a query, so a table is a Dataset that answers ``scanner``
by reading the store: only instruments and times that the filter leaves possible, only columns that somebody looks at,
batch by batch. A filter that was handed over is ours to apply in full: DuckDB does not look again.

Times are TIMESTAMPTZ in microseconds, rounded down (DuckDB pushes no filter on nanoseconds), each with its exact twin
``*_ns``; absences (-1 inside) are NULL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from chronicle.access.books.sampling import by_order_in
from chronicle.access.opened.lanes import lanes_of
from chronicle.access.opened.segments import Shelf
from chronicle.access.opened.symbols import Directory
from chronicle.access.ranges.columns import ROWS_PER_BATCH, Chunk, Column, Decimals
from chronicle.access.ranges.rows import KIND_WORDS
from chronicle.access.ranges.scan import ORDER_COLUMNS, Scan, columns_of
from chronicle.access.sql.predicates import STAMP, TimeBounds, always_true, columns_in, symbols_in, times_in
from chronicle.access.trust.gaps import records_of_kind
from chronicle.core.errors import ChronicleError
from chronicle.core.layout import INT64_MAX, INT64_MIN, NONE, Kind, StatusCode

__all__ = ["CHANNELS", "ChannelTable", "Failure", "RowTable", "StatusTable"]

CHANNELS = ("book", "trade", "quote", "candle")
ABSENT = ("sequence", "trade_id", "trade_id_last", "source_index")
"""Columns where -1 stands for "there is none"."""
_ORDER = KIND_WORDS.index("order")
_WORD = pa.dictionary(pa.int32(), pa.string())
_CODE = pa.dictionary(pa.int8(), pa.string())


class Failure:
    """Keeps the error that a table met while DuckDB was reading it: what comes back is only its text."""

    def __init__(self) -> None:
        self.error: ChronicleError | None = None

    def kept(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield `batches`; remember what of ours ends them."""
        try:
            yield from batches
        except ChronicleError as error:
            self.error = error
            raise


class _Reader:
    """What DuckDB asks of a scanner: a stream of record batches."""

    def __init__(self, schema: Any, batches: Iterator[Any]) -> None:
        self.projected_schema = schema
        self._batches = batches

    def to_reader(self) -> Any:
        """Return the stream, once."""
        return pa.RecordBatchReader.from_batches(self.projected_schema, self._batches)


class Table(pads.Dataset):  # type: ignore[misc]  # pyarrow has no types
    """A dataset whose rows are made when they are scanned. Subclasses give `_rows`."""

    def __init__(self, schema: Any, failure: Failure) -> None:
        # The base is not initialised on purpose: nothing but `schema` and `scanner` is asked of a table.
        self._schema = schema
        self._failure = failure

    @property
    def schema(self) -> Any:
        """The columns and their types."""
        return self._schema

    def scanner(self, columns: Sequence[str] | None = None, filter: Any = None, **options: Any) -> Any:
        """Return a reader of `columns` of the rows that pass `filter`."""
        names = self._schema.names if columns is None else list(columns)
        wanted = pa.schema([self._schema.field(name) for name in names])
        return _Reader(wanted, self._failure.kept(self._batches(names, filter)))

    def _batches(self, names: list[str], filter: Any) -> Iterator[Any]:
        judged = set() if filter is None else columns_in(filter, self._schema.names)
        looked_at = [name for name in self._schema.names if name in {*names, *judged}]
        for batch, decided in self._rows(names, looked_at, filter):
            if filter is None or decided:
                yield batch.select(names)
            else:
                yield from pa.Table.from_batches([batch]).filter(filter).select(names).to_batches()

    def _rows(self, names: list[str], looked_at: list[str], filter: Any) -> Iterator[tuple[Any, bool]]:
        """Yield (batch, whether every row of it passes the filter): of `names` then, of `looked_at` otherwise."""
        raise NotImplementedError


class RowTable(Table):
    """A small table, made whole from dicts whenever it is asked for."""

    def __init__(self, schema: Any, failure: Failure, make: Callable[[], list[dict[str, Any]]]) -> None:
        super().__init__(schema, failure)
        self._make = make

    def _rows(self, names: list[str], looked_at: list[str], filter: Any) -> Iterator[tuple[Any, bool]]:
        rows = [_nulled(row) for row in self._make()]
        columns = []
        for field in self._schema:
            values = [row.get(field.name) for row in rows]
            if field.type == STAMP:
                values = [None if value is None else value // 1_000 for value in values]
            columns.append(pa.array(values, field.type))
        yield pa.RecordBatch.from_arrays(columns, schema=self._schema), False


def _nulled(row: dict[str, Any]) -> dict[str, Any]:
    """Return `row` with its absent times and numbers as None, and a twin in ns for each time."""
    out = dict(row)
    for name, value in row.items():
        if value == NONE and isinstance(value, int):
            out[name] = None
        if name.endswith(("_ts", "_recv", "_event")) or name.startswith("ts_"):
            out[f"{name}_ns"] = out[name]
    return out


class _Ranged(Table):
    """A table over the symbols of a store that is read a symbol and a range of time at a time."""

    def __init__(self, shelf: Shelf, directory: Directory, channel: str, schema: Any, failure: Failure) -> None:
        super().__init__(schema, failure)
        self._shelf, self._directory, self._channel = shelf, directory, channel

    def _rows(self, names: list[str], looked_at: list[str], filter: Any) -> Iterator[tuple[Any, bool]]:
        symbols = [name for name in self._directory.symbols(fresh=True) if self._holds(name)]
        bounds: TimeBounds | None = (INT64_MIN, INT64_MAX)
        if filter is not None:
            symbols, bounds = symbols_in(filter, self._schema, symbols), times_in(filter, self._schema)
        if bounds is None:
            return
        start = None if bounds[0] == INT64_MIN else bounds[0]
        end = None if bounds[1] == INT64_MAX else bounds[1] + 1
        for symbol in symbols:
            decided = filter is None or always_true(filter, self._schema, symbol, bounds)
            for batch in self._of_symbol(symbol, names if decided else looked_at, start, end):
                yield batch, decided

    def _holds(self, symbol: str) -> bool:
        return self._channel in self._directory.channels(symbol)

    def _of_symbol(self, symbol: str, names: list[str], start: int | None, end: int | None) -> Iterator[Any]:
        raise NotImplementedError


class ChannelTable(_Ranged):
    """The records of one channel of every instrument.

    `scales` are the decimals of prices and sizes as DECIMAL(38, scale); None: both are DOUBLE.
    """

    def __init__(
        self, shelf: Shelf, directory: Directory, channel: str, scales: tuple[int, int] | None, failure: Failure
    ) -> None:
        self._scales = scales
        self._decimals: Decimals = "float" if scales is None else "decimal"
        self._names = (*columns_of(channel), *(ORDER_COLUMNS if channel == "book" else ()))
        shape = Scan(
            shelf, (), channel, None, None, columns=self._names, kinds=None, lanes=None, decimals=self._decimals
        ).columns
        self._columns = {column.name: column for column in shape}
        fields: list[Any] = []
        for column in shape:
            fields += self._fields(column)
        super().__init__(shelf, directory, channel, pa.schema(fields), failure)

    def _fields(self, column: Column) -> list[Any]:
        if column.role == "time":
            return [pa.field(column.name, STAMP), pa.field(f"{column.name}_ns", pa.int64())]
        if column.role == "word":
            return [pa.field(column.name, _CODE if column.dtype == "u1" else _WORD)]
        if column.role in ("price", "size", "volume", "notional"):
            if self._scales is None or column.role == "notional":
                return [pa.field(column.name, pa.float64())]
            return [pa.field(column.name, pa.decimal128(38, self._scales[column.role != "price"]))]
        return [pa.field(column.name, pa.from_numpy_dtype(np.dtype(column.dtype)))]

    def _of_symbol(self, symbol: str, names: list[str], start: int | None, end: int | None) -> Iterator[Any]:
        asked = {name if name in self._columns else name.removesuffix("_ns") for name in names}
        if asked.intersection(ORDER_COLUMNS):
            if by_order_in(self._shelf, symbol, start, end):
                asked.add("kind")  # tells which rows have them
            else:
                asked.difference_update(ORDER_COLUMNS)  # no row has them, and levels are read faster without
        scan = Scan(
            self._shelf,
            (symbol,),
            self._channel,
            start,
            end,
            columns=[name for name in self._names if name in asked] or ["ts_recv"],
            kinds=None,
            lanes=None,
            decimals=self._decimals,
        )
        schema = pa.schema([self._schema.field(name) for name in names])
        for chunk in scan.chunks(ROWS_PER_BATCH):
            if names:
                columns = [self._column(name, scan, chunk) for name in names]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
            else:
                yield _counted(len(chunk["ts_recv"]))

    def _column(self, name: str, scan: Scan, chunk: Chunk) -> Any:
        column = self._columns.get(name) or self._columns[name.removesuffix("_ns")]
        if column.role == "time":
            values = chunk[column.name]
            absent = values <= 0 if column.name == "ts_event" else None  # some venues say 0
            if name == column.name:
                return pa.array(values // 1_000, mask=absent).cast(STAMP)
            return pa.array(values, mask=absent)
        if name in ORDER_COLUMNS:
            kind = self._schema.field(name).type
            if name not in chunk:
                return pa.nulls(len(chunk["ts_recv"]), kind)
            return without_others(scan.arrow_column(name, chunk[name]), chunk["kind"])
        if name in ABSENT:
            return pa.array(chunk[name], mask=chunk[name] == NONE)
        arrow = scan.arrow_column(name, chunk[name])
        kind = self._schema.field(name).type
        return arrow if arrow.type == kind else pc.cast(arrow, kind)


def without_others(column: Any, kinds: Any) -> Any:
    """Return a column of orders with NULL in the rows of other `kinds` (codes of KIND_WORDS)."""
    return pc.if_else(pa.array(kinds == _ORDER), column, pa.scalar(None, column.type))


def _counted(rows: int) -> Any:
    """Return a batch of no columns that has `rows` rows."""
    return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, type=pa.struct([])))


STATUS_SCHEMA = pa.schema(
    [
        ("ts_recv", STAMP),
        ("ts_recv_ns", pa.int64()),
        ("symbol", _WORD),
        ("channel", _WORD),
        ("status", _WORD),
        ("details", pa.string()),
        ("index", pa.int64()),
        ("lane", pa.int32()),
    ]
)


class StatusTable(_Ranged):
    """STATUS records of every instrument: connected, subscribed, halted ...; `details` is JSON text."""

    def __init__(self, shelf: Shelf, directory: Directory, failure: Failure) -> None:
        super().__init__(shelf, directory, "status", STATUS_SCHEMA, failure)

    def _holds(self, symbol: str) -> bool:
        return True

    def _of_symbol(self, symbol: str, names: list[str], start: int | None, end: int | None) -> Iterator[Any]:
        for channel in self._directory.channels(symbol):
            if channel == "candle":
                continue  # made of trades: it has none of its own
            rows = list(self._of_channel(symbol, channel, start, end))
            if rows:
                yield pa.RecordBatch.from_pylist(rows, schema=self._schema)

    def _of_channel(self, symbol: str, channel: str, start: int | None, end: int | None) -> Iterator[dict[str, Any]]:
        for lane in lanes_of(self._shelf, symbol, channel, fresh=True):
            for record in records_of_kind(self._shelf, lane, _STATUS, start, end):
                fields = record.fields()
                yield {
                    "ts_recv": record.ts_recv // 1_000,
                    "ts_recv_ns": record.ts_recv,
                    "symbol": symbol,
                    "channel": channel,
                    "status": _status_word(int(fields["code"])),
                    "details": json.dumps(fields.get("details") or {}, default=str),
                    "index": record.index,
                    "lane": lane.number,
                }


_STATUS = frozenset({int(Kind.STATUS)})


def _status_word(code: int) -> str:
    try:
        return StatusCode(code).name.lower()
    except ValueError:
        return f"status-{code}"
