"""MessageAdapter: what the adapters of JSON venues share: forms of frames, checked fields, errors of one kind."""

from __future__ import annotations

import ctypes
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from chronicle.core.errors import ChronicleError, DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MAX, INT64_MIN, StatusCode, WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Instrument, InstrumentRegistry, VenueRules
from chronicle.feed.names import NameTable
from chronicle.feed.scan_state import NOT_COUNTED
from chronicle.feed.shapes import ROLES, Shape
from chronicle.feed.venues.levels import Level, LevelReader, Levels

__all__ = [
    "UNREADABLE",
    "ConnectionCount",
    "FreshTrades",
    "MessageAdapter",
    "json_value",
    "numbers_as_text",
    "read_trades",
    "stamp_ns",
    "whole",
]

T = TypeVar("T")

_json = msgspec.json.Decoder()
_json_exact = msgspec.json.Decoder(float_hook=str)

MICROSECONDS_FROM: Final = 10**15
"""Integer times at or above this are microseconds: as milliseconds they would lie after the year 33000."""

UNREADABLE: Final = (
    *(KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError),
    *(struct.error, msgspec.MsgspecError, ChronicleError),
)
"""What a hostile message can raise while its parts are taken: all of it means that the message cannot be read."""


def json_value(payload: bytes, *, exact: bool = False) -> Any:
    """Return the JSON value in `payload`; `exact` keeps numbers with a point or exponent as their texts.

    Raises
    ------
    DecodeError
        When it is no JSON, or nested deeper than the reader goes.
    """
    try:
        return (_json_exact if exact else _json).decode(payload)
    except UNREADABLE as error:
        raise DecodeError(f"cannot read a message as JSON: {error}", found=excerpt(payload)) from error


def read_trades(
    reader: LevelReader, entries: Sequence[Any], levels: Levels, fields_of: Callable[[Any], T]
) -> list[tuple[Level, T]]:
    """Return (level, what `fields_of` reads) of the trades that can be read; `reader` is told of the others."""
    found = []
    for entry, level in zip(entries, levels, strict=True):
        try:
            if level is not None:
                found.append((level, fields_of(entry)))
        except UNREADABLE as error:
            reader.problem(f"trade {entry!r}: {error}")
    return found


def numbers_as_text(*values: Any) -> list[str]:
    """Return the decimal texts of JSON numbers read with ``exact``, without a point that says nothing (``5.0``).

    Raises
    ------
    DecodeError
        When one is neither a number nor a decimal text.
    """
    texts = []
    for value in values:
        text = str(value) if type(value) is int else value
        if type(text) is not str:
            raise DecodeError("a price or size is no number", found=repr(value)[:80])
        texts.append(text.removesuffix(".0"))
    return texts


def excerpt(payload: bytes, limit: int = 120) -> str:
    """Return the start of `payload` as printable text, for errors."""
    text = payload[:limit].decode("utf-8", "backslashreplace")
    return text + (" ..." if len(payload) > limit else "")


def whole(value: Any, name: str) -> int:
    """Return `value` as an int64; venues write ids as numbers or as decimal texts.

    Raises
    ------
    DecodeError
        When it is neither, or beyond int64.
    """
    if type(value) is str and value.isascii() and value.removeprefix("-").isdigit() and len(value) <= 20:
        value = int(value)
    if type(value) is not int or not INT64_MIN < value <= INT64_MAX:
        raise DecodeError(f"the field {name!r} is no 64-bit integer", expected="integer", found=repr(value)[:80])
    return value


def stamp_ns(value: Any, name: str) -> int:
    """Return ns UTC of an integer time in milliseconds (or microseconds, from ``MICROSECONDS_FROM``).

    Raises
    ------
    DecodeError
        When it is no integer, or beyond int64 ns.
    """
    number = whole(value, name)
    ns = number * (1_000 if abs(number) >= MICROSECONDS_FROM else 1_000_000)
    if not INT64_MIN < ns <= INT64_MAX:
        raise DecodeError(f"the time {name!r} lies beyond int64 ns", found=number)
    return ns


class ConnectionCount:
    """Numbers that a venue counts over a whole connection, whatever the messages are about."""

    def __init__(self) -> None:
        self._last: dict[int, ctypes.c_int64] = {}

    def cell(self, connection: int) -> ctypes.c_int64:
        """Return where the number of the connection's last message stands, for scans: they read and set it, too."""
        return self._last.setdefault(connection, ctypes.c_int64(NOT_COUNTED))

    def take(self, out: EventBuilder, connection: int, number: int) -> None:
        """Note the number of the connection's next message; a hole is a STATUS LOST of the connection."""
        cell = self.cell(connection)
        last, cell.value = cell.value, number
        if last == NOT_COUNTED or number == last + 1:
            return
        details = {"first": last + 1, "last": number - 1} if number > last else {"after": last, "number": number}
        out.status(StatusCode.LOST, details)

    def forget(self, connection: int) -> None:
        """Start anew: the connection is a new one."""
        self.cell(connection).value = NOT_COUNTED


