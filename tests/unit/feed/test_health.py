"""Streams that fall silent on a line that is up; redundant lines; what is served of it."""

from __future__ import annotations

import asyncio

import pytest

from chronicle.core.errors import ConfigError
from chronicle.core.events import EventBuilder
from chronicle.feed import http
from chronicle.feed.health import Action, HealthSettings, StreamWatch
from chronicle.feed.http import StatusServer, parse_address
from chronicle.feed.metrics import problems, render_metrics
from chronicle.feed.race import RECENT_MAX, LineRace
from chronicle.feed.status import FeedStatus, LineStatus, QueueStatus, RestStatus

SECOND = 10**9
SETTINGS = HealthSettings(stall_seconds=100.0, answer_seconds=20.0, patience_seconds_max=400.0)
A, B = ("A", "book"), ("B", "book")


def watch(*, answers: bool = True) -> StreamWatch:
    return StreamWatch([A, B, ("A", "trade")], SETTINGS, answers=answers)


def at(seconds: float) -> int:
    return int(seconds * SECOND)


def test_a_line_that_is_down_or_young_is_not_judged() -> None:
    streams = watch()
    assert streams.tick({}, 0, at(10_000)) == []
    assert streams.tick({}, at(1), at(100)) == []
    assert streams.oldest({}, 0, at(100)) is None


def test_a_silent_book_is_asked_and_one_that_answers_is_asked_less_often() -> None:
    streams, up = watch(), at(1)
    seen = {A: at(150), B: at(10)}
    assert streams.oldest(seen, up, at(160)) == ("B", "book", at(150))
    assert streams.tick(seen, up, at(109)) == []
    assert streams.tick(seen, up, at(110)) == [Action("B", "book", False, 100.0)]
    assert streams.tick(seen, up, at(111)) == [], "once"
    seen[B] = at(112)  # its snapshot
    seen[A] = at(300)
    assert streams.tick(seen, up, at(311)) == []
    assert streams.tick(seen, up, at(312)) == [Action("B", "book", False, 200.0)], "twice the patience"
    seen |= {B: at(400), A: at(420)}  # goes on by itself, long after the answer
    assert streams.tick(seen, up, at(430)) == []
    seen[A] = at(500)
    assert streams.tick(seen, up, at(500)) == [Action("B", "book", False, 100.0)], "patience starts anew"


def test_a_book_that_does_not_answer_costs_its_line_once() -> None:
    streams, up = watch(), at(1)
    seen = {A: at(99)}
    assert [action.symbol for action in streams.tick(seen, up, at(101))] == ["B"]
    seen[A] = at(120)
    (action,) = streams.tick(seen, up, at(121))
    assert (action.symbol, action.reconnects) == ("B", True)
    up = at(125)
    for second in range(126, 3000):
        seen[A] = at(second)
        assert not any(action.reconnects for action in streams.tick(seen, up, at(second)))
    assert streams.stalled(seen, up, at(2999)) == 1
    assert streams.renewed_count < 12
    seen[B] = at(3000)
    assert streams.stalled(seen, up, at(3001)) == 0


def test_where_snapshots_come_over_http_silence_proves_nothing() -> None:
    streams, seen = watch(answers=False), {A: at(5000)}
    actions = [action for second in range(1, 5000) for action in streams.tick(seen, at(1), at(second))]
    assert actions
    assert not any(action.reconnects for action in actions)


def test_health_can_be_turned_off() -> None:
    streams = StreamWatch([A], HealthSettings(stall_seconds=0.0), answers=True)
    assert (streams.tick({}, 1, at(10**6)), streams.stalled({}, 1, at(10**6))) == ([], 0)


def event(source: int, sequence: int, size: int = 5) -> tuple[bytearray, int]:
    out = EventBuilder()
    out.begin(ts_recv=source * 1000 + sequence, source=source, source_index=source * 77)
    out.delta(1, 1, 100, size, ts_event=9, sequence=sequence)
    last = out._last
    return out.take()[0], last


def test_who_was_first_and_who_never_had_it() -> None:
    race = LineRace((1, 2))
    for number in range(10):
        for source in (1, 2) if number % 2 else (2, 1):
            if (source, number) != (1, 4):  # line 1 loses one
                race.take(source, *event(source, number))
    assert race.first == {1: 5, 2: 5}
    for number in range(100, 100 + RECENT_MAX):
        race.take(1, *event(1, number))
        race.take(2, *event(2, number))
    assert race.missed == {1: 1, 2: 0}
    race.take(7, *event(7, 1))  # of another group
    assert race.first == {1: 5 + RECENT_MAX, 2: 5}


