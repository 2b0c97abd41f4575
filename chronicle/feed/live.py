"""Live feeds: connections to exchanges, their frames into the wire and raw queues, resyncs, and an orderly end."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.errors import ChronicleError, ConfigError
from chronicle.core.layout import WireForm
from chronicle.core.local import LocalSource
from chronicle.core.paths import feed_of
from chronicle.core.queue import Queue
from chronicle.feed.adapter import Frame
from chronicle.feed.behind import BehindWriter
from chronicle.feed.connection import ConnectionSettings, LiveConnection, Opener
from chronicle.feed.dialects import FeedSpec
from chronicle.feed.health import HealthSettings
from chronicle.feed.holes import HoleCounts
from chronicle.feed.http import Answer, StatusServer
from chronicle.feed.lanes import DAY_NS, SEGMENT_BYTES, choose_lane, deciding, open_lane, prepare_home
from chronicle.feed.ledger import LIVE, Entry, Ledger
from chronicle.feed.log import EventLog
from chronicle.feed.marks import CaptureMark, Line, end_frame, heartbeat_frame, start_frame
from chronicle.feed.metrics import CONTENT_TYPE, problems, render_metrics
from chronicle.feed.multicast import LiveReceivers, MulticastReceiver, MulticastSpec
from chronicle.feed.rest import Get
from chronicle.feed.resync import ResyncRequests
from chronicle.feed.session import LINES_MAX, LiveLines
from chronicle.feed.status import FeedStatus, QueueStatus, write_status
from chronicle.feed.writer import FeedWriter

__all__ = ["FeedSession", "LiveReport", "run_feed"]

TICK_SECONDS: Final = 0.05
STATUS_TICKS: Final = 20
SYNC_TICKS: Final = 100
HEARTBEAT_NS: Final = 1_000_000_000
"""A feed that nothing came to for so long says so in its queues."""
HEARTBEAT_SHARED_NS: Final = 100_000_000
"""And after so long where the home has other raw queues: the ETL that merges them waits for this one."""


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
        Each gives one connection or more, numbered from 1 in this order.
    multicast : sequence of MulticastSpec
        Feeds that come by multicast, numbered behind them.
    clock : Clock, optional
        Stamps the frames.
    settings : ConnectionSettings, optional
        Deadlines and delays of the connections.
    health : HealthSettings, optional
        What counts as a stalled stream.
    http : (str, int), optional
        Where to serve ``/healthz``, ``/readyz`` and ``/metrics``; see :attr:`http_port`.
    log : EventLog, optional
        Is told what happens.
    get, opener : callable, optional
        How HTTP is asked and WebSockets are opened.
    segment_bytes, cycle_ns : int
        For queues that this session creates.
    name : str
        Name of the wire and the raw queue: each feed process of a home has its own.
    """

    def __init__(
        self,
        home: Path | str,
        feeds: Sequence[FeedSpec],
        *,
        multicast: Sequence[MulticastSpec] = (),
        clock: Clock | None = None,
        settings: ConnectionSettings | None = None,
        health: HealthSettings | None = None,
        http: tuple[str, int] | None = None,
        log: EventLog | None = None,
        get: Get | None = None,
        opener: Opener | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        cycle_ns: int = DAY_NS,
        name: str = "main",
    ) -> None:
        count = len(feeds) + len(multicast)
        if not 1 <= count <= LINES_MAX:
            raise ConfigError("a live feed needs connections", expected=f"1 to {LINES_MAX}", found=count)
        self.home = Path(home)
        self.clock = clock or SystemClock()
        self.resync_count = 0
        self.http_port = 0
        self._http = http
        self._log = log or EventLog(self.clock, lambda line: None, "off")
        self._failure: BaseException | None = None
        self._stop: asyncio.Event | None = None
        self._segment_bytes, self._cycle_ns, self._name = segment_bytes, cycle_ns, name
        self._lines = LiveLines(
            feeds,
            self._take,
            self.clock,
            settings or ConnectionSettings(),
            health or HealthSettings(),
            get=get,
            opener=opener,
            message_sink=self._take_message,
        )
        first = len(self._lines.lines) + 1
        self._multicast = LiveReceivers(multicast, first, self._take, self.clock)
        self._said: dict[int, tuple[int, int]] = {}
        self._writer: FeedWriter | None = None
        self._heartbeat_ns = HEARTBEAT_NS

    @property
    def connections(self) -> list[LiveConnection]:
        """All connections, in the order of their numbers."""
        return [line.connection for line in self._lines.lines]

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
        with deciding(self.home, self.clock):
            number = choose_lane(self.home, first_ts, name=self._name)
            lane = open_lane(
                self.home, number, segment_bytes=self._segment_bytes, cycle_ns=self._cycle_ns, name=self._name
            )
            opened = FeedWriter(lane, self.home)
        with opened as writer:
            marks = (*(line.mark for line in self._lines.lines), *self._multicast.marks)
            writer.decoder.require(mark.venue for mark in marks)
            starts = writer.wire.next_index, writer.raw.next_index
            entry = Entry(capture, capture, LIVE, [], number, *starts, LIVE, first_ts, feed=self._name)
            Ledger(self.home).add(entry)
            self._writer = writer
            self._lines.bind(writer, self._log)
            if self._lines.races:
                writer.race = self._lines.race
            rules = {number: fields.sequence_rule for number, fields in writer.registry.definitions().items()}
            self._lines.holes = HoleCounts(rules)
            behind = BehindWriter(lane.raw, self._lines.holes, self._lines.clocks, self._log)
            self._take(start_frame(self._mark(capture), first_ts))
            writer.prefault()
            requests = ResyncRequests(self.home, self.clock)
            self._log.event("capture_start", capture=capture, raw=lane.raw.name, lines=len(marks))
            runners: list[LiveConnection | MulticastReceiver] = [*self.connections, *self._multicast.receivers]
            tasks = [asyncio.create_task(runner.run()) for runner in runners]
            try:
                async with self._served(capture, requests):
                    await self._watch(stop, tasks, requests, behind, capture)
            finally:
                requests.close()
                behind.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            self._tell_of_lines()
            if self._failure is not None:
                raise self._failure
            last_ts = max(self.clock.now_ns(), writer.last_ts + 1)
            self._take(end_frame(capture, last_ts, reason="stopped"))
            writer.finish()
            self._report_status(capture, requests.dropped_count, ended=True)
            self._writer = None
            self._log.event("capture_end", capture=capture, frames=writer.frames, records=writer.records)
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
        marks = (*(line.mark for line in self._lines.lines), *self._multicast.marks)
        return CaptureMark(capture, LIVE, (), marks, self._lines.addresses())

    @asynccontextmanager
    async def _served(self, capture: str, requests: ResyncRequests) -> AsyncIterator[None]:
        """Serve the status over HTTP for as long as the session runs, where that is wanted."""
        if self._http is None:
            yield
            return

        def status() -> FeedStatus:
            return self._status(capture, requests.dropped_count, ended=False)

        def ready() -> Answer:
            found = problems(status())
            return (503 if found else 200), "text/plain; charset=utf-8", "\n".join(found or ["ready"]) + "\n"

        routes = {
            "/healthz": lambda: (200, "text/plain; charset=utf-8", "ok\n"),
            "/readyz": ready,
            "/metrics": lambda: (200, CONTENT_TYPE, render_metrics(status(), self.clock.now_ns())),
        }
        async with StatusServer(*self._http, routes) as server:
            self.http_port = server.port
            self._log.event("http", host=server.host, port=server.port)
            yield

    def _take(self, frame: Frame) -> None:
        """Write a frame; the first failure (a full disk) ends the session."""
        if self._failure is not None or self._writer is None:
            return
        try:
            self._writer.write(frame)
        except (ChronicleError, OSError) as error:
            self._fail(error)

    def _take_message(self, form: WireForm, connection: int, address: str, ts_recv: int, payload: bytes) -> None:
        """Write a received message; see :meth:`_take`."""
        if self._failure is not None or self._writer is None:
            return
        try:
            self._writer.write_message(form, connection, address, ts_recv, payload)
        except (ChronicleError, OSError) as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """End the session for `error`."""
        self._failure = error
        assert self._stop is not None
        self._stop.set()

    async def _watch(
        self,
        stop: asyncio.Event,
        tasks: list[asyncio.Task[None]],
        requests: ResyncRequests,
        behind: BehindWriter,
        capture: str,
    ) -> None:
        """Pass on resyncs, keep the status file, sync; return when stopped, raise what ended a connection's task."""
        ticks = 0
        while not stop.is_set():
            for task in tasks:
                if task.done():
                    task.result()
            for request in requests.poll():
                count = await self._lines.resync(request)
                self.resync_count += count
                name = request.symbol or f"{request.venue}:{request.venue_symbol}"
                self._log.event("resync", symbol=name, channel=request.channel, lines=count)
            self._tell_of_lines()
            behind.count()
            if ticks % STATUS_TICKS == 0:
                self._heartbeat_ns = HEARTBEAT_SHARED_NS if self._is_one_of_several() else HEARTBEAT_NS
                await self._look_after()
                self._report_status(capture, requests.dropped_count)
            self._beat()
            if ticks % SYNC_TICKS == SYNC_TICKS - 1 and self._writer is not None:
                self._writer.sync()
            ticks += 1
            try:
                await asyncio.wait_for(stop.wait(), TICK_SECONDS)
            except TimeoutError:
                continue

    def _beat(self) -> None:
        """Say that nothing came, where nothing did."""
        writer, now_ns = self._writer, self.clock.now_ns()
        if writer is not None and now_ns - writer.last_ts >= self._heartbeat_ns:
            self._take(heartbeat_frame(now_ns))

    def _is_one_of_several(self) -> bool:
        """Whether the home has raw queues of other feeds."""
        return len({feed_of(name) for name in LocalSource(self.home).queues("raw/")}) > 1

    def _tell_of_lines(self) -> None:
        """Log the lines that came or went since the last call."""
        watched: list[tuple[Line, LiveConnection | MulticastReceiver]] = [
            *((line.mark, line.connection) for line in self._lines.lines),
            *zip(self._multicast.marks, self._multicast.receivers, strict=True),
        ]
        for mark, connection in watched:
            number = mark.number
            now = (connection.connect_count, connection.failure_count)
            before = self._said.get(number, (0, 0))
            if now[0] != before[0]:
                self._log.event("connected", venue=mark.venue, line=number, address=mark.name, count=now[0])
            if now[1] != before[1]:
                self._log.event("lost", venue=mark.venue, line=number, reason=connection.last_error, count=now[1])
            self._said[number] = now

    async def _look_after(self) -> None:
        """Do what stalled streams need."""
        if self._writer is None:
            return
        for line, action in self._lines.stalled(self._writer):
            reason = f"{action.symbol} {action.channel} was silent for {action.silent_seconds:.0f} s"
            what = "reconnect" if action.reconnects else "renew"
            self._log.event(what, venue=line.mark.venue, line=line.mark.number, reason=reason)
            if action.reconnects:
                line.connection.drop(f"{reason}, also when asked for a snapshot")
            else:
                await line.connection.renew(action.symbol, action.channel)

    def _report_status(self, capture: str, dropped: int, *, ended: bool = False) -> None:
        if self._writer is not None:
            write_status(self.home, self._status(capture, dropped, ended=ended), self._name)

    def _status(self, capture: str, dropped: int, *, ended: bool) -> FeedStatus:
        writer = self._writer
        assert writer is not None
        return FeedStatus(
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
            lines=[*self._lines.status(writer, ended=ended), *self._multicast.status(writer, ended=ended)],
            lost=writer.decoder.lost,
            scanned=writer.decoder.scans[0],
            declined=writer.decoder.scans[1],
            rest=self._lines.rest_status(),
            queues=[_queue_status(queue) for queue in (writer.lane.wire, writer.lane.raw)],
            ended=ended,
        )


def _queue_status(queue: Queue) -> QueueStatus:
    marks = queue.watermarks()
    reads = [tailer.index for tailer in queue.tailers()]
    return QueueStatus(queue.name, marks.committed, marks.synced, min(reads, default=-1))


def run_feed(
    home: Path | str,
    feeds: Sequence[FeedSpec],
    stop: threading.Event,
    *,
    multicast: Sequence[MulticastSpec] = (),
    clock: Clock | None = None,
    settings: ConnectionSettings | None = None,
    health: HealthSettings | None = None,
    http: tuple[str, int] | None = None,
    log: EventLog | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    cycle_ns: int = DAY_NS,
    name: str = "main",
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
        health=health,
        http=http,
        log=log,
        segment_bytes=segment_bytes,
        cycle_ns=cycle_ns,
        name=name,
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