class FreshTrades:
    """Tells which of the last trades that a venue sends at a subscription were told before a reconnect."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, str], int] = {}

    def note(self, connection: int, symbol: str, number: int) -> None:
        """Note a trade by what grows from one to the next: its id, or its time."""
        key = connection, symbol
        self._last[key] = max(number, self._last.get(key, number))

    def is_old(self, connection: int, symbol: str, number: int) -> bool:
        """Return whether a trade of this number, or a later one, was noted."""
        return number <= self._last.get((connection, symbol), INT64_MIN)


class MessageAdapter(ABC):
    """Base of the JSON venues' adapters.

    A subclass says what its messages mean (`on_message`), and where it matters what HTTP responses, sent frames and
    new connections mean. It takes a whole message apart before it adds the first record, so that an unreadable
    message adds either all that could be read (and a STATUS of the instrument) or nothing.
    """

    venue: str = ""
    rules: VenueRules = VenueRules()
    shapes: tuple[Shape, ...] = ()
    """How the venue writes what compiled scans may read before this adapter; see :mod:`chronicle.feed.shapes`."""

    def __init__(self, registry: InstrumentRegistry) -> None:
        self.registry = registry
        self._reader: LevelReader | None = None
        self._told: DecodeError | None = None
        """The last error of a part of a message: what it is about was told the stream."""
        registry.set_rules(self.venue, self.rules)

    def count_of(self, connection: int) -> ctypes.c_int64 | None:
        """Return where the venue's count of a connection's messages stands, None where it counts none."""
        return None

    def decode(self, frame: Frame, out: EventBuilder) -> None:
        """Add the records of `frame` to `out`.

        Raises
        ------
        DecodeError
            When something of the frame cannot be read. What could be read is in `out` all the same, and where the
            instrument is known, `out` holds a STATUS DECODE_ERROR of it.
        """
        self._reader = None
        try:
            self._dispatch(frame, out)
        except UNREADABLE as error:
            wrapped = error if isinstance(error, DecodeError) else self._wrapped(error, frame)
            self._mark(out, wrapped)
            raise wrapped from (None if wrapped is error else error)

    def _wrapped(self, error: BaseException, frame: Frame) -> DecodeError:
        return DecodeError(
            f"cannot read a message of {self.venue}: {type(error).__name__}: {str(error)[:200]}",
            path=frame.address[:200] or None,
            found=excerpt(frame.payload),
        )

    def _mark(self, out: EventBuilder, error: DecodeError) -> None:
        """Tell the stream which instrument's message could not be read, where the message names one."""
        if self._reader is not None:
            try:
                self._reader.fail(str(error)[:300])
            except UNREADABLE as unnamed:
                error.add_note(f"and its symbol is no name: {unnamed}")

    def _dispatch(self, frame: Frame, out: EventBuilder) -> None:
        form = frame.form
        if form in (WireForm.TEXT, WireForm.BINARY):
            self.on_message(frame, out)
        elif form == WireForm.HTTP:
            self.on_http(frame, out)
        elif form == WireForm.SENT:
            self.on_sent(frame)
        elif form in (WireForm.CONNECTED, WireForm.DISCONNECTED):
            self.on_connection(frame)

    @abstractmethod
    def on_message(self, frame: Frame, out: EventBuilder) -> None:
        """Translate what the venue sent on a connection."""

    def stands_for(
        self, role: int, name: str, frame: Frame, table: NameTable
    ) -> tuple[Instrument | None, int] | None:
        """Return what a name in `frame` stands for, which was just read: an instrument, or a stream and its levels.

        From then on scans take messages with it. None: it stands for nothing that a scan may take.
        """
        instrument = self.registry.current(self.venue, name) if role == ROLES["symbol"] else None
        return None if instrument is None else (instrument, 0)

    def take_each(self, frame: Frame, out: EventBuilder, parts: Iterable[T], take: Callable[[T], None]) -> None:
        """Translate parts of a message that are about instruments of their own: one that cannot be read does not take
        the others with it.

        Raises
        ------
        DecodeError
            The first of what could not be read, after the rest was added.
        """
        failed: DecodeError | None = None
        for part in parts:
            self._reader = None
            try:
                take(part)
            except UNREADABLE as error:
                found = error if isinstance(error, DecodeError) else self._wrapped(error, frame)
                if found is not self._told:
                    if self._reader is None:  # nobody's message
                        out.status(StatusCode.DECODE_ERROR, {"problem": str(found)[:300]})
                    self._mark(out, found)
                failed = failed or found
        self._reader = None
        if failed is not None:
            self._told = failed
            raise failed

    def on_http(self, frame: Frame, out: EventBuilder) -> None:
        """Translate an HTTP response; others than the venue's lists and snapshots carry nothing for us."""

    def on_sent(self, frame: Frame) -> None:
        """Note what the client sent."""

    def on_connection(self, frame: Frame) -> None:
        """Forget what belonged to the connection before."""

    def reader(self, out: EventBuilder, venue_symbol: Any, channel: str) -> LevelReader:
        """Return the reader of the numbers of one message of `channel` (``book``, ``trade`` or ``quote``).

        Raises
        ------
        DecodeError
            When `venue_symbol` is no text.
        """
        if type(venue_symbol) is not str:
            raise DecodeError(f"a message of {self.venue} names no symbol", found=repr(venue_symbol)[:80])
        self._reader = LevelReader(self.registry, out, self.venue, venue_symbol, channel)
        return self._reader

    def say(self, out: EventBuilder, code: StatusCode, details: dict[str, Any], venue_symbol: Any = None) -> None:
        """Add a STATUS: of the instrument when the venue names one, else of the connection."""
        number = 0
        if type(venue_symbol) is str and venue_symbol:
            number = (
                self.registry.current(self.venue, venue_symbol) or self.registry.use(out, self.venue, venue_symbol)
            ).number
        out.status(code, {key: value for key, value in details.items() if value is not None}, instrument=number)
