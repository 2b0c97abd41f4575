"""A queue's control file: which segment is open, how far it is durable, who waits.

The control file is a hint and a meeting place, never the truth: records alone say what is committed. It may be
lost or read-only, and readers still work.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from chronicle.core import layout
from chronicle.core.durable import file_error, file_errors, publish_bytes
from chronicle.core.mapping import MemoryMap, map_file

__all__ = ["FUTEX_CALL", "Control", "register_writer"]

CONTROL_NAME = "control"
_NOT_TO_BE_HAD = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS}
FUTEX_CALL = 202 if ctypes.sizeof(ctypes.c_void_p) == 8 and os.uname().machine == "x86_64" else 98
_FUTEX_WAIT, _FUTEX_WAKE = 0, 1
_SYS_MEMBARRIER = 324 if os.uname().machine == "x86_64" else 283
_MEMBARRIER_GLOBAL_EXPEDITED, _MEMBARRIER_REGISTER = 2, 4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Control:
    """The mapped control file. Writes are plain aligned stores; each field has one writer at a time."""

    __slots__ = ("_futex", "_map", "words")

    def __init__(self, mapping: MemoryMap) -> None:
        self._map = mapping
        self.words = mapping.words
        self._futex = mapping.memory.cast("I")

    @classmethod
    def create(cls, folder: Path, queue_id: bytes, generation: int) -> None:
        """Write a fresh control file."""
        page = bytearray(layout.CONTROL_BYTES)
        layout.CONTROL.pack_into(
            page, 0, layout.CONTROL_MAGIC, layout.FORMAT_VERSION, layout.BYTE_ORDER_MARK, queue_id, generation
        )
        publish_bytes(folder / CONTROL_NAME, page)

    @classmethod
    def open(cls, folder: Path, *, writable: bool) -> Control | None:
        """Map the control file; None where it is absent, foreign, or may not be written as asked."""
        try:
            flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC
            descriptor = os.open(folder / CONTROL_NAME, flags)
        except OSError as error:
            if error.errno in _NOT_TO_BE_HAD:
                return None
            raise file_error(error, "open the control page", folder / CONTROL_NAME) from error
        try:
            with file_errors("read the control page", folder / CONTROL_NAME):
                size = os.fstat(descriptor).st_size
                head = os.pread(descriptor, 8, 0)
            if size < layout.CONTROL_BYTES or head != layout.CONTROL_MAGIC:
                return None
            return cls(map_file(descriptor, layout.CONTROL_BYTES, writable=writable))
        finally:
            os.close(descriptor)

    @property
    def address(self) -> int:
        """Address of the mapped page, for kernels."""
        return self._map.address

    def get(self, offset: int) -> int:
        """Read one i64 field."""
        value = self.words[offset >> 3]
        return value - (1 << 64) if value >> 63 else value

    def set(self, offset: int, value: int) -> None:
        """Write one i64 field."""
        self.words[offset >> 3] = value & 0xFFFFFFFFFFFFFFFF

    def wake(self) -> None:
        """Wake every waiting reader; called by the writer when the waiter flag is up."""
        self._futex[layout.CONTROL_WAITERS_OFFSET >> 2] = 0
        slot = layout.CONTROL_FUTEX_OFFSET >> 2
        self._futex[slot] = (self._futex[slot] + 1) & 0xFFFFFFFF
        _libc.syscall(
            FUTEX_CALL,
            ctypes.c_void_p(self.address + layout.CONTROL_FUTEX_OFFSET),
            _FUTEX_WAKE,
            0x7FFFFFFF,
            0,
        )

    @property
    def waiters(self) -> ctypes.c_uint32:
        """The waiter flag in place; its truth test is one load, the cheapest there is from Python (7 ns against 25).

        Valid as long as this object lives.
        """
        return ctypes.c_uint32.from_address(self.address + layout.CONTROL_WAITERS_OFFSET)

    def announce(self) -> int:
        """Raise the waiter flag and return the futex value to wait on; check for data after this.

        The reader stores the flag and then loads commit words; the writer stores a word and then loads the flag. Each
        store must be seen before the other's load, or both miss: the reader's membarrier puts a full barrier into
        every running writer, so that the writer needs none of its own.
        """
        self._futex[layout.CONTROL_WAITERS_OFFSET >> 2] = 1
        _libc.syscall(_SYS_MEMBARRIER, _MEMBARRIER_GLOBAL_EXPEDITED, 0, 0)
        return self._futex[layout.CONTROL_FUTEX_OFFSET >> 2]

    def wait(self, value: int, timeout_ns: int) -> None:
        """Sleep until a wake, `timeout_ns`, or a changed futex value."""
        timeout = _Timespec(timeout_ns // 1_000_000_000, timeout_ns % 1_000_000_000)
        address = ctypes.c_void_p(self.address + layout.CONTROL_FUTEX_OFFSET)
        _libc.syscall(FUTEX_CALL, address, _FUTEX_WAIT, ctypes.c_uint(value), ctypes.byref(timeout), None, 0)

    @property
    def writable(self) -> bool:
        """Whether this map may announce waiters."""
        return self._map.writable


def register_writer() -> None:
    """Let readers' membarriers reach this process (an old kernel refuses: readers then find out within a slice)."""
    _libc.syscall(_SYS_MEMBARRIER, _MEMBARRIER_REGISTER, 0, 0)
