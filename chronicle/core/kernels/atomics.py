"""Atomic loads and stores of u64 words by address, as numba intrinsics.

A plain load in a spin loop is hoisted by LLVM and a plain store may be moved or dropped; these are neither. The
operations are llvmlite's ``load_atomic`` (acquire), ``store_atomic`` (release) and ``fence``; on x86 the first two
compile to a plain ``mov``.
"""

from __future__ import annotations

import os
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["fence", "load_acquire", "pause", "store_release"]

_WORD_BYTES = 8


@intrinsic
def load_acquire(typingctx: Any, address: Any) -> Any:
    """Return the u64 at `address` (8-byte aligned): reads after it see what was written before its release."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        pointer = builder.inttoptr(arguments[0], word.as_pointer())
        return builder.load_atomic(pointer, "acquire", _WORD_BYTES)

    return types.uint64(types.uint64), codegen


@intrinsic
def store_release(typingctx: Any, address: Any, value: Any) -> Any:
    """Store the u64 `value` at `address`: whoever acquires it sees all that was written before."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        pointer = builder.inttoptr(arguments[0], word.as_pointer())
        builder.store_atomic(arguments[1], pointer, "release", _WORD_BYTES)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), codegen


@intrinsic
def fence(typingctx: Any) -> Any:
    """Sequentially consistent fence: for the waiter flag, between a commit and the flag's read."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def pause(typingctx: Any) -> Any:
    """Tell the processor that this is a spin: the line that is watched is left to its writer (x86: ``pause``)."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if os.uname().machine in {"x86_64", "amd64"}:
            function = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse2.pause"
            builder.call(cgutils.get_or_insert_function(builder.module, function, name), [])
        return context.get_dummy_value()

    return types.void(), codegen
