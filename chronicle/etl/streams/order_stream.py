"""The book of one instrument that ORDER records drive: raw orders in, the same orders and what is known of them out.

Orders are kept verbatim and in order. Beside them stand our own GAP records, and the book restated by a BOOK_SNAPSHOT
and its ORDER_SNAPSHOT where a seek would become long. Plain events run through kernels; a start (CLEAR), a lost line,
a contradiction or a due snapshot come here one event at a time.

An event that holds a CLEAR starts the book anew: it is the venue's own statement that nothing rests, and what follows
it in the event (a snapshot as orders) is the whole book.

While the book is in good standing the sweep has it (:mod:`chronicle.etl.kernels.order_sweep`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chronicle.core import layout
from chronicle.core.layout import NONE, Action, Cause, Flag, Kind, SequenceRule
from chronicle.core.records import InstrumentFields
from chronicle.core.sequencing import proves_continuity
from chronicle.etl.books.array_orders import ArrayOrderBook
from chronicle.etl.clean.block import Block
from chronicle.etl.clean.outlet import Sink
from chronicle.etl.kernels import events as kernel
from chronicle.etl.kernels import order_events as orders
from chronicle.etl.kernels import row as kernel_row
from chronicle.etl.streams.book_stream import BookStream
from chronicle.etl.streams.gaps import Gap
from chronicle.etl.streams.snapshots import order_records, orders_words_max
from chronicle.etl.streams.stream import Definition, StreamSettings

__all__ = ["OrderStream"]

_ROOM = 64
"""Free rows with which a book is handed to the sweep."""
_FLAGS = layout.WORD_FLAGS_SHIFT
_ORDER_KIND = int(Kind.ORDER)


class OrderStream(BookStream):
    """State of one L3 book: orders, trust, the venue's sequence.

    `counts` also holds ``orders_...``: records that contradicted the book, by what they did.
    """

    book: ArrayOrderBook

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
        super().__init__(queue, channel, definition, settings, sink, written=written)
        self.registers = np.concatenate((kernel.new_registers(), np.zeros(1, dtype=np.int64)))
        self._limits = np.zeros(orders.ORDER_LIMITS, dtype=np.int64)
        self._refused: dict[str, int] = {}
        self._refused_at = NONE
        """Record of the next event that the sweep's book refused, those before it are applied."""

    def _new_book(self, fields: InstrumentFields) -> ArrayOrderBook:
        return ArrayOrderBook(price_exponent=fields.price_exponent, size_exponent=fields.size_exponent)

    def prologue(self, raw_index: int, whole: bool) -> dict[str, Any]:
        """Return what explains a segment; ``orders`` are the ORDER_SNAPSHOT records behind its book."""
        found = super().prologue(raw_index, whole)
        found["orders"] = self._order_records(max(int(self.registers[kernel.LAST_TS]), 0), 0, 0) if whole else None
        return found

    # --- events --------------------------------------------------------------------------------------------------

    def arm(self) -> bool:
        """Hand the stream to the sweep while its book is in good standing."""
        if not self.trust.steady or self.message != NONE or not self._arm(kernel_row.ORDERS_KIND):
            return False
        self._set_limits(doubt=False)
        self.book.reserve(max(_ROOM, self.row.orders_left()[0]))
        self.row.orders(
            self.registers,
            self._limits,
            self.book.parts(),
            verified_by=self.trust.verified_by,
            numbered=self.definition.fields.sequence_rule != SequenceRule.NONE,
        )
        return True

    def disarm(self) -> None:
        """Take the stream back from the sweep, perhaps in the middle of an event."""
        was_ready = self.row.ready
        super().disarm()
        if was_ready:
            _, self._refused_at, restated = self.row.orders_left()
            if restated != NONE:
                self._event_index, self._ordinal = restated, 2

    def take(self, block: Block) -> None:
        """Take the next events of the line."""
        event, count = 0, len(block)
        if self._refused_at != NONE:
            refused, self._refused_at = self._refused_at, NONE
            self._decide(block, 0, refused=refused)
            event = 1
        while event < count:
            end = self._run(block, event)
            if end == event:
                self._decide(block, event)
                end += 1
            event = end

    def _run(self, block: Block, event: int) -> int:
        """Apply plain events from `event` on; return the first that was not taken."""
        trust, limits = self.trust, self._limits
        doubt = trust.in_gap or not trust.started
        if trust.line_lost and not doubt:
            return event
        self._set_limits(doubt=doubt)
        end = int(orders.plan_orders(self.registers, limits, block.words, block.starts, block.ends, event))
        if end == event:
            return event
        first, last = block.bounds(event)[0], block.bounds(end - 1)[1]
        reached = self.book.apply_records(block.words, block.starts, first, last, halt=not doubt)
        whole = end if reached == last else int(np.searchsorted(block.ends, reached, side="right"))
        if whole > event:
            self._done(block, event, whole, doubt=doubt)
        if reached == last:
            return end
        self._decide(block, whole, refused=reached)
        return whole + 1

    def _set_limits(self, *, doubt: bool) -> None:
        limits, settings = self._limits, self.settings
        limits[kernel.RULE] = kernel.known_rule(self.definition.fields.sequence_rule)
        limits[kernel.INTERVAL_NS], limits[kernel.DELTAS_MAX] = (
            settings.snapshot_interval_ns,
            settings.snapshot_deltas,
        )
        limits[kernel.WORDS_MAX], limits[kernel.DAY_END], limits[kernel.RECORDS_MAX] = self.outlet.limits()
        limits[orders.DOUBT] = int(doubt)

    def _done(self, block: Block, event: int, end: int, *, doubt: bool) -> None:
        """Account for applied events [event, end), and write them."""
        first, last = block.bounds(event)[0], block.bounds(end - 1)[1]
        self._account(block, first, last, doubt=doubt)
        self.outlet.put(block, event, end)

    def _account(self, block: Block, first: int, last: int, *, doubt: bool) -> None:
        words, registers = block.words, self.registers
        at = block.starts[first:last]
        self._note_refused()
        registers[kernel.DELTAS_SINCE] += last - first
        is_order = (words[at] >> 32) & 0xFFFF == _ORDER_KIND
        if doubt:
            words[at[is_order]] |= int(Flag.MAYBE_BAD_BOOK) << _FLAGS
            return
        numbers = words[at[is_order] + 5]
        known = np.flatnonzero(numbers != NONE)
        if len(known):
            registers[kernel.LAST_SEQUENCE] = numbers[known[-1]]
            if self.definition.fields.sequence_rule != SequenceRule.NONE:
                live = (words[at[is_order]] >> _FLAGS) & Flag.SNAPSHOT == 0
                if np.any(live & (numbers != NONE)):
                    self.trust.sequence_held()
        registers[kernel.LAST_TS] = words[at[-1] + 1]
        registers[kernel.LAST_INDEX] = words[at[-1] + 3]

    def _decide(self, block: Block, event: int, refused: int | None = None) -> None:
        """Take one event that is not plain; `refused`: it is applied up to that record, which the book refused."""
        first, end = block.bounds(event)
        kinds = block.kinds(first, end)
        if Kind.ORDER not in kinds or Kind.BOOK_SNAPSHOT in kinds:
            self._count("not_orders")  # levels of another feed: this book is made of orders alone
            return
        words, trust = block.words, self.trust
        at, size = block.at(first), block.at(end) - block.at(first)
        ts_recv, raw_index = int(words[at + 1]), int(words[at + 3])
        self._begin(ts_recv, raw_index, size)
        if refused is None:
            before = self.outlet.written
            self._snapshot_if_due(ts_recv, int(words[at + 2]), raw_index)
            if self.outlet.written > before:
                self._begin(ts_recv, raw_index, size)  # a segment that the snapshot filled ends here
        starts_anew = self._starts_anew(block, first, end)
        good = self._gap_now(Cause.DISCONNECT, (NONE, NONE))
        steady = trust.started and not trust.in_gap
        cause = self._cause_before(block, first, end) if steady and not starts_anew else None
        if steady and starts_anew and trust.line_lost:
            cause = Cause.DISCONNECT
        if cause is not None:
            self._open_gap(Gap(cause, good.last_good_ts, good.last_good_index), ts_recv, raw_index)
        trust.line_lost = False
        contradicted = refused is not None
        self._note_refused()
        known = sum(self._refused.values())
        self.book.apply_records(words, block.starts, first if refused is None else refused + 1, end)
        self._note_refused()
        contradicted = contradicted or sum(self._refused.values()) > known
        if starts_anew and not contradicted:
            self._close_gap(self.gap if trust.in_gap else None, ts_recv, raw_index)
            trust.snapshot_applied(ts_recv, raw_index, sequenced=False)
        elif contradicted and trust.started and not trust.in_gap:
            self._open_gap(Gap(Cause.ORDER, good.last_good_ts, good.last_good_index), ts_recv, raw_index)
        self._account(block, first, end, doubt=trust.in_gap or not trust.started)
        words[at + 4] |= self._ordinal << 48
        self.outlet.put(block, event, event + 1)

    def _starts_anew(self, block: Block, first: int, end: int) -> bool:
        """Whether the event clears the book, and the feed does not doubt it."""
        at = block.starts[first:end]
        heads = block.words[at]
        of_order = (heads >> 32) & 0xFFFF == _ORDER_KIND
        clears = of_order & (block.words[np.where(of_order, at + 9, at)] & 0xFF == Action.CLEAR)
        doubtful = (heads >> _FLAGS) & Flag.MAYBE_BAD_BOOK != 0
        return bool(np.any(clears)) and not bool(np.any(doubtful))

    def _cause_before(self, block: Block, first: int, end: int) -> Cause | None:
        """Return why the event itself, before it is applied, ends the book's trust."""
        at = block.starts[first:end]
        words, rule = block.words, self.definition.fields.sequence_rule
        if np.any((words[at] >> _FLAGS) & Flag.MAYBE_BAD_BOOK != 0):
            return Cause.SEQUENCE
        last = self._last()
        numbers = words[at + 5][words[at + 5] != NONE].tolist() if rule == SequenceRule.COUNT else []
        for number in numbers:
            if last != NONE and not last <= number <= last + 1:
                return Cause.SEQUENCE
            last = number
        sequence = int(words[block.at(first) + 5])
        proven = proves_continuity(rule, last=self._last(), sequence=sequence, previous=NONE, line_lost=True)
        return Cause.DISCONNECT if self.trust.line_lost and not proven else None

    def _note_refused(self) -> None:
        """Count the records that the book refused since the last look."""
        refused = self.book.problems
        if refused != self._refused:
            for name, count in refused.items():
                self._count(f"orders_{name}", count - self._refused.get(name, 0))
            self._refused = refused

    # --- own snapshots -------------------------------------------------------------------------------------------

    def _rescale(self) -> None:
        fields = self.definition.fields
        self.book.redefine(price_exponent=fields.price_exponent, size_exponent=fields.size_exponent)

    def _snapshot_words(self) -> int:
        return orders_words_max(self.book)

    def _snapshot_is_due(self, ts_recv: int) -> bool:
        registers, settings = self.registers, self.settings
        return bool(
            orders.snapshot_is_due(
                int(registers[kernel.SNAPSHOT_TS]),
                int(registers[kernel.DELTAS_SINCE]),
                int(registers[orders.SNAPSHOT_ORDERS]),
                settings.snapshot_interval_ns,
                settings.snapshot_deltas,
                ts_recv,
            )
        )

    def _own_snapshot(self, ts_recv: int, ts_event: int, raw_index: int) -> list[bytes]:
        self.registers[orders.SNAPSHOT_ORDERS] = len(self.book)
        head = self._snapshot_record(ts_recv, ts_event, raw_index, 0)
        return [head, *self._order_records(ts_recv, ts_event, raw_index, self._ordinal + 1)]

    def _order_records(self, ts_recv: int, ts_event: int, raw_index: int, ordinal: int = 0) -> list[bytes]:
        return order_records(
            self.book,
            ts_recv=ts_recv,
            ts_event=ts_event,
            raw_index=raw_index,
            ordinal=ordinal,
            sequence=self._last(),
            flags=Flag.LAST,
        )

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def orders_state(self) -> dict[str, Any]:
        """Return the orders as plain values, for a checkpoint."""
        sides = [self.book.order_array(side).tobytes() for side in ("bid", "ask")]
        shape = [self.book.price_exponent, self.book.size_exponent]
        return {"orders": sides, "problems": self.book.problems, "shape": shape}

    def restore_orders(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`orders_state` gave."""
        book = ArrayOrderBook(price_exponent=state["shape"][0], size_exponent=state["shape"][1])
        for side, data in zip(("bid", "ask"), state["orders"], strict=True):
            book.load(np.frombuffer(data, dtype=np.int64).reshape(-1, 3), side)
        book.restore_problems(state["problems"])
        self.book, self._refused = book, book.problems
