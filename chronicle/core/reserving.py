"""A segment's space, reserved in steps: of queues that size their segments by a guess.

Such a file has its full size from the start, and holes where nothing was written yet. The writer goes only as far as
space is reserved, and keeps room for a ROLL behind that: neither its stores nor a reader's look at the word behind
the last record ever touch a hole. A step grows with what the segment holds, so that a quiet queue costs some pages
and a busy one asks rarely. In memory a step is one ``madvise`` that compiled code does by itself
(:func:`chronicle.core.kernels.committing.extend`); on a device it is a ``posix_fallocate``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from chronicle.core.durable import file_error
from chronicle.core.layout import PAGE_BYTES, ROLL_BYTES
from chronicle.core.mapping import MemoryMap, populate

__all__ = ["KEPT_BYTES", "STEP_BYTES_MAX", "STEP_BYTES_MIN", "data_ranges", "reserve", "step_end"]

STEP_BYTES_MIN = 16 * 1024
STEP_BYTES_MAX = 256 * 1024
KEPT_BYTES = 64 * 1024
"""Of the pages that were written, so many stay in the writer's map; the others are the file's alone."""


def step_end(data_offset: int, end: int, data_limit: int) -> int:
    """Return up to where a segment is to be reserved so that its records reach `end`."""
    step = min(max((end - data_offset) >> 1, STEP_BYTES_MIN), STEP_BYTES_MAX)
    return min((end + ROLL_BYTES + step + PAGE_BYTES - 1) & -PAGE_BYTES, data_limit)


def reserve(path: Path, mapping: MemoryMap, start: int, end: int, *, in_memory: bool) -> None:
    """Make sure that [start, end) of a mapped file can be written to; `start` begins a page.

    Raises
    ------
    CapacityError
        When there is no space: nothing changed.
    """
    if in_memory and populate(mapping, start, end):
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.posix_fallocate(descriptor, start, end - start)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise file_error(error, f"reserve {end - start} bytes of a segment", path) from error


def data_ranges(path: Path, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of [start, end) of a file that are no holes, ascending."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while start < end:
            try:
                first = os.lseek(descriptor, start, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                    return
                raise
            if first >= end:
                return
            start = min(os.lseek(descriptor, first, os.SEEK_HOLE), end)
            yield first, start
    finally:
        os.close(descriptor)
