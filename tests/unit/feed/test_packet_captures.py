"""Packet captures and ITCH files: every container gives the same frames; torn and foreign input is told."""

from __future__ import annotations

import contextlib
import gzip
import struct
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from chronicle.core.errors import ConfigError, DecodeError
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.captures import Capture, detect_format, open_capture
from chronicle.feed.captures.datagrams import datagram_of
from chronicle.feed.captures.itch import date_in_name, midnight_ns
from chronicle.feed.captures.packet_file import Packet
from tests.support.itch_day import ItchDay, framed, mold_packets
from tests.support.packet_files import ethernet, pcap, pcapng, udp

TS = 1_692_711_000 * 10**9
DAY = ItchDay(seed=31).open().trade(200)
PACKETS = mold_packets(DAY.messages, per_packet=5)
FRAMES = [(TS + number * 1_000_000, ethernet(udp(packet))) for number, packet in enumerate(PACKETS)]


def opened(tmp_path: Path, data: bytes, name: str = "capture.pcap", **options: Any) -> tuple[Capture, list[Frame]]:
    path = tmp_path / name
    path.write_bytes(data)
    capture = open_capture([path], **options)
    return capture, list(capture.frames())


def binary(frames: list[Frame]) -> list[tuple[int, bytes]]:
    return [(frame.ts_recv, frame.payload) for frame in frames if frame.form == WireForm.BINARY]


EXPECTED = [(ts, packet) for (ts, _), packet in zip(FRAMES, PACKETS, strict=True)]


@pytest.mark.parametrize(
    "data",
    [
        pcap(FRAMES),
        pcap(FRAMES, order=">"),
        pcap(FRAMES, nanoseconds=True),
        pcap(FRAMES, order=">", nanoseconds=True),
        pcapng(FRAMES),
        pcapng(FRAMES, order=">"),
        pcap([(ts, ethernet(udp(packet), tags=2)) for ts, packet in EXPECTED]),
        pcap([(ts, udp(packet)) for ts, packet in EXPECTED], link=101),
        pcap([(ts, bytes(14) + b"\x08\0" + udp(packet)) for ts, packet in EXPECTED], link=113),
        pcap([(ts, b"\x08\0" + bytes(18) + udp(packet)) for ts, packet in EXPECTED], link=276),
        pcap([(ts, b"\x02\0\0\0" + udp(packet)) for ts, packet in EXPECTED], link=0),
        gzip.compress(pcap(FRAMES)),
        zstandard.compress(pcap(FRAMES)),
    ],
    ids=[
        *("us-little", "us-big", "ns-little", "ns-big", "ng-little", "ng-big", "vlan", "raw-ip", "cooked"),
        *("cooked2", "loopback", "gzip", "zstd"),
    ],
)
def test_every_container_gives_the_same_frames(tmp_path: Path, data: bytes) -> None:
    capture, frames = opened(tmp_path, data)
    assert capture.format == "pcap"
    assert capture.venues == ("nasdaq",)
    assert binary(frames) == EXPECTED
    assert not capture.damage
    assert not capture.notes


def test_two_lines_are_one_feed_in_order(tmp_path: Path) -> None:
    frames = []
    for number, packet in enumerate(PACKETS):
        ts = TS + number * 1_000_000
        if number % 4 != 1:
            frames.append((ts, ethernet(udp(packet, "233.54.12.111"))))
        if number % 5 != 2:
            frames.append((ts + 2_500_000, ethernet(udp(packet, "233.49.196.111"))))
    frames.sort()
    capture, found = opened(tmp_path, pcap(frames, nanoseconds=True))
    assert len(capture.lines) == 1
    lost = {number for number in range(len(PACKETS)) if number % 4 == 1 and number % 5 == 2}
    assert [payload for _, payload in binary(found)] == [p for n, p in enumerate(PACKETS) if n not in lost]
    assert capture.notes["packets that had come before"] == len(frames) - len(PACKETS) + len(lost)


def test_what_is_not_for_us_is_counted(tmp_path: Path) -> None:
    strange = [
        (TS, ethernet(udp(b"x" * 30, protocol=6))),
        (TS, ethernet(bytes(40), kind=0x86DD)),
        (TS, ethernet(udp(b"hello", port=53))),
        (TS, ethernet(b"\x45")),
        (TS, ethernet(udp(PACKETS[0])[:6] + b"\x20\0" + udp(PACKETS[0])[8:])),
    ]
    capture, found = opened(tmp_path, pcap(strange + FRAMES))
    assert binary(found) == EXPECTED
    assert dict(capture.notes) == {
        "packets that are not UDP": 1,
        "packets that are not IPv4": 1,
        "datagrams of no known protocol": 1,
        "malformed packets": 1,
        "IP fragments": 1,
    }


def test_a_torn_capture_gives_what_is_whole_and_says_where_it_ends(tmp_path: Path) -> None:
    for number, data in enumerate((pcap(FRAMES), pcapng(FRAMES), gzip.compress(pcap(FRAMES)))):
        capture, found = opened(tmp_path, data[:-20], f"{number}.pcap")
        assert binary(found) == EXPECTED[: len(binary(found))]
        assert len(binary(found)) >= 1
        assert len(capture.damage) == 1
        assert "cut off" in capture.damage[0].message
    capture, _ = opened(tmp_path, pcap(FRAMES) + struct.pack("<IIII", 1, 1, 2**31, 2**31), "large.pcap")
    assert "impossible size" in capture.damage[0].message


