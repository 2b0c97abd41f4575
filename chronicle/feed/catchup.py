"""Frames that a killed feed left in the wire queue without their raw records: the next writer decodes them first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chronicle.core.layout import Kind, WireForm
from chronicle.core.queue import Queue
from chronicle.feed.adapter import Frame
from chronicle.feed.captures.wire import frame_of
from chronicle.feed.marks import START

__all__ = ["Undecoded", "undecoded_frames"]

FRAMES_MAX: Final = 100_000
"""A longer tail is no crash but a raw queue that was lost: `feed replay --format wire` makes it anew elsewhere."""


@dataclass(frozen=True, slots=True)
class Undecoded:
    """One frame of the wire queue: `index` and `flags` are its record's."""

    index: int
    flags: int
    frame: Frame


def undecoded_frames(wire: Queue, after: int) -> tuple[Frame | None, list[Undecoded]]:
    """Return the start mark that holds at the end of `wire`, and the frames behind index `after`.

    Only the last segment with records is looked at: a feed writes both queues frame by frame, so what a crash can
    separate is at most the last frame. Frames that gave no records (heartbeats) are among them; they give none again.
    """
    infos = [info for info in wire.segments() if info.record_count]
    if not infos or infos[-1].end_index <= after + 1:
        return None, []
    mark: Frame | None = None
    tail: list[Undecoded] = []
    with wire.open_segment(infos[-1].number) as segment:
        payload = segment.prologue().get("capture")
        if isinstance(payload, bytes) and payload:
            mark = Frame(WireForm.CONFIG, 0, START, infos[-1].ts_first, payload)
    tailer = wire.tailer()
    tailer.seek_index(infos[-1].base_index)
    try:
        for record in tailer.drain():
            if record.kind != Kind.WIRE:
                continue
            if record.index > after:
                tail.append(Undecoded(record.index, record.flags, frame_of(record)))
            elif record.source == 0 and (frame := frame_of(record)).address == START:
                mark = frame
    finally:
        tailer.close()
    return (mark, tail) if len(tail) <= FRAMES_MAX else (None, [])
