"""ITCH through feed and ETL: the books of orders are those of the flow; a hole is a gap until the next session."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

import chronicle
from chronicle.etl import run_shard
from chronicle.feed.replay import replay_capture
from tests.support.itch_day import ItchDay, framed, mold_packets
from tests.support.packet_files import ethernet, pcap, udp

TS = 1_692_711_000 * 10**9
DAY = ItchDay(seed=77, stocks=3).open().trade(4_000)
_Levels = list[tuple[int, int]]


def truth(day: ItchDay, locate: int) -> tuple[_Levels, _Levels]:
    """Return (bids, asks) best first of what rests at the end."""
    sides: dict[str, dict[int, int]] = {"B": defaultdict(int), "S": defaultdict(int)}
    for own, side, price, shares in day.orders.values():
        if own == locate:
            sides[side][price] += shares
    return sorted(sides["B"].items(), reverse=True), sorted(sides["S"].items())


def levels(book: object) -> tuple[_Levels, _Levels]:
    def mantissas(side: object) -> _Levels:
        return [(int(price * 10_000), int(size)) for price, size in side]  # type: ignore[attr-defined]

    return mantissas(book.bids), mantissas(book.asks)  # type: ignore[attr-defined]


def recorded(tmp_path: Path, packets: list[bytes], name: str) -> Path:
    frames = [(TS + number * 1_000_000, ethernet(udp(packet))) for number, packet in enumerate(packets)]
    path = tmp_path / name
    path.write_bytes(pcap(frames, nanoseconds=True))
    return path


@pytest.mark.parametrize("form", ["itch", "pcap"])
def test_books_are_what_the_flow_left(tmp_path: Path, form: str) -> None:
    if form == "itch":
        path = tmp_path / "20230822.itch"
        path.write_bytes(framed(DAY.messages))
    else:
        path = recorded(tmp_path, mold_packets(DAY.messages, per_packet=6), "day.pcap")
    home = tmp_path / "home"
    report = replay_capture(home, [path])
    run_shard(home, drain=True)
    with chronicle.open(str(home)) as store:
        for locate in range(1, DAY.stocks + 1):
            symbol = f"nasdaq:{DAY.symbol(locate)}"
            book = store.book(symbol, at=report.last_ts + 10**9, depth=100_000)
            assert levels(book) == truth(DAY, locate)
            assert book.verified_by == "sequence"
            assert not list(store.gaps(symbol))
            assert store.book(symbol, at=report.first_ts + 200_000_000).status in ("ok", "crossed")


def test_a_lost_packet_is_a_gap_until_the_next_session(tmp_path: Path) -> None:
    second = ItchDay(seed=78, stocks=3).open().trade(600)
    packets = mold_packets(DAY.messages, per_packet=6)
    after = mold_packets(second.messages, per_packet=6, session=b"SESSION002")
    home = tmp_path / "home"
    report = replay_capture(home, [recorded(tmp_path, packets[:400] + packets[401:] + after, "day.pcap")])
    run_shard(home, drain=True)
    with chronicle.open(str(home)) as store:
        for locate in range(1, 4):
            symbol = f"nasdaq:{DAY.symbol(locate)}"
            assert store.book(symbol, at=TS + 350_000_000).status in ("ok", "crossed")
            assert store.book(symbol, at=TS + 600_000_000).status == "gap"
            book = store.book(symbol, at=report.last_ts - 1, depth=100_000)
            assert book.status in ("ok", "crossed")
            (gap,) = store.gaps(symbol)
            assert gap.cause == "sequence"
            final = store.book(symbol, at=report.last_ts + 10**9, depth=100_000)
            assert levels(final) == truth(second, locate)
