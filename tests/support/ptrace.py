"""A forked child under ptrace: run it to any system call or any instruction, fail a call, or kill it there.

Linux on x86-64. The stops are exact and repeatable: nothing is left to a random moment.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import cache

import pytest

__all__ = ["FILE_CALLS", "MMAP", "Child", "Stop", "needs_ptrace", "stopped", "tracing_problem"]

_TRACEME, _SINGLESTEP, _GETREGS, _SETREGS, _SYSCALL = 0, 9, 12, 13, 24
_SETOPTIONS, _GETSIGINFO = 0x4200, 0x4202
_O_TRACESYSGOOD, _O_EXITKILL = 1, 1 << 20
_SYSCALL_TRAP = signal.SIGTRAP | 0x80

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

_REGISTERS = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
    "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
]  # fmt: skip

FILE_CALLS = {
    0: "read", 1: "write", 2: "open", 4: "stat", 5: "fstat", 6: "lstat", 8: "lseek", 9: "mmap", 17: "pread64",
    18: "pwrite64", 26: "msync", 28: "madvise", 73: "flock", 74: "fsync", 75: "fdatasync", 76: "truncate",
    77: "ftruncate", 82: "rename", 83: "mkdir", 86: "link", 87: "unlink", 217: "getdents64", 257: "openat",
    258: "mkdirat", 262: "newfstatat", 263: "unlinkat", 264: "renameat", 265: "linkat", 285: "fallocate",
    316: "renameat2", 332: "statx",
}  # fmt: skip
"""The calls by which a queue meets the file system, by their x86-64 numbers."""


MMAP, _MPROTECT = 9, 10
_PROT_READ, _PROT_WRITE, _MAP_SHARED = 1, 2, 1


class Stop(Enum):
    """Why the child stands."""

    ENTER = "before a system call"
    LEAVE = "after a system call"
    STORE = "before a store into a shared map"
    EXIT = "ended"


class _Registers(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_ulonglong) for name in _REGISTERS)


class Child:
    """A stopped child; `exit_code` is set once it has ended."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exit_code: int | None = None
        self._inside_call = False
        self._call_at = 0
        self._shared: list[tuple[int, int]] = []
        self._fault = 0

    def step(self) -> bool:
        """Run one instruction; False when it has ended."""
        _ptrace(_SINGLESTEP, self.pid)
        return self._wait() is not None

    def go(self, *, stores: bool = False) -> Stop:
        """Run to the next entry into or return from a system call; with `stores`, also to the next store.

        Stores are caught by making every shared map that the child asks for read-only. Standing at one, call
        :meth:`store` before going on.
        """
        deliver = 0
        while True:
            _ptrace(_SYSCALL, self.pid, deliver)
            sign = self._wait()
            if sign is None:
                return Stop.EXIT
            if sign == _SYSCALL_TRAP:
                self._inside_call = not self._inside_call
                return self._entered(stores) if self._inside_call else self._left()
            if sign == signal.SIGSEGV and self._is_store():
                return Stop.STORE
            deliver = sign

    def store(self) -> None:
        """Make the store (one instruction; of a repeated one, one round) and protect the map again."""
        start, size = next(each for each in self._shared if each[0] <= self._fault < sum(each))
        self._protect(start, size, _PROT_READ | _PROT_WRITE)
        self.step()
        self._protect(start, size, _PROT_READ)

    def unprotect(self) -> None:
        """Let all stores through from here on."""
        for start, size in self._shared:
            self._protect(start, size, _PROT_READ | _PROT_WRITE)
        self._shared = []

    def registers(self) -> _Registers:
        """Return the registers as they stand."""
        registers = _Registers()
        _ptrace(_GETREGS, self.pid, ctypes.addressof(registers))
        return registers

    def set_registers(self, registers: _Registers) -> None:
        """Change the registers."""
        _ptrace(_SETREGS, self.pid, ctypes.addressof(registers))

    def fail_call(self, error: int) -> None:
        """Standing before a call, make it return `error` undone."""
        registers = self.registers()
        registers.orig_rax = 0xFFFFFFFFFFFFFFFF
        self.set_registers(registers)
        if self.go() is Stop.LEAVE:
            registers = self.registers()
            registers.rax = (1 << 64) - error
            self.set_registers(registers)

    def kill(self) -> None:
        """End it as kill -9 does, where it stands."""
        if self.exit_code is None:
            os.kill(self.pid, signal.SIGKILL)
            while self._wait() is not None:
                pass

    def run_out(self) -> int:
        """Let it go on to its end and return its exit code."""
        while self.go() is not Stop.EXIT:
            pass
        assert self.exit_code is not None
        return self.exit_code

    def _wait(self) -> int | None:
        _, status = os.waitpid(self.pid, 0)
        if os.WIFSTOPPED(status):
            return os.WSTOPSIG(status)
        self.exit_code = os.waitstatus_to_exitcode(status)
        return None

    def _entered(self, stores: bool) -> Stop:
        registers = self.registers()
        self._call_at = registers.rip - 2
        if stores and registers.orig_rax == MMAP and registers.r10 & _MAP_SHARED and registers.rdx & _PROT_WRITE:
            registers.rdx = _PROT_READ
            self.set_registers(registers)
            self._shared.append((0, registers.rsi))  # its address is known when the call returns
        return Stop.ENTER

    def _left(self) -> Stop:
        if self._shared and self._shared[-1][0] == 0:
            self._shared[-1] = (self.registers().rax, self._shared[-1][1])
        return Stop.LEAVE

    def _is_store(self) -> bool:
        information = (ctypes.c_ulonglong * 16)()
        _ptrace(_GETSIGINFO, self.pid, ctypes.addressof(information))
        self._fault = information[2]
        return any(start <= self._fault < start + size for start, size in self._shared)

    def _protect(self, start: int, size: int, protection: int) -> None:
        before, call = self.registers(), self.registers()
        call.rip, call.rax, call.rdi, call.rsi, call.rdx = self._call_at, _MPROTECT, start, size, protection
        call.orig_rax = 0xFFFFFFFFFFFFFFFF
        self.set_registers(call)
        self.step()
        if self.registers().rax != 0:
            raise RuntimeError("the traced child could not change a map's protection")
        before.orig_rax = 0xFFFFFFFFFFFFFFFF  # no call is to be restarted
        self.set_registers(before)


