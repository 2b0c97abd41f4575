"""Bybit's order book downloads: a zip of one file of JSON lines, as the venue's stream sends them.

``2024-12-01_XRPUSDT_ob500.data`` holds a snapshot and then changes. Nobody received these messages when they were
sent, so that ``ts_recv := ts``, the venue's own time of sending. The market (spot, linear, inverse) is named by the
path as the venue's site sorts its files; without it the file is of linear contracts, whose books the site offers 500
deep (spot: 200). Format: bybit.com/derivatives/en/history-data.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from chronicle.core.errors import DecodeError, NotFoundError
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.captures.merge import UNTIMED, Stream
from chronicle.feed.captures.names import natural_key
from chronicle.feed.captures.text import LINE_BYTES_MAX
from chronicle.feed.marks import Line, damaged_frame

__all__ = ["is_bybit", "open_bybit"]

_MEMBER = re.compile(r"(?:.*/)?(?P<date>\d{4}-\d\d-\d\d)_(?P<symbol>[A-Za-z0-9-]+)_ob(?P<depth>\d+)\.data")
_TIME = re.compile(rb'"ts"\s*:\s*(\d{13})\b')
_HEAD_BYTES: Final = 300
"""The time stands before the levels."""
MARKETS: Final = ("spot", "linear", "inverse", "option")


def is_bybit(path: Path) -> bool:
    """Whether `path` is a zip that holds a file of Bybit's order book downloads."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(map(_MEMBER.fullmatch, archive.namelist()))
    except (zipfile.BadZipFile, OSError):
        return False


def open_bybit(paths: list[Path], venue: str | None) -> tuple[list[Line], list[Stream]]:
    """Return one line and one stream per symbol; its days follow one another.

    Raises
    ------
    DecodeError
        When a zip is damaged, or holds no such file.
    """
    groups: dict[str, list[tuple[str, Path, str]]] = {}  # address -> (date, zip, member)
    for path in paths:
        members = [match for match in map(_MEMBER.fullmatch, _names(path)) if match]
        if not members:
            expected = "DATE_SYMBOL_obDEPTH.data"
            raise DecodeError("the zip holds no order book file of Bybit", path=path, expected=expected)
        for match in members:
            address = f"bybit:{_market(path, match[0])}:{match['symbol'].upper()}"
            groups.setdefault(address, []).append((match["date"], path, match[0]))
    lines, streams = [], []
    for number, address in enumerate(sorted(groups, key=natural_key), start=1):
        days = [(path, member) for _, path, member in sorted(groups[address])]
        lines.append(Line(number, address, venue or "bybit", announced=False))
        streams.append(Stream(address, number, partial(_read, days, address, number)))
    return lines, streams


def _names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except FileNotFoundError as error:
        raise NotFoundError("there is no such capture file", path=path) from error
    except (zipfile.BadZipFile, OSError) as error:
        raise DecodeError(f"cannot open the zip: {error}", path=path, hint="it may be torn") from error


def _market(path: Path, member: str) -> str:
    words = re.split(r"[^a-z]+", f"{path} {member}".lower())
    return next((market for market in MARKETS if market in words), "linear")


def _read(days: list[tuple[Path, str]], address: str, number: int) -> Iterator[Frame]:
    for position, (path, member) in enumerate(days):
        try:
            yield from _read_day(path, member, address, number)
        except DecodeError as error:
            if position == len(days) - 1:
                raise
            reason = error.message + " (the rest of this file is lost)"
            yield damaged_frame(number, UNTIMED, where=path.name, reason=reason, payload=b"")


def _read_day(path: Path, member: str, address: str, number: int) -> Iterator[Frame]:
    row = 0
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            while line := file.readline(LINE_BYTES_MAX):
                row += 1
                if len(line) == LINE_BYTES_MAX:
                    raise DecodeError(f"line {row} has no end", path=path, expected=f"at most {LINE_BYTES_MAX} bytes")
                payload = line.rstrip(b"\r\n")
                match = _TIME.search(payload, 0, _HEAD_BYTES)
                if match is not None:
                    yield Frame(WireForm.TEXT, number, address, int(match[1]) * 1_000_000, payload)
                elif payload.strip():
                    where, reason = f"{member}:{row}", "the line names no time of sending"
                    yield damaged_frame(number, UNTIMED, where=where, reason=reason, payload=payload)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise DecodeError(f"the zip is damaged at line {row + 1}: {error}", path=path) from error
