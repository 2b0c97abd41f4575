"""The bytes of a sealed segment: read once by its encoder, and every one of them checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import xxhash

from chronicle.core import layout
from chronicle.core.errors import CorruptionError
from chronicle.core.segment import LocalSegment

if TYPE_CHECKING:
    from chronicle.storage.codec.archive import ArchivedSegment
    from chronicle.storage.codec.event_groups import GroupScan

__all__ = ["Reading", "check_sealed", "file_checksum"]

PIECE_BYTES: Final = 256 * 1024
"""What is hashed and cut into groups before the next piece is fetched: it stays in a core's cache meanwhile."""


class Reading:
    """The bytes of a segment for its encoder: of a sealed file each is fetched from memory once, and hashed then."""

    def __init__(self, segment: LocalSegment | ArchivedSegment) -> None:
        self._segment = segment
        self._whole = xxhash.xxh3_64()
        self._sealed = isinstance(segment, LocalSegment)
        if isinstance(segment, LocalSegment):
            check_size(segment)
            self._memory = segment.mapping.memory
            self._whole.update(self._memory[: segment.data_offset])

    def view(self, start: int, end: int) -> memoryview:
        """Return a range, of an archived segment decoded."""
        return self._memory[start:end] if self._sealed else self._segment.view(start, end)

    def through(self, raw: memoryview, start: int, scan: GroupScan | None) -> int:
        """Go through a block of records that begins at `start`, for all who need its bytes; return its checksum."""
        header, digest = self._segment.header, xxhash.xxh3_64()
        in_file = self._sealed and header.data_offset <= start < header.footer_offset
        for begin in range(0, len(raw), PIECE_BYTES):
            piece = raw[begin : begin + PIECE_BYTES]
            digest.update(piece)
            if in_file:
                self._whole.update(piece)
            if scan is not None:
                scan.go(begin + len(piece))
        return digest.intdigest()

    def proven(self) -> tuple[int, int]:
        """Return (xxh3_64 of the whole sealed file, its file checksum); all records went :meth:`through`.

        Raises
        ------
        CorruptionError
            When the bytes are not those that were sealed.
        """
        if not isinstance(self._segment, LocalSegment):
            footer = self._segment.footer
            return footer.whole_checksum, footer.file_checksum
        header = self._segment.header
        trailer = header.file_bytes - layout.FOOTER_TRAILER_BYTES
        self._whole.update(self._memory[header.footer_offset : trailer])
        if self._whole.intdigest() != file_checksum(self._segment):
            check_sealed(self._segment)
        self._whole.update(self._memory[trailer:])
        return self._whole.intdigest(), file_checksum(self._segment)


def check_size(segment: LocalSegment) -> None:
    """Check what is not under a sealed segment's file checksum: that its file ends where it says."""
    header, memory = segment.header, segment.mapping.memory
    if len(memory) != header.file_bytes:
        raise CorruptionError(
            "a sealed segment's file is longer than it says",
            path=segment.path,
            offset=header.file_bytes,
            expected=header.file_bytes,
            found=len(memory),
        )
    reserved = header.file_bytes - layout.FOOTER_TRAILER_BYTES + 56
    if any(memory[reserved : header.file_bytes]):
        raise CorruptionError("reserved bytes are not zero", path=segment.path, offset=reserved)


def check_sealed(segment: LocalSegment) -> int:
    """Check every byte of a sealed segment's file and return xxh3_64 of all of it.

    Raises
    ------
    CorruptionError
        With what does not match.
    """
    check_size(segment)
    header, memory = segment.header, segment.mapping.memory
    trailer = header.file_bytes - layout.FOOTER_TRAILER_BYTES
    digest = xxhash.xxh3_64()
    for start in range(0, header.footer_offset, PIECE_BYTES):
        digest.update(segment.view(start, min(start + PIECE_BYTES, header.footer_offset)))
    digest.update(memory[header.footer_offset : trailer])
    if digest.intdigest() != file_checksum(segment):
        raise CorruptionError(
            "a sealed segment does not match its file checksum",
            path=segment.path,
            expected=hex(file_checksum(segment)),
            found=hex(digest.intdigest()),
        )
    digest.update(memory[trailer:])
    return digest.intdigest()


def file_checksum(segment: LocalSegment) -> int:
    """Return the file checksum in a sealed segment's trailer."""
    start = segment.header.file_bytes - layout.FOOTER_TRAILER_BYTES
    return int(layout.FOOTER_TRAILER.unpack_from(segment.mapping.memory, start)[5])