@contextmanager
def stopped(prepare: Callable[[], Callable[[], None]]) -> Iterator[Child]:
    """Fork a child that runs ``prepare()``, stops, and then runs what that returned; yield it stopped there.

    The child exits with 0 when the work returned, and with 1 (its traceback on stderr) when it raised.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: the child uses none of them
        pid = os.fork()
    if pid == 0:
        _run_child(prepare)
    child = Child(pid)
    try:
        if child._wait() is None:
            raise RuntimeError(f"the traced child ended early: {child.exit_code}")
        _ptrace(_SETOPTIONS, pid, _O_TRACESYSGOOD | _O_EXITKILL)
        yield child
    finally:
        with contextlib.suppress(ChildProcessError, ProcessLookupError):
            child.kill()


def _run_child(prepare: Callable[[], Callable[[], None]]) -> None:
    code = 1
    gc.disable()  # it would run at any moment: thousands of instructions, and the calls of others' finalisers
    try:
        work = prepare()
        _ptrace(_TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _ptrace(request: int, pid: int, data: int = 0) -> None:
    if _libc.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace request {request} was refused")


@cache
def tracing_problem() -> str | None:
    """Return why children cannot be traced here, or None."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"ptrace stops are written for Linux on x86-64, this is {sys.platform} on {platform.machine()}"
    try:
        with stopped(lambda: lambda: None) as child:
            return None if child.step() else "the traced child could not be stepped"
    except (OSError, RuntimeError) as error:
        return f"this host does not let a process trace its child: {error}"


@pytest.fixture
def needs_ptrace() -> None:
    """Skip where children cannot be traced."""
    problem = tracing_problem()
    if problem is not None:
        pytest.skip(problem)
