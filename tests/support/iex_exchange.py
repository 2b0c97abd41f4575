"""A small IEX: segments of one session to multicast groups on the loopback interface, and a gap fill server."""

from __future__ import annotations

import struct

from tests.support.iex_feed import DEEP, iex_packet
from tests.support.mold_exchange import MoldExchange

__all__ = ["IexExchange"]

_SESSION, _CHANNEL = 9, 1


class IexExchange(MoldExchange):
    """As its base, in IEX-TP."""

    def packet(self, first: int, count: int) -> bytes:
        part = self.messages[first - 1 : first - 1 + count]
        return iex_packet(first, part, sent_ts=1_700_000_000_000_000_000 + first, session=_SESSION)

    def heartbeat(self, *lines: int, end: bool = False) -> None:
        self.send(self.packet(len(self.messages) + 1, 0), *lines)

    def asked(self, request: bytes) -> tuple[bytes, int, int]:
        """Take a request apart by hand: 16 bytes and one range."""
        version, kind, protocol, channel, session, ranges = struct.unpack("<BBHIII", request[:16])
        assert (version, kind, protocol, channel, ranges, len(request)) == (1, 1, DEEP, _CHANNEL, 1, 32)
        first, last = struct.unpack("<qq", request[16:])
        return (self.session if session == _SESSION else b""), first, last - first + 1
