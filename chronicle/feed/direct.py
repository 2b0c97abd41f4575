"""DirectPath: a connection's messages straight into both queues, by one compiled call each.

What a scan takes needs no object between the socket and the queues: the frame goes verbatim into the wire queue, its
records into the raw queue's own memory. The bytes in both are those of the long way (`FeedWriter.write`), which does
everything else: the first message with a name, a full segment, a late clock, whatever is of no shape.
"""

from __future__ import annotations

import ctypes
from typing import Any

from chronicle.core.appender import Appender
from chronicle.core.compiled import bind_function
from chronicle.feed.names import NameTable
from chronicle.feed.scan_state import Path, Plan, WriterCounts

__all__ = ["DirectPath"]


class DirectPath:
    """The way of one connection.

    Parameters
    ----------
    plan, table
        The shapes of the connection's adapter, and its names.
    wire, raw : Appender
        The queues; they and `counts` outlive the path.
    counts : WriterCounts
        Where the writer stands.
    connection : int
        Its number.
    address : str
        Its address; a frame of another one is not for this path.

    Attributes
    ----------
    put : callable
        ``put(payload, form, ts_recv)``: 1 when the message stands in both queues, 0 when nothing was written.
    """

    __slots__ = ("_kept", "_path", "_plan", "_table", "address", "put")

    def __init__(
        self,
        plan: Plan,
        table: NameTable,
        wire: Appender,
        raw: Appender,
        counts: WriterCounts,
        *,
        connection: int,
        address: str,
    ) -> None:
        from chronicle.feed.kernels.direct_call import put_message

        self.address = address
        self._plan, self._table = plan, table
        text = address.encode("utf-8", "backslashreplace")
        buffer = ctypes.create_string_buffer(text, len(text) + 1)
        self._kept = (buffer, wire, raw, counts)
        path = self._path = Path()
        path.plan, path.head = ctypes.addressof(plan), ctypes.addressof(table.head)
        path.lag = ctypes.addressof(table.sight.lag)
        path.wire, path.raw, path.counts = map(ctypes.addressof, (wire, raw, counts))
        path.connection, path.address, path.address_bytes = connection, ctypes.addressof(buffer), len(text)
        self.put: Any = bind_function("put_message", put_message, path)

    @property
    def is_open(self) -> bool:
        """Whether the connection's names still hold; a closed path never opens again."""
        return self._table.head.table != 0

    def last_record(self) -> bytes:
        """Return the last record of the last event that was put."""
        start = self._plan.last_offset
        return ctypes.string_at(self._path.event + start, self._path.event_bytes - start)
