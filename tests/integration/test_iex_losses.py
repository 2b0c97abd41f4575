"""IEX through feed and ETL: a lost packet is a gap in every book of the line, a restart ends it and is none."""

from __future__ import annotations

from pathlib import Path

import chronicle
from chronicle.etl import run_shard
from chronicle.feed.replay import replay_capture
from tests.support.iex_feed import deep_session
from tests.support.packet_files import ethernet, pcap, udp

TS = 1_700_000_000 * 10**9
SECOND = 10**9


def home_of(tmp_path: Path, packets: list[tuple[int, bytes]]) -> Path:
    frames = [(ts, ethernet(udp(packet, "233.215.21.4", 10378))) for ts, packet in packets]
    (tmp_path / "day.pcap").write_bytes(pcap(frames, nanoseconds=True))
    home = tmp_path / "home"
    replay_capture(home, [tmp_path / "day.pcap"])
    run_shard(home, drain=True)
    return home


def stamped(packets: list[bytes], start_ts: int) -> list[tuple[int, bytes]]:
    return [(start_ts + number * 1_000_000 + 50_000, packet) for number, packet in enumerate(packets)]


def test_a_whole_session_has_books_that_are_ok(tmp_path: Path) -> None:
    home = home_of(tmp_path, stamped(deep_session(1, 400, start_ts=TS), TS))
    with chronicle.open(str(home)) as store:
        book = store.book("iex:AAPL", at=TS + 300_000_000)
        assert (str(book.status), str(book.verified_by)) == ("ok", "sequence")
        assert not list(store.gaps("iex:AAPL"))


def test_a_lost_packet_is_a_gap_in_every_book_until_the_restart(tmp_path: Path) -> None:
    first = stamped(deep_session(1, 400, start_ts=TS), TS)
    again = stamped(deep_session(2, 400, start_ts=TS + 10 * SECOND), TS + 10 * SECOND)
    home = home_of(tmp_path, first[:200] + first[201:] + again)
    with chronicle.open(str(home)) as store:
        for symbol in ("iex:AAPL", "iex:IBM"):
            assert str(store.book(symbol, at=TS + 150_000_000).status) == "ok"
            assert str(store.book(symbol, at=TS + 350_000_000).status) == "gap"
            assert str(store.book(symbol, at=TS + 10 * SECOND + 300_000_000).status) == "ok"
            (gap,) = store.gaps(symbol)
            assert gap.cause == "sequence"


def test_a_restart_alone_is_no_gap(tmp_path: Path) -> None:
    first = stamped(deep_session(1, 200, start_ts=TS), TS)
    again = stamped(deep_session(2, 200, start_ts=TS + SECOND), TS + SECOND)
    home = home_of(tmp_path, first + again)
    with chronicle.open(str(home)) as store:
        assert not list(store.gaps("iex:AAPL"))
        early = store.book("iex:AAPL", at=TS + SECOND + 1_060_000)  # one transaction after the restart
        assert len(early.bids) + len(early.asks) <= 3
