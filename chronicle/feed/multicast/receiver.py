"""One multicast feed, live: every packet once and in order, holes asked for, the rest told.

The event loop reads the sockets; the arbiter decides what goes on; a timer asks for holes again and gives them up.
A line that is silent is not taken down: its packets are numbered, so that whatever was missed shows when it speaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from chronicle.core.clock import Clock
from chronicle.core.errors import ConfigError, DecodeError
from chronicle.core.layout import NONE, WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.marks import silent_frame
from chronicle.feed.multicast.sockets import UdpSocket, open_group, open_unicast
from chronicle.feed.multicast.spec import MulticastSpec, check_spec, host_and_port
from chronicle.feed.transports.arbiter import Arbiter, Arrival, Hole
from chronicle.feed.transports.packet import Header, iex_request, mold_request
from chronicle.feed.transports.recognise import IEX, read_header

__all__ = ["MulticastReceiver", "MulticastStatus"]

BATCH_DATAGRAMS: Final = 256
"""So many datagrams are read before others get their turn."""
TICK_SECONDS: Final = 0.005
REJOIN_SECONDS: Final = 1.0
REQUEST_MESSAGES_MAX: Final = 10_000
"""One request names at most so many messages; a server answers with one packet, and is asked again from there."""
REQUEST_DELAY_NS: Final = 1_000_000
"""A hole is asked for only after this: the other line's copy is usually on its way."""
REWIND: Final = "rewind"


@dataclass(slots=True)
class MulticastStatus:
    """What a feed says of itself: packets by line, holes, requests, and what the kernel dropped."""

    session: str = ""
    next_sequence: int = 0
    is_ended: bool = False
    arbitration: dict[str, Any] = field(default_factory=dict)
    requests: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    foreign: int = 0
    buffer_bytes: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


