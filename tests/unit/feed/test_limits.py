"""Token bucket, circuit breaker and the HTTP client that keeps to them."""

from __future__ import annotations

import asyncio
import email.message
import io
import urllib.error
from collections.abc import Callable

import pytest

from chronicle.core.clock import FakeClock
from chronicle.feed.limits import BreakerState, CircuitBreaker, TokenBucket
from chronicle.feed.rest import RestClient, http_get

SECOND = 10**9


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    clock = FakeClock()
    bucket = TokenBucket(clock, rate=2.0, burst=3)
    assert [bucket.take() for _ in range(6)] == [0.0, 0.0, 0.0, 0.5, 1.0, 1.5]
    clock.sleep_ns(100 * SECOND)
    assert [bucket.take() for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_a_breaker_opens_tries_once_and_waits_longer_each_time() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock, failures_max=3, first_seconds=5.0, last_seconds=15.0)
    for _ in range(2):
        breaker.failure()
        assert breaker.allow()
    breaker.failure()
    assert (breaker.state, breaker.allow()) == (BreakerState.OPEN, False)
    for pause in (5, 10, 15, 15):
        assert breaker.wait_seconds() == pause
        clock.sleep_ns(pause * SECOND - 1)
        assert not breaker.allow()
        clock.sleep_ns(1)
        assert breaker.state == BreakerState.HALF_OPEN
        assert breaker.allow()
        assert not breaker.allow(), "one trial at a time"
        breaker.failure()
    clock.sleep_ns(15 * SECOND)
    assert breaker.allow()
    breaker.success()
    assert (breaker.state, breaker.wait_seconds(), breaker.open_count) == (BreakerState.CLOSED, 0.0, 5)


def http_error(code: int, **headers: str) -> urllib.error.HTTPError:
    message = email.message.Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return urllib.error.HTTPError("http://x", code, "no", message, io.BytesIO())


class Venue:
    """Answers with a script: bytes, or what is raised."""

    def __init__(self, *script: bytes | OSError) -> None:
        self.script = list(script)
        self.asked: list[tuple[str, str]] = []

    def __call__(self, method: str, url: str, deadline: float) -> bytes:
        self.asked.append((method, url))
        answer = self.script.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer


def client(clock: FakeClock, venue: Venue, *, rate: float = 1000.0) -> tuple[RestClient, list[float]]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.sleep_ns(int(seconds * SECOND))

    return RestClient(clock, rate=rate, burst=1, deadline=1.0, get=venue, sleep=sleep), slept


def test_requests_wait_for_their_turn() -> None:
    rest, slept = client(FakeClock(), Venue(b"1", b"2", b"3"), rate=0.5)

    async def run() -> list[bytes]:
        return [await rest.fetch("http://x") for _ in range(3)]

    assert asyncio.run(run()) == [b"1", b"2", b"3"]
    assert slept == [2.0, 2.0]


@pytest.mark.parametrize("make", [lambda: OSError("down"), lambda: http_error(503)])
def test_a_venue_that_fails_is_left_alone_and_asked_again(make: Callable[[], OSError]) -> None:
    clock, venue = FakeClock(), Venue(*(make() for _ in range(5)), b"back")
    rest, _ = client(clock, venue)

    async def run() -> bytes:
        for _ in range(5):
            with pytest.raises(OSError):  # noqa: PT011 - of whichever kind
                await rest.fetch("http://x")
        assert rest.state == BreakerState.OPEN
        with pytest.raises(OSError, match="not asked"):
            await rest.fetch("http://x")
        assert len(venue.asked) == 5
        clock.sleep_ns(5 * SECOND)
        return await rest.fetch("http://x")

    assert asyncio.run(run()) == b"back"
    assert (rest.state, rest.request_count, rest.failure_count, rest.refused_count) == (BreakerState.CLOSED, 6, 5, 1)


def test_too_many_requests_open_the_breaker_for_as_long_as_the_venue_says() -> None:
    clock = FakeClock()
    rest, slept = client(clock, Venue(http_error(429, Retry_After="42"), b"ok"))
    assert asyncio.run(rest.fetch_surely("http://x")) == b"ok"
    assert slept[0] == 42.0


def test_a_wrong_question_is_not_repeated_and_no_failure_of_the_venue() -> None:
    rest, slept = client(FakeClock(), Venue(*(http_error(400) for _ in range(9))))

    async def run() -> None:
        for _ in range(9):
            with pytest.raises(urllib.error.HTTPError):
                await rest.fetch_surely("http://x")

    asyncio.run(run())
    assert (rest.state, rest.request_count) == (BreakerState.CLOSED, 9)
    assert max(slept, default=0.0) < 0.1, "only the venue's rate was waited for"


def test_only_http_is_asked() -> None:
    from chronicle.core.errors import ConfigError

    with pytest.raises(ConfigError):
        http_get("GET", "file:///etc/passwd", 1.0)
