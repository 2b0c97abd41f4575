"""Packs: quiet segments side by side in one object, so that ten thousand symbols are not ten thousand objects a day.

A pack is archive objects one after the other, then a table of them and a trailer. Each segment is read by its own
range, as if it were an object: the manifest and the catalogs know where it begins. The table serves rebuilding
alone. ``docs/format/archive.md`` has the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgpack
import xxhash

from chronicle.core.errors import CorruptionError, TornSegmentError
from chronicle.storage.manifest.entry import PACKS_FOLDER, Entry
from chronicle.storage.stores.stores import Readable

__all__ = ["PACK_SUFFIX", "PackWriter", "Packed", "pack_name", "read_pack_table"]

PACK_SUFFIX: Final = ".czpk"
PACK_MAGIC: Final = b"CHRZPAK1"
TRAILER: Final = struct.Struct("<8sIIqQ")
"""magic, version 1, bytes of the table (before the trailer), bytes of the whole pack, xxh3_64 of the table."""
TABLE_BYTES_MAX: Final = 64 << 20
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Packed:
    """Where a segment lies in a pack."""

    queue: str
    generation: int
    number: int
    offset: int
    length: int


def pack_name(entries: Iterable[Entry]) -> str:
    """Return the name of the pack of these segments: the day of the first, and a hash of what they are."""
    listed = list(entries)
    identity = msgpack.packb([[*entry.key, entry.queue_id, entry.checksum] for entry in listed])
    return f"{PACKS_FOLDER}{listed[0].partition}/{xxhash.xxh3_128_hexdigest(identity)}{PACK_SUFFIX}"


class PackWriter:
    """Yields the bytes of a pack; `rows` says afterwards where each segment lies.

    Parameters
    ----------
    entries : list of Entry
    parts_of : callable
        Gives the bytes of an entry's archive object, part by part.
    """

    def __init__(self, entries: list[Entry], parts_of: Callable[[Entry], Iterator[bytes | memoryview]]) -> None:
        self._entries = entries
        self._parts_of = parts_of
        self.rows: list[Packed] = []

    def __iter__(self) -> Iterator[bytes | memoryview]:
        self.rows = []
        position = 0
        for entry in self._entries:
            start = position
            for part in self._parts_of(entry):
                position += len(part)
                yield part
            self.rows.append(Packed(entry.queue, entry.generation, entry.number, start, position - start))
        table: bytes = msgpack.packb(
            [[row.queue, row.generation, row.number, row.offset, row.length] for row in self.rows]
        )
        total = position + len(table) + TRAILER.size
        yield table + TRAILER.pack(PACK_MAGIC, VERSION, len(table), total, xxhash.xxh3_64_intdigest(table))


def read_pack_table(store: Readable, name: str, size: int) -> list[Packed]:
    """Return where the segments of a pack lie.

    Raises
    ------
    TornSegmentError, CorruptionError
        When it is no whole pack.
    """
    path = f"{store.location}/{name}"
    if size < TRAILER.size:
        raise TornSegmentError("a pack is too short", path=path, expected=TRAILER.size, found=size)
    reader = store.reader(name, size=size)
    try:
        magic, version, length, total, checksum = TRAILER.unpack(reader.read(size - TRAILER.size, TRAILER.size))
        if magic != PACK_MAGIC or version != VERSION or total != size or length > min(TABLE_BYTES_MAX, size):
            raise CorruptionError("this is no whole pack", path=path, offset=size - TRAILER.size, found=magic)
        table = reader.read(size - TRAILER.size - length, length)
    finally:
        reader.close()
    if xxhash.xxh3_64_intdigest(table) != checksum:
        raise CorruptionError("a pack's table does not match its checksum", path=path)
    try:
        rows = [Packed(str(row[0]), *(int(value) for value in row[1:5])) for row in msgpack.unpackb(table)]
    except (ValueError, TypeError, IndexError, msgpack.exceptions.UnpackException) as error:
        raise CorruptionError(f"a pack's table cannot be read: {error}", path=path) from error
    position = 0
    for row in rows:
        if row.offset != position or row.length <= 0:
            raise CorruptionError("a pack's segments are not side by side", path=path, expected=position)
        position += row.length
    if position != size - TRAILER.size - length:
        raise CorruptionError("a pack's table leaves bytes out", path=path, expected=position, found=size)
    return rows
