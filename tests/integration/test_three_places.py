"""A book at T is the same from the open queue, from the sealed queue and from the archive, and after a rebuild."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import pytest

import chronicle
from chronicle.core.compare import compare_queue
from chronicle.core.layout import SegmentState
from chronicle.core.local import LocalSource
from chronicle.etl import rebuild, run_shard
from chronicle.etl.shards.report import EtlReport
from chronicle.feed.replay import replay_capture
from chronicle.storage.stores.source import open_source
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy

pytestmark = pytest.mark.data

CAPTURES = {
    "kraken": ["cryptofeed-ws/raw-text/KRAKEN.0.zst", "cryptofeed-ws/raw-text/KRAKEN.ws.50.0.zst"],
    "okx": ["cryptofeed-ws/jsonl/OKX.jsonl.zst"],
    "okex lines": [f"cryptofeed-ws/raw-text-2021-07-22/OKEX.ws.{line}.0.zst" for line in (1, 2, 3)],
    "binance": ["cryptofeed-ws/jsonl/BINANCE.jsonl.zst"],
    "spot": [f"hftbacktest-binance/spot/btcusdt_2024080{day}.gz" for day in (8, 9)],
    "lobster": ["lobster/LOBSTER_SampleFile_AMZN_2012-06-21_1.zip"],
}
SAMPLES = 15


def run_live(home: Path) -> None:
    """Run a shard as `chronicle etl run` does, until it has caught up; nothing is sealed."""
    stop = Event()

    def caught_up(report: EtlReport) -> None:
        if report.lanes and all(lane.lag_records == 0 for lane in report.lanes):
            stop.set()

    run_shard(home, stop=stop, progress=caught_up)


def answers(place: Path) -> list[Any]:
    """Books of every instrument at many moments, without what depends on the place."""
    found: list[Any] = []
    with chronicle.open(place) as store:
        for row in store.instruments():
            if "book" not in row.channels:
                continue
            covered = store.coverage(row.symbol, "book")
            step = max(1, (covered.ts_last - covered.ts_first) // SAMPLES)
            for at in range(covered.ts_first - step, covered.ts_last + 2 * step, step):
                book = store.book(row.symbol, at=at, depth=25)
                values = book.to_dict()
                values["source"].pop("place", None)
                found.append((at, values, book.verified_by, book.snapshot_age_ns, book.complete_range))
    return found


@pytest.mark.parametrize("capture", CAPTURES)
def test_books_are_the_same_open_sealed_archived_and_rebuilt(capture: str, shared_data: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    replay_capture(home, [shared_data / name for name in CAPTURES[capture]])
    run_live(home)
    source = LocalSource(home)
    tails = [source.segments(queue)[-1].state for queue in source.queues("clean/")]
    assert set(tails) == {SegmentState.OPEN}
    from_open = answers(home)
    assert from_open

    run_shard(home, drain=True)
    states = {segment.state for queue in source.queues("clean/") for segment in source.segments(queue)}
    assert states == {SegmentState.SEALED}
    assert answers(home) == from_open

    rebuild(home, tmp_path / "again")
    run_once(home, default_policy(home), everything=True)
    assert not [queue for queue in source.queues("clean/") if source.segments(queue)]
    assert answers(home) == from_open
    assert answers(home / "archive") == from_open

    tiers, again = open_source(home), LocalSource(tmp_path / "again")
    queues = tiers.queues("clean/")
    assert queues == again.queues("clean/")
    assert [compare_queue(tiers, again, queue) for queue in queues] == [None] * len(queues)
