"""Encoding of an event block: deltas in groups, columns of tokens, other records beside. Needs the kernels.

``docs/format/archive.md`` (Event blocks) is the specification; :mod:`chronicle.storage.codec.event_decode` the way
back.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronicle.core.layout import Origin
from chronicle.storage.codec.archive_layout import HOLDS_OF_KIND, Holds
from chronicle.storage.codec.blocks import encode_block
from chronicle.storage.codec.event_follow import snapshot_forms
from chronicle.storage.codec.event_groups import GroupScan
from chronicle.storage.codec.event_layout import (
    BESIDE_COLUMNS,
    BESIDE_STORED,
    BESIDE_ZSTD,
    DESCENDING,
    GAP_EDGES,
    HEAD,
    LEVEL_EDGES,
    LEVEL_FORMS,
    LEVELS_VERBATIM,
    ON_PROLOGUE,
    REFERENCES,
    REVERSED,
    SIGNED,
    STEP_SOURCE,
    TABLED,
    VERSION,
    Place,
    Price,
    parts_of,
)
from chronicle.storage.codec.scratch import scratch_array
from chronicle.storage.codec.snapshots import Book, Stored, snapshot_list
from chronicle.storage.codec.token_columns import (
    TOKEN_LEVEL,
    TOKENS,
    UNIT_SAMPLE,
    UnitError,
    group_column,
    plain_column,
    stepped_column,
    token_compressor,
    zeros,
)
from chronicle.storage.codec.tokens import CODED, DELTA, ENTRY, PLAIN, compressor
from chronicle.storage.kernels import groups as kernel
from chronicle.storage.kernels import tokens as tokenizer

__all__ = ["encode_events", "encode_scanned", "is_tabled", "priced"]

Values = NDArray[np.int64]

COLUMNS_FROM: Final = 64
"""Fewer other records are one zstd frame: columns would cost more time than they save bytes."""
SIDE_SAMPLE: Final = 512


def encode_events(
    data: bytes | memoryview, level: int, book: Book | None = None, *, compact: bool = False
) -> tuple[bytes, int] | None:
    """Return whole events as an event block, or None where another method serves better.

    Parameters
    ----------
    data : bytes-like
        Whole events of a sealed segment.
    level : int
        zstd level of the records that are no deltas.
    book : Book, optional
        The book in the segment's prologue, given for the segment's first block only.
    compact : bool
        Prices and sizes as symbols by tables of their contexts: fewer bytes, three times the time.

    Returns
    -------
    (bytes, int) or None
        The block, and what its table entry says that it holds. None where `data` is not made of records, holds deltas
        of several instruments, ORDER records (whose headers say more than groups do), or fewer deltas than other
        records.
    """
    return encode_scanned(GroupScan(data), level, book, compact=compact)


def encode_scanned(
    scan: GroupScan, level: int, book: Book | None = None, *, compact: bool = False
) -> tuple[bytes, int] | None:
    """Return the event block of records whose groups were found: see :func:`encode_events`."""
    if not scan.done() or not scan.is_of_deltas:
        return None
    return _Parts(scan).encode(level, book, compact=compact)


def is_tabled(block: bytes) -> bool:
    """Return whether an event block holds its prices and sizes as a code."""
    return int(HEAD.unpack_from(block)[0]) == TABLED


@dataclass(slots=True)
class _Priced:
    """Columns of prices and sizes, and what the block's head says of them."""

    forms: tuple[int, int]
    unit: int
    base: int
    columns: list[bytes]
    streams: list[bytes]


