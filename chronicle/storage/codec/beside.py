"""The records that stand beside the rows of an event or order block, as stored: read and counted."""

from __future__ import annotations

import struct

import numpy as np
import zstandard
from numpy.typing import NDArray

from chronicle.core.layout import HEADER_BYTES, Kind
from chronicle.storage.codec.block_shape import record_offsets
from chronicle.storage.codec.blocks import decode_block
from chronicle.storage.codec.event_layout import BESIDE_COLUMNS, BESIDE_STORED, BESIDE_ZSTD
from chronicle.storage.codec.tokens import decompressor

__all__ = ["definitions_beside", "read_beside"]


def read_beside(
    stored: bytes | memoryview, bytes_max: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the words of the `count` records of a part (length, method, bytes); where each begins and the last ends.

    Raises
    ------
    ValueError
        When they are not `count` records of at most `bytes_max` bytes.
    """
    raw_bytes, method = struct.unpack_from("<II", stored)
    if raw_bytes > bytes_max:
        raise ValueError("the other records are larger than their block")
    raw: bytes | memoryview = stored[8:]
    if method == BESIDE_COLUMNS:
        raw = decode_block(raw, raw_bytes)
    elif method == BESIDE_ZSTD:
        if zstandard.frame_content_size(raw) != raw_bytes:
            raise ValueError("the other records have another length than they say")
        raw = decompressor().decompress(raw, max_output_size=raw_bytes)
    elif method != BESIDE_STORED or len(raw) != raw_bytes:
        raise ValueError("the other records are stored in no known way")
    offsets = record_offsets(raw)
    if offsets is None or len(offsets) != count:
        raise ValueError("the other records are none")
    words = np.frombuffer(raw, dtype=np.int64)
    return words, np.append(offsets >> 3, len(words))


def definitions_beside(words: NDArray[np.int64], starts: NDArray[np.int64]) -> tuple[list[int], list[bytes]]:
    """Return which of the records of :func:`read_beside` are INSTRUMENT records, and their bodies."""
    numbers = np.flatnonzero((words[starts[:-1]] >> 32) & 0xFFFF == Kind.INSTRUMENT).tolist()
    return numbers, [words[starts[number] : starts[number + 1]].tobytes()[HEADER_BYTES:] for number in numbers]
