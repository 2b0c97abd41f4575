"""Rows of a scan to a file or stdout: text with exact decimals, or Arrow and Parquet through pyarrow.

A file is written under a temporary name beside its own, synced, and renamed when it is complete.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from chronicle.cli.show import is_absent, json_line
from chronicle.core.decimals import text_fixed
from chronicle.core.durable import written_aside
from chronicle.core.layout import INT64_MIN
from chronicle.core.times import format_ns

if TYPE_CHECKING:
    from chronicle.access.ranges.scan import Scan

__all__ = ["arrow_sink", "publish", "write_rows"]

WRITTEN = ("wide_price", "wide_size", "volume", "notional")
"""Columns of Decimals, where mantissas cannot hold an answer."""
BATCH_ROWS = 8192
Writer = Callable[[IO[Any]], int]


def write_rows(scan: Scan, form: str, output: Path | None, *, exact: bool, iso: bool, limit: int | None) -> int:
    """Write the rows of `scan` and return how many there were.

    Parameters
    ----------
    scan : Scan
        For text formats with `exact`, made with ``decimals="int"`` or, where that cannot be, ``"decimal"``.
    form : str
        csv, jsonl, parquet or arrow.
    output : Path, optional
        None: stdout (text formats only).
    exact : bool
        Text formats: mantissas become exact decimal text.
    iso : bool
        Text formats: times become ISO 8601.
    limit : int, optional
        At most this many rows.

    Raises
    ------
    CapacityError, StoreError
        When the file cannot be written; nothing is left behind then.
    """
    if form in {"csv", "jsonl"}:
        write = _csv if form == "csv" else _jsonl
        rows = _limited(_text_rows(scan, exact=exact, iso=iso), limit)
        if output is None:
            return write(sys.stdout, scan, rows)
        with written_aside(output, "write the rows") as path, open(path, "w", encoding="utf-8", newline="") as file:
            count = write(file, scan, rows)
            file.flush()
            os.fsync(file.fileno())
        return count
    assert output is not None
    with written_aside(output, "write the rows") as path:
        return _arrow(scan, form, path, limit)


def publish(output: Path, content: str | bytes) -> None:
    """Make `output` hold `content`, whole or not at all."""
    with written_aside(output, "write the report") as path, open(path, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def _limited(rows: Iterator[tuple[Any, ...]], limit: int | None) -> Iterator[tuple[Any, ...]]:
    import itertools

    return rows if limit is None else itertools.islice(rows, limit)


def _text_rows(scan: Scan, *, exact: bool, iso: bool) -> Iterator[tuple[Any, ...]]:
    exponents = {"price": scan.price_exponent, "size": scan.size_exponent, "volume": scan.size_exponent}
    exponents["notional"] = scan.price_exponent + scan.size_exponent
    for batch in scan.batches(BATCH_ROWS):
        columns = []
        for column in scan.columns:
            values = batch[column.name].tolist()
            if column.role in WRITTEN and scan.decimals == "decimal":
                values = [None if value is None else f"{value:f}" for value in values]
            elif column.role in exponents and exact:
                places = exponents[column.role]
                values = [None if value == INT64_MIN else text_fixed(value, places) for value in values]
            elif column.role == "time" and iso:
                values = [format_ns(value) if value > 0 else None for value in values]
            elif values and isinstance(values[0], float):
                values = [None if value != value else value for value in values]  # NaN is no JSON
            if any(is_absent(column.name, value) for value in values):
                values = [None if is_absent(column.name, value) else value for value in values]
            columns.append(values)
        yield from zip(*columns, strict=True)


def _csv(file: IO[str], scan: Scan, rows: Iterator[tuple[Any, ...]]) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column.name for column in scan.columns])
    count = 0
    for row in rows:
        writer.writerow(row)
        count += 1
    return count


def _jsonl(file: IO[str], scan: Scan, rows: Iterator[tuple[Any, ...]]) -> int:
    names = [column.name for column in scan.columns]
    count = 0
    for row in rows:
        file.write(json_line(dict(zip(names, row, strict=True))) + "\n")
        count += 1
    return count


def _arrow(scan: Scan, form: str, path: Path, limit: int | None) -> int:
    schema = scan.arrow_schema()
    count = 0
    with arrow_sink(form, path, schema) as sink:
        for batch in scan.arrow_batches():
            part = batch if limit is None else batch.slice(0, max(0, limit - count))
            if part.num_rows:
                sink.write_batch(part)
                count += part.num_rows
            if limit is not None and count >= limit:
                break
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return count


def arrow_sink(form: str, path: Path, schema: Any) -> Any:
    if form == "parquet":
        from pyarrow.parquet import ParquetWriter

        return ParquetWriter(path, schema, compression="zstd")
    from pyarrow import ipc

    return ipc.new_file(str(path), schema)
