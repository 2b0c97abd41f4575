"""One live connection in fake time, against sockets of our own: deadlines, backoff, keep-alives, paces."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chronicle.core.clock import FakeClock
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.connection import ConnectionSettings, LiveConnection, Socket
from chronicle.feed.dialects import FeedSpec, dialect_for
from chronicle.feed.rest import RestClient
from tests.support.fake_time import run

SECOND = 10**9
Behaviour = Callable[["Line"], Awaitable[str]]


class Line:
    """A socket: `behave` gives each message that is received, or raises; sent texts are kept with their times."""

    def __init__(self, clock: FakeClock, behave: Behaviour) -> None:
        self.clock = clock
        self.behave = behave
        self.sent: list[tuple[float, str]] = []
        self.stuck = False

    async def recv(self) -> str | bytes:
        return await self.behave(self)

    async def send(self, message: str) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        self.sent.append((self.clock.steady_ns / 1e9, message))


class Venue:
    """Opens lines, one behaviour after the other (the last goes on for ever), and notes when."""

    def __init__(self, clock: FakeClock, *behaviours: Behaviour | OSError) -> None:
        self.clock = clock
        self.behaviours = list(behaviours)
        self.lines: list[Line] = []
        self.opened: list[float] = []
        self.urls: list[str] = []

    @asynccontextmanager
    async def open(self, url: str, settings: ConnectionSettings) -> AsyncIterator[Socket]:
        self.opened.append(self.clock.steady_ns / 1e9)
        self.urls.append(url)
        behave = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        if isinstance(behave, OSError):
            raise behave
        self.lines.append(Line(self.clock, behave))
        yield self.lines[-1]


async def silent(line: Line) -> str:
    await asyncio.Event().wait()
    return ""


def every(seconds: float, text: str = '{"event":"heartbeat"}') -> Behaviour:
    async def behave(line: Line) -> str:
        await asyncio.sleep(seconds)
        return text

    return behave


async def closing(line: Line) -> str:
    raise ConnectionResetError("reset by peer")


class Session:
    """A connection of `spec` to `venue`, in fake time."""

    def __init__(self, *behaviours: Behaviour | OSError, spec: FeedSpec | None = None, get: Any = None) -> None:
        self.clock = FakeClock(1_700_000_000 * SECOND)
        self.venue = Venue(self.clock, *behaviours)
        self.frames: list[Frame] = []
        dialect = dialect_for(spec or FeedSpec("kraken", "ws://x", ("XBT/USD",), ("book",)))
        rest = RestClient(self.clock, rate=1000.0, burst=1000, deadline=1.0, get=get)
        settings = ConnectionSettings()
        self.connection = LiveConnection(
            1, dialect, self.frames.append, self.clock, settings, random.Random(7), rest, self.venue.open
        )

    def run_for(self, seconds: float, beside: Callable[[], Awaitable[None]] | None = None) -> None:
        async def work() -> None:
            task = asyncio.create_task(self.connection.run())
            other = asyncio.ensure_future(beside()) if beside is not None else None
            await asyncio.sleep(seconds)
            task.cancel()
            await asyncio.gather(task, *([other] if other is not None else []), return_exceptions=True)

        run(self.clock, work())

    def forms(self, form: WireForm) -> list[str]:
        return [frame.payload.decode() for frame in self.frames if frame.form == form]


def test_a_line_that_says_nothing_is_given_up_after_the_read_deadline_and_tried_again() -> None:
    session = Session(silent)
    session.run_for(200.0)
    assert session.forms(WireForm.DISCONNECTED)[:2] == ["no frame in 60 s"] * 2
    first, second, third = session.venue.opened[:3]
    assert 60.5 <= second - first <= 61.0, "60 s and a delay of 0.5 to 1 s"
    assert 61.0 <= third - second <= 62.0, "and twice that"
    assert session.connection.failure_count == len(session.venue.opened) - 1


def test_delays_grow_to_a_minute_and_start_anew_after_a_line_that_held() -> None:
    session = Session(*[OSError("no route")] * 9, every(1.0), OSError("no route"))
    session.run_for(1000.0, lambda: cut(session, after=60.0))
    gaps = [round(b - a, 3) for a, b in zip(session.venue.opened, session.venue.opened[1:], strict=False)]
    for gap, most in zip(gaps[:9], [1, 2, 4, 8, 16, 32, 60, 60, 60], strict=True):
        assert most / 2 <= gap <= most
    held = session.venue.opened[10] - session.venue.opened[9]
    assert gaps[10] <= 2.0
    assert held > 60.0


async def cut(session: Session, *, after: float) -> None:
    while not session.connection.is_up:  # noqa: ASYNC110 - fake time
        await asyncio.sleep(1.0)
    await asyncio.sleep(after)
    session.connection.drop("told to")


def test_a_line_that_is_dropped_comes_back_and_says_why() -> None:
    session = Session(every(1.0))
    session.run_for(30.0, lambda: cut(session, after=5.0))
    assert session.forms(WireForm.DISCONNECTED) == ["told to"]
    assert (session.connection.connect_count, session.connection.is_up) == (2, True)
    subscriptions = [text for text in session.forms(WireForm.SENT) if "subscribe" in text]
    assert len(subscriptions) == 2, "it subscribed again"


def test_keep_alives_are_sent_while_the_venue_talks() -> None:
    session = Session(every(0.5))
    session.run_for(70.0)
    pings = [at for at, text in session.venue.lines[0].sent if "ping" in text]
    assert [round(b - a) for a, b in itertools.pairwise(pings)] == [20, 20]
    assert session.connection.failure_count == 0


def test_a_message_that_is_not_taken_ends_the_line_after_the_write_deadline() -> None:
    session = Session(every(1.0))

    async def stick() -> None:
        await asyncio.sleep(5.0)
        session.venue.lines[0].stuck = True

    session.run_for(40.0, stick)
    assert session.forms(WireForm.DISCONNECTED) == ["a message was not taken in 10 s"]
    assert 30.5 <= session.venue.opened[1] - session.venue.opened[0] <= 31.0, "a ping at 20 s, 10 s, and the delay"


def test_requests_keep_the_venue_s_pace() -> None:
    symbols = tuple(f"S{n}USDT" for n in range(700))
    session = Session(every(0.1, "{}"), spec=FeedSpec("binance", "ws://x", symbols, ("book",)))
    session.run_for(5.0)
    times = [at for at, _ in session.venue.lines[0].sent]
    assert len(times) == 4
    assert [round(b - a, 3) for a, b in itertools.pairwise(times)] == [0.25] * 3


def test_what_the_venue_asks_is_answered() -> None:
    question = '{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}'
    session = Session(every(10.0, question), spec=FeedSpec("deribit", "ws://x", ("BTC-PERPETUAL",)))
    session.run_for(35.0)
    assert sum("public/test" in text for _, text in session.venue.lines[0].sent) == 3


def test_a_resync_on_a_line_that_is_down_is_refused() -> None:
    session = Session(OSError("no route"))
    assert run(session.clock, session.connection.resync("XBT/USD", "book")) is False


@pytest.mark.parametrize("behaviour", [closing, silent])
def test_ending_leaves_no_task_behind(behaviour: Behaviour) -> None:
    session = Session(behaviour)

    async def work() -> set[asyncio.Task[Any]]:
        task = asyncio.create_task(session.connection.run())
        await asyncio.sleep(90.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]

    assert run(session.clock, work()) == set()


class DeliveringLine(Line):
    """A socket that calls with each message that `behave` gives, as picows does."""

    async def deliver(self, take: Callable[[bytes, bool], None]) -> None:
        while True:
            message = await self.behave(self)
            take(message.encode(), True)


class DeliveringVenue(Venue):
    """Opens lines that deliver."""

    @asynccontextmanager
    async def open(self, url: str, settings: ConnectionSettings) -> AsyncIterator[Socket]:
        async with super().open(url, settings):
            self.lines[-1] = DeliveringLine(self.clock, self.lines[-1].behave)
            yield self.lines[-1]


class DeliveringSession(Session):
    """A session whose lines deliver."""

    def __init__(self, *behaviours: Behaviour | OSError, spec: FeedSpec | None = None) -> None:
        super().__init__(*behaviours, spec=spec)
        self.venue = DeliveringVenue(self.clock, *behaviours)
        self.connection._opener = self.venue.open


def test_a_delivering_line_is_silent_after_the_read_deadline_and_an_eighth() -> None:
    session = DeliveringSession(silent)
    session.run_for(200.0)
    assert session.forms(WireForm.DISCONNECTED)[:2] == ["no frame in 60 s"] * 2
    first, second = session.venue.opened[:2]
    assert 60.5 <= second - first <= 68.6


def test_a_delivering_line_that_talks_stays_up_and_its_frames_are_stamped() -> None:
    session = DeliveringSession(every(7.0))
    session.run_for(300.0)
    assert session.connection.failure_count == 0
    texts = [frame for frame in session.frames if frame.form == WireForm.TEXT]
    assert len(texts) == session.connection.frame_count == 42
    assert [b.ts_recv - a.ts_recv for a, b in itertools.pairwise(texts)] == [7 * SECOND] * 41
    assert session.connection.byte_count == sum(len(frame.payload) for frame in texts)


def test_a_delivering_line_that_ends_or_is_dropped_comes_back() -> None:
    session = DeliveringSession(closing, every(1.0))
    session.run_for(30.0, lambda: cut(session, after=10.0))
    reasons = session.forms(WireForm.DISCONNECTED)
    assert reasons[0].startswith("ConnectionResetError: reset by peer")
    assert "told to" in reasons[1:]


def test_a_delivering_line_answers_what_the_venue_asks() -> None:
    question = '{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}'
    session = DeliveringSession(every(10.0, question), spec=FeedSpec("deribit", "ws://x", ("BTC-PERPETUAL",)))
    session.run_for(35.0)
    assert sum("public/test" in text for _, text in session.venue.lines[0].sent) == 3
