"""Whole captures of each venue through feed and ETL: the venues' own numbers and tickers judge the books."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zstandard

from chronicle.core.decimals import mantissa
from chronicle.core.layout import INT64_MIN, Kind, Origin, Side, VerifiedBy, WireForm
from chronicle.core.local import LocalSource
from chronicle.etl import run_shard
from chronicle.feed.replay import replay_capture
from tests.support.etl_streams import final, follow, kinds, queue_records, status_word

pytestmark = pytest.mark.data


def books(home: Path) -> dict[str, list[str]]:
    """Return for each book queue the status words of its book after every event, each once and in order."""
    found: dict[str, list[str]] = {}
    for queue in LocalSource(home).queues("clean/"):
        if queue.endswith("/book.q"):
            words = [status_word(book, trust) for _, book, trust in follow(queue_records(home, queue))]
            found[queue.removeprefix("clean/").removesuffix("/book.q")] = list(dict.fromkeys(words))
    return found


def raw_kinds(home: Path) -> Counter[str]:
    return Counter(kinds(queue_records(home, "raw/main.q")))


def agreement(home: Path, folder: str) -> tuple[int, int]:
    """Return how often the book after an event equals the quote of the greatest update id not above its own."""
    quotes = [
        (record.sequence, record.fields())
        for record in queue_records(home, f"clean/{folder}/quote.q")
        if record.kind == Kind.QUOTE
    ]
    equal = different = position = 0
    for record, book, trust in follow(queue_records(home, f"clean/{folder}/book.q")):
        joined = record.kind == Kind.BOOK_SNAPSHOT and record.fields()["origin"] == Origin.VENUE
        if not trust.started or not (joined or record.kind == Kind.BOOK_DELTA):
            continue
        while position + 1 < len(quotes) and quotes[position + 1][0] <= record.sequence:
            position += 1
        sequence, quote = quotes[position]
        if sequence <= record.sequence:
            same = (book.best_bid, book.best_ask) == quote_levels(quote)
            equal, different = equal + same, different + (not same)
    return equal, different


def quote_levels(quote: dict[str, Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    return (quote["bid_price"], quote["bid_size"]), (quote["ask_price"], quote["ask_size"])


# --- Binance futures ---------------------------------------------------------------------------------------------


def test_usdm_book_equals_the_book_ticker_after_every_diff(shared_data: Path, tmp_path: Path) -> None:
    replay_capture(tmp_path, [shared_data / "hftbacktest-binance" / "usdm" / "btcusdt_20240808.gz"])
    run_shard(tmp_path, drain=True)
    assert agreement(tmp_path, "binance-usdm/btc_usdt_perp") == (6546, 0)
    assert raw_kinds(tmp_path)["TRADE"] == 21_313


def test_coinm_book_goes_on_over_midnight_and_equals_the_book_ticker(shared_data: Path, tmp_path: Path) -> None:
    for day in ("20240808", "20240809"):  # two commands: the second day holds no snapshot
        replay_capture(tmp_path, [shared_data / "hftbacktest-binance" / "cm" / f"btcusd_perp_{day}.gz"])
        run_shard(tmp_path, drain=True)
    assert "GAP" not in kinds(queue_records(tmp_path, "clean/binance-coinm/btc_usd_perp/book.q"))
    # 44,795 diffs: 23 lie before the snapshot, two are joined to it
    assert agreement(tmp_path, "binance-coinm/btc_usd_perp") == (44_771, 0)


def test_usdm_with_a_diff_removed_is_in_gap_from_there_on(shared_data: Path, tmp_path: Path) -> None:
    with gzip.open(shared_data / "hftbacktest-binance" / "usdm" / "btcusdt_20240808.gz", "rb") as file:
        lines = file.readlines()[:20_000]
    depth = [number for number, line in enumerate(lines) if b"@depth@0ms" in line]
    del lines[depth[len(depth) // 2]]
    capture = tmp_path / "btcusdt_20240808.gz"
    with gzip.open(capture, "wb", compresslevel=1) as target:
        target.writelines(lines)
    home = tmp_path / "home"
    replay_capture(home, [capture])
    report = run_shard(home, drain=True)
    assert report.counts["gaps"] == 1
    assert books(home)["binance-usdm/btc_usdt_perp"] == ["unverified", "ok", "gap"]


@pytest.mark.parametrize(
    ("name", "venue", "symbols", "frames", "quotes"),
    [
        ("BINANCE_FUTURES", "binance-usdm", 4, 1535, 613),
        ("BINANCE_DELIVERY", "binance-coinm", 10, 4371, 2240),
        ("BINANCE_US", "binance-us", 4, 480, 128),
    ],
)
def test_binance_markets_keep_their_chains(
    shared_data: Path, tmp_path: Path, name: str, venue: str, symbols: int, frames: int, quotes: int
) -> None:
    replay = replay_capture(tmp_path, [shared_data / "cryptofeed-ws" / "jsonl" / f"{name}.jsonl.zst"])
    report = run_shard(tmp_path, drain=True)
    assert (replay.decode_errors, report.counts.get("gaps", 0)) == (0, 0)
    assert replay.frames > frames
    found = books(tmp_path)
    assert len(found) == symbols
    assert all(folder.startswith(f"{venue}/") for folder in found)
    assert all(words == ["unverified", "ok", "stale"] for words in found.values()), found
    assert raw_kinds(tmp_path)["QUOTE"] == quotes


# --- Bybit -------------------------------------------------------------------------------------------------------


def levels_without_cut(home: Path) -> Counter[tuple[int, int]]:
    """Apply the raw book messages with no cut to the depth; return how often a book had (bids, asks) levels."""
    found: Counter[tuple[int, int]] = Counter()
    sides: dict[int, tuple[dict[int, int], dict[int, int]]] = {}
    for record in queue_records(home, "raw/main.q"):
        if record.kind == Kind.BOOK_SNAPSHOT:
            fields = record.fields()
            sides[record.instrument] = dict(fields["bids"]), dict(fields["asks"])
        elif record.kind == Kind.BOOK_DELTA:
            fields = record.fields()
            side = sides[record.instrument][record.side == Side.ASK]
            side.pop(fields["price"], None)
            if fields["size"]:
                side[fields["price"]] = fields["size"]
        if record.kind in (Kind.BOOK_SNAPSHOT, Kind.BOOK_DELTA) and record.is_last:
            bids, asks = sides[record.instrument]
            found[len(bids), len(asks)] += 1
    return found


def test_bybit_books_stay_in_sequence_and_exactly_as_deep_as_subscribed(shared_data: Path, tmp_path: Path) -> None:
    replay = replay_capture(tmp_path, [shared_data / "cryptofeed-ws" / "jsonl" / "BYBIT.jsonl.zst"])
    report = run_shard(tmp_path, drain=True)
    assert (replay.decode_errors, report.counts.get("gaps", 0), report.counts.get("dropped", 0)) == (0, 0, 0)
    assert levels_without_cut(tmp_path) == {(200, 200): 2148}, "the venue itself removes what falls out of the depth"
    assert set(books(tmp_path)) == {
        *("bybit/btc_usdt", "bybit/eth_usdt", "bybit/btc_usdt_perp", "bybit/eth_usdt_perp"),
        *("bybit/sol_usdt_perp", "bybit/doge_usdt_perp"),
    }
    assert all(words[-2:] == ["ok", "stale"] for words in books(tmp_path).values())
    assert (raw_kinds(tmp_path)["TRADE"], raw_kinds(tmp_path)["QUOTE"]) == (347, 638)


def test_bybit_download_is_one_unbroken_book(shared_data: Path, tmp_path: Path) -> None:
    replay = replay_capture(tmp_path, [shared_data / "bybit-ob500" / "xrpusdt-ob500.data.zip"])
    report = run_shard(tmp_path, drain=True)
    assert (replay.format, replay.decode_errors, report.counts.get("gaps", 0)) == ("bybit", 0, 0)
    assert levels_without_cut(tmp_path) == {(500, 500): 50}
    assert books(tmp_path) == {"bybit/xrp_usdt_perp": ["unverified", "ok", "stale"]}


def test_bybit_download_without_one_line_is_in_gap(shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "bybit-ob500" / "xrpusdt-ob500.data.zip") as archive:
        (name,) = archive.namelist()
        lines = archive.read(name).splitlines(keepends=True)
    capture = tmp_path / "xrpusdt.zip"
    with zipfile.ZipFile(capture, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"".join(lines[:20] + lines[21:]))
    home = tmp_path / "home"
    replay_capture(home, [capture])
    run_shard(home, drain=True)
    assert books(home) == {"bybit/xrp_usdt_perp": ["unverified", "ok", "gap"]}
    (gap,) = [record for record in queue_records(home, "clean/bybit/xrp_usdt_perp/book.q") if record.kind == Kind.GAP]
    assert gap.fields()["first_missing"] == gap.fields()["last_missing"] == json.loads(lines[20])["data"]["u"]


# --- Coinbase ----------------------------------------------------------------------------------------------------


def test_coinbase_connection_has_no_hole(shared_data: Path, tmp_path: Path) -> None:
    replay = replay_capture(tmp_path, [shared_data / "cryptofeed-ws" / "jsonl" / "COINBASE.jsonl.zst"])
    report = run_shard(tmp_path, drain=True)
    assert (replay.decode_errors, report.counts.get("gaps", 0), report.counts.get("dropped", 0)) == (0, 0, 0)
    assert set(books(tmp_path)) == {"coinbase/btc_usd", "coinbase/eth_usd"}
    assert all(words == ["unverified", "ok", "stale"] for words in books(tmp_path).values())
    found = raw_kinds(tmp_path)
    assert (found["BOOK_SNAPSHOT"], found["QUOTE"], found["TRADE"]) == (2, 160, 279)


def test_coinbase_hole_of_any_message_puts_every_book_of_the_connection_in_gap(
    shared_data: Path, tmp_path: Path
) -> None:
    with zstandard.open(shared_data / "cryptofeed-ws" / "jsonl" / "COINBASE.jsonl.zst", "rt") as file:
        lines = file.readlines()
    (number,) = [at for at, line in enumerate(lines) if '\\"sequence_num\\":75,' in line]
    assert "heartbeats" in lines[number], "not even a message of a book"
    del lines[number]
    capture = tmp_path / "COINBASE.jsonl"
    capture.write_text("".join(lines))
    home = tmp_path / "home"
    replay_capture(home, [capture])
    report = run_shard(home, drain=True)
    assert report.counts["gaps"] == 2
    for folder, words in books(home).items():
        assert words == ["unverified", "ok", "gap"]
        gaps = [record for record in queue_records(home, f"clean/{folder}/book.q") if record.kind == Kind.GAP]
        assert [(gap.fields()["first_missing"], gap.fields()["last_missing"]) for gap in gaps] == [(75, 75)]


def test_coinbase_exchange_books_equal_every_ticker(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "cryptofeed-ws" / "raw-text"
    replay = replay_capture(tmp_path, [folder / "COINBASE.0.zst", folder / "COINBASE.ws.28.0.zst"])
    report = run_shard(tmp_path, drain=True)
    assert (replay.decode_errors, report.counts) == (0, {})
    found = books(tmp_path)
    assert len(found) == 10
    assert all(words == ["unverified", "ok", "stale"] for words in found.values()), found
    tickers: dict[str, list[dict[str, Any]]] = {}
    for record in queue_records(tmp_path, "wire/main.q"):
        fields = record.fields()
        if fields["form"] == WireForm.TEXT and b'"type":"ticker"' in fields["payload"]:
            ticker = json.loads(fields["payload"])
            if ticker["time"] > "2021-04-17T16:43:37.1":  # those before tell of the time before the subscription
                own = tickers.setdefault(ticker["product_id"].lower().replace("-", "_"), [])
                own.append(ticker | {"ts_recv": record.ts_recv})
    assert sum(map(len, tickers.values())) == 96
    for name, wanted in tickers.items():
        records = queue_records(tmp_path, f"clean/coinbase-exchange/{name}/book.q")
        exponent = max(record.fields()["price_exponent"] for record in records if record.kind == Kind.INSTRUMENT)
        steps = follow(records)
        best: tuple[Any, Any] = (None, None)
        ahead = next(steps, None)
        for ticker in wanted:
            while ahead is not None and ahead[0].ts_recv < ticker["ts_recv"]:
                best = ahead[1].best_bid, ahead[1].best_ask
                ahead = next(steps, None)
            said = [mantissa(ticker[side], exponent) for side in ("best_bid", "best_ask")]
            assert [level[0] for level in best] == said, (name, ticker)


def test_coinbase_exchange_without_a_match_doubts_every_book_of_the_connection(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "cryptofeed-ws" / "raw-text"
    with zstandard.open(folder / "COINBASE.ws.28.0.zst", "rt", encoding="utf-8", newline="\n") as file:
        lines = file.readlines()
    matches = [at for at, line in enumerate(lines) if '"type":"match"' in line and "SKL-USD" in line]
    del lines[matches[len(matches) // 2]]
    capture = tmp_path / "COINBASE.ws.28.0"
    capture.write_text("".join(lines), encoding="utf-8", newline="")
    home = tmp_path / "home"
    replay_capture(home, [capture])
    report = run_shard(home, drain=True)
    assert report.counts["gaps"] == 10
    assert {words[-1] for words in books(home).values()} == {"gap"}


# --- Bitget ------------------------------------------------------------------------------------------------------


def test_all_bitget_checksums_hold(shared_data: Path, tmp_path: Path) -> None:
    replay = replay_capture(tmp_path, [shared_data / "cryptofeed-ws" / "jsonl" / "BITGET.jsonl.zst"])
    report = run_shard(tmp_path, drain=True)
    assert replay.decode_errors == 0
    assert report.counts == {"checks_passed": 443 + 194}
    assert len(books(tmp_path)) == 10
    assert all(words[-2:] == ["ok", "stale"] for words in books(tmp_path).values())


# --- Kraken Futures, KuCoin, Deribit ------------------------------------------------------------------------------


def test_kraken_futures_books_keep_their_count(shared_data: Path, tmp_path: Path) -> None:
    replay = replay_capture(tmp_path, [shared_data / "cryptofeed-ws" / "jsonl" / "KRAKEN_FUTURES.jsonl.zst"])
    report = run_shard(tmp_path, drain=True)
    assert (replay.decode_errors, report.counts) == (0, {})
    found = books(tmp_path)
    assert len(found) == 10
    assert all(words == ["unverified", "ok", "stale"] for words in found.values()), found
    assert (raw_kinds(tmp_path)["BOOK_DELTA"], raw_kinds(tmp_path)["TRADE"]) == (7014, 1003)


def kucoin_agreement(home: Path) -> dict[str, tuple[int, int]]:
    """Return for each symbol how often the book at a ticker's own sequence equals the ticker, and how often not."""
    found = {}
    for folder in books(home):
        quotes = {
            record.sequence: quote_levels(record.fields())
            for record in queue_records(home, f"clean/{folder}/quote.q")
            if record.kind == Kind.QUOTE
        }
        equal = different = 0
        for record, book, trust in follow(queue_records(home, f"clean/{folder}/book.q")):
            if record.kind == Kind.BOOK_DELTA and trust.steady and record.sequence in quotes:
                same = (book.best_bid, book.best_ask) == quotes[record.sequence]
                equal, different = equal + same, different + (not same)
        found[folder.removeprefix("kucoin/")] = equal, different
    return found


