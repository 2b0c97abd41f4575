"""Frontier: how far an ETL shard has come, from its progress queue."""

from __future__ import annotations

from dataclasses import dataclass

from chronicle.access.cost import Cost
from chronicle.access.segments import Shelf, iter_records
from chronicle.core import layout
from chronicle.core.layout import HEADER_BYTES, NONE, Kind

__all__ = ["Frontier", "frontier", "progress_queue"]


@dataclass(frozen=True, slots=True)
class Frontier:
    """All raw records below `index` are finished; `ts` is their last ts_recv (ns UTC)."""

    index: int = NONE
    ts: int = NONE


def progress_queue(shard: str, raw_lane: int = 0) -> str:
    """Return the name of a shard's progress queue."""
    return f"etl/{shard}/progress{f'@{raw_lane}' if raw_lane else ''}.q"


def frontier(shelf: Shelf, shard: str, raw_lane: int = 0) -> Frontier:
    """Return how far `shard` has come; an unknown shard gives NONE in both fields."""
    infos = shelf.segments(progress_queue(shard, raw_lane), fresh=True)
    for info in reversed(infos):
        segment = shelf.open(info)
        table = segment.seek()
        if not len(table):
            continue
        last = None
        for record in iter_records(segment.read(table.offset[-1], segment.data_end(), Cost()), table.index[-1]):
            if record.kind == Kind.PROGRESS:
                last = record
        if last is not None:
            _, index, ts, _ = layout.PROGRESS_BODY.unpack_from(last.data, HEADER_BYTES)
            return Frontier(index, ts)
    return Frontier()
