"""The pure heart of a shard: one raw lane's events in, clean events out, nothing else read.

A window's records are split at what changes definitions and lines (INSTRUMENT, STATUS, raw GAP, an HTTP snapshot).
Between those, records are grouped by stream with their order kept; streams do not see one another, so that the
grouping, and with it the batch size, cannot be seen in any queue.

The file is longer than most: each kind of change (definitions, lines, statuses, gaps, snapshots over HTTP) needs the
same tables of streams and definitions. What stands alone is elsewhere: windows in ``window``, the kernel's part in
``sweep``, lines in ``lines``, which records are whose in ``kernels.grouping``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from chronicle import __version__
from chronicle.core import layout
from chronicle.core.errors import CorruptionError, RecordError
from chronicle.core.layout import HEADER_BYTES, NONE, Cause, Flag, Kind, SequenceRule, StatusCode
from chronicle.core.paths import clean_queue
from chronicle.core.records import pack_record, unpack_details
from chronicle.etl.books.status import LINE_ENDS
from chronicle.etl.clean.block import Words
from chronicle.etl.clean.lineage import CONNECTION_SHIFT, split_position
from chronicle.etl.clean.outlet import Sink
from chronicle.etl.config import EtlConfig
from chronicle.etl.kernels.grouping import CHANNEL_BITS, NOT_OURS, NUMBER_SHIFT, UNDEFINED, UNDEFINED_NUMBER, Groups
from chronicle.etl.merge.lines import RANK_STRIDE, Lines
from chronicle.etl.merge.number_table import widened
from chronicle.etl.merge.owners import Owners
from chronicle.etl.pipeline.sweep import Sweep
from chronicle.etl.pipeline.window import RawWindow
from chronicle.etl.streams.book_stream import BookStream
from chronicle.etl.streams.candles import CandleStream
from chronicle.etl.streams.order_stream import OrderStream
from chronicle.etl.streams.stream import CLEAN_INSTRUMENT, Definition, PlainStream, StreamSettings

__all__ = ["Pipeline", "StreamKey"]

BOOK, TRADE, QUOTE, CANDLE = "book", "trade", "quote", "candle"
CHANNELS = (BOOK, TRADE, QUOTE)
"""Channels that raw records go to, by number; candles are made from trades."""
BOOK_CHANNELS = ("book", "depth", "orderbook", "level2", "l2_data")
"""How the names of book channels begin, ours and the venues'; a status without a channel concerns the book too."""
INSTRUMENT_NUMBER_MAX = 1 << 24
StreamKey = tuple[str, str, int]
"""(symbol, channel, rank)"""

_CHANNEL_OF_KIND = np.full(1 << 16, -1, dtype=np.int64)
for _kind, _channel in (
    (Kind.BOOK_DELTA, 0),
    (Kind.BOOK_SNAPSHOT, 0),
    (Kind.ORDER, 0),
    (Kind.CHECK, 0),
    (Kind.TRADE, 1),
    (Kind.QUOTE, 2),
):
    _CHANNEL_OF_KIND[_kind] = _channel
_STATUS_CODE = HEADER_BYTES >> 3
_LINE_CODES = np.array(
    [StatusCode.DISCONNECTED, StatusCode.CAPTURE_START, StatusCode.LEFT, StatusCode.DECODE_ERROR, StatusCode.LOST]
)
"""Codes of statuses without an instrument that concern books."""
_CHANNEL_MASK = (1 << CHANNEL_BITS) - 1
_TRADE = CHANNELS.index(TRADE)
_CHANNELS, _LINES = (*CHANNELS, CANDLE), (*CHANNELS, TRADE)
"""Channels by their number in a key, and the channel whose line feeds each."""
_CANDLE = _CHANNELS.index(CANDLE)
_COUNTED: Final = frozenset(SequenceRule) - {SequenceRule.NONE, SequenceRule.CONNECTION, SequenceRule.GROWING}
"""Rules by which an instrument's own numbers show what is missing."""
_STREAMS: dict[str, type[PlainStream]] = {BOOK: BookStream, CANDLE: CandleStream}


