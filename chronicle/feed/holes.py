"""Holes in the venues' numbers, counted per stream while a feed runs: an operator sees which book loses messages.

The feed judges nothing: gaps are declared by the ETL, which knows the whole of each book. This reads the raw queue
behind the writer, in windows of many records, and compares each message's numbers with those of the one before it on
the same connection, by the instrument's rule of :mod:`chronicle.core.sequencing`. Snapshots start a count anew where
they come on the stream; where a book starts over HTTP they are beside the count of its changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from chronicle.core import layout
from chronicle.core.cursor import Window
from chronicle.core.layout import NONE, Kind, SequenceRule, StatusCode
from chronicle.core.sequencing import BUFFERING_RULES

__all__ = ["HoleCounts"]

_WORDS: Final = layout.HEADER_BYTES // 8
_STREAM: Final = (1 << 48) - 1
"""Instrument and source in the header's fifth word."""
_RULE_SHIFT: Final = 48
_STARTS: Final = frozenset({StatusCode.CONNECTED, StatusCode.DISCONNECTED, StatusCode.CAPTURE_START})
"""After these a line's numbers follow none that came before."""
_INSTRUMENTS: Final = (1 << 32) - 1

Words = Any
"""int64 NumPy array: the window's memory."""


class HoleCounts:
    """Counts of one raw queue.

    Parameters
    ----------
    rules : mapping of int to int
        ``SequenceRule`` of instruments by number, as far as the writer knows them; INSTRUMENT records say more.

    Attributes
    ----------
    holes : Counter of (int, int)
        By (connection, instrument): places where the venue's numbers do not follow each other.
    """

    def __init__(self, rules: Mapping[int, int]) -> None:
        self.holes: Counter[tuple[int, int]] = Counter()
        self._rules = dict(rules)
        self._last: dict[int, int] = {}

    def take(self, window: Window) -> None:
        """Count the holes of a window's records. O(n log n) in its records, over arrays."""
        words: Words = np.frombuffer(window.memory, dtype=np.int64)
        starts: Words = window.offsets() >> 3
        kinds = (words[starts] >> layout.WORD_KIND_SHIFT) & 0xFFFF
        for at in starts[kinds == Kind.INSTRUMENT]:
            number = int(words[at + 4]) & _INSTRUMENTS
            self._rules[number] = int(words[at + _WORDS] >> _RULE_SHIFT) & 0xFF
        books = (kinds == Kind.BOOK_DELTA) | (kinds == Kind.BOOK_SNAPSHOT)
        begin = 0
        for place in np.flatnonzero(kinds == Kind.STATUS):
            at = starts[place]
            if int(words[at + _WORDS]) & 0xFFFF in _STARTS:
                self._count(words, starts[begin:place][books[begin:place]])
                begin = int(place)
                self._forget(int(words[at + 4]) >> 32 & 0xFFFF)
        self._count(words, starts[begin:][books[begin:]])

    def of_line(self, connection: int) -> dict[int, int]:
        """Return the holes of one connection by instrument number."""
        return {number: count for (source, number), count in self.holes.items() if source == connection}

    def _forget(self, source: int) -> None:
        """Start the numbers of a connection anew; those of all where a capture starts (which has none)."""
        self._last = {key: last for key, last in self._last.items() if source and key >> 32 != source}

    def _count(self, words: Words, at: Words) -> None:
        """Count among book records that stand at `at`, without a new connection between them."""
        at = at[words[at + 5] != NONE]
        if not len(at):
            return
        streams = words[at + 4] & _STREAM
        order = np.argsort(streams, kind="stable")
        at, streams = at[order], streams[order]
        firsts = np.flatnonzero(np.concatenate(([True], streams[1:] != streams[:-1])))
        for begin, end in zip(firsts, [*firsts[1:], len(at)], strict=True):
            stream = int(streams[begin])
            rule = self._rules.get(stream & _INSTRUMENTS, SequenceRule.NONE)
            if rule != SequenceRule.NONE:
                self._count_stream(words, at[begin:end], stream, rule)

    def _count_stream(self, words: Words, at: Words, stream: int, rule: int) -> None:
        is_snapshot = ((words[at] >> layout.WORD_KIND_SHIFT) & 0xFFFF) == Kind.BOOK_SNAPSHOT
        if rule in BUFFERING_RULES:  # a snapshot over HTTP is of the past, and takes no part in the count
            at, is_snapshot = at[~is_snapshot], is_snapshot[~is_snapshot]
            if not len(at):
                return
        sequences = words[at + 5]
        last = np.concatenate(([self._last.get(stream, NONE)], sequences[:-1]))
        self._last[stream] = int(sequences[-1])
        judged = (last != NONE) & ~is_snapshot & (sequences != last)  # equal: the same message, or a repeat
        at, sequences, last = at[judged], sequences[judged], last[judged]
        if not len(at):
            return
        if rule == SequenceRule.COUNT:
            holes = sequences != last + 1
        elif rule == SequenceRule.BINANCE_SPOT:
            holes = words[at + 8] > last + 1
        elif rule == SequenceRule.BINANCE_FUTURES:
            holes = words[at + 9] > last
        elif rule == SequenceRule.OKX_V5:
            holes = (words[at + 9] != NONE) & (words[at + 9] != last)
        else:  # numbers that only grow: one that falls is out of order
            holes = sequences < last
        count = int(np.count_nonzero(holes))
        if count:
            self.holes[stream >> 32, stream & _INSTRUMENTS] += count