def test_kucoin_books_join_their_snapshots_and_equal_the_ticker(shared_data: Path, tmp_path: Path) -> None:
    replay = replay_capture(tmp_path, [shared_data / "cryptofeed-ws" / "jsonl" / "KUCOIN.jsonl.zst"])
    report = run_shard(tmp_path, drain=True)
    assert (replay.decode_errors, report.counts.get("gaps", 0)) == (0, 0)
    found = kucoin_agreement(tmp_path)
    assert found.pop("ltx_usdt") == (0, 0), "it was subscribed and sent nothing"
    assert len(found) == 9
    assert sum(different for _, different in found.values()) == 0
    assert found["fet_btc"][0] >= 100
    assert sum(equal for equal, _ in found.values()) >= 750


def test_kucoin_message_lost_behind_the_snapshot_is_a_book_out_of_sync(shared_data: Path, tmp_path: Path) -> None:
    with zstandard.open(shared_data / "cryptofeed-ws" / "jsonl" / "KUCOIN.jsonl.zst", "rt") as file:
        lines = [line for line in file if '\\"sequenceEnd\\":1612712745583}' not in line]
    capture = tmp_path / "KUCOIN.jsonl"
    capture.write_text("".join(lines))
    home = tmp_path / "home"
    replay_capture(home, [capture])
    report = run_shard(home, drain=True)
    assert report.counts["gaps"] == 1
    assert books(home)["kucoin/fet_btc"] == ["unverified", "ok", "gap"]
    (gap,) = [record for record in queue_records(home, "clean/kucoin/fet_btc/book.q") if record.kind == Kind.GAP]
    assert gap.fields()["first_missing"] == gap.fields()["last_missing"] == 1612712745583


