"""The bytes of archive objects, in the order of ``docs/format/archive.md``. Standard library and xxhash only."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

import xxhash

from chronicle.core.errors import CorruptionError, ForeignFileError, TornSegmentError, VersionError
from chronicle.core.layout import BYTE_ORDER_MARK, Kind

__all__ = ["ArchiveFooter", "Block", "Holds", "Method"]

ARCHIVE_MAGIC: Final = b"CHRZARC1"
ARCHIVE_END_MAGIC: Final = b"CHRZEND1"
ARCHIVE_VERSION: Final = 1
ARCHIVE_SUFFIX: Final = ".czst"

HEADER: Final = struct.Struct("<8sII16sqq8xQ")
"""magic, version, byte order mark, queue id, generation, segment number, reserved 0, checksum of bytes 0-55."""
HEADER_BYTES: Final = 64

FOOTER: Final = struct.Struct("<IIqqqqqqqqqqQQ")
"""name bytes, block count, number, generation, base_index, record_count, ts_first, ts_last, data_offset, data_bytes,
footer_offset and file_bytes of the sealed file, its own file checksum, xxh3_64 of all of it."""
BLOCK: Final = struct.Struct("<qqqqQQII")
"""raw offset, raw bytes, object offset, object bytes, checksum of the stored bytes, of the raw bytes, method,
what it holds."""
TRAILER: Final = struct.Struct("<8sIIqqqQ8xQ")
"""magic, version, reserved 0, footer offset, footer bytes, object bytes, footer checksum, reserved 0, checksum of
bytes 0-55."""
TRAILER_BYTES: Final = 64
TAIL_READ_BYTES: Final = 64 * 1024
"""A reader asks for this much of the object's end first: trailer, footer and, mostly, both small blocks before."""
BLOCKS_MAX: Final = 1 << 20
BLOCK_BYTES: Final = 7 * 1024 * 1024
"""Raw bytes of a block, about 90,000 deltas. Each block of a book channel holds one whole book: with 256 KiB that
would cost as much as the deltas."""

assert HEADER.size == HEADER_BYTES
assert TRAILER.size == TRAILER_BYTES
assert (FOOTER.size, BLOCK.size) == (104, 56)


class Method(IntEnum):
    """How a block's bytes are stored."""

    STORED = 0
    ZSTD = 1
    COLUMNS = 2
    EVENTS = 3
    PROLOGUE = 4
    SEEK = 5
    COMPACTED = 6
    """Events, with prices and sizes as one arithmetic code."""
    ORDERS = 7
    TABLED = 8
    """Events, with prices and sizes as symbols by tables of their contexts."""


class Holds(IntFlag):
    """What an event or order block's records are besides deltas, so that a reader need not look."""

    KNOWN = 1
    INSTRUMENTS = 2
    VENUE_SNAPSHOTS = 4
    SNAPSHOTS = 8
    STATUS = 16
    GAPS = 32
    CHECKS = 64
    ROLL = 128
    OTHERS = 256
    ORDERS = 512


