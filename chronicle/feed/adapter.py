"""What an adapter is: a pure translation of one venue's frames into records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from chronicle.core.events import EventBuilder
from chronicle.core.layout import WireForm

__all__ = ["Adapter", "Frame"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One thing that came over (or went out on) a connection, verbatim.

    `connection` is the number of the line within the feed (1, 2 ...; 0 for what belongs to none, as an HTTP
    response or a capture's configuration). A line keeps its number over reconnects. `address` is the URL, or what
    the capture names instead. `ts_recv` is ns UTC, taken before parsing.
    """

    form: WireForm
    connection: int
    address: str
    ts_recv: int
    payload: bytes


class Adapter(Protocol):
    """Turns frames of one venue into records. It holds no socket, reads no clock, and never guesses."""

    venue: str

    def decode(self, frame: Frame, out: EventBuilder) -> None:
        """Add the records of `frame` to `out`, which was begun with the frame's time and connection.

        A frame that carries nothing for us adds nothing. What cannot be read raises DecodeError after (or instead
        of) the records that could: the feed counts it and leaves a STATUS record, so that nothing is lost in
        silence.
        """
        ...
