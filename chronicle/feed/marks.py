"""Frames that the feed itself writes into a wire queue, so that the queue explains itself.

A wire queue holds what exchanges sent and, between it, marks of our own: where a capture starts (with its lines and
their venues), where it ends, what of a capture could not be read, where a numbered line fell silent, and that nothing
came. They are WIRE records of form CONFIG whose address starts with ``chronicle:``. With them the raw queue is a
function of the wire queue alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from chronicle.core.errors import DecodeError
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame

__all__ = [
    "CaptureMark",
    "Line",
    "damaged_frame",
    "end_frame",
    "heartbeat_frame",
    "read_mark",
    "silent_frame",
    "start_frame",
]

PREFIX: Final = "chronicle:"
START: Final = "chronicle:capture-start"
END: Final = "chronicle:capture-end"
DAMAGED: Final = "chronicle:damaged:"
SILENT: Final = "chronicle:silent"
HEARTBEAT: Final = "chronicle:heartbeat"
EXCERPT_BYTES_MAX: Final = 4096
"""Of a line that cannot be read, this much is kept."""


@dataclass(frozen=True, slots=True)
class Line:
    """One connection of a capture or a live feed.

    `number` is the connection number of its frames, `name` what the capture calls it, `venue` whose protocol it
    speaks. `announced` says that CONNECTED frames of its own come with it; where a format has none, the start of
    the capture counts as its connection.
    """

    number: int
    name: str
    venue: str
    announced: bool = True


@dataclass(frozen=True, slots=True)
class CaptureMark:
    """What a start mark says: the capture's id, its format and files, its lines, and the venues of HTTP addresses."""

    capture: str
    format: str
    files: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    addresses: dict[str, str] = field(default_factory=dict)


def start_frame(mark: CaptureMark, ts_recv: int) -> Frame:
    """Return the frame that opens a capture."""
    payload = {
        "capture": mark.capture,
        "format": mark.format,
        "files": list(mark.files),
        "lines": [[line.number, line.name, line.venue, line.announced] for line in mark.lines],
        "addresses": mark.addresses,
    }
    return Frame(WireForm.CONFIG, 0, START, ts_recv, _text(payload))


def end_frame(capture: str, ts_recv: int, *, reason: str, damage: Iterable[str] = ()) -> Frame:
    """Return the frame that closes a capture: `reason` in a word, `damage` what could not be read."""
    payload = {"capture": capture, "reason": reason, "damage": list(damage)}
    return Frame(WireForm.CONFIG, 0, END, ts_recv, _text(payload))


def damaged_frame(connection: int, ts_recv: int, *, where: str, reason: str, payload: bytes) -> Frame:
    """Return the frame that stands for input which could not be read: `where` is file and line."""
    address = f"{DAMAGED}{where}: {reason}"[:1024]
    return Frame(WireForm.CONFIG, connection, address, ts_recv, payload[:EXCERPT_BYTES_MAX])


def silent_frame(connection: int, ts_recv: int, *, reason: str) -> Frame:
    """Return the frame that says that nothing comes on a line which counts its packets (and loses none unseen)."""
    return Frame(WireForm.CONFIG, connection, SILENT, ts_recv, reason.encode("utf-8", "replace"))


def heartbeat_frame(ts_recv: int) -> Frame:
    """Return the frame that says that up to `ts_recv` nothing else came: whoever merges this feed need not wait."""
    return Frame(WireForm.CONFIG, 0, HEARTBEAT, ts_recv, b"")


def read_mark(frame: Frame) -> dict[str, Any]:
    """Return the map in a start or end mark.

    Raises
    ------
    DecodeError
        When it is none: a foreign wire queue, or one that was altered.
    """
    try:
        value = json.loads(frame.payload)
    except ValueError as error:
        raise DecodeError(f"cannot read the mark {frame.address}: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("capture"), str):
        raise DecodeError(f"the mark {frame.address} names no capture")
    return value


def read_lines(mark: dict[str, Any]) -> list[Line]:
    """Return the lines that a start mark lists."""
    rows = mark.get("lines")
    if not isinstance(rows, list):
        raise DecodeError("the start mark of a capture lists no lines")
    lines = []
    for row in rows:
        if not (isinstance(row, list) and len(row) == 4 and isinstance(row[0], int)):
            raise DecodeError("a line of a capture's start mark is malformed", found=str(row)[:80])
        lines.append(Line(row[0], str(row[1]), str(row[2]), bool(row[3])))
    return lines


def _text(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")
