"""Opening an archive object: its footer, from the end of the object, in one read."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import xxhash

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import SegmentState
from chronicle.core.source import SegmentInfo
from chronicle.storage.codec.archive_layout import (
    FOOTER,
    TAIL_READ_BYTES,
    TRAILER_BYTES,
    ArchiveFooter,
    unpack_trailer,
)
from chronicle.storage.stores.stores import ObjectReader, Readable

__all__ = ["footer_info", "read_archive_footer", "read_footer"]

FOOTER_BYTES_MAX: Final = 64 << 20
KNOWN_MAX: Final = 128
KNOWN_BYTES_MAX: Final = 8 << 10
"""So many parsed footers are kept, up to this size (130 blocks and more): 6 MiB at most."""


def read_archive_footer(
    store: Readable, name: str, size: int | None = None, offset: int = 0
) -> tuple[ArchiveFooter, int]:
    """Return an object's footer and its bytes (`size`, where it is known), without decoding a block."""
    reader = store.reader(name, offset=offset, size=size)
    try:
        return read_footer(reader, f"{store.location}/{name}")[0], reader.size
    finally:
        reader.close()


def footer_info(footer: ArchiveFooter, size: int, place: str, location: str) -> SegmentInfo:
    """Return a footer as the SegmentInfo of its segment."""
    return SegmentInfo(
        queue=footer.queue,
        number=footer.number,
        generation=footer.generation,
        base_index=footer.base_index,
        record_count=footer.record_count,
        ts_first=footer.ts_first,
        ts_last=footer.ts_last,
        state=SegmentState.SEALED,
        data_bytes=footer.data_bytes,
        size_bytes=size,
        place=place,
        location=location,
    )


def read_footer(
    reader: ObjectReader, path: str, tail_bytes: int = TAIL_READ_BYTES
) -> tuple[ArchiveFooter, bytes, int]:
    """Return (footer, the object's tail as read, offset of that tail)."""
    size = reader.size
    tail_offset = max(0, size - tail_bytes)
    tail = reader.read(tail_offset, size - tail_offset)
    offset, length, checksum = unpack_trailer(tail[-TRAILER_BYTES:], size, path)
    if length > FOOTER_BYTES_MAX or length < FOOTER.size:
        raise CorruptionError("an archive's footer has an absurd length", path=path, found=length)
    if offset < tail_offset:
        tail = reader.read(offset, size - offset)
        tail_offset = offset
    data = tail[offset - tail_offset : offset - tail_offset + length]
    if xxhash.xxh3_64_intdigest(data) != checksum:
        raise CorruptionError("an archive's footer does not match its checksum", path=path, offset=offset)
    parse = _known if length <= KNOWN_BYTES_MAX else _parsed
    return parse(data, offset, path), tail, tail_offset


def _parsed(data: bytes, object_end: int, path: str) -> ArchiveFooter:
    return ArchiveFooter.unpack(data, object_end=object_end, path=path)


_known = lru_cache(maxsize=KNOWN_MAX)(_parsed)
"""The same for footers of usual size: a process that opens its places again meets those it has parsed before."""
