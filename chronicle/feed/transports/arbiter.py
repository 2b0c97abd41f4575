"""Packets of several redundant lines as one stream in order: the first copy wins, holes wait for whoever fills them.

Pure but for its own state: time comes in with the packets. Live receivers and replays of captures share it. How long
a hole waits is measured by when its packets are taken, which for a capture is when they came: a live receiver that
stood still finds packets that came long ago, and has asked nobody for what is missing among them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from chronicle.core.layout import NONE
from chronicle.feed.transports.packet import UNNUMBERED, Header
from chronicle.feed.transports.sequence import FIRST_SEQUENCE, LineSequence

__all__ = ["Arbiter", "Arrival", "Counts", "Hole"]

PENDING_PACKETS_MAX: Final = 65_536
PENDING_BYTES_MAX: Final = 64 * 1024 * 1024
"""What waits behind a hole is bounded: beyond either of these the hole is given up."""
SESSIONS_MAX: Final = 1_000
"""So many ended sessions are remembered, so that a straggler of one does not seem to open it again."""
SWITCH_NS: Final = 2_000_000_000
"""A session that was not ended is left for one that is under way only after so much silence."""
OUTLIERS_MAX: Final = 2
"""So many packets far ahead, while others go on in order, are a mistake of somebody, not a hole."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One packet as it came: `line` says on which of the redundant lines (or from the re-request server)."""

    payload: bytes
    ts: int
    line: str
    header: Header


@dataclass(frozen=True, slots=True)
class Hole:
    """Messages `first` to `last` of `session` are missing, since `since_ns` of the clock by which holes wait."""

    session: str
    first: int
    last: int
    since_ns: int


@dataclass(slots=True)
class Counts:
    """Who had what, by line: packets that came first, that came again, and that filled a hole."""

    won: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    filled: Counter[str] = field(default_factory=Counter)
    foreign: Counter[str] = field(default_factory=Counter)
    """Packets of another session while this one is alive, or with numbers far from all others."""
    holes: int = 0
    given_up: int = 0
    lost_messages: int = 0

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "won": dict(self.won),
            "duplicates": dict(self.duplicates),
            "filled": dict(self.filled),
            "foreign": dict(self.foreign),
            "holes": self.holes,
            "given_up": self.given_up,
            "lost_messages": self.lost_messages,
        }


