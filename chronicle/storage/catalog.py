"""The catalog: what an archive root holds, published beside the data, so that a reader needs only the path.

One object at the root, replaced atomically; it can be made again from the archive objects alone
(:func:`scan_root`). ``docs/format/manifest.md`` has its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import msgpack
import xxhash

from chronicle.core import layout
from chronicle.core.errors import (
    ChronicleError,
    CorruptionError,
    ForeignFileError,
    NotFoundError,
    StateError,
    TornSegmentError,
    VersionError,
)
from chronicle.core.segment_header import SegmentHeader
from chronicle.storage.archive import read_archive_footer
from chronicle.storage.archive_layout import ARCHIVE_SUFFIX, HEADER, HEADER_BYTES
from chronicle.storage.manifest import Entry
from chronicle.storage.stores import LocalStore, Store, temporary_object

__all__ = ["CATALOG_NAME", "Catalog", "publish_catalog", "read_catalog", "scan_root"]

CATALOG_NAME: Final = "chronicle-catalog.msgpack.zst"
CATALOG_MAGIC: Final = b"CHRZCAT1"
CATALOG_VERSION: Final = 1
HEAD: Final = struct.Struct("<8sIIQQ")
"""magic, version, reserved 0, payload bytes (one zstd frame follows), xxh3_64 of the payload."""
PAYLOAD_BYTES_MAX: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a root holds: the home it belongs to, the tier's name and encoding, its segments in key order."""

    home_id: str
    tier: str
    encoding: str
    entries: tuple[Entry, ...]


def publish_catalog(store: Store, catalog: Catalog) -> None:
    """Replace a root's catalog.

    Raises
    ------
    StateError
        When another home archives into this root.
    """
    import zstandard

    check_owner(store, catalog.home_id)
    values: dict[str, Any] = {
        "home_id": catalog.home_id,
        "tier": catalog.tier,
        "encoding": catalog.encoding,
        "entries": [replace(entry, intent=None, retired=()).to_dict() for entry in catalog.entries],
    }
    payload = zstandard.ZstdCompressor(level=3).compress(msgpack.packb(values))
    head = HEAD.pack(CATALOG_MAGIC, CATALOG_VERSION, 0, len(payload), xxhash.xxh3_64_intdigest(payload))
    temporary = temporary_object(CATALOG_NAME)
    store.put(temporary, [head, payload])
    store.rename(temporary, CATALOG_NAME)


def check_owner(store: Store, home_id: str) -> None:
    """Check that a root belongs to this home or to none yet.

    Raises
    ------
    StateError
        When another home archives into it.
    """
    catalog = read_catalog(store)
    if catalog is not None and catalog.home_id != home_id:
        raise StateError(
            "another home archives into this tier",
            path=store.location,
            expected=home_id,
            found=catalog.home_id,
            hint="give each home its own folder, or chronicle tier rebuild to take this one over",
        )


def read_catalog(store: Store) -> Catalog | None:
    """Return a root's catalog, None where there is none.

    Raises
    ------
    ForeignFileError, VersionError, CorruptionError
        When it is there and cannot be read.
    """
    path = f"{store.location}/{CATALOG_NAME}"
    try:
        reader = store.reader(CATALOG_NAME)
    except NotFoundError:
        return None
    try:
        data = reader.read(0, reader.size)
    finally:
        reader.close()
    if len(data) < HEAD.size:
        raise TornSegmentError("a catalog is too short", path=path, expected=HEAD.size, found=len(data))
    magic, version, zero, length, checksum = HEAD.unpack_from(data)
    if magic != CATALOG_MAGIC:
        raise ForeignFileError("this is no catalog", path=path, offset=0, expected=CATALOG_MAGIC, found=magic)
    if version != CATALOG_VERSION:
        raise VersionError(
            "a catalog of another version", path=path, offset=8, expected=CATALOG_VERSION, found=version
        )
    payload = data[HEAD.size :]
    if zero or length != len(payload) or xxhash.xxh3_64_intdigest(payload) != checksum:
        raise _damaged("it does not match its checksum", path)
    return _unpack(payload, path)


def _unpack(payload: bytes, path: str) -> Catalog:
    import zstandard

    try:
        if zstandard.frame_content_size(payload) > PAYLOAD_BYTES_MAX:
            raise ValueError("an absurd size")  # noqa: TRY301
        values = msgpack.unpackb(zstandard.ZstdDecompressor().decompress(payload))
        entries = tuple(Entry.from_dict(item) for item in values["entries"])
        return Catalog(str(values["home_id"]), str(values["tier"]), str(values["encoding"]), entries)
    except (ValueError, TypeError, KeyError, AttributeError, zstandard.ZstdError) as error:
        raise _damaged(str(error), path) from error


def _damaged(message: str, path: str) -> CorruptionError:
    return CorruptionError(
        f"a catalog is damaged: {message}", path=path, hint="make it again: chronicle tier rebuild"
    )


def scan_root(store: Store, place: str, *, now_ns: int, prefix: str = "") -> tuple[list[Entry], list[ChronicleError]]:
    """Return the segments found in a root by looking at its objects alone, and what could not be read.

    Temporary objects and the catalog are passed over.
    """
    entries: list[Entry] = []
    errors: list[ChronicleError] = []
    for name, size in store.list(prefix):
        stem = name.rpartition("/")[2]
        if stem.startswith(".") or name == CATALOG_NAME:
            continue
        try:
            if stem.endswith(ARCHIVE_SUFFIX):
                entries.append(archived_entry(store, name, place, now_ns))
            elif stem.endswith(layout.SEGMENT_SEALED_SUFFIX):
                queue = name.rpartition("/")[0]
                entries.append(sealed_entry(store, name, size, queue=queue, place=place, seen_ns=now_ns))
        except ChronicleError as error:
            errors.append(error)
    return entries, errors


def archived_entry(store: Store, name: str, place: str, seen_ns: int) -> Entry:
    """Return the entry of an archive object, from its footer."""
    footer, size = read_archive_footer(store, name)
    reader = store.reader(name)
    try:
        identity = HEADER.unpack(reader.read(0, HEADER_BYTES))[3]
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
        encoding="zstd",
        object=name,
        offset=0,
        length=size,
    )


def sealed_entry(store: Store, name: str, size: int, *, queue: str, place: str, seen_ns: int) -> Entry:
    """Return the entry of a sealed file, from its header and trailer."""
    path = f"{store.location}/{name}"
    reader = store.reader(name)
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
    suffix = ARCHIVE_SUFFIX if encoding == "zstd" else layout.SEGMENT_SEALED_SUFFIX
    generation = "" if entry.generation == 1 else f".g{entry.generation}"
    return f"{entry.queue}/{entry.number:010d}{generation}{suffix}"


def catalog_of(home_id: str, tier: str, encoding: str, entries: Iterable[Entry]) -> Catalog:
    """Return the catalog of a tier: the entries published there."""
    return Catalog(home_id, tier, encoding, tuple(entry for entry in entries if entry.place == tier))


def local_store(path: Any) -> LocalStore:
    """Return the store of a root that is a folder."""
    return LocalStore(path)
