"""Frames by hand, for adapter tests."""

from __future__ import annotations

import json
from typing import Any

from chronicle.core.events import EventBuilder
from chronicle.core.layout import WireForm
from chronicle.core.records import Record
from chronicle.feed.adapter import Adapter, Frame
from tests.support.naive_book import taken

TS = 1_700_000_000_000_000_000


def frame(message: Any, *, form: WireForm = WireForm.TEXT, address: str = "wss://test", connection: int = 1) -> Frame:
    """Return a frame of `message`: bytes as they are, anything else as JSON."""
    payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    return Frame(form, connection, address, TS, payload)


def decoded(adapter: Adapter, *messages: Any, **options: Any) -> list[Record]:
    """Decode messages (frames, or what `frame` takes) one after the other; return the records of the last one."""
    out = EventBuilder()
    records: list[Record] = []
    for message in messages:
        sent = message if isinstance(message, Frame) else frame(message, **options)
        out.begin(TS, source=sent.connection)
        adapter.decode(sent, out)
        records = taken(out)
    return records
