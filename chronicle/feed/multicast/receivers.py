"""The multicast feeds of a live session: a receiver each, their lines in marks, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chronicle.core.clock import Clock
from chronicle.feed.adapter import Frame
from chronicle.feed.marks import Line
from chronicle.feed.multicast.receiver import MulticastReceiver
from chronicle.feed.multicast.spec import MulticastSpec
from chronicle.feed.status import LineStatus
from chronicle.feed.symbology import venue_name
from chronicle.feed.writer import FeedWriter

__all__ = ["LiveReceivers"]


class LiveReceivers:
    """Receivers, numbered after the session's WebSocket lines.

    Parameters
    ----------
    specs : sequence of MulticastSpec
        What to join.
    first : int
        Number of the first one's line.
    sink : callable
        Takes every frame.
    clock : Clock
        Times of receipt.
    """

    def __init__(
        self, specs: Sequence[MulticastSpec], first: int, sink: Callable[[Frame], None], clock: Clock
    ) -> None:
        self.receivers = [MulticastReceiver(number, spec, sink, clock) for number, spec in enumerate(specs, first)]
        self.marks = [
            Line(receiver.number, receiver.spec.name, venue_name(receiver.spec.venue)) for receiver in self.receivers
        ]

    def status(self, writer: FeedWriter, *, ended: bool) -> list[LineStatus]:
        """Return what each multicast feed says of itself."""
        found = []
        for mark, receiver in zip(self.marks, self.receivers, strict=True):
            seen = [ts for (number, _, _), ts in writer.decoder.streams.items() if number == mark.number]
            found.append(
                LineStatus(
                    number=mark.number,
                    venue=mark.venue,
                    address=mark.name,
                    is_up=receiver.is_up and not ended,
                    connect_count=receiver.connect_count,
                    failure_count=receiver.failure_count,
                    last_frame_ts=receiver.last_frame_ts,
                    last_error=receiver.last_error,
                    stream_count=len(seen),
                    oldest_stream_ts=min(seen, default=0),
                    frames=receiver.frame_count,
                    bytes=receiver.byte_count,
                    lag_ns=writer.decoder.lag_ns.get(mark.number, 0),
                    multicast=receiver.status().to_dict(),
                )
            )
        return found
