"""Sealing: a rolled segment becomes its final, checksummed file; a pure function of prologue and records.

The sealed file is written beside the open one and renamed into place, so the inode that readers have mapped never
changes or shrinks. Any process may seal a segment that ends with a ROLL: the result is the same bytes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import xxhash

from chronicle.core import layout
from chronicle.core.durable import file_error, publish_file, sync_folder, temporary_name
from chronicle.core.errors import CorruptionError, StateError
from chronicle.core.layout import CHECKSUM_BLOCK_BYTES, PAGE_BYTES, SegmentState, segment_name
from chronicle.core.seeking import seek_entries
from chronicle.core.segment import LocalSegment

__all__ = ["Ended", "seal_segment", "sealed_bytes"]

_BREATH_BLOCKS = 4
"""Blocks (64 KiB each) hashed between two breaths: some 50 us."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What the writer of a rolled segment knows of it, so that sealing need not walk it: offset and index behind its
    last record, that record's ts_recv, and how many seek entries it wrote (by the rule)."""

    end: int
    end_index: int
    ts_last: int
    seek_count: int


def seal_segment(
    open_path: Path, *, queue: str, ended: Ended | None = None, breathe: Callable[[], None] | None = None
) -> Path:
    """Write the sealed form of a rolled segment, publish it, remove the open file; return the new path.

    Its writer says with `ended` what it knows. `breathe` is called every some tens of us of work.

    Raises
    ------
    StateError
        When the segment has no ROLL: its writer may be alive.
    CapacityError, StoreError
        When the disk refuses; the open file stays.
    """
    sealed_path = open_path.with_name(segment_name(int(open_path.stem), SegmentState.SEALED))
    if not os.path.exists(open_path) and os.path.exists(sealed_path):
        return sealed_path  # an earlier try came so far
    with LocalSegment(open_path, queue=queue) as segment:
        parts = sealed_bytes(segment, ended, breathe)
    temporary = temporary_name(sealed_path)
    try:
        with open(temporary, "wb", buffering=0) as file:
            for part in parts:
                view = memoryview(part)
                while len(view):
                    view = view[file.write(view) :]
            os.fsync(file.fileno())
        publish_file(temporary, sealed_path)
        with contextlib.suppress(FileNotFoundError):
            open_path.unlink()
        sync_folder(open_path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise file_error(error, "seal a segment", sealed_path) from error
    return sealed_path


def sealed_bytes(
    segment: LocalSegment, ended: Ended | None = None, breathe: Callable[[], None] | None = None
) -> list[bytes | memoryview]:
    """Return the sealed file's parts: header page, prologue and records, footer.

    Raises
    ------
    StateError
        When the segment does not end with a ROLL.
    """
    header = segment.header
    mapping = segment.mapping
    if ended is None:
        end, end_index = _rolled_extent(segment)
        entries = seek_entries(mapping.words, header.data_offset, end, header.base_index)
        ended = Ended(end, end_index, _last_ts(segment, entries, end), len(entries) // layout.SEEK_ENTRY_BYTES)
    elif ended.seek_count >= header.seek_capacity:  # the open index is full: the sealed one has what came after, too
        entries = seek_entries(mapping.words, header.data_offset, ended.end, header.base_index)
    else:
        start = header.seek_offset
        entries = bytes(mapping.memory[start : start + ended.seek_count * layout.SEEK_ENTRY_BYTES])
    seek_count = len(entries) // layout.SEEK_ENTRY_BYTES
    ts_first = layout.SEEK_ENTRY.unpack_from(entries)[2] if entries else layout.NONE
    data_end = ended.end + layout.ROLL_BYTES
    block_count = -(-data_end // CHECKSUM_BLOCK_BYTES)
    footer_bytes = len(entries) + block_count * 8
    sealed = replace(
        header,
        state=SegmentState.SEALED,
        data_capacity=data_end - header.data_offset,
        seek_offset=data_end,
        seek_capacity=seek_count,
        record_count=ended.end_index - header.base_index,
        data_bytes=data_end - header.data_offset,
        ts_first=ts_first,
        ts_last=ended.ts_last,
        seek_count=seek_count,
        footer_offset=data_end,
        file_bytes=data_end + footer_bytes + layout.FOOTER_TRAILER_BYTES,
    )
    page = sealed.pack()
    body = mapping.memory[PAGE_BYTES:data_end]
    checksums, whole = _checksums(page, body, breathe)
    footer = entries + checksums
    if len(footer) != footer_bytes:
        raise CorruptionError("the segment changed while it was sealed", path=segment.path)
    return [page, body, footer, _trailer(whole, footer, seek_count, block_count)]


def _rolled_extent(segment: LocalSegment) -> tuple[int, int]:
    """Return offset and index behind the last record, by a walk."""
    end, end_index, rolled = segment.extent()
    if not rolled:
        raise StateError(
            "cannot seal a segment that has not rolled",
            path=segment.path,
            hint="end it first: Appender.seal()",
        )
    return end, end_index


def _last_ts(segment: LocalSegment, entries: bytes, end: int) -> int:
    if not entries:
        return layout.NONE
    words = segment.mapping.words
    last = offset = layout.SEEK_ENTRY.unpack_from(entries, len(entries) - layout.SEEK_ENTRY_BYTES)[1]
    while offset < end:
        last = offset
        offset += words[offset >> 3] & layout.WORD_LENGTH_MASK
    return int.from_bytes(segment.mapping.memory[last + 8 : last + 16], "little", signed=True)


def _checksums(page: bytes, body: memoryview, breathe: Callable[[], None] | None) -> tuple[bytes, xxhash.xxh3_64]:
    """Return one xxh3_64 for each 64 KiB of the file up to the footer, and the hash of the whole so far."""
    first = xxhash.xxh3_64()
    whole = xxhash.xxh3_64()
    start = CHECKSUM_BLOCK_BYTES - PAGE_BYTES
    for hashed in (first, whole):
        hashed.update(page)
        hashed.update(body[:start])
    sums = [first.intdigest()]
    for number, at in enumerate(range(start, len(body), CHECKSUM_BLOCK_BYTES)):
        block = body[at : at + CHECKSUM_BLOCK_BYTES]
        sums.append(xxhash.xxh3_64_intdigest(block))
        whole.update(block)
        if breathe is not None and number % _BREATH_BLOCKS == 0:
            breathe()
    return b"".join(value.to_bytes(8, "little") for value in sums), whole


def _trailer(whole: xxhash.xxh3_64, footer: bytes, seek_count: int, block_count: int) -> bytes:
    whole.update(footer)
    values = (
        layout.SEGMENT_END_MAGIC,
        seek_count,
        block_count,
        CHECKSUM_BLOCK_BYTES,
        xxhash.xxh3_64_intdigest(footer),
        whole.intdigest(),
    )
    head = layout.FOOTER_TRAILER.pack(*values, 0)[:48]
    return layout.FOOTER_TRAILER.pack(*values, xxhash.xxh3_64_intdigest(head))
