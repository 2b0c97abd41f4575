"""Proof of one object: read whole, decoded, and compared with what was sealed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from chronicle.core.errors import ConfigError, CorruptionError, NotFoundError
from chronicle.core.segment import LocalSegment
from chronicle.storage.codec.holding import holds_of_records, holds_together, tells_of
from chronicle.storage.codec.sealed import check_sealed
from chronicle.storage.codec.whole import read_whole
from chronicle.storage.manifest.entry import Entry
from chronicle.storage.stores.ahead import Ahead
from chronicle.storage.stores.stores import LocalStore, MemoryStore, Readable, Store
from chronicle.storage.tiers.throttle import Throttle

__all__ = ["prove", "prove_readable", "read_back", "sealed_file", "sealed_holds", "segment_checksum"]

PIECE_BYTES: Final = 8 << 20
"""What one request reads back. An object of a store of requests that is not larger is read by one."""


def prove(store: Store, entry: Entry, throttle: Throttle | None = None) -> int:
    """Read the object of an entry whole and compare it with what was sealed, no faster than `throttle` lets.

    Where the entry is all of its object and has its length, a longer object is none of ours. Returns what kinds of
    record there are (:attr:`Entry.holds`), which is seen on the way; 0 where that was not looked for.

    Raises
    ------
    CorruptionError and the other errors of a damaged, foreign, cut or missing object
    """
    name, length = entry.object, entry.length
    pace = throttle.take if throttle is not None else _at_once
    if not store.is_remote or entry.packed or entry.offset or not length:
        if not store.is_remote and length and not entry.packed:
            _check_size(store, entry, store.size(name))
        pace(length)
        return prove_readable(store, entry)
    if length <= PIECE_BYTES:
        return prove_readable(MemoryStore(store.location, {name: read_back(store, name, length, pace)}), entry)
    _check_size(store, entry, store.size(name))
    with Ahead(store, name, length, pace) as ahead:
        return prove_readable(ahead, entry)


def read_back(store: Store, name: str, size: int, pace: Callable[[int], None]) -> bytes:
    """Return all of an object of which `size` bytes were written.

    Raises
    ------
    CorruptionError
        When it is of another size.
    """
    if store.is_remote and size <= PIECE_BYTES:
        pace(size)
        found = store.fetch(name)
        if found is None:
            raise NotFoundError("what was written is not there", path=f"{store.location}/{name}")
        data = found[0]
    elif store.is_remote:
        with Ahead(store, name, size, pace) as ahead:
            pieces = (ahead.read(at, min(PIECE_BYTES, size - at)) for at in range(0, size, PIECE_BYTES))
            data = b"".join(pieces) if store.size(name) == size else b""
    else:
        pace(size)
        reader = store.reader(name)
        try:
            data = reader.read(0, reader.size)
        finally:
            reader.close()
    if len(data) != size:
        raise CorruptionError(
            "what was read back is not as long as what was written",
            path=f"{store.location}/{name}",
            expected=size,
            found=len(data),
        )
    return data


def prove_readable(store: Readable, entry: Entry) -> int:
    """Compare the object of an entry, wherever it can be read, with what was sealed: see :func:`prove`."""
    if entry.encoding != "none":
        footer, holds = read_whole(store, entry.object, offset=entry.offset, length=entry.length or None)
        found = footer.file_checksum, footer.file_bytes
    else:
        with LocalSegment(sealed_file(store, entry), queue=entry.queue) as segment:
            check_sealed(segment)
            found = segment_checksum(segment), segment.header.file_bytes
            holds = sealed_holds(segment, entry.queue)
    if found != (entry.checksum, entry.file_bytes):
        raise CorruptionError(
            "what was read back is not the segment that was sealed",
            path=f"{store.location}/{entry.object}",
            expected=(hex(entry.checksum), entry.file_bytes),
            found=(hex(found[0]), found[1]),
        )
    return holds


def _check_size(store: Readable, entry: Entry, size: int | None) -> None:
    if size is not None and size != entry.length:
        raise CorruptionError(
            "an object has another size than what was written",
            path=f"{store.location}/{entry.object}",
            expected=entry.length,
            found=size,
        )


def _at_once(count: int) -> None:
    """Let bytes pass."""


def segment_checksum(segment: LocalSegment) -> int:
    """Return the file checksum in a sealed segment's trailer."""
    from chronicle.core.layout import FOOTER_TRAILER, FOOTER_TRAILER_BYTES

    start = segment.header.file_bytes - FOOTER_TRAILER_BYTES
    return int(FOOTER_TRAILER.unpack_from(segment.mapping.memory, start)[5])


def sealed_holds(segment: LocalSegment, queue: str) -> int:
    """Return what kinds of record a sealed file holds, as :attr:`Entry.holds`; 0 where that is not looked for."""
    if not tells_of(queue):
        return 0
    header = segment.header
    return holds_together([holds_of_records(segment.view(header.data_offset, header.footer_offset))])


def sealed_file(store: Readable, entry: Entry) -> Path:
    """Return the file of a segment that is kept as it was sealed."""
    if not isinstance(store, LocalStore):
        raise ConfigError(
            "segments are kept as sealed in folders only", path=store.location, hint='set its encoding to "zstd"'
        )
    return store.path(entry.object)
