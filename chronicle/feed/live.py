"""Live feeds: connections to exchanges, their frames into the wire and raw queues, resyncs, and an orderly end."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.errors import ChronicleError, ConfigError
from chronicle.feed.adapter import Frame
from chronicle.feed.connection import ConnectionSettings, LiveConnection
from chronicle.feed.dialects import FeedSpec, dialect_for
from chronicle.feed.lanes import DAY_NS, SEGMENT_BYTES, choose_lane, open_lane, prepare_home
from chronicle.feed.ledger import LIVE, Entry, Ledger
from chronicle.feed.marks import CaptureMark, Line, end_frame, start_frame
from chronicle.feed.multicast import MulticastReceiver, MulticastSpec
from chronicle.feed.resync import ResyncRequests
from chronicle.feed.status import FeedStatus, LineStatus, write_status
from chronicle.feed.symbology import venue_name
from chronicle.feed.writer import FeedWriter

__all__ = ["FeedSession", "LiveReport", "run_feed"]

TICK_SECONDS: Final = 0.05
STATUS_TICKS: Final = 20
SYNC_TICKS: Final = 100
LINES_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class LiveReport:
    """What a live session did. Times are ns UTC."""

    capture: str
    lane: int
    raw: str
    wire: str
    frames: int
    records: int
    events: int
    decode_errors: int
    connects: int
    failures: int
    resyncs: int
    first_ts: int
    last_ts: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for ``--json``."""
        return asdict(self)


