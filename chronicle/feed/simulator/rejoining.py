"""What a played capture answers a client that asks for one book anew: its stream again, or a snapshot of now.

A capture holds the venue's snapshots of its start only. Where a book starts on the stream, the client hears that
stream again, from its last snapshot up to where the play has come: the book is then what it was at that moment. Where
it starts over HTTP, the recorded answer is brought up to date by the changes that were played since. Venues that
number a whole connection (Coinbase, Bitfinex) allow neither: old numbers would be holes.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from chronicle.core.decimals import to_decimal
from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import Kind, SequenceRule, Side, WireForm
from chronicle.core.records import Record
from chronicle.feed.adapter import Adapter, Frame
from chronicle.feed.decoder import records_of
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues import adapter_for

__all__ = ["BookFrames", "LineFrames", "requested"]

_IDS: Final = ("lastUpdateId", "sequence", "id")
"""How venues call the number of a snapshot over HTTP."""
_BOOK: Final = frozenset({Kind.BOOK_DELTA, Kind.BOOK_SNAPSHOT})
_UNSUBSCRIBE: Final = re.compile(r"unsub", re.IGNORECASE)

Payload = str | bytes
Sides = tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]


@dataclass(slots=True)
class LineFrames:
    """One recorded connection, as its adapter reads it: the books of each frame, and those that it starts."""

    books: list[frozenset[str]] = field(default_factory=list)
    starts: list[frozenset[str]] = field(default_factory=list)
    changes: list[list[tuple[str, int, int, Decimal, Decimal]]] = field(default_factory=list)
    """(symbol, sequence, side, price, size) of each frame's changes."""


def requested(text: str, symbols: Mapping[str, re.Pattern[str]]) -> tuple[str, bool] | None:
    """Return (symbol, whether it is left) of a request that names one symbol; None for any other text."""
    named = [symbol for symbol, pattern in symbols.items() if pattern.search(text)]
    return (named[0], bool(_UNSUBSCRIBE.search(text))) if len(named) == 1 else None


class BookFrames:
    """The books of a recording.

    Parameters
    ----------
    venue : str
        Whose adapter reads it.
    answers : list of (str, bytes)
        Its HTTP answers, with their addresses.

    Attributes
    ----------
    symbols : dict of str to re.Pattern
        The venue's names of the books that may be asked for anew, and how they are found in a request.
    """

    def __init__(self, venue: str, answers: list[tuple[str, bytes]]) -> None:
        self._registry = InstrumentRegistry()
        self._adapter: Adapter = adapter_for(venue, self._registry, scanning=False)
        self._out = EventBuilder()
        self._names: dict[int, str] = {}
        self._exponents: dict[int, tuple[int, int]] = {}
        self.symbols: dict[str, re.Pattern[str]] = {}
        for address, body in answers:
            self._decode(Frame(WireForm.HTTP, 0, address, 1, body))

    def read(self, number: int, address: str, asked: list[str], frames: list[tuple[int, Payload]]) -> LineFrames:
        """Return what the frames of one connection carry."""
        found = LineFrames()
        self._decode(Frame(WireForm.CONNECTED, number, address, 1, b""))
        for text in asked:
            self._decode(Frame(WireForm.SENT, number, address, 1, text.encode()))
        for ts_recv, payload in frames:
            form = WireForm.TEXT if isinstance(payload, str) else WireForm.BINARY
            data = payload.encode() if isinstance(payload, str) else payload
            records = self._decode(Frame(form, number, address, ts_recv, data))
            books, starts, changes = set(), set(), []
            for record in records:
                if record.kind in _BOOK:
                    symbol = self._symbol(record.instrument)
                    books.add(symbol)
                    if record.kind == Kind.BOOK_SNAPSHOT:
                        starts.add(symbol)
                    elif record.side != Side.NONE:
                        changes.append((symbol, record.sequence, record.side, *self._level(record)))
            found.books.append(frozenset(books))
            found.starts.append(frozenset(starts))
            found.changes.append(changes)
        return found

    def again(
        self, line: LineFrames, frames: list[tuple[int, Payload]], symbol: str, end: int
    ) -> list[tuple[int, Payload]]:
        """Return the frames of a book from its last snapshot before frame `end` on; nothing where it has none."""
        begin = next((at for at in range(end - 1, -1, -1) if symbol in line.starts[at]), None)
        if begin is None:
            return []
        return [frames[at] for at in range(begin, end) if symbol in line.books[at]]

    def snapshot(self, address: str, body: bytes, played: list[tuple[LineFrames, int]]) -> bytes:
        """Return a recorded snapshot over HTTP as it would be after the changes of the frames that were `played`."""
        records = self._decode(Frame(WireForm.HTTP, 0, address, 1, body))
        start = next((record for record in records if record.kind == Kind.BOOK_SNAPSHOT), None)
        if start is None:
            return body
        symbol, last = self._symbol(start.instrument), start.sequence
        sides = self._sides(start)
        for name, sequence, side, price, size in _changes(played):
            if name == symbol and sequence > start.sequence:
                last = max(last, sequence)
                levels = sides[side == Side.ASK]
                if size:
                    levels[price] = size
                else:
                    levels.pop(price, None)
        return body if last == start.sequence else _rewritten(body, last, sides)

    def _decode(self, frame: Frame) -> list[Record]:
        """Return the records of a frame; what cannot be read was told when it was recorded."""
        self._out.begin(frame.ts_recv, source=frame.connection)
        with contextlib.suppress(DecodeError):
            self._adapter.decode(frame, self._out)
        records = records_of(self._out.take()[0])
        for record in records:
            if record.kind == Kind.INSTRUMENT:
                fields = record.fields()
                self._exponents[record.instrument] = fields["price_exponent"], fields["size_exponent"]
                name = str(fields["details"]["venue_symbol"])
                if fields["sequence_rule"] != SequenceRule.CONNECTION and name not in self.symbols:
                    word = rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"
                    self.symbols[name] = re.compile(word, re.IGNORECASE)
        return records

    def _symbol(self, number: int) -> str:
        if number not in self._names:
            known = self._registry.instruments()
            self._names |= {item.number: item.venue_symbol.rpartition("|")[2] for item in known}
        return self._names[number]

    def _level(self, record: Record) -> tuple[Decimal, Decimal]:
        fields, exponents = record.fields(), self._exponents[record.instrument]
        return to_decimal(fields["price"], exponents[0]), to_decimal(fields["size"], exponents[1])

    def _sides(self, start: Record) -> Sides:
        fields, (price_exponent, size_exponent) = start.fields(), self._exponents[start.instrument]
        bids, asks = (
            {to_decimal(price, price_exponent): to_decimal(size, size_exponent) for price, size in fields[side]}
            for side in ("bids", "asks")
        )
        return bids, asks


def _changes(played: list[tuple[LineFrames, int]]) -> Iterator[tuple[str, int, int, Decimal, Decimal]]:
    for line, end in played:
        for changes in line.changes[:end]:
            yield from changes


def _rewritten(body: bytes, last: int, sides: Sides) -> bytes:
    """Return the venue's answer with other levels and another number."""
    answer: dict[str, Any] = json.loads(body)
    part = answer["data"] if isinstance(answer.get("data"), dict) else answer
    for name, side, descending in (("bids", sides[0], True), ("asks", sides[1], False)):
        part[name] = [[f"{price:f}", f"{side[price]:f}"] for price in sorted(side, reverse=descending)]
    for name in _IDS:
        if name in part:
            part[name] = str(last) if isinstance(part[name], str) else last
    return json.dumps(answer, separators=(",", ":")).encode()