def test_deribit_books_chain_and_end_as_their_last_tickers(shared_data: Path, tmp_path: Path) -> None:
    replay = replay_capture(tmp_path, [shared_data / "cryptofeed-ws" / "jsonl" / "DERIBIT.jsonl.zst"])
    report = run_shard(tmp_path, drain=True)
    assert (replay.decode_errors, report.counts) == (0, {})
    found = books(tmp_path)
    assert len(found) == 10
    assert all(words == ["unverified", "ok", "stale"] for words in found.values()), found
    assert raw_kinds(tmp_path)["BOOK_DELTA"] == 41
    assert raw_kinds(tmp_path)["QUOTE"] == 89
    for folder in found:
        book, _ = final(queue_records(tmp_path, f"clean/{folder}/book.q"))
        quotes = [
            record for record in queue_records(tmp_path, f"clean/{folder}/quote.q") if record.kind == Kind.QUOTE
        ]
        best = book.best_bid or (INT64_MIN, 0), book.best_ask or (INT64_MIN, 0)
        assert best == quote_levels(quotes[-1].fields()), folder


# --- Bitfinex, BitMEX --------------------------------------------------------------------------------------------


def test_bitfinex_connection_has_no_hole(shared_data: Path, tmp_path: Path) -> None:
    replay = replay_capture(tmp_path, [shared_data / "cryptofeed-ws" / "jsonl" / "BITFINEX.jsonl.zst"])
    report = run_shard(tmp_path, drain=True)
    assert (replay.decode_errors, report.counts) == (0, {})
    found = books(tmp_path)
    assert len(found) == 7
    assert all(words[-2:] == ["ok", "stale"] for words in found.values()), found
    deepest = max(max(counts) for counts in levels_without_cut(tmp_path))
    assert deepest == 101, "the venue itself removes what falls out of the depth, in a message of its own"


