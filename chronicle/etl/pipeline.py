"""The pure heart of a shard: one raw lane's events in, clean events out, nothing else read.

A window's records are split at what changes definitions and lines (INSTRUMENT, STATUS, raw GAP, an HTTP snapshot).
Between those, records are grouped by stream with their order kept; streams do not see one another, so that the
grouping, and with it the batch size, cannot be seen in any queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chronicle import __version__
from chronicle.core import layout
from chronicle.core.errors import CorruptionError, RecordError
from chronicle.core.layout import HEADER_BYTES, NONE, Cause, Flag, Kind, SequenceRule, StatusCode
from chronicle.core.paths import clean_queue
from chronicle.core.records import pack_record, unpack_details
from chronicle.etl.block import Block, Words
from chronicle.etl.book_stream import BookStream
from chronicle.etl.candles import CandleStream
from chronicle.etl.config import EtlConfig
from chronicle.etl.kernels.events import index_records
from chronicle.etl.kernels.grouping import CHANNEL_BITS, NOT_OURS, NUMBER_SHIFT, UNDEFINED, UNDEFINED_NUMBER, Groups
from chronicle.etl.lineage import CONNECTION_SHIFT, split_position
from chronicle.etl.lines import RANK_STRIDE, Lines
from chronicle.etl.order_stream import OrderStream
from chronicle.etl.outlet import Sink
from chronicle.etl.owners import Owners
from chronicle.etl.status import LINE_ENDS
from chronicle.etl.stream import CLEAN_INSTRUMENT, Definition, PlainStream, StreamSettings

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
        self.merged = False
        """Whether records carry their position (:mod:`chronicle.etl.lineage`) in word 3."""
        self.canonical: dict[str, int] = {}
        self._number_of = np.full(1024, UNDEFINED, dtype=np.int64)
        self._touched: dict[StreamKey, PlainStream] = {}
        self._groups = Groups(_CHANNEL_OF_KIND)
        self._starts = np.empty(1 << 14, dtype=np.int64)
        self._heads = np.empty((1 << 14, 5), dtype=np.int64)

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
        words = np.frombuffer(memory, dtype=np.int64)  # never written to: blocks are copies
        count = self._index(words)
        if not count:
            return 0
        starts, heads = self._starts[:count], self._heads[:count]
        position = 0
        for record in self._changes(words, starts, heads):
            if record < position:
                continue  # of an event that was taken whole
            first, end = self._event_of(record, count)
            self._bulk(words, base_index, position, first)
            self._mixed(words, base_index, first, end)
            position = end
        self._bulk(words, base_index, position, count)
        self.next_index = base_index + count
        self.last_ts = int(words[starts[-1] + 1])
        return count

    def _changes(self, words: Words, starts: Words, heads: Words) -> list[int]:
        """Return the records that change definitions or lines here: not statuses that concern no book of ours.

        Venues send some about every instrument, and each one that is taken splits the window.
        """
        found = np.flatnonzero(heads[:, 4])
        kinds = heads[found, 0]
        instruments = heads[found, 1]
        numbers = np.full(len(found), UNDEFINED, dtype=np.int64)
        if not np.any(kinds == Kind.INSTRUMENT):  # one may give a number to another instrument
            known = instruments < len(self._number_of)
            numbers[known] = self._number_of[instruments[known]]
        codes = words[starts[found] + _STATUS_CODE] & 0xFFFF
        idle = np.where(instruments > 0, numbers == NOT_OURS, ~np.isin(codes, _LINE_CODES))
        idle &= kinds == Kind.STATUS
        heads[found[idle], 4] = 0
        self._groups.skipped[Kind.STATUS] -= int(idle.sum())  # which are no records that should go anywhere
        return [int(record) for record in found[~idle]]

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
    def numbers(self) -> Words:
        """Canonical instrument number by instrument number; negative where it is undefined or not of this shard."""
        return self._number_of

    def end_trades(self, symbol: str, source: int, ts_recv: int, raw_index: int) -> None:
        """Take note that the line which delivers an instrument's trades is gone."""
        rank = self.lines.drop(symbol, TRADE, source)
        if rank is not None:
            self._end_candles(symbol, rank, ts_recv, raw_index)

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

    def _index(self, words: Words) -> int:
        needed = len(words) // (HEADER_BYTES >> 3) + 1
        if needed > len(self._starts):
            self._starts = np.empty(needed, dtype=np.int64)
            self._heads = np.empty((needed, 5), dtype=np.int64)
        count = int(index_records(words, self._starts, self._heads))
        if count < 0:
            raise CorruptionError(
                "raw records have an impossible length",
                path=self.settings.raw_queue,
                expected="whole records, 8-byte aligned",
                found=f"status {count} in {len(words) * 8} bytes",
                hint="chronicle queue check names the place",
            )
        return count

    # --- plain records -------------------------------------------------------------------------------------------

    def _bulk(self, words: Words, base_index: int, first: int, end: int, message: int = NONE) -> None:
        """Take records [first, end) that change no definition and no line."""
        if first >= end:
            return
        groups = self._groups
        streams = groups.find(self._heads, first, end, self._number_of)
        if streams < 0:
            self._refuse(UNDEFINED_NUMBER - streams)
        starts, events = self._starts, self._heads[:, 3]
        bounds = groups.bounds[: streams + 1].tolist()
        for place, key in enumerate(groups.keys[:streams].tolist()):
            chosen = groups.chosen[bounds[place] : bounds[place + 1]]
            definition = self.definitions[key >> NUMBER_SHIFT]
            source = key >> CHANNEL_BITS & 0xFFFF
            ts_recv = int(words[starts[chosen[0]] + 1])
            stream = self._stream(definition, CHANNELS[key & (1 << CHANNEL_BITS) - 1], source, ts_recv)
            block = Block.of(words, starts, events, chosen, NONE if self.merged else base_index)
            if message != NONE and isinstance(stream, BookStream):
                stream.message = message
                stream.take(block)
                stream.message = NONE
            else:
                stream.take(block)
                if stream.channel == TRADE and self.config.candles:
                    rank = self.lines.claim(definition.symbol, TRADE, source)
                    self._stream_at(definition, CANDLE, rank, ts_recv).take(block)

    def _refuse(self, record: int) -> None:
        raise RecordError(
            f"a raw record names instrument {int(self._heads[record, 1])}, which no INSTRUMENT record defines",
            path=self.settings.raw_queue,
            hint="the raw queue's beginning was retired: rebuild from an archive that has it",
        )

    def _grow(self, number: int) -> None:
        if number >= INSTRUMENT_NUMBER_MAX:
            raise RecordError(
                "an instrument number is out of range", expected=f"below {INSTRUMENT_NUMBER_MAX}", found=number
            )
        grown = np.full(max(number + 1, 2 * len(self._number_of)), UNDEFINED, dtype=np.int64)
        grown[: len(self._number_of)] = self._number_of
        self._number_of = grown

    def _stream(self, definition: Definition, channel: str, source: int, ts_recv: int) -> PlainStream:
        rank = self.lines.rank(definition.symbol, channel, source)
        if rank is None:
            rank = self.lines.claim(definition.symbol, channel, source)
        return self._stream_at(definition, channel, rank, ts_recv)

    def _stream_at(self, definition: Definition, channel: str, rank: int, ts_recv: int) -> PlainStream:
        key = (definition.symbol, channel, rank)
        stream = self.streams.get(key)
        if stream is None:
            stream = self.make_stream(key, definition)
        self._touched[key] = stream
        stream.start(ts_recv)
        return stream

    def make_stream(self, key: StreamKey, definition: Definition, written: int = 0) -> PlainStream:
        """Add a stream, new or from a checkpoint."""
        symbol, channel, rank = key
        queue = clean_queue(symbol, channel, self.lane + RANK_STRIDE * rank)
        if self._owners is not None:
            there = not written and self.sink.tail(queue).next_index > 0
            self._owners.take(queue, self.settings.raw_queue, there=there)
        kind = _stream_class(channel, definition)
        stream = kind(queue, channel, definition, self.settings, self.sink, written=written)
        self.streams[key] = stream
        return stream

    # --- records that change something ---------------------------------------------------------------------------

    def _event_of(self, record: int, count: int) -> tuple[int, int]:
        """Return (first record, record after) of the event that holds `record`."""
        heads = self._heads
        event = heads[record, 3]
        first = end = record
        while first > 0 and heads[first - 1, 3] == event:
            first -= 1
        while end < count and heads[end, 3] == event:
            end += 1
        return first, end

    def _mixed(self, words: Words, base_index: int, first: int, end: int) -> None:
        """Take one event that holds control records, in its order."""
        message = base_index + first
        position = first
        for number in range(first, end):
            if not self._heads[number, 4]:
                continue
            self._bulk(words, base_index, position, number, message)
            position = number + 1
            at = int(self._starts[number])
            kind, instrument, source = self._heads[number, :3].tolist()
            raw_index = int(words[at + 3]) if self.merged else base_index + number
            if kind == Kind.INSTRUMENT:
                self._define(words, at, instrument, raw_index)
            elif kind == Kind.STATUS:
                self._status(words, at, instrument, source, raw_index)
            elif kind == Kind.GAP:
                self._raw_gap(words, at, instrument, raw_index)
            else:
                position = self._http_snapshot(words, base_index, number, end, instrument)
        self._bulk(words, base_index, position, end, message)

    def _define(self, words: Words, at: int, number: int, raw_index: int) -> None:
        body = _body(words, at)
        definition = Definition(body, raw_index, int(words[at + 1]), int(words[at + 2]), selected=True)
        if not definition.symbol:
            raise RecordError("an INSTRUMENT record has no symbol", path=self.settings.raw_queue, found=raw_index)
        definition.selected = self.selects(definition.symbol)
        if number >= len(self._number_of):
            self._grow(number)
        self.add_definition(number, definition)
        for channel in (*CHANNELS, CANDLE):
            rank = 0
            while (stream := self.streams.get((definition.symbol, channel, rank))) is not None:
                if channel == BOOK:
                    stream = self._driven(stream, definition)
                    self.streams[definition.symbol, channel, rank] = stream
                self._touched[definition.symbol, channel, rank] = stream
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

    def restore_definition(self, number: int, definition: Definition) -> None:
        """Take back one entry of the table from a checkpoint, whose canonical numbers are there already."""
        self.definitions[number] = definition
        if number >= len(self._number_of):
            self._grow(number)
        self._number_of[number] = self.canonical[definition.symbol] if definition.selected else NOT_OURS

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
                    self._touched[symbol, channel, rank] = stream
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
            self._touched[symbol, CANDLE, rank] = stream
            stream.end_line(ts_recv, raw_index)

    def _line_decode_error(self, source: int, ts_recv: int, raw_index: int) -> None:
        """A frame of the line could not be read: books that neither number nor check would show it are in doubt."""
        for symbol, channel, rank in self.lines.held(source):
            stream = self.streams[symbol, channel, rank]
            if isinstance(stream, BookStream):
                fields = stream.definition.fields
                numbered = fields.sequence_rule not in (SequenceRule.NONE, SequenceRule.CONNECTION)
                if not numbered and not fields.check_rule:
                    self._touched[symbol, channel, rank] = stream
                    stream.declare_gap(Cause.DECODE, ts_recv, raw_index)

    def _line_lost_messages(self, source: int, ts_recv: int, raw_index: int, missing: tuple[int, int]) -> None:
        """The venue's count over the connection has a hole: whose messages are missing cannot be told."""
        for symbol, channel, rank in self.lines.held(source):
            stream = self.streams[symbol, channel, rank]
            if isinstance(stream, BookStream):
                self._touched[symbol, channel, rank] = stream
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
                self._touched[key] = stream
                stream.declare_gap(Cause.DROPPED, ts_recv, raw_index)

    def _http_snapshot(self, words: Words, base_index: int, number: int, end: int, instrument: int) -> int:
        """Give a snapshot that came outside any line to the lines of its instrument; return where to go on."""
        stop = number + 1
        heads = self._heads
        while stop < end and heads[stop, 0] == Kind.CHECK and heads[stop, 1] == instrument:
            stop += 1
        canonical = int(self._number_of[instrument]) if instrument < len(self._number_of) else UNDEFINED
        if canonical == UNDEFINED:
            self._refuse(number)
        if canonical < 0:
            return stop
        definition = self.definitions[canonical]
        own = self.lines.rank(definition.symbol, BOOK, int(heads[number, 2]))
        ranks = [own] if own is not None else self.lines.ranks(definition.symbol, BOOK) or [0]
        chosen = np.arange(number, stop, dtype=np.int64)
        block = Block.of(words, self._starts, heads[:, 3], chosen, NONE if self.merged else base_index)
        for rank in ranks:
            ts_recv = int(words[self._starts[number] + 1])
            self._stream_at(definition, BOOK, rank, ts_recv).take(block.copy())
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
