"""Explain: from a clean record back to the raw record and to the bytes that the exchange sent."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from chronicle.access.opened.cost import Cost
from chronicle.access.opened.lanes import lanes_of
from chronicle.access.opened.segment import Segment, iter_records
from chronicle.access.opened.segments import Shelf
from chronicle.core.errors import NotFoundError, RetiredError
from chronicle.core.layout import NONE, Kind, WireForm
from chronicle.core.paths import lane_of, wire_queue
from chronicle.core.records import Record

__all__ = ["Explanation", "Link", "explain"]


@dataclass(frozen=True, slots=True)
class Link:
    """One record on the way back: where it is and what it says."""

    queue: str
    segment: int
    place: str
    index: int
    record: Record

    def to_dict(self) -> dict[str, Any]:
        """Return place and record as plain values; a payload as text where it is text."""
        values = self.record.to_dict()
        if isinstance(values.get("payload"), bytes):
            values["payload"] = values["payload"].decode("utf-8", "backslashreplace")
        return {"queue": self.queue, "segment": self.segment, "place": self.place, "record": values}


@dataclass(frozen=True, slots=True)
class Explanation:
    """The chain of a clean record. `raw` and `wire` are None where they are no longer kept (or were never captured);
    `missing` says why."""

    symbol: str
    clean: Link
    raw: Link | None
    wire: Link | None
    missing: str = ""

    @property
    def payload(self) -> bytes:
        """The exchange's bytes, verbatim; empty where there is no wire record."""
        return bytes(self._wire_field("payload", b""))

    @property
    def address(self) -> str:
        """Where they came from; empty where there is no wire record."""
        return str(self._wire_field("address", ""))

    @property
    def form(self) -> str:
        """Form of the frame (``text``, ``binary``, ``http`` ...); empty where there is no wire record."""
        return WireForm(self._wire_field("form", 0)).name.lower() if self.wire else ""

    def _wire_field(self, name: str, default: Any) -> Any:
        return self.wire.record.fields()[name] if self.wire else default

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``chronicle explain --json`` prints them."""
        chain = {"clean": self.clean, "raw": self.raw, "wire": self.wire}
        return {"symbol": self.symbol, "missing": self.missing} | {
            name: link.to_dict() if link else None for name, link in chain.items()
        }


def explain(shelf: Shelf, symbol: str, channel: str, index: int, lane: int = 0) -> Explanation:
    """Return the chain of record `index` of a clean channel.

    Raises
    ------
    NotFoundError
        When there is no such queue, lane or record.
    """
    queue = next(
        (found.queue for found in lanes_of(shelf, symbol, channel, fresh=True) if found.number == lane), None
    )
    if queue is None:
        raise NotFoundError(f"{symbol} has no {channel} queue of lane {lane}", hint="see store.coverage(symbol)")
    segment, clean = _record(shelf, queue, index)
    sources = segment.prologue().get("sources") or []
    link = _link(segment, clean)
    if clean.source >= len(sources) or clean.source_index == NONE:
        return Explanation(symbol, link, None, None, "the record names no raw record: the ETL made it")
    raw_queue = str(sources[clean.source]["queue"])
    try:
        raw_segment, raw = _record(shelf, raw_queue, clean.source_index)
    except NotFoundError as error:
        return Explanation(symbol, link, None, None, error.message)
    raw_link = _link(raw_segment, raw)
    if raw.source_index == NONE:
        return Explanation(symbol, link, raw_link, None, "the feed kept no wire record of it")
    wire_name = wire_queue(raw_queue.rsplit("/", 1)[1].removesuffix(".q").split("@")[0], lane_of(raw_queue))
    try:
        wire_segment, wire = _record(shelf, wire_name, raw.source_index)
    except NotFoundError as error:
        return Explanation(symbol, link, raw_link, None, error.message)
    if wire.kind != Kind.WIRE:
        return Explanation(symbol, link, raw_link, None, f"record {wire.index} of {wire_name} is no wire record")
    return Explanation(symbol, link, raw_link, _link(wire_segment, wire))


def _link(segment: Segment, record: Record) -> Link:
    info = segment.info
    return Link(info.queue, info.number, info.place, record.index, record)


def _record(shelf: Shelf, queue: str, index: int) -> tuple[Segment, Record]:
    """Return a record by its index, from whichever tier has it."""
    infos = shelf.segments(queue, fresh=True)
    position = bisect_right(infos, index, key=lambda info: info.base_index) - 1
    if position < 0 or index >= infos[position].end_index:
        first = infos[0].base_index if infos else 0
        kind = RetiredError if infos and index < first else NotFoundError
        raise kind(
            f"record {index} of {queue} is not kept",
            expected=f"{first} to {infos[-1].end_index - 1}" if infos else "a queue with records",
            found=index,
        )
    segment = shelf.open(infos[position])
    table = segment.seek()
    point = max(0, bisect_right(table.index, index) - 1)
    end = table.offset[point + 1] if point + 1 < len(table) else segment.data_end()
    for record in iter_records(segment.read(table.offset[point], end, Cost()), table.index[point]):
        if record.index == index:
            return segment, record.copy()
    raise NotFoundError(f"record {index} of {queue} is not where its segment says", path=infos[position].location)