def test_bitmex_books_end_as_their_last_quotes(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "cryptofeed-ws" / "raw-text"
    replay = replay_capture(tmp_path, [folder / "BITMEX.0.zst", folder / "BITMEX.ws.1.0.zst"])
    report = run_shard(tmp_path, drain=True)
    assert (replay.decode_errors, report.counts) == (0, {})
    assert len(books(tmp_path)) == 10
    different = []
    for path in books(tmp_path):
        book, trust = final(queue_records(tmp_path, f"clean/{path}/book.q"))
        quotes = [record for record in queue_records(tmp_path, f"clean/{path}/quote.q") if record.kind == Kind.QUOTE]
        assert trust.verified_by == VerifiedBy.NOTHING
        if (book.best_bid, book.best_ask) != quote_levels(quotes[-1].fields()):
            different.append(path)
            book_records = queue_records(tmp_path, f"clean/{path}/book.q")
            last = max(record.ts_recv for record in book_records if record.kind == Kind.BOOK_DELTA)
            assert last > quotes[-1].ts_recv, "the book changed after its last quote (quotes come once a second)"
    assert different == ["bitmex/trx_usdt_perp"]


# --- Gate.io -----------------------------------------------------------------------------------------------------


def test_gateio_books_join_their_snapshots_and_stay_in_sequence(shared_data: Path, tmp_path: Path) -> None:
    replay = replay_capture(tmp_path, [shared_data / "cryptofeed-ws" / "jsonl" / "GATEIO.jsonl.zst"])
    report = run_shard(tmp_path, drain=True)
    assert (replay.decode_errors, report.counts.get("gaps", 0)) == (0, 0)
    found = books(tmp_path)
    assert len(found) == 10
    assert all(words == ["unverified", "ok", "stale"] for words in found.values()), found
    assert raw_kinds(tmp_path)["BOOK_SNAPSHOT"] == 10
    _, trust = final(queue_records(tmp_path, "clean/gateio/neo_btc/book.q"))
    assert trust.verified_by == VerifiedBy.SEQUENCE


def test_gateio_without_one_message_is_in_gap(shared_data: Path, tmp_path: Path) -> None:
    with zstandard.open(shared_data / "cryptofeed-ws" / "jsonl" / "GATEIO.jsonl.zst", "rt", encoding="utf-8") as file:
        lines = file.readlines()
    diffs = [
        at
        for at, line in enumerate(lines)
        if "order_book_update" in line and "OMG_USDT" in line and '\\"U\\"' in line
    ]
    del lines[diffs[20]]
    capture = tmp_path / "GATEIO.jsonl"
    capture.write_text("".join(lines), encoding="utf-8")
    home = tmp_path / "home"
    replay_capture(home, [capture])
    report = run_shard(home, drain=True)
    assert report.counts["gaps"] == 1
    assert books(home)["gateio/omg_usdt"] == ["unverified", "ok", "gap"]
