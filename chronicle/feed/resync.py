"""Requests of the ETL for a new snapshot of one symbol, as ``control/resync.q`` carries them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chronicle.core.clock import Clock
from chronicle.core.errors import ChronicleError, NotFoundError
from chronicle.core.layout import Kind, StatusCode
from chronicle.core.queue import Queue
from chronicle.core.records import Record
from chronicle.core.tailer import Tailer

__all__ = ["RESYNC_QUEUE", "ResyncRequest", "ResyncRequests"]

RESYNC_QUEUE: Final = "control/resync.q"
INTERVAL_NS: Final = 5 * 10**9
"""One symbol is asked for again no sooner than this."""
BURST: Final = 10
"""So many requests at once, over all symbols; one more every ``REFILL_NS``."""
REFILL_NS: Final = 10**9
SYMBOLS_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class ResyncRequest:
    """Which book has to start anew, in the venue's spelling; `symbol` is the canonical name, where it was said."""

    venue: str
    venue_symbol: str
    channel: str
    symbol: str = ""


class ResyncRequests:
    """Tails the requests, and lets through what the rate limits allow.

    A venue punishes clients that resubscribe in a loop, so a symbol is asked for at most once in 5 s, and all
    together at most ten at once and one a second. What is over the limit is dropped: the ETL asks again for as long
    as the book is not whole.

    Parameters
    ----------
    home : Path
        The queue may not be there yet. Requests older than this object are not answered: the subscription that
        begins with it brings snapshots anyway.
    clock : Clock
        For the limits.
    """

    def __init__(self, home: Path, clock: Clock) -> None:
        self._home = home
        self._clock = clock
        self._tailer: Tailer | None = None
        self._asked: dict[tuple[str, str], int] = {}
        self._tokens = float(BURST)
        self._filled_ns = clock.monotonic_ns()
        self.dropped_count = 0
        self._open(at_end=True)

    def poll(self) -> list[ResyncRequest]:
        """Return the requests since the last call that may be made now."""
        if self._tailer is None and not self._open(at_end=False):
            return []
        assert self._tailer is not None
        allowed = []
        for record in self._tailer.drain():
            request = read_request(record)
            if request is None:
                continue
            if self._allow(request):
                allowed.append(request)
            else:
                self.dropped_count += 1
        return allowed

    def close(self) -> None:
        """Release the queue."""
        if self._tailer is not None:
            self._tailer.close()
            self._tailer = None

    def _open(self, *, at_end: bool) -> bool:
        try:
            queue = Queue.open(self._home / RESYNC_QUEUE, name=RESYNC_QUEUE)
        except NotFoundError:
            return False
        self._tailer = Tailer(queue, clock=self._clock)
        if at_end:
            self._tailer.seek_end()
        return True

    def _allow(self, request: ResyncRequest) -> bool:
        now = self._clock.monotonic_ns()
        self._tokens = min(float(BURST), self._tokens + (now - self._filled_ns) / REFILL_NS)
        self._filled_ns = now
        key = request.venue, request.symbol or request.venue_symbol
        last = self._asked.get(key)
        if self._tokens < 1.0 or (last is not None and now - last < INTERVAL_NS):
            return False
        if len(self._asked) >= SYMBOLS_MAX:
            self._asked.clear()
        self._tokens -= 1.0
        self._asked[key] = now
        return True


def read_request(record: Record) -> ResyncRequest | None:
    """Return the request in a STATUS RESYNC record; None for anything else, and for what is malformed."""
    if record.kind != Kind.STATUS:
        return None
    try:
        fields = record.fields()
    except ChronicleError:
        return None
    details = fields["details"]
    if fields["code"] != StatusCode.RESYNC:
        return None
    venue, symbol = details.get("venue"), details.get("venue_symbol")
    channel = details.get("channel", "book")
    if not isinstance(venue, str) or not isinstance(symbol, str) or channel not in {"book", "trade", "quote"}:
        return None
    name = details.get("symbol", "")
    return ResyncRequest(venue, symbol, channel, name if isinstance(name, str) else "")
