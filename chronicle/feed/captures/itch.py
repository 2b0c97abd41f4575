"""NASDAQ's daily ITCH files: messages one behind the other, each with its length before it.

Source: nasdaqtrader.com, "BinaryFILE": u16 length (big-endian), then the message; a length of 0 ends the file. A
frame's payload is a run of whole messages with their lengths, verbatim: at most ``FRAME_BYTES`` and ``FRAME_SPAN_NS``
of market time. Messages carry ns since midnight in New York; the day comes from the file's name or the command, and
stands in the frame's address (``itch:NAME:2019-01-30``). ``ts_recv := ts_event``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from chronicle.core.errors import ConfigError, DecodeError
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.captures.bytes_reader import BytesReader
from chronicle.feed.captures.merge import Stream
from chronicle.feed.captures.names import natural_key
from chronicle.feed.marks import Line
from chronicle.feed.symbology import venue_name
from chronicle.feed.transports.itch_messages import MESSAGE_BYTES

__all__ = ["date_in_name", "is_itch", "midnight_ns", "open_itch"]

FRAME_BYTES: Final = 32 * 1024
FRAME_SPAN_NS: Final = 10_000_000
MESSAGE_BYTES_MAX: Final = 1_024
"""No message of ITCH is longer by far: a file with such a length is none."""
_CHECKED_MESSAGES: Final = 20
_NEW_YORK: Final = ZoneInfo("America/New_York")
_DAY_NS: Final = 86_400 * 10**9

_NAME_DATES: Final = (
    (re.compile(r"(?<!\d)(\d{4})-(\d\d)-(\d\d)(?!\d)"), "ymd"),
    (re.compile(r"(?<!\d)((?:19|20)\d\d)(\d\d)(\d\d)(?!\d)"), "ymd"),
    (re.compile(r"(?<!\d)(\d\d)(\d\d)((?:19|20)\d\d)(?!\d)"), "mdy"),
    (re.compile(r"^S(\d\d)(\d\d)(\d\d)(?!\d)"), "mdy"),
)
"""Dates in the names of files: 2019-01-30, 20190130, NASDAQ's 01302019 and S013019-v50."""


def is_itch(path: Path) -> bool:
    """Whether `path` begins with messages of ITCH 5.0 with their lengths."""
    try:
        head = BytesReader(path).take(2048)
    except DecodeError:
        return False
    at = seen = 0
    while at + 3 <= len(head) and seen < _CHECKED_MESSAGES:
        size = int.from_bytes(head[at : at + 2], "big")
        if MESSAGE_BYTES.get(head[at + 2]) != size:
            return False
        at += 2 + size
        seen += 1
    return seen > 0


def date_in_name(name: str) -> date | None:
    """Return the day that a file's name tells, None when it tells none (or several)."""
    found = set()
    for pattern, order in _NAME_DATES:
        for match in pattern.finditer(name):
            parts = [int(part) for part in match.groups()]
            year, month, day = parts if order == "ymd" else (parts[2], parts[0], parts[1])
            try:
                found.add(date(year + 2000 if year < 100 else year, month, day))
            except ValueError:
                continue
        if found:
            break
    return found.pop() if len(found) == 1 else None


def midnight_ns(day: date) -> int:
    """Return the ns UTC at which `day` began in New York: five hours behind UTC in winter, four in summer."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=_NEW_YORK)
    return int((midnight - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 10**9


def open_itch(paths: list[Path], venue: str | None, day: date | None) -> tuple[list[Line], list[Stream]]:
    """Return one line and one stream per file.

    Raises
    ------
    ConfigError
        When a file's name tells no day and none is given, or `venue` has no ITCH 5.0.
    """
    owner = venue_name(venue) if venue else "nasdaq"
    if owner != "nasdaq" and not owner.startswith("nasdaq-"):
        raise ConfigError(f"the venue {venue!r} has no ITCH 5.0 files", expected="nasdaq, nasdaq-bx or nasdaq-psx")
    lines, streams = [], []
    for number, path in enumerate(sorted(paths, key=lambda path: natural_key(path.name)), start=1):
        own = day or date_in_name(path.name)
        if own is None:
            raise ConfigError(
                "the file's name tells no day, and its messages carry ns since midnight only",
                path=path,
                hint="give the day: --date 2019-01-30",
            )
        address = f"itch:{path.name[:200]}:{own.isoformat()}"
        lines.append(Line(number, address, owner, announced=False))
        streams.append(Stream(path.name, 0, partial(_read, path, midnight_ns(own), address, number)))
    return lines, streams


def _read(path: Path, midnight: int, address: str, number: int) -> Iterator[Frame]:
    reader = BytesReader(path)
    parts: list[bytes] = []
    held = first_ts = 0
    while True:
        head = reader.take(2)
        size = int.from_bytes(head, "big") if len(head) == 2 else 0
        message = reader.take(size) if size else b""
        if size > MESSAGE_BYTES_MAX or len(message) < size or not size:
            break
        ts = int.from_bytes(message[5:11], "big")
        if held and (held + size + 2 > FRAME_BYTES or not 0 <= ts - first_ts < FRAME_SPAN_NS):
            yield Frame(WireForm.BINARY, number, address, midnight + min(first_ts, _DAY_NS), b"".join(parts))
            parts, held = [], 0
        if not held:
            first_ts = ts
        parts += (head, message)
        held += size + 2
    if held:
        yield Frame(WireForm.BINARY, number, address, midnight + min(first_ts, _DAY_NS), b"".join(parts))
    if size > MESSAGE_BYTES_MAX:
        raise DecodeError(
            "the file holds a message of an impossible length",
            path=path,
            offset=reader.offset - len(message) - 2,
            expected=f"at most {MESSAGE_BYTES_MAX}",
            found=size,
        )
    if reader.torn is not None or len(message) < size or len(head) == 1:
        rest = len(head) + len(message)
        why = f" ({reader.torn.message})" if reader.torn is not None else ""
        raise DecodeError(
            f"the file ends in the middle of a message: {rest} bytes of it are there{why}",
            path=path,
            offset=reader.offset - rest,
            hint="the file is torn",
        )
