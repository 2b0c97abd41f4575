"""What all clean streams share: their queue, their instrument, and its redefinitions."""

from __future__ import annotations

from typing import Any

from chronicle.core.layout import Flag, Kind
from chronicle.core.records import InstrumentFields, pack_record
from chronicle.etl.clean.block import Block
from chronicle.etl.clean.lineage import split_position
from chronicle.etl.clean.outlet import Outlet, Sink
from chronicle.etl.kernels import row as kernel_row
from chronicle.etl.pipeline.row import Row

__all__ = ["Definition", "PlainStream", "StreamSettings"]

CLEAN_INSTRUMENT = 1
"""A clean queue holds one instrument, and numbers it so."""
_WORDS_MAX = 1 << 48
"""What the sweep counts in bytes must not overflow."""


class Definition:
    """An instrument as the raw queue last defined it: fields, the body's bytes, and the raw index of the record."""

    __slots__ = ("body", "fields", "raw_index", "selected", "symbol", "ts_event", "ts_recv")

    def __init__(self, body: bytes, raw_index: int, ts_recv: int, ts_event: int, *, selected: bool) -> None:
        self.fields = InstrumentFields.unpack(body)
        self.body = body
        self.symbol = self.fields.symbol
        self.raw_index = raw_index
        self.ts_recv = ts_recv
        self.ts_event = ts_event
        self.selected = selected

    def record(self, ts_recv: int, *, flags: int = 0, ordinal: int = 0) -> bytes:
        """Return the clean INSTRUMENT record, stamped with the time at which the stream took it."""
        return pack_record(
            Kind.INSTRUMENT,
            self.body,
            ts_recv=ts_recv,
            ts_event=self.ts_event,
            flags=flags,
            instrument=CLEAN_INSTRUMENT,
            source_index=self.raw_index,
            ordinal=ordinal,
        )


class StreamSettings:
    """What is the same for all streams of a pipeline: the raw queues they come from and the recorded configuration.

    `sources` is the table that records' `source` points into; the first is `raw_queue`. `merged` says that raw
    records carry their positions.
    """

    __slots__ = (
        "candles",
        "etl",
        "lane",
        "merged",
        "raw_generation",
        "raw_queue",
        "snapshot_deltas",
        "snapshot_interval_ns",
        "sources",
    )

    def __init__(
        self,
        *,
        lane: int,
        raw_queue: str,
        raw_generation: int,
        etl: dict[str, Any],
        snapshot_interval_ns: int,
        snapshot_deltas: int,
        candles: tuple[str, ...] = (),
    ) -> None:
        self.lane = lane
        self.raw_queue = raw_queue
        self.raw_generation = raw_generation
        self.merged = False
        self.sources = [{"queue": raw_queue, "generation": raw_generation}]
        self.etl = etl
        self.snapshot_interval_ns = snapshot_interval_ns
        self.snapshot_deltas = snapshot_deltas
        self.candles = candles


class PlainStream:
    """A stream whose records change no state: trades, quotes.

    Plain events are the sweep's (:mod:`chronicle.etl.pipeline.sweep`): a stream is handed to it by :meth:`arm`, and
    who looks at the stream or changes it calls :meth:`disarm` first.

    Attributes
    ----------
    key : tuple
        (symbol, channel, rank), given by the pipeline.
    """

    key: tuple[str, str, int]

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
        self.channel = channel
        self.definition = definition
        self.settings = settings
        self.defined = written > 0
        self.outlet = Outlet(queue, sink, written=written, prologue=self.prologue)
        self.row = Row()

    def arm(self) -> bool:
        """Hand the stream to the sweep; False where it cannot be, or every event needs a decision."""
        return self._arm(kernel_row.PLAIN)

    def _arm(self, kind: int) -> bool:
        state = self.outlet.place(self.row)
        if not state:
            return False
        words_left, day_end, _ = self.outlet.limits()
        self.row.hand_over(
            kind,
            state=state,
            words_left=min(words_left, _WORDS_MAX),
            day_end=day_end,
            records_left=self.outlet.records_left(),
        )
        return True

    def disarm(self) -> None:
        """Take the stream back from the sweep."""
        if self.row.ready:
            self.row.take_back()
        self.absorb()

    def absorb(self) -> None:
        """Learn what the sweep did; it may go on."""
        records, words = self.row.taken()
        if records:
            self.outlet.absorb(records, words)

    def prologue(self, raw_index: int, whole: bool) -> dict[str, Any]:
        """Return what explains a segment that starts before raw record `raw_index`."""
        settings = self.settings
        source, source_index = split_position(raw_index)
        return {
            "schema": 1,
            "queue": self.outlet.queue,
            "symbol": self.definition.symbol,
            "channel": self.channel,
            "lane": settings.lane,
            "instrument": self.definition.record(0, flags=Flag.LAST),
            "book": self.book_record() if whole else None,
            "sources": settings.sources,
            "cursor": {"source": source, "source_index": source_index},
            "etl": settings.etl,
        }

    def book_record(self) -> bytes | None:
        """Return the book as a BOOK_SNAPSHOT record; None for streams without one."""
        return None

    def start(self, ts_recv: int) -> None:
        """Write the definition before the first record."""
        if not self.defined:
            self.defined = True
            self._define(ts_recv)

    def redefine(self, definition: Definition) -> None:
        """Take a changed definition; an unchanged one leaves no record."""
        changed = definition.body != self.definition.body
        self.definition = definition
        if changed:
            self._define(definition.ts_recv)

    def take(self, block: Block) -> None:
        """Take the next events."""
        self.outlet.put_all(block)

    def _define(self, ts_recv: int) -> None:
        data = self.definition.record(ts_recv, flags=Flag.LAST)
        self.outlet.prepare(ts_recv, len(data) >> 3, self.definition.raw_index)
        self.outlet.put_event(data, 1, 0)
