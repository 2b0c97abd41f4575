"""The obvious slow book: two dicts, driven by records, judged by each venue's checksum text."""

from __future__ import annotations

import zlib
from collections import Counter

from chronicle.core.decimals import rescale, text_fixed, text_stripped
from chronicle.core.events import EventBuilder
from chronicle.core.layout import CheckRule, Kind, Side
from chronicle.core.records import InstrumentFields, Record


def records_of(data: bytes | bytearray) -> list[Record]:
    """Split the bytes of an event into records."""
    found, position = [], 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "little")
        found.append(Record(bytes(data[position : position + length])))
        position += length
    return found


def taken(out: EventBuilder) -> list[Record]:
    """Take the events out of `out` as records."""
    events = out.events
    data, count = out.take()
    found = records_of(data)
    assert len(found) == count
    assert sum(record.is_last for record in found) == events
    assert not found or found[-1].is_last
    return found


class NaiveBook:
    """One instrument's book as {price: size}, at the exponents of its last INSTRUMENT."""

    def __init__(self, fields: InstrumentFields) -> None:
        self.fields = fields
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.started = False

    def redefine(self, fields: InstrumentFields) -> None:
        """Rescale every level to the new exponents."""
        old = self.fields
        for name in ("bids", "asks"):
            levels = {
                rescale(price, old.price_exponent, fields.price_exponent): rescale(
                    size, old.size_exponent, fields.size_exponent
                )
                for price, size in getattr(self, name).items()
            }
            setattr(self, name, levels)
        self.fields = fields

    def apply(self, record: Record) -> None:
        """Apply a snapshot or a delta; size 0 deletes."""
        fields = record.fields()
        if record.kind == Kind.BOOK_SNAPSHOT:
            self.bids, self.asks, self.started = dict(fields["bids"]), dict(fields["asks"]), True
            return
        side = self.bids if record.side == Side.BID else self.asks
        if fields["size"]:
            side[fields["price"]] = fields["size"]
        else:
            side.pop(fields["price"], None)

    def cut(self) -> None:
        """Keep the venue's depth."""
        depth = self.fields.book_depth
        if depth:
            self.bids = dict(sorted(self.bids.items(), reverse=True)[:depth])
            self.asks = dict(sorted(self.asks.items())[:depth])

    def checksum(self, rule: int) -> int:
        """Return the venue's checksum of the book."""
        bids, asks = sorted(self.bids.items(), reverse=True), sorted(self.asks.items())
        fields = self.fields
        if rule == CheckRule.KRAKEN_V1:
            text = "".join(
                text_fixed(price, fields.price_exponent, fields.check_price_decimals).replace(".", "").lstrip("0")
                + text_fixed(size, fields.size_exponent, fields.check_size_decimals).replace(".", "").lstrip("0")
                for price, size in asks[:10] + bids[:10]
            )
            return zlib.crc32(text.encode())
        parts = []
        for place in range(25):
            for levels in (bids, asks):
                if place < len(levels):
                    price, size = levels[place]
                    parts.append(text_stripped(price, fields.price_exponent))
                    parts.append(text_stripped(size, fields.size_exponent))
        value = zlib.crc32(":".join(parts).encode())
        return value - 2**32 if value >= 2**31 else value


class NaiveMarket:
    """Books of many instruments from raw events, and the count of checksums that held and failed."""

    def __init__(self) -> None:
        self.definitions: dict[int, InstrumentFields] = {}
        self.books: dict[int, NaiveBook] = {}
        self.kinds: Counter[str] = Counter()
        self.redefinitions = 0
        self.passed = 0
        self.failed = 0

    def apply(self, records: list[Record]) -> None:
        """Apply the records of one event."""
        touched = set()
        for record in records:
            self.kinds[Kind(record.kind).name] += 1
            number = record.instrument
            if record.kind == Kind.INSTRUMENT:
                fields = InstrumentFields.unpack(record.body)
                self.redefinitions += number in self.definitions
                self.definitions[number] = fields
                self.books.setdefault(number, NaiveBook(fields)).redefine(fields)
            elif number:
                assert number in self.definitions, "a record before its INSTRUMENT"
            if record.kind in (Kind.BOOK_DELTA, Kind.BOOK_SNAPSHOT):
                self.books[number].apply(record)
                touched.add(number)
            if record.kind == Kind.CHECK:
                for touched_number in touched:
                    self.books[touched_number].cut()
                fields = record.fields()
                right = self.books[number].checksum(fields["rule"]) == fields["expected"]
                self.passed, self.failed = self.passed + right, self.failed + (not right)
        for number in touched:
            self.books[number].cut()

    def book(self, symbol: str) -> NaiveBook:
        """Return the book of a canonical symbol."""
        (number,) = [number for number, fields in self.definitions.items() if fields.symbol == symbol]
        return self.books[number]
