"""LOBSTER sample zips: an order message file and the order book after each message, row by row.

A frame's payload is the message row, a line feed, and the order book row. ``ts_recv := ts_event``: the date in the
file's name plus seconds after midnight, New York time, read exactly. Format: lobsterdata.com, and the ReadMe in the
zip: time, type, order id, size, price (dollars x 10000), direction; ask, ask size, bid, bid size per level.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Final
from zoneinfo import ZoneInfo

from chronicle.core.errors import ChronicleError, DecodeError, NotFoundError
from chronicle.core.layout import WireForm
from chronicle.core.times import decimal_seconds_ns
from chronicle.feed.adapter import Frame
from chronicle.feed.captures.merge import UNTIMED, Stream
from chronicle.feed.captures.names import natural_key
from chronicle.feed.marks import Line, damaged_frame

__all__ = ["is_lobster", "open_lobster"]

_MEMBER = re.compile(
    r"(?:.*/)?(?P<symbol>[A-Za-z0-9.]+)_(?P<date>\d{4}-\d\d-\d\d)_\d+_\d+_(?P<what>message|orderbook)_(?P<levels>\d+)\.csv"
)
_NEW_YORK: Final = "America/New_York"
_ROW_BYTES_MAX: Final = 64 * 1024
_DAY_NS: Final = 86_400 * 10**9


def is_lobster(path: Path) -> bool:
    """Whether `path` is a zip that holds a LOBSTER message file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(match and match["what"] == "message" for match in map(_MEMBER.fullmatch, archive.namelist()))
    except (zipfile.BadZipFile, OSError):
        return False


def open_lobster(paths: list[Path], venue: str | None) -> tuple[list[Line], list[Stream]]:
    """Return one line and one stream per pair of files in the zips at `paths`.

    Raises
    ------
    DecodeError
        When a zip is damaged, or holds no pair.
    """
    pairs: list[tuple[str, Path, str, str, str]] = []  # address, zip, message member, order book member, date
    for path in paths:
        found = _pairs(path)
        if not found:
            raise DecodeError(
                "the zip holds no pair of LOBSTER message and order book files",
                path=path,
                expected="SYMBOL_DATE_START_END_message_L.csv and ..._orderbook_L.csv",
            )
        pairs += found
    pairs.sort(key=lambda pair: natural_key(pair[0]))
    lines, streams = [], []
    for number, (address, path, message, orderbook, date) in enumerate(pairs, start=1):
        lines.append(Line(number, address, venue or "nasdaq", announced=False))
        opener = partial(_read, path, message, orderbook, _midnight_ns(date), address, number)
        streams.append(Stream(address, number, opener))
    return lines, streams


def _pairs(path: Path) -> list[tuple[str, Path, str, str, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except FileNotFoundError as error:
        raise NotFoundError("there is no such capture file", path=path) from error
    except (zipfile.BadZipFile, OSError) as error:
        raise DecodeError(f"cannot open the LOBSTER zip: {error}", path=path, hint="it may be torn") from error
    members: dict[tuple[str, str, str], dict[str, str]] = {}
    for name in names:
        match = _MEMBER.fullmatch(name)
        if match:
            members.setdefault((match["symbol"], match["date"], match["levels"]), {})[match["what"]] = name
    return [
        (f"lobster:{symbol}:{date}:{levels}", path, pair["message"], pair["orderbook"], date)
        for (symbol, date, levels), pair in members.items()
        if len(pair) == 2
    ]


def _midnight_ns(date: str) -> int:
    try:
        year, month, day = map(int, date.split("-"))
        midnight = datetime(year, month, day, tzinfo=ZoneInfo(_NEW_YORK))
    except ValueError as error:
        raise DecodeError(f"the date {date!r} in the file's name is none") from error
    return int((midnight - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 10**9


def _read(path: Path, message: str, orderbook: str, midnight_ns: int, address: str, number: int) -> Iterator[Frame]:
    row = 0
    try:
        with zipfile.ZipFile(path) as archive, archive.open(message) as messages, archive.open(orderbook) as books:
            rows, levels = io.BufferedReader(messages), io.BufferedReader(books)  # type: ignore[type-var]
            while True:
                row += 1
                first, second = _row(rows), _row(levels)
                if not first and not second:
                    return
                if not first or not second:
                    lacking = message if not first else orderbook
                    raise DecodeError(f"{lacking} ends before the other file of the pair, at row {row}", path=path)
                payload = first.rstrip(b"\r\n") + b"\n" + second.rstrip(b"\r\n")
                try:
                    ts = _time(first, midnight_ns)
                except DecodeError as error:
                    where = f"{path.name}/{message}:{row}"
                    yield damaged_frame(number, UNTIMED, where=where, reason=error.message, payload=payload)
                    continue
                yield Frame(WireForm.TEXT, number, address, ts, payload)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise DecodeError(f"the zip is damaged at row {row}: {error}", path=path) from error


def _row(file: IO[bytes]) -> bytes:
    line = file.readline(_ROW_BYTES_MAX)
    if len(line) == _ROW_BYTES_MAX:
        raise DecodeError("a row has no end", expected=f"at most {_ROW_BYTES_MAX} bytes")
    return line


def _time(row: bytes, midnight_ns: int) -> int:
    text = row.partition(b",")[0]
    try:
        seconds_ns = decimal_seconds_ns(text.decode("ascii"))
    except (ChronicleError, UnicodeDecodeError) as error:
        raise DecodeError(f"the time {text[:40]!r} is no decimal number of seconds") from error
    if not 0 <= seconds_ns < _DAY_NS:
        raise DecodeError(f"the time {text[:40]!r} is outside the day")
    return midnight_ns + seconds_ns
