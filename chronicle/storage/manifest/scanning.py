"""What objects say of themselves: the entries of a root found by its archive objects and sealed files alone."""

from __future__ import annotations

import xxhash

from chronicle.core import layout
from chronicle.core.errors import ChronicleError, CorruptionError, TornSegmentError
from chronicle.core.segment_header import SegmentHeader
from chronicle.storage.codec.archive_layout import ARCHIVE_SUFFIX, COMPACTED_METHODS, HEADER, HEADER_BYTES
from chronicle.storage.codec.footers import read_archive_footer
from chronicle.storage.codec.holding import footer_holds
from chronicle.storage.manifest.catalog import CATALOG_NAME, PARTS_FOLDER
from chronicle.storage.manifest.entry import QUARANTINE, Entry
from chronicle.storage.stores.stores import Store
from chronicle.storage.tiers.packs import PACK_SUFFIX, read_pack_table

__all__ = ["archived_entry", "object_name", "scan_root", "sealed_entry"]


def scan_root(store: Store, place: str, *, now_ns: int, prefix: str = "") -> tuple[list[Entry], list[ChronicleError]]:
    """Return the segments found in a root by looking at its objects alone, and what could not be read.

    Temporary objects and the catalog are passed over.
    """
    entries: list[Entry] = []
    errors: list[ChronicleError] = []
    for name, size in store.list(prefix):
        stem = name.rpartition("/")[2]
        if stem.startswith(".") or name == CATALOG_NAME or name.startswith((PARTS_FOLDER, QUARANTINE)):
            continue
        try:
            if stem.endswith(ARCHIVE_SUFFIX):
                entries.append(archived_entry(store, name, place, now_ns, size=size))
            elif stem.endswith(PACK_SUFFIX):
                for row in read_pack_table(store, name, size):
                    span = {"size": row.length, "offset": row.offset}
                    entries.append(archived_entry(store, name, place, now_ns, **span))
            elif stem.endswith(layout.SEGMENT_SEALED_SUFFIX):
                queue = name.rpartition("/")[0]
                entries.append(sealed_entry(store, name, size, queue=queue, place=place, seen_ns=now_ns))
        except ChronicleError as error:
            errors.append(error)
    return entries, errors


def archived_entry(
    store: Store, name: str, place: str, seen_ns: int, *, size: int | None = None, offset: int = 0
) -> Entry:
    """Return the entry of an archive object (or of one in a pack), from its header and footer."""
    footer, size = read_archive_footer(store, name, size, offset)
    reader = store.reader(name, offset=offset, size=size)
    try:
        identity = HEADER.unpack(reader.read(0, HEADER_BYTES))[3]
        path = f"{store.location}/{name}"
        holds = footer_holds(footer, lambda block: reader.read(block.object_offset, block.object_bytes), path)
    finally:
        reader.close()
    return Entry(
        queue=footer.queue,
        generation=footer.generation,
        number=footer.number,
        queue_id=identity.hex(),
        base_index=footer.base_index,
        record_count=footer.record_count,
        ts_first=footer.ts_first,
        ts_last=footer.ts_last,
        data_bytes=footer.data_bytes,
        file_bytes=footer.file_bytes,
        checksum=footer.file_checksum,
        sealed_seen_ns=seen_ns,
        place=place,
        encoding="compacted" if any(block.method in COMPACTED_METHODS for block in footer.blocks) else "zstd",
        object=name,
        offset=offset,
        length=size,
        holds=holds,
    )


def sealed_entry(store: Store, name: str, size: int, *, queue: str, place: str, seen_ns: int) -> Entry:
    """Return the entry of a sealed file, from its header and trailer."""
    path = f"{store.location}/{name}"
    reader = store.reader(name, size=size)
    try:
        header = SegmentHeader.unpack(reader.read(0, min(layout.PAGE_BYTES, size)), path)
        if header.file_bytes != size or header.state is not layout.SegmentState.SEALED:
            raise TornSegmentError(
                "a sealed segment has another size than its header says",
                path=path,
                expected=header.file_bytes,
                found=size,
            )
        trailer = reader.read(size - layout.FOOTER_TRAILER_BYTES, layout.FOOTER_TRAILER_BYTES)
    finally:
        reader.close()
    magic, *_, checksum, trailer_sum = layout.FOOTER_TRAILER.unpack(trailer)
    if magic != layout.SEGMENT_END_MAGIC or xxhash.xxh3_64_intdigest(trailer[:48]) != trailer_sum:
        raise CorruptionError("a sealed segment's trailer is damaged", path=path, offset=size - len(trailer))
    return Entry(
        queue=queue,
        generation=header.generation,
        number=header.number,
        queue_id=header.queue_id.hex(),
        base_index=header.base_index,
        record_count=header.record_count,
        ts_first=header.ts_first,
        ts_last=header.ts_last,
        data_bytes=header.data_bytes - layout.ROLL_BYTES,
        file_bytes=size,
        checksum=checksum,
        sealed_seen_ns=seen_ns,
        place=place,
        encoding="none",
        object=name,
        offset=0,
        length=size,
    )


def object_name(entry: Entry, encoding: str) -> str:
    """Return the name of a segment's object: QUEUE/NUMBER.czst, with ``.gN`` for generations after the first."""
    suffix = layout.SEGMENT_SEALED_SUFFIX if encoding == "none" else ARCHIVE_SUFFIX
    generation = "" if entry.generation == 1 else f".g{entry.generation}"
    return f"{entry.queue}/{entry.number:010d}{generation}{suffix}"