def test_a_capture_cut_by_its_snap_length_is_told(tmp_path: Path) -> None:
    short = pcap([*FRAMES[:-1], (FRAMES[-1][0], FRAMES[-1][1][:-9])])
    capture, found = opened(tmp_path, short)
    assert capture.notes["datagrams cut off by the capture"] == 1
    assert binary(found)[-1][1] == PACKETS[-1][:-9]


def test_a_capture_without_a_known_feed_is_refused_by_what_it_holds(tmp_path: Path) -> None:
    foreign = pcap([(TS, ethernet(udp(b"\x1f\xd2&\x01" * 20, "224.0.31.1", 14310)))])
    with pytest.raises(DecodeError, match="no packet of a feed that is known") as caught:
        opened(tmp_path, foreign)
    assert "224.0.31.1:14310" in str(caught.value.found)
    with pytest.raises(DecodeError, match="of iex"):
        opened(tmp_path, pcap(FRAMES), venue="iex")
    with pytest.raises(DecodeError, match="no packet of a feed"):
        opened(tmp_path, pcap([]))


def test_the_command_says_whose_itch_it_is(tmp_path: Path) -> None:
    assert opened(tmp_path, pcap(FRAMES), venue="nasdaq-bx")[0].venues == ("nasdaq-bx",)
    assert opened(tmp_path, framed(DAY.messages), "20230822.itch", venue="nasdaq-psx")[0].venues == ("nasdaq-psx",)
    with pytest.raises(ConfigError, match="no ITCH"):
        opened(tmp_path, framed(DAY.messages), "20230822.itch", venue="kraken", format="itch")


@given(st.binary(max_size=120), st.sampled_from([0, 1, 101, 113, 228, 276, 500]))
def test_any_packet_is_a_datagram_or_skipped(data: bytes, link: int) -> None:
    datagram_of(Packet(1, link, data, len(data)))


@given(st.data())
def test_any_file_ends_in_frames_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([pcap(FRAMES[:6]), pcapng(FRAMES[:6])])))
    for _ in range(data.draw(st.integers(0, 6))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "x.pcap"
    path.write_bytes(whole[: data.draw(st.integers(4, len(whole)))])
    with contextlib.suppress(DecodeError):
        list(open_capture([path], "pcap").frames())


# --- itch files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_an_itch_file_is_its_messages_in_runs(tmp_path: Path, pack: Any) -> None:
    data = framed(DAY.messages)
    capture, frames = opened(tmp_path, pack(data), "S082223-v50.txt")
    assert capture.format == "itch"
    assert b"".join(payload for _, payload in binary(frames)) == data
    midnight = 1_692_676_800 * 10**9  # 2023-08-22 in New York, summer time
    for ts, payload in binary(frames):
        assert ts == midnight + int.from_bytes(payload[7:13], "big")
        assert len(payload) <= 32 * 1024
    assert {frame.address for frame in frames} == {"itch:S082223-v50.txt:2023-08-22"}


def test_a_torn_itch_file_ends_where_its_last_whole_message_does(tmp_path: Path) -> None:
    data = framed(DAY.messages)
    capture, frames = opened(tmp_path, data[:-5], "20230822.bin")
    assert b"".join(payload for _, payload in binary(frames)) == framed(DAY.messages[:-1])
    last = len(DAY.messages[-1]) + 2
    assert f"{last - 5} bytes of it" in capture.damage[0].message
    ended, frames = opened(tmp_path, data + b"\0\0", "ended-20230822.bin")  # NASDAQ's end of a session
    assert not ended.damage
    foreign, _ = opened(tmp_path, data + b"\xff\xff" + bytes(3_000), "foreign-20230822.bin")
    assert "impossible length" in foreign.damage[0].message


def test_the_day_comes_from_the_name_or_the_command(tmp_path: Path) -> None:
    data = framed(DAY.messages)
    assert opened(tmp_path, data, "x.itch", day=date(2023, 1, 4))[1][0].address == "itch:x.itch:2023-01-04"
    with pytest.raises(ConfigError, match="tells no day"):
        opened(tmp_path, data, "y.itch")
    with pytest.raises(ConfigError, match="only itch files"):
        opened(tmp_path, pcap(FRAMES), "z.pcap", day=date(2023, 1, 4))
    for name, day in (
        ("01302019.NASDAQ_ITCH50.gz", date(2019, 1, 30)),
        ("S081321-v50.txt.gz", date(2021, 8, 13)),
        ("bx_20200128.itch", date(2020, 1, 28)),
        ("2019-01-30.itch", date(2019, 1, 30)),
        ("sample.itch", None),
        ("13322019.itch", None),
    ):
        assert date_in_name(name) == day, name


def test_midnight_is_new_yorks() -> None:
    winter, summer = midnight_ns(date(2023, 1, 4)), midnight_ns(date(2023, 8, 22))
    assert winter % (86_400 * 10**9) == 5 * 3_600 * 10**9
    assert summer % (86_400 * 10**9) == 4 * 3_600 * 10**9
    before, after = midnight_ns(date(2023, 3, 12)), midnight_ns(date(2023, 3, 13))
    assert after - before == 23 * 3_600 * 10**9  # the clocks go forward


def test_formats_are_told_by_content(tmp_path: Path) -> None:
    for name, data, wanted in (("a", pcap(FRAMES), "pcap"), ("b", framed(DAY.messages), "itch")):
        (tmp_path / name).write_bytes(data)
        assert detect_format(tmp_path / name) == wanted
