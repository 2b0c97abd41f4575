"""The deltas and snapshots of a market's book, for benches and their peers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import chronicle
from chronicle.core.layout import HEADER_BYTES, Kind, Side
from chronicle.core.local import LocalSource
from chronicle.core.records import Record, SnapshotFields
from chronicle.core.scan import record_offsets
from tools.benches.market import Market, market

HEADER_WORDS = HEADER_BYTES // 8


@dataclass(frozen=True)
class BookData:
    """The book queue of a market: deltas as int64 columns, snapshots as (rows of deltas before it, levels)."""

    symbol: str
    queue: str
    columns: dict[str, NDArray[Any]]
    snapshots: list[tuple[int, SnapshotFields]]
    ts_first: int
    ts_last: int

    def __len__(self) -> int:
        """Number of deltas."""
        return len(self.columns["price"])


@cache
def book_data(name: str) -> BookData:
    """Return the book queue of the market `name`."""
    return _read(market(name))


def _read(of: Market) -> BookData:
    with chronicle.open(of.home) as store:
        symbol = next(row.symbol for row in store.instruments() if "book" in row.channels)
        covered = store.coverage(symbol, "book")
    source = LocalSource(of.home)
    queue = next(name for name in source.queues("clean/") if name.endswith("/book.q"))
    parts: list[NDArray[np.int64]] = []
    snapshots: list[tuple[int, SnapshotFields]] = []
    rows = 0
    for info in source.segments(queue):
        view = source.open(queue, info.number)
        memory = view.view(view.data_offset, view.data_end())
        words = np.frombuffer(memory, dtype=np.int64)
        offsets = record_offsets(memory)
        kinds = (words[offsets >> 3] >> 32) & 0xFFFF
        deltas = offsets[kinds == Kind.BOOK_DELTA]
        for offset in offsets[kinds == Kind.BOOK_SNAPSHOT].tolist():
            length = int.from_bytes(memory[offset : offset + 4], "little")
            record = Record(bytes(memory[offset : offset + length]))
            snapshots.append((rows + int(np.searchsorted(deltas, offset)), SnapshotFields.unpack(record.body)))
        at = (deltas >> 3)[:, None] + np.arange(HEADER_WORDS + 4)
        parts.append(words[at])
        rows += len(deltas)
        view.close()
    table = np.concatenate(parts)
    columns = {
        "ts_recv": table[:, 1],
        "ts_event": table[:, 2],
        "source_index": table[:, 3],
        "sequence": table[:, 5],
        "side": ((table[:, 0] >> 56) & 0xFF).astype(np.uint8),
        "price": table[:, 6],
        "size": table[:, 7],
        "sequence_first": table[:, 8],
    }
    columns = {name: np.ascontiguousarray(values) for name, values in columns.items()}
    return BookData(symbol, queue, columns, snapshots, covered.ts_first, covered.ts_last)


def start_levels(data: BookData) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """Return (delta row, bids, asks) of the first snapshot: where a replay of the deltas can begin."""
    if not data.snapshots:
        empty = np.zeros((0, 2), dtype=np.int64)
        return 0, empty, empty
    row, fields = data.snapshots[0]
    bids, asks = (np.array(side, dtype=np.int64).reshape(-1, 2) for side in (fields.bids, fields.asks))
    return row, bids, asks


def is_bid(data: BookData) -> NDArray[np.bool_]:
    """Return which deltas are of the bids."""
    found: NDArray[np.bool_] = data.columns["side"] == int(Side.BID)
    return found
