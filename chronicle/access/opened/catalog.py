"""Catalog: which instruments a store holds, and which times of them at which places."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from chronicle.access.opened.frontier import frontier
from chronicle.access.opened.lanes import lanes_of
from chronicle.access.opened.segment import Segment
from chronicle.access.opened.segments import Shelf
from chronicle.access.opened.symbols import Directory
from chronicle.core.decimals import to_decimal
from chronicle.core.errors import CorruptionError, NotFoundError
from chronicle.core.layout import NONE
from chronicle.core.source import SegmentInfo

__all__ = ["Coverage", "CoveredSegment", "Instrument", "coverage_of", "instruments_of"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One captured instrument. `tick` and `lot` are None where the venue's list was not captured."""

    symbol: str
    venue: str
    venue_symbol: str
    base: str
    quote: str
    type: str
    channels: tuple[str, ...]
    tick: Decimal | None
    lot: Decimal | None
    price_exponent: int
    size_exponent: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; decimals as text."""
        values = asdict(self) | {"channels": list(self.channels)}
        return values | {
            name: None if values[name] is None else format(values[name], "f") for name in ("tick", "lot")
        }


@dataclass(frozen=True, slots=True)
class CoveredSegment:
    """One segment of a channel: what times it covers and where it is. Times are ts_recv, ns UTC."""

    channel: str
    lane: int
    queue: str
    number: int
    place: str
    state: str
    ts_first: int
    ts_last: int
    base_index: int
    records: int
    bytes: int
    location: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """The segments of an instrument, and how far its ETL shard has come (NONE where that is not known)."""

    symbol: str
    segments: tuple[CoveredSegment, ...]
    frontier_ts: int
    frontier_index: int

    @property
    def ts_first(self) -> int:
        """First ts_recv of all segments; NONE when there are none."""
        return min((segment.ts_first for segment in self.segments), default=NONE)

    @property
    def ts_last(self) -> int:
        """Last ts_recv of all segments; NONE when there are none."""
        return max((segment.ts_last for segment in self.segments), default=NONE)

    @property
    def records(self) -> int:
        """Records in all segments."""
        return sum(segment.records for segment in self.segments)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"segments": [asdict(segment) for segment in self.segments]}


def instruments_of(shelf: Shelf, directory: Directory) -> list[Instrument]:
    """Return every captured instrument, by symbol."""
    rows = []
    for symbol in directory.symbols(fresh=True):
        definition = directory.definition(symbol)
        details = (definition.details if definition else None) or {}
        price = definition.price_exponent if definition else 0
        size = definition.size_exponent if definition else 0
        rows.append(
            Instrument(
                symbol=symbol,
                venue=symbol.partition(":")[0],
                venue_symbol=str(details.get("venue_symbol", "")),
                base=str(details.get("base", "")),
                quote=str(details.get("quote", "")),
                type=str(details.get("type", "")),
                channels=tuple(directory.channels(symbol)),
                tick=to_decimal(definition.tick, price) if definition and definition.tick else None,
                lot=to_decimal(definition.lot, size) if definition and definition.lot else None,
                price_exponent=price,
                size_exponent=size,
            )
        )
    return rows


def coverage_of(shelf: Shelf, directory: Directory, symbol: str, channel: str | None) -> Coverage:
    """Return the segments of `symbol` (canonical), of one channel or of all."""
    channels = [channel] if channel else directory.channels(symbol, fresh=True)
    rows: list[CoveredSegment] = []
    reached_ts, reached_index = NONE, NONE
    for name in channels:
        for lane in lanes_of(shelf, symbol, name, fresh=True):
            infos = shelf.segments(lane.queue, fresh=True)
            rows += [
                CoveredSegment(
                    channel=name,
                    lane=lane.number,
                    queue=info.queue,
                    number=info.number,
                    place=info.place,
                    state=info.state.name.lower(),
                    ts_first=info.ts_first,
                    ts_last=info.ts_last,
                    base_index=info.base_index,
                    records=info.record_count,
                    bytes=info.size_bytes,
                    location=info.location,
                )
                for info in infos
            ]
            newest = _readable(shelf, infos)
            if newest is not None:
                reached = frontier(shelf, symbol, newest)
                if reached.ts > reached_ts:
                    reached_ts, reached_index = reached.ts, reached.index
    return Coverage(symbol, tuple(rows), reached_ts, reached_index)


def _readable(shelf: Shelf, infos: list[SegmentInfo]) -> Segment | None:
    """Return the newest segment of a lane whose prologue can be read."""
    for info in reversed(infos):
        try:
            found = shelf.open(info)
            found.prologue()
        except (CorruptionError, NotFoundError):
            continue  # what is covered is told of a damaged segment as well
        return found
    return None
