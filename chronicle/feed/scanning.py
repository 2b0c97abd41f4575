"""ScanningAdapter: a venue's adapter with compiled scans before it, for the messages whose shape the venue declares.

The records are those of the plain adapter, byte for byte: what a scan does not take, it leaves untouched, and the
plain adapter reads it. A scan takes a message only when all of its names are known, and a name becomes known after
the plain adapter has read a message with it, so that everything that happens at a first sight (a definition, a
depth, what an adapter notes of a connection) happens there.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from chronicle.core.compiled import bind_function, is_possible
from chronicle.core.errors import ChronicleError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.names import NameTable, Sight
from chronicle.feed.scan_state import Plan
from chronicle.feed.shapes import CompiledShapes
from chronicle.feed.venues.messages import MessageAdapter

__all__ = ["ScanningAdapter"]

PLAIN_FIRST: Final = 256
"""So many messages are read plainly before the kernels are loaded, unless `prepare` did: short replays need none."""
CONNECTIONS_MAX: Final = 1 << 12
_MESSAGES: Final = frozenset({WireForm.TEXT, WireForm.BINARY})
_KERNELS: Final = "chronicle.feed.kernels.scan_call"


class ScanningAdapter:
    """The adapter of a venue that declares shapes.

    Parameters
    ----------
    plain : MessageAdapter
        Reads everything that a scan does not take.
    plain_first : int, optional
        Messages before the kernels are loaded.

    Attributes
    ----------
    plain : MessageAdapter
        The adapter behind it.
    sights : dict of int to Sight
        What direct writes noted, by connection.
    """

    def __init__(self, plain: MessageAdapter, *, plain_first: int = PLAIN_FIRST) -> None:
        self.plain = plain
        self.venue = plain.venue
        self._wait = 0 if _KERNELS in sys.modules else plain_first
        self._tables: dict[int, NameTable] = {}
        self.sights: dict[int, Sight] = {}
        self._shapes: CompiledShapes | None = None
        self._plan: Any = None
        self._scan: Any = None

    @property
    def scanned(self) -> int:
        """Messages that scans took."""
        return self._shapes.plan.scanned if self._shapes is not None else 0

    @property
    def declined(self) -> int:
        """Messages that scans left to the plain adapter."""
        return self._shapes.plan.declined if self._shapes is not None else 0

    def prepare(self) -> None:
        """Load the kernels (on a new host: compile them) before messages come that could not wait for it."""
        self._wait = 0
        if self._shapes is None and is_possible():
            from chronicle.feed.kernels.scan_call import scan_bytes

            self._shapes = CompiledShapes(self.plain.shapes)
            self._plan = self._shapes.plan
            self._scan = bind_function("scan", scan_bytes, self._plan)

    def decode(self, frame: Frame, out: EventBuilder) -> None:
        """Add the records of `frame` to `out`; see :meth:`chronicle.feed.adapter.Adapter.decode`."""
        if frame.form not in _MESSAGES:
            if frame.form in (WireForm.CONNECTED, WireForm.DISCONNECTED):
                self._close(frame.connection)
            self.plain.decode(frame, out)
            return
        scan, table = self._scan, self._tables.get(frame.connection)
        if scan is None or table is None or table.source != frame.address:
            self._first(frame, out)
            return
        plan = self._plan
        event = scan(frame.payload, table.address, out.ts_recv, out.source_index, out.source, out.flags)
        if event:
            out.adopt(event, plan.count, plan.last_offset)
            return
        self.plain.decode(frame, out)
        self._learn(frame, table)

    def way_of(self, connection: int) -> tuple[Plan, NameTable] | None:
        """Return what direct writes of a connection's messages need, None while its messages are read plainly."""
        table = self._tables.get(connection)
        return (self._shapes.plan, table) if self._shapes is not None and table is not None else None

    def _close(self, connection: int) -> None:
        """Forget a connection's names."""
        table = self._tables.pop(connection, None)
        if table is not None:
            table.close()

    def _first(self, frame: Frame, out: EventBuilder) -> None:
        """Read a message plainly: before the kernels are loaded, or the first one of a connection."""
        if self._wait > 0:
            self._wait -= 1
        elif self._scan is None and self._shapes is None:
            self.prepare()
        self.plain.decode(frame, out)
        known = self._tables.get(frame.connection)
        if known is None or known.source != frame.address:
            if len(self._tables) >= CONNECTIONS_MAX:
                for connection in list(self._tables):
                    self._close(connection)
                self.sights.clear()
            self._close(frame.connection)
            sight = self.sights.setdefault(frame.connection, Sight())
            count = self.plain.count_of(frame.connection)
            self._tables[frame.connection] = NameTable(frame.address, sight, count)

    def _learn(self, frame: Frame, table: NameTable) -> None:
        """Let the name that stopped the scan stand for what the plain adapter took it for."""
        plan = self._plan
        if plan.name_length:
            start = plan.name_offset
            text = frame.payload[start : start + plan.name_length]
            try:
                found = self.plain.stands_for(plan.name_role, text.decode("ascii"), frame, table)
            except ChronicleError:
                return  # the message was read; its name stands for nothing that a scan could use
            if found is not None:
                table.learn(plan.name_role, text, *found)
