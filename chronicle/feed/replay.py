"""Replays recorded captures into a home, through the same adapters as live; interrupted, it continues exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.errors import ConfigError, DecodeError, StateError
from chronicle.core.layout import NONE
from chronicle.feed.adapter import Frame
from chronicle.feed.captures.capture import Capture, open_capture
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.lanes import DAY_NS, SEGMENT_BYTES, choose_lane, deciding, open_lane, prepare_home
from chronicle.feed.ledger import STARTED, Entry, Fingerprint, Ledger, fingerprint_of
from chronicle.feed.marks import END, START, CaptureMark, end_frame, start_frame
from chronicle.feed.venues import adapter_for
from chronicle.feed.writer import FeedWriter

__all__ = ["ReplayReport", "replay_capture", "speed_factor"]

PROGRESS_FRAMES = 1000
"""`progress` is called after so many frames."""


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay did. Times are ns UTC; `frames`, `records` and `events` count what this run appended."""

    capture: str
    format: str
    venues: tuple[str, ...]
    lane: int
    raw: str
    wire: str
    frames: int
    records: int
    events: int
    decode_errors: int
    first_ts: int
    last_ts: int
    resumed: bool
    seconds: float
    damage: list[str] = field(default_factory=list)
    """Streams that ended before their end; what was read before is in the queues."""
    skipped: dict[str, int] = field(default_factory=dict)
    """What of the files gives no frame, by name: packets that are not UDP, second copies of a packet ..."""

    @property
    def exit_code(self) -> int:
        """0 when all was read, else that of DecodeError."""
        return DecodeError.exit_code if self.damage or self.decode_errors else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for ``--json``."""
        return asdict(self) | {"venues": list(self.venues)}


def replay_capture(
    home: Path | str,
    paths: Sequence[Path | str],
    *,
    format: str | None = None,
    venue: str | None = None,
    speed: float | str = "max",
    day: date | None = None,
    again: bool = False,
    clock: Clock | None = None,
    progress: Callable[[int, int], None] | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    cycle_ns: int = DAY_NS,
    seal: bool = False,
) -> ReplayReport:
    """Take recorded captures into the wire and raw queues of a home.

    Parameters
    ----------
    home : Path
        The home; it may be empty or absent.
    paths : sequence of Path
        Files of one capture, in any order; they become one stream in the order of ``ts_recv``.
    format, venue, day : optional
        See :func:`chronicle.feed.captures.open_capture`.
    speed : "max" or float
        ``max``: as fast as it goes; N: N times as fast as it was recorded.
    again : bool
        Replay also what was replayed before.
    clock : Clock, optional
        Paces and times the replay.
    progress : callable, optional
        Called with (frames so far, ts_recv) every 1,000 frames, and after each one of a paced replay.
    segment_bytes, cycle_ns : int
        For queues that this replay creates.
    seal : bool
        Seal the open segments at the end.

    Returns
    -------
    ReplayReport
        Also when files were torn or lines damaged: then ``exit_code`` says so.

    Raises
    ------
    AlreadyCapturedError
        When the capture, or a file of it that holds market data, is in the home and `again` is false.
    DecodeError, NotFoundError, ConfigError
        When there is nothing to replay; nothing was written then.
    QueueLockedError
        When another writer owns the lane.
    StateError
        When an interrupted capture cannot be continued.
    """
    clock = clock or SystemClock()
    pace = speed_factor(speed)
    started = clock.monotonic_ns()
    home = Path(home)
    capture = open_capture(paths, format, venue, day)
    registry = InstrumentRegistry()
    for name in capture.venues:
        adapter_for(name, registry)  # an unknown venue is refused before anything is written
    frames = capture.frames()
    first = next(frames, None)
    if first is None:
        raise DecodeError("the capture holds no frame", path=capture.paths[0])
    prepare_home(home)
    ledger = Ledger(home)
    fingerprint = fingerprint_of(capture)
    with deciding(home, clock):
        entry, resumed = _enter(home, ledger, capture, fingerprint, first.ts_recv, again, segment_bytes, cycle_ns)
        lane = open_lane(home, entry.lane, segment_bytes=segment_bytes, cycle_ns=cycle_ns)
        opened = FeedWriter(lane, home, wire_start=entry.wire_start, raw_start=entry.raw_start)
    with opened as writer:
        count, last_ts = _run(writer, _marked(capture, entry, first, frames), pace, clock, progress)
        writer.finish()
        if seal:
            writer.wire.seal()
            writer.raw.seal()
        ledger.finish(
            entry,
            first_ts=first.ts_recv,
            last_ts=last_ts,
            frames=count,
            records=writer.raw.next_index - entry.raw_start,
        )
        return ReplayReport(
            capture=entry.capture,
            format=capture.format,
            venues=capture.venues,
            lane=entry.lane,
            raw=lane.raw.name,
            wire=lane.wire.name,
            frames=writer.frames,
            records=writer.records,
            events=writer.events,
            decode_errors=writer.decoder.decode_errors,
            first_ts=first.ts_recv,
            last_ts=last_ts,
            resumed=resumed,
            seconds=(clock.monotonic_ns() - started) / 1e9,
            damage=[str(error) for error in capture.damage],
            skipped=dict(capture.notes),
        )


def speed_factor(speed: float | str) -> float | None:
    """Return the factor of pacing, None for none (``max``).

    Raises
    ------
    ConfigError
        When it is neither ``max`` nor a factor above 0.
    """
    if speed == "max":
        return None
    try:
        factor = float(speed)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1e9:
        raise ConfigError("a replay's speed cannot be used", expected="max, or a factor above 0", found=speed)
    return factor


def _enter(
    home: Path,
    ledger: Ledger,
    capture: Capture,
    fingerprint: Fingerprint,
    first_ts: int,
    again: bool,
    segment_bytes: int,
    cycle_ns: int,
) -> tuple[Entry, bool]:
    """Return the ledger's entry for the capture, and whether it continues an interrupted one."""
    entry = ledger.unfinished(fingerprint)
    if entry is not None:
        if not ledger.followed(entry):
            return entry, True
        if not again:
            raise StateError(
                "the interrupted capture cannot be continued: others were written behind it",
                path=ledger.path,
                found=f"capture {entry.capture} in lane {entry.lane}",
                hint="--again replays it whole, into a lane of its own",
            )
    elif not again:
        ledger.refuse_twice(capture, fingerprint)
    number = choose_lane(home, first_ts, taken=ledger.lanes_taken())
    lane = open_lane(home, number, segment_bytes=segment_bytes, cycle_ns=cycle_ns)
    with FeedWriter(lane, home) as writer:  # decodes what a killed writer may have left, before the start is noted
        wire_start, raw_start = writer.wire.next_index, writer.raw.next_index
    entry = Entry(
        capture=ledger.next_id(fingerprint),
        fingerprint=fingerprint.digest,
        format=capture.format,
        files=[[name, digest] for name, digest in fingerprint.files],
        lane=number,
        wire_start=wire_start,
        raw_start=raw_start,
        state=STARTED,
        first_ts=first_ts,
    )
    ledger.add(entry)
    return entry, False


