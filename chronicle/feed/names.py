"""The names that a connection's messages use, as a table in memory that compiled scans look up."""

from __future__ import annotations

import ctypes
from typing import Final

from chronicle.feed.instruments import Instrument
from chronicle.feed.scan_state import CHANNELS, NAME_BYTES_MAX, TABLE_HEAD_BYTES, Lag, NameEntry, TableHead

__all__ = ["NAMES_MAX", "NameTable", "Sight", "hash_of"]

NAMES_MAX: Final = 1 << 14
"""Bound on names of a connection; messages of further ones are read by the plain adapter."""
_FIRST_CAPACITY: Final = 16
_HASH_START: Final = 0x5BD1E995
_HASH_FACTOR: Final = 0x2545F4914F6CDD1D
_MASK_64: Final = (1 << 64) - 1


def hash_of(text: bytes) -> int:
    """Return the hash that compiled scans compute of a name's bytes."""
    value = _HASH_START ^ len(text)
    for start in range(0, len(text), 8):
        value = (value ^ int.from_bytes(text[start : start + 8], "little")) * _HASH_FACTOR & _MASK_64
        value ^= value >> 32
    return value >> 20


class Sight:
    """What direct writes note of a connection, over all its reconnects.

    Attributes
    ----------
    lag : Lag
        How far the last event was behind the venue's time of it.
    """

    def __init__(self) -> None:
        self.lag = Lag()
        self._words: dict[int, ctypes.Array[ctypes.c_int64]] = {}

    def address_of(self, instrument: int) -> int:
        """Return where the times of an instrument's channels stand, in the order of CHANNELS."""
        words = self._words.get(instrument)
        if words is None:
            words = self._words[instrument] = (ctypes.c_int64 * len(CHANNELS))()
        return ctypes.addressof(words)

    def streams(self) -> dict[tuple[int, str], int]:
        """Return ts_recv of the last event that was written directly, by instrument number and channel."""
        return {
            (number, channel): ts
            for number, words in self._words.items()
            for channel, ts in zip(CHANNELS, words, strict=True)
            if ts
        }


class NameTable:
    """What the names on one connection stand for. An entry is set after the plain adapter read a message with it.

    Attributes
    ----------
    address : int
        Where compiled scans find the table now; it moves when the table grows.
    head : TableHead
        Says the same in a place that does not move, for who writes directly; 0 once the connection is gone.
    sight : Sight
        What they note of it.
    source : str
        The address of the connection that the entries hold for: what a name means may depend on it.
    """

    def __init__(self, source: str, sight: Sight | None = None, count: ctypes.c_int64 | None = None) -> None:
        self.source = source
        self._count = count
        self.address = 0
        self.head = TableHead()
        self.sight = sight or Sight()
        self._names: dict[tuple[int, bytes], tuple[Instrument | None, int]] = {}
        self._texts: list[ctypes.Array[ctypes.c_char]] = []
        self._memory: ctypes.Array[ctypes.c_int64]
        self._capacity = _FIRST_CAPACITY
        self._build()

    def __len__(self) -> int:
        return len(self._names)

    def close(self) -> None:
        """Say that the connection is gone: nothing is written directly any more."""
        self.head.table = 0

    def names(self, role: int) -> list[bytes]:
        """Return the names of `role`."""
        return [text for kind, text in self._names if kind == role]

    def learn(self, role: int, text: bytes, instrument: Instrument | None, limit: int) -> None:
        """Let `text` stand for an instrument, or for none, and a stream of whole books of `limit` levels (0: no)."""
        if len(self._names) >= NAMES_MAX or not 0 < len(text) <= NAME_BYTES_MAX:
            return
        known = (role, text) in self._names
        self._names[role, text] = instrument, limit
        if known or 2 * len(self._names) > self._capacity:
            self._build()
        else:
            self._insert(role, text, instrument, limit)

    def forget(self, role: int, text: bytes) -> None:
        """Let `text` stand for nothing again."""
        if self._names.pop((role, text), None) is not None:
            self._build()

    def _build(self) -> None:
        while 2 * len(self._names) > self._capacity:
            self._capacity *= 2
        words = (TABLE_HEAD_BYTES + self._capacity * ctypes.sizeof(NameEntry)) // 8
        self._memory = (ctypes.c_int64 * words)()
        self._memory[0] = self._capacity - 1
        self._memory[1] = 0 if self._count is None else ctypes.addressof(self._count)
        self._texts.clear()
        self.address = self.head.table = ctypes.addressof(self._memory)
        for (role, text), (instrument, limit) in self._names.items():
            self._insert(role, text, instrument, limit)

    def _insert(self, role: int, text: bytes, instrument: Instrument | None, limit: int) -> None:
        hashed = hash_of(text)
        place = hashed & (self._capacity - 1)
        entry = self._entry(place)
        while entry.text:
            place = (place + 1) & (self._capacity - 1)
            entry = self._entry(place)
        buffer = ctypes.create_string_buffer(text, len(text) + 8)
        self._texts.append(buffer)
        entry.hash, entry.role, entry.length, entry.limit = hashed, role, len(text), limit
        if instrument is not None:
            entry.instrument = ctypes.addressof(instrument)
            entry.seen = self.sight.address_of(instrument.number)
        entry.text = ctypes.addressof(buffer)

    def _entry(self, place: int) -> NameEntry:
        return NameEntry.from_address(self.address + TABLE_HEAD_BYTES + place * ctypes.sizeof(NameEntry))