class MulticastReceiver:
    """Receives one feed and hands over its packets as frames.

    Parameters
    ----------
    number : int
        Connection number of its frames.
    spec : MulticastSpec
        What to join.
    sink : callable
        Takes each frame, in order; it does not raise.
    clock : Clock
        For what the kernel does not stamp, and for deadlines.

    Attributes
    ----------
    is_up : bool
        Whether packets come.
    connect_count, failure_count : int
        How often the groups were joined, and how often that failed or the feed went silent.
    frame_count, byte_count : int
        Packets that went on, and their bytes.
    last_frame_ts : int
        ts_recv of the last packet, 0 before the first.
    last_error : str
        What went wrong last.
    """

    def __init__(self, number: int, spec: MulticastSpec, sink: Callable[[Frame], None], clock: Clock) -> None:
        check_spec(spec)
        self.number = number
        self.spec = spec
        self.is_up = False
        self.connect_count = 0
        self.failure_count = 0
        self.frame_count = 0
        self.byte_count = 0
        self.last_frame_ts = 0
        self.last_error = ""
        self.foreign_count = 0
        self.request_count = 0
        self._sink = sink
        self._clock = clock
        self._protocol = spec.protocol
        self._arbiter = Arbiter(give_up_ns=spec.give_up_ns, from_start=spec.from_start)
        self._sockets: dict[str, UdpSocket] = {}
        self._dropped: dict[str, int] = {}
        self._asked: tuple[Hole, int] | None = None
        self._heading: Header | None = None
        """That of the last packet: a request of IEX-TP names its protocol and channel."""
        self._heard_ns = 0

    async def run(self) -> None:
        """Receive until cancelled; join again when the feed is silent or a socket fails."""
        while True:
            try:
                await self._receive()
                reason = f"no packet in {self.spec.silent_ns / 1e9:g} s"
            except (OSError, ConfigError) as error:
                reason = f"{type(error).__name__}: {error}"
            finally:
                self._close()
            self._silent(reason)
            await asyncio.sleep(REJOIN_SECONDS)

    def status(self) -> MulticastStatus:
        """Return the feed's counters."""
        arbiter = self._arbiter
        dropped = dict(self._dropped)
        for name, opened in self._sockets.items():
            dropped[name] = dropped.get(name, 0) + opened.dropped_count
        return MulticastStatus(
            session=arbiter.session or "",
            next_sequence=max(arbiter.expected, 0),
            is_ended=arbiter.is_ended,
            arbitration=arbiter.counts.to_dict(),
            requests=self.request_count,
            dropped=dropped,
            foreign=self.foreign_count,
            buffer_bytes={name: opened.buffer_bytes for name, opened in self._sockets.items()},
        )

    # --- sockets -----------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        """Join, and return when nothing came for `silent_ns`."""
        spec, loop = self.spec, asyncio.get_running_loop()
        for group in spec.groups:
            host, port = host_and_port(group)
            self._sockets[group] = open_group(host, port, spec.interface, spec.buffer_bytes)
        if spec.rewind:
            self._sockets[REWIND] = open_unicast(*host_and_port(spec.rewind), spec.buffer_bytes)
        self.connect_count += 1
        if self.connect_count == 1:
            self._put(WireForm.CONNECTED, spec.name, b"")
        self._heard_ns = self._clock.monotonic_ns()
        try:
            for name, opened in self._sockets.items():
                loop.add_reader(opened.fileno(), self._read, name, opened)
            while not self._is_silent():
                await asyncio.sleep(TICK_SECONDS)
                self._tick()
        finally:
            for opened in self._sockets.values():
                loop.remove_reader(opened.fileno())

    def _is_silent(self) -> bool:
        """Whether nothing came for `silent_ns`. What waits in the sockets came: a process may have stood still."""
        silent_ns = self.spec.silent_ns
        if self._clock.monotonic_ns() - self._heard_ns >= silent_ns:
            self._read_all()
        return self._clock.monotonic_ns() - self._heard_ns >= silent_ns

    def _close(self) -> None:
        for name, opened in self._sockets.items():
            self._dropped[name] = self._dropped.get(name, 0) + opened.dropped_count
            opened.close()
        self._sockets.clear()

    def _silent(self, reason: str) -> None:
        self.failure_count += 1
        self.last_error = reason[:500]
        if self.is_up:
            self.is_up = False
            self._sink(silent_frame(self.number, self._clock.now_ns(), reason=self.last_error))

    # --- packets -----------------------------------------------------------------------------------------------

    def _read(self, name: str, opened: UdpSocket) -> None:
        """Take what has arrived at one socket; the loop calls again while there is more."""
        try:
            received = opened.receive(BATCH_DATAGRAMS)
        except OSError as error:
            self.last_error = f"{name}: {error}"
            return
        for item in received:
            self._take(name, item.payload, item.ts or self._clock.now_ns())

    def _read_all(self) -> None:
        for name, opened in self._sockets.items():
            self._read(name, opened)

    def _take(self, name: str, payload: bytes, ts: int) -> None:
        try:
            header = read_header(self._protocol, payload)
        except DecodeError as error:  # no packet of this feed: whoever sent it, it fills no hole and makes none
            self.foreign_count += 1
            self.last_error = f"{name}: {error.message}"
            return
        self._heading = header
        if name == REWIND:  # sent again at another time, or with the old one: it tells nothing of restarts
            header = replace(header, sent_ts=NONE)
        now = self._heard_ns = self._clock.monotonic_ns()
        self.is_up = True
        self.last_frame_ts = ts
        self._pass(self._arbiter.take(Arrival(payload, ts, name, header), now))
        if self._asked is not None and self._arbiter.expected != self._asked[0].first:
            self._asked = None  # the answer came: ask for the rest at once
            self._request(now, at_once=True)

    def _pass(self, arrivals: list[Arrival]) -> None:
        for arrival in arrivals:
            self.frame_count += 1
            self.byte_count += len(arrival.payload)
            address = f"{self._protocol.name}://{arrival.line}"
            self._sink(Frame(WireForm.BINARY, self.number, address, arrival.ts, arrival.payload))

    def _put(self, form: WireForm, address: str, payload: bytes) -> None:
        self._sink(Frame(form, self.number, address, self._clock.now_ns(), payload))

    # --- holes -------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now, hole = self._clock.monotonic_ns(), self._arbiter.hole
        if hole is not None:
            if now - hole.since_ns >= self.spec.give_up_ns:
                self._read_all()  # what fills it may have come
            self._pass(self._arbiter.expire(now))
            self._request(now)

    def _request(self, now_ns: int, *, at_once: bool = False) -> None:
        """Ask the re-request server for the hole at hand, unless an answer may still come."""
        hole, server = self._arbiter.hole, self._sockets.get(REWIND)
        if hole is None or server is None or (now_ns - hole.since_ns < REQUEST_DELAY_NS and not at_once):
            return
        if self._asked is not None:
            asked, at = self._asked
            if asked.first == hole.first and asked.session == hole.session and now_ns - at < self.spec.retry_ns:
                return
        count = min(hole.last - hole.first + 1, REQUEST_MESSAGES_MAX)
        if self._protocol is IEX and self._heading is not None:
            server.send(iex_request(self._heading, hole.session, hole.first, count))
        else:
            server.send(mold_request(hole.session, hole.first, count))
        self.request_count += 1
        self._asked = (hole, now_ns)
