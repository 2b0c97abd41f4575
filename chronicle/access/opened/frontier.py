"""Frontier: how far an ETL shard has come, from its progress queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chronicle.access.opened.cost import Cost
from chronicle.access.opened.segment import Segment, iter_records
from chronicle.access.opened.segments import Shelf
from chronicle.core import layout
from chronicle.core.layout import HEADER_BYTES, NONE, Kind
from chronicle.core.paths import read_by
from chronicle.core.selection import Selection

__all__ = ["Frontier", "frontier"]


@dataclass(frozen=True, slots=True)
class Frontier:
    """All raw records below `index` are finished; `ts` is their last ts_recv (ns UTC)."""

    index: int = NONE
    ts: int = NONE


def frontier(shelf: Shelf, symbol: str, clean: Segment) -> Frontier:
    """Return how far the shard that has `symbol` has come in the raw queues that `clean` was made from.

    Where several are merged, all have been worked off up to the newest time. A progress segment's prologue says for
    which instruments its frontier holds. NONE in both fields when no shard on this host speaks for the instrument.
    """
    prologue = clean.prologue()
    raws = {str(entry.get("queue", "")) for entry in prologue.get("sources") or [{}]}
    shard = (prologue.get("etl") or {}).get("shard")
    best = Frontier()
    for name in shelf.queues("etl/"):
        if read_by(name) not in raws:
            continue
        selection, found = _last(shelf, name)
        legacy = name.split("/")[1] == shard  # written before progress queues named their instruments
        ours = legacy if selection is None else Selection.of(selection).selects(symbol)
        if ours and (found.ts, found.index) > (best.ts, best.index):
            best = found
    return best


def _last(shelf: Shelf, name: str) -> tuple[dict[str, Any] | None, Frontier]:
    """Return the last frontier of a progress queue, and for which instruments it holds."""
    for info in reversed(shelf.segments(name, fresh=True)):
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
            return segment.prologue().get("selection"), Frontier(index, ts)
    return None, Frontier()