class Arbiter:
    """Orders the packets of redundant lines.

    What goes out keeps its time of arrival, but for packets that waited for one which came later: they go out with
    the time of that one, so that time does not run back in a line.

    Parameters
    ----------
    give_up_ns : int
        A hole that nobody filled for so long is given up; what waited behind it goes on, and whoever reads the
        packets sees the hole in their numbers.
    from_start : bool
        Whether messages before the first packet of the first session count as missing.
    """

    def __init__(self, *, give_up_ns: int, from_start: bool = False) -> None:
        self.counts = Counts()
        self.is_ended = False
        """Whether the present session said its end."""
        self._give_up_ns = give_up_ns
        self._line = LineSequence()
        self._from_start = from_start
        self._pending: dict[int, Arrival] = {}
        self._pending_bytes = 0
        self._since_ns = NONE
        self._before: dict[str, None] = {}
        self._out_ts = 0
        self._heard_ts = 0
        self._hole_first = NONE

    @property
    def session(self) -> str | None:
        """Name of the present session."""
        return self._line.session

    @property
    def expected(self) -> int:
        """Sequence of the next message to go out; NONE before the first packet."""
        return self._line.expected

    @property
    def hole(self) -> Hole | None:
        """What is missing now before anything can go out, None when nothing is."""
        if not self._pending or self._line.session is None:
            return None
        return Hole(self._line.session, self._line.expected, min(self._pending) - 1, self._since_ns)

    def take(self, arrival: Arrival, now_ns: int | None = None) -> list[Arrival]:
        """Return what goes out, in order, now that `arrival` came.

        Parameters
        ----------
        now_ns : int, optional
            The time by the clock that holes wait by, the same as in :meth:`expire`; default when the packet came.
        """
        header, line = arrival.header, self._line
        now = arrival.ts if now_ns is None else now_ns
        if header.first == UNNUMBERED and header.count:
            return [self._going(arrival)]
        out: list[Arrival] = []
        if line.is_stale(header):
            self.counts.duplicates[arrival.line] += 1
            return out
        if line.opens_session(header):
            refused = self._refused(arrival)
            if refused is not None:
                refused[arrival.line] += 1
                return out
            out += self._open(header)
        self._heard_ts = max(self._heard_ts, arrival.ts)
        self.is_ended = self.is_ended or header.is_end
        if header.first > line.expected:
            self._wait(arrival, now)
        elif header.next > line.expected or not header.count:
            if self._pending:
                self.counts.filled[arrival.line] += bool(header.count)
            out += self._pass(arrival, now)
        else:
            self.counts.duplicates[arrival.line] += 1
        if self._pending and (now - self._since_ns >= self._give_up_ns or self._is_full()):
            out += self.give_up(now)
        return out

    def give_up(self, now_ns: int) -> list[Arrival]:
        """Skip the hole at hand, and return what waited behind it; a hole behind that waits from `now_ns` on.

        Where others went on in order since the hole was seen, a packet or two far ahead are dropped instead: were
        they right, the next packet shows the hole again.
        """
        hole = self.hole
        if hole is None:
            return []
        if hole.first > self._hole_first and len(self._pending) <= OUTLIERS_MAX:
            for held in self._pending.values():
                self.counts.foreign[held.line] += 1
            self._pending.clear()
            self._pending_bytes = 0
            return []
        self.counts.given_up += 1
        self.counts.lost_messages += hole.last - hole.first + 1
        return self._drain(hole.last + 1, now_ns)

    def expire(self, now_ns: int) -> list[Arrival]:
        """Return what goes out because its hole waited too long by `now_ns`."""
        if self._pending and now_ns - self._since_ns >= self._give_up_ns:
            return self.give_up(now_ns)
        return []

    def flush(self) -> list[Arrival]:
        """Return all that waits, at the end of the capture."""
        out: list[Arrival] = []
        while self._pending:
            self._hole_first = self._line.expected
            out += self.give_up(self._since_ns)
        return out

    def _refused(self, arrival: Arrival) -> Counter[str] | None:
        """Return as what a packet of another session is counted, None when its session is entered."""
        header, session = arrival.header, self._line.session
        if session is None or header.session == session:  # the first one, or a restart under the same name
            return None
        if arrival.ts - self._heard_ts >= SWITCH_NS:
            return None
        if header.session in self._before:  # a slow line's last packets of a session that was left
            return self.counts.duplicates
        return None if self.is_ended or header.first <= FIRST_SEQUENCE else self.counts.foreign

    def _open(self, header: Header) -> list[Arrival]:
        """Leave the present session for that of `header`; return what still waited in it."""
        line = self._line
        out = self.flush()
        joined = line.session is None
        if line.session is not None and line.session != header.session:
            self._before[line.session] = None
            self._before.pop(header.session, None)
            if len(self._before) > SESSIONS_MAX:
                del self._before[next(iter(self._before))]
        first = header.first if joined and not self._from_start else FIRST_SEQUENCE
        line.session, line.expected = header.session, first
        line.session_count += 1
        line.restart_clock(header)
        self.is_ended = False
        return out

    def _wait(self, arrival: Arrival, now_ns: int) -> None:
        header = arrival.header
        held = self._pending.get(header.first)
        if held is not None and held.header.count >= header.count:
            self.counts.duplicates[arrival.line] += 1
            return
        if not self._pending:
            self.counts.holes += 1
            self._since_ns = now_ns
            self._hole_first = self._line.expected
        if held is not None:
            self._pending_bytes -= len(held.payload)
        self._pending[header.first] = arrival
        self._pending_bytes += len(arrival.payload)
        self._line.note_clock(header)

    def _pass(self, arrival: Arrival, now_ns: int) -> list[Arrival]:
        self._line.note_clock(arrival.header)
        out = [self._going(arrival)]
        self._line.expected = max(self._line.expected, arrival.header.next)
        if self._pending:
            out += self._drain(self._line.expected, now_ns)
        return out

    def _drain(self, expected: int, now_ns: int) -> list[Arrival]:
        """Go on at `expected`: return what waited and is in order now."""
        out: list[Arrival] = []
        skipped = expected > self._line.expected
        for first in sorted(self._pending):
            if first > expected:
                break
            skipped = True
            held = self._pending.pop(first)
            self._pending_bytes -= len(held.payload)
            if held.header.next > expected or not held.header.count:
                out.append(self._going(held))
                expected = max(expected, held.header.next)
            else:
                self.counts.duplicates[held.line] += 1
        self._line.expected = expected
        if self._pending:
            self.counts.holes += skipped
            self._since_ns = now_ns
            if skipped:
                self._hole_first = expected
        else:
            self._since_ns = NONE
        return out

    def _going(self, arrival: Arrival) -> Arrival:
        """Count a packet that goes out, and give it its time."""
        self.counts.won[arrival.line] += 1
        if arrival.ts < self._out_ts:
            return replace(arrival, ts=self._out_ts)
        self._out_ts = arrival.ts
        return arrival

    def _is_full(self) -> bool:
        return len(self._pending) >= PENDING_PACKETS_MAX or self._pending_bytes >= PENDING_BYTES_MAX
