"""Tardis.dev: rows of its CSV downloads, of any exchange that it records.

Source: docs.tardis.dev/downloadable-csv-files. Frames are those of :mod:`chronicle.feed.captures.tardis`. What
becomes what: ``incremental_book_L2`` a venue BOOK_SNAPSHOT for the rows with is_snapshot, else BOOK_DELTA (amount 0
deletes); ``book_snapshot_N`` a venue BOOK_SNAPSHOT of depth N; ``trades`` TRADE (the side is the taker's; ids that
are no numbers are left out); ``quotes`` QUOTE. The exchange's sequence numbers are not in the files, so that nothing
but the snapshots stands behind a book (``verified_by`` nothing).
"""

from __future__ import annotations

from typing import Final

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MAX, INT64_MIN, NONE, Origin, Side, WireForm
from chronicle.core.records import SnapshotFields
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import InstrumentRegistry, VenueRules
from chronicle.feed.venues.levels import LevelReader, add_deltas, known
from chronicle.feed.venues.messages import UNREADABLE, excerpt

__all__ = ["TardisAdapter", "venue_of_tardis"]

_RULES: Final = VenueRules()
_VENUES: Final = {
    "binance-futures": "binance-usdm",
    "binance-delivery": "binance-coinm",
    "okex": "okx",
    "okex-swap": "okx",
    "okex-futures": "okx",
    "okex-options": "okx",
    "bybit-spot": "bybit",
    "cryptofacilities": "kraken-futures",
    "bitfinex-derivatives": "bitfinex",
    "bitget-futures": "bitget",
}
"""Names of Tardis that are not ours; its others are."""
_SIDES: Final = {"bid": Side.BID, "ask": Side.ASK}
_TAKERS: Final = {"buy": Side.BID, "sell": Side.ASK, "unknown": Side.NONE}
_FIXED: Final = 4
"""Columns before those of the type."""


def venue_of_tardis(exchange: str) -> str:
    """Return the venue of Tardis' name of an exchange, as binance-usdm of ``binance-futures``."""
    return _VENUES.get(exchange, exchange)


class TardisAdapter:
    """Rows of Tardis; the venue is that of the frame's address."""

    venue = "tardis"

    def __init__(self, registry: InstrumentRegistry) -> None:
        self.registry = registry

    def decode(self, frame: Frame, out: EventBuilder) -> None:
        """Add the records of a frame to `out`.

        Raises
        ------
        DecodeError
            When a row cannot be read: `out` says so for the instrument.
        """
        if frame.form not in (WireForm.TEXT, WireForm.BINARY):
            return
        venue, kind, symbol = _subject(frame.address)
        channel = {"trades": "trade", "quotes": "quote"}.get(kind, "book")
        reader = LevelReader(self.registry, out, venue, symbol, channel, rules=_RULES)
        try:
            rows = [row.split(",") for row in frame.payload.decode("ascii").split("\n")]
            ts_event = int(rows[0][2]) * 1_000
            if not 0 <= ts_event <= INT64_MAX:
                raise DecodeError("a timestamp is out of range", found=rows[0][2])
            if kind == "trades":
                _trades(out, reader, rows)
            elif kind == "quotes":
                _quote(out, reader, rows[0], ts_event)
            elif kind.startswith("book_snapshot_"):
                _whole(out, reader, rows[0], ts_event)
            elif kind == "incremental_book_L2":
                _changes(out, reader, rows, ts_event)
            else:
                raise DecodeError("a frame of Tardis has an unknown type", found=kind[:80])
        except UNREADABLE as error:
            message = f"cannot read rows of Tardis: {str(error)[:200]}"
            reader.fail(message)
            raise DecodeError(message, path=frame.address[:200], found=excerpt(frame.payload)) from error
        reader.report()
        reader.finish()


def _changes(out: EventBuilder, reader: LevelReader, rows: list[list[str]], ts_event: int) -> None:
    sides = [[(row[6], row[7]) for row in rows if row[5] == side] for side in ("bid", "ask")]
    if sum(map(len, sides)) != len(rows) or rows[0][4] not in ("true", "false"):
        raise DecodeError(
            "rows are of no known side, or say not whether they are a snapshot", found=str(rows[0])[:80]
        )
    if rows[0][4] == "true":
        bids, asks = reader.read(*sides)
        fields = SnapshotFields(known(bids), known(asks), Origin.VENUE)
        out.snapshot(reader.instrument.number, fields, ts_event=ts_event)
        return
    levels = reader.read([(row[6], row[7]) for row in rows])[0]
    for row, level in zip(rows, levels, strict=True):
        add_deltas(out, reader.instrument.number, _SIDES[row[5]], [level], ts_event=ts_event)


def _whole(out: EventBuilder, reader: LevelReader, row: list[str], ts_event: int) -> None:
    asks = [(row[at], row[at + 1]) for at in range(_FIXED, len(row) - 1, 4) if row[at]]
    bids = [(row[at], row[at + 1]) for at in range(_FIXED + 2, len(row) - 1, 4) if row[at]]
    if (len(row) - _FIXED) % 4:
        raise DecodeError("a snapshot row ends within a level", found=len(row))
    read = reader.read(bids, asks, book_depth=(len(row) - _FIXED) // 4)
    fields = SnapshotFields(known(read[0]), known(read[1]), Origin.VENUE)
    out.snapshot(reader.instrument.number, fields, ts_event=ts_event)


def _trades(out: EventBuilder, reader: LevelReader, rows: list[list[str]]) -> None:
    levels = reader.read([(row[6], row[7]) for row in rows])[0]
    for row, level in zip(rows, levels, strict=True):
        if level is not None:
            number = int(row[4]) if row[4].isdigit() and row[4].isascii() and len(row[4]) < 19 else NONE
            aggressor, ts_event = _TAKERS[row[5]], int(row[2]) * 1_000
            out.trade(reader.instrument.number, aggressor, *level, ts_event=ts_event, trade_id=number)


def _quote(out: EventBuilder, reader: LevelReader, row: list[str], ts_event: int) -> None:
    sides = [[(row[6], row[7])] if row[6] else [], [(row[5], row[4])] if row[5] else []]
    bids, asks = reader.read(*sides)
    if None in (*bids, *asks):
        return  # half a quote is none; the reader says what could not be read
    bid = (known(bids) or [(INT64_MIN, 0)])[0]
    ask = (known(asks) or [(INT64_MIN, 0)])[0]
    out.quote(reader.instrument.number, *bid, *ask, ts_event=ts_event)


def _subject(address: str) -> tuple[str, str, str]:
    """Return (venue, type, symbol) of ``tardis:deribit:trades:BTC-PERPETUAL``."""
    parts = address.split(":", 3)
    if len(parts) != 4 or parts[0] != "tardis" or not all(parts):
        expected = "tardis:EXCHANGE:TYPE:SYMBOL"
        raise DecodeError("a frame of Tardis has a foreign address", expected=expected, found=address[:120])
    return venue_of_tardis(parts[1]), parts[2], parts[3]
