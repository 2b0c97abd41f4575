"""Decoding a wire queue again: a new raw queue from the frames that were kept, after an adapter was fixed.

The old raw queue stays as it is until its operator retires it. Frames, marks and times are those of the wire queue,
and the new raw queue is made in a home of its own below the old one (``HOME/redecoded/N``) as ``raw/main.q``, of a
generation of its own; its records name the same wire indexes, so that rows stay traceable. The decoder's version is
in its prologues and in its CAPTURE_START records.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.cursor import Cursor
from chronicle.core.durable import file_errors, publish_bytes
from chronicle.core.errors import ConfigError, NotFoundError, StateError
from chronicle.core.layout import Flag, Kind
from chronicle.core.local import LocalSource
from chronicle.core.paths import raw_queue, wire_queue
from chronicle.core.queue import Queue
from chronicle.core.records import InstrumentFields, Record
from chronicle.core.source import SegmentSource
from chronicle.feed.captures.wire import frame_of
from chronicle.feed.decoder import DECODER_VERSION, FrameDecoder
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.lanes import DAY_NS, SEGMENT_BYTES, prologue_of, save_instruments
from chronicle.feed.marks import START
from chronicle.feed.venues import adapter_for

__all__ = ["RedecodeReport", "decoder_of", "redecode"]

NOTE_NAME: Final = "redecoded.json"
PROGRESS_FRAMES: Final = 10_000


@dataclass(frozen=True, slots=True)
class RedecodeReport:
    """What a redecode did. `old_decoder` is the version that the newest segment of the old raw queue names."""

    wire: str
    into: str
    raw: str
    lane: int
    frames: int
    records: int
    events: int
    decode_errors: int
    decoder: int
    old_decoder: int | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for ``--json``."""
        return asdict(self)


def redecode(
    home: Path | str,
    into: Path | str,
    *,
    source: SegmentSource | None = None,
    name: str = "main",
    lane: int = 0,
    segment_bytes: int = SEGMENT_BYTES,
    cycle_ns: int = DAY_NS,
    seal: bool = False,
    clock: Clock | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RedecodeReport:
    """Decode the wire queue of `home` into a new raw queue under `into`.

    Parameters
    ----------
    home : Path
        The home whose wire queue is read.
    into : Path
        A folder that is no home yet; it gets ``raw/NAME.q``. One that an interrupted redecode left is begun anew
        under another name.
    source : SegmentSource, optional
        Where wire segments are read (any tier); default the home itself.
    name, lane
        Which wire queue.
    segment_bytes, cycle_ns : int
        For the new queue.
    seal : bool
        Seal the open segment at the end.
    progress : callable, optional
        Called with (frames, ts_recv) every 10,000 frames.

    Raises
    ------
    NotFoundError
        When the home has no such wire queue.
    ConfigError, StateError
        When `into` is the home, or holds a raw queue already.
    CorruptionError
        When the wire queue is damaged.
    """
    home, into = Path(home), Path(into)
    clock = clock or SystemClock()
    started = clock.monotonic_ns()
    wire, raw = wire_queue(name, lane), raw_queue(name, lane)
    source = source or LocalSource(home)
    if wire not in source.queues("wire/"):
        raise NotFoundError("there is no such wire queue", path=home / wire, hint="chronicle ls shows what is there")
    if into.resolve() == home.resolve():
        raise ConfigError("a redecode needs a folder of its own", path=into, hint="give another folder with --into")
    if (into / raw).exists():
        raise StateError("the folder holds a raw queue already", path=into / raw, hint="give another with --into")
    with file_errors("make a folder for the new raw queue", into):
        os.makedirs((into / raw).parent, exist_ok=True)
    queue = Queue.create(into / raw, name=raw, segment_bytes=segment_bytes, cycle_ns=cycle_ns)
    (frames, records, events), errors, instruments = _decode(source, wire, queue, seal=seal, progress=progress)
    save_instruments(queue, records, instruments)
    report = RedecodeReport(
        wire=wire,
        into=str(into),
        raw=raw,
        lane=lane,
        frames=frames,
        records=records,
        events=events,
        decode_errors=errors,
        decoder=DECODER_VERSION,
        old_decoder=decoder_of(home / raw, raw),
        seconds=(clock.monotonic_ns() - started) / 1e9,
    )
    note = {"schema": 1, "wire": wire, "home": str(home.resolve()), "decoder": DECODER_VERSION}
    publish_bytes(into / NOTE_NAME, json.dumps(note).encode("utf-8"))
    return report


def _decode(
    source: SegmentSource, wire: str, queue: Queue, *, seal: bool, progress: Callable[[int, int], None] | None
) -> tuple[tuple[int, int, int], int, dict[int, bytes]]:
    """Return ((frames, records, events), decode errors, instruments) once all of the wire queue is decoded."""
    instruments: dict[int, bytes] = {}
    decoder = _decoder(instruments)
    frame_count = record_count = event_count = error_count = 0
    cursor = Cursor(source, wire)
    try:
        with queue.appender(prologue=prologue_of(queue.name, instruments, DECODER_VERSION)) as appender:
            while (window := cursor.next_window()) is not None:
                for record in window.records():
                    if record.kind != Kind.WIRE:
                        continue
                    frame, flags = frame_of(record), record.flags & Flag.BAD_TS_RECV
                    if frame.address == START and frame_count:  # each capture had a writer of its own
                        error_count += decoder.decode_errors
                        decoder = _decoder(instruments)
                    data, count = decoder.decode(frame, ts_recv=record.ts_recv, wire_index=record.index, flags=flags)
                    frame_count += 1
                    if count:
                        appender.append_event(data, count)
                        record_count += count
                        event_count += 1
                        instruments.update(decoder.take_definitions())
                    if progress is not None and frame_count % PROGRESS_FRAMES == 0:
                        progress(frame_count, record.ts_recv)
            appender.sync()
            if seal:
                appender.seal()
    finally:
        cursor.close()
    return (frame_count, record_count, event_count), error_count + decoder.decode_errors, instruments


def _decoder(instruments: dict[int, bytes]) -> FrameDecoder:
    """Return a decoder that knows the numbers given so far, as a feed's writer does when it begins."""
    registry = InstrumentRegistry()
    for number, record in sorted(instruments.items()):
        registry.restore(number, InstrumentFields.unpack(Record(record).body))
    return FrameDecoder(lambda venue: adapter_for(venue, registry))


def decoder_of(path: Path, name: str) -> int | None:
    """Return the decoder's version that the newest segment of a raw queue names; None when there is none here."""
    try:
        queue = Queue.open(path, name=name)
    except NotFoundError:
        return None
    numbers = sorted(queue.segment_files())
    if not numbers:
        return None
    with queue.open_segment(numbers[-1]) as segment:
        version = segment.prologue().get("decoder")
    return version if isinstance(version, int) else None