class _Parts:
    """The parts of one block."""

    def __init__(self, scan: GroupScan) -> None:
        self.words, self.groups, self.step = scan.words, scan.groups, scan.step
        self.prices, self.sizes = scan.prices, scan.sizes
        self.others, self.places = scan.others, scan.places

    def encode(self, level: int, book: Book | None, *, compact: bool) -> tuple[bytes, int]:
        snapshots = snapshot_list(self.words, self.others)
        places = self.places[[snapshot.number for snapshot in snapshots]].tolist() if snapshots else []
        forms, kept, on_prologue = snapshot_forms(
            self.words, snapshots, places, self.groups, self.prices, self.sizes, book
        )
        entries, streams = [], []
        columns = list(self.groups)
        if self.step & STEP_SOURCE:
            rows_of = columns[Place.BIDS] + columns[Place.ASKS]
            columns[Place.SOURCE_INDEX] = columns[Place.SOURCE_INDEX] - (np.cumsum(rows_of) - rows_of)
        for place in range(Place.SEQUENCE_PREVIOUS + 1):
            reference = REFERENCES.get(Place(place))
            entry, stream = group_column(columns[place], None if reference is None else columns[reference])
            entries.append(entry)
            streams.append(stream)
        entry, stream = group_column(self.places, None)
        rows = priced(self.prices, self.sizes, self.groups[Place.BIDS], self.groups[Place.ASKS], edges=GAP_EDGES)
        compacted = compact and self._compact(rows)
        level_groups = np.array([[s.bids for s in kept], [s.asks for s in kept]], dtype=np.int64).reshape(2, -1)
        joined = np.concatenate([s.levels for s in kept]) if kept else np.zeros((0, 2), dtype=np.int64)
        levels = priced(joined[:, 0].copy(), joined[:, 1].copy(), *level_groups, forms=LEVEL_FORMS)
        entries += [entry, *rows.columns, *levels.columns]
        streams += [stream, *rows.streams, *levels.streams]
        descriptor = token_compressor(TOKEN_LEVEL).compress(b"".join(entries) + bytes(forms))
        beside = self._beside(snapshots, forms, level)
        head = HEAD.pack(
            TABLED if compacted else VERSION,
            len(entries),
            self.groups.shape[1],
            len(self.prices),
            len(self.others),
            len(snapshots),
            len(joined),
            *rows.forms,
            self.step,
            ON_PROLOGUE if on_prologue else 0,
            rows.unit,
            rows.base,
            levels.unit,
            levels.base,
            len(descriptor),
            len(beside),
        )
        return b"".join((head, descriptor, beside, *streams)), self._holds(snapshots)

    def _compact(self, rows: _Priced) -> bool:
        """Replace the streams of prices and sizes by their code, unless that takes more."""
        from chronicle.storage.codec.event_tabling import code_of

        columns = [ENTRY.unpack(column) for column in rows.columns]
        sign = SIGNED if columns[1][0] != PLAIN else 0
        price, unit = Price(rows.base, rows.unit, (rows.forms[0] | sign, rows.forms[1] | sign)), columns[-1][5]
        code = code_of(self.groups[Place.BIDS], self.groups[Place.ASKS], price, unit, self.prices, self.sizes)
        if len(code) >= sum(map(len, rows.streams)):
            return False
        empty = zeros(PLAIN, 0)[0]
        rows.columns[:] = [empty] * (len(rows.columns) - 1)
        rows.columns.append(ENTRY.pack(CODED, *TOKENS, len(self.prices), 0, unit, len(code), 0, 0))
        rows.streams[:] = [b""] * len(rows.columns)
        rows.streams[-1] = code
        return True

    def _holds(self, snapshots: list[Stored]) -> int:
        holds = Holds.KNOWN
        for kind in set(((self.words[self.others] >> 32) & 0xFFFF).tolist()):
            holds |= HOLDS_OF_KIND.get(kind, Holds.OTHERS)
        if any(snapshot.origin == Origin.VENUE for snapshot in snapshots):
            holds |= Holds.VENUE_SNAPSHOTS
        return int(holds)

    def _beside(self, snapshots: list[Stored], forms: list[int], level: int) -> bytes:
        """Return the other records, without the levels that are columns or follow, in the form of method 2."""
        if not len(self.others):
            return b""
        cut = np.zeros(len(self.others), dtype=np.uint8)
        for snapshot, form in zip(snapshots, forms, strict=True):
            cut[snapshot.number] = form != LEVELS_VERBATIM
        out = np.empty(len(self.words) - 10 * len(self.prices), dtype=np.int64)
        size = kernel.gather_others(self.words, self.others, self.places, self.groups, self.step, cut, out)
        raw = out[:size].tobytes()
        if len(self.others) >= COLUMNS_FROM:
            packed, method = encode_block(raw, level), BESIDE_COLUMNS
        else:
            packed, method = compressor(level).compress(raw), BESIDE_ZSTD
        if packed is None or len(packed) >= len(raw):
            packed, method = raw, BESIDE_STORED
        return struct.pack("<II", len(raw), method) + packed