def _marked(capture: Capture, entry: Entry, first: Frame, frames: Iterator[Frame]) -> Iterator[Frame]:
    """Yield the capture's frames between its start and end marks; a wire queue that brings them keeps its own."""
    if first.address != START:
        mark = CaptureMark(entry.capture, capture.format, tuple(path.name for path in capture.paths), capture.lines)
        yield start_frame(mark, first.ts_recv)
    last = first
    latest = first.ts_recv
    for frame in chain((first,), frames):
        yield frame
        last, latest = frame, max(latest, frame.ts_recv)
    if last.address != END:
        damage = [error.message for error in capture.damage]
        reason = "damaged" if damage else "end of capture"
        yield end_frame(entry.capture, latest + 1, reason=reason, damage=damage)


def _run(
    writer: FeedWriter,
    frames: Iterator[Frame],
    pace: float | None,
    clock: Clock,
    progress: Callable[[int, int], None] | None,
) -> tuple[int, int]:
    """Write all frames; return (how many the capture has, ts_recv of the last)."""
    count, last_ts = 0, NONE
    origin: tuple[int, int] | None = None
    for frame in frames:
        if pace is not None and not writer.resuming:
            if origin is None:
                origin = clock.monotonic_ns(), frame.ts_recv
            ahead = origin[0] + int((frame.ts_recv - origin[1]) / pace) - clock.monotonic_ns()
            if ahead > 0:
                clock.sleep_ns(ahead)
        writer.write(frame)
        count += 1
        last_ts = max(last_ts, frame.ts_recv)
        if progress is not None and (count % PROGRESS_FRAMES == 0 or pace is not None):
            progress(count, frame.ts_recv)
    return count, last_ts
