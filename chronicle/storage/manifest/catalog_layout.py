"""The bytes around a catalog's objects: magic, version, length and checksum before one zstd frame."""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Final

import xxhash

from chronicle.core.errors import CorruptionError, ForeignFileError, TornSegmentError, VersionError

__all__ = ["PART_MAGIC", "POINTER_MAGIC", "pack_object", "unpack_object"]

POINTER_MAGIC: Final = b"CHRZCAT1"
PART_MAGIC: Final = b"CHRZPRT1"
HEAD: Final = struct.Struct("<8sIIQQ")
"""magic, version, reserved 0, payload bytes (one zstd frame follows), xxh3_64 of the payload."""
PAYLOAD_BYTES_MAX: Final = 1 << 29
"""More than a day of ten million segments."""


def pack_object(magic: bytes, version: int, values: bytes) -> tuple[bytes, str]:
    """Return (the object's bytes, a name for them of 16 hexadecimal digits)."""
    import zstandard

    payload = zstandard.ZstdCompressor(level=3).compress(values)
    checksum = xxhash.xxh3_64_intdigest(payload)
    return HEAD.pack(magic, version, 0, len(payload), checksum) + payload, f"{checksum:016x}"


def unpack_object(data: bytes, magic: bytes, versions: Collection[int], path: str) -> tuple[int, bytes]:
    """Return (version, decompressed payload).

    Raises
    ------
    TornSegmentError, ForeignFileError, VersionError, CorruptionError
        When it is cut, not ours, too new, or damaged.
    """
    import zstandard

    hint = "make it again: chronicle tier rebuild"
    if len(data) < HEAD.size:
        raise TornSegmentError("a catalog is too short", path=path, expected=HEAD.size, found=len(data), hint=hint)
    found, version, zero, length, checksum = HEAD.unpack_from(data)
    if found != magic:
        raise ForeignFileError("this is no catalog", path=path, offset=0, expected=magic, found=found)
    if version not in versions:
        raise VersionError("a catalog of another version", path=path, offset=8, expected=max(versions), found=version)
    payload = data[HEAD.size :]
    if zero or length != len(payload) or xxhash.xxh3_64_intdigest(payload) != checksum:
        raise CorruptionError("a catalog is damaged: it does not match its checksum", path=path, hint=hint)
    try:
        size = zstandard.frame_content_size(payload)
        if not 0 <= size <= PAYLOAD_BYTES_MAX:
            raise zstandard.ZstdError("an absurd size")  # noqa: TRY301
        return version, zstandard.ZstdDecompressor().decompress(payload, max_output_size=size)
    except zstandard.ZstdError as error:
        raise CorruptionError(f"a catalog is damaged: {error}", path=path, hint=hint) from error