HOLDS_MAX: Final = 1023
COMPACTED_METHODS: Final = (Method.COMPACTED, Method.TABLED)
EVENT_METHODS: Final = (Method.EVENTS, *COMPACTED_METHODS)
TELLING_METHODS: Final = (*EVENT_METHODS, Method.ORDERS)
HOLDS_OF_KIND: Final[dict[int, Holds]] = {
    Kind.BOOK_DELTA: Holds.KNOWN,
    Kind.ORDER: Holds.ORDERS,
    Kind.INSTRUMENT: Holds.INSTRUMENTS,
    Kind.BOOK_SNAPSHOT: Holds.SNAPSHOTS,
    Kind.STATUS: Holds.STATUS,
    Kind.GAP: Holds.GAPS,
    Kind.CHECK: Holds.CHECKS,
    Kind.ROLL: Holds.ROLL,
}
"""The bit that tells of a kind; OTHERS tells of every kind that is not here."""
SEGMENT_HOLDS: Final = HOLDS_MAX & ~int(Holds.ROLL | Holds.VENUE_SNAPSHOTS)
"""What a manifest's entry says of a whole segment: each ends with a ROLL, and few blocks tell whose snapshots are."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block: sealed bytes [raw_offset, raw_offset + raw_bytes) at [object_offset, + object_bytes)."""

    raw_offset: int
    raw_bytes: int
    object_offset: int
    object_bytes: int
    stored_checksum: int
    raw_checksum: int
    method: int
    holds: int = 0

    def pack(self) -> bytes:
        """Return the table entry."""
        return BLOCK.pack(
            self.raw_offset,
            self.raw_bytes,
            self.object_offset,
            self.object_bytes,
            self.stored_checksum,
            self.raw_checksum,
            self.method,
            self.holds,
        )


@dataclass(frozen=True, slots=True)
class ArchiveFooter:
    """What an archive object says of itself: identity and totals of the sealed segment, and where its blocks are."""

    queue: str
    number: int
    generation: int
    base_index: int
    record_count: int
    ts_first: int
    ts_last: int
    data_offset: int
    data_bytes: int
    footer_offset: int
    file_bytes: int
    file_checksum: int
    whole_checksum: int
    blocks: tuple[Block, ...]

    def pack(self) -> bytes:
        """Return the footer's bytes (the trailer follows)."""
        name = self.queue.encode("utf-8")
        fixed = FOOTER.pack(
            len(name),
            len(self.blocks),
            self.number,
            self.generation,
            self.base_index,
            self.record_count,
            self.ts_first,
            self.ts_last,
            self.data_offset,
            self.data_bytes,
            self.footer_offset,
            self.file_bytes,
            self.file_checksum,
            self.whole_checksum,
        )
        return fixed + b"".join(block.pack() for block in self.blocks) + name

    @classmethod
    def unpack(cls, data: bytes, *, object_end: int, path: object) -> ArchiveFooter:
        """Read a footer whose checksum matched; its tables must still agree with themselves.

        Parameters
        ----------
        object_end : int
            Offset of the footer: blocks must fill everything between the header and it.

        Raises
        ------
        CorruptionError
            When they do not.
        """
        if len(data) < FOOTER.size:
            raise CorruptionError("an archive's footer is too short", path=path, found=len(data))
        name_bytes, block_count, *values = FOOTER.unpack_from(data)
        end = FOOTER.size + BLOCK.size * block_count
        if block_count > BLOCKS_MAX or end + name_bytes != len(data):
            raise CorruptionError("an archive's footer has another length than its table", path=path, found=len(data))
        rows = list(BLOCK.iter_unpack(data[FOOTER.size : end]))
        if any(row[7] > (HOLDS_MAX if row[6] in TELLING_METHODS else 0) for row in rows):
            raise CorruptionError("reserved bytes of an archive's block table are not zero", path=path)
        blocks = tuple(Block(*row) for row in rows)
        try:
            name = data[end:].decode("utf-8")
        except UnicodeDecodeError as error:
            raise CorruptionError("an archive's queue name is no text", path=path) from error
        footer = cls(*(name, *values, blocks))
        footer._check(object_end, path)
        return footer

    def _check(self, object_end: int, path: object) -> None:
        raw = 0
        for block in self.blocks:
            if block.raw_offset != raw or block.raw_bytes <= 0:
                raise CorruptionError(
                    "an archive's blocks leave a hole", path=path, expected=raw, found=block.raw_offset
                )
            raw += block.raw_bytes
        stored = HEADER_BYTES
        for block in sorted(self.blocks, key=lambda block: block.object_offset):
            if block.object_offset != stored or block.object_bytes <= 0:
                raise CorruptionError(
                    "an archive's blocks are not side by side", path=path, expected=stored, found=block.object_offset
                )
            stored += block.object_bytes
        plausible = 0 < self.data_offset <= self.footer_offset <= self.file_bytes and self.record_count >= 0
        if raw != self.file_bytes or stored != object_end or not plausible:
            raise CorruptionError(
                "an archive's totals do not match its blocks", path=path, expected=self.file_bytes, found=raw
            )


