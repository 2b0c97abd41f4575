"""Rows as Databento's package reads them: one DBN file of a channel, instrument and day.

A book of orders becomes MBO, a book of levels MBP-10 (a record after every event), trades become trades, quotes
MBP-1. Prices are fixed-point 1e-9. Sizes are whole numbers of 32 bits in DBN: they count the largest power of ten
that divides all sizes of the file, and where that is not 1 the symbol ends in ``|size=1e-5``. Sequences keep their
lower 32 bits. Sources: github.com/databento/dbn (rust/dbn/src/record.rs, enums.rs), and its standards on
databento.com/docs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chronicle.access.books.books import Books
from chronicle.access.books.sampling import by_order_in
from chronicle.access.formats.forms import DBN_CHANNELS
from chronicle.access.opened.segments import Shelf
from chronicle.access.ranges.columns import Chunk
from chronicle.access.ranges.rows import ACTION_WORDS, SIDE_WORDS
from chronicle.access.ranges.scan import Scan
from chronicle.core.errors import ConfigError, RangeError
from chronicle.core.layout import INT64_MAX, INT64_MIN, BookStatus, Flag

__all__ = ["write_dbn"]

DATASET: Final = "CHRONICLE"
PRICE_EXPONENT: Final = 9
LEVELS: Final = 10
SIZE_MAX: Final = 2**32 - 1
UNDEFINED_PRICE: Final = INT64_MAX
CHUNK_ROWS: Final = 65_536

_HEADER: Final = [
    ("length", "u1"), ("rtype", "u1"), ("publisher_id", "<u2"), ("instrument_id", "<u4"), ("ts_event", "<u8"),
]  # fmt: skip
_BOOK_LEVEL: Final = np.dtype(
    [("bid_px", "<i8"), ("ask_px", "<i8"), ("bid_sz", "<u4"), ("ask_sz", "<u4"), ("bid_ct", "<u4"), ("ask_ct", "<u4")]
)
_TIMES: Final = [("ts_recv", "<u8"), ("ts_in_delta", "<i4"), ("sequence", "<u4")]
_MBO: Final = np.dtype(
    [*_HEADER, ("order_id", "<u8"), ("price", "<i8"), ("size", "<u4"), ("flags", "u1"), ("channel_id", "u1"),
     ("action", "S1"), ("side", "S1"), *_TIMES]
)  # fmt: skip
_TRADE_FIELDS: Final = [
    *_HEADER, ("price", "<i8"), ("size", "<u4"), ("action", "S1"), ("side", "S1"), ("flags", "u1"), ("depth", "u1"),
    *_TIMES,
]  # fmt: skip
_TRADE: Final = np.dtype(_TRADE_FIELDS)
_MBP_1: Final = np.dtype([*_TRADE_FIELDS, ("levels", _BOOK_LEVEL, (1,))])
_MBP_10: Final = np.dtype([*_TRADE_FIELDS, ("levels", _BOOK_LEVEL, (LEVELS,))])
_RTYPES: Final = {"mbo": (_MBO, 0xA0), "trades": (_TRADE, 0x00), "mbp-1": (_MBP_1, 0x01), "mbp-10": (_MBP_10, 0x0A)}
assert [kind.itemsize for kind, _ in _RTYPES.values()] == [56, 48, 80, 368]

_ACTIONS: Final = np.array([b"N", b"A", b"C", b"F", b"M", b"R", b"T", b"N"], dtype="S1")
assert ACTION_WORDS == ("none", "add", "cancel", "fill", "modify", "clear", "trade", "other")
_SIDES: Final = np.array([{"bid": b"B", "ask": b"A"}.get(word, b"N") for word in SIDE_WORDS], dtype="S1")


def write_dbn(shelf: Shelf, channel: str, symbol: str, start: int, end: int, path: Path) -> int:
    """Write the records of a channel of `symbol` in [start, end) and return how many there are.

    Raises
    ------
    ConfigError
        When Databento's package is not installed, or DBN has no record for the channel.
    RangeError
        When a price or size does not fit DBN's fields.
    """
    if channel not in DBN_CHANNELS:
        raise ConfigError(f"DBN holds no {channel}", expected=" | ".join(DBN_CHANNELS), found=channel)
    file = _File(shelf, channel, symbol, start, end)
    rows = 0
    with open(path, "wb") as out:
        for records in file.records():
            if not rows:
                out.write(file.metadata())
            out.write(records.tobytes())
            rows += len(records)
        out.flush()
        os.fsync(out.fileno())
    return rows


class _File:
    """One file to be."""

    def __init__(self, shelf: Shelf, channel: str, symbol: str, start: int, end: int) -> None:
        self._shelf, self._channel, self._symbol = shelf, channel, symbol
        self._start, self._end = start, end
        self._by_order = channel == "book" and by_order_in(shelf, symbol, start, end)
        self._schema = {"trade": "trades", "quote": "mbp-1"}.get(channel, "mbo" if self._by_order else "mbp-10")
        self._price_exponent = self._size_exponent = 0
        self._unit, self._unit_exponent = 1, 0

    def metadata(self) -> bytes:
        """Return the file's first bytes, by Databento's package."""
        try:
            package: Any = import_module("databento_dbn")
        except ImportError as error:
            raise ConfigError(
                "writing DBN needs Databento's package", found=str(error), hint="pip install 'chronicle-md[dbn]'"
            ) from error
        scale = self._size_exponent - self._unit_exponent
        name = self._symbol if scale == 0 else f"{self._symbol}|size=1e{-scale}"
        return bytes(
            package.Metadata(
                dataset=DATASET,
                start=self._start,
                end=self._end,
                stype_in=package.SType.RAW_SYMBOL,
                stype_out=package.SType.INSTRUMENT_ID,
                schema=package.Schema.from_str(self._schema),
                symbols=[name],
                partial=[],
                not_found=[],
                mappings=[],
            ).encode()
        )

    def records(self) -> Iterator[NDArray[Any]]:
        """Yield the records in order, as arrays of the schema's dtype."""
        if self._schema == "mbp-10":
            yield from self._books()
            return
        names = {
            "mbo": ("action", "side", "price", "size", "order_id", "flags", "sequence"),
            "trades": ("side", "price", "size", "flags", "sequence"),
            "mbp-1": ("bid_price", "bid_size", "ask_price", "ask_size", "flags", "sequence"),
        }[self._schema]
        sizes = ("bid_size", "ask_size") if self._schema == "mbp-1" else ("size",)
        self._measure(sizes)
        fill = {"mbo": self._orders, "trades": self._trades, "mbp-1": self._quotes}[self._schema]
        for chunk in self._scan(("ts_recv", "ts_event", *names)).chunks(CHUNK_ROWS):
            out = self._begun(chunk)
            out["flags"] = chunk["flags"]
            out["sequence"] = np.maximum(chunk["sequence"], 0) & SIZE_MAX
            fill(out, chunk)
            yield out

    def _scan(self, columns: tuple[str, ...]) -> Scan:
        kinds = ("order",) if self._by_order else ("delta", "snapshot") if self._channel == "book" else None
        return Scan(
            self._shelf, (self._symbol,), self._channel, self._start, self._end, columns=columns, kinds=kinds,
            lanes=None, decimals="int",
        )  # fmt: skip

    def _measure(self, names: tuple[str, ...]) -> None:
        """Find what a size counts: the largest power of ten that divides all of them, at most one whole."""
        scan = self._scan(names)
        self._price_exponent, self._size_exponent = scan.price_exponent, scan.size_exponent
        divisor = greatest = 0
        for chunk in scan.chunks(CHUNK_ROWS):
            for name in names:
                sizes = chunk[name][chunk[name] > 0]
                if len(sizes):
                    divisor = int(np.gcd(divisor, np.gcd.reduce(sizes)))
                    greatest = max(greatest, int(sizes.max()))
        exponent = 0
        while exponent < self._size_exponent and divisor and divisor % 10 ** (exponent + 1) == 0:
            exponent += 1
        self._unit, self._unit_exponent = 10**exponent, exponent
        if greatest // self._unit > SIZE_MAX:
            raise RangeError(
                f"a size of {self._symbol} does not fit DBN's 32 bits",
                expected=SIZE_MAX,
                found=greatest // self._unit,
                hint="export Parquet, or a shorter range",
            )

    def _begun(self, chunk: Chunk) -> NDArray[Any]:
        """Return records with their headers and times."""
        kind, rtype = _RTYPES[self._schema]
        out = np.zeros(len(chunk["ts_recv"]), dtype=kind)
        out["length"], out["rtype"], out["instrument_id"] = kind.itemsize // 4, rtype, 1
        recv = chunk["ts_recv"]
        event = np.where(chunk["ts_event"] > 0, chunk["ts_event"], recv)
        out["ts_event"], out["ts_recv"] = event, recv
        out["ts_in_delta"] = np.clip(recv - event, -(2**31), 2**31 - 1)
        return out

    def _orders(self, out: NDArray[Any], chunk: Chunk) -> None:
        out["action"], out["side"] = _ACTIONS[chunk["action"]], _SIDES[chunk["side"]]
        out["order_id"] = chunk["order_id"].view(np.uint64)
        prices = self._prices(chunk["price"])
        out["price"] = np.where(out["action"] == b"R", UNDEFINED_PRICE, prices)
        out["size"] = self._sizes(chunk["size"])

    def _trades(self, out: NDArray[Any], chunk: Chunk) -> None:
        out["action"], out["side"] = b"T", _SIDES[chunk["side"]]
        out["price"], out["size"] = self._prices(chunk["price"]), self._sizes(chunk["size"])

    def _quotes(self, out: NDArray[Any], chunk: Chunk) -> None:
        out["action"], out["side"], out["price"] = b"M", b"N", UNDEFINED_PRICE
        level = out["levels"][:, 0]
        for side in ("bid", "ask"):
            level[f"{side}_px"] = self._prices(chunk[f"{side}_price"])
            level[f"{side}_sz"] = self._sizes(chunk[f"{side}_size"])

    def _books(self) -> Iterator[NDArray[Any]]:
        """Yield the ten best levels after every event."""
        self._measure(("size",))
        books = Books(self._shelf, self._symbol, self._start, self._end, every=0, depth=LEVELS, decimals="int")
        self._price_exponent = books.price_exponent
        if books.size_exponent != self._size_exponent:
            raise RangeError(f"the sizes of {self._symbol} have two exponents in one day", hint="export Parquet")
        doubtful = Flag.LAST | Flag.MAYBE_BAD_BOOK
        for chunk in books.chunks(CHUNK_ROWS):
            out = self._begun(chunk)
            out["action"], out["side"], out["price"] = b"M", b"N", UNDEFINED_PRICE
            out["flags"] = np.where(chunk["status"] == int(BookStatus.OK), int(Flag.LAST), int(doubtful))
            for side in ("bid", "ask"):
                out["levels"][f"{side}_px"] = self._prices(chunk[f"{side}_price"])
                out["levels"][f"{side}_sz"] = self._sizes(chunk[f"{side}_size"])
            yield out

    def _prices(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return mantissas as DBN's prices; none stays none."""
        factor = 10 ** max(0, PRICE_EXPONENT - self._price_exponent)
        divisor = 10 ** max(0, self._price_exponent - PRICE_EXPONENT)
        there = values != INT64_MIN
        held = np.where(there, values, 0)
        if len(held) and (int(np.abs(held).max()) > INT64_MAX // factor or bool((held % divisor).any())):
            raise RangeError(f"a price of {self._symbol} does not fit DBN's 1e-9", found=int(np.abs(held).max()))
        return np.where(there, held // divisor * factor, UNDEFINED_PRICE)

    def _sizes(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(values > 0, values, 0) // self._unit
