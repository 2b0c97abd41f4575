"""A book queue in which everything happens that can: gaps, lost lines, checks, snapshots, a redefinition."""

from __future__ import annotations

import random
from pathlib import Path

from chronicle.core.layout import Cause, StatusCode, Verdict
from tests.support.home_builder import CleanQueue, definition

START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


def eventful(
    home: Path,
    seed: int,
    *,
    steps: int = 600,
    checks: bool = False,
    lane: int = 0,
    at: int = START,
    symbol: str = "kraken:BTC-EUR",
) -> int:
    """Write a queue with everything that can happen; return the time of its last event."""
    rng = random.Random(seed)
    fields = definition(symbol, check_rule=int(checks), book_depth=8 if checks else 0)
    clean = CleanQueue(home, symbol, fields=fields, lane=lane, segment_bytes=1 << 16)
    clean.define(at)
    ts = at + 10
    clean.deltas(ts, ("bid", 9000, 1))
    clean.venue_snapshot(ts, [(9990 - n, 3) for n in range(6)], [(10010 + n, 4) for n in range(6)])
    good = ts
    scale = 1
    for step in range(steps):
        ts += rng.choice([0, 1, 50, 400_000_000])
        roll = rng.random()
        if roll < 0.02:
            clean.gap_open(ts, good, Cause.SEQUENCE)
            clean.deltas(ts, ("bid", 9990 * scale, rng.randrange(5)))
            ts += 30
            clean.deltas(ts, ("bid", 9991 * scale, rng.randrange(5)))
            clean.gap_closed(ts + 5, good)
            ts += 5
            clean.venue_snapshot(ts, [(9990 * scale, 3)], [(10010 * scale, 4)])
        elif roll < 0.03:
            ts += 1
            clean.status(ts, StatusCode.DISCONNECTED)
            ts += 2 * SECOND
            clean.venue_snapshot(ts, [(9980 * scale, 3)], [(10020 * scale, 4)])
        elif roll < 0.06:
            clean.etl_snapshot(ts)
            clean.order(ts, "bid", step, 9990 * scale, 1)
        elif roll < 0.065 and scale == 1:
            scale = 10
            changed = definition(symbol, check_rule=int(checks), book_depth=fields.book_depth, price_exponent=3)
            clean.redefine(ts, changed)
            clean.deltas(ts, ("ask", 10011 * scale, 1))
        else:
            changes = [
                (rng.choice(["bid", "ask"]), rng.randrange(9970, 10030) * scale, rng.randrange(4))
                for _ in range(rng.randrange(1, 5))
            ]
            clean.deltas(ts, *changes, check=Verdict.PASSED if checks else None)
        good = ts
    clean.close(seal=seed % 2 == 0)
    return ts
