"""Sequences, sessions and redundant lines: every message once, in order, or told as missing."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronicle.core.errors import DecodeError
from chronicle.core.layout import NONE
from chronicle.feed.transports import Arbiter, Header, LineSequence, Recognised, recognise
from chronicle.feed.transports.arbiter import Arrival
from chronicle.feed.transports.packet import (
    IEX_HEADER,
    mold_request,
    read_iex,
    read_mold,
    spans,
)
from tests.support.itch_day import ItchDay, mold_packets


def header(first: int, count: int, session: str = "A", sent_ts: int = NONE) -> Header:
    return Header(session, first, count, 20, sent_ts=sent_ts)


def arrival(first: int, count: int, ts: int = 0, line: str = "A", session: str = "A", sent_ts: int = NONE) -> Arrival:
    return Arrival(b"x", ts, line, header(first, count, session, sent_ts))


def numbers(arrivals: list[Arrival]) -> list[int]:
    return [number for item in arrivals for number in range(item.header.first, item.header.next)]


# --- one line ------------------------------------------------------------------------------------------------------


def test_a_line_tells_repeats_overlaps_and_holes() -> None:
    line = LineSequence()
    assert line.take(header(1, 3)).is_new_session
    assert line.take(header(1, 3)).skip == 3
    assert line.take(header(3, 4)).skip == 1
    place = line.take(header(10, 1))
    assert (place.lost_first, place.lost_last, place.skip) == (7, 9, 0)
    assert not line.is_whole
    assert line.take(header(12, 0)).lost_first == 11  # a heartbeat shows a hole too
    assert line.take(header(12, 0)).lost_first == NONE


def test_a_line_joined_late_misses_nothing_and_the_next_session_is_expected_from_one() -> None:
    line = LineSequence()
    assert line.take(header(500, 2)).lost_first == NONE
    assert not line.is_whole
    place = line.take(header(4, 1, session="B"))
    assert (place.is_new_session, place.lost_first, place.lost_last) == (True, 1, 3)


def test_numbers_that_go_back_in_a_later_packet_are_a_restart() -> None:
    line = LineSequence()
    line.take(header(1, 5, sent_ts=10))
    line.take(header(6, 5, sent_ts=20))
    assert line.take(header(6, 5, sent_ts=20)).skip == 5  # the other line's copy
    assert not line.take(header(1, 5, sent_ts=10)).is_new_session  # a straggler
    place = line.take(header(1, 0, sent_ts=30))
    assert place.is_new_session
    assert line.is_whole
    assert line.take(header(6, 5, sent_ts=20)).skip == 5  # of the run before: not a hole of this one
    assert line.take(header(1, 5, sent_ts=31)).skip == 0
    assert line.session_count == 2


def test_without_send_times_going_back_is_a_repeat() -> None:
    line = LineSequence()
    line.take(header(1, 50))
    assert line.take(header(1, 5)).skip == 5
    assert line.session_count == 1


# --- several lines -------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(1, 60), st.floats(0, 0.5), st.integers(0, 6))
def test_two_lossy_shuffled_lines_give_each_message_once_or_tell_it_as_lost(
    seed: int, count: int, loss: float, distance: int
) -> None:
    rng = random.Random(seed)
    first, packets = 1, []
    for _ in range(count):
        size = rng.randrange(1, 5)
        packets.append((first, size))
        first += size
    sent: list[tuple[float, int, int, str]] = []
    for line in "AB":
        for at, (start, size) in enumerate(packets):
            if (at == 0 and line == "A") or rng.random() >= loss:
                late = 0.0 if at == 0 else rng.random() * distance
                sent.append((at + late, start, size, line))
    sent.sort()
    arbiter, out = Arbiter(give_up_ns=10**12), []
    for at, start, size, line in sent:
        out += arbiter.take(arrival(start, size, ts=int(at * 10), line=line))
    out += arbiter.flush()
    got = numbers(out)
    came = {number for _, start, size, _ in sent for number in range(start, start + size)}
    assert got == sorted(came)
    counts = arbiter.counts
    assert sum(counts.won.values()) + sum(counts.duplicates.values()) == len(sent)
    assert counts.lost_messages == len([number for number in range(1, max(came)) if number not in came])


def test_a_hole_is_given_up_after_its_time_and_the_rest_goes_on() -> None:
    arbiter = Arbiter(give_up_ns=100)
    assert numbers(arbiter.take(arrival(1, 2, ts=0))) == [1, 2]
    assert arbiter.take(arrival(5, 2, ts=10)) == []
    hole = arbiter.hole
    assert hole is not None
    assert (hole.first, hole.last, hole.since_ns) == (3, 4, 10)
    assert arbiter.expire(109) == []
    assert numbers(arbiter.expire(110)) == [5, 6]
    assert (arbiter.counts.given_up, arbiter.counts.lost_messages) == (1, 2)
    assert arbiter.take(arrival(3, 2, ts=120)) == []  # too late


def test_a_hole_waits_from_when_it_was_seen_not_from_when_its_packets_came() -> None:
    arbiter = Arbiter(give_up_ns=100)
    assert numbers(arbiter.take(arrival(1, 2, ts=0), 5_000)) == [1, 2]
    assert arbiter.take(arrival(5, 2, ts=10), 5_000) == []
    assert arbiter.take(arrival(7, 2, ts=900), 5_000) == []
    hole = arbiter.hole
    assert hole is not None
    assert (hole.first, hole.last, hole.since_ns) == (3, 4, 5_000)
    assert arbiter.expire(5_099) == []
    out = arbiter.take(arrival(3, 2, ts=1_000), 5_099)
    assert numbers(out) == [3, 4, 5, 6, 7, 8]
    assert [item.ts for item in out] == [1_000] * 3, "and what goes out keeps the times of its arrival"
    assert arbiter.counts.lost_messages == 0


def test_a_filled_part_of_a_hole_gives_the_rest_its_time_again() -> None:
    arbiter = Arbiter(give_up_ns=100)
    arbiter.take(arrival(1, 1, ts=0))
    arbiter.take(arrival(10, 1, ts=10))
    assert numbers(arbiter.take(arrival(2, 4, ts=90, line="rewind"))) == [2, 3, 4, 5]
    assert arbiter.expire(150) == []
    assert arbiter.counts.holes == 1
    assert numbers(arbiter.take(arrival(6, 4, ts=180, line="rewind"))) == [6, 7, 8, 9, 10]
    assert arbiter.counts.filled["rewind"] == 2


def test_a_session_left_is_not_entered_again() -> None:
    arbiter = Arbiter(give_up_ns=100)
    arbiter.take(arrival(1, 1))
    assert numbers(arbiter.take(arrival(1, 2, session="B"))) == [1, 2]
    assert arbiter.take(arrival(2, 1)) == []
    assert arbiter.session == "B"
    assert arbiter.take(arrival(4, 1, ts=3 * 10**9, session="C")) == []  # expected from its first message
    hole = arbiter.hole
    assert hole is not None
    assert (hole.session, hole.first, hole.last) == ("C", 1, 3)


def test_a_stray_packet_of_another_session_does_not_end_this_one() -> None:
    arbiter = Arbiter(give_up_ns=100)
    arbiter.take(arrival(1, 2))
    assert arbiter.take(arrival(900, 2, ts=1, session="B")) == []
    assert numbers(arbiter.take(arrival(3, 2, ts=2))) == [3, 4]
    assert arbiter.counts.foreign["A"] == 1
    ended = Arrival(b"x", 3, "A", Header("A", 5, 0, 20, is_end=True))
    arbiter.take(ended)
    arbiter.take(arrival(900, 2, ts=4, session="B"))
    assert arbiter.session == "B"


def test_a_packet_far_ahead_is_dropped_while_others_go_on() -> None:
    arbiter = Arbiter(give_up_ns=100)
    arbiter.take(arrival(1, 1, ts=0))
    assert arbiter.take(arrival(10**12, 1, ts=5)) == []
    for number in range(2, 50):
        assert numbers(arbiter.take(arrival(number, 1, ts=5 + number))) == [number]
    assert arbiter.expire(1_000) == []
    assert numbers(arbiter.take(arrival(50, 1, ts=1_001))) == [50]
    assert (arbiter.counts.lost_messages, arbiter.counts.foreign["A"]) == (0, 1)


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronicle.feed.transports.arbiter.PENDING_PACKETS_MAX", 8)
    arbiter, out = Arbiter(give_up_ns=10**18), []
    arbiter.take(arrival(1, 1))
    for first in range(3, 30):
        out += arbiter.take(arrival(first, 1))
    assert numbers(out) == list(range(3, 30))
    assert arbiter.counts.lost_messages == 1


# --- packets -------------------------------------------------------------------------------------------------------


def test_a_request_is_what_the_protocol_says() -> None:
    assert mold_request("S1", 7, 100) == b"S1        " + struct.pack(">QH", 7, 100)
    assert mold_request("S1", 7, 10**6)[-2:] == b"\xff\xfe"  # 0xFFFF is the end of a session


def test_content_tells_the_protocol() -> None:
    day = ItchDay(seed=1).open()
    packet = mold_packets(day.messages)[0]
    found = recognise(packet)
    assert isinstance(found, Recognised)
    assert (found.protocol.venue, found.stream) == ("nasdaq", "SESSION001")
    iex = IEX_HEADER.pack(1, 0, 0x8004, 1, 5, 0, 0, 0, 1, 1)
    found = recognise(iex)
    assert isinstance(found, Recognised)
    assert (found.protocol.venue, found.stream) == ("iex", "DEEP/1")
    for foreign in (
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        packet[:-1] + b"z" + b"tail",
        struct.pack(">10sQH", b"000008367I", 1, 1) + b"\0\x02Jx",
        IEX_HEADER.pack(1, 0, 0x9999, 1, 5, 0, 0, 0, 1, 1),
        bytes(60),
    ):
        assert isinstance(recognise(foreign), str), foreign


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    recognise(payload)
    for read, order in ((read_mold, ">"), (read_iex, "<")):
        try:
            found = read(payload)
        except DecodeError:
            continue
        places, _ = spans(payload, found, order)
        assert all(start <= end <= len(payload) for start, end in places)
        LineSequence().take(found)
        Arbiter(give_up_ns=1).take(Arrival(payload, 1, "A", found))
