"""The lines of a live session: their connections, health, redundancy, and what they say of themselves."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from chronicle.core.clock import Clock
from chronicle.core.errors import ConfigError
from chronicle.feed.adapter import Frame
from chronicle.feed.clocks import ClockWatch
from chronicle.feed.connection import ConnectionSettings, LiveConnection, MessageSink, Opener
from chronicle.feed.dialects import Dialect, FeedSpec, dialects_for
from chronicle.feed.health import Action, HealthSettings, StreamWatch
from chronicle.feed.holes import HoleCounts
from chronicle.feed.log import EventLog
from chronicle.feed.marks import Line
from chronicle.feed.openers import default_opener
from chronicle.feed.race import LineRace
from chronicle.feed.rest import Get, RestClient
from chronicle.feed.resync import ResyncRequest
from chronicle.feed.status import LineStatus, RestStatus
from chronicle.feed.symbology import venue_name
from chronicle.feed.writer import FeedWriter

__all__ = ["LINES_MAX", "LiveLine", "LiveLines"]

LINES_MAX: Final = 1000
GAP_STREAMS_MAX: Final = 20
"""So many streams of a line are named, those with the most holes."""


@dataclass(slots=True)
class LiveLine:
    """One connection with what watches it. `line` counts redundant lines from 1; `group` names what is the same."""

    mark: Line
    line: int
    group: int
    connection: LiveConnection
    watch: StreamWatch

    @property
    def dialect(self) -> Dialect:
        """What the connection says."""
        return self.connection.dialect


class LiveLines:
    """All connections of a session.

    Parameters
    ----------
    feeds : sequence of FeedSpec
        Each gives one connection or several, numbered from 1 in this order.
    sink : callable
        Takes the frames of all.
    message_sink : MessageSink, optional
        Takes received messages before they are frames.
    clock : Clock
        Stamps frames and measures silence.
    settings, health
        Deadlines, and what counts as a stalled stream.
    get, opener : callable, optional
        How HTTP is asked and WebSockets are opened; tests pass their own.
    """

    def __init__(
        self,
        feeds: Sequence[FeedSpec],
        sink: Callable[[Frame], None],
        clock: Clock,
        settings: ConnectionSettings,
        health: HealthSettings,
        *,
        get: Get | None = None,
        opener: Opener | None = None,
        message_sink: MessageSink | None = None,
    ) -> None:
        self._clock = clock
        self._health = health
        self.lines: list[LiveLine] = []
        self.rest: dict[str, RestClient] = {}
        jitter = random.Random()  # noqa: S311 - spreads clients in time, nothing else
        for spec in feeds:
            base = len(self.lines)
            dialects = dialects_for(spec)
            per_line = len(dialects) // spec.lines
            for place, (dialect, line) in enumerate(dialects):
                rest = self._rest_of(dialect, settings, get)
                number = len(self.lines) + 1
                name = dialect.url if line == 1 else f"{dialect.url}#{line}"
                connection = LiveConnection(
                    *(number, dialect, sink, clock, settings, jitter, rest, opener or default_opener()),
                    message_sink=message_sink,
                )
                watch = StreamWatch(dialect.streams(), health, answers=dialect.starts_on_stream)
                mark = Line(number, name, venue_name(dialect.venue))
                self.lines.append(LiveLine(mark, line, base + place % per_line, connection, watch))
        if len(self.lines) > LINES_MAX:
            raise ConfigError("a live feed has too many connections", expected=LINES_MAX, found=len(self.lines))
        self.races = self._races()
        self.holes: HoleCounts | None = None
        """Counts the holes in the raw queue's numbers, once there is one."""
        self.clocks = ClockWatch()

    def bind(self, writer: FeedWriter, log: EventLog) -> None:
        """Let each line look its symbols up in the venue's list, once that is known, before it subscribes."""
        for line in self.lines:
            line.connection.prepare = partial(self._resolve, line, writer, log)

    def _resolve(self, line: LiveLine, writer: FeedWriter, log: EventLog) -> None:
        venue, dialect = line.mark.venue, line.dialect
        names = writer.registry.listed_names(venue)
        if not names:
            return
        before = list(dialect.symbols)
        unknown = dialect.resolve(partial(writer.registry.is_listed, venue), names.get)
        if dialect.symbols != before:
            line.watch = StreamWatch(dialect.streams(), self._health, answers=dialect.starts_on_stream)
        for symbol in unknown:
            log.event("unknown_symbol", venue=venue, line=line.mark.number, symbol=symbol)

    def addresses(self) -> dict[str, str]:
        """Return the venue of each HTTP address that is asked."""
        return {
            url: line.mark.venue for line in self.lines for url in (*line.dialect.lists(), *line.dialect.snapshots())
        }

    def race(self, connection: int, data: bytes | bytearray, last: int) -> None:
        """Count an event of a line that has redundant ones."""
        race = self.races.get(connection)
        if race is not None:
            race.take(connection, data, last)

    async def resync(self, request: ResyncRequest) -> int:
        """Pass a request on to the lines that carry the instrument; return how many were asked."""
        carrying = [
            line
            for line in self.lines
            if line.mark.venue == request.venue and line.connection.carries(request.venue_symbol, request.channel)
        ]
        exact = [line for line in carrying if line.dialect.canonical(request.venue_symbol) == request.symbol]
        count = 0
        for line in exact or carrying:  # one name may be an instrument of several markets
            count += await line.connection.resync(request.venue_symbol, request.channel)
        return count

    def stalled(self, writer: FeedWriter) -> list[tuple[LiveLine, Action]]:
        """Return what is due for streams that are silent although their line is up."""
        now, seen = self._clock.now_ns(), self._seen(writer)
        return [
            (line, action)
            for line in self.lines
            for action in line.watch.tick(seen[line.mark.number], line.connection.up_since_ns, now)
        ]

    def status(self, writer: FeedWriter, *, ended: bool) -> list[LineStatus]:
        """Return what each line says of itself."""
        now, seen = self._clock.now_ns(), self._seen(writer)
        return [self._status_of(line, writer, seen[line.mark.number], now, ended=ended) for line in self.lines]

    def rest_status(self) -> list[RestStatus]:
        """Return the state of the venues' HTTP interfaces."""
        return [
            RestStatus(venue, rest.state.name.lower(), rest.request_count, rest.failure_count, rest.refused_count)
            for venue, rest in sorted(self.rest.items())
        ]

    def _rest_of(self, dialect: Dialect, settings: ConnectionSettings, get: Get | None) -> RestClient:
        rest = self.rest.get(dialect.venue)
        if rest is None:
            rest = self.rest[dialect.venue] = RestClient(
                self._clock,
                rate=dialect.rest_per_second,
                burst=dialect.rest_burst,
                deadline=settings.http_deadline,
                get=get,
                headers=dialect.rest_headers,
            )
        return rest

    def _races(self) -> dict[int, LineRace]:
        groups: dict[int, list[int]] = {}
        for line in self.lines:
            groups.setdefault(line.group, []).append(line.mark.number)
        found: dict[int, LineRace] = {}
        for numbers in groups.values():
            if len(numbers) > 1:
                race = LineRace(tuple(numbers))
                found |= dict.fromkeys(numbers, race)
        return found

    def _seen(self, writer: FeedWriter) -> dict[int, dict[tuple[str, str], int]]:
        """Return by connection when each (symbol, channel) had its last event; snapshots over HTTP count for none."""
        names = {item.number: item.venue_symbol.rpartition("|")[2] for item in writer.registry.instruments()}
        found: dict[int, dict[tuple[str, str], int]] = {line.mark.number: {} for line in self.lines}
        for (connection, number, channel), ts in writer.decoder.streams.items():
            if connection in found and number in names:
                found[connection][names[number], channel] = ts
        return found

    def _holes_of(self, number: int, writer: FeedWriter) -> dict[str, int]:
        """Return how many holes the numbers of each stream of a connection had, by canonical name."""
        found = self.holes.of_line(number) if self.holes is not None else {}
        if not found:
            return {}
        names = {item.number: item.symbol for item in writer.registry.instruments()}
        return {names.get(instrument, str(instrument)): count for instrument, count in found.items()}

    def _status_of(
        self, line: LiveLine, writer: FeedWriter, seen: dict[tuple[str, str], int], now: int, *, ended: bool
    ) -> LineStatus:
        connection, number = line.connection, line.mark.number
        oldest = line.watch.oldest(seen, connection.up_since_ns, now)
        race = self.races.get(number)
        holes = self._holes_of(number, writer)
        return LineStatus(
            number=number,
            venue=line.mark.venue,
            address=line.mark.name,
            is_up=connection.is_up and not ended,
            connect_count=connection.connect_count,
            failure_count=connection.failure_count,
            last_frame_ts=connection.last_frame_ts,
            last_error=connection.last_error,
            stream_count=len({symbol for symbol, _ in seen}),
            oldest_stream_ts=min(seen.values(), default=0) if oldest is None else now - oldest[2],
            line=line.line,
            frames=connection.frame_count,
            bytes=connection.byte_count,
            oldest_stream="" if oldest is None else f"{oldest[0]} {oldest[1]}",
            stalled=line.watch.stalled(seen, connection.up_since_ns, now),
            renewed=line.watch.renewed_count,
            first=race.first[number] if race is not None else 0,
            missed=race.missed[number] if race is not None else 0,
            later=race.later[number] if race is not None else 0,
            behind_ns=race.behind_ns[number] if race is not None else 0,
            behind_ns_max=race.behind_ns_max[number] if race is not None else 0,
            gaps=sum(holes.values()),
            gap_streams=dict(sorted(holes.items(), key=lambda item: -item[1])[:GAP_STREAMS_MAX]),
            lag_ns=writer.decoder.lag_ns.get(number, 0),
            clock_behind_ns=self.clocks.behind_ns.get(number, 0),
        )
