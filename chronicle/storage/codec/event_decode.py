"""An event block read: its columns by themselves, or the sealed bytes again.

Two forms of every loop give the same bytes: the kernels, and plain NumPy for a process that looks up a block or two
(see :mod:`chronicle.storage.codec.engine`). Whatever a block claims is checked before a loop runs on it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from functools import cached_property
from typing import Any, Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from chronicle.core.errors import CorruptionError
from chronicle.core.fresh import fresh_array
from chronicle.core.layout import (
    BOOK_DELTA_BYTES,
    HEADER_BYTES,
    INT64_MAX,
    INT64_MIN,
    SNAPSHOT_LEVELS_OFFSET,
    Kind,
    Side,
)
from chronicle.storage.codec import engine
from chronicle.storage.codec.beside import definitions_beside, read_beside
from chronicle.storage.codec.blocks import BLOCK_BYTES_MAX
from chronicle.storage.codec.event_layout import (
    CHECK_HEAD,
    CODED_VERSIONS,
    COLUMNS,
    GAP_EDGES,
    HEAD,
    HEAD_BYTES,
    HEAD_MASK,
    LEVEL_EDGES,
    LEVEL_FORMS,
    LEVELS_COLUMNS,
    LEVELS_REPLAYED,
    LEVELS_VERBATIM,
    ON_PROLOGUE,
    REFERENCES,
    SIGNED,
    STEP_SOURCE,
    STEPS,
    VERSION,
    Cut,
    Place,
    Price,
    expected_headers,
    stepped,
)
from chronicle.storage.codec.snapshots import Book, Replay, Stored, stored
from chronicle.storage.codec.tokens import ENTRY, PLAIN, SAME, Columns, Values, decompressor

__all__ = ["EventBlock", "Head"]

_PLACES: Final = {
    "ts_recv": Place.TS_RECV,
    "ts_event": Place.TS_EVENT,
    "sequence": Place.SEQUENCE,
    "sequence_first": Place.SEQUENCE_FIRST,
    "sequence_previous": Place.SEQUENCE_PREVIOUS,
    "source_index": Place.SOURCE_INDEX,
    "source": Place.LINE,
}
_DAMAGE: Final = (ValueError, IndexError, OverflowError, struct.error, zstandard.ZstdError)


class Head:
    """The first bytes of an event block: what it holds, without decoding it.

    Raises
    ------
    CorruptionError
        When they cannot be of a block of `raw_bytes` bytes.
    """

    __slots__ = (
        "beside_bytes",
        "columns",
        "descriptor_bytes",
        "flags",
        "forms",
        "groups",
        "level_base",
        "level_unit",
        "levels",
        "others",
        "price_base",
        "price_unit",
        "rows",
        "snapshots",
        "steps",
        "version",
    )

    columns: int
    groups: int
    rows: int
    others: int
    snapshots: int
    levels: int

    def __init__(self, block: bytes | memoryview, raw_bytes: int) -> None:
        if len(block) < HEAD_BYTES or raw_bytes > BLOCK_BYTES_MAX or raw_bytes % 8:
            raise CorruptionError("an event block is too short or too large", found=(len(block), raw_bytes))
        version, *values = HEAD.unpack_from(block)
        self.version = version
        self.columns, self.groups, self.rows, self.others, self.snapshots, self.levels = values[:6]
        self.forms, self.steps, self.flags = (values[6], values[7]), values[8], values[9]
        self.price_unit, self.price_base, self.level_unit, self.level_base = values[10:14]
        self.descriptor_bytes, self.beside_bytes = values[14:]
        plausible = (
            version in (VERSION, *CODED_VERSIONS)
            and self.columns == COLUMNS
            and 0 < self.groups <= self.rows
            and self.snapshots <= self.others
            and BOOK_DELTA_BYTES * self.rows + HEADER_BYTES * self.others + 16 * self.levels <= raw_bytes
            and self.steps <= STEPS
            and max(self.forms) < SIGNED
            and self.flags <= ON_PROLOGUE
            and min(self.price_unit, self.level_unit) >= 1
        )
        if not plausible:
            raise CorruptionError("an event block claims what cannot be", found=values)


class EventBlock:
    """One event block, whose stored bytes matched their checksum.

    Parameters
    ----------
    block : bytes-like
    raw_bytes : int
        Bytes of the sealed file that it holds.

    Raises
    ------
    CorruptionError
        From every method, when the block does not hold what it says.
    """

    def __init__(self, block: bytes | memoryview, raw_bytes: int) -> None:
        self.head = Head(block, raw_bytes)
        self._raw_bytes, self._is_coded = raw_bytes, self.head.version in CODED_VERSIONS
        self._kept: list[Stored] = []
        self._arrays: Any = engine.arrays()
        head, data = self.head, memoryview(block)
        try:
            beside = HEAD_BYTES + head.descriptor_bytes
            start = beside + head.beside_bytes
            if start > len(data):
                raise ValueError("the parts lead outside the block")
            size = ENTRY.size * head.columns + head.snapshots
            packed = data[HEAD_BYTES:beside]
            if zstandard.frame_content_size(packed) != size:
                raise ValueError("the descriptor has another length than the head says")
            descriptor = decompressor().decompress(packed, max_output_size=size)
            self._descriptor, self._data = descriptor, data[start:]
            self._forms = list(descriptor[ENTRY.size * head.columns :])
            self._beside = data[beside:start]
        except _DAMAGE as error:
            raise _corrupt(error) from error

    @cached_property
    def _columns(self) -> Columns:
        """The columns one by one."""
        head = self.head
        rows_max = max(head.rows, head.levels, head.others)
        coded = Place.SIZE if self._is_coded else -1
        return Columns(self._descriptor, head.columns, self._data, rows_max, coded=coded)

    @cached_property
    def _coded(self) -> Any:
        """The prices and sizes of a block that holds them as a code, of either form."""
        head = self.head
        assert self._whole.stop == head.rows
        price = Price(head.price_base, head.price_unit, head.forms)
        unit, code = self._columns.unit(Place.SIZE), self._columns.code(Place.SIZE, head.rows)
        return engine.rows_of_code(head.version)(*self._counts, price, unit, head.rows, code)

    @cached_property
    def _counts(self) -> tuple[Values, Values]:
        """Bids and asks of each group, which make the block's rows."""
        return self._values(Place.BIDS), self._values(Place.ASKS)

    @cached_property
    def _whole(self) -> Cut:
        """All groups, their counts checked."""
        return self._cut(None, None)

    def _cut(self, start_ts: int | None, end_ts: int | None) -> Cut:
        """Return the groups with start_ts <= ts_recv < end_ts."""
        timed = start_ts is not None or end_ts is not None
        times = self._group_values(Place.TS_RECV) if timed else None
        start, end = INT64_MIN if start_ts is None else start_ts, INT64_MAX if end_ts is None else end_ts
        found: Cut = self._arrays.cut(*self._counts, self.head.rows, GAP_EDGES, times=times, start=start, end=end)
        return found

    def columns(
        self,
        names: Collection[str],
        base_index: int = 0,
        *,
        sides: tuple[int, int] = (Side.BID, Side.ASK),
        start_ts: int | None = None,
        end_ts: int | None = None,
        divisors: tuple[float, float] = (0.0, 0.0),
    ) -> dict[str, NDArray[Any]]:
        """Return columns of the block's BOOK_DELTA rows, in the order of the queue.

        Parameters
        ----------
        names : collection of str
            Of :data:`chronicle.storage.codec.archive.COLUMN_NAMES`. ``flags`` carry F_LAST on the last row of each
            event, whichever record ends the event.
        base_index : int
            Index of the block's first record, for ``index``.
        sides : (int, int)
            What ``side`` says of bids and of asks.
        start_ts, end_ts : int, optional
            Only the rows from the first to the last with start_ts <= ts_recv < end_ts.
        divisors : (float, float)
            Where not 0.0, prices and sizes may come as float64, divided (the nearest to the quotient); who asks looks
            at the dtype, as the compiler's absence or a mantissa of INT64_MIN leaves them int64.

        Returns
        -------
        dict of str to array of shape (rows,)
            int64; ``side`` and ``flags`` are uint8, ``source`` int32.
        """
        try:
            limits = start_ts, end_ts
            found: dict[str, NDArray[Any]] | None = self._arrays.block_columns(
                self.head, self._descriptor, self._data, names, base_index, sides, limits, divisors
            )
            if found is not None:
                return found
            of = self._whole if start_ts is None and end_ts is None else self._cut(start_ts, end_ts)
            return {name: self._column(name, base_index, sides, of) for name in names}
        except _DAMAGE as error:
            raise _corrupt(error) from error

    def _column(self, name: str, base_index: int, sides: tuple[int, int], of: Cut) -> NDArray[Any]:
        """Return a column of the rows of a cut."""
        groups = slice(of.low, of.high)
        bids, asks = (counts[groups] for counts in self._counts)
        rows = of.stop - of.above
        if name == "side":
            return np.asarray(self._arrays.sides(bids, asks, int(sides[0]), int(sides[1]), rows))
        if name == "flags":
            return np.asarray(self._arrays.flags(self._group_values(Place.MARKS)[groups], bids, asks, rows))
        if name == "price":
            return self._row_prices(of)
        if name == "size":
            return self._row_sizes(of)
        if name == "index":
            before = np.searchsorted(self._places, np.arange(of.low, of.high), side="right")
            found = self._arrays.spread(before.astype(np.int64), bids, asks, rows)
            return np.asarray(found + np.arange(of.above + base_index, of.stop + base_index))
        place = _PLACES[name]
        values = self._group_values(place)[groups]
        if place == Place.LINE:
            values = (values >> 32) & 0xFFFF
        found = self._arrays.spread(values, bids, asks, rows)
        if place == Place.SOURCE_INDEX and self.head.steps & STEP_SOURCE:
            found = found + np.arange(of.above, of.stop)
        return np.asarray(found.astype(np.int32) if place == Place.LINE else found)

    def _row_prices(self, of: Cut) -> Values:
        """Return the prices of the rows of a cut."""
        head = self.head
        if self._is_coded:
            return np.asarray(self._coded.prices[of.above : of.stop])
        price = Price(head.price_base, head.price_unit, head.forms)
        return self._priced(Place.PRICE_FIRST, *self._counts, price, of)

    def _row_sizes(self, of: Cut) -> Values:
        """Return the sizes of the rows of a cut."""
        if self._is_coded:
            return np.asarray(self._coded.sizes[of.above : of.stop])
        if self._columns.mode(Place.SIZE) != PLAIN:
            return self._values(Place.SIZE)[of.above : of.stop]
        part = of.above, of.stop
        return np.asarray(self._arrays.values(self._columns, Place.SIZE, self.head.rows, None, part))

    @cached_property
    def _places(self) -> Values:
        """The group before which each other record stands."""
        places = self._values(Place.OTHERS)
        inside = not len(places) or (int(places[0]) >= 0 and int(places[-1]) <= self.head.groups)
        if not inside or bool((np.diff(places) < 0).any()):
            raise ValueError("records stand where there is no group")
        return places

    def _priced(self, first: Place, bids: Values, asks: Values, price: Price, of: Cut) -> Values:
        """Return the row prices of a cut, from the columns of first prices and gaps."""
        edges = GAP_EDGES if first == Place.PRICE_FIRST else LEVEL_EDGES
        modes = {self._columns.mode(first + 1 + number) for number in range(len(edges))}
        if len(modes) != 1:
            raise ValueError("the gaps of a block have two modes")
        if modes != {PLAIN}:
            price = Price(price.base, price.unit, (price.forms[0] | SIGNED, price.forms[1] | SIGNED))
        return np.asarray(self._arrays.prices(self._columns, first, bids, asks, price, edges, of))

    def _rows_of(self, place: Place) -> int:
        if place <= Place.SEQUENCE_PREVIOUS:
            return self.head.groups
        if place == Place.OTHERS:
            return self.head.others
        return self.head.levels if place == Place.LEVEL_SIZE else self.head.rows

    def _values(self, place: Place, reference: Values | None = None) -> Values:
        if self._columns.mode(place) >= SAME and reference is None:
            raise ValueError("a column refers to another where there is none")
        return np.asarray(self._arrays.values(self._columns, place, self._rows_of(place), reference))

    def _group_values(self, place: Place) -> Values:
        """Return a group column; where source indexes step, those are as stored."""
        known = self.__dict__.setdefault("_groups_known", {})
        if place not in known:
            reference = REFERENCES.get(place)
            known[place] = self._values(place, None if reference is None else self._group_values(reference))
        found: Values = known[place]
        return found

    def raw(self, book: Callable[[], Book] | None = None) -> memoryview:
        """Return the block's records as they were sealed.

        Parameters
        ----------
        book : callable, optional
            Gives the book in the segment's prologue; called only by a block that begins with it.
        """
        return self.part(0, self._raw_bytes, book)[1]

    def part(self, begin: int, end: int, book: Callable[[], Book] | None = None) -> tuple[int, memoryview]:
        """Return (offset, records) of whole groups, with what stands before them, that hold bytes [begin, end)."""
        try:
            return self._part(begin, end, book)
        except _DAMAGE as error:
            raise _corrupt(error) from error

    def _part(self, begin: int, end: int, book: Callable[[], Book] | None) -> tuple[int, memoryview]:
        head = self.head
        bids, asks = self._counts
        whole = self._whole
        columns = [bids, asks, *(self._group_values(Place(place)) for place in range(2, 10))]
        groups = stepped(np.stack(columns), head.steps, 1)
        words, starts = self._other_words(groups)
        found = self._snapshots(words, starts)
        lengths = self._lengths(starts, found)
        if BOOK_DELTA_BYTES * head.rows + 8 * int(lengths.sum()) != self._raw_bytes:
            raise ValueError("the records do not add up")
        places = self._places
        row_starts = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(bids + asks)))
        beside = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths)))
        # Where each group's part begins: behind the group before it, in front of the other records before it.
        begins = BOOK_DELTA_BYTES * row_starts + 8 * beside[np.searchsorted(places, np.arange(head.groups + 1))]
        low = max(0, int(np.searchsorted(begins[:-1], begin, side="right")) - 1)
        high = head.groups
        if end < self._raw_bytes:
            high = max(low + 1, min(high, int(np.searchsorted(begins, end, side="left"))))
        first, last = (int(np.searchsorted(places, group)) for group in (low, high))
        last = len(places) if high == head.groups else last
        if high < head.groups:
            whole = whole._replace(high=high, stop=int(row_starts[high]))
        prices, sizes = self._row_prices(whole), self._row_sizes(whole)
        offset, row = int(begins[low]), int(row_starts[low])
        stop = BOOK_DELTA_BYTES * len(prices) + 8 * int(beside[last])
        out = fresh_array((stop - offset) // 8, np.int64)
        mine = groups[:, low:high]
        others = starts[first : last + 1], places[first:last] - low, lengths[first:last]
        self._arrays.assemble(mine, prices[row:], sizes[row:], head.steps, words, *others, out)
        if found:
            replay = Replay.of_groups(groups[:, :high], prices, sizes, compiled=self._arrays.COMPILED)
            found = [snapshot for snapshot in found if snapshot.number < last]
            at = 10 * row_starts[places] + beside[:-1] - offset // 8
            self._levels(out, at, found, replay, book)
        return offset, out.view(np.uint8).data.toreadonly()

    def _lengths(self, starts: Values, found: list[Stored]) -> Values:
        """Return the words that each other record takes as sealed."""
        lengths = np.diff(starts)
        for snapshot, form in zip(found, self._forms, strict=True):
            if form != LEVELS_VERBATIM:
                lengths[snapshot.number] += 2 * (snapshot.bids + snapshot.asks)
        return lengths

    def instruments(self, known: bytes = b"") -> list[tuple[int, bytes]]:
        """Return (offset in the sealed block, body) of its INSTRUMENT records; no row is decoded.

        Where all of them say what is `known` already (a venue's list that was sent again), they are left out.
        """
        try:
            words, starts = self._beside_words()
            numbers, bodies = definitions_beside(words, starts)
            if all(body == known for body in bodies):
                return []
            lengths = self._lengths(starts, self._snapshots(words, starts))
            places = self._places
            bids, asks = self._counts
            if self._whole.stop != self.head.rows:
                raise ValueError("the groups do not make the block's rows")
            above = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(bids + asks)))[places]
            offsets = BOOK_DELTA_BYTES * above + 8 * (np.cumsum(lengths) - lengths)
            return [(int(offsets[number]), body) for number, body in zip(numbers, bodies, strict=True)]
        except _DAMAGE as error:
            raise _corrupt(error) from error

    def _other_words(self, groups: Values) -> tuple[Values, Values]:
        """Return the other records as sealed (but for levels left out), and where each starts and the last ends."""
        words, starts = self._beside_words()
        if not self.head.others:
            return words, starts
        firsts = starts[:-1]
        expected = expected_headers(words[firsts], self._places, groups, self.head.steps)
        for offset in range(1, 6):
            words[firsts + offset] += expected[offset - 1]
        checks = firsts[(words[firsts] & HEAD_MASK) == CHECK_HEAD]
        words[checks + 8] += words[checks + 7]
        return words, starts

    def _beside_words(self) -> tuple[Values, Values]:
        """Return the other records as stored, less what their events tell; where each starts, and the last ends."""
        if not self.head.others:
            if len(self._beside):
                raise ValueError("records that nobody counted")
            return np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
        words, starts = read_beside(self._beside, self._raw_bytes, self.head.others)
        return words.copy(), starts

    def _snapshots(self, words: Values, starts: Values) -> list[Stored]:
        """Return the snapshots among the other records, with the counts of those whose levels were left out."""
        numbers = np.flatnonzero((words[starts[:-1]] >> 32) & 0xFFFF == Kind.BOOK_SNAPSHOT).tolist()
        if len(numbers) != len(self._forms):
            raise ValueError("snapshots do not match their list")
        found = []
        for number, form in zip(numbers, self._forms, strict=True):
            at = int(starts[number])
            snapshot = stored(words, at, number)
            if form != LEVELS_VERBATIM:
                whole = int(words[at]) & 0xFFFFFFFF == SNAPSHOT_LEVELS_OFFSET
                if form not in (LEVELS_REPLAYED, LEVELS_COLUMNS) or not whole:
                    raise ValueError("a snapshot has no such form")
                if 16 * (snapshot.bids + snapshot.asks) > self._raw_bytes:
                    raise ValueError("a snapshot is larger than its block")
            found.append(snapshot)
        self._kept = [s for s, form in zip(found, self._forms, strict=True) if form == LEVELS_COLUMNS]
        return found

    def _levels(
        self, out: Values, at: Values, found: list[Stored], replay: Replay, book: Callable[[], Book] | None
    ) -> None:
        """Write the levels that were left out, snapshot by snapshot; `at`: where each other record is in `out`."""
        head, position = self.head, 0
        levels = self._level_columns()
        if head.flags & ON_PROLOGUE:
            if book is None:
                raise ValueError("the block begins with a book that is not there")
            replay.start(book())
        for snapshot, form in zip(found, self._forms, strict=False):  # `found` may be the first ones only
            if form == LEVELS_VERBATIM:
                continue
            place, count = int(self._places[snapshot.number]), snapshot.bids + snapshot.asks
            if form == LEVELS_COLUMNS:
                mine: Values | None = levels[position : position + count]
                position += count
            else:
                mine = replay.levels(snapshot, place)
            if mine is None:
                raise ValueError("a snapshot does not follow from the one before")
            start = int(at[snapshot.number]) + SNAPSHOT_LEVELS_OFFSET // 8
            if start > 0:  # else it stands before the part that is asked for
                out[start : start + 2 * count] = mine.reshape(-1)
            followed = form == LEVELS_REPLAYED
            replay.remember(snapshot.instrument, place, snapshot.bids, mine, replayed=followed)

    def _level_columns(self) -> Values:
        """Return the levels of all snapshots that have them as columns: int64[levels, 2]."""
        head, kept = self.head, self._kept
        counts = np.array([[s.bids for s in kept], [s.asks for s in kept]], dtype=np.int64).reshape(2, -1)
        if int(counts.sum()) != head.levels:
            raise ValueError("the levels do not add up")
        price = Price(head.level_base, head.level_unit, LEVEL_FORMS)
        if not head.levels:
            return np.zeros((0, 2), dtype=np.int64)
        whole = self._arrays.cut(counts[0], counts[1], head.levels, LEVEL_EDGES, least=0)
        prices = self._priced(Place.LEVEL_FIRST, counts[0], counts[1], price, whole)
        return np.stack((prices, self._values(Place.LEVEL_SIZE)), axis=1)


def _corrupt(error: Exception) -> CorruptionError:
    return CorruptionError(f"an event block does not decode: {error}")
