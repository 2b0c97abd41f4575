"""Live multicast: sockets that join groups, redundant lines put in order, holes asked for from a server."""

from __future__ import annotations

from chronicle.feed.multicast.receiver import MulticastReceiver
from chronicle.feed.multicast.receivers import LiveReceivers
from chronicle.feed.multicast.spec import MulticastSpec, check_spec

__all__ = ["LiveReceivers", "MulticastReceiver", "MulticastSpec", "check_spec"]
