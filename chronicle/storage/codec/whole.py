"""Archive objects read whole: every byte checked, the decoded segment compared with what the footer says of it."""

from __future__ import annotations

import xxhash

from chronicle.core.errors import CorruptionError
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.codec.archive_layout import ArchiveFooter
from chronicle.storage.codec.holding import holds_of_block, holds_together, tells_of
from chronicle.storage.stores.stores import Readable

__all__ = ["read_whole"]


def read_whole(
    store: Readable, name: str, *, offset: int = 0, length: int | None = None
) -> tuple[ArchiveFooter, int]:
    """Read and decode all of an archive object, or of the part of one that holds a segment.

    Returns
    -------
    (ArchiveFooter, int)
        The footer, and what kinds of record there are (:class:`chronicle.storage.codec.archive_layout.Holds`); 0
        where they were not looked for (:func:`chronicle.storage.codec.holding.tells_of`).

    Raises
    ------
    CorruptionError and the other errors of a damaged, foreign or cut file
    """
    with ArchivedSegment(store, name, offset=offset, length=length) as segment:
        footer = segment.footer
        whole = xxhash.xxh3_64()
        asked, told = tells_of(footer.queue), []
        for block, stored, raw in segment.every_block(whole):
            if asked and footer.data_offset <= block.raw_offset < footer.footer_offset:
                told.append(holds_of_block(block, stored, raw))
        if whole.intdigest() != footer.whole_checksum:
            raise CorruptionError(
                "the archived segment does not decode to the sealed file",
                path=segment.path,
                expected=hex(footer.whole_checksum),
                found=hex(whole.intdigest()),
            )
        _check_identity(segment)
        return footer, holds_together(told) if asked else 0


def _check_identity(segment: ArchivedSegment) -> None:
    header, footer = segment.header, segment.footer
    found = (header.generation, header.number, header.base_index, header.record_count, header.file_bytes)
    expected = (footer.generation, footer.number, footer.base_index, footer.record_count, footer.file_bytes)
    if found != expected:
        raise CorruptionError(
            "the archive's footer and the sealed header disagree", path=segment.path, expected=expected, found=found
        )
