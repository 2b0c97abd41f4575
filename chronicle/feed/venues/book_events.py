"""What book messages of most venues become: changes of both sides, and snapshots that a limit may have cut."""

from __future__ import annotations

from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MAX, INT64_MIN, NONE, Origin, Side
from chronicle.core.records import SnapshotFields
from chronicle.feed.venues.levels import Level, Levels, add_deltas

__all__ = ["add_changes", "cut_snapshot"]


def add_changes(
    out: EventBuilder,
    number: int,
    bids: Levels,
    asks: Levels,
    *,
    ts_event: int,
    sequence: int = NONE,
    sequence_first: int = NONE,
    sequence_previous: int = NONE,
    keep_chain: bool = False,
) -> None:
    """Add a BOOK_DELTA for each level that could be read, bids first.

    With `keep_chain` a message without any level leaves one delta without side and size: its numbers count.
    """
    for side, levels in ((Side.BID, bids), (Side.ASK, asks)):
        add_deltas(
            out,
            number,
            side,
            levels,
            ts_event=ts_event,
            sequence=sequence,
            sequence_first=sequence_first,
            sequence_previous=sequence_previous,
        )
    if keep_chain and not bids and not asks:
        out.delta(
            *(number, Side.NONE, 0, 0),
            ts_event=ts_event,
            sequence=sequence,
            sequence_first=sequence_first,
            sequence_previous=sequence_previous,
        )


def cut_snapshot(bids: list[Level], asks: list[Level], *, bids_cut: bool, asks_cut: bool) -> SnapshotFields:
    """Return a venue's snapshot; where a side was cut it is complete up to that side's last level only."""
    return SnapshotFields(
        bids,
        asks,
        Origin.VENUE,
        bid_floor=min(bids)[0] if bids_cut and bids else INT64_MIN,
        ask_ceiling=max(asks)[0] if asks_cut and asks else INT64_MAX,
    )
