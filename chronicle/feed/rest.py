"""Asking a venue over HTTP: within its rate, and not at all while it fails."""

from __future__ import annotations

import asyncio
import http.client
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from chronicle.core.clock import Clock
from chronicle.core.errors import ConfigError
from chronicle.feed.limits import BreakerState, CircuitBreaker, TokenBucket

__all__ = ["Get", "RestClient", "http_get"]

HTTP_BYTES_MAX: Final = 16 * 1024 * 1024
TRIES_MAX: Final = 5
TRY_AGAIN_SECONDS: Final = 1.0
TOO_MANY: Final = (418, 429)
"""What venues answer to a client that asks too often (418: Binance, once it is banned)."""

_NO_HEADERS: Final[Mapping[str, str]] = {}

Get = Callable[[str, str, float], bytes]
"""(method, URL, deadline in seconds) to the body; raises OSError."""


class RestClient:
    """The HTTP interface of one venue, shared by all its connections.

    Parameters
    ----------
    clock : Clock
        For the limits.
    rate, burst : float, int
        Requests a second, and how many at once.
    deadline : float
        Seconds for one answer.
    get : callable, optional
        Does the request in a thread; default :func:`http_get`.
    headers : mapping of str to str, optional
        What the default `get` says of the client besides, as a key.

    Attributes
    ----------
    request_count, failure_count, refused_count : int
        Requests made, those that failed, and those that the breaker did not let out.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        rate: float,
        burst: int,
        deadline: float,
        get: Get | None = None,
        headers: Mapping[str, str] | None = None,
        breaker: CircuitBreaker | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.breaker = breaker or CircuitBreaker(clock)
        self._bucket = TokenBucket(clock, rate=rate, burst=burst)
        self._clock = clock
        self._deadline = deadline
        self._get = get or partial(http_get, headers=headers or {})
        self._sleep = sleep
        self._listed: dict[str, int] = {}
        self.request_count = 0
        self.failure_count = 0
        self.refused_count = 0

    @property
    def state(self) -> BreakerState:
        """Of the circuit breaker."""
        return self.breaker.state

    async def fetch(self, url: str, *, method: str = "GET") -> bytes:
        """Return the body of the answer, once the venue's rate allows the request.

        Raises
        ------
        OSError
            When the venue does not answer, answers with an error, or the breaker is open.
        """
        if not self.breaker.allow():
            self.refused_count += 1
            raise OSError(f"not asked: {url} failed before, next try in {self.breaker.wait_seconds():.0f} s")
        delay = self._bucket.take()
        if delay:
            await self._sleep(delay)
        self.request_count += 1
        try:
            body = await asyncio.to_thread(self._get, method, url, self._deadline)
        except urllib.error.HTTPError as error:
            self.failure_count += 1
            if error.code in TOO_MANY:
                self.breaker.failure(pause_seconds=_retry_after(error))
            elif error.code >= 500:
                self.breaker.failure()
            else:
                self.breaker.success()  # it answered: the question was wrong
            raise
        except OSError:
            self.failure_count += 1
            self.breaker.failure()
            raise
        self.breaker.success()
        return body

    async def fetch_surely(self, url: str) -> bytes:
        """Return the body after up to five tries, the breaker's pauses between them.

        Raises
        ------
        OSError
            When all of them failed, or the venue says that the question is wrong.
        """
        for left in range(TRIES_MAX - 1, 0, -1):
            try:
                return await self.fetch(url)
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code not in TOO_MANY:
                    raise
            except OSError:
                pass  # tried again below
            await self._sleep(max(self.breaker.wait_seconds(), TRY_AGAIN_SECONDS * (TRIES_MAX - left)))
        return await self.fetch(url)

    def list_is_due(self, url: str, interval_seconds: float) -> bool:
        """Return whether the list at `url` was not had for so long."""
        had = self._listed.get(url)
        return had is None or self._clock.monotonic_ns() - had >= interval_seconds * 1e9

    def note_list(self, url: str) -> None:
        """Note that the list at `url` came now."""
        self._listed[url] = self._clock.monotonic_ns()


def http_get(method: str, url: str, deadline: float, *, headers: Mapping[str, str] = _NO_HEADERS) -> bytes:
    """Ask for `url` and return the body, at most 16 MiB of it. `headers` do not follow to another address.

    Raises
    ------
    OSError
        When there is no answer, or one with an error or too large.
    ConfigError
        When `url` is none of HTTP.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError("a list's address is no URL of HTTP", expected="http:// or https://", found=url)
    data = b"" if method == "POST" else None
    request = urllib.request.Request(url, data=data, headers={"User-Agent": "chronicle"}, method=method)  # noqa: S310
    for name, value in headers.items():
        request.add_unredirected_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=deadline) as response:  # noqa: S310 - checked above
            body: bytes = response.read(HTTP_BYTES_MAX + 1)
    except (ValueError, http.client.HTTPException) as error:
        raise OSError(f"cannot ask {url}: {error}") from error
    except urllib.error.HTTPError as error:
        error.close()
        raise
    if len(body) > HTTP_BYTES_MAX:
        raise OSError(f"the answer of {url} is larger than {HTTP_BYTES_MAX} bytes")
    return body


def _retry_after(error: urllib.error.HTTPError) -> float:
    text = error.headers.get("Retry-After", "") if error.headers is not None else ""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 10.0
