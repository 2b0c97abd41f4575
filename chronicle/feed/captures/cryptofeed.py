"""Captures of the cryptofeed recorder: text lines (one file per connection) and JSON lines (grouped by connection).

Text: ``URL <-> TS`` a connection opened, ``URL <- TS: TEXT`` sent, ``TS: PAYLOAD`` received, ``URL -> TS: BODY`` an
HTTP response, ``configuration: JSON`` what was asked for; binary frames are Python bytes literals. JSON lines: a
header, then ``{"t": "http" | "connect" | "send" | "recv", "conn", "ts", "data" | "b64", ...}``. Times are decimal
Unix seconds and are read exactly. Protocol: bmoscon/cryptofeed, its sample data and recorder.
"""

from __future__ import annotations

import ast
import base64
import binascii
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from chronicle.core.errors import ChronicleError, DecodeError
from chronicle.core.layout import WireForm
from chronicle.core.times import decimal_seconds_ns
from chronicle.feed.adapter import Frame
from chronicle.feed.captures.merge import UNTIMED, Stream
from chronicle.feed.captures.names import (
    FAMILIES,
    connection_name,
    exchange_of,
    is_http,
    natural_key,
    venue_of_address,
    venue_of_exchange,
)
from chronicle.feed.captures.text import first_lines, read_lines
from chronicle.feed.marks import Line, damaged_frame

__all__ = ["is_cryptofeed", "open_cryptofeed"]

CONNECTIONS_MAX: Final = 256
"""Each connection is one open file while it is read."""
TS_FIRST: Final = 631_152_000 * 10**9
TS_LAST: Final = 4_102_444_800 * 10**9
"""Times outside 1990 to 2100 are garbage, not receive times."""

_RECEIVED = re.compile(rb"(\d+(?:\.\d+)?): (.*)", re.DOTALL)
_ADDRESSED = re.compile(rb"(\S.*?) (<->|<-|->) (\d+(?:\.\d+)?)(?:: (.*))?", re.DOTALL)
_CONFIGURATION: Final = b"configuration: "
_BYTES_LITERAL = re.compile(rb"b(['\"]).*\1", re.DOTALL)
_QUICK_CONNECTION = re.compile(rb'\{"t":"[a-z]+","conn":"([^"\\]*)"')


class _Row(msgspec.Struct):
    t: str
    conn: str = ""
    ts: msgspec.Raw = msgspec.Raw()
    url: str = ""
    addr: str = ""
    data: str | None = None
    b64: str | None = None


class _Header(msgspec.Struct):
    t: str
    exchange: str = ""


UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What a hostile line can raise in the JSON decoder."""

_ROW = msgspec.json.Decoder(_Row)
_HEADER = msgspec.json.Decoder(_Header)


def is_cryptofeed(lines: list[bytes]) -> bool:
    """Whether the first `lines` of a file look like one of the two forms (some may be damaged)."""
    return any(_is_header(line) or _kind(line) != "damaged" for line in lines)


def open_cryptofeed(paths: list[Path], venue: str | None) -> tuple[list[Line], list[Stream]]:
    """Return the lines (connections) and streams of the captures at `paths`, text and JSON lines alike.

    Connections are numbered from 1 in the natural order of their names, whatever the order of `paths`.

    Raises
    ------
    DecodeError
        When a file is no capture, or its venue cannot be told.
    """
    sources: list[tuple[str, str, Path, bool]] = []  # connection name, venue, path, is JSON lines
    for path in paths:
        head = first_lines(path, 20)
        if not is_cryptofeed(head):
            raise DecodeError(
                "this is no cryptofeed capture: none of its first lines is a record",
                path=path,
                expected="lines as 'TS: PAYLOAD' or JSON lines with \"t\"",
                found=repr(head[0][:60]) if head else "an empty file",
            )
        grouped = _is_jsonl(head[0])
        found = venue or _venue(path, head)
        names = _scan_connections(path) if grouped else [connection_name(path.name)]
        sources += [(name, found, path, grouped) for name in names]
    sources.sort(key=lambda source: (natural_key(source[0]), natural_key(source[2].name)))
    numbers: dict[str, int] = {}
    lines: list[Line] = []
    for name, found, path, grouped in sources:
        if name not in numbers and (_holds_line(path) if not grouped else not is_http(name)):
            numbers[name] = len(numbers) + 1
            lines.append(Line(numbers[name], name, found))
    if len(sources) > CONNECTIONS_MAX:
        raise DecodeError("too many connections in one replay", expected=CONNECTIONS_MAX, found=len(sources))
    first_of: set[Path] = set()
    streams = []
    for name, _, path, grouped in sources:
        number = numbers.get(name, 0)
        opener = (
            partial(_read_jsonl, path, name, number, takes_strays=path not in first_of)
            if grouped
            else partial(_read_text, path, name, number)
        )
        first_of.add(path)
        streams.append(Stream(name=path.name, connection=number, frames=opener))
    return lines, streams


def _venue(path: Path, head: list[bytes]) -> str:
    if _is_header(head[0]):
        return _member(venue_of_exchange(_HEADER.decode(head[0]).exchange), head)
    exchange = exchange_of(path.name)
    if exchange is not None:
        return _member(venue_of_exchange(exchange), head)
    found = next(_addressed(head), None)
    if found is not None:
        return found
    if path.name[:1].isupper():
        return venue_of_exchange(connection_name(path.name).split(".")[0])
    raise DecodeError("cannot tell the venue of the capture", path=path, hint="name it with --venue")


def _addressed(head: list[bytes]) -> Iterator[str]:
    """Yield the venues of the addresses in the first lines of a file."""
    for line in head:
        match = _ADDRESSED.fullmatch(line)
        if match:
            address = match[1].decode("utf-8", "replace")
        else:
            try:
                row = _ROW.decode(line)
            except UNREADABLE:
                continue
            address = row.url or row.addr
        found = venue_of_address(address)
        if found is not None:
            yield found


def _member(venue: str, head: list[bytes]) -> str:
    """Return `venue`, or the one of its family that the addresses tell: one exchange's name stands for both."""
    family = FAMILIES.get(venue, frozenset())
    return next((found for found in _addressed(head) if found in family), venue)


def _is_header(line: bytes) -> bool:
    try:
        return _HEADER.decode(line).t == "header"
    except UNREADABLE:
        return False


def _is_jsonl(line: bytes) -> bool:
    return line.startswith(b'{"t":') or _is_header(line)


def _kind(line: bytes) -> str:
    if line.startswith(_CONFIGURATION):
        return "configuration"
    if _RECEIVED.fullmatch(line) or _ADDRESSED.fullmatch(line):
        return "text"
    try:
        return _ROW.decode(line).t
    except UNREADABLE:
        return "damaged"


def _holds_line(path: Path) -> bool:
    """Whether a text file holds a connection's frames, not HTTP responses and configuration only."""
    for line in first_lines(path, 50):
        match = _ADDRESSED.fullmatch(line)
        if _RECEIVED.fullmatch(line) or (match and match[2] != b"->"):
            return True
    return False


def _time(text: bytes) -> int:
    try:
        ts = decimal_seconds_ns(text.decode("ascii"))
    except (ChronicleError, UnicodeDecodeError) as error:
        raise DecodeError(f"the time {text[:40]!r} is no decimal number of seconds") from error
    if not TS_FIRST <= ts < TS_LAST:
        raise DecodeError(f"the time {text[:40]!r} is no time of a capture (1990 to 2100)")
    return ts


# --- text lines --------------------------------------------------------------------------------------------------


def _read_text(path: Path, name: str, number: int) -> Iterator[Frame]:
    address = name
    for row, line in read_lines(path):
        if not line.strip():
            continue
        try:
            frame = _text_frame(line, name, number, address)
        except DecodeError as error:
            yield damaged_frame(number, UNTIMED, where=f"{path.name}:{row}", reason=error.message, payload=line)
            continue
        if frame.form == WireForm.CONNECTED:
            address = frame.address
        yield frame


