"""Torn and hostile captures: what stands before the damage is read, the damage is said, nothing crashes."""

from __future__ import annotations

import gzip
import random
import zipfile
from pathlib import Path

import pytest
import zstandard

from chronicle.core.errors import ChronicleError, DecodeError
from chronicle.core.layout import WireForm
from chronicle.feed.captures import open_capture

LINES = ["wss://ws.kraken.com <-> 1618678132.0"] + [
    f'1618678132.{number:06d}: {{"event":"heartbeat","n":{number},"pad":"{number * 7919:064b}"}}'
    for number in range(1, 2000)
]


def write(path: Path, text: str | bytes, pack: object) -> Path:
    path.write_bytes(pack(text.encode() if isinstance(text, str) else text))  # type: ignore[operator]
    return path


@pytest.mark.parametrize("pack", [zstandard.ZstdCompressor().compress, gzip.compress], ids=["zstd", "gzip"])
def test_a_torn_file_gives_what_stands_before_and_an_error(tmp_path: Path, pack: object) -> None:
    path = write(tmp_path / "KRAKEN.ws.1.0", "\n".join(LINES), pack)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    capture = open_capture([path])
    frames = list(capture.frames())
    texts = [f.payload.decode() for f in frames if f.form == WireForm.TEXT]
    assert texts == [line.split(": ", 1)[1] for line in LINES[1 : len(texts) + 1]]
    assert frames[-1].address.startswith("chronicle:damaged:KRAKEN.ws.1.0")
    assert [type(error) for error in capture.damage] == [DecodeError]
    assert str(path) in str(capture.damage[0])


def test_one_torn_file_does_not_end_the_others(tmp_path: Path) -> None:
    pack = zstandard.ZstdCompressor().compress
    torn = write(tmp_path / "KRAKEN.ws.1.0.zst", "\n".join(LINES), pack)
    torn.write_bytes(torn.read_bytes()[:-40])
    whole = write(tmp_path / "KRAKEN.ws.2.0.zst", "\n".join(LINES), pack)
    frames = list(open_capture([torn, whole]).frames())
    assert sum(f.connection == 2 and f.form == WireForm.TEXT for f in frames) == len(LINES) - 1


@pytest.mark.parametrize(
    "bad",
    [
        b"no line at all",
        b"1618678132.5 {}",
        b"99999999999999999999: {}",
        b"12: {}",
        b"NaN: {}",
        b"1e9: {}",
        b"1618678132.5: \xff\xfe",
        b"wss://ws.kraken.com <- 1618678132.5",
        b"1618678132.7: b'\\x'",
    ],
)
def test_a_bad_line_is_kept_as_damage_and_the_rest_is_read(tmp_path: Path, bad: bytes) -> None:
    lines = [line.encode() for line in LINES[:10]]
    path = write(tmp_path / "KRAKEN.ws.1.0", b"\n".join([*lines[:5], bad, *lines[5:]]), bytes)
    frames = list(open_capture([path]).frames())
    damaged = [f for f in frames if f.address.startswith("chronicle:damaged:")]
    assert [(f.address.split(": ")[0], f.payload) for f in damaged] == [("chronicle:damaged:KRAKEN.ws.1.0:6", bad)]
    assert damaged[0].ts_recv == frames[4].ts_recv
    assert len(frames) == 11


