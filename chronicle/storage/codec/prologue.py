"""What a segment's prologue has of the book: with it the segment's first block may begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronicle.core import layout
from chronicle.core.source import SegmentView

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["book_place", "prologue_orders"]


def prologue_orders(segment: SegmentView) -> tuple[NDArray[np.int64], int] | None:
    """Return the orders in the prologue (int64[n, 3], as one ORDER_SNAPSHOT), and how many are bids, or None."""
    records = segment.prologue().get("orders")
    if not isinstance(records, list) or len(records) != 1:
        return None
    import numpy as np

    from chronicle.storage.codec.order_layout import orders_at

    record = records[0]
    if not isinstance(record, bytes) or len(record) % 8 or len(record) < layout.HEADER_BYTES:
        return None
    words = np.frombuffer(record, dtype=np.int64)
    return orders_at(words, 0, len(record))


def book_place(segment: SegmentView) -> tuple[int, int] | None:
    """Return (offset, length) of the snapshot record that the prologue has as its book, or None."""
    record = segment.prologue().get("book")
    if not isinstance(record, bytes) or len(record) < layout.SNAPSHOT_LEVELS_OFFSET:
        return None
    page = bytes(segment.view(layout.SEGMENT_HEADER_BYTES, segment.data_offset))
    found = page.find(record)
    return None if found < 0 else (layout.SEGMENT_HEADER_BYTES + found, len(record))
