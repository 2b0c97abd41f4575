"""The ETL over recorded captures: what the venues' own checksums, tickers and rows say about its books."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from chronicle.core.compare import compare_queue
from chronicle.core.layout import Kind, Origin, Verdict
from chronicle.core.local import LocalSource
from chronicle.etl import EtlConfig, rebuild, run_shard
from chronicle.feed.replay import replay_capture
from tests.support.etl_streams import follow, kinds, queue_records, status_word

pytestmark = pytest.mark.data


def _kraken(shared_data: Path) -> list[Path]:
    folder = shared_data / "cryptofeed-ws" / "raw-text"
    return [folder / "KRAKEN.0.zst", *sorted(folder.glob("KRAKEN.ws.*"))]


def _verdicts(home: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for queue in LocalSource(home).queues("clean/"):
        for record in queue_records(home, queue):
            if record.kind == Kind.CHECK:
                name = Verdict(record.fields()["verdict"]).name
                counts[name] = counts.get(name, 0) + 1
    return counts


def test_all_kraken_checksums_hold(shared_data: Path, tmp_path: Path) -> None:
    replay_capture(tmp_path, _kraken(shared_data))
    report = run_shard(tmp_path, drain=True)
    assert _verdicts(tmp_path) == {"PASSED": 4269}
    assert report.counts == {"checks_passed": 4269}
    for queue in LocalSource(tmp_path).queues("clean/kraken/"):
        if queue.endswith("/book.q"):
            words = [status_word(book, trust) for _, book, trust in follow(queue_records(tmp_path, queue))]
            assert words[-1] == "stale", "the capture ended with a disconnect"
            assert set(words) <= {"unverified", "ok", "stale"}


def test_an_altered_kraken_record_fails_its_check_and_the_book_stays_in_gap(
    shared_data: Path, tmp_path: Path
) -> None:
    source = next((shared_data / "cryptofeed-ws" / "raw-text").glob("KRAKEN.ws.50.*"))
    with source.open("rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file).read().decode()
    lines = text.splitlines(keepends=True)
    number, altered, pair = next(
        (number, _with_other_volume(line), json.loads(line.partition(": ")[2])[-1])
        for number, line in enumerate(lines)
        if number > 2000 and '"c":"' in line and '"a":[[' in line and '"r"' not in line
    )
    lines[number] = altered
    capture = tmp_path / "KRAKEN.ws.50.0"
    capture.write_text("".join(lines))
    home = tmp_path / "home"
    replay_capture(home, [shared_data / "cryptofeed-ws" / "raw-text" / "KRAKEN.0.zst", capture], format="cryptofeed")
    run_shard(home, drain=True)
    verdicts = _verdicts(home)
    assert verdicts["FAILED"] >= 1
    broken = []
    for queue in LocalSource(home).queues("clean/kraken/"):
        records = queue_records(home, queue)
        gaps = [record for record in records if record.kind == Kind.GAP]
        if gaps:
            broken.append(queue)
            assert len(gaps) == 1, "one episode, one GAP"
            words = [(record.index, status_word(book, trust)) for record, book, trust in follow(records)]
            assert {word for index, word in words if index > gaps[0].index} == {"gap"}
            assert "ok" in {word for index, word in words if index < gaps[0].index}
            last_good = gaps[0].fields()["last_good_ts"]
            passed = [
                record.ts_recv
                for record in records
                if record.kind == Kind.CHECK
                and record.index < gaps[0].index
                and record.fields()["verdict"] == Verdict.PASSED
            ]
            assert last_good == passed[-1]
    assert len(broken) == 1, (broken, pair)


def _with_other_volume(line: str) -> str:
    """Change the first ask's volume by its last digit that is not zero."""
    head, mark, tail = line.partition('"a":[["')
    price, comma, rest = tail.partition('","')
    volume, quote, end = rest.partition('"')
    digit = "2" if volume[0] == "1" else "1"
    return head + mark + price + comma + digit + volume[1:] + quote + end


