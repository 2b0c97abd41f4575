"""Merge: chunks of several streams in one order of time, and their cutting into batches of whole events."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chronicle.access.frames import Chunk
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
    """Yield batches of at most `rows` rows that end where an event ends; only a longer event makes a longer batch."""
    held: list[Chunk] = []
    count = 0
    for chunk in chunks:
        held.append(chunk)
        count += len(chunk["ts_recv"])
        if count < rows:
            continue
        whole, start = joined(held), 0
        ends = np.flatnonzero(whole["flags"] & Flag.LAST) + 1
        while count - start >= rows:
            place = int(np.searchsorted(ends, start + rows, side="right")) - 1
            if place < 0 or ends[place] <= start:
                place += 1
            stop = int(ends[place])
            yield {name: values[start:stop] for name, values in whole.items()}
            start = stop
        held = [{name: values[start:] for name, values in whole.items()}] if start < count else []
        count -= start
    if held:
        yield joined(held)


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
