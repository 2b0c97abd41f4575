"""Words asked for before they are needed.

Records of a mapped segment are met one after the other, each told by the length of the one before, and the processor
fetches ahead by itself only within a page of 4 KiB. A walk that does little with each record waits for memory most of
its time; one instruction a record, which asks for what comes later, takes that wait away.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

import chronicle.access.kernels  # noqa: F401  (keys the cache)

__all__ = ["AHEAD_WORDS", "FAR_WORDS", "fetch"]

AHEAD_WORDS = 192
"""How far ahead a walk asks that has tables of its own in the caches: 1,536 bytes, some twenty records."""
FAR_WORDS = 400
"""The same for a walk that only looks."""


@intrinsic
def _fetch(typing_context: Any, words: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(prefetch, [address, *(ir.Constant(number, value) for value in (0, 3, 1))])  # read, keep, data
        return context.get_dummy_value()

    return types.void(words, types.int64), generate


def _fetch_plain(words: Any, place: Any) -> None:
    del words, place


fetch = _fetch_plain if numba.config.DISABLE_JIT else _fetch
"""fetch(words, place): ask for the memory of int64[n] around `place`, which may lie behind its end; no more."""
