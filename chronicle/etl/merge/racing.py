"""Redundant lines of a lane: one stream an instrument where the venue numbers its messages, first copy wins.

Lines are connections of one raw queue or of several that are merged. From the event on at which a second line
delivers an instrument's book or trades, copies are told by the venue's numbers (`SHARED_RULES`; ids of trades): the
stream goes on from whichever line has the next message first, and a hole of one line is filled by another. Without
such numbers lines stay apart as lanes (:mod:`chronicle.etl.merge.lines`), and readers pick one.

To the pipeline an instrument whose lines race has one line, `RACING`: the records' connection is rewritten, statuses
of single lines pass it by, and it is lost when the last of them is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.core import layout
from chronicle.core.layout import NONE, Flag, Kind, StatusCode
from chronicle.core.records import Record, pack_details, pack_record
from chronicle.core.sequencing import SHARED_RULES
from chronicle.etl.clean.lineage import CONNECTION_SHIFT
from chronicle.etl.kernels import races
from chronicle.etl.kernels import racing as kernel
from chronicle.etl.kernels.events import LAST_SEQUENCE
from chronicle.etl.kernels.grouping import NOT_OURS, UNDEFINED
from chronicle.etl.kernels.merging import FIELDS, list_events
from chronicle.etl.merge.book_race import BookRace, Message, TradeRace, book_rows, trade_rows
from chronicle.etl.merge.number_table import widened
from chronicle.etl.pipeline.pipeline import Pipeline
from chronicle.etl.streams.book_stream import BookStream

__all__ = ["RACING", "Racing"]

RACING = races.RACING
UNKNOWN, APART, RACES = races.UNKNOWN, races.APART, races.RACES
CHANNELS = ("book", "trade")
RECENT_TRADES = 32
_FLAG_LAST = int(Flag.LAST) << layout.WORD_FLAGS_SHIFT
_BAD_TS = int(Flag.BAD_TS_RECV) << layout.WORD_FLAGS_SHIFT
_LINE_MASK = (1 << CONNECTION_SHIFT) - 1
"""Connection 0 of a raw queue is no line: a snapshot over HTTP that belongs to none."""
_ENDS_ALL = frozenset({StatusCode.CAPTURE_START, StatusCode.LEFT})

Words = NDArray[np.int64]


class Racing:
    """The races of one lane.

    Parameters
    ----------
    machine : Pipeline
        The lane's, whose state decides what a second line goes on from.

    Attributes
    ----------
    counts : dict
        duplicates, holes_filled (by another line), holes_left (no line had it), overlaps, since the first race.
    firsts : dict
        Messages that each line had first, by connection number of the merge.
    """

    def __init__(self, machine: Pipeline) -> None:
        self._machine = machine
        self.books: dict[str, BookRace] = {}
        self.trades: dict[str, TradeRace] = {}
        self.counts: dict[str, int] = {}
        self.firsts: dict[int, int] = {}
        self._book_rows, self._trade_rows = book_rows(), trade_rows()
        self._holder: Words = np.zeros((1024, 2), dtype=np.int64)
        self._slots: Words = np.zeros(1024, dtype=np.int64)
        self._tally: Words = np.zeros((0, 2), dtype=np.int64)
        self._settled: set[int] = set()
        """Numbers whose holders may be known: the table has a place for every number of every raw queue."""
        self._rings = np.zeros((64, 1 + RECENT_TRADES), dtype=np.int64)
        self._used = 0
        self.last_ts = layout.INT64_MIN
        self._out: list[Words] = []
        self._batch: Words = np.empty(0, dtype=np.int64)
        """Where the words of a batch go that the kernel lets go on, and how far."""
        self._reached: Words = np.zeros(2, dtype=np.int64)
        self._stale = False

    def parts(self, words: Words) -> Iterator[Words]:
        """Yield what goes on of a batch, in parts; each must have been fed before the next is asked for."""
        table = np.empty((len(words) // 6 + 1, FIELDS), dtype=np.int64)
        count = int(list_events(words, layout.INT64_MIN, len(table), layout.INT64_MAX, table))
        table = table[:count]
        self.last_ts = int(words[table[-1, 0] + 1]) if count else self.last_ts
        heads = np.empty((count, 4), dtype=np.int64)
        kernel.event_heads(words, table, heads)
        self._batch, self._reached[0] = np.empty(len(words), dtype=np.int64), 0
        controls = np.flatnonzero(heads[:, kernel.CHANNEL] == kernel.CONTROL).tolist()
        position = 0
        for control in [*controls, count]:
            if control > position:
                yield from self._market(words, table, heads, position, control)
            if control < count:
                yield from self._control(words, table, control)
            position = control + 1
        yield from self._flush()
        for line, count in self._tally[self._tally[:, races.TALLY_FIRSTS] > 0].tolist():
            self.firsts[line] = self.firsts.get(line, 0) + count
        self._tally[:, races.TALLY_FIRSTS] = 0

    # --- market events -------------------------------------------------------------------------------------------

    def _market(self, words: Words, table: Words, heads: Words, first: int, end: int) -> Iterator[Words]:
        if self._stale:
            yield from self._flush()
        position = first
        while True:
            position = self._run(words, table, heads, position, end)
            if position == end:
                return
            number = int(self._numbers(heads[position : position + 1, kernel.INSTRUMENT])[0])
            channel = int(heads[position, kernel.CHANNEL])
            if self._holder[number, channel] <= RACES:
                yield from self._race(words, table, heads, position)
                position += 1
            else:
                own = _slice(words, table, position, position + 1)
                yield from self._meet(number, channel, int(heads[position, kernel.CONNECTION]), own)

    def _run(self, words: Words, table: Words, heads: Words, position: int, end: int) -> int:
        """Let plain events from `position` on go on; return the first that is decided here."""
        known = self._known()
        before = int(self._reached[0])
        position = int(
            races.run_races(
                words,
                table,
                heads,
                position,
                end,
                known,
                self._holder,
                self._slots,
                self._rings,
                self._book_rows.rows,
                self._book_rows.lines,
                self._trade_rows.rows,
                self._trade_rows.lines,
                self._tally,
                self._batch,
                self._reached,
            )
        )
        if self._reached[1]:
            self.counts["duplicates"] = self.counts.get("duplicates", 0) + int(self._reached[1])
        if self._reached[0] > before:
            self._out.append(self._batch[before : int(self._reached[0])])
        return position

    def _numbers(self, instruments: Words) -> Words:
        """Return the canonical numbers of instruments; negative: not of this shard, or not defined."""
        known = self._known()
        found = np.where(instruments < len(known), known[np.minimum(instruments, len(known) - 1)], UNDEFINED)
        return np.where(found == UNDEFINED, NOT_OURS, found)

    def _known(self) -> Words:
        """Return the pipeline's table of canonical numbers; those here are as long."""
        known = self._machine.numbers
        if len(known) > len(self._slots):
            self._holder, self._slots = widened(self._holder, len(known)), widened(self._slots, len(known))
        return known

    def _meet(self, number: int, channel: int, line: int, event: Words) -> Iterator[Words]:
        """Find out who delivers: nobody so far, this line alone, lines apart, or two that race from here on."""
        machine, name = self._machine, CHANNELS[channel]
        if self._holder[number, channel] != UNKNOWN:
            yield from self._flush()  # so that the pipeline knows the line before
        definition = machine.definitions[number]
        numbered = channel == kernel.TRADE or all(int(event[at + 5]) != NONE for at, _ in _records(event))
        held = machine.lines.holders(definition.symbol, name)
        if not held or list(held) == [line]:
            self._settle(number, channel, line + 1)
        elif len(held) > 1 or not numbered or not self._may_race(number, channel):
            self._settle(number, channel, APART)
        else:
            yield from self._flush()
            race = self._begin(definition.symbol, channel, next(iter(held)), line, int(event[1]))
            self._settle(number, channel, RACES - race)

    def _settle(self, number: int, channel: int, what: int) -> None:
        self._holder[number, channel] = what
        self._settled.add(number)
        if channel == kernel.TRADE and what > UNKNOWN:
            for other in self._machine.numbers_of(number):
                self._slot(other, number)

    def _slot(self, number: int, canonical: int) -> None:
        """Give an instrument a ring for the ids of its trades."""
        if number >= len(self._slots):
            return
        if self._slots[canonical] == 0:
            if self._used == len(self._rings):
                self._rings = np.concatenate((self._rings, np.zeros_like(self._rings)))
            self._used += 1
            self._slots[canonical] = self._used
        self._slots[number] = self._slots[canonical]

    def _may_race(self, number: int, channel: int) -> bool:
        """Whether copies of an instrument's messages can be told by the venue's numbers."""
        fields = self._machine.definitions[number].fields
        if channel == kernel.BOOK:
            return fields.driver == Kind.BOOK_DELTA and fields.sequence_rule in SHARED_RULES
        row = int(self._slots[number]) - 1
        return row >= 0 and bool(self._rings[row, 0]) and NONE not in self._recent(row)

    def _recent(self, row: int) -> list[int]:
        count = int(self._rings[row, 0])
        ids: list[int] = self._rings[row, 1:].tolist()
        return [ids[place % RECENT_TRADES] for place in range(max(0, count - RECENT_TRADES), count)]

    def _begin(self, symbol: str, channel: int, holder: int, line: int, ts_recv: int) -> int:
        """Let two lines race, the stream goes on from where it stands; return the number of the race's row."""
        machine = self._machine
        machine.rename_line(symbol, CHANNELS[channel], holder, RACING)
        if channel == kernel.BOOK:
            stream = machine.streams[symbol, "book", machine.lines.claim(symbol, "book", RACING)]
            assert isinstance(stream, BookStream)
            rule = int(stream.definition.fields.sequence_rule)
            race = self.books[symbol] = BookRace(rule, self._book_rows.add())
            last = stream.buffer.last_sequence if len(stream.buffer) else _last(stream)
            race.begin(last, ts_recv)
            race.lines, race.leader = {holder: last, line: NONE}, holder
            self._count_lines(race.lines)
            return race.row.number
        trades = self.trades[symbol] = TradeRace(self._trade_rows.add())
        trades.lines = {holder, line}
        self._count_lines(trades.lines)
        for trade_id in self._recent(int(self._slots[machine.canonical[symbol]]) - 1):
            trades.note(trade_id, holder)
        return trades.row.number

    def _count_lines(self, lines: Iterable[int]) -> None:
        """Let the kernel count what these lines have first."""
        new = sorted(set(lines) - set(self._tally[:, races.TALLY_LINE].tolist()))
        if new:
            self._tally = np.concatenate((self._tally, np.array([[line, 0] for line in new], dtype=np.int64)))

    # --- events that race ----------------------------------------------------------------------------------------

    def _race(self, words: Words, table: Words, heads: Words, event: int) -> Iterator[Words]:
        line = int(heads[event, kernel.CONNECTION])
        self._count_lines([line])
        number = int(self._numbers(heads[event : event + 1, kernel.INSTRUMENT])[0])
        symbol = self._machine.definitions[number].symbol
        own = _slice(words, table, event, event + 1).copy()
        if heads[event, kernel.CHANNEL] == kernel.TRADE and heads[event, kernel.SIMPLE]:
            self._race_trades(self.trades[symbol], own, line)
        elif heads[event, kernel.SIMPLE] and (message := _message(own, line)) is not None:
            race = self.books[symbol]
            for item in race.take(message, self.counts, self.firsts):
                self._pass(item.words, item.ts_recv)
        else:
            yield from self._whole(symbol, own, line)

    def _race_trades(self, race: TradeRace, own: Words, line: int) -> None:
        kept = []
        race.row.bring(line)
        for at, size in _records(own):
            if race.note(int(own[at + kernel.TRADE_ID]), line):
                kept.append(own[at : at + size])
            else:
                self.counts["duplicates"] = self.counts.get("duplicates", 0) + 1
        if kept:
            self.firsts[line] = self.firsts.get(line, 0) + 1
            for record in kept:
                record[0] &= ~_FLAG_LAST
            kept[-1][0] |= _FLAG_LAST
            self._pass(np.concatenate(kept))

    def _whole(self, symbol: str, own: Words, line: int) -> Iterator[Words]:
        """Take a snapshot, or an event of more than one kind: the stream decides, and the race goes on from there."""
        race = self.books.get(symbol)
        place = next((at for at, _ in _records(own) if int(own[at]) >> 32 & 0xFFFF == Kind.BOOK_SNAPSHOT), None)
        if race is None or place is None:
            if race is None or race.leader == line:
                self._pass(own)
            else:  # a delta without a number, of a venue that gave numbers so far: one line's only
                self.counts["unnumbered"] = self.counts.get("unnumbered", 0) + 1
            return
        yield from self._flush()
        sequence = int(own[place + 5])
        if line & _LINE_MASK:
            race.row.bring(line, sequence)
        stream = self._stream(symbol)
        synced = stream is not None and stream.trust.started and not stream.trust.in_gap
        if synced and sequence != NONE and race.has_passed(sequence):
            self.counts["duplicates"] = self.counts.get("duplicates", 0) + 1
        else:
            if line & _LINE_MASK:
                self._pass(own)
            else:
                self._out.append(own)
            yield from self._flush()
            stream = self._stream(symbol)
            if stream is not None and stream.trust.started and not stream.trust.in_gap and _last(stream) != NONE:
                race.restart(_last(stream))
        for item in race.settle(int(own[1]), self.counts, self.firsts):
            self._pass(item.words, item.ts_recv)

    def _stream(self, symbol: str) -> BookStream | None:
        rank = self._machine.lines.rank(symbol, "book", RACING)
        stream = None if rank is None else self._machine.streams.get((symbol, "book", rank))
        return stream if isinstance(stream, BookStream) else None

    def _pass(self, words: Words, ts_recv: int | None = None) -> None:
        """Let records go on as those of the one line; with `ts_recv` where they were held back until then."""
        for at, _ in _records(words):
            words[at + 4] = int(words[at + 4]) & ~(0xFFFF << 32) | RACING << 32
            if ts_recv is not None and int(words[at + 1]) < ts_recv:
                words[at + 1] = ts_recv
                words[at] |= _BAD_TS
        self._out.append(words)

    # --- lines and definitions -----------------------------------------------------------------------------------

    def _control(self, words: Words, table: Words, event: int) -> Iterator[Words]:
        """Take an event that changes definitions or lines."""
        own = _slice(words, table, event, event + 1).copy()
        ended: list[tuple[Callable[[int], bool], str | None]] = []
        for at, size in _records(own):
            kind, line = int(own[at]) >> 32 & 0xFFFF, int(own[at + 4]) >> 32 & 0xFFFF
            if kind == Kind.STATUS:
                record = Record(own[at : at + size].tobytes())
                ended += self._ended(record, line)
            elif kind in (Kind.BOOK_DELTA, Kind.BOOK_SNAPSHOT, Kind.CHECK, Kind.TRADE):
                number = int(self._numbers(own[at + 4 : at + 5] & 0xFFFFFFFF)[0])
                channel = int(kind == Kind.TRADE)
                if number >= 0 and line & _LINE_MASK and self._holder[number, channel] <= RACES:
                    own[at + 4] = int(own[at + 4]) & ~(0xFFFF << 32) | RACING << 32
        self._out.append(own)
        self._stale = True
        for which, symbol in ended:
            yield from self._end_lines(which, symbol, own)
        if len(own) and any(int(own[at]) >> 32 & 0xFFFF >= Kind.CHECK for at, _ in _records(own)):
            yield from self._flush()
            self._catch_up()

    def _ended(self, record: Record, line: int) -> list[tuple[Callable[[int], bool], str | None]]:
        code = record.fields()["code"]
        if code in _ENDS_ALL:
            return [(lambda holder: holder >> CONNECTION_SHIFT == line >> CONNECTION_SHIFT, None)]
        if code == StatusCode.DISCONNECTED and not record.instrument:
            return [(lambda holder: holder == line, None)]
        if code == StatusCode.UNSUBSCRIBED and record.instrument:
            number = int(self._numbers(np.array([record.instrument]))[0])
            if number >= 0:
                return [(lambda holder: holder == line, self._machine.definitions[number].symbol)]
        return []

    def _end_lines(self, which: Callable[[int], bool], symbol: str | None, own: Words) -> Iterator[Words]:
        """Take lines out of the races; where no line is left the book is lost, and whoever comes is first again."""
        if symbol is None:
            numbers = np.fromiter(self._settled, dtype=np.int64, count=len(self._settled))
            holders = self._holder[numbers]
            gone = [holder for holder in np.unique(holders).tolist() if holder > UNKNOWN and which(holder - 1)]
            self._holder[numbers] = np.where(np.isin(holders, gone), UNKNOWN, holders)
        ts_recv = int(own[1])
        for name, race in list(self.books.items()):
            if symbol is not None and name != symbol:
                continue
            lost = [line for line in race.lines if which(line)]
            if lost:
                race.lines = {line: seen for line, seen in race.lines.items() if line not in lost}
            for item in race.settle(ts_recv, self.counts, self.firsts) if lost else ():
                self._pass(item.words, item.ts_recv)
            if lost and not race.lines:
                race.last = NONE
                self._out.append(self._lost(name, own))
        yield from self._flush()
        for name, trades in self.trades.items():
            gone_lines = {line for line in trades.lines if which(line)}
            if (symbol is None or name == symbol) and gone_lines:
                trades.lines -= gone_lines
                if not trades.lines:
                    self._machine.end_trades(name, RACING, ts_recv, int(own[3]))

    def _lost(self, symbol: str, own: Words) -> Words:
        """Return the status that the last line of a book is gone, with the lineage of the record that said so."""
        details = pack_details({"reason": "the last of its redundant lines is gone"})
        data = pack_record(
            Kind.STATUS,
            layout.STATUS_BODY.pack(StatusCode.DISCONNECTED, len(details)) + details,
            ts_recv=int(own[1]),
            flags=Flag.LAST,
            instrument=self._machine.canonical[symbol],
            source=RACING,
            source_index=int(own[3]),
        )
        return np.frombuffer(data, dtype=np.int64)

    def _catch_up(self) -> None:
        """Take the numbers from the streams: an event of many kinds went on as it was."""
        for symbol, race in self.books.items():
            stream = self._stream(symbol)
            whole = stream is not None and stream.trust.started and not stream.trust.in_gap
            if stream is not None and whole and _last(stream) not in (NONE, race.last):
                race.restart(_last(stream))

    def _flush(self) -> Iterator[Words]:
        self._stale = False
        if self._out:
            out, self._out = self._out, []
            yield out[0] if len(out) == 1 else np.concatenate(out)

    # --- states --------------------------------------------------------------------------------------------------

    def state(self) -> list[list[Any]]:
        """Return one row a symbol as plain values, for a checkpoint."""
        rows: dict[str, list[Any]] = {}
        for symbol, race in self.books.items():
            rows.setdefault(symbol, [symbol, None, None, None])[1] = race.state()
        for symbol, trades in self.trades.items():
            rows.setdefault(symbol, [symbol, None, None, None])[2] = trades.state()
        for symbol, number in self._machine.canonical.items():
            if number < len(self._slots) and (row := int(self._slots[number]) - 1) >= 0:
                rows.setdefault(symbol, [symbol, None, None, None])[3] = self._recent(row)
        return list(rows.values())

    def restore(self, state: list[list[Any]]) -> None:
        """Take back what :meth:`state` gave."""
        self._numbers(np.zeros(1, dtype=np.int64))
        for symbol, book, trades, recent in state:
            number = self._machine.canonical[symbol]
            if book is not None:
                race = self.books[symbol] = BookRace.of(book, self._book_rows.add())
                self._holder[number, kernel.BOOK] = RACES - race.row.number
                self._count_lines(race.lines)
                self._settled.add(number)
            if recent is not None:
                for other in self._machine.numbers_of(number):
                    self._slot(other, number)
                row = int(self._slots[number]) - 1
                self._rings[row, 0] = len(recent)
                self._rings[row, 1 : 1 + len(recent)] = recent
            if trades is not None:
                racing = self.trades[symbol] = TradeRace.of(trades, self._trade_rows.add())
                self._holder[number, kernel.TRADE] = RACES - racing.row.number
                self._count_lines(racing.lines)
                self._settled.add(number)


def _last(stream: BookStream) -> int:
    return int(stream.registers[LAST_SEQUENCE])


def _slice(words: Words, table: Words, first: int, end: int) -> Words:
    begin = int(table[first, 0])
    return words[begin : int(table[end - 1, 0] + table[end - 1, 1])]


def _records(words: Words) -> Iterator[tuple[int, int]]:
    """Yield (offset, size) of each record, in words."""
    position = 0
    while position < len(words):
        size = (int(words[position]) & layout.WORD_LENGTH_MASK) >> 3
        yield position, size
        position += size


def _message(words: Words, line: int) -> Message | None:
    """Return the message in an event of deltas; None where it has no number."""
    for at, _ in _records(words):
        if int(words[at]) >> 32 & 0xFFFF == Kind.BOOK_DELTA:
            sequence = int(words[at + 5])
            if sequence == NONE:
                return None
            return Message(line, int(words[at + 8]), sequence, int(words[at + 9]), int(words[1]), words)
    return None
