"""A book for a live strategy: follow the raw queue of a running feed and keep one instrument's order book.

    python examples/live_book.py HOME kraken:BTC-EUR

The raw queue is what the feed committed, microseconds old and not yet judged. So the strategy judges: it applies
messages in the venue's sequence (``chronicle.core.sequencing``), and trusts its book from a venue snapshot until the
sequence breaks or the line is lost. The clean queues (``store.tail``) hold the same with every doubt spelled out,
some hundred microseconds later.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from chronicle.core.layout import NONE, Kind, StatusCode
from chronicle.core.queue import Queue
from chronicle.core.records import InstrumentFields, Record, SnapshotFields
from chronicle.core.sequencing import BUFFERING_RULES, Step, accepts_snapshot, judge
from chronicle.etl import Book
from chronicle.etl.streams.diff_buffer import Diff, DiffBuffer

Delta = tuple[int, int, int]
"""(side, price, size) as a BOOK_DELTA carries them."""


class LiveBook:
    """The book of one instrument, fed with raw events.

    Attributes
    ----------
    book : Book
        The levels, as the venue sent them.
    trusted : bool
        Whether a snapshot came and every message since followed the one before it.
    """

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.book = Book()
        self.trusted = False
        self._number: int | None = None
        self._rule = 0
        self._line = 0
        self._last = NONE
        self._fresh = False
        self._early = DiffBuffer()

    def take(self, event: list[Record]) -> bool:
        """Take the next raw event; return whether it changed the book."""
        changed = False
        deltas: list[Record] = []
        for record in event:
            if record.kind == Kind.INSTRUMENT:
                self._define(record)
            elif record.kind == Kind.STATUS:
                self._status(record)
            elif record.instrument != self._number or (self._line and record.source not in (0, self._line)):
                continue  # of another instrument, or a second line that delivers the same once more
            elif record.kind == Kind.BOOK_SNAPSHOT:
                changed = self._snapshot(record) or changed
            elif record.kind == Kind.BOOK_DELTA:
                deltas.append(record)
        return (self._message(deltas) if deltas else False) or changed

    def _define(self, record: Record) -> None:
        fields = InstrumentFields.unpack(record.body)
        if fields.symbol != self.symbol:
            return
        self._number, self._rule = record.instrument, fields.sequence_rule
        self.book.redefine(
            price_exponent=fields.price_exponent, size_exponent=fields.size_exponent, book_depth=fields.book_depth
        )

    def _status(self, record: Record) -> None:
        code = record.fields()["code"]
        gone = code == StatusCode.CAPTURE_START or (code == StatusCode.DISCONNECTED and record.source == self._line)
        if gone:
            self.trusted, self._line, self._last = False, 0, NONE
            self._early.clear()

    def _snapshot(self, record: Record) -> bool:
        sequence = record.sequence
        if not accepts_snapshot(self._rule, last=self._last, synced=self.trusted, sequence=sequence):
            return False
        joined = self._early.join(sequence) if self._rule in BUFFERING_RULES and not self.trusted else []
        if joined is None:  # older than the messages kept: the feed will bring another
            return False
        fields = SnapshotFields.unpack(record.body)
        self.book.load(fields.bids, fields.asks, bid_floor=fields.bid_floor, ask_ceiling=fields.ask_ceiling)
        self._last, self._fresh, self.trusted = sequence, True, True
        self._line = self._line or record.source
        for diff in joined:
            self._apply([(int(side), int(price), int(size)) for side, price, size in diff.levels], diff.sequence)
        self._early.clear()
        return True

    def _message(self, records: list[Record]) -> bool:
        fields = records[0].fields()
        sequence, first, previous = records[0].sequence, fields["sequence_first"], fields["sequence_previous"]
        self._line = self._line or records[0].source
        levels: list[Delta] = [
            (record.side, own["price"], own["size"]) for record in records for own in (record.fields(),)
        ]
        if not self.trusted:
            if self._rule in BUFFERING_RULES:
                self._early.add(Diff(first, sequence, np.array(levels, dtype=np.int64)))
            return False
        step = judge(
            self._rule,
            last=self._last,
            after_snapshot=self._fresh,
            first=first,
            sequence=sequence,
            previous=previous,
        )
        if step is Step.DROP:
            return False
        if step is not Step.APPLY:
            self.trusted = False
            return self._message(records)
        self._apply(levels, sequence)
        return True

    def _apply(self, levels: list[Delta], sequence: int) -> None:
        for side, price, size in levels:
            self.book.apply(side, price, size)
        self.book.truncate()
        self._fresh = False
        if sequence != NONE:
            self._last = sequence


def follow(home: Path, symbol: str, *, live: bool = True) -> Iterator[LiveBook]:
    """Yield the book after every raw event that changed it; without `live`, end where the queue ends."""
    state = LiveBook(symbol)
    with Queue.open(home / "raw/main.q", name="raw/main.q").tailer() as tailer:
        while True:
            event = tailer.next_event()
            if event is None:
                if not live:
                    return
                tailer.wait()
            elif state.take(event):
                yield state


def main(arguments: list[str]) -> int:
    """Print the touch whenever it changes."""
    home, symbol = Path(arguments[0]), arguments[1]
    shown = None
    for state in follow(home, symbol):
        touch = (state.book.best_bid, state.book.best_ask)
        if state.trusted and touch != shown:
            shown = touch
            print(symbol, *touch, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
