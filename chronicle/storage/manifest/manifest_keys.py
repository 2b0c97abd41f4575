"""Keys and values of the manifest's entries: what stands in LMDB, and the entry that it says."""

from __future__ import annotations

import struct
from typing import Final

import msgpack
import xxhash

from chronicle.core.errors import CorruptionError
from chronicle.storage.manifest.entry import Entry

__all__ = ["damaged_entry", "generation_key", "pack_entry", "pack_key", "unpack_entry", "unpack_key"]

KEY: Final = struct.Struct(">IQ")
_GENERATION: Final = struct.Struct(">I")
_SUM: Final = struct.Struct("<Q")


def pack_key(key: tuple[str, int, int]) -> bytes:
    """Return (queue, generation, number) so that a queue's entries stand together and in order."""
    queue, generation, number = key
    return queue.encode("utf-8") + b"\0" + KEY.pack(generation, number)


def unpack_key(packed: bytes) -> tuple[str, int, int]:
    """Return (queue, generation, number)."""
    queue, rest = packed[: -KEY.size - 1], packed[-KEY.size :]
    generation, number = KEY.unpack(rest)
    return queue.decode("utf-8"), int(generation), int(number)


def generation_key(queue: str, generation: int) -> bytes:
    """Return what the keys of a queue's generation begin with."""
    return queue.encode("utf-8") + b"\0" + _GENERATION.pack(generation)


def pack_entry(entry: Entry) -> bytes:
    """Return an entry behind its checksum."""
    data: bytes = msgpack.packb(entry.to_dict())
    return _SUM.pack(xxhash.xxh3_64_intdigest(data)) + data


def unpack_entry(value: bytes, key: bytes, path: object) -> Entry:
    """Return the entry of a value that stands under `key`; `path` is the manifest's, for the error.

    Raises
    ------
    CorruptionError
        When it is none, or another's.
    """
    data = value[_SUM.size :]
    if len(value) < _SUM.size or xxhash.xxh3_64_intdigest(data) != _SUM.unpack_from(value)[0]:
        raise damaged_entry(f"entry {key!r} does not match its checksum", path)
    try:
        entry = Entry.from_dict(msgpack.unpackb(data))
    except (TypeError, KeyError, ValueError, msgpack.exceptions.UnpackException) as error:
        raise damaged_entry(f"entry {key!r} is none: {error}", path) from error
    if pack_key(entry.key) != key:
        raise damaged_entry(f"entry {key!r} stands under another key", path)
    return entry


def damaged_entry(message: str, path: object) -> CorruptionError:
    """Return what to raise where the manifest contradicts itself."""
    return CorruptionError(
        f"the manifest is damaged: {message}", path=path, hint="make it again: chronicle tier rebuild"
    )
