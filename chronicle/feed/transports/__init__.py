"""How exchanges number and pack messages in datagrams (MoldUDP64, IEX-TP), and what is done about holes."""

from __future__ import annotations

from chronicle.feed.transports.arbiter import Arbiter
from chronicle.feed.transports.packet import Header
from chronicle.feed.transports.recognise import Protocol, Recognised, recognise
from chronicle.feed.transports.sequence import LineSequence

__all__ = ["Arbiter", "Header", "LineSequence", "Protocol", "Recognised", "recognise"]
