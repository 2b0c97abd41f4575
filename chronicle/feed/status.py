"""What a live feed says of itself: one small file that every other process may read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from chronicle.core.durable import file_error, temporary_name

__all__ = ["FeedStatus", "LineStatus", "QueueStatus", "RestStatus", "read_status", "read_statuses", "write_status"]

STATUS_NAME: Final = "control/feed.json"


@dataclass(frozen=True, slots=True)
class LineStatus:
    """One connection. `oldest_stream_ts` is the ts_recv of the stream that was silent longest: health is its age.

    `line` counts redundant lines from 1; `first` and `missed` are the events that this line had before the others of
    its group, and those of others that it never had (0 where there is only one); `later` are those that it had behind
    another, `behind_ns` by how much in all, `behind_ns_max` at most. `gaps` are holes in the venue's numbers on this
    line, `gap_streams` those of the streams with the most. `lag_ns` is how far the receipt of
    its last event lies behind the venue's time of it (negative: our clock is behind the venue's), `clock_behind_ns`
    by how much at least our clock was behind so far.
    """

    number: int
    venue: str
    address: str
    is_up: bool
    connect_count: int
    failure_count: int
    last_frame_ts: int
    last_error: str
    stream_count: int
    oldest_stream_ts: int
    line: int = 1
    frames: int = 0
    bytes: int = 0
    oldest_stream: str = ""
    stalled: int = 0
    renewed: int = 0
    first: int = 0
    missed: int = 0
    later: int = 0
    behind_ns: int = 0
    behind_ns_max: int = 0
    gaps: int = 0
    gap_streams: dict[str, int] = field(default_factory=dict)
    lag_ns: int = 0
    clock_behind_ns: int = 0
    multicast: dict[str, Any] = field(default_factory=dict)
    """What a multicast feed says besides: who had what, holes, requests, what the kernel dropped."""


@dataclass(frozen=True, slots=True)
class RestStatus:
    """The HTTP interface of a venue; `breaker` is closed, half_open or open."""

    venue: str
    breaker: str
    requests: int
    failures: int
    refused: int


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """A queue that the feed writes: indexes at which its records end, are safe from power loss, and were read up to.

    `read` is the position of the slowest registered tailer, -1 where there is none.
    """

    name: str
    committed: int
    synced: int
    read: int = -1


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """A live session. Times are ns UTC; `ts` is when this was written."""

    capture: str
    pid: int
    ts: int
    raw: str
    wire: str
    frames: int
    records: int
    decode_errors: int
    clamped: int
    resyncs: int
    resyncs_dropped: int
    lines: list[LineStatus] = field(default_factory=list)
    lost: int = 0
    """Holes in venues' counts over a connection."""
    scanned: int = 0
    declined: int = 0
    """Messages that compiled scans read, and those of venues with scans that were left to the plain adapter."""
    rest: list[RestStatus] = field(default_factory=list)
    queues: list[QueueStatus] = field(default_factory=list)
    ended: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def write_status(home: Path, status: FeedStatus, name: str = "main") -> None:
    """Replace the status file, atomically; it need not survive power loss.

    Raises
    ------
    CapacityError, StoreError
        When the disk refuses.
    """
    path = home / status_name(name)
    temporary = temporary_name(path)
    try:
        temporary.write_text(json.dumps(status.to_dict()), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise file_error(error, "write the feed's status", path) from error


def read_statuses(home: Path) -> list[FeedStatus]:
    """Return what the last live feed of each raw queue of `home` left, main first."""
    main = home / STATUS_NAME
    others = sorted(path.stem.removeprefix(f"{main.stem}-") for path in main.parent.glob(f"{main.stem}-*.json"))
    found = [read_status(home, name) for name in ["main", *others]]
    return [status for status in found if status is not None]


def status_name(name: str) -> str:
    """Return the status file of a feed, relative to the home."""
    return STATUS_NAME if name == "main" else STATUS_NAME.replace(".json", f"-{name}.json")


def read_status(home: Path, name: str = "main") -> FeedStatus | None:
    """Return the status that the last live feed of `home` left, or None."""
    try:
        values = json.loads((home / status_name(name)).read_bytes())
        lines = [LineStatus(**line) for line in values.pop("lines")]
        rest = [RestStatus(**item) for item in values.pop("rest", [])]
        queues = [QueueStatus(**item) for item in values.pop("queues", [])]
        return FeedStatus(**values, lines=lines, rest=rest, queues=queues)
    except (OSError, ValueError, KeyError, TypeError):
        return None
