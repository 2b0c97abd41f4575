"""Archive of a book channel: bytes a delta, encode and decode; peers: Parquet with the best encodings, gzip of JSON.

Bytes are all of the objects (snapshots, definitions, seek index, footers) over the deltas in them.
``archive.decode_ns`` gives ts_recv, side, price and size as columns; ``archive.decode_all_ns`` gives the segment's
records, byte for byte.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chronicle.core.layout import Kind
from chronicle.core.local import LocalSource
from chronicle.core.segment import LocalSegment
from chronicle.storage.archive import ArchivedSegment
from chronicle.storage.encode import encode_segment
from chronicle.storage.stores import LocalStore
from tools.benches import catalogs
from tools.benches.books import BookData, book_data
from tools.benches.figure import Figure, best_ns
from tools.benches.market import Market, markets, note, suffix, work_folder

REPEATS = 3
PARQUET = "Parquet, best mix, zstd-9, no snapshots"
DICTIONARY = "DICTIONARY"
COLUMNS = ("ts_recv", "side", "price", "size")
ENCODINGS = ("PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT", DICTIONARY)
ROW_GROUP_ROWS = 131_072


def run() -> Iterator[Figure]:
    """Yield the figures."""
    for market in markets("binance", "lobster"):
        yield from _archive(market)
    for market in markets("binance"):
        yield from catalogs.figures(market)


def _archive(market: Market) -> Iterator[Figure]:
    data, end = book_data(market.name), suffix(market.name)
    source = LocalSource(market.home)
    segments = [source.open(data.queue, info.number) for info in source.segments(data.queue)]
    local = [segment for segment in segments if isinstance(segment, LocalSegment)]
    objects: list[bytes] = []

    def encode() -> None:
        objects[:] = [b"".join(encode_segment(segment)) for segment in local]

    encode_ns = best_ns(encode, REPEATS) / len(data)
    store = LocalStore(work_folder() / f"archive-{market.name}")
    store.root.mkdir(exist_ok=True)
    for number, item in enumerate(objects):
        (store.root / f"{number}.czst").write_bytes(item)

    def decode() -> None:
        for number in range(len(objects)):
            with ArchivedSegment(store, f"{number}.czst") as segment:
                segment.view(segment.data_offset, segment.data_end())

    def decode_columns() -> None:
        for number in range(len(objects)):
            with ArchivedSegment(store, f"{number}.czst") as segment:
                for _ in segment.stretches(None, None, COLUMNS, {int(Kind.BOOK_DELTA)}, sides=(1, 2)):
                    pass

    decode_ns = best_ns(decode, REPEATS) / len(data)
    columns_ns = best_ns(decode_columns, REPEATS) / len(data)
    size = sum(map(len, objects)) / len(data)
    parquet = work_folder() / f"deltas-{market.name}.parquet"
    table = book_table(data)
    write_ns = best_ns(lambda: write_parquet(table, parquet), REPEATS) / len(data)
    rows = len(data)
    yield Figure(f"archive.bytes_per_delta{end}", size, "B", rows, PARQUET, parquet.stat().st_size / rows)
    packed = _gzipped_json(market)
    if packed:
        yield Figure(f"archive.bytes_per_delta{end}", size, "B", rows, "gzip of the JSON", packed / rows)
    yield Figure(f"archive.encode_ns{end}", encode_ns, "ns", rows, PARQUET, write_ns)
    for name, ours, columns in (("decode_ns", columns_ns, list(COLUMNS)), ("decode_all_ns", decode_ns, None)):
        read_ns = best_ns(lambda columns=columns: pq.read_table(parquet, columns=columns, use_threads=False), REPEATS)
        yield Figure(f"archive.{name}{end}", ours, "ns", rows, PARQUET, read_ns / rows)
    for segment in segments:
        segment.close()


def book_table(data: BookData) -> pa.Table:
    """Return the deltas as an Arrow table of int64 columns (side: uint8)."""
    return pa.table({name: pa.array(values) for name, values in data.columns.items()})


@cache
def _best_encoding(name: str, sample: bytes) -> str:
    """Return the encoding that makes column `name` smallest under zstd-9: all four are tried."""
    values = pa.table({name: np.frombuffer(sample, dtype=np.uint8 if name == "side" else np.int64)})
    sizes = {}
    for encoding in ENCODINGS:
        sink = io.BytesIO()
        _write(values, sink, {name: encoding})
        sizes[encoding] = sink.tell()
    return min(sizes, key=lambda encoding: sizes[encoding])


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write `table` at zstd-9, each column in the encoding that makes it smallest."""
    chosen = {
        name: _best_encoding(name, np.ascontiguousarray(table[name].to_numpy()).tobytes())
        for name in table.column_names
    }
    _write(table, path, chosen)


def _write(table: pa.Table, sink: Path | io.BytesIO, encodings: dict[str, str]) -> None:
    plain = {name: code for name, code in encodings.items() if code != DICTIONARY}
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=9,
        use_dictionary=[name for name, code in encodings.items() if code == DICTIONARY],
        column_encoding=plain or None,
        row_group_size=ROW_GROUP_ROWS,
    )


def _gzipped_json(market: Market) -> int:
    """Return the bytes of the capture's depth lines under gzip; 0 where a capture is no lines of JSON."""
    if not market.captures[0].name.endswith(".gz"):
        return 0
    lines = []
    for path in market.captures:
        with gzip.open(path, "rb") as file:
            lines += [line for line in file if b'"depthUpdate"' in line]
    try:
        json.loads(lines[0].split(b" ", 1)[1])
    except (IndexError, ValueError):
        note(f"peer gzip of the JSON is skipped: {market.name} holds no lines of JSON")
        return 0
    return len(gzip.compress(b"".join(lines), 6))