def test_how_late_a_line_was_is_counted() -> None:
    race = LineRace((1, 2))

    def at_time(source: int, sequence: int, ts: int) -> tuple[bytearray, int]:
        out = EventBuilder()
        out.begin(ts_recv=ts, source=source)
        out.delta(1, 1, 100, 5, ts_event=9, sequence=sequence)
        last = out._last
        return out.take()[0], last

    for source, sequence, ts in (
        (1, 1, 100),
        (2, 1, 130),
        (2, 1, 900),
        (2, 2, 200),
        (1, 2, 250),
        (1, 3, 300),
        (2, 3, 310),
    ):
        race.take(source, *at_time(source, sequence, ts))
    assert race.first == {1: 2, 2: 1}
    assert race.later == {1: 1, 2: 2}, "a repeat on its own line is no second place"
    assert (race.behind_ns, race.behind_ns_max) == ({1: 50, 2: 40}, {1: 50, 2: 30})


def status(**changes: object) -> FeedStatus:
    line = LineStatus(
        1, "kraken", "wss://x", True, 2, 1, at(99), "", 3, at(90), frames=7, bytes=900, lag_ns=1_500_000
    )
    values: dict[str, object] = {
        "capture": "c",
        "pid": 1,
        "ts": at(100),
        "raw": "raw/main.q",
        "wire": "wire/main.q",
        "frames": 8,
        "records": 20,
        "decode_errors": 1,
        "clamped": 0,
        "resyncs": 2,
        "resyncs_dropped": 0,
        "lines": [line],
        "rest": [RestStatus("kraken", "half_open", 3, 2, 1)],
        "queues": [QueueStatus("raw/main.q", 20, 10, 15), QueueStatus('w"\n\\', 9, 9)],
    }
    return FeedStatus(**(values | changes))  # type: ignore[arg-type]


def test_metrics_are_prometheus_text() -> None:
    text = render_metrics(status(), at(100))
    rows = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert rows["chronicle_feed_up"] == "1"
    assert rows['chronicle_feed_line_oldest_stream_age_seconds{venue="kraken",line="1"}'] == "10"
    assert rows['chronicle_feed_line_receive_lag_seconds{venue="kraken",line="1"}'] == "0.0015"
    assert rows['chronicle_feed_rest_breaker_state{venue="kraken"}'] == "1"
    assert rows['chronicle_feed_queue_depth{queue="raw/main.q"}'] == "5"
    assert rows['chronicle_feed_queue_committed{queue="w\\"\\n\\\\"}'] == "9"
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    assert all(name.split("{")[0] in families for name in rows)


def test_readiness_names_what_is_wrong() -> None:
    assert problems(status()) == []
    down = LineStatus(2, "okx", "wss://y", False, 0, 4, 0, "no route", 0, 0)
    stalled = LineStatus(3, "okx", "wss://y", True, 1, 0, 1, "", 1, 1, oldest_stream="BTC book", stalled=2)
    assert problems(status(lines=[down, stalled], ended=True)) == [
        "the feed has ended",
        "line 2 (okx) is down: no route",
        "line 3 (okx) has 2 stalled streams, oldest BTC book",
    ]


def test_only_loopback_is_served() -> None:
    assert parse_address("127.0.0.1:9108") == ("127.0.0.1", 9108)
    assert parse_address("[::1]:0") == ("::1", 0)
    for text in ("0.0.0.0:80", "example.com:80", "127.0.0.1", "127.0.0.1:99999", ":80", "127.0.0.1:²"):
        with pytest.raises(ConfigError, match="HTTP address"):
            parse_address(text)


def test_the_server_answers_what_it_has_and_survives_what_it_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 600.0)  # nobody is slow here but the machine

    async def ask(port: int, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        await writer.drain()
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def run() -> list[bytes]:
        async with StatusServer("127.0.0.1", 0, {"/healthz": lambda: (200, "text/plain", "ok\n")}) as server:
            head = b" HTTP/1.1\r\nHost: x\r\n\r\n"
            requests = [b"GET /healthz?x" + head, b"GET /../../etc/passwd" + head, b"POST /healthz" + head]
            hostile = [b"\x00" * 20_000, b"GET / HTTP/9\r\n\r\n", b""]
            return [await ask(server.port, request) for request in (*requests, *hostile, requests[0])]

    answers = asyncio.run(run())
    assert [answer.split(b"\r\n")[0] for answer in answers[:3]] == [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 404 Not Found",
        b"HTTP/1.1 405 Method Not Allowed",
    ]
    assert answers[4].startswith(b"HTTP/1.1 400")
    assert answers[-1].endswith(b"\r\n\r\nok\n")