@pytest.mark.parametrize(
    "bad",
    [
        '{"t":"recv","conn":"KRAKEN.ws.1","ts":"x","data":"{}"}',
        '{"t":"recv","conn":"KRAKEN.ws.1","ts":1e99,"data":"{}"}',
        '{"t":"recv","conn":"KRAKEN.ws.1","ts":1618678132.5}',
        '{"t":"recv","conn":"KRAKEN.ws.1","ts":1618678132.5,"b64":"%%%"}',
        '{"t":"what","conn":"KRAKEN.ws.1","ts":1618678132.5,"data":""}',
        '{"t":"recv","conn":"KRAKEN.ws.1","ts":1618678132.5,"da',
        "not json",
        '{"t":"recv"}',
        "[" * 5000,
    ],
)
def test_a_bad_json_line_is_damage(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "KRAKEN.jsonl"
    good = '{"t":"recv","conn":"KRAKEN.ws.1","ts":1618678132.25,"data":"{}"}'
    path.write_text(f'{{"t":"header","format":2,"exchange":"KRAKEN"}}\n{good}\n{bad}\n{good}')
    frames = list(open_capture([path]).frames())
    assert [f.form for f in frames] == [WireForm.CONFIG, WireForm.TEXT, WireForm.CONFIG, WireForm.TEXT]
    assert frames[2].address.startswith("chronicle:damaged:KRAKEN.jsonl:3")


@pytest.mark.parametrize("place", [0, 1, 5, 9])
def test_a_lone_leap_of_time_does_not_pull_the_rest_with_it(tmp_path: Path, place: int) -> None:
    lines = LINES[:10]
    sane = list(open_capture([write(tmp_path / "KRAKEN.ws.1.0", "\n".join(lines), bytes)]).frames())
    lines[place] = lines[place].replace("1618678132", "1918678132")
    frames = list(open_capture([write(tmp_path / "KRAKEN.ws.1.0", "\n".join(lines), bytes)]).frames())
    notes = [f for f in frames if "is garbage" in f.address]
    assert [f.payload for f in frames if f not in notes] == [f.payload for f in sane]
    if place == 9:  # nothing follows that could tell a leap from a pause
        assert notes == []
    else:
        assert len(notes) == 1
        assert max(f.ts_recv for f in frames) == sane[-1].ts_recv


def test_a_pause_is_no_leap(tmp_path: Path) -> None:
    lines = [LINES[0], LINES[1], *(line.replace("1618678132", "1618698132") for line in LINES[2:10])]
    frames = list(open_capture([write(tmp_path / "KRAKEN.ws.1.0", "\n".join(lines), bytes)]).frames())
    assert len(frames) == 10
    assert frames[2].ts_recv - frames[1].ts_recv > 19_000 * 10**9


def test_lobster_files_of_unlike_length_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "AMZN.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("AMZN_2012-06-21_34200000_57600000_message_1.csv", "34200.1,1,1,1,1,1\n34200.2,1,1,1,1,1\n")
        archive.writestr("AMZN_2012-06-21_34200000_57600000_orderbook_1.csv", "1,1,1,1\n")
    capture = open_capture([path])
    assert len(list(capture.frames())) == 2
    assert "ends before the other" in str(capture.damage[0])


@pytest.mark.parametrize("bad", [b'{"t":"recv","conn":"KRAKEN\xf3","ts":1}', b'{"t":"recv",\xff', b"\xf3\xf3"])
def test_a_json_line_that_is_not_utf8_is_damage(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "KRAKEN.jsonl"
    good = b'{"t":"recv","conn":"KRAKEN.ws.1","ts":1618678132.25,"data":"{}"}'
    path.write_bytes(b"\n".join([b'{"t":"header","format":2,"exchange":"KRAKEN"}', good, bad, good]))
    frames = list(open_capture([path]).frames())
    assert sum(f.address.startswith("chronicle:damaged:") for f in frames) == 1
    assert sum(f.form == WireForm.TEXT for f in frames) == 2


def test_flipped_bytes_never_crash_a_reader(shared_data: Path, tmp_path: Path) -> None:
    names = [
        "cryptofeed-ws/jsonl/OKX.jsonl.zst",
        "cryptofeed-ws/raw-text/KRAKEN.ws.49.0.zst",
        "hftbacktest-binance/spot/btcusdt_20240808.gz",
        "lobster/LOBSTER_SampleFile_AMZN_2012-06-21_1.zip",
    ]
    chance = random.Random(20)
    for name in names:
        data = (shared_data / name).read_bytes()[:200_000]
        for _ in range(6):
            altered = bytearray(data)
            for _ in range(chance.choice((1, 20))):
                altered[chance.randrange(len(altered))] ^= 1 << chance.randrange(8)
            path = tmp_path / Path(name).name
            path.write_bytes(altered)
            try:
                for _ in open_capture([path]).frames():
                    pass
            except ChronicleError:
                continue
