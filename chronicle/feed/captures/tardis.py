"""Tardis.dev's CSV downloads: incremental_book_L2, book_snapshot_N, trades and quotes, plain, gzip or zstd.

A frame's payload is the rows of one message, verbatim (one instrument, one ``local_timestamp``; rows of a snapshot
and changes apart), its address ``tardis:EXCHANGE:TYPE:SYMBOL``, its ts_recv the local_timestamp, in which Tardis took
the message. Format: docs.tardis.dev/downloadable-csv-files.
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

__all__ = ["is_tardis", "open_tardis"]

_COMMON: Final = b"exchange,symbol,timestamp,local_timestamp,"
_HEADERS: Final = {
    _COMMON + b"is_snapshot,side,price,amount": "incremental_book_L2",
    _COMMON + b"id,side,price,amount": "trades",
    _COMMON + b"ask_amount,ask_price,bid_price,bid_amount": "quotes",
}
_LEVEL: Final = re.compile(rb"asks\[(\d+)\]\.price,asks\[\1\]\.amount,bids\[\1\]\.price,bids\[\1\]\.amount")
_FIELD: Final = re.compile(r"[!-9;-~]{1,64}", re.ASCII)
LEVELS_MAX: Final = 1_000
EVENT_ROWS_MAX: Final = 100_000
_MICROSECONDS_MAX: Final = 4_102_444_800_000_000
"""2100."""


def type_of(header: bytes) -> str | None:
    """Return the data type that a header line is of, as ``book_snapshot_25``; None when it is none that is taken."""
    line = header.strip()
    known = _HEADERS.get(line)
    if known is not None or not line.startswith(_COMMON + b"asks[0]"):
        return known
    columns = line[len(_COMMON) :].split(b",")
    groups = [b",".join(columns[at : at + 4]) for at in range(0, len(columns), 4)]
    numbers = [match and int(match[1]) for match in map(_LEVEL.fullmatch, groups)]
    whole = numbers == list(range(len(groups))) and len(groups) <= LEVELS_MAX
    return f"book_snapshot_{len(groups)}" if whole else None


def is_tardis(lines: list[bytes]) -> bool:
    """Whether a file that begins with `lines` is of this form."""
    return bool(lines) and type_of(lines[0]) is not None


def open_tardis(paths: list[Path], venue: str | None) -> tuple[list[Line], list[Stream]]:
    """Return one line per exchange and data type, and one stream per file.

    Raises
    ------
    DecodeError
        When a file is not of this form.
    """
    groups: dict[str, list[tuple[Path, str]]] = {}
    for path in paths:
        head = first_lines(path, 2)
        kind = type_of(head[0]) if head else None
        if kind is None:
            raise DecodeError(
                "this is no CSV of Tardis.dev that is taken",
                path=path,
                expected="incremental_book_L2, book_snapshot_N, trades or quotes with its header",
                found=repr(head[0][:80]) if head else "an empty file",
            )
        exchange = head[1].split(b",")[0].decode("ascii", "replace") if len(head) > 1 else "none"
        groups.setdefault(f"tardis:{exchange}:{kind}", []).append((path, kind))
    lines, streams = [], []
    for number, group in enumerate(sorted(groups, key=natural_key), start=1):
        lines.append(Line(number, group, "tardis", announced=False))
        streams += [
            Stream(f"{group}:{path.name}", number, partial(_read, path, kind, venue, number))
            for path, kind in groups[group]
        ]
    return lines, streams


def _read(path: Path, kind: str, venue: str | None, number: int) -> Iterator[Frame]:
    message = _Message(kind, venue, number)
    try:
        for row_number, row in read_lines(path):
            if row_number > 1 and row.strip():
                yield from message.take(row, f"{path.name}:{row_number}")
    except DecodeError:
        yield from message.close()  # what came before the damage
        raise
    yield from message.close()


class _Message:
    """Rows of one message so far."""

    def __init__(self, kind: str, venue: str | None, number: int) -> None:
        self._kind, self._venue, self._number = kind, venue, number
        self._key: tuple[str, ...] = ()
        self._rows: list[bytes] = []

    def take(self, row: bytes, where: str) -> Iterator[Frame]:
        """Add a row; yield the message before it where this is of another."""
        texts = row.decode("ascii", "replace").split(",", 5)
        good = len(texts) == 6 and _FIELD.fullmatch(texts[0]) and _FIELD.fullmatch(texts[1])
        if not good or not texts[3].isdigit() or int(texts[3]) > _MICROSECONDS_MAX:
            yield from self.close()
            reason = "this is no row of Tardis: exchange, symbol, timestamp, local_timestamp"
            yield damaged_frame(self._number, UNTIMED, where=where, reason=reason, payload=row)
            return
        key = (*texts[:2], texts[3], texts[4] if self._kind == "incremental_book_L2" else "")
        alone = self._kind.startswith(("book_snapshot", "quotes"))
        if key != self._key or alone or len(self._rows) >= EVENT_ROWS_MAX:
            yield from self.close()
        self._key = key
        self._rows.append(row)

    def close(self) -> Iterator[Frame]:
        """Yield the message that is open."""
        if self._rows:
            exchange, symbol, local, _ = self._key
            address = f"tardis:{self._venue or exchange}:{self._kind}:{symbol}"
            rows, self._rows = self._rows, []
            yield Frame(WireForm.TEXT, self._number, address, int(local) * 1_000, b"\n".join(rows))
