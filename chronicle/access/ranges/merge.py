"""Merge: chunks of several streams in one order of time, and their cutting into batches of whole events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.access.ranges.columns import Chunk
from chronicle.core.layout import INT64_MAX, Flag

__all__ = ["cut_at_events", "merge_by_time"]


class _Head:
    """The rows of one stream that were read and not yet given out."""

    __slots__ = ("_stream", "ended", "rows")

    def __init__(self, stream: Iterator[Chunk]) -> None:
        self._stream = stream
        self.rows: Chunk | None = None
        self.ended = False
        self.pull()

    def pull(self) -> None:
        """Read the stream's next chunk behind what is held."""
        more = next(self._stream, None)
        if more is None:
            self.ended = True
        elif self.rows is None:
            self.rows = more
        else:
            self.rows = joined([self.rows, more])

    @property
    def last_ts(self) -> int:
        """Time up to which (exclusively) this stream can bring nothing new."""
        return INT64_MAX if self.ended or self.rows is None else int(self.rows["ts_recv"][-1])

    def take(self, bound: int, *, all_of_it: bool) -> Chunk | None:
        """Remove and return the rows before `bound`."""
        if self.rows is None:
            return None
        times = self.rows["ts_recv"]
        count = len(times) if all_of_it else int(np.searchsorted(times, bound, side="left"))
        if not count:
            return None
        taken = {name: values[:count] for name, values in self.rows.items()}
        self.rows = {name: values[count:] for name, values in self.rows.items()} if count < len(times) else None
        return taken


def merge_by_time(streams: list[Iterator[Chunk]]) -> Iterator[Chunk]:
    """Yield the rows of all streams by ``ts_recv``; equal times keep the order of the streams.

    Each stream's chunks hold equal columns, sorted by ``ts_recv``. Rows leave as soon as no stream can bring an
    earlier one: what is held back is a chunk of each stream (and the rows of one single time, while it lasts).
    """
    if len(streams) == 1:
        yield from streams[0]
        return
    heads = [_Head(stream) for stream in streams]
    while True:
        live = [head for head in heads if not head.ended]
        bound = min((head.last_ts for head in live), default=INT64_MAX)
        parts = [part for head in heads if (part := head.take(bound, all_of_it=not live)) is not None]
        if parts:
            yield _ordered(parts)
        if not live:
            return
        for head in live:
            if head.rows is None or head.last_ts == bound:
                head.pull()


def cut_at_events(chunks: Iterator[Chunk], rows: int) -> Iterator[Chunk]:
    """Yield batches of at most `rows` rows that end where an event ends; only a longer event makes a longer batch.

    Batches are parts of a chunk wherever that can be, not copies: what is left of one leaves by itself when it has
    WORTH_ROWS, and else is filled up with the next chunk's first events.
    """
    held: list[Chunk] = []
    count = 0
    for chunk in chunks:
        if held and count + len(chunk["flags"]) >= rows:
            stop, room = 0, min(rows, WORTH_ROWS) - count
            if room > 0 or not held[-1]["flags"][-1] & Flag.LAST:
                stop = _last_end(chunk["flags"], 0, room) or _last_end(chunk["flags"], 0, rows - count)
                if not stop:  # an event goes on, too long for what is left: it may be cut off before
                    chunk, held, count = joined([*held, chunk]), [], 0
            if held:
                yield joined([*held, _part(chunk, 0, stop)] if stop else held)
                chunk, held, count = _part(chunk, stop, None), [], 0
        flags, start = chunk["flags"], 0
        while len(flags) - start >= rows:
            stop = _last_end(flags, start, start + rows) or _first_end(flags, start + rows)
            if not stop:
                break
            yield _part(chunk, start, stop)
            start = stop
        if start < len(flags):
            held.append(_part(chunk, start, None))
            count += len(flags) - start
    if held:
        yield joined(held)


WORTH_ROWS = 8192
"""So many rows make a batch, also where more were asked for: to fill it up would be to copy."""
_LOOK_ROWS = 1024


def _part(chunk: Chunk, start: int, stop: int | None) -> Chunk:
    if start == 0 and stop is None:
        return chunk
    return {name: values[start:stop] for name, values in chunk.items()}


def _last_end(flags: NDArray[Any], start: int, stop: int) -> int:
    """Return the row behind the last event that ends in rows [start, stop), 0 where none does."""
    high = min(stop, len(flags))
    while high > start:
        low = max(start, high - _LOOK_ROWS)
        ends = np.flatnonzero(flags[low:high] & Flag.LAST)
        if len(ends):
            return low + int(ends[-1]) + 1
        high = low
    return 0


def _first_end(flags: NDArray[Any], start: int) -> int:
    """Return the row behind the first event that ends in row `start` or later, 0 where none does."""
    for low in range(start, len(flags), _LOOK_ROWS):
        ends = np.flatnonzero(flags[low : low + _LOOK_ROWS] & Flag.LAST)
        if len(ends):
            return low + int(ends[0]) + 1
    return 0


def joined(parts: list[Chunk]) -> Chunk:
    """Return the parts one after the other."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _ordered(parts: list[Chunk]) -> Chunk:
    if len(parts) == 1:
        return parts[0]
    whole = joined(parts)
    order = np.argsort(whole["ts_recv"], kind="stable")
    return {name: values[order] for name, values in whole.items()}
