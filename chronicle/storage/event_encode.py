"""Encoding of an event block: deltas in groups, columns of tokens, other records beside. Needs the kernels.

``docs/format/archive.md`` (Event blocks) is the specification; :mod:`chronicle.storage.event_decode` the way back.
"""

from __future__ import annotations

import itertools
import struct
import threading
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from chronicle.core.layout import INT64_MAX, Origin
from chronicle.storage.archive_layout import HOLDS_OF_KIND, Holds
from chronicle.storage.blocks import encode_block
from chronicle.storage.event_coded import code_of
from chronicle.storage.event_follow import snapshot_forms
from chronicle.storage.event_groups import GroupScan
from chronicle.storage.event_layout import (
    BESIDE_COLUMNS,
    BESIDE_STORED,
    BESIDE_ZSTD,
    COMPACTED,
    DESCENDING,
    GAP_EDGES,
    HEAD,
    LEVEL_EDGES,
    LEVEL_FORMS,
    LEVELS_VERBATIM,
    ON_PROLOGUE,
    REFERENCES,
    REVERSED,
    STEP_SOURCE,
    VERSION,
    Place,
    Price,
    expected_headers,
)
from chronicle.storage.kernels import groups as kernel
from chronicle.storage.kernels import tokens as tokenizer
from chronicle.storage.scratch import scratch_array
from chronicle.storage.snapshots import Book, Stored, snapshot_list
from chronicle.storage.tokens import CODED, DELTA, ENTRY, PLAIN, SAME, compressor, divider, tables

__all__ = [
    "encode_events",
    "encode_scanned",
    "group_column",
    "is_compacted",
    "plain_column",
    "priced",
    "signed_column",
]

Values = NDArray[np.int64]

TOKENS: Final = (6, 3)
SIZE_TOKENS: Final = (7, 3)
FAR_TOKENS: Final = (5, 3)
"""For times of events that are far from one another: 32 bits."""
ESCAPES_SHARE: Final = 1000
"""Columns of which more than one value in so many would escape take the tokens that reach farther."""
COLUMNS_FROM: Final = 64
"""Fewer other records are one zstd frame: columns would cost more time than they save bytes."""
SAMPLE: Final = 512
"""A group column's mode is chosen on this many groups from the middle."""
SIDE_SAMPLE: Final = 512
TOKEN_LEVEL: Final = 1
"""Tokens repeat seldom: long matches only, found in a small table; that is faster and takes fewer bytes."""
TILE: Final = 1024
ROOM_MIN: Final = 1 << 14
ROOM_MAX: Final = 1 << 20
"""Room for so many tokens is kept from column to column; for more, of blocks far above the usual size, it is not."""
UNIT_SAMPLE: Final = 1024
"""The unit of so many values is taken for all; tokens tell where it is not, and all are looked at then."""


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
        Prices and sizes as an arithmetic code: fewer bytes, ten times the time.

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


