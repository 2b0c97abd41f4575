"""What both directions of a block of columns derive from its records' headers: tables, events, snapshots, the
rest."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from chronicle.core.layout import HEADER_BYTES, SNAPSHOT_LEVELS_OFFSET, Kind
from chronicle.storage.codec import engine
from chronicle.storage.codec.columns import Events, Values

__all__ = ["HEADER_WORDS", "LENGTH_MASK", "Shape", "record_offsets"]

TABLE_BODY_BYTES_MAX: Final = 256
TABLE_ROWS_MIN: Final = 8
RUN_GUESS_ROWS: Final = 16
HEADER_WORDS: Final = HEADER_BYTES // 8
FLAGS_MASK: Final = 0xFF << 48
LENGTH_MASK: Final = 0xFFFFFFFF


def record_offsets(data: bytes | memoryview) -> Values | None:
    """Return the offset of each record in `data`, or None when it is no run of whole records."""
    if len(data) % 8:
        return None
    if engine.has_kernels():
        from chronicle.storage.kernels.bodies import find_records

        found_offsets = np.empty(len(data) // HEADER_BYTES + 1, dtype=np.int64)
        count = find_records(np.frombuffer(data, dtype=np.int64), found_offsets)
        return None if count < 0 else found_offsets[:count].copy()
    return _walked(data)


def _walked(data: bytes | memoryview) -> Values | None:
    """Find records without a kernel."""
    lengths = memoryview(data).cast("I")
    words = np.frombuffer(data, dtype=np.uint32)
    end, position, before, same = len(lengths), 0, 0, 0
    found: list[int] = []
    while position < end:
        length = lengths[position]
        if length < HEADER_BYTES or length & 7:
            return None
        stride = length >> 2
        found.append(position)
        position += stride
        same = same + 1 if length == before else 0
        before = length
        if same >= RUN_GUESS_ROWS:  # a run of equal lengths goes on as a rule: look at many at once
            ahead = words[position : position + 64 * same * stride : stride] == length
            count = len(ahead) if bool(ahead.all()) else int(ahead.argmin())
            found.extend(range(position, position + count * stride, stride))
            position += count * stride
            same = same + count if count == len(ahead) else 0
    return np.array(found, dtype=np.int64) * 4 if position == end else None


class Shape:
    """What both directions derive from the records' headers alone."""

    def __init__(
        self, words: Values, offsets: Values, distinct: Values | None = None, index: Values | None = None
    ) -> None:
        """Take the records of `words`; or, when they are still to be decoded, each one's first word by `index`."""
        self.words = words
        self.offsets = offsets
        if distinct is None or index is None:
            rows = words[(offsets >> 3)[:, None] + np.arange(HEADER_WORDS)]
            self.header = np.ascontiguousarray(rows.T)
            distinct, index = np.unique(self.header[0], return_inverse=True)
        else:
            self.header = np.zeros((HEADER_WORDS, len(offsets)), dtype=np.int64)
            self.header[0] = distinct[index]
        self.distinct, self.index = distinct, index
        word = self.header[0]
        self.lengths = word & LENGTH_MASK
        self.kinds = (word >> 32) & 0xFFFF
        first = np.ones(len(word), dtype=np.bool_)
        first[1:] = (word[:-1] >> 48) & 0x80 != 0
        self.events = Events(first)
        keys, group_of = np.unique(distinct & ~np.int64(FLAGS_MASK), return_inverse=True)
        group = group_of[index]
        counts = np.bincount(group, minlength=len(keys))
        small = (keys & LENGTH_MASK) <= HEADER_BYTES + TABLE_BODY_BYTES_MAX
        self._table_groups = np.flatnonzero(small & (counts >= TABLE_ROWS_MIN))
        self._group = group
        in_table = np.zeros(len(keys), dtype=np.bool_)
        in_table[self._table_groups] = True
        self.rest_rows = np.flatnonzero(~in_table[group])

    def instruments(self) -> Values:
        return np.asarray(self.header[4] & LENGTH_MASK, dtype=np.int64)

    def tables(self) -> list[tuple[Values, int]]:
        """Return (rows ordered by instrument, body words) of every table, in the order of their first words."""
        instruments = self.instruments()
        many = bool(np.any(instruments != instruments[:1]))
        found = []
        for group in self._table_groups:
            rows = np.flatnonzero(self._group == group)
            if many:
                rows = rows[np.argsort(instruments[rows], kind="stable")]
            found.append((rows, (int(self.lengths[rows[0]]) - HEADER_BYTES) // 8))
        return found

    def table_events(self, rows: Values) -> Events:
        """Return the events of a table's rows; a change of instrument opens one too."""
        first = np.ones(len(rows), dtype=np.bool_)
        events, instruments = self.events.of_row[rows], self.instruments()[rows]
        first[1:] = (events[1:] != events[:-1]) | (instruments[1:] != instruments[:-1])
        return Events(first)

    def body(self, rows: Values, words: int) -> Any:
        starts = (self.offsets[rows] >> 3) + HEADER_WORDS
        return self.words[starts[:, None] + np.arange(words)].T

    def snapshots(self) -> list[tuple[int, int, int]]:
        """Return (row, bids, asks) of the snapshots outside tables whose counts fit their length."""
        found = []
        for row in self.rest_rows[self.kinds[self.rest_rows] == Kind.BOOK_SNAPSHOT]:
            length = int(self.lengths[row])
            if length < SNAPSHOT_LEVELS_OFFSET:
                continue
            counts = int(self.words[(int(self.offsets[row]) + HEADER_BYTES) >> 3])
            bids, asks = counts & LENGTH_MASK, (counts >> 32) & LENGTH_MASK
            if SNAPSHOT_LEVELS_OFFSET + 16 * (bids + asks) == length:
                found.append((int(row), bids, asks))
        return found

    def rest(self) -> Values:
        """Return what is kept verbatim, by the kernels: bodies outside tables, snapshots without their levels."""
        from chronicle.storage.kernels.bodies import gather_words

        counts = (self.lengths - HEADER_BYTES) >> 3
        counts[[row for row, _, _ in self.snapshots()]] = (SNAPSHOT_LEVELS_OFFSET - HEADER_BYTES) >> 3
        counts = counts[self.rest_rows]
        out = np.empty(int(counts.sum()), dtype=np.int64)
        gather_words(self.words, (self.offsets[self.rest_rows] >> 3) + HEADER_WORDS, counts, out)
        return out

    def levels(self, row: int, count: int) -> Values:
        """Return a view of a snapshot's `count` levels, shape (count, 2)."""
        start = (int(self.offsets[row]) + SNAPSHOT_LEVELS_OFFSET) >> 3
        return self.words[start : start + 2 * count].reshape(-1, 2)
