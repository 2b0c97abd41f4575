"""Redundant lines: which of them was first with each message, by how much, and what one had that another did not.

Every line is a source of its own in the raw queue, so that nothing is decided here; this counts. An event is the same
on two lines when its instrument, kind, venue time, sequence and last body are: whatever differs on the wire (times of
receipt, numbers of channels, counts of a connection) is not part of it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from chronicle.core import layout
from chronicle.core.layout import Kind

__all__ = ["LineRace"]

RECENT_MAX: Final = 8192
"""Events remembered of one group of lines; one that a line did not have by then counts as missed by it."""
_MARKET: Final = frozenset({Kind.BOOK_DELTA, Kind.TRADE, Kind.QUOTE, Kind.ORDER, Kind.CHECK})
"""Kinds that end events of the market; a snapshot is the answer to a subscription of one line."""


class LineRace:
    """Counts of one group of redundant lines.

    Attributes
    ----------
    first, missed : dict of int to int
        By connection number: events that it had before all others, and those of others that it never had.
    later, behind_ns, behind_ns_max : dict of int to int
        Events that another line had before it, and how long before: the sum, and the longest.
    """

    def __init__(self, lines: tuple[int, ...]) -> None:
        self._bits = {number: 1 << place for place, number in enumerate(lines)}
        self._recent: OrderedDict[tuple[int, int, int, int, bytes], tuple[int, int]] = OrderedDict()
        self.first = dict.fromkeys(lines, 0)
        self.later = dict.fromkeys(lines, 0)
        self.behind_ns = dict.fromkeys(lines, 0)
        self.behind_ns_max = dict.fromkeys(lines, 0)
        self.missed = dict.fromkeys(lines, 0)

    def take(self, connection: int, data: bytes | bytearray, last: int) -> None:
        """Note an event of `connection`; `last` is the offset of its last record."""
        bit = self._bits.get(connection)
        if bit is None:
            return
        length, kind, _, _, ts_recv, ts_event, _, instrument, _, _, sequence = layout.HEADER.unpack_from(data, last)
        if kind not in _MARKET:
            return
        body = bytes(data[last + layout.HEADER_BYTES : last + length])
        key = (instrument, kind, ts_event, sequence, body)
        had = self._recent.get(key)
        if had is not None:
            if not had[0] & bit:
                behind = max(ts_recv - had[1], 0)
                self.later[connection] += 1
                self.behind_ns[connection] += behind
                self.behind_ns_max[connection] = max(self.behind_ns_max[connection], behind)
                self._recent[key] = had[0] | bit, had[1]
            return
        self._recent[key] = bit, ts_recv
        self.first[connection] += 1
        if len(self._recent) > RECENT_MAX:
            _, (had_by, _) = self._recent.popitem(last=False)
            for number, mask in self._bits.items():
                if not had_by & mask:
                    self.missed[number] += 1
