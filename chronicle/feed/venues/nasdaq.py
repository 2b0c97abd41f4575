"""NASDAQ and its sister exchanges: ITCH 5.0, and LOBSTER's rows made of it.

Which of the two a frame is, its address says. The ITCH adapter brings kernels with it, so it is made when its first
frame comes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from chronicle.core.events import EventBuilder
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.lobster import LobsterAdapter

if TYPE_CHECKING:
    from chronicle.feed.venues.itch import ItchAdapter

__all__ = ["BxAdapter", "NasdaqAdapter", "PsxAdapter"]


class NasdaqAdapter:
    """Frames of NASDAQ: ``lobster:`` addresses are rows, all others ITCH."""

    venue = "nasdaq"

    def __init__(self, registry: InstrumentRegistry) -> None:
        self._registry = registry
        self._lobster = LobsterAdapter(registry)
        self._itch: ItchAdapter | None = None

    def prepare(self) -> None:
        """Load the kernels (on a new host: compile them) before packets come that could not wait for it."""
        from chronicle.feed.venues.itch import ItchAdapter

        add = struct.pack(">HcHHHIQcI8sI", 36, b"A", 1, 0, 0, 0, 1, b"B", 1, b"PREPARE ", 1)
        payload = struct.pack(">10sQH", b"PREPARE", 1, 1) + add
        ItchAdapter(InstrumentRegistry(), self.venue).decode(
            Frame(WireForm.BINARY, 0, "", 0, payload), EventBuilder()
        )

    def decode(self, frame: Frame, out: EventBuilder) -> None:
        """Add the records of `frame` to `out`; see the two adapters."""
        if frame.address.startswith("lobster:"):
            self._lobster.decode(frame, out)
            return
        if self._itch is None:
            if frame.form != WireForm.BINARY:
                return
            from chronicle.feed.venues.itch import ItchAdapter

            self._itch = ItchAdapter(self._registry, self.venue)
        self._itch.decode(frame, out)


class BxAdapter(NasdaqAdapter):
    """Nasdaq BX."""

    venue = "nasdaq-bx"


class PsxAdapter(NasdaqAdapter):
    """Nasdaq PSX."""

    venue = "nasdaq-psx"
