"""The book of one instrument on one line: raw book events in, clean book events out.

Events in good standing run through a kernel (:func:`chronicle.etl.kernels.events.advance`); whatever needs a
decision - a check, a snapshot, a break, a lost line, a due snapshot - comes here, one event at a time.

The file is longer than most: it is one state machine, whose every branch needs the same book, trust, diff buffer
and outlet at once. What stands alone is elsewhere: trust in ``status``, numbers in ``core.sequencing``, texts of
checks in ``checks``, diffs before a snapshot in ``diff_buffer``, the rule of due snapshots in ``snapshots``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chronicle.core import layout
from chronicle.core.errors import DecodeError
from chronicle.core.layout import (
    GAP_BYTES,
    NONE,
    SNAPSHOT_LEVELS_OFFSET,
    Cause,
    CheckRule,
    Flag,
    GapState,
    Kind,
    Origin,
    Verdict,
)
from chronicle.core.records import InstrumentFields
from chronicle.core.sequencing import BUFFERING_RULES, Step, accepts_snapshot, first_of, judge, proves_continuity
from chronicle.etl.books.array_book import ArrayBook
from chronicle.etl.books.checks import checksum, verdict_of
from chronicle.etl.books.status import BookTrust
from chronicle.etl.clean.block import Block
from chronicle.etl.clean.outlet import Sink
from chronicle.etl.kernels import events as kernel
from chronicle.etl.kernels import row as kernel_row
from chronicle.etl.kernels.checks import book_checksum
from chronicle.etl.kernels.events import advance, apply_event
from chronicle.etl.streams.diff_buffer import Diff, DiffBuffer
from chronicle.etl.streams.gaps import Gap, missing_range
from chronicle.etl.streams.snapshots import snapshot_record, snapshot_words_max
from chronicle.etl.streams.stream import Definition, PlainStream, StreamSettings

__all__ = ["BookStream"]

_GAP_WORDS = GAP_BYTES >> 3
_MAYBE_BAD = int(Flag.MAYBE_BAD_BOOK) << layout.WORD_FLAGS_SHIFT
_CHECK_BODY = layout.HEADER_BYTES >> 3


class BookStream(PlainStream):
    """State of one book: levels, trust, the venue's sequence, and diffs that wait for a snapshot.

    Attributes
    ----------
    counts : dict
        Events by what became of them: dropped, old_snapshots, early_snapshots, checks by verdict, gaps.
    wants_resync : bool
        A gap was opened (or a snapshot was too old) since the flag was last cleared.
    """

    def __init__(
        self,
        queue: str,
        channel: str,
        definition: Definition,
        settings: StreamSettings,
        sink: Sink,
        *,
        written: int = 0,
    ) -> None:
        fields = definition.fields
        self.book: Any = self._new_book(fields)
        self.trust = BookTrust()
        self.gap: Gap | None = None
        self.buffer = DiffBuffer()
        self.registers = kernel.new_registers()
        self.counts: dict[str, int] = {}
        self.wants_resync = False
        self.message = NONE
        self._message_applied = NONE
        self._event_index = NONE
        self._ordinal = 0
        self._limits = np.zeros(kernel.LIMITS, dtype=np.int64)
        super().__init__(queue, channel, definition, settings, sink, written=written)

    def take_over(self, other: BookStream) -> None:
        """Go on where a stream of another driver ends: same queue, no book yet."""
        self.outlet = other.outlet
        self.outlet.hand_over(self.prologue)
        self.defined, self.counts, self.gap = other.defined, other.counts, other.gap
        if other.trust.in_gap:
            self.trust.gap_opened(other.trust.last_good_ts)

    def _new_book(self, fields: InstrumentFields) -> Any:
        return ArrayBook(
            book_depth=fields.book_depth,
            price_exponent=fields.price_exponent,
            size_exponent=fields.size_exponent,
        )

    def book_record(self) -> bytes:
        """Return the book as it is, for a segment's prologue."""
        last_ts = int(self.registers[kernel.LAST_TS])
        return snapshot_record(
            self.book,
            self.trust,
            ts_recv=max(last_ts, 0),
            ts_event=0,
            raw_index=int(self.registers[kernel.LAST_INDEX]),
            ordinal=0,
            sequence=int(self.registers[kernel.LAST_SEQUENCE]),
            last_good_ts=last_ts,
            flags=Flag.LAST,
        )

    # --- events --------------------------------------------------------------------------------------------------

    def take(self, block: Block) -> None:
        """Take the next book events of the line."""
        event, count = 0, len(block)
        while event < count:
            if self.trust.steady and self.message == NONE:
                end = self._run(block, event)
                if end > event:
                    event = end
                    continue
                needed = int(self.registers[kernel.NEEDED_ROOM])
                if needed:
                    self.book.reserve(needed)
                    continue
            self._one(block, event)
            event += 1

    def _run(self, block: Block, event: int) -> int:
        parts = self._prepare()
        limits, registers = self._limits, self.registers
        limits[kernel.WORDS_MAX], limits[kernel.DAY_END], limits[kernel.RECORDS_MAX] = self.outlet.limits()
        end = int(advance(*parts, registers, limits, block.words, block.starts, block.ends, event))
        if end > event:
            self._absorb_registers()
            self.outlet.put(block, event, end)
        return end

    def _prepare(self) -> Any:
        """Bring the limits that only a definition changes up to date; return the book's parts for kernels."""
        limits, fields, settings = self._limits, self.definition.fields, self.settings
        limits[kernel.DEPTH] = fields.book_depth
        limits[kernel.RULE] = kernel.known_rule(fields.sequence_rule)
        limits[kernel.INTERVAL_NS] = settings.snapshot_interval_ns
        limits[kernel.DELTAS_MAX] = settings.snapshot_deltas
        limits[kernel.CHECK_RULE] = self._kernel_rule()
        limits[kernel.PRICE_EXPONENT], limits[kernel.SIZE_EXPONENT] = fields.price_exponent, fields.size_exponent
        return self.book.parts(lift=not limits[kernel.CHECK_RULE])

    def _absorb_registers(self) -> None:
        """Take over what the kernel found out about the book's trust."""
        registers = self.registers
        if registers[kernel.SEQUENCE_HELD]:
            self.trust.sequence_held()
        passed = int(registers[kernel.CHECKS_PASSED])
        if passed:
            self._count("checks_passed", passed)
            self.trust.check_passed(int(registers[kernel.CHECKED_TS]), int(registers[kernel.CHECKED_INDEX]))
        registers[kernel.SEQUENCE_HELD] = registers[kernel.CHECKS_PASSED] = 0

    def arm(self) -> bool:
        """Hand the stream to the sweep while its book is in good standing."""
        if not self.trust.steady or self.message != NONE or not self._arm(kernel_row.LEVELS_KIND):
            return False
        parts = self._prepare()
        limits = self._limits
        limits[kernel.DAY_END], limits[kernel.RECORDS_MAX] = self.outlet.limits()[1:]
        lifts = not limits[kernel.CHECK_RULE] and not self.definition.fields.book_depth
        self.row.book(
            self.registers,
            limits,
            parts,
            lifts=lifts,
            bounds=self.book.bounds(),
            verified_by=self.trust.verified_by,
        )
        return True

    def absorb(self) -> None:
        """Learn what the sweep did; it may go on."""
        if self.row.wrote:
            super().absorb()
            self._absorb_registers()
            self.row.verify(self.trust.verified_by)

    def _kernel_rule(self) -> int:
        """Return the check rule where the kernel's text is the wire's (mantissas at the wire's decimals), else 0."""
        fields = self.definition.fields
        if fields.check_rule == CheckRule.OKX_V5:
            return fields.check_rule
        same_price = fields.check_price_decimals in (NONE, fields.price_exponent)
        same_size = fields.check_size_decimals in (NONE, fields.size_exponent)
        return fields.check_rule if fields.check_rule == CheckRule.KRAKEN_V1 and same_price and same_size else 0

    def _one(self, block: Block, event: int) -> None:
        first, end = block.bounds(event)
        kinds = block.kinds(first, end)
        if Kind.BOOK_SNAPSHOT in kinds:
            self._snapshot_event(block, first, end, first + kinds.index(Kind.BOOK_SNAPSHOT))
        else:
            self._delta_event(block, event, first, end)

    def _delta_event(self, block: Block, event: int, first: int, end: int) -> None:
        words, trust, registers = block.words, self.trust, self.registers
        kinds = block.kinds(first, end)
        at = block.at(first)
        ts_recv, raw_index = int(words[at + 1]), int(words[at + 3])
        numbers = self._numbers(block, first, kinds)
        step = Step.APPLY if numbers is None else self._step(numbers)
        if step is Step.DROP:
            self._count("dropped")
            return
        self._begin(ts_recv, raw_index, block.at(end) - at)
        self._snapshot_if_due(ts_recv, int(words[at + 2]), raw_index)
        cause = None if numbers is None else self._cause(step, numbers)
        if cause is not None and numbers is not None:
            missing = missing_range(
                self.definition.fields.sequence_rule,
                last=self._last(),
                first=self._first(numbers),
                sequence=numbers[1],
            )
            self._open_gap(self._gap_now(cause, missing), ts_recv, raw_index)
        if numbers is not None:
            self._keep(block, first, end, numbers)
        self._apply(block, first, end)
        failed = self._judge(block, first, end, ts_recv, raw_index)
        if failed and trust.started and not trust.in_gap:
            gap = Gap(Cause.CHECK, trust.last_checked_ts, trust.last_checked_index)
            self._open_gap(gap, ts_recv, raw_index)
        if bool((_levels(block, first, end)[:, 2] < 0).any()):
            self._count("negative_sizes")
            if trust.started and not trust.in_gap:
                self._open_gap(self._gap_now(Cause.DECODE, (NONE, NONE)), ts_recv, raw_index)
        if trust.in_gap or not trust.started:
            self._flag(block, first, end)
        elif numbers is not None:
            registers[kernel.LAST_TS] = ts_recv
            registers[kernel.LAST_INDEX] = int(words[block.at(end - 1) + 3])
        words[at + 4] |= self._ordinal << 48
        self.outlet.put(block, event, event + 1)

    def _numbers(self, block: Block, first: int, kinds: Any) -> tuple[int, int, int] | None:
        """Return (first, sequence, previous) of an event's first delta; None when it has no delta."""
        for offset, kind in enumerate(kinds):
            if kind == Kind.BOOK_DELTA:
                at = block.at(first + offset)
                words = block.words
                return int(words[at + 8]), int(words[at + 5]), int(words[at + 9])
        return None

    def _first(self, numbers: tuple[int, int, int]) -> int:
        return first_of(self.definition.fields.sequence_rule, first=numbers[0], previous=numbers[2])

    def _step(self, numbers: tuple[int, int, int]) -> Step:
        """Return what the venue's rule says; a book that waits for a snapshot takes all (marked as doubtful)."""
        if not self.trust.started or self.trust.in_gap or self._is_continuation():
            return Step.APPLY
        return judge(
            self.definition.fields.sequence_rule,
            last=self._last(),
            after_snapshot=bool(self.registers[kernel.AFTER_SNAPSHOT]),
            first=numbers[0],
            sequence=numbers[1],
            previous=numbers[2],
        )

    def _cause(self, step: Step, numbers: tuple[int, int, int]) -> Cause | None:
        """Return why a gap opens at this event, None when it does not; settle what became of a lost line."""
        trust = self.trust
        if not trust.started or trust.in_gap:
            trust.line_lost = False
            return None
        proven = step is Step.APPLY and proves_continuity(
            self.definition.fields.sequence_rule,
            last=self._last(),
            sequence=numbers[1],
            previous=numbers[2],
            line_lost=trust.line_lost,
        )
        if trust.line_lost and not proven:
            return Cause.DISCONNECT
        trust.line_lost = False
        if step is not Step.APPLY:
            return Cause.SEQUENCE
        if proven:
            trust.sequence_held()
        return None

    def _is_continuation(self) -> bool:
        """Whether this is the rest of a message whose first part was applied (a redefinition cut it in two)."""
        return self.message != NONE and self.message == self._message_applied

    def _keep(self, block: Block, first: int, end: int, numbers: tuple[int, int, int]) -> None:
        """Buffer the diff while its snapshot is not there, and remember its number."""
        trust, registers = self.trust, self.registers
        buffering = self.definition.fields.sequence_rule in BUFFERING_RULES
        if buffering and (trust.in_gap or not trust.started):
            levels = _levels(block, first, end)
            if self._is_continuation():
                self.buffer.extend_last(levels)
            else:
                self.buffer.add(Diff(self._first(numbers), numbers[1], levels))
        elif numbers[1] != NONE:
            registers[kernel.LAST_SEQUENCE] = numbers[1]
        registers[kernel.AFTER_SNAPSHOT] = 0
        self._message_applied = self.message

    def _apply(self, block: Block, first: int, end: int) -> None:
        book = self.book
        book.reserve(int(book.counts.max()) + end - first)
        deltas = apply_event(book.levels, book.counts, block.words, block.starts, first, end)
        book.truncate()
        self.registers[kernel.DELTAS_SINCE] += deltas

    def _judge(self, block: Block, first: int, end: int, ts_recv: int, raw_index: int) -> bool:
        """Write our verdict into the event's CHECK records; return whether one failed."""
        failed = False
        for number, kind in enumerate(block.kinds(first, end), first):
            if kind != Kind.CHECK:
                continue
            at = block.at(number) + _CHECK_BODY
            words = block.words
            rule, expected = int(words[at]) & 0xFF, int(words[at + 1])
            if self.trust.started:
                verdict, computed = verdict_of(expected, self._checksum(rule))
            else:
                verdict, computed = int(Verdict.NO_BOOK), 0
            words[at] = rule | verdict << 8
            words[at + 2] = computed
            self._count(f"checks_{Verdict(verdict).name.lower()}")
            if verdict == Verdict.PASSED:
                self.trust.check_passed(ts_recv, raw_index)
            failed = failed or verdict == Verdict.FAILED
        return failed

    def _checksum(self, rule: int) -> int | None:
        fields, book = self.definition.fields, self.book
        if rule and rule == self._kernel_rule():
            return int(book_checksum(rule, book.levels, book.counts, book.price_exponent, book.size_exponent))
        return checksum(rule, book, fields)

    # --- venue snapshots -----------------------------------------------------------------------------------------

    def _snapshot_event(self, block: Block, first: int, end: int, number: int) -> None:
        words, trust = block.words, self.trust
        at = block.at(number)
        ts_recv, raw_index, sequence = int(words[at + 1]), int(words[at + 3]), int(words[at + 5])
        rule = self.definition.fields.sequence_rule
        if bool((words[at + (SNAPSHOT_LEVELS_OFFSET >> 3) + 1 : block.at(number + 1) : 2] < 0).any()):
            self._count("negative_sizes")  # no book can be made of it
            self.declare_gap(Cause.DECODE, ts_recv, raw_index)
            return
        synced = trust.started and not trust.in_gap
        if not accepts_snapshot(rule, last=self._last(), synced=synced, sequence=sequence):
            self._count("old_snapshots")
            return
        joined = self.buffer.join(sequence) if rule in BUFFERING_RULES and not synced else []
        if joined is None:
            self._count("early_snapshots")
            self.wants_resync = True
            return
        size = block.at(end) - block.at(first) + 2 * self.buffer.levels
        self._begin(ts_recv, int(words[block.at(first) + 3]), size)
        if trust.started and trust.line_lost and not trust.in_gap:
            self._open_gap(self._gap_now(Cause.DISCONNECT, (NONE, NONE)), ts_recv, raw_index)
        last = self._load(block, number, joined)
        self._apply_after(block, number + 1, end)
        self._finish_snapshot(block, first, end, number, sequence=last, sequenced=bool(joined))

    def _load(self, block: Block, number: int, joined: list[Diff]) -> int:
        """Load the snapshot and what was buffered behind it; return the last sequence in the book."""
        book, words = self.book, block.words
        at = block.at(number)
        book.load_snapshot_record(words[at : block.at(number + 1)].tobytes())
        last = int(words[at + 5])
        for diff in joined:
            book.apply_many(diff.levels[:, 0].astype(np.uint8), diff.levels[:, 1], diff.levels[:, 2])
            book.truncate()
            last = diff.sequence
        self.buffer.clear()
        return last

    def _apply_after(self, block: Block, first: int, end: int) -> None:
        if first < end:
            self._apply(block, first, end)

    def _finish_snapshot(
        self, block: Block, first: int, end: int, number: int, *, sequence: int, sequenced: bool
    ) -> None:
        trust, registers, words = self.trust, self.registers, block.words
        at = block.at(number)
        ts_recv, raw_index = int(words[at + 1]), int(words[at + 3])
        was_in_gap, gap, started = trust.in_gap, self.gap, trust.started
        before = self._gap_now(Cause.CHECK, (NONE, NONE))
        trust.snapshot_applied(ts_recv, raw_index, sequenced=sequenced)
        if self._judge(block, first, end, ts_recv, raw_index):
            if was_in_gap and gap is not None:
                trust.gap_opened(gap.last_good_ts)
            else:
                self._open_gap(before if started else Gap(Cause.CHECK, NONE), ts_recv, raw_index)
        else:
            self._close_gap(gap if was_in_gap else None, ts_recv, raw_index)
            registers[kernel.LAST_TS] = ts_recv
            registers[kernel.LAST_INDEX] = raw_index
        registers[kernel.LAST_SEQUENCE] = sequence
        registers[kernel.AFTER_SNAPSHOT] = 0 if sequenced else 1
        registers[kernel.DELTAS_SINCE] = 0
        registers[kernel.SNAPSHOT_TS] = ts_recv
        self._put_snapshot_event(block, first, end, number)

    def _put_snapshot_event(self, block: Block, first: int, end: int, number: int) -> None:
        """Write the event with the snapshot record made anew: aligned, cut to the depth, with its trust."""
        words = block.words
        parts: list[bytes] = []
        for record in range(first, end):
            at = block.at(record)
            ordinal = self._ordinal if record == first else 0
            if record == number:
                parts.append(
                    snapshot_record(
                        self.book,
                        self.trust,
                        ts_recv=int(words[at + 1]),
                        ts_event=int(words[at + 2]),
                        raw_index=int(words[at + 3]),
                        ordinal=ordinal,
                        sequence=int(self.registers[kernel.LAST_SEQUENCE]),
                        last_good_ts=int(words[at + 1]),
                        origin=Origin.VENUE,
                        flags=int(words[at] >> layout.WORD_FLAGS_SHIFT) & (Flag.LAST | Flag.BAD_TS_RECV),
                    )
                )
                continue
            words[at + 4] |= ordinal << 48
            parts.append(words[at : block.at(record + 1)].tobytes())
        data = b"".join(parts)
        self.outlet.put_event(data, end - first, len(data) - len(parts[-1]))

    # --- what is not a book message ------------------------------------------------------------------------------

    def put_status(self, data: bytes, ts_recv: int, raw_index: int) -> None:
        """Write a STATUS record that concerns this book."""
        self._begin(ts_recv, raw_index, len(data) >> 3)
        self._put_own(data)

    def next_ordinal(self, raw_index: int) -> int:
        """Return the ordinal of the next own record for raw record `raw_index`."""
        return self._ordinal if raw_index == self._event_index else 0

    def lose_line(self) -> None:
        """The line is gone: what comes next must prove that nothing was missed."""
        if self.trust.started and not self.trust.in_gap:
            self.trust.line_lost = True

    def declare_gap(self, cause: int, ts_recv: int, raw_index: int, missing: tuple[int, int] = (NONE, NONE)) -> None:
        """Open a gap for what the raw queue says was lost (a message that could not be read, dropped records)."""
        if self.trust.started and not self.trust.in_gap:
            self._begin(ts_recv, raw_index, 0)
            self._open_gap(self._gap_now(cause, missing), ts_recv, raw_index)

    def _define(self, ts_recv: int) -> None:
        """Write the definition; a redefinition comes with the book in the new numbers, as one event."""
        definition, registers = self.definition, self.registers
        fields = definition.fields
        size = (len(definition.body) >> 3) + 7 + self._snapshot_words()
        self._begin(ts_recv, definition.raw_index, size)
        if self.outlet.written == 0:
            self._put_own(definition.record(ts_recv, flags=Flag.LAST, ordinal=self._ordinal))
            return
        price_decimals = fields.price_exponent - self.book.price_exponent
        size_decimals = fields.size_exponent - self.book.size_exponent
        self.buffer.rescale(price_decimals, size_decimals)
        try:
            self._rescale()
        except DecodeError:  # digits would be lost: the old levels cannot be told in the new numbers
            if self.trust.started and not self.trust.in_gap:
                self._open_gap(self._gap_now(Cause.DECODE, (NONE, NONE)), ts_recv, definition.raw_index)
            self.book.clear()
            self._rescale()
        head = definition.record(ts_recv, ordinal=self._ordinal)
        self._ordinal += 1
        registers[kernel.DELTAS_SINCE] = 0
        registers[kernel.SNAPSHOT_TS] = ts_recv
        parts = [head, *self._own_snapshot(ts_recv, definition.ts_event, definition.raw_index)]
        self._ordinal += len(parts) - 1
        self.outlet.put_event(b"".join(parts), len(parts), sum(map(len, parts[:-1])))

    def _rescale(self) -> None:
        fields = self.definition.fields
        self.book.redefine(
            price_exponent=fields.price_exponent,
            size_exponent=fields.size_exponent,
            book_depth=fields.book_depth,
        )

    # --- parts ---------------------------------------------------------------------------------------------------

    def _begin(self, ts_recv: int, raw_index: int, words: int) -> None:
        """Start the clean events of one raw event: bounds for the segment, ordinals from where they stand."""
        if raw_index != self._event_index:
            self._event_index = raw_index
            self._ordinal = 0
        bound = words + 2 * _GAP_WORDS + (SNAPSHOT_LEVELS_OFFSET >> 3)
        if self._snapshot_is_due(ts_recv):
            bound += self._snapshot_words()
        self.outlet.prepare(ts_recv, bound, raw_index)
        if not self.registers[kernel.SNAPSHOT_TS]:
            self.registers[kernel.SNAPSHOT_TS] = ts_recv

    def _snapshot_if_due(self, ts_recv: int, ts_event: int, raw_index: int) -> None:
        if not self._snapshot_is_due(ts_recv):
            return
        registers = self.registers
        registers[kernel.DELTAS_SINCE] = 0
        registers[kernel.SNAPSHOT_TS] = ts_recv
        parts = self._own_snapshot(ts_recv, ts_event, raw_index)
        self.outlet.put_event(b"".join(parts), len(parts), sum(map(len, parts[:-1])))
        self._ordinal += len(parts)

    def _snapshot_words(self) -> int:
        """Return the most words that an own snapshot can take."""
        return snapshot_words_max(self.book)

    def _snapshot_is_due(self, ts_recv: int) -> bool:
        registers, settings = self.registers, self.settings
        since = int(registers[kernel.SNAPSHOT_TS])
        late = since > 0 and ts_recv - since >= settings.snapshot_interval_ns
        return late or int(registers[kernel.DELTAS_SINCE]) >= settings.snapshot_deltas

    def _own_snapshot(self, ts_recv: int, ts_event: int, raw_index: int) -> list[bytes]:
        """Return the records of an own snapshot, ordinals from `_ordinal` on; they end an event."""
        return [self._snapshot_record(ts_recv, ts_event, raw_index, Flag.LAST)]

    def _snapshot_record(self, ts_recv: int, ts_event: int, raw_index: int, flags: int) -> bytes:
        return snapshot_record(
            self.book,
            self.trust,
            ts_recv=ts_recv,
            ts_event=ts_event,
            raw_index=raw_index,
            ordinal=self._ordinal,
            sequence=self._last(),
            last_good_ts=int(self.registers[kernel.LAST_TS]),
            flags=flags,
        )

    def _put_own(self, data: bytes) -> None:
        self.outlet.put_event(data, 1, 0)
        self._ordinal += 1

    def _gap_now(self, cause: int, missing: tuple[int, int]) -> Gap:
        registers = self.registers
        return Gap(cause, int(registers[kernel.LAST_TS]), int(registers[kernel.LAST_INDEX]), *missing)

    def _open_gap(self, gap: Gap, ts_recv: int, raw_index: int) -> None:
        self.gap = gap
        self.trust.gap_opened(gap.last_good_ts)
        self.wants_resync = True
        self._count("gaps")
        self._put_own(gap.record(GapState.OPEN, ts_recv=ts_recv, raw_index=raw_index, ordinal=self._ordinal))

    def _close_gap(self, gap: Gap | None, ts_recv: int, raw_index: int) -> None:
        self.gap = None
        self.wants_resync = False  # the snapshot that closes it is the answer
        if gap is not None:
            record = gap.record(
                GapState.CLOSED, ts_recv=ts_recv, raw_index=raw_index, ordinal=self._ordinal, recovery_ts=ts_recv
            )
            self._put_own(record)

    def _flag(self, block: Block, first: int, end: int) -> None:
        words = block.words
        for number, kind in enumerate(block.kinds(first, end), first):
            if kind in (Kind.BOOK_DELTA, Kind.ORDER):
                words[block.at(number)] |= _MAYBE_BAD

    def _last(self) -> int:
        return int(self.registers[kernel.LAST_SEQUENCE])

    def _count(self, name: str, count: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + count


def _levels(block: Block, first: int, end: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the deltas of an event as int64[n, 3] (side, price, size)."""
    words = block.words
    rows = [
        (int(words[at]) >> layout.WORD_SIDE_SHIFT & 0xFF, int(words[at + 6]), int(words[at + 7]))
        for at, kind in ((block.at(number), kind) for number, kind in enumerate(block.kinds(first, end), first))
        if kind == Kind.BOOK_DELTA
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)