class FeedSession:
    """One live capture: from its start mark to its end mark.

    Parameters
    ----------
    home : Path
        Where the queues are.
    feeds : sequence of FeedSpec
        One connection each, numbered from 1 in this order.
    multicast : sequence of MulticastSpec
        Feeds that come by multicast, numbered behind them.
    clock : Clock, optional
        Stamps the frames.
    settings : ConnectionSettings, optional
        Deadlines and delays of the connections.
    segment_bytes, cycle_ns : int
        For queues that this session creates.
    """

    def __init__(
        self,
        home: Path | str,
        feeds: Sequence[FeedSpec],
        *,
        multicast: Sequence[MulticastSpec] = (),
        clock: Clock | None = None,
        settings: ConnectionSettings | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        cycle_ns: int = DAY_NS,
    ) -> None:
        count = len(feeds) + len(multicast)
        if not 1 <= count <= LINES_MAX:
            raise ConfigError("a live feed needs connections", expected=f"1 to {LINES_MAX}", found=count)
        self.home = Path(home)
        self.clock = clock or SystemClock()
        self.resync_count = 0
        self._failure: BaseException | None = None
        self._stop: asyncio.Event | None = None
        self._segment_bytes, self._cycle_ns = segment_bytes, cycle_ns
        jitter = random.Random()  # noqa: S311 - spreads clients in time, nothing else
        self._dialects = [dialect_for(feed) for feed in feeds]
        self._lines = [
            Line(number, dialect.url, venue_name(feed.venue))
            for number, (feed, dialect) in enumerate(zip(feeds, self._dialects, strict=True), start=1)
        ]
        self.connections = [
            LiveConnection(line.number, dialect, self._take, self.clock, settings or ConnectionSettings(), jitter)
            for line, dialect in zip(self._lines, self._dialects, strict=True)
        ]
        self.receivers = [
            MulticastReceiver(number, spec, self._take, self.clock)
            for number, spec in enumerate(multicast, start=len(feeds) + 1)
        ]
        self._receiver_lines = [
            Line(receiver.number, receiver.spec.name, venue_name(receiver.spec.venue)) for receiver in self.receivers
        ]
        self._writer: FeedWriter | None = None

    async def run(self, stop: asyncio.Event) -> LiveReport:
        """Capture until `stop` is set, then end in order: intake stops, DISCONNECTED and CAPTURE_END are written,
        everything is made durable.

        Raises
        ------
        QueueLockedError
            When another writer owns the lane.
        CapacityError
            When a queue finds no space; what was written stays.
        """
        self._stop = stop
        prepare_home(self.home)
        first_ts = self.clock.now_ns()
        capture = f"live-{first_ts}"
        number = choose_lane(self.home, first_ts)
        lane = open_lane(self.home, number, segment_bytes=self._segment_bytes, cycle_ns=self._cycle_ns)
        with FeedWriter(lane, self.home) as writer:
            writer.decoder.require(line.venue for line in (*self._lines, *self._receiver_lines))
            entry = Entry(
                capture, capture, LIVE, [], number, writer.wire.next_index, writer.raw.next_index, LIVE, first_ts
            )
            Ledger(self.home).add(entry)
            self._writer = writer
            self._take(start_frame(self._mark(capture), first_ts))
            requests = ResyncRequests(self.home, self.clock)
            runners: list[LiveConnection | MulticastReceiver] = [*self.connections, *self.receivers]
            tasks = [asyncio.create_task(runner.run()) for runner in runners]
            try:
                await self._watch(stop, tasks, requests, capture)
            finally:
                requests.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            if self._failure is not None:
                raise self._failure
            last_ts = max(self.clock.now_ns(), writer.last_ts + 1)
            self._take(end_frame(capture, last_ts, reason="stopped"))
            writer.finish()
            self._report_status(capture, requests.dropped_count, ended=True)
            self._writer = None
            return LiveReport(
                capture=capture,
                lane=number,
                raw=lane.raw.name,
                wire=lane.wire.name,
                frames=writer.frames,
                records=writer.records,
                events=writer.events,
                decode_errors=writer.decoder.decode_errors,
                connects=sum(runner.connect_count for runner in runners),
                failures=sum(runner.failure_count for runner in runners),
                resyncs=self.resync_count,
                first_ts=first_ts,
                last_ts=last_ts,
            )

    @property
    def frames(self) -> int:
        """Frames written so far, marks included."""
        return self._writer.frames if self._writer is not None else 0

    @property
    def records(self) -> int:
        """Raw records written so far."""
        return self._writer.records if self._writer is not None else 0

    def _mark(self, capture: str) -> CaptureMark:
        addresses = {
            url: line.venue
            for line, dialect in zip(self._lines, self._dialects, strict=True)
            for url in (*dialect.lists(), *dialect.snapshots())
        }
        return CaptureMark(capture, LIVE, (), (*self._lines, *self._receiver_lines), addresses)

    def _take(self, frame: Frame) -> None:
        """Write a frame; the first failure (a full disk) ends the session."""
        if self._failure is not None or self._writer is None:
            return
        try:
            self._writer.write(frame)
        except (ChronicleError, OSError) as error:
            self._failure = error
            assert self._stop is not None
            self._stop.set()

    async def _watch(
        self, stop: asyncio.Event, tasks: list[asyncio.Task[None]], requests: ResyncRequests, capture: str
    ) -> None:
        """Pass on resyncs, keep the status file, sync; return when stopped, raise what ended a connection's task."""
        ticks = 0
        while not stop.is_set():
            for task in tasks:
                if task.done():
                    task.result()
            for request in requests.poll():
                await self._resync(request.venue, request.venue_symbol, request.channel)
            if ticks % STATUS_TICKS == 0:
                self._report_status(capture, requests.dropped_count)
            if ticks % SYNC_TICKS == SYNC_TICKS - 1 and self._writer is not None:
                self._writer.sync()
            ticks += 1
            try:
                await asyncio.wait_for(stop.wait(), TICK_SECONDS)
            except TimeoutError:
                continue

    async def _resync(self, venue: str, venue_symbol: str, channel: str) -> None:
        for line, connection in zip(self._lines, self.connections, strict=True):
            wanted = line.venue == venue and connection.carries(venue_symbol, channel)
            if wanted and await connection.resync(venue_symbol, channel):
                self.resync_count += 1

    def _report_status(self, capture: str, dropped: int, *, ended: bool = False) -> None:
        writer = self._writer
        if writer is None:
            return
        lines = []
        for line, connection in zip(self._lines, self.connections, strict=True):
            streams = [ts for (number, _), ts in writer.decoder.streams.items() if number == line.number]
            lines.append(
                LineStatus(
                    number=line.number,
                    venue=line.venue,
                    address=line.name,
                    is_up=connection.is_up and not ended,
                    connect_count=connection.connect_count,
                    failure_count=connection.failure_count,
                    last_frame_ts=connection.last_frame_ts,
                    last_error=connection.last_error,
                    stream_count=len(streams),
                    oldest_stream_ts=min(streams, default=0),
                )
            )
        for line, receiver in zip(self._receiver_lines, self.receivers, strict=True):
            streams = [ts for (number, _), ts in writer.decoder.streams.items() if number == line.number]
            lines.append(
                LineStatus(
                    number=line.number,
                    venue=line.venue,
                    address=line.name,
                    is_up=receiver.is_up and not ended,
                    connect_count=receiver.connect_count,
                    failure_count=receiver.failure_count,
                    last_frame_ts=receiver.last_frame_ts,
                    last_error=receiver.last_error,
                    stream_count=len(streams),
                    oldest_stream_ts=min(streams, default=0),
                    multicast=receiver.status().to_dict(),
                )
            )
        status = FeedStatus(
            capture=capture,
            pid=os.getpid(),
            ts=self.clock.now_ns(),
            raw=writer.lane.raw.name,
            wire=writer.lane.wire.name,
            frames=writer.frames,
            records=writer.records,
            decode_errors=writer.decoder.decode_errors,
            clamped=writer.clamped,
            resyncs=self.resync_count,
            resyncs_dropped=dropped,
            lines=lines,
        )
        write_status(self.home, status)


def run_feed(
    home: Path | str,
    feeds: Sequence[FeedSpec],
    stop: threading.Event,
    *,
    multicast: Sequence[MulticastSpec] = (),
    clock: Clock | None = None,
    settings: ConnectionSettings | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    cycle_ns: int = DAY_NS,
) -> LiveReport:
    """Run live feeds until `stop` is set (by a signal handler or another thread), and return what was captured.

    Raises
    ------
    ConfigError
        When a feed cannot be run; nothing was written then.
    QueueLockedError, CapacityError
        See :meth:`FeedSession.run`.
    """
    session = FeedSession(
        home,
        feeds,
        multicast=multicast,
        clock=clock,
        settings=settings,
        segment_bytes=segment_bytes,
        cycle_ns=cycle_ns,
    )
    return asyncio.run(_until(session, stop))


async def _until(session: FeedSession, stop: threading.Event) -> LiveReport:
    stopped = asyncio.Event()
    watcher = asyncio.create_task(_bridge(stop, stopped))
    try:
        return await session.run(stopped)
    finally:
        watcher.cancel()


async def _bridge(stop: threading.Event, stopped: asyncio.Event) -> None:
    while not stop.is_set():  # noqa: ASYNC110 - a thread's event has nothing to await, and a signal handler sets it
        await asyncio.sleep(TICK_SECONDS)
    stopped.set()
