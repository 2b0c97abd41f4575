"""Plain loads and stores by address, and the C functions that the append kernels call.

Addresses are int64. Nothing here is checked: the callers' bounds are what keeps it safe.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "advise",
    "as_pointer",
    "copy_bytes",
    "futex",
    "peek",
    "poke",
    "poke_u16",
    "poke_u32",
    "prefetch",
    "wake_flag",
    "zero_bytes",
]

copy_bytes = types.ExternalFunction("memcpy", types.intp(types.intp, types.intp, types.intp))
zero_bytes = types.ExternalFunction("memset", types.intp(types.intp, types.intc, types.intp))
advise = types.ExternalFunction("madvise", types.intc(types.intp, types.intp, types.intc))
futex = types.ExternalFunction(
    "syscall",
    types.intp(types.intp, types.intp, types.intp, types.intp, types.intp, types.intp, types.intp),
)
"""libc's ``syscall(number, ...)``; an error is of no interest to a wake."""


@intrinsic
def peek(typingctx: Any, address: Any) -> Any:
    """Return the i64 at `address`, aligned or not."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load(pointer, align=1)

    return types.int64(types.int64), codegen


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:
    """Have the line at `address` loaded ahead; any address will do, none faults."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, near, data = (ir.Constant(word, number) for number in (0, 3, 1))
        builder.call(function, [builder.inttoptr(arguments[0], byte), read, near, data])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def as_pointer(typingctx: Any, address: Any) -> Any:
    """Return the address as a pointer, for ``numba.carray``."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), codegen


def _store(bits: int) -> Any:
    @intrinsic
    def poke(typingctx: Any, address: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.IntType(bits)
            pointer = builder.inttoptr(arguments[0], kind.as_pointer())
            value = arguments[1] if bits == 64 else builder.trunc(arguments[1], kind)
            builder.store(value, pointer)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return poke


poke = _store(64)
poke_u32 = _store(32)
poke_u16 = _store(16)


@intrinsic
def wake_flag(typingctx: Any, address: Any) -> Any:
    """Return the u32 at `address`, loaded after every store before it in the program.

    The compiler may not move it up (the fence is for the compiler alone); the processor may, and the readers'
    membarrier makes up for that: see "Wait" in docs/format/queue.md.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        builder.fence("seq_cst", targetscope="singlethread")
        pointer = builder.inttoptr(arguments[0], word.as_pointer())
        return builder.zext(builder.load_atomic(pointer, "monotonic", 4), ir.IntType(64))

    return types.int64(types.int64), codegen
