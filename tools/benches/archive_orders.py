"""Archive of book channels with ORDER records: bytes, encode, decode; peer: Parquet with the best encodings.

``decode`` is of records, ``decode_four`` of time, side, price and size of all orders and deltas, ``decode_all`` of
all columns of them.

``lobster`` is a captured day (ORDER records and the deltas of five levels), ``itch`` a seeded one (ORDER records,
restated by snapshots of all orders). Bytes are all of the objects over all records; decoding gives the sealed file,
byte for byte. The peer has the rows without snapshots, definitions and prologues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from chronicle.core.layout import Kind
from chronicle.core.local import LocalSource
from chronicle.core.scan import record_offsets
from chronicle.core.segment import LocalSegment
from chronicle.etl import run_shard
from chronicle.feed.replay import replay_capture
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.codec.encode import encode_segment
from chronicle.storage.codec.holding import COLUMN_NAMES, ORDER_NAMES
from chronicle.storage.codec.whole import read_whole
from chronicle.storage.stores.stores import MemoryStore
from tests.support.itch_day import ItchDay, framed
from tools.benches.figure import Figure, best_ns
from tools.benches.market import markets, work_folder

PARQUET = "Parquet, best mix, zstd-9, no snapshots"
REPEATS = 5
MESSAGES = 200_000
ROW_WORDS = 10
KINDS = {int(Kind.ORDER), int(Kind.BOOK_DELTA)}
FOUR = ("ts_recv", "side", "price", "size")
ALL = tuple(name for name in (*COLUMN_NAMES, *ORDER_NAMES) if not name.startswith("sequence_"))


def figures(write_parquet: Callable[[pa.Table, Path], None]) -> Iterator[Figure]:
    """Yield the figures; `write_parquet` writes a table with the best encoding of each column."""
    homes = {"itch": _itch_home()}
    for market in markets("lobster"):
        if market.name == "lobster":
            homes["lobster"] = market.home
    for name, home in homes.items():
        yield from _measured(name, home, write_parquet)


def _itch_home() -> Path:
    """Return a home with a seeded ITCH day of one stock, worked off."""
    home, capture = work_folder() / "itch", work_folder() / "S060724-v50.txt"
    capture.write_bytes(framed(ItchDay(seed=3, stocks=1).open().trade(MESSAGES).messages))
    replay_capture(home, [capture], format="itch")
    run_shard(home, drain=True)
    return home


def _measured(name: str, home: Path, write_parquet: Callable[[pa.Table, Path], None]) -> Iterator[Figure]:
    source = LocalSource(home)
    queue = next(found for found in source.queues("clean/") if found.endswith("/book.q"))
    opened = [source.open(queue, info.number) for info in source.segments(queue)]
    segments = [segment for segment in opened if isinstance(segment, LocalSegment)]
    count = sum(segment.info.record_count for segment in segments)
    objects = {str(number): b"".join(encode_segment(segment)) for number, segment in enumerate(segments)}
    store = MemoryStore("bench", objects)
    table, path = _table(segments), work_folder() / f"orders-{name}.parquet"
    write_parquet(table, path)

    def encoded() -> None:
        for segment in segments:
            for _ in encode_segment(segment):
                pass

    def decoded() -> None:
        for number in objects:
            with ArchivedSegment(store, number) as segment:
                for block in segment.footer.blocks:
                    segment.view(block.raw_offset, block.raw_offset + block.raw_bytes)

    def verified() -> None:
        for number in objects:
            read_whole(store, number)

    def columns(names: tuple[str, ...]) -> None:
        for number in objects:
            with ArchivedSegment(store, number) as segment:
                for stretch in segment.stretches(None, None, names, KINDS, sides=(1, 2), uniform=True):
                    if stretch.columns is None:
                        segment.view(stretch.offset, stretch.end)

    size = sum(map(len, objects.values())) / count
    yield Figure(f"archive.orders_bytes_{name}", size, "B", count, PARQUET, path.stat().st_size / table.num_rows)
    written = best_ns(lambda: write_parquet(table, path), 2) / table.num_rows
    yield Figure(f"archive.orders_encode_ns_{name}", best_ns(encoded, REPEATS) / count, "ns", count, PARQUET, written)
    read = best_ns(lambda: pq.read_table(path, use_threads=False), REPEATS) / table.num_rows
    yield Figure(f"archive.orders_decode_ns_{name}", best_ns(decoded, REPEATS) / count, "ns", count, PARQUET, read)
    yield Figure(f"archive.orders_verify_ns_{name}", best_ns(verified, REPEATS) / count, "ns", count)
    for label, names, asked in (("four", FOUR, list(FOUR)), ("all", ALL, None)):
        spent = best_ns(partial(columns, names), REPEATS) / table.num_rows
        read = best_ns(partial(pq.read_table, path, columns=asked, use_threads=False), REPEATS) / table.num_rows
        yield Figure(f"archive.orders_decode_{label}_ns_{name}", spent, "ns", table.num_rows, PARQUET, read)
    for segment in segments:
        segment.close()


def _table(segments: list[LocalSegment]) -> pa.Table:
    """Return the ORDER and BOOK_DELTA records as columns: all that they say."""
    parts = []
    for segment in segments:
        memory = segment.view(segment.data_offset, segment.data_end())
        words = np.frombuffer(memory, dtype=np.int64)
        starts = record_offsets(memory) >> 3
        kinds = (words[starts] >> 32) & 0xFFFF
        rows = starts[(kinds == Kind.ORDER) | (kinds == Kind.BOOK_DELTA)]
        parts.append(words[rows[:, None] + np.arange(ROW_WORDS)])
    table = np.concatenate(parts)
    is_order = (table[:, 0] >> 32) & 0xFFFF == Kind.ORDER

    def octet(word: int, shift: int) -> NDArray[np.uint8]:
        return ((table[:, word] >> shift) & 0xFF).astype(np.uint8)

    columns: dict[str, NDArray[Any]] = {
        "kind": is_order.astype(np.uint8),
        "flags": octet(0, 48),
        "side": octet(0, 56),
        "ts_recv": table[:, 1],
        "ts_event": table[:, 2],
        "source_index": table[:, 3],
        "line": table[:, 4],
        "sequence": table[:, 5],
        "order_id": np.where(is_order, table[:, 6], 0),
        "price": np.where(is_order, table[:, 7], table[:, 6]),
        "size": np.where(is_order, table[:, 8], table[:, 7]),
        "action": np.where(is_order, octet(9, 0), np.uint8(0)),
        "code": np.where(is_order, octet(9, 8), np.uint8(0)),
    }
    return pa.table({name: pa.array(np.ascontiguousarray(values)) for name, values in columns.items()})
