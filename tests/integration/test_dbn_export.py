"""Exports as DBN, read back by Databento's own package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import zstandard

import chronicle
from chronicle.cli.main import run
from chronicle.core.errors import ConfigError
from chronicle.etl import run_shard
from chronicle.feed.replay import replay_capture

package = pytest.importorskip("databento_dbn")

ESM4 = "databento/orderbooks_mbo_2024-05-08T00-00-00_2024-05-08T00-00-02.dbn.zst"
SPOT = "hftbacktest-binance/spot/btcusdt_20240808.gz"


def decoded(data: bytes) -> list[Any]:
    decoder = package.DBNDecoder()
    decoder.write(data)
    return list(decoder.decode())


def of_orders(records: list[Any]) -> list[tuple[object, ...]]:
    """Return what orders say; ts_recv aside, which all records of an event share with us."""
    return [
        (r.ts_event, r.order_id, r.price, r.size, str(r.action), str(r.side), r.sequence)
        for r in records
        if isinstance(r, package.MBOMsg)
    ]


@pytest.mark.data
def test_mbo_goes_in_and_comes_out_the_same(tmp_path: Path, shared_data: Path) -> None:
    home = tmp_path / "home"
    replay_capture(home, [shared_data / ESM4])
    run_shard(home, drain=True)
    with (shared_data / ESM4).open("rb") as file:
        truth = decoded(zstandard.ZstdDecompressor().stream_reader(file).read())
    expected = sorted(of_orders(truth))
    with chronicle.open(home) as store:
        job = store.export_job(tmp_path / "out", None, ("book",), None, None, form="dbn")
        assert job.run().rows == len(expected)
    found: list[tuple[object, ...]] = []
    for path in sorted((tmp_path / "out").rglob("*.dbn")):
        metadata, *records = decoded(path.read_bytes())
        assert str(metadata.schema) == "mbo"
        found += of_orders(records)
        assert [r.ts_recv for r in records] == sorted(r.ts_recv for r in records)
    assert sorted(found) == expected


@pytest.mark.data
def test_levels_trades_and_quotes_are_what_the_store_says(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    replay_capture(home, [shared_data / SPOT])
    run_shard(home, drain=True)
    assert run(["export", str(out), "--format", "dbn", "--home", str(home)]) == 0
    capsys.readouterr()
    files = {path.relative_to(out).parts[0]: decoded(path.read_bytes()) for path in out.rglob("*.dbn")}
    assert set(files) == {"book", "trade", "quote"}
    with chronicle.open(home) as store:
        books = store.books("binance:BTC-USDT", on="event", depth=10, decimals="decimal")
        metadata, *records = files["book"]
        assert str(metadata.schema) == "mbp-10"
        unit = unit_of(metadata)
        assert len(records) == len(books)
        for row in range(0, len(books), 97):
            record, levels = records[row], records[row].levels
            assert record.ts_recv == books.ts_recv[row]
            if books.status[row] == "ok":
                assert [level.bid_px for level in levels] == [int(price * 10**9) for price in books.bid_price[row]]
                assert [level.ask_sz for level in levels] == [int(size / unit) for size in books.ask_size[row]]
        assert {bool(r.flags & 4) for r in records} >= {False}
        for channel, schema in (("trade", "trades"), ("quote", "mbp-1")):
            metadata, *records = files[channel]
            assert str(metadata.schema) == schema
            rows = store.scan("binance:BTC-USDT", channel=channel, decimals="decimal").to_numpy()
            assert [r.ts_recv for r in records] == rows["ts_recv"].tolist()
            unit = unit_of(metadata)
            name = "size" if channel == "trade" else "bid_size"
            sizes = [r.size if channel == "trade" else r.levels[0].bid_sz for r in records]
            assert sizes == [int(size / unit) for size in rows[name]]
    assert run(["export", str(out), "--format", "dbn", "--channel", "candle", "--home", str(home)]) == 0


def unit_of(metadata: Any) -> Any:
    """Return what a size of a file counts, from the end of its symbol."""
    from decimal import Decimal

    _, _, scale = metadata.symbols[0].partition("|size=")
    return Decimal(scale or 1)


def test_candles_are_no_dbn(tmp_path: Path) -> None:
    from chronicle.access.formats.dbn import write_dbn

    with pytest.raises(ConfigError, match="candle"):
        write_dbn(None, "candle", "a:b", 0, 1, tmp_path / "x")  # type: ignore[arg-type]
