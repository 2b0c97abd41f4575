"""Captures in hftbacktest's raw form: ``<local ns> <JSON as received>`` a line, one gzip file per symbol and day.

The next day's file of a symbol goes on without a break (no new snapshot): all files of a symbol are one connection.
REST snapshots stand between the lines without an envelope. Protocol: nkaz001/hftbacktest, ``examples``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from chronicle.core.errors import DecodeError
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.captures.merge import UNTIMED, Stream
from chronicle.feed.captures.names import natural_key
from chronicle.feed.captures.text import first_lines, read_lines
from chronicle.feed.marks import Line, damaged_frame

__all__ = ["is_hftbacktest", "open_hftbacktest"]

_LINE = re.compile(rb"(\d{18,19}) (.*)", re.DOTALL)
_FILE = re.compile(r"(?P<symbol>.+?)[_-](?P<day>\d{8})(?:\..*)?")
TS_FIRST: Final = 631_152_000 * 10**9
TS_LAST: Final = 4_102_444_800 * 10**9


def is_hftbacktest(lines: list[bytes]) -> bool:
    """Whether the first `lines` of a file are of this form (some may be damaged)."""
    return any(_LINE.fullmatch(line) for line in lines)


def open_hftbacktest(paths: list[Path], venue: str | None) -> tuple[list[Line], list[Stream]]:
    """Return one line and one stream per symbol; the files of a symbol follow one another by their first time.

    Raises
    ------
    DecodeError
        When a file is not of this form.
    """
    groups: dict[tuple[str, str], list[tuple[int, Path]]] = {}
    for path in paths:
        head = first_lines(path, 50)
        starts = [int(match[1]) for match in map(_LINE.fullmatch, head) if match]
        if not starts:
            raise DecodeError(
                "this is no hftbacktest capture: none of its first lines is '<ns> <JSON>'",
                path=path,
                found=repr(head[0][:60]) if head else "an empty file",
            )
        match = _FILE.fullmatch(path.name)
        symbol = match["symbol"] if match else path.name.split(".")[0]
        groups.setdefault((venue or _venue(head), symbol), []).append((starts[0], path))
    lines, streams = [], []
    for number, key in enumerate(sorted(groups, key=lambda key: (key[0], natural_key(key[1]))), start=1):
        address = f"hftbacktest:{key[0]}:{key[1]}"
        days = [path for _, path in sorted(groups[key])]
        lines.append(Line(number, address, key[0], announced=False))
        streams.append(Stream(address, number, partial(_read, days, address, number)))
    return lines, streams


def _venue(head: list[bytes]) -> str:
    """Return the Binance market whose messages these are: COIN-M has ``ps`` (pair), USD-M ``pu``, spot neither."""
    text = b"\n".join(head)
    if b'"ps":' in text:
        return "binance-coinm"
    return "binance-usdm" if b'"pu":' in text else "binance"


def _read(days: list[Path], address: str, number: int) -> Iterator[Frame]:
    for position, path in enumerate(days):
        try:
            yield from _read_day(path, address, number)
        except DecodeError as error:
            if position == len(days) - 1:
                raise
            # The next day's file is whole: what this one lost is a hole that the venue's sequence shows.
            reason = error.message + " (the rest of this file is lost)"
            yield damaged_frame(number, UNTIMED, where=path.name, reason=reason, payload=b"")


def _read_day(path: Path, address: str, number: int) -> Iterator[Frame]:
    for row, line in read_lines(path):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        reason = None
        if match is None:
            reason = "this is no line '<ns> <JSON>'"
        elif not TS_FIRST <= int(match[1]) < TS_LAST:
            reason = "the time is no time of a capture (1990 to 2100)"
        elif not _is_utf8(match[2]):
            reason = "the text is not UTF-8"
        if match is None or reason is not None:
            yield damaged_frame(
                number, UNTIMED, where=f"{path.name}:{row}", reason=reason or "the line is damaged", payload=line
            )
            continue
        yield Frame(WireForm.TEXT, number, address, int(match[1]), match[2])


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