def is_compacted(block: bytes) -> bool:
    """Return whether an event block holds its prices and sizes as a code."""
    return int(HEAD.unpack_from(block)[0]) == COMPACTED


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
        places = [int(self.places[snapshot.number]) for snapshot in snapshots]
        forms, kept, on_prologue = snapshot_forms(snapshots, places, self.groups, self.prices, self.sizes, book)
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
        descriptor = _compressor(TOKEN_LEVEL).compress(b"".join(entries) + bytes(forms))
        beside = self._beside(snapshots, forms, level)
        head = HEAD.pack(
            COMPACTED if compacted else VERSION,
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
        price = Price(rows.base, rows.unit, rows.forms)
        counts = self.groups[Place.BIDS], self.groups[Place.ASKS]
        room = sum(map(len, rows.streams))
        unit = int(ENTRY.unpack(rows.columns[-1])[5])
        code = code_of(*counts, price, unit, self.prices, self.sizes, room)
        if code is None:
            return False
        empty = _zeros(PLAIN, 0)[0]
        rows.columns[:] = [empty] * (len(rows.columns) - 1)
        rows.columns.append(ENTRY.pack(CODED, *TOKENS, len(self.prices), 0, unit, len(code), 0, 0))
        rows.streams[:] = [b""] * len(rows.columns)
        rows.streams[-1] = code
        return True

    def _holds(self, snapshots: list[Stored]) -> int:
        kinds = (self.words[self.others] >> 32) & 0xFFFF
        holds = Holds.KNOWN
        for kind in np.unique(kinds).tolist():
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
        expected = expected_headers(self.words[self.others], self.places, self.groups, self.step)
        size = kernel.gather_others(self.words, self.others, cut, expected, out)
        raw = out[:size].tobytes()
        if len(self.others) >= COLUMNS_FROM:
            packed, method = encode_block(raw, level), BESIDE_COLUMNS
        else:
            packed, method = compressor(level).compress(raw), BESIDE_ZSTD
        if packed is None or len(packed) >= len(raw):
            packed, method = raw, BESIDE_STORED
        return struct.pack("<II", len(raw), method) + packed


def group_column(values: Values, reference: Values | None) -> tuple[bytes, bytes]:
    """Return (entry, streams) of a column in its cheapest mode."""
    if not len(values):
        return _zeros(PLAIN, 0)
    steps = scratch_array("residuals", len(values), np.int64)
    found = np.empty(4, dtype=np.int64)
    other = values[:0] if reference is None else reference
    tokenizer.plan_column(values, other, SAMPLE, TOKENS[0], tables(*TOKENS).limit - 1, steps, found)
    mode, base, unit, many = found.tolist()
    if mode < 0:
        return _zeros(DELTA, int(values[0]))
    form = FAR_TOKENS if many * ESCAPES_SHARE > len(steps) else TOKENS
    try:
        return _stepped(mode, form, base, unit, steps, signed=mode != PLAIN)
    except _UnitError:
        return _stepped(mode, form, base, _unit(steps), steps, signed=mode != PLAIN)


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
        empty = _zeros(PLAIN, 0)
        return _Priced((0, 0), 1, 0, [empty[0]] * (2 + len(edges)), [b""] * (2 + len(edges)))
    forms = forms or _side_forms(prices, bids, asks)
    base = int(prices[0])
    firsts, gaps = scratch_array("steps", 2 * len(prices), np.int64).reshape(2, -1)
    walk, parts = np.array(forms, dtype=np.int64), np.array(edges, dtype=np.int64)
    places = np.empty(len(edges) + 1, dtype=np.int64)
    kernel.gap_places(bids, asks, parts, places)
    cuts = places.tolist()
    first_count, least = kernel.price_steps(prices, bids, asks, walk, base, parts, firsts, gaps, places)
    firsts, gaps = firsts[:first_count], gaps[: cuts[-1]]
    pieces = [gaps[start:end] for start, end in itertools.pairwise(cuts)]
    try:
        unit = _price_unit(firsts[:UNIT_SAMPLE], gaps[:UNIT_SAMPLE])
        columns = _price_columns(unit, firsts, pieces, int(least))
    except _UnitError:
        unit = _price_unit(firsts, gaps)
        columns = _price_columns(unit, firsts, pieces, int(least))
    columns.append(plain_column(sizes))
    return _Priced(forms, unit, base, [entry for entry, _ in columns], [stream for _, stream in columns])


def _price_unit(firsts: Values, gaps: Values) -> int:
    return max(1, int(tokenizer.common_divisor(gaps, tokenizer.common_divisor(firsts, 0))))


def _price_columns(unit: int, firsts: Values, pieces: list[Values], least: int) -> list[tuple[bytes, bytes]]:
    """Return (entry, streams) of first prices and of each part of the gaps, the least of which is `least`."""
    signed = least < unit
    mode = DELTA if signed else PLAIN
    found = [_stepped(DELTA, TOKENS, 0, unit, firsts, signed=True)]
    found += [_stepped(mode, TOKENS, 0, unit, piece, less=1, signed=signed) for piece in pieces]
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


def plain_column(values: Values, level: int = TOKEN_LEVEL) -> tuple[bytes, bytes]:
    """Return (entry, streams) of values as they are: in tokens that reach farther where many would escape."""
    if not len(values):
        return _zeros(PLAIN, 0)
    sample = values[:UNIT_SAMPLE]
    unit = _unit(sample)
    many = tokenizer.long_steps(sample, unit, tables(*SIZE_TOKENS).limit) * ESCAPES_SHARE > len(sample)
    form = TOKENS if many else SIZE_TOKENS
    try:
        packed = _tokens(form, unit, values)
    except _UnitError:
        unit = _unit(values)
        packed = _tokens(form, unit, values)
    if form == SIZE_TOKENS and len(packed.escapes) * ESCAPES_SHARE > len(values):
        form = TOKENS
        packed = _tokens(form, unit, values)
    return _entry(PLAIN, form, 0, unit, packed, level)


def signed_column(steps: Values) -> tuple[bytes, bytes]:
    """Return (entry, streams) of steps of either sign, which the decoder adds to what it knows."""
    if not len(steps):
        return _zeros(PLAIN, 0)
    try:
        return _stepped(SAME, TOKENS, 0, _unit(steps[:UNIT_SAMPLE]), steps, signed=True)
    except _UnitError:
        return _stepped(SAME, TOKENS, 0, _unit(steps), steps, signed=True)


def _zeros(mode: int, base: int) -> tuple[bytes, bytes]:
    """Return (entry, streams) of a column without values, or of words that are all 0."""
    return ENTRY.pack(mode, *TOKENS, 0, base, 1, 0, 0, 0), b""


class _Tokens(NamedTuple):
    """Tokens, bits in whole words, escapes, all in scratch arrays; bits used; whether a token is not 0."""

    tokens: Any
    bits: Any
    escapes: Any
    used: int
    any: bool


class _UnitError(Exception):
    """A unit that was found on a sample does not divide all steps."""


def _unit(steps: Values) -> int:
    """Return the greatest common divisor of steps, 1 where there is none."""
    return max(1, int(tokenizer.common_divisor(steps, 0)))


def _stepped(
    mode: int, form: tuple[int, int], base: int, unit: int, steps: Values, *, less: int = 0, signed: bool = False
) -> tuple[bytes, bytes]:
    """Return (entry, streams) of the words of steps over `unit`, minus `less`; a column of zeros has no streams.

    Raises
    ------
    _UnitError
        When the unit does not divide a step.
    """
    return _entry(mode, form, base, unit, _tokens(form, unit, steps, less=less, signed=signed))


def _tokens(form: tuple[int, int], unit: int, steps: Values, *, less: int = 0, signed: bool = False) -> _Tokens:
    """Return the tokens of steps over `unit`; raises :class:`_UnitError`."""
    shift, inverse = divider(unit)
    tokens, bits, escapes, room = _room(len(steps))
    limit, bound = tables(*form).limit, np.uint64(INT64_MAX // (unit >> shift))
    used, escaped, seen = tokenizer.put_steps(
        steps, less, signed, shift, inverse, bound, *form, limit, tokens, bits, escapes, room
    )
    if used < 0:
        raise _UnitError
    return _Tokens(tokens[: len(steps)], bits[: (used + 63) // 64 * 8], escapes[:escaped], int(used), bool(seen))


def _room(count: int) -> tuple[Any, Any, Any, Any]:
    """Return this thread's arrays for the tokens of `count` steps: tokens, bits, escapes, words of a tile."""
    known: tuple[Any, Any, Any, Any] | None = getattr(_local, "room", None)
    if known is None or len(known[0]) < count:
        most = max(ROOM_MIN, count + count // 4)
        room = np.empty((2, TILE), dtype=np.uint64)
        known = (
            np.empty(most, dtype=np.uint8),
            np.empty(8 * most + 24, dtype=np.uint8),
            np.empty(most, dtype=np.uint64),
            room,
        )
        if most <= ROOM_MAX:
            _local.room = known
    return known


def _entry(
    mode: int, form: tuple[int, int], base: int, unit: int, of: _Tokens, level: int = TOKEN_LEVEL
) -> tuple[bytes, bytes]:
    """Return (entry, streams) of a column's tokens."""
    if not of.any:
        return ENTRY.pack(mode, *form, 0, base, unit, 0, 0, 0), b""
    packed: Any = _compressor(level).compress(of.tokens.data)
    if len(packed) >= len(of.tokens):
        packed = of.tokens.tobytes()
    entry = ENTRY.pack(mode, *form, len(of.tokens), base, unit, len(packed), of.used, len(of.escapes))
    return entry, b"".join((packed, of.bits.data, of.escapes.data))


_local = threading.local()


def _compressor(level: int) -> zstandard.ZstdCompressor:
    """Return this thread's compressor of tokens."""
    made: dict[int, zstandard.ZstdCompressor] = _local.__dict__.setdefault("compressors", {})
    if level not in made:
        form = {"min_match": 7, "hash_log": 10} if level == TOKEN_LEVEL else {}
        parameters = zstandard.ZstdCompressionParameters.from_level(level, write_content_size=True, **form)
        made[level] = zstandard.ZstdCompressor(compression_params=parameters)
    return made[level]