def test_all_okx_checksums_hold(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "cryptofeed-ws" / "raw-text"
    replay_capture(tmp_path, [folder / "OKX.0.zst", folder / "OKX.ws.1.0.zst"])
    run_shard(tmp_path, drain=True)
    assert _verdicts(tmp_path) == {"PASSED": 290}


def test_three_redundant_lines_pass_all_checks_in_lanes_of_their_own(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "cryptofeed-ws" / "raw-text-2021-07-22"
    replay_capture(tmp_path, sorted(folder.glob("OKEX*")))
    run_shard(tmp_path, drain=True)
    assert _verdicts(tmp_path) == {"PASSED": 1504 + 1446 + 1422}
    books = [queue for queue in LocalSource(tmp_path).queues("clean/okx/") if "/book" in queue]
    lanes = {queue.rsplit("/", 1)[1] for queue in books}
    assert lanes == {"book.q", "book@1000.q", "book@2000.q"}


def _spot(shared_data: Path) -> list[Path]:
    folder = shared_data / "hftbacktest-binance" / "spot"
    return [folder / "btcusdt_20240808.gz", folder / "btcusdt_20240809.gz"]


BTC = "clean/binance/btc_usdt/book.q"


def test_binance_over_midnight_has_no_gap_and_equals_the_book_ticker(shared_data: Path, tmp_path: Path) -> None:
    for path in _spot(shared_data):
        replay_capture(tmp_path, [path])  # two commands: the second day holds no snapshot
        run_shard(tmp_path, drain=True)
    records = queue_records(tmp_path, BTC)
    assert "GAP" not in kinds(records)
    tickers = [
        (record.sequence, record.ts_recv, record.fields())
        for record in queue_records(tmp_path, "clean/binance/btc_usdt/quote.q")
        if record.kind == Kind.QUOTE
    ]
    equal = different = 0
    position = 0
    for record, book, trust in follow(records):
        joined = record.kind == Kind.BOOK_SNAPSHOT and record.fields()["origin"] == Origin.VENUE
        if not trust.started or not (joined or record.kind == Kind.BOOK_DELTA):
            continue
        assert trust.status(crossed=book.crossed()).name == "OK"
        while position + 1 < len(tickers) and tickers[position + 1][0] <= record.sequence:
            position += 1
        ticker = tickers[position][2]
        if tickers[position][0] > record.sequence:
            continue
        best = ((ticker["bid_price"], ticker["bid_size"]), (ticker["ask_price"], ticker["ask_size"]))
        equal, different = (
            (equal + 1, different) if (book.best_bid, book.best_ask) == best else (equal, different + 1)
        )
    assert (equal, different) == (6491, 2)


def test_binance_with_a_depth_line_removed_is_in_gap_from_there_on(shared_data: Path, tmp_path: Path) -> None:
    with gzip.open(_spot(shared_data)[0], "rb") as file:
        lines = file.readlines()
    depth = [number for number, line in enumerate(lines) if b"@depth@100ms" in line]
    removed = depth[len(depth) // 2]
    lost_ts = int(lines[removed].split()[0])
    del lines[removed]
    capture = tmp_path / "btcusdt_20240808.gz"
    with gzip.open(capture, "wb", compresslevel=1) as target:
        target.writelines(lines)
    home = tmp_path / "home"
    replay_capture(home, [capture], format="hftbacktest")
    run_shard(home, drain=True)
    records = queue_records(home, BTC)
    gaps = [record for record in records if record.kind == Kind.GAP]
    assert len(gaps) == 1
    fields = gaps[0].fields()
    assert fields["last_good_ts"] < lost_ts < gaps[0].ts_recv
    assert fields["first_missing"] <= fields["last_missing"]
    words = {record.index: status_word(book, trust) for record, book, trust in follow(records)}
    assert {word for index, word in words.items() if index >= gaps[0].index} == {"gap"}
    assert "ok" in {word for index, word in words.items() if index < gaps[0].index}


def test_lobster_book_equals_every_row(shared_data: Path, tmp_path: Path) -> None:
    import zipfile

    path = shared_data / "lobster" / "LOBSTER_SampleFile_AMZN_2012-06-21_5.zip"
    replay_capture(tmp_path, [path])
    run_shard(tmp_path, drain=True)
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if "orderbook" in name)
        rows = archive.read(name).decode("ascii").splitlines()
    events = (
        (record, book)
        for record, book, _ in follow(queue_records(tmp_path, "clean/nasdaq/amzn/book.q"))
        if record.ordinal == 0 or record.kind != Kind.BOOK_SNAPSHOT
    )
    compared = 0
    wanted = iter(rows)
    for record, book in events:
        if record.kind in (Kind.INSTRUMENT, Kind.STATUS) or record.source_index < 0:
            continue
        if record.kind == Kind.BOOK_SNAPSHOT and record.fields()["origin"] == Origin.ETL:
            continue
        row = [int(text) for text in next(wanted).split(",")]
        asks = [(row[at], row[at + 1]) for at in range(0, len(row), 4) if row[at] != 9999999999]
        bids = [(row[at], row[at + 1]) for at in range(2, len(row), 4) if row[at] != -9999999999]
        assert book.depth(5) == (bids, asks), compared
        compared += 1
    assert compared == len(rows) == 155_935


def test_a_rebuild_equals_the_first_run(shared_data: Path, tmp_path: Path) -> None:
    home, into = tmp_path / "home", tmp_path / "again"
    replay_capture(home, _kraken(shared_data))
    config = EtlConfig(snapshot_deltas=64, snapshot_interval_ns=1_000_000_000)
    run_shard(home, drain=True, config=config, window_bytes=64 * 1024)
    rebuild(home, into, config=config)
    queues = LocalSource(home).queues("clean/")
    assert queues == LocalSource(into).queues("clean/")
    for queue in queues:
        assert compare_queue(LocalSource(home), LocalSource(into), queue) is None