def _text_frame(line: bytes, name: str, number: int, address: str) -> Frame:
    if line.startswith(_CONFIGURATION):
        return Frame(WireForm.CONFIG, 0, f"configuration:{name}", UNTIMED, line[len(_CONFIGURATION) :])
    received = _RECEIVED.fullmatch(line)
    if received:
        payload = received[2]
        if _BYTES_LITERAL.fullmatch(payload):
            return Frame(WireForm.BINARY, number, address, _time(received[1]), _bytes_literal(payload))
        return Frame(WireForm.TEXT, number, address, _time(received[1]), _utf8(payload))
    match = _ADDRESSED.fullmatch(line)
    if match is None:
        raise DecodeError("this is no line of a cryptofeed capture")
    url, arrow, ts = _utf8(match[1]).decode("utf-8"), match[2], _time(match[3])
    if arrow == b"<->":
        return Frame(WireForm.CONNECTED, number, url, ts, b"")
    if match[4] is None:
        raise DecodeError("the line ends before its payload")
    if arrow == b"<-":
        return Frame(WireForm.SENT, number, url, ts, _utf8(match[4]))
    return Frame(WireForm.HTTP, 0, url, ts, _utf8(match[4]))


def _utf8(data: bytes) -> bytes:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError(f"the text is not UTF-8 at byte {error.start}") from error
    return data


def _bytes_literal(text: bytes) -> bytes:
    try:
        value = ast.literal_eval(text.decode("ascii"))
    except (ValueError, SyntaxError, UnicodeDecodeError, MemoryError, RecursionError) as error:
        raise DecodeError("the bytes literal of a binary frame cannot be read") from error
    if not isinstance(value, bytes):
        raise DecodeError("the bytes literal of a binary frame is none", found=type(value).__name__)
    return value


# --- JSON lines --------------------------------------------------------------------------------------------------


def _scan_connections(path: Path) -> list[str]:
    """Return the names of the connections in a JSON-lines file; what is torn shows again when it is read."""
    names: dict[str, None] = {}
    try:
        for _, line in read_lines(path):
            name = _connection_of(line)
            if name is not None:
                names[name] = None
            if len(names) > CONNECTIONS_MAX:
                break  # the caller refuses so many
    except DecodeError:
        if not names:
            raise
    return list(names) or [connection_name(path.name)]


def _connection_of(line: bytes) -> str | None:
    quick = _QUICK_CONNECTION.match(line)
    if quick is None:
        try:
            return _ROW.decode(line).conn or None
        except UNREADABLE:
            return None
    return quick[1].decode("utf-8", "replace")


def _read_jsonl(path: Path, name: str, number: int, *, takes_strays: bool) -> Iterator[Frame]:
    """Yield the frames of connection `name`; one stream of the file also yields what belongs to none."""
    address = name
    for row, line in read_lines(path):
        if not line.strip():
            continue
        owner = _connection_of(line)
        if owner != name and not (owner is None and takes_strays):
            continue
        try:
            frame = _jsonl_frame(line, name, number, address)
        except DecodeError as error:
            yield damaged_frame(number, UNTIMED, where=f"{path.name}:{row}", reason=error.message, payload=line)
            continue
        if frame.form == WireForm.CONNECTED:
            address = frame.address
        yield frame


def _jsonl_frame(line: bytes, name: str, number: int, address: str) -> Frame:
    try:
        row = _ROW.decode(line)
    except UNREADABLE as error:
        raise DecodeError(f"this is no line of a cryptofeed capture: {error}") from error
    if row.t == "header":
        return Frame(WireForm.CONFIG, 0, f"configuration:{name}", UNTIMED, line)
    ts = _time(bytes(row.ts))
    if row.t == "connect":
        return Frame(WireForm.CONNECTED, number, row.addr, ts, b"")
    if row.t == "http":
        return Frame(WireForm.HTTP, 0, row.url, ts, _payload(row))
    if row.t == "send":
        return Frame(WireForm.SENT, number, row.addr, ts, _payload(row))
    if row.t == "recv":
        form = WireForm.TEXT if row.b64 is None else WireForm.BINARY
        return Frame(form, number, row.addr or address, ts, _payload(row))
    raise DecodeError(f"the line has the unknown type {row.t[:40]!r}")


def _payload(row: _Row) -> bytes:
    if row.data is not None:
        return row.data.encode("utf-8")
    if row.b64 is None:
        raise DecodeError("the line has no payload")
    try:
        return base64.b64decode(row.b64, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DecodeError(f"the base64 payload is damaged: {error}") from error
