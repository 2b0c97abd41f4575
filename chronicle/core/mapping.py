"""Memory maps that keep no file descriptor and die with their last view.

Python's ``mmap`` object duplicates the descriptor for as long as it lives (10,000 queues would need 10,000) and
refuses to close under a view. Here the map belongs to the exported buffer: when the last view is gone, it is
unmapped; until then every view stays valid, also when the file is renamed or removed.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Final

from chronicle.core.errors import StoreError
from chronicle.core.layout import PAGE_BYTES

__all__ = ["MADV_DONTNEED", "MADV_POPULATE_WRITE", "FileHold", "MemoryMap", "hold_file", "map_file", "populate"]

_PROT_NONE: Final = 0
_PROT_READ: Final = 1
_PROT_WRITE: Final = 2
_MAP_SHARED: Final = 1
MADV_DONTNEED: Final = 4
MADV_POPULATE_WRITE: Final = 23
_MS_SYNC: Final = 4
_MAP_FAILED: Final = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int64,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.msync.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class MemoryMap:
    """A shared map of a file's first `length` bytes.

    Attributes
    ----------
    memory : memoryview
        The bytes (format ``B``); read-only unless mapped writable.
    words : memoryview
        The same as u64 words: on x86 an aligned load or store of one is a single ``mov``.
    address : int
        For kernels and futexes. Valid while a view is alive.
    """

    __slots__ = ("address", "length", "memory", "words", "writable")

    def __init__(self, address: int, length: int, *, writable: bool) -> None:
        owner = (ctypes.c_ubyte * length).from_address(address)
        weakref.finalize(owner, _libc.munmap, address, length)
        view = memoryview(owner).cast("B")
        self.memory = view if writable else view.toreadonly()
        self.words = self.memory[: length & -8].cast("Q")
        self.address = address
        self.length = length
        self.writable = writable

    def sync(self, length: int | None = None) -> None:
        """Write dirty pages (those of the first `length` bytes) to the device and wait (msync)."""
        if _libc.msync(self.address, self.length if length is None else length, _MS_SYNC) != 0:
            code = ctypes.get_errno()
            raise StoreError(f"could not sync a mapped segment: {os.strerror(code)}")


def map_file(descriptor: int, length: int, *, writable: bool) -> MemoryMap:
    """Map the first `length` bytes of an open file; the descriptor may be closed afterwards.

    Raises
    ------
    StoreError
        When the kernel refuses (no memory, too many maps).
    """
    protection = _PROT_READ | (_PROT_WRITE if writable else 0)
    address = _libc.mmap(None, length, protection, _MAP_SHARED, descriptor, 0)
    if address is None or address == _MAP_FAILED:
        code = ctypes.get_errno()
        raise StoreError(
            f"could not map {length} bytes: {os.strerror(code)}",
            hint="see vm.max_map_count and the memory limit of this process",
        )
    return MemoryMap(address, length, writable=writable)


def populate(mapping: MemoryMap, start: int = 0, end: int | None = None) -> bool:
    """Fault the pages of [start, end) in for writing now (MADV_POPULATE_WRITE, Linux 5.14); return whether the kernel
    did. `start` begins a page."""
    length = (mapping.length if end is None else end) - start
    return bool(_libc.madvise(mapping.address + start, length, MADV_POPULATE_WRITE) == 0)


class FileHold:
    """An open file kept open without a descriptor, by a map of it that nobody reads; :meth:`release` lets it go.

    A ``flock`` belongs to the open file, which lives as long as anything refers to it: the lock stays until the map
    is gone, by :meth:`release`, with the last reference to this object, or with the process, whatever ends it.
    """

    __slots__ = ("__weakref__", "release")

    def __init__(self, address: int) -> None:
        self.release = weakref.finalize(self, _libc.munmap, address, PAGE_BYTES)


def hold_file(descriptor: int) -> FileHold | None:
    """Keep an open file open after its descriptor is closed; None where the kernel refuses another map."""
    address = _libc.mmap(None, PAGE_BYTES, _PROT_NONE, _MAP_SHARED, descriptor, 0)
    if address is None or address == _MAP_FAILED:
        return None
    return FileHold(address)
