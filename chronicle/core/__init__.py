"""Core: records, segments, queues. It knows no exchange, no object store and no asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronicle.core.lazy import lazy_names

if TYPE_CHECKING:
    from chronicle.core.appender import Appender
    from chronicle.core.errors import ChronicleError
    from chronicle.core.events import EventBuilder
    from chronicle.core.layout import Flag, Kind, Side
    from chronicle.core.queue import Queue
    from chronicle.core.records import Record
    from chronicle.core.tailer import Tailer

__all__ = ["Appender", "ChronicleError", "EventBuilder", "Flag", "Kind", "Queue", "Record", "Side", "Tailer"]

_HOMES = {
    "Appender": "appender",
    "ChronicleError": "errors",
    "EventBuilder": "events",
    "Flag": "layout",
    "Kind": "layout",
    "Queue": "queue",
    "Record": "records",
    "Side": "layout",
    "Tailer": "tailer",
}

__getattr__ = lazy_names(__name__, _HOMES)
