"""The compiled single appends as methods of :class:`Appender`, put there when a process first needs them.

Loading numba and the compiled code costs about half a second (compiling them once, some more), so that a command
which opens a writer and appends nothing does not pay it. They replace methods of the class, for all appenders of the
process; the Python methods stay as their long way (``Appender._append_long`` ...) and do everything where compiled
code cannot: ``NUMBA_DISABLE_JIT=1``, or an interpreter whose objects lie otherwise.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chronicle.core.writer_state import NAMES, WriterState

if TYPE_CHECKING:
    from chronicle.core.appender import Appender

__all__ = ["bind_function", "bind_recorder", "install", "is_possible", "kernel_release", "names_address"]

_METH_FASTCALL_KEYWORDS = 0x0080 | 0x0002
_METHODS = ("append", "append_event")


class _MethodDefinition(ctypes.Structure):
    """PyMethodDef; the interpreter keeps its address, so these live as long as the process."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("method", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    )


_kept: list[Any] = []
_definitions: dict[str, _MethodDefinition] = {}
_bound: dict[str, _MethodDefinition] = {}


def is_possible() -> bool:
    """Whether this process can use them: it compiles, and objects lie in memory as compiled code expects."""
    state, text = WriterState(), b"text"
    head = object.__basicsize__
    return (
        os.environ.get("NUMBA_DISABLE_JIT", "0") in {"", "0"}
        and sys.implementation.name == "cpython"
        and head == 16
        and _word(id(state) + head) == ctypes.addressof(state)
        and _word(id(text) + 8) == id(bytes)
    )


def install(owner: type[Appender]) -> None:
    """Load the compiled appends and make them methods of `owner`; where that is not possible, do nothing."""
    if _definitions or not is_possible():
        return
    from chronicle.core.kernels import calls

    for name in ("put", *_METHODS):
        method = getattr(owner, name, None)
        text = (getattr(method, "__doc__", None) or "Append; see Appender.recorder.").encode()
        function = getattr(calls, name)
        definition = _MethodDefinition(name.encode(), function.address, _METH_FASTCALL_KEYWORDS, text)
        _kept.append((function, text, definition))
        _definitions[name] = definition
    make = ctypes.pythonapi.PyDescr_NewMethod
    make.restype, make.argtypes = ctypes.py_object, (ctypes.py_object, ctypes.c_void_p)
    for name in _METHODS:
        setattr(owner, name, make(owner, ctypes.addressof(_definitions[name])))


def bind_recorder(appender: Appender, plan: tuple[int, int, int, int], long_way: Callable[..., int]) -> Any:
    """Return the compiled ``put`` for records of a plan (head, length, body bytes, kind), or None."""
    if "put" not in _definitions:
        return None
    from chronicle.core.kernels.calls import RecorderPlan

    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    return make(ctypes.addressof(_definitions["put"]), (appender, RecorderPlan(*plan), long_way), None)


def bind_function(name: str, function: Any, self_object: ctypes.Structure) -> Any:
    """Return a compiled function (a numba cfunc of the FASTCALL convention) as a builtin bound to `self_object`.

    Its address and definition live as long as the process; call it only where :func:`is_possible`.
    """
    definition = _bound.get(name)
    if definition is None:
        definition = _MethodDefinition(name.encode(), function.address, _METH_FASTCALL_KEYWORDS, None)
        _kept.append((function, definition))
        _bound[name] = definition
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    return make(ctypes.addressof(definition), self_object, None)


def names_address() -> int:
    """Return the address of the table of names and types that compiled code compares objects with."""
    if not _table:
        names = [sys.intern(name) for name in NAMES]
        _kept.append(names)
        _table.append((ctypes.c_int64 * (len(names) + 2))(*map(id, names), id(bytes), id(bytearray)))
    return ctypes.addressof(_table[0])


_table: list[Any] = []


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def kernel_release() -> Callable[[int, int], None]:
    """Return what stores a word where plain stores may be seen out of order: (address, value)."""
    from chronicle.core.kernels.walking import release_word

    release: Callable[[int, int], None] = release_word
    return release
