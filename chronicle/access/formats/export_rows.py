"""Export rows: a channel's records as the Arrow batches of an exported table, and the files they go into."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq

from chronicle.access.books.sampling import by_order_in, exponents_in
from chronicle.access.opened.segments import Shelf
from chronicle.access.ranges.columns import Chunk, Column, Decimals
from chronicle.access.ranges.rows import KIND_WORDS
from chronicle.access.ranges.scan import ORDER_COLUMNS, Scan, columns_of
from chronicle.core.layout import NONE

__all__ = ["KEYS", "ExportTable", "day_of", "write_file"]

ROW_GROUP_ROWS = 131_072
Stamps = Literal["ns", "us"]
_ORDER = KIND_WORDS.index("order")
_ORDER_ID = pa.decimal128(20, 0)
"""An order's id has 64 bits without a sign, which neither Iceberg nor Spark knows."""
_ABSENT = ("sequence", "trade_id", "trade_id_last", "source_index")


def day_of(ts: int) -> date:
    """Return the UTC day of a time."""
    return datetime.fromtimestamp(ts // 10**9, tz=UTC).date()


KEYS = (pa.field("venue", pa.string()), pa.field("symbol", pa.string()), pa.field("date", pa.date32()))
"""What the folders of a file repeat."""


class ExportTable:
    """One channel of several instruments as one table: the same columns and types in every file.

    The columns are those of a scan, of books of orders with ``order_id`` and ``action`` (null in other rows). The
    instrument is told by ``venue``, ``symbol`` (without the venue) and ``date``, which the folders repeat
    (``venue=kraken/symbol=BTC-EUR/date=2024-08-09``). Absences are null.

    Parameters
    ----------
    stamps : "ns" or "us"
        Times as timestamp[ns, UTC], or as timestamp[us, UTC] rounded down with a twin ``*_ns`` (Delta and Iceberg
        know no nanoseconds).
    keys : bool
        Whether the files hold venue, symbol and date themselves (Delta wants them in the folders alone).
    decimals : "decimal", "float" or "int"
        Prices and sizes as decimal128 with the most decimals among the instruments, float64, or int64 mantissas with
        their exponents in two columns more (``price_exponent``, ``size_exponent``).
    """

    def __init__(
        self,
        shelf: Shelf,
        channel: str,
        symbols: Sequence[str],
        start: int | None,
        end: int | None,
        *,
        decimals: Decimals,
        stamps: Stamps = "ns",
        keys: bool = True,
    ) -> None:
        self.channel, self.decimals, self.stamps, self.keys = channel, decimals, stamps, keys
        self._shelf = shelf
        by_order = channel == "book" and any(by_order_in(shelf, symbol, start, end) for symbol in symbols)
        self._names = (*columns_of(channel), *(ORDER_COLUMNS if by_order else ()))
        self._exponents = {symbol: exponents_in(shelf, symbol, channel, start, end) for symbol in symbols}
        price = max((one for one, _ in self._exponents.values()), default=0)
        size = max((one for _, one in self._exponents.values()), default=0)
        shape = self._scan("", start, end, (price, size))
        self.columns = {column.name: column for column in shape.columns if column.name != "symbol"}
        typed = {field.name: field.type for field in shape.arrow_schema()}
        fields = list(KEYS) if keys else []
        for column in self.columns.values():
            fields += self._fields(column, typed[column.name])
        if decimals == "int":
            fields += [pa.field("price_exponent", pa.int16()), pa.field("size_exponent", pa.int16())]
        self.schema = pa.schema(fields, metadata={"decimals": decimals, "channel": channel})

    def _scan(self, symbol: str, start: int | None, end: int | None, exponents: tuple[int, int]) -> Scan:
        return Scan(
            self._shelf,
            (symbol,) if symbol else (),
            self.channel,
            start,
            end,
            columns=self._names,
            kinds=None,
            lanes=None,
            decimals=self.decimals,
            exponents=exponents,
        )

    def _fields(self, column: Column, kind: Any) -> list[Any]:
        if column.role == "time":
            if self.stamps == "ns":
                return [pa.field(column.name, pa.timestamp("ns", tz="UTC"))]
            return [pa.field(column.name, pa.timestamp("us", tz="UTC")), pa.field(f"{column.name}_ns", pa.int64())]
        if column.role == "word":
            return [pa.field(column.name, pa.string())]
        if column.name == "order_id":
            return [pa.field(column.name, _ORDER_ID)]
        if column.dtype == "u1":
            return [pa.field(column.name, pa.int16())]  # neither Iceberg nor Spark has unsigned numbers
        return [pa.field(column.name, kind)]

    def batches(self, symbol: str, start: int | None, end: int | None, rows: int = ROW_GROUP_ROWS) -> Iterator[Any]:
        """Yield the rows of `symbol` in [start, end), all of one UTC day, by ``ts_recv``."""
        venue, _, name = symbol.partition(":")
        exponents = self._exponents[symbol]
        scan = self._scan(symbol, start, end, exponents)
        for chunk in scan.chunks(rows):
            times = chunk["ts_recv"]
            count = len(times)
            if not count:
                continue
            day = day_of(int(times[0]))
            values = zip((venue, name, day), KEYS, strict=True) if self.keys else ()
            arrays = [pa.repeat(pa.scalar(value, field.type), count) for value, field in values]
            for column in self.columns.values():
                arrays += self._arrays(column, scan, chunk)
            if self.decimals == "int":
                arrays += [pa.repeat(pa.scalar(one, pa.int16()), count) for one in exponents]
            yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _arrays(self, column: Column, scan: Scan, chunk: Chunk) -> list[Any]:
        values = chunk[column.name]
        if column.role == "time":
            absent = values <= 0 if column.name == "ts_event" else None
            exact = pa.array(values, mask=absent)
            if self.stamps == "ns":
                return [exact.cast(pa.timestamp("ns", tz="UTC"))]
            return [pa.array(values // 1_000, mask=absent).cast(pa.timestamp("us", tz="UTC")), exact]
        if column.name in ORDER_COLUMNS:
            whole = scan.arrow_column(column.name, values).cast(self.schema.field(column.name).type)
            return [pc.if_else(pa.array(chunk["kind"] == _ORDER), whole, pa.scalar(None, whole.type))]
        if column.name in _ABSENT:
            return [pa.array(values, mask=values == NONE)]
        if column.dtype == "u1" and column.role != "word":
            return [pa.array(values.astype(np.int16))]
        arrow = scan.arrow_column(column.name, values)
        kind = self.schema.field(column.name).type
        return [arrow if arrow.type == kind else pc.cast(arrow, kind)]


def write_file(path: Path, form: str, schema: Any, batches: Iterator[Any], metadata: dict[str, str]) -> int:
    """Write batches to `path` as `form` (parquet, arrow, csv, jsonl), sync it; return how many rows there were."""
    if form in ("csv", "jsonl"):
        rows = _write_text(path, form, schema, batches)
    else:
        described = schema.with_metadata({**{k.decode(): v for k, v in (schema.metadata or {}).items()}, **metadata})
        rows = 0
        with _sink(path, form, described) as sink:
            for batch in batches:
                sink.write_batch(batch.replace_schema_metadata(described.metadata))
                rows += batch.num_rows
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return rows


def _sink(path: Path, form: str, schema: Any) -> Any:
    if form == "arrow":
        return pa.ipc.new_file(str(path), schema)
    by_time = [pq.SortingColumn(schema.get_field_index("ts_recv"))] if "ts_recv" in schema.names else None
    whole = [field.name for field in schema if pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type)]
    words = [field.name for field in schema if pa.types.is_string(field.type)]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=words,
        column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
        sorting_columns=by_time,
        write_page_index=True,
        store_decimal_as_integer=True,
    )


def _write_text(path: Path, form: str, schema: Any, batches: Iterator[Any]) -> int:
    """Times become text with all their digits, decimals exact text; the schema's header is there without rows too."""
    as_text = pa.schema(
        [pa.field(field.name, pa.string() if _is_text(field.type) else field.type) for field in schema]
    )
    rows = 0
    if form == "csv":
        with pyarrow.csv.CSVWriter(path, as_text, write_options=_CSV) as writer:
            for batch in batches:
                writer.write_batch(_texts(batch, as_text))
                rows += batch.num_rows
        return rows
    with open(path, "w", encoding="utf-8") as file:
        encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
        for batch in batches:
            for row in _texts(batch, as_text).to_pylist():
                file.write(encode(row) + "\n")
            rows += batch.num_rows
    return rows


_CSV = pyarrow.csv.WriteOptions(quoting_style="needed")


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_decimal(kind) or pa.types.is_date(kind))


def _texts(batch: Any, schema: Any) -> Any:
    columns = []
    for field, column in zip(schema, batch.columns, strict=True):
        values = column if column.type == field.type else column.cast(pa.string())
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)  # NaN is no JSON
        columns.append(values)
    return pa.RecordBatch.from_arrays(columns, schema=schema)
