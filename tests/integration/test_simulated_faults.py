"""Whatever goes wrong on the way: losses have gaps, recoveries snapshots, and no book is `ok` while it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronicle.feed.simulator import FAULTS
from tests.support.fault_runs import PAIRS, run_with_faults

VENUES = ("kraken", "okx", "binance", "bitget")
"""Those whose books show what is lost; what Coinbase Exchange drops shows in its trades, and their count alone."""
LOSES = {"drop", "reorder", "checksum"}
"""Faults after which a book cannot be known without a new snapshot."""
ENDS_LINE = {"disconnect", "half_open", "giant"}
QUICK = [
    *(("kraken", fault) for fault in FAULTS),
    *(("okx", fault) for fault in ("drop", "reorder", "checksum", "duplicate")),
    *(("binance", fault) for fault in ("drop", "reorder", "duplicate", "disconnect")),
    *(("bitget", fault) for fault in ("drop", "reorder", "checksum", "duplicate")),
    *(("coinbase-exchange", fault) for fault in ("duplicate", "disconnect")),
]
SLOW = [
    (venue, fault)
    for fault in FAULTS
    for venue in VENUES
    if (venue, fault) not in QUICK and (venue, fault) != ("binance", "checksum")  # it sends none
]


@pytest.mark.parametrize(
    ("venue", "fault"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.soak) for case in SLOW)]
)
def test_no_book_is_ok_while_wrong(tmp_path: Path, venue: str, fault: str) -> None:
    count = 1 if fault in LOSES | {"half_open"} else 2  # a book is asked for again after 30 s, which is long here
    pairs = PAIRS[:1] if fault == "reorder" else PAIRS  # messages of two books may change places and nothing is lost
    outcome = run_with_faults(tmp_path, venue, {fault: 0.02}, seed=11, steps=120, limit=count, pairs=pairs)
    assert outcome.faults[fault] == count
    assert outcome.wrong == []
    assert outcome.compared > 40
    assert set(outcome.final.values()) == {"stale"}, "the feed has ended; before that each was ok again"
    assert outcome.report.decode_errors == (2 if fault == "garbage" else 0), outcome.errors
    if fault in LOSES:
        assert outcome.gaps >= 1
        assert outcome.recovered >= outcome.gaps
        assert outcome.snapshots > len(pairs), "one to start each book, one to recover"
        assert outcome.report.resyncs >= 1
    if fault in ENDS_LINE:
        assert outcome.report.failures >= 1
        assert outcome.disconnects == outcome.report.connects, "each line that was up, the last when the feed ended"
        assert outcome.snapshots >= 2 * len(pairs)
    if fault in {"delay", "duplicate"}:
        assert outcome.report.failures == 0


@pytest.mark.soak
@pytest.mark.parametrize("venue", VENUES)
def test_all_faults_together_for_long(tmp_path: Path, venue: str) -> None:
    rates = dict.fromkeys(FAULTS, 0.0005) | {"half_open": 0.0001, "giant": 0.00005}
    outcome = run_with_faults(tmp_path, venue, rates, seed=5, steps=9_000)
    assert outcome.wrong == []
    assert outcome.compared > 1000
    assert sum(outcome.faults.values()) > 50
    first, last = outcome.resident[len(outcome.resident) // 4], outcome.resident[-1]
    assert last - first < 64 << 20, "memory is flat"
