"""Sessions and sequences of one line of packets: what is new, what was missed, what came before."""

from __future__ import annotations

from dataclasses import dataclass

from chronicle.core.layout import NONE
from chronicle.feed.transports.packet import UNNUMBERED, Header

__all__ = ["LineSequence", "Place"]

FIRST_SEQUENCE = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a packet stands in its line.

    `skip` messages at its start are known already (all of them: a repeat). Messages `lost_first` to `lost_last` are
    missing before it (NONE: none). `is_new_session` says that it opens a session, `is_whole` that this session was
    seen from its first message on.
    """

    skip: int = 0
    lost_first: int = NONE
    lost_last: int = NONE
    is_new_session: bool = False
    is_whole: bool = False


class LineSequence:
    """Follows one line.

    A session is told by its name. Where packets say when they were sent (IEX-TP), a sequence that goes back in a
    packet sent *later* than all before it is a restart under the same name: another session, not a repeat.

    Attributes
    ----------
    session : str or None
        Name of the present session.
    expected : int
        Sequence of the next message; NONE before the first packet.
    is_whole : bool
        Whether the present session was seen from its first message on.
    session_count : int
        Sessions so far, restarts included.
    """

    def __init__(self) -> None:
        self.session: str | None = None
        self.expected = NONE
        self.is_whole = False
        self.session_count = 0
        self._sent_ts = NONE
        self._began_ts = NONE

    def is_stale(self, header: Header) -> bool:
        """Return whether `header` was sent before the present session of its name began."""
        return header.session == self.session and NONE != header.sent_ts < self._began_ts

    def opens_session(self, header: Header) -> bool:
        """Return whether `header` belongs to a session that has not begun here yet."""
        if header.session != self.session:
            return True
        return (
            header.next < self.expected
            and NONE not in (header.sent_ts, self._sent_ts)
            and (header.sent_ts > self._sent_ts)
        )

    def restart_clock(self, header: Header) -> None:
        """A session began with `header`: times of the one before say nothing about it."""
        self._sent_ts = self._began_ts = header.sent_ts

    def note_clock(self, header: Header) -> None:
        """Note when a packet of the session was sent."""
        self._sent_ts = max(self._sent_ts, header.sent_ts)

    def take(self, header: Header) -> Place:
        """Note the next packet of the line and return its place."""
        if header.first == UNNUMBERED and header.count:
            return Place(is_whole=self.is_whole)
        if self.is_stale(header):
            return Place(skip=header.count, is_whole=self.is_whole)
        is_new = self.opens_session(header)
        if is_new:
            joined = self.session is None
            self.session = header.session
            self.session_count += 1
            self.restart_clock(header)
            # The first session may have begun before us; what follows one that we saw is expected whole.
            self.expected = header.first if joined else FIRST_SEQUENCE
            self.is_whole = self.expected <= FIRST_SEQUENCE
        self.note_clock(header)
        expected = self.expected
        skip, lost_first, lost_last = 0, NONE, NONE
        if header.first > expected:
            lost_first, lost_last = expected, header.first - 1
            self.is_whole = False
        elif header.first < expected:
            skip = min(expected - header.first, header.count)
        self.expected = max(expected, header.next)
        return Place(skip, lost_first, lost_last, is_new, self.is_whole)