def pack_header(queue_id: bytes, generation: int, number: int) -> bytes:
    """Return the object's first 64 bytes."""
    values = (ARCHIVE_MAGIC, ARCHIVE_VERSION, BYTE_ORDER_MARK, queue_id, generation, number)
    head = HEADER.pack(*values, 0)[:56]
    return HEADER.pack(*values, xxhash.xxh3_64_intdigest(head))


def check_header(data: bytes, footer: ArchiveFooter, path: object) -> None:
    """Check the object's first 64 bytes against the footer.

    Raises
    ------
    ForeignFileError, CorruptionError
        When they are not ours, damaged, or of another segment.
    """
    magic, version, mark, _, generation, number, checksum = HEADER.unpack(data)
    _check_kind(magic, ARCHIVE_MAGIC, version, path, 0)
    if xxhash.xxh3_64_intdigest(data[:56]) != checksum or mark != BYTE_ORDER_MARK or any(data[48:56]):
        raise CorruptionError("an archive's header does not match its checksum", path=path, offset=0)
    if (generation, number) != (footer.generation, footer.number):
        raise CorruptionError(
            "an archive's header and footer name different segments",
            path=path,
            expected=(footer.generation, footer.number),
            found=(generation, number),
        )


def pack_trailer(footer: bytes, footer_offset: int) -> bytes:
    """Return the object's last 64 bytes."""
    values = (
        ARCHIVE_END_MAGIC,
        ARCHIVE_VERSION,
        0,
        footer_offset,
        len(footer),
        footer_offset + len(footer) + TRAILER_BYTES,
        xxhash.xxh3_64_intdigest(footer),
    )
    return TRAILER.pack(*values, xxhash.xxh3_64_intdigest(TRAILER.pack(*values, 0)[:56]))


def unpack_trailer(data: bytes, size: int, path: object) -> tuple[int, int, int]:
    """Return (footer offset, footer bytes, footer checksum) from the object's last 64 bytes.

    Raises
    ------
    ForeignFileError, VersionError, TornSegmentError, CorruptionError
        When the object is not ours, too new, cut short or damaged.
    """
    if len(data) < TRAILER_BYTES:
        raise TornSegmentError("an archive object is too short", path=path, expected=TRAILER_BYTES, found=len(data))
    magic, version, zero, offset, length, total, footer_checksum, checksum = TRAILER.unpack(data)
    _check_kind(magic, ARCHIVE_END_MAGIC, version, path, size - TRAILER_BYTES)
    if xxhash.xxh3_64_intdigest(data[:56]) != checksum or zero or any(data[48:56]):
        raise CorruptionError(
            "an archive's trailer does not match its checksum", path=path, offset=size - TRAILER_BYTES
        )
    if total != size or offset < HEADER_BYTES or length < 0 or offset + length + TRAILER_BYTES != size:
        raise TornSegmentError(
            "an archive object has another size than it says", path=path, expected=total, found=size
        )
    return offset, length, footer_checksum


def _check_kind(magic: bytes, expected: bytes, version: int, path: object, offset: int) -> None:
    if magic != expected:
        raise ForeignFileError(
            "this is no whole archive object",
            path=path,
            offset=offset,
            expected=expected,
            found=magic,
            hint="it is foreign or was cut short; restore it from another tier",
        )
    if version != ARCHIVE_VERSION:
        raise VersionError(
            "the archive object has a version this build does not read",
            path=path,
            offset=offset + 8,
            expected=ARCHIVE_VERSION,
            found=version,
            hint="use the release that wrote it or a newer one",
        )
