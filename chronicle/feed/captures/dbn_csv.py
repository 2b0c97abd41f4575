"""Databento's CSV form of MBO: rows under a header of fixed columns; prices and times pretty or as integers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from chronicle.core.errors import ChronicleError, DecodeError
from chronicle.core.layout import WireForm
from chronicle.core.times import parse_time
from chronicle.feed.adapter import Frame
from chronicle.feed.captures import dbn_format as dbn
from chronicle.feed.captures.merge import UNTIMED, Stream
from chronicle.feed.captures.text import read_lines
from chronicle.feed.marks import Line, damaged_frame

__all__ = ["is_dbn_csv", "open_dbn_csv"]

HEADER: Final = (
    b"ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,price,size,channel_id,order_id,flags,"
    b"ts_in_delta,sequence"
)
COLUMNS: Final = 14
EVENT_ROWS_MAX: Final = 50_000


def is_dbn_csv(start: bytes) -> bool:
    """Whether a file that begins with `start` is of this form."""
    first = start.partition(b"\n")[0].rstrip(b"\r")
    return first in (HEADER, HEADER + b",symbol")


def open_dbn_csv(paths: list[Path], venue: str | None, *, first: int) -> tuple[list[Line], list[Stream]]:
    """Return one line, numbered `first`, and one stream per file."""
    if not paths:
        return [], []
    line = Line(first, "dbn:csv:mbo", "dbn", announced=False)
    streams = [Stream(f"{line.name}:{path.name}", first, partial(_read, path, venue, first)) for path in paths]
    return [line], streams


def _read(path: Path, venue: str | None, number: int) -> Iterator[Frame]:
    rows = _Rows(venue, number)
    try:
        for row_number, row in read_lines(path):
            if row_number > 1 and row.strip():
                yield from rows.take(row, f"{path.name}:{row_number}")
    except DecodeError:
        yield from rows.flush()  # what came before the damage
        raise
    yield from rows.flush()


class _Rows:
    """Groups rows into frames, as :class:`chronicle.feed.captures.dbn` does records."""

    def __init__(self, venue: str | None, number: int) -> None:
        self._venue, self._number = venue, number
        self._open: dict[bytes, list[bytes]] = {}
        self._key: dict[bytes, tuple[bytes, ...]] = {}

    def take(self, row: bytes, where: str) -> Iterator[Frame]:
        """Add a row; yield the frames that are whole now."""
        fields = row.split(b",")
        if len(fields) < COLUMNS or not fields[11].isdigit() or not fields[3].isdigit():
            yield damaged_frame(self._number, UNTIMED, where=where, reason="this is no row of MBO", payload=row)
            return
        flags = int(fields[11])
        dataset = dbn.dataset_of_publisher(int(fields[3]))
        by_message = dbn.is_by_message(dataset)
        slot = b"" if by_message else fields[4]
        key = (fields[4], fields[1], fields[13])
        if by_message and slot in self._open and self._key[slot] != key:
            yield from self._close(slot)
        self._open.setdefault(slot, []).append(row)
        self._key[slot] = key
        ends = not by_message and flags & dbn.FLAG_LAST
        clear = fields[5] == b"R" and not flags & dbn.FLAG_SNAPSHOT
        if ends or clear or len(self._open[slot]) >= EVENT_ROWS_MAX:
            yield from self._close(slot)

    def flush(self) -> Iterator[Frame]:
        """Yield what is there."""
        for slot in list(self._open):
            yield from self._close(slot, ended=slot == b"")

    def _close(self, slot: bytes, *, ended: bool = True) -> Iterator[Frame]:
        rows = self._open.pop(slot)
        fields = rows[-1].split(b",")
        dataset = dbn.dataset_of_publisher(int(fields[3]))
        symbol = fields[14].decode("utf-8", "replace") if len(fields) > COLUMNS else ""
        name = symbol or f"ID{fields[4].decode()}"
        scheme, where = dbn.SCHEME if ended else dbn.UNENDED, self._venue or dbn.venue_of_dataset(dataset)
        address = f"{scheme}:{where}:{dataset}:{name}"
        try:
            ts_recv = time_of(fields[0].decode("ascii"))
        except (ChronicleError, UnicodeDecodeError, ValueError):
            payload = b"\n".join(rows)
            yield damaged_frame(self._number, UNTIMED, where=address, reason="ts_recv is no time", payload=payload)
            return
        yield Frame(WireForm.TEXT, self._number, address, ts_recv, b"\n".join(rows))


def time_of(text: str) -> int:
    """Return ns of a time as integer or ISO 8601."""
    return int(text) if text.isdigit() and len(text) <= 19 else parse_time(text)