class Pipeline:
    """State of one raw lane.

    Parameters
    ----------
    lane : int
        Lane of the raw queue; clean queues carry it.
    raw_queue : str
        The raw queue's name, written into prologues.
    raw_generation : int
        Its generation.
    config : EtlConfig
        What shapes the output.
    sink : Sink
        Where clean records go.
    selects : callable, optional
        Whether a symbol is to be worked on; default what `config` selects.
    owners : Owners, optional
        Asked before a clean queue is written, where a home has several raw queues.
    """

    def __init__(
        self,
        *,
        lane: int,
        raw_queue: str,
        raw_generation: int,
        config: EtlConfig,
        sink: Sink,
        selects: Callable[[str], bool] | None = None,
        owners: Owners | None = None,
    ) -> None:
        self.lane = lane
        self.config = config
        self.selects = selects or config.selection.selects
        self._owners = owners
        self.settings = StreamSettings(
            lane=lane,
            raw_queue=raw_queue,
            raw_generation=raw_generation,
            etl={"version": __version__, "config": config.to_dict()},
            snapshot_interval_ns=config.snapshot_interval_ns,
            snapshot_deltas=config.snapshot_deltas,
            candles=config.candles,
        )
        self.sink = sink
        self.lines = Lines()
        self.definitions: dict[int, Definition] = {}
        self.streams: dict[StreamKey, PlainStream] = {}
        self.next_index = 0
        self.last_ts = NONE
        self.canonical: dict[str, int] = {}
        self._numbers_of: dict[int, set[int]] = {}
        self._number_of = np.zeros(1024, dtype=np.int64)
        self._touched: dict[StreamKey, PlainStream] = {}
        self._groups = Groups(_CHANNEL_OF_KIND)
        self._window = RawWindow(raw_queue)
        self._sweep = Sweep(self._groups, self._touch)
        self.order_books = 0
        """How many streams are books of orders, which Python takes group by group."""
        self._candles = bool(config.candles)
        self._by_key: dict[int, int] = {}
        """Addresses of streams' rows by their group's key, as long as no definition and no line changes."""

    # --- windows -------------------------------------------------------------------------------------------------

    def feed(self, memory: memoryview | bytes, base_index: int) -> int:
        """Take whole raw events that start at record `base_index`; return the number of records.

        Raises
        ------
        CorruptionError
            When the bytes are no records.
        RecordError
            When a record names an instrument that was never defined.
        """
        self.load(memory, base_index)
        return self.work()

    def load(self, memory: memoryview | bytes, base_index: int) -> RawWindow:
        """Index whole raw events that start at record `base_index`, for :meth:`work`.

        Raises
        ------
        CorruptionError
            When the bytes are no records.
        """
        self._window.load(memory, base_index, positioned=self.settings.merged)
        return self._window

    def work(self) -> int:
        """Take the events that were indexed; return the number of records.

        Raises
        ------
        RecordError
            When a record names an instrument that was never defined.
        """
        window = self._window
        count = window.count
        if not count:
            return 0
        position = 0
        for record in self._changes():
            if record < position:
                continue  # of an event that was taken whole
            first, end = window.event_of(record)
            self._bulk(position, first)
            self._mixed(first, end)
            position = end
        self._bulk(position, count)
        self.next_index = window.base_index + count
        self.last_ts = window.ts_recv(count - 1)
        return count

    def _changes(self) -> list[int]:
        """Leave in the window's flagged records what changes something here: no statuses of others' books.

        Venues send some about every instrument, and each one that is taken splits the window.
        """
        window = self._window
        if not window.flagged:
            return []
        found = np.array(window.flagged, dtype=np.int64)
        heads = window.heads[found]
        kinds, instruments = heads >> 48 & 0xFFFF, heads & 0xFFFFFFFF
        numbers = np.full(len(found), UNDEFINED, dtype=np.int64)
        if not np.any(kinds == Kind.INSTRUMENT):  # one may give a number to another instrument
            known = instruments < len(self._number_of)
            numbers[known] = self._number_of[instruments[known]]
        codes = window.words[window.starts[found] + _STATUS_CODE] & 0xFFFF
        idle = np.where(instruments > 0, numbers == NOT_OURS, ~np.isin(codes, _LINE_CODES))
        idle &= kinds == Kind.STATUS
        if np.any(idle):
            self._groups.skipped[Kind.STATUS] -= int(idle.sum())  # which are no records that should go anywhere
            window.flagged = found[~idle].tolist()
        return window.flagged

    def flush(self) -> None:
        """Hand the collected clean records of all touched queues to the sink."""
        for stream in self._touched.values():
            stream.outlet.flush()
        self._touched.clear()

    def check_complete(self) -> None:
        """Check, at the end of the raw queue, that no clean queue holds more than it gives.

        Raises
        ------
        CorruptionError
            When one does: another configuration, another version or another raw queue wrote it.
        """
        self.settle()
        for stream in self.streams.values():
            if stream.outlet.surplus:
                raise CorruptionError(
                    "a clean queue is not what its raw queue gives",
                    path=stream.outlet.queue,
                    expected=f"{stream.outlet.written} records",
                    found=stream.outlet.written + stream.outlet.surplus,
                    hint="another configuration or version wrote it: rebuild into another home and compare",
                )

    def doubtful(self) -> list[tuple[StreamKey, BookStream]]:
        """Return the books touched since the last flush that wait for a venue snapshot."""
        return [
            (key, stream)
            for key, stream in self._touched.items()
            if isinstance(stream, BookStream) and (stream.trust.in_gap or stream.wants_resync)
        ]

    @property
    def merged(self) -> bool:
        """Whether word 3 is their position (:mod:`chronicle.etl.clean.lineage`): merged queues or lines."""
        return self.settings.merged

    def merge(self) -> None:
        """Take records that carry their position from now on."""
        self.settings.merged = True

    @property
    def numbers(self) -> Words:
        """Canonical instrument number by instrument number; UNDEFINED, or NOT_OURS where it is not of this shard."""
        return self._number_of

    def numbers_of(self, canonical: int) -> list[int]:
        """Return the instrument numbers of this shard that are grouped under `canonical`, ascending."""
        found = sorted(self._numbers_of.get(canonical, ()))
        return [number for number in found if self._number_of[number] == canonical]

    def end_trades(self, symbol: str, source: int, ts_recv: int, raw_index: int) -> None:
        """Take note that the line which delivers an instrument's trades is gone."""
        rank = self.lines.drop(symbol, TRADE, source)
        self._by_key.clear()
        if rank is not None:
            self._end_candles(symbol, rank, ts_recv, raw_index)

    def rename_line(self, symbol: str, channel: str, source: int, successor: int) -> None:
        """Let `successor` deliver what `source` delivered."""
        self.lines.rename(symbol, channel, source, successor)
        self._by_key.clear()

    def books(self) -> list[tuple[StreamKey, BookStream]]:
        """Return the book streams with their keys."""
        return [(key, stream) for key, stream in self.streams.items() if isinstance(stream, BookStream)]

    def candles(self) -> list[CandleStream]:
        """Return the candle streams."""
        return [stream for stream in self.streams.values() if isinstance(stream, CandleStream)]

    @property
    def skipped(self) -> dict[int, int]:
        """Records by kind that go to no stream."""
        counts = self._groups.skipped
        return {kind: int(counts[kind]) for kind in np.flatnonzero(counts).tolist()}

    @skipped.setter
    def skipped(self, counts: dict[int, int]) -> None:
        self._groups.skipped[:] = 0
        for kind, count in counts.items():
            self._groups.skipped[kind] = count

    def absorb(self) -> None:
        """Learn what the sweep did to what is counted: checks that passed."""
        for stream in self.streams.values():
            if stream.definition.fields.check_rule:
                stream.absorb()

    def settle(self) -> None:
        """Learn what the sweep did to every stream, so that their state can be read; it may go on from there."""
        for stream in self.streams.values():
            stream.absorb()

    # --- plain records -------------------------------------------------------------------------------------------

    def _bulk(self, first: int, end: int, message: int = NONE) -> None:
        """Take records [first, end) that change no definition and no line."""
        if first >= end:
            return
        groups, window = self._groups, self._window
        count = groups.find(window.heads, first, end, self._number_of)
        if count < 0:
            self._refuse(UNDEFINED_NUMBER - count)
        keys = groups.keys[:count].tolist()
        candles = [place for place, key in enumerate(keys) if key & _CHANNEL_MASK == _TRADE] if self._candles else []
        keys += [keys[place] | _CANDLE for place in candles]
        if message == NONE:
            places = [*range(count), *candles] if candles else range(count)
            get = self._by_key.get
            rows = [get(key) or self._row_of(key) for key in keys]
            self._sweep.run(window, rows, lambda place: self._stream_of(keys[place], places[place]), candles)
            return
        for place in range(count):
            block = window.block(groups.chosen[groups.bounds[place] : groups.bounds[place + 1]])
            stream = self._stream_of(keys[place], place)
            if isinstance(stream, BookStream):
                stream.message = message
            stream.take(block)
            if isinstance(stream, BookStream):
                stream.message = NONE
        for number, place in enumerate(candles):
            block = window.block(groups.chosen[groups.bounds[place] : groups.bounds[place + 1]])
            self._stream_of(keys[count + number], place).take(block)

    def _row_of(self, key: int) -> int:
        """Return the address of the row of a group's stream, 0 while its line has none."""
        symbol, channel = self.definitions[key >> NUMBER_SHIFT].symbol, key & _CHANNEL_MASK
        rank = self.lines.rank(symbol, _LINES[channel], key >> CHANNEL_BITS & 0xFFFF)
        stream = None if rank is None else self.streams.get((symbol, _CHANNELS[channel], rank))
        if stream is None:
            return 0
        self._by_key[key] = stream.row.address
        return stream.row.address

    def _stream_of(self, key: int, place: int) -> PlainStream:
        """Return the stream of a key, made and begun where it must be; group `place` has its records."""
        groups = self._groups
        definition, channel = self.definitions[key >> NUMBER_SHIFT], key & _CHANNEL_MASK
        ts_recv = self._window.ts_recv(int(groups.chosen[groups.bounds[place]]))
        rank = self.lines.claim(definition.symbol, _LINES[channel], key >> CHANNEL_BITS & 0xFFFF)
        return self._stream_at(definition, _CHANNELS[channel], rank, ts_recv)

    def _refuse(self, record: int) -> None:
        raise RecordError(
            f"a raw record names instrument {self._window.instrument(record)}, which no INSTRUMENT record defines",
            path=self.settings.raw_queue,
            hint="the raw queue's beginning was retired: rebuild from an archive that has it",
        )

    def _grow(self, number: int) -> None:
        if number >= INSTRUMENT_NUMBER_MAX:
            raise RecordError(
                "an instrument number is out of range", expected=f"below {INSTRUMENT_NUMBER_MAX}", found=number
            )
        self._number_of = widened(self._number_of, max(number + 1, 2 * len(self._number_of)))

    def _stream_at(self, definition: Definition, channel: str, rank: int, ts_recv: int) -> PlainStream:
        key = (definition.symbol, channel, rank)
        stream = self.streams.get(key)
        if stream is None:
            stream = self.make_stream(key, definition)
        self._touch(stream)
        stream.start(ts_recv)
        return stream

    def _touch(self, stream: PlainStream) -> None:
        """Take a stream back from the sweep: Python is about to change it, and writes out what it makes."""
        stream.disarm()
        self._touched[stream.key] = stream

    def make_stream(self, key: StreamKey, definition: Definition, written: int = 0) -> PlainStream:
        """Add a stream, new or from a checkpoint."""
        symbol, channel, rank = key
        queue = clean_queue(symbol, channel, self.lane + RANK_STRIDE * rank)
        if self._owners is not None:
            there = not written and self.sink.tail(queue).next_index > 0
            self._owners.take(queue, self.settings.raw_queue, there=there)
        kind = _stream_class(channel, definition)
        stream = kind(queue, channel, definition, self.settings, self.sink, written=written)
        stream.key = key
        self.streams[key] = stream
        self.order_books += isinstance(stream, OrderStream)
        return stream

    # --- records that change something ---------------------------------------------------------------------------

    def _mixed(self, first: int, end: int) -> None:
        """Take one event that holds control records, in its order."""
        window = self._window
        words, message = window.words, window.base_index + first
        position = first
        self._by_key.clear()
        flagged = window.flagged
        for number in flagged[bisect_left(flagged, first) : bisect_left(flagged, end)]:
            self._bulk(position, number, message)
            position = number + 1
            at = int(window.starts[number])
            kind, instrument, source = window.kind(number), window.instrument(number), window.source(number)
            raw_index = int(words[at + 3]) if self.merged else window.base_index + number
            if kind == Kind.INSTRUMENT:
                self._define(words, at, instrument, raw_index)
            elif kind == Kind.STATUS:
                self._status(words, at, instrument, source, raw_index)
            elif kind == Kind.GAP:
                self._raw_gap(words, at, instrument, raw_index)
            else:
                position = self._http_snapshot(number, end, instrument)
        self._bulk(position, end, message)

    def _define(self, words: Words, at: int, number: int, raw_index: int) -> None:
        body = _body(words, at)
        definition = Definition(body, raw_index, int(words[at + 1]), int(words[at + 2]), selected=True)
        if not definition.symbol:
            raise RecordError("an INSTRUMENT record has no symbol", path=self.settings.raw_queue, found=raw_index)
        if number == UNDEFINED:
            raise RecordError("an INSTRUMENT record has no number", path=self.settings.raw_queue, found=raw_index)
        definition.selected = self.selects(definition.symbol)
        if number >= len(self._number_of):
            self._grow(number)
        self.add_definition(number, definition)
        for channel in (*CHANNELS, CANDLE):
            rank = 0
            while (stream := self.streams.get((definition.symbol, channel, rank))) is not None:
                self._touch(stream)
                if channel == BOOK:
                    stream = self._driven(stream, definition)
                    self.streams[stream.key] = self._touched[stream.key] = stream
                stream.redefine(definition)
                rank += 1

    def _driven(self, stream: PlainStream, definition: Definition) -> PlainStream:
        """Return the stream of a book channel for a definition that may have changed what drives the book."""
        kind = _stream_class(BOOK, definition)
        if type(stream) is kind or not isinstance(stream, BookStream):
            return stream
        stream.outlet.flush()
        queue, settings = stream.outlet.queue, self.settings
        successor = kind(queue, BOOK, stream.definition, settings, self.sink, written=stream.outlet.written)
        assert isinstance(successor, BookStream)
        successor.key = stream.key
        successor.take_over(stream)
        return successor

    def add_definition(self, number: int, definition: Definition) -> None:
        """Take a definition for `number`; all numbers of one symbol are grouped under the first."""
        canonical = self.canonical.setdefault(definition.symbol, number)
        self.definitions[number] = definition
        self.definitions[canonical] = definition
        if number >= len(self._number_of):
            self._grow(number)
        self._number_of[number] = canonical if definition.selected else NOT_OURS
        self._numbers_of.setdefault(canonical, set()).add(number)

    def restore_definition(self, number: int, definition: Definition) -> None:
        """Take back one entry of the table from a checkpoint, whose canonical numbers are there already."""
        self.definitions[number] = definition
        if number >= len(self._number_of):
            self._grow(number)
        canonical = self.canonical[definition.symbol]
        self._number_of[number] = canonical if definition.selected else NOT_OURS
        self._numbers_of.setdefault(canonical, set()).add(number)

    def _status(self, words: Words, at: int, instrument: int, source: int, raw_index: int) -> None:
        code, _ = layout.STATUS_BODY.unpack_from(_body(words, at))
        ts_recv = int(words[at + 1])
        if instrument:
            self._instrument_status(words, at, code, instrument, source, raw_index)
        elif code in (StatusCode.DISCONNECTED, StatusCode.CAPTURE_START, StatusCode.LEFT):
            one = code == StatusCode.DISCONNECTED
            freed = self.lines.release(source) if one else self.lines.release_queue(source >> CONNECTION_SHIFT)
            for symbol, channel, rank in freed:
                stream = self.streams[symbol, channel, rank]
                if channel == TRADE:
                    self._end_candles(symbol, rank, ts_recv, raw_index)
                if isinstance(stream, BookStream):
                    self._touch(stream)
                    stream.put_status(_clean_status(words, at, raw_index, 0), ts_recv, raw_index)
                    stream.lose_line()
        elif code == StatusCode.DECODE_ERROR:
            self._line_decode_error(source, ts_recv, raw_index)
        elif code == StatusCode.LOST:
            details = _details(_body(words, at))
            missing = _number(details.get("first")), _number(details.get("last"))
            self._line_lost_messages(source, ts_recv, raw_index, missing)

    def _end_candles(self, symbol: str, rank: int, ts_recv: int, raw_index: int) -> None:
        stream = self.streams.get((symbol, CANDLE, rank))
        if isinstance(stream, CandleStream):
            self._touch(stream)
            stream.end_line(ts_recv, raw_index)

    def _line_decode_error(self, source: int, ts_recv: int, raw_index: int) -> None:
        """A frame of the line could not be read: books that neither number nor check would show it are in doubt."""
        for symbol, channel, rank in self.lines.held(source):
            stream = self.streams[symbol, channel, rank]
            if isinstance(stream, BookStream):
                fields = stream.definition.fields
                numbered = fields.sequence_rule in _COUNTED
                if not numbered and not fields.check_rule:
                    self._touch(stream)
                    stream.declare_gap(Cause.DECODE, ts_recv, raw_index)

    def _line_lost_messages(self, source: int, ts_recv: int, raw_index: int, missing: tuple[int, int]) -> None:
        """The venue's count over the connection has a hole: whose messages are missing cannot be told."""
        for symbol, channel, rank in self.lines.held(source):
            stream = self.streams[symbol, channel, rank]
            if isinstance(stream, BookStream):
                self._touch(stream)
                stream.declare_gap(Cause.SEQUENCE, ts_recv, raw_index, missing)

    def _instrument_status(self, words: Words, at: int, code: int, number: int, source: int, raw_index: int) -> None:
        definition = self.definitions.get(number)
        if definition is None or not definition.selected:
            return
        details = _details(_body(words, at))
        if not str(details.get("channel", BOOK)).startswith(BOOK_CHANNELS):
            return
        symbol, ts_recv = definition.symbol, int(words[at + 1])
        rank = self.lines.rank(symbol, BOOK, source)
        if rank is None:
            if self.lines.ranks(symbol, BOOK):
                return  # a redundant line that delivered nothing yet
            rank = 0
        stream = self._stream_at(definition, BOOK, rank, ts_recv)
        assert isinstance(stream, BookStream)
        if code == StatusCode.DECODE_ERROR:
            stream.declare_gap(Cause.DECODE, ts_recv, raw_index)
        stream.put_status(_clean_status(words, at, raw_index, stream.next_ordinal(raw_index)), ts_recv, raw_index)
        if code in LINE_ENDS:
            stream.lose_line()
            self.lines.release(source, symbol)

    def _raw_gap(self, words: Words, at: int, instrument: int, raw_index: int) -> None:
        """Records were dropped on the way into the raw queue: every book they may have touched has a hole."""
        ts_recv = int(words[at + 1])
        definition = self.definitions.get(instrument)
        number = split_position(raw_index)[0]
        own = {key for key in self.lines.held_by_queue(number) if key[1] == BOOK} if self.merged else None
        for key, stream in self.books():
            if not instrument and own is not None and key not in own:
                continue
            if not instrument or (definition is not None and definition.symbol == key[0]):
                self._touch(stream)
                stream.declare_gap(Cause.DROPPED, ts_recv, raw_index)

    def _http_snapshot(self, number: int, end: int, instrument: int) -> int:
        """Give a snapshot that came outside any line to the lines of its instrument; return where to go on."""
        stop, window = number + 1, self._window
        while stop < end and window.kind(stop) == Kind.CHECK and window.instrument(stop) == instrument:
            stop += 1
        canonical = int(self._number_of[instrument]) if instrument < len(self._number_of) else UNDEFINED
        if canonical == UNDEFINED:
            self._refuse(number)
        if canonical < 0:
            return stop
        definition = self.definitions[canonical]
        own = self.lines.rank(definition.symbol, BOOK, window.source(number))
        ranks = [own] if own is not None else self.lines.ranks(definition.symbol, BOOK) or [0]
        block = window.block(np.arange(number, stop, dtype=np.int64))
        for rank in ranks:
            self._stream_at(definition, BOOK, rank, window.ts_recv(number)).take(block.copy())
        return stop


def _stream_class(channel: str, definition: Definition) -> type[PlainStream]:
    by_order = channel == BOOK and definition.fields.driver == Kind.ORDER
    return OrderStream if by_order else _STREAMS.get(channel, PlainStream)


def _body(words: Words, at: int) -> bytes:
    length = int(words[at] & layout.WORD_LENGTH_MASK)
    data: bytes = words[at : at + (length >> 3)].tobytes()
    return data[HEADER_BYTES:]


def _details(body: bytes) -> dict[str, Any]:
    size = layout.STATUS_BODY.unpack_from(body)[1]
    start = layout.STATUS_BODY.size
    return unpack_details(body[start : start + size], where="STATUS") if size else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= layout.INT64_MAX else layout.NONE


def _clean_status(words: Words, at: int, raw_index: int, ordinal: int) -> bytes:
    return pack_record(
        Kind.STATUS,
        _body(words, at),
        ts_recv=int(words[at + 1]),
        ts_event=int(words[at + 2]),
        flags=Flag.LAST,
        instrument=CLEAN_INSTRUMENT,
        source_index=raw_index,
        ordinal=ordinal,
        sequence=int(words[at + 5]),
    )
