"""Captures are read as they were recorded: every frame once, verbatim, in the order of ts_recv."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import zstandard

from chronicle.core.errors import ConfigError, DecodeError, NotFoundError
from chronicle.core.layout import WireForm
from chronicle.core.times import parse_time
from chronicle.feed.adapter import Frame
from chronicle.feed.captures import detect_format, open_capture
from chronicle.feed.captures.names import connection_name, natural_key, venue_of_address
from chronicle.feed.captures.text import read_lines


def received(frames: list[Frame]) -> list[tuple[int, int, bytes]]:
    return [
        (frame.ts_recv, frame.connection, frame.payload)
        for frame in frames
        if frame.form in (WireForm.TEXT, WireForm.BINARY)
    ]


@pytest.mark.parametrize(
    ("exchange", "count"), [("KRAKEN", 4430), ("OKX", 410), ("BINANCE", 265), ("HUOBI", 362), ("BINANCE_US", 480)]
)
def test_both_cryptofeed_forms_give_the_same_received_frames(shared_data: Path, exchange: str, count: int) -> None:
    folder = shared_data / "cryptofeed-ws"
    texts = list((folder / "raw-text").glob(f"{exchange}.*"))
    from_text = open_capture(texts)
    from_json = open_capture([folder / "jsonl" / f"{exchange}.jsonl.zst"])
    assert from_text.format == from_json.format == "cryptofeed"
    assert [line.name for line in from_text.lines] == [line.name for line in from_json.lines]
    assert from_text.venues == from_json.venues
    first, second = list(from_text.frames()), list(from_json.frames())
    assert received(first) == received(second)
    assert len(received(first)) == count
    forms = [WireForm.HTTP, WireForm.SENT, WireForm.CONNECTED]
    assert [sum(f.form == form for f in first) for form in forms] == [
        sum(f.form == form for f in second) for form in forms
    ]


def test_frames_of_several_connections_are_in_time_order(shared_data: Path) -> None:
    capture = open_capture([shared_data / "cryptofeed-ws/jsonl/KRAKEN.jsonl.zst"])
    times = [frame.ts_recv for frame in capture.frames()]
    assert times == sorted(times)
    assert [line.name for line in capture.lines] == ["KRAKEN.ws.48", "KRAKEN.ws.49", "KRAKEN.ws.50"]
    assert Counter(f.connection for f in capture.frames() if f.form == WireForm.TEXT) == {1: 49, 2: 60, 3: 4321}


def test_received_payloads_are_the_bytes_of_the_file(shared_data: Path) -> None:
    path = shared_data / "cryptofeed-ws/raw-text/KRAKEN.ws.50.0.zst"
    lines = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(path.read_bytes())).read().split(b"\n")
    wanted = [line.split(b": ", 1)[1] for line in lines if line[:10].isdigit()]
    capture = open_capture([path])
    assert [f.payload for f in capture.frames() if f.form == WireForm.TEXT] == wanted
    assert {f.address for f in capture.frames() if f.form == WireForm.TEXT} == {"wss://ws.kraken.com"}


def test_redundant_okex_lines_are_three_connections(shared_data: Path) -> None:
    capture = open_capture(sorted((shared_data / "cryptofeed-ws/raw-text-2021-07-22").glob("*.zst")))
    assert capture.venues == ("okx",)
    assert Counter(f.connection for f in capture.frames() if f.form == WireForm.TEXT) == {1: 1616, 2: 1559, 3: 1534}


def test_two_days_of_a_symbol_are_one_connection(shared_data: Path) -> None:
    paths = sorted((shared_data / "hftbacktest-binance/spot").glob("*.gz"), reverse=True)
    capture = open_capture(paths)
    assert [(line.number, line.name, line.venue) for line in capture.lines] == [
        (1, "hftbacktest:binance:btcusdt", "binance")
    ]
    wanted = []
    for path in sorted(paths):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            ts, _, payload = line.partition(b" ")
            wanted.append((int(ts), 1, payload))
    assert len(wanted) == 41_249 + 58_325
    assert received(list(capture.frames())) == wanted


def test_futures_captures_are_told_by_their_messages(shared_data: Path) -> None:
    folder = shared_data / "hftbacktest-binance"
    assert open_capture([folder / "usdm/btcusdt_20240808.gz"]).venues == ("binance-usdm",)
    assert open_capture([folder / "cm/btcusd_perp_20240808.gz"]).venues == ("binance-coinm",)


def test_lobster_rows_come_in_pairs_with_exact_new_york_times(shared_data: Path) -> None:
    path = shared_data / "lobster/LOBSTER_SampleFile_AMZN_2012-06-21_5.zip"
    with zipfile.ZipFile(path) as archive:
        messages = archive.read("AMZN_2012-06-21_34200000_57600000_message_5.csv").split()
        books = archive.read("AMZN_2012-06-21_34200000_57600000_orderbook_5.csv").split()
    frames = list(open_capture([path]).frames())
    assert len(frames) == 155_935
    assert [frame.payload for frame in frames] == [b"%s\n%s" % pair for pair in zip(messages, books, strict=True)]
    assert frames[0].ts_recv == parse_time("2012-06-21T13:30:00.017459617Z")
    assert frames[0].address == "lobster:AMZN:2012-06-21:5"


def test_format_is_told_by_content(shared_data: Path) -> None:
    wanted = {
        "cryptofeed-ws/jsonl/KRAKEN.jsonl.zst": "cryptofeed",
        "cryptofeed-ws/raw-text/KRAKEN.ws.48.0.zst": "cryptofeed",
        "hftbacktest-binance/spot/btcusdt_20240808.gz": "hftbacktest",
        "lobster/LOBSTER_SampleFile_AMZN_2012-06-21_1.zip": "lobster",
    }
    assert {name: detect_format(shared_data / name) for name in wanted} == wanted


def test_what_is_no_capture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "empty").write_bytes(b"")
    for name in ("noise", "empty"):
        with pytest.raises(DecodeError, match="format"):
            detect_format(tmp_path / name)
        for format in ("cryptofeed", "hftbacktest", "lobster"):
            with pytest.raises(DecodeError):
                open_capture([tmp_path / name], format)
    with pytest.raises(NotFoundError):
        open_capture([tmp_path / "absent"])
    with pytest.raises(ConfigError, match="no capture format"):
        open_capture([tmp_path / "noise"], "parquet")
    with pytest.raises(ConfigError):
        open_capture([])


@pytest.mark.parametrize("pack", [lambda data: data, zstandard.ZstdCompressor().compress, gzip.compress])
def test_lines_of_every_compression_are_equal(tmp_path: Path, pack: object) -> None:
    lines = [b"one", b"", b"x" * 100_000, b"last without end"]
    path = tmp_path / "lines"
    path.write_bytes(pack(b"\r\n".join(lines)))  # type: ignore[operator]
    assert list(read_lines(path)) == list(enumerate(lines, start=1))


def test_a_configuration_before_any_time_takes_the_first_one(tmp_path: Path) -> None:
    path = tmp_path / "KRAKEN.ws.1.0"
    path.write_text(
        'configuration: {"a":1}\nwss://ws.kraken.com <-> 1618678132.5\n1618678133.25: {"event":"heartbeat"}\n'
    )
    frames = list(open_capture([path]).frames())
    assert [(f.form, f.ts_recv) for f in frames] == [
        (WireForm.CONFIG, 1618678132_500000000),
        (WireForm.CONNECTED, 1618678132_500000000),
        (WireForm.TEXT, 1618678133_250000000),
    ]
    assert frames[0].payload == b'{"a":1}'


def test_a_file_without_any_time_takes_that_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "KRAKEN.0").write_text("configuration: {}\n")
    (tmp_path / "KRAKEN.ws.1.0").write_text("wss://ws.kraken.com <-> 1618678132.5\n1618678133: {}\n")
    frames = list(open_capture([tmp_path / "KRAKEN.0", tmp_path / "KRAKEN.ws.1.0"]).frames())
    assert [(f.form, f.ts_recv) for f in frames][:1] == [(WireForm.CONFIG, 1618678132_500000000)]
    assert len(frames) == 3


def test_binary_frames_are_read_from_their_literal_and_nothing_is_evaluated(tmp_path: Path) -> None:
    path = tmp_path / "HUOBI.ws.1.0"
    evil = "1618678132.7: b'' + open('/etc/passwd','rb').read() + b''"
    path.write_text(f"wss://x <-> 1618678132.5\n1618678132.6: b'\\x00\\xff\"'\n{evil}\n")
    frames = list(open_capture([path]).frames())
    assert (frames[1].form, frames[1].payload) == (WireForm.BINARY, b'\x00\xff"')
    assert frames[2].address.startswith("chronicle:damaged:HUOBI.ws.1.0:3")


def test_a_clock_that_steps_back_changes_no_order_within_a_line(tmp_path: Path) -> None:
    path = tmp_path / "KRAKEN.ws.1.0"
    times = ["100", "105", "103", "104", "106"]
    path.write_text("wss://ws.kraken.com <-> 1618678099\n" + "".join(f"1618678{t}: {t}\n" for t in times))
    other = tmp_path / "KRAKEN.ws.2.0"
    other.write_text("wss://ws.kraken.com <-> 1618678099\n1618678104.5: 104.5\n")
    payloads = [f.payload.decode() for f in open_capture([path, other]).frames() if f.form == WireForm.TEXT]
    assert [p for p in payloads if p != "104.5"] == times


def test_names_say_connection_and_venue() -> None:
    assert connection_name("KRAKEN.ws.50.0.zst") == connection_name("KRAKEN.ws.50") == "KRAKEN.ws.50"
    assert connection_name("KRAKEN.0.zst") == "KRAKEN"
    assert connection_name("OKEX.0.be464487.zst") == "OKEX"
    assert sorted(["ws.10", "ws.9", "ws.100"], key=natural_key) == ["ws.9", "ws.10", "ws.100"]
    assert venue_of_address("wss://ws.okex.com:8443/ws/v5/public") == "okx"
    assert venue_of_address("https://fapi.binance.com/fapi/v1/depth") == "binance-usdm"
    assert venue_of_address("https://api.binance.com/api") == "binance"
    assert venue_of_address("https://evil-okx.com") is None
    assert venue_of_address("hftbacktest:binance-coinm:btcusd_perp") == "binance-coinm"
