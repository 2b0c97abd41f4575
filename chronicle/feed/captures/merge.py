"""Several streams of frames as one, in the order of ``ts_recv``; what is damaged in one does not end the others."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from chronicle.core.errors import DecodeError
from chronicle.core.layout import INT64_MIN
from chronicle.feed.adapter import Frame
from chronicle.feed.marks import damaged_frame

__all__ = ["UNTIMED", "Stream", "merge_streams"]

UNTIMED: Final = INT64_MIN
"""``ts_recv`` of a frame for which the capture has no time: it takes that of its neighbour."""

LEAP_NS: Final = 60 * 10**9
"""A single frame this far ahead of both its neighbours has no time of a receiver."""

_PENDING_MAX: Final = 10_000
"""So many untimed frames may wait for the first timed one of their stream."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of frames in the order in which they were recorded.

    `frames` opens it anew at each call. `connection` is its number (for the note of a torn end).
    """

    name: str
    connection: int
    frames: Callable[[], Iterator[Frame]]


def merge_streams(streams: Sequence[Stream], damage: list[DecodeError]) -> Iterator[Frame]:
    """Yield the frames of all `streams` by time; equal times keep the order of `streams`.

    The order within a stream is never changed: where its clock steps back, the frame keeps its own time and its
    place (the appender clamps and flags it). A stream that cannot be read on yields a damaged frame, leaves its
    error in `damage`, and the others go on. Memory: one frame and one read buffer per stream.
    """
    orphans: list[Frame] = []
    keyed = [_keyed(stream, orphans, damage) for stream in streams]
    for _, frame in heapq.merge(*keyed, key=lambda pair: pair[0]):
        if orphans:  # streams without any time of their own; all streams have been primed by now
            yield from (replace(orphan, ts_recv=frame.ts_recv) for orphan in orphans)
            orphans.clear()
        yield frame


def _keyed(stream: Stream, orphans: list[Frame], damage: list[DecodeError]) -> Iterator[tuple[int, Frame]]:
    latest = UNTIMED  # greatest time so far: the key, so that a clock step back moves nothing
    last = UNTIMED
    pending: list[Frame] = []
    for frame in _steady(stream, _guarded(stream, damage)):
        if frame.ts_recv == UNTIMED:
            if last != UNTIMED:
                yield latest, replace(frame, ts_recv=last)
            elif len(pending) < _PENDING_MAX:
                pending.append(frame)
            continue
        last = frame.ts_recv
        latest = max(latest, last)
        for early in pending:
            yield latest, replace(early, ts_recv=last)
        pending.clear()
        yield latest, frame
    orphans.extend(pending)


def _steady(stream: Stream, frames: Iterator[Frame]) -> Iterator[Frame]:
    """Correct a lone time that leaps ahead: it would pull all later frames of the capture to its own time.

    A frame more than ``LEAP_NS`` ahead of the one before is held until the next timed one. When that one is back
    where time was, the leap was garbage: the frame keeps its place and content, takes its neighbour's time, and a
    damaged frame behind it says so.
    """
    last: int | None = None
    held: list[Frame] = []
    for frame in frames:
        ts = frame.ts_recv
        if ts == UNTIMED:
            if held and len(held) < _PENDING_MAX:
                held.append(frame)
            else:
                yield frame
            continue
        if held:
            leap, *rest = held
            if ts < leap.ts_recv - LEAP_NS:
                yield replace(leap, ts_recv=ts if last is None else last)
                reason = f"the time {leap.ts_recv} of the frame before is garbage"
                yield damaged_frame(stream.connection, UNTIMED, where=stream.name, reason=reason, payload=b"")
            else:
                yield leap
                last = leap.ts_recv
            yield from rest
            held = []
        if last is None or ts > last + LEAP_NS:
            held = [frame]
        else:
            yield frame
            last = ts
    yield from held


def _guarded(stream: Stream, damage: list[DecodeError]) -> Iterator[Frame]:
    try:
        yield from stream.frames()
    except DecodeError as error:
        damage.append(error)
        yield damaged_frame(
            stream.connection, UNTIMED, where=stream.name, reason=error.message + " (the rest is lost)", payload=b""
        )
