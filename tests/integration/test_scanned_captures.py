"""Every captured frame of the scanned venues, through scans and through plain adapters alone: equal records.

And written directly into both queues: equal queues.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from chronicle.core.layout import WireForm
from chronicle.feed.captures.capture import open_capture
from chronicle.feed.marks import START
from tests.support.scanning import CAN_SCAN, Pair
from tests.support.twin_writers import TwinWriters

pytestmark = [pytest.mark.data, pytest.mark.skipif(not CAN_SCAN, reason="this interpreter runs no compiled scans")]

CAPTURES = {
    "hftbacktest-binance/spot/btcusdt_20240808.gz": 0.99,
    "hftbacktest-binance/spot/btcusdt_20240809.gz": 0.99,
    "hftbacktest-binance/usdm/btcusdt_20240808.gz": 0.99,
    "hftbacktest-binance/cm/btcusd_perp_20240808.gz": 0.99,
    "hftbacktest-binance/cm/btcusd_perp_20240809.gz": 0.99,
    "cryptofeed-ws/jsonl/BINANCE.jsonl.zst": 0.9,
    "cryptofeed-ws/jsonl/BINANCE_US.jsonl.zst": 0.9,
    "cryptofeed-ws/jsonl/BINANCE_FUTURES.jsonl.zst": 0.9,
    "cryptofeed-ws/jsonl/BINANCE_DELIVERY.jsonl.zst": 0.9,
    "cryptofeed-ws/jsonl/OKX.jsonl.zst": 0.8,
    "cryptofeed-ws/jsonl/KRAKEN.jsonl.zst": 0.9,
    "cryptofeed-ws/jsonl/BYBIT.jsonl.zst": 0.6,  # its tickers say what changed only: they are for the plain adapter
    "cryptofeed-ws/jsonl/COINBASE.jsonl.zst": 0.8,  # heartbeats and trades are for the plain adapter
    "bybit-ob500/xrpusdt-ob500.data.zip": 0.9,
}
"""The share of received messages that scans must take."""


@pytest.mark.parametrize("name", CAPTURES)
def test_captured_frames_give_the_same_records_with_and_without_scans(shared_data: Path, name: str) -> None:
    capture = open_capture([shared_data / name], None, None)
    pair = Pair(capture.lines, ts_recv=0)
    received = 0
    for frame in capture.frames():
        pair.feed(frame)
        received += frame.form == WireForm.TEXT
    assert pair.scanned >= CAPTURES[name] * received


WRITTEN_FRAMES = 6_000


@pytest.mark.parametrize("name", [name for name in CAPTURES if "0809" not in name])
def test_captured_frames_fill_the_same_queues_directly_and_plainly(
    shared_data: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = open_capture([shared_data / name], None, None)
    twins = TwinWriters(tmp_path, monkeypatch)
    frames = list(islice((frame for frame in capture.frames() if frame.address != START), WRITTEN_FRAMES))
    twins.start(capture.lines, frames[0].ts_recv)
    twins.write(*frames)
    assert twins.scanned > len(frames) // 3
    twins.close()
