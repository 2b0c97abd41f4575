"""One event as hftbacktest has it: its fields, and the bits of ``ev`` (hftbacktest.types, v2)."""

from __future__ import annotations

import numpy as np

__all__ = ["BUY", "DEPTH", "DEPTH_CLEAR", "DEPTH_SNAPSHOT", "EVENT_DTYPE", "EXCH", "LOCAL", "SELL", "TRADE"]

DEPTH, TRADE, DEPTH_CLEAR, DEPTH_SNAPSHOT = 1, 2, 3, 4
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
EVENT_DTYPE = np.dtype(
    [
        ("ev", "<u8"),
        ("exch_ts", "<i8"),
        ("local_ts", "<i8"),
        ("px", "<f8"),
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ]
)
