"""Walking committed records by their commit words, with every length checked before it is believed.

The Python walk serves light commands; once the kernels are loaded (``chronicle.core.kernels.scan``) they take over.
Both read a word with acquire meaning: the Python load of an aligned u64 is one ``mov``, which is enough on x86;
elsewhere the kernel's atomic load is used.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import (
    HEADER_BYTES,
    RECORD_BYTES_MAX,
    ROLL_BYTES,
    WORD_FLAGS_SHIFT,
    WORD_KIND_SHIFT,
    WORD_LENGTH_MASK,
    Flag,
    Kind,
)
from chronicle.core.mapping import MemoryMap

__all__ = ["LOADS_ARE_ACQUIRE", "checked_length", "last_start", "record_offsets", "walk", "walk_far"]

LOADS_ARE_ACQUIRE: Final = os.uname().machine.lower() in {"x86_64", "amd64", "i686"}
_LAST_SHIFTED: Final = int(Flag.LAST) << WORD_FLAGS_SHIFT


def walk(mapping: MemoryMap, offset: int, index: int, limit: int) -> tuple[int, int, bool]:
    """Walk committed events from `offset` and return (end offset, end index, rolled).

    Parameters
    ----------
    mapping : MemoryMap
        The segment file.
    offset, index : int
        An event's start and its record index.
    limit : int
        No record may reach past it.

    Returns
    -------
    tuple
        Offset and index after the last whole event (the ROLL not included), and whether a ROLL follows there.

    Raises
    ------
    CorruptionError
        At a committed word that no appender writes, with its offset.
    """
    if not LOADS_ARE_ACQUIRE:
        return _walk_atomic(mapping, offset, index, limit)
    words = mapping.words
    end, end_index = offset, index
    while True:
        if offset + HEADER_BYTES > limit:
            return end, end_index, False
        word = words[offset >> 3]
        if word == 0:
            return end, end_index, False
        length = word & WORD_LENGTH_MASK
        kind = (word >> WORD_KIND_SHIFT) & 0xFFFF
        if length < HEADER_BYTES or length & 7 or length > RECORD_BYTES_MAX or offset + length > limit or not kind:
            raise bad_word(offset, word)
        if kind == Kind.ROLL:
            if offset != end or length != ROLL_BYTES:
                raise bad_word(offset, word)
            return end, end_index, True
        offset += length
        index += 1
        if word & _LAST_SHIFTED:
            end, end_index = offset, index


def walk_far(mapping: MemoryMap, offset: int, index: int, limit: int) -> tuple[int, int, bool]:
    """Walk as :func:`walk` does where many events are to be expected: by a kernel, once kernels are loaded."""
    loaded = "chronicle.core.kernels.walking" in sys.modules
    return (_walk_atomic if loaded else walk)(mapping, offset, index, limit)


def last_start(mapping: MemoryMap, offset: int, end: int) -> int:
    """Return where the last of the committed records in [offset, end) starts; there is one.

    Raises
    ------
    CorruptionError
        Where a length is impossible.
    """
    kernels = sys.modules.get("chronicle.core.kernels.walking")
    if kernels is not None:
        found: int = kernels.last_start(mapping.address, offset, end)
        if found < 0:
            raise bad_word(-1 - found, mapping.words[(-1 - found) >> 3])
        return found
    words, last = mapping.words, offset
    while offset < end:
        last = offset
        offset += checked_length(words[offset >> 3], offset, None)
    return last


def _walk_atomic(mapping: MemoryMap, offset: int, index: int, limit: int) -> tuple[int, int, bool]:
    """Walk by the kernel's acquire loads: what machines need whose plain loads may pass one another."""
    from chronicle.core.kernels.walking import walk_committed

    end, end_index, state = walk_committed(mapping.address, offset, index, limit)
    if state < 0:
        raise bad_word(-1 - state, mapping.words[(-1 - state) >> 3])
    return end, end_index, state == 1


def checked_length(word: int, offset: int, path: object) -> int:
    """Return the record length in a commit word.

    Raises
    ------
    CorruptionError
        When it is impossible: a walk that believed it might never end.
    """
    length = word & WORD_LENGTH_MASK
    if length < HEADER_BYTES or length & 7:
        error = bad_word(offset, word)
        error.path = str(path)
        raise error
    return length


def bad_word(offset: int, word: int) -> CorruptionError:
    """Return the error for a commit word that no appender writes."""
    return CorruptionError(
        "a record's length or kind is impossible",
        offset=offset,
        expected=f"a length from {HEADER_BYTES} to {RECORD_BYTES_MAX}, a multiple of 8, inside the segment",
        found=f"length {word & WORD_LENGTH_MASK}, kind {(word >> WORD_KIND_SHIFT) & 0xFFFF}",
        hint="chronicle queue check names the extent, chronicle queue repair cuts there",
    )


def record_offsets(memory: memoryview) -> Any:
    """Return the start of every record in `memory` (whole records) as an int64 NumPy array.

    Raises
    ------
    CorruptionError
        Where a length is impossible.
    """
    import numpy as np

    kernels = sys.modules.get("chronicle.core.kernels.scan")
    if kernels is not None:
        return kernels.record_offsets(np.frombuffer(memory, dtype=np.uint8))
    words = memory.cast("Q") if memory.format == "B" else memory
    size, offset, starts = len(memory), 0, []
    while offset < size:
        length = words[offset >> 3] & WORD_LENGTH_MASK
        if length < HEADER_BYTES or length & 7 or offset + length > size:
            raise bad_word(offset, words[offset >> 3])
        starts.append(offset)
        offset += length
    return np.asarray(starts, dtype=np.int64)