def priced(
    prices: Values,
    sizes: Values,
    bids: Values,
    asks: Values,
    *,
    forms: tuple[int, int] | None = None,
    edges: tuple[int, ...] = LEVEL_EDGES,
) -> _Priced:
    """Return the columns of price and size: first prices of sides, gaps (one for each edge), sizes."""
    if not len(prices):
        empty = zeros(PLAIN, 0)
        return _Priced((0, 0), 1, 0, [empty[0]] * (2 + len(edges)), [b""] * (2 + len(edges)))
    forms = forms or _side_forms(prices, bids, asks)
    base = int(prices[0])
    firsts, gaps = scratch_array("steps", 2 * len(prices), np.int64).reshape(2, -1)
    walk, parts = np.array(forms, dtype=np.int64), np.array(edges, dtype=np.int64)
    places = np.empty(len(edges) + 1, dtype=np.int64)
    kernel.gap_places(bids, asks, parts, places)
    cuts = places.tolist()
    which = parts_of(edges)
    first_count, least = kernel.price_steps(prices, bids, asks, walk, base, parts, which, firsts, gaps, places)
    firsts, gaps = firsts[:first_count], gaps[: cuts[-1]]
    pieces = [gaps[start:end] for start, end in itertools.pairwise(cuts)]
    try:
        unit = _priceunit_of(firsts[:UNIT_SAMPLE], gaps[:UNIT_SAMPLE])
        columns = _price_columns(unit, firsts, pieces, int(least))
    except UnitError:
        unit = _priceunit_of(firsts, gaps)
        columns = _price_columns(unit, firsts, pieces, int(least))
    columns.append(plain_column(sizes))
    return _Priced(forms, unit, base, [entry for entry, _ in columns], [stream for _, stream in columns])


def _priceunit_of(firsts: Values, gaps: Values) -> int:
    return max(1, int(tokenizer.common_divisor(gaps, tokenizer.common_divisor(firsts, 0))))


def _price_columns(unit: int, firsts: Values, pieces: list[Values], least: int) -> list[tuple[bytes, bytes]]:
    """Return (entry, streams) of first prices and of each part of the gaps, the least of which is `least`."""
    signed = least < unit
    mode = DELTA if signed else PLAIN
    found = [stepped_column(DELTA, TOKENS, 0, unit, firsts, signed=True)]
    found += [stepped_column(mode, TOKENS, 0, unit, piece, less=1, signed=signed) for piece in pieces]
    return found


def _side_forms(prices: Values, bids: Values, asks: Values) -> tuple[int, int]:
    """Return how each side is walked, by the steps that most of its groups take: from the touch outward."""
    votes = np.empty(4, dtype=np.int64)
    kernel.side_votes(prices, bids, asks, SIDE_SAMPLE, votes)
    forms = []
    for half, outward_down in ((0, True), (1, False)):
        many, falling = votes[2 * half : 2 * half + 2].tolist()
        is_down = 2 * falling > many if many else outward_down
        form = DESCENDING if outward_down else 0
        forms.append(form if is_down == outward_down else form | REVERSED)
    return forms[0], forms[1]
