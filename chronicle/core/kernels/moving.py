"""Moving words within an array, as numba's own loops cannot: by memmove.

A loop over signed indices checks each for being negative and is not vectorised: on real books it took three times as
long as all the rest of an update. With ``NUMBA_DISABLE_JIT=1`` the plain body below runs.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

__all__ = ["move_words"]

_WORD_BYTES = 8


def move_words(array: Any, target: int, source: int, count: int) -> None:
    """Copy `count` words of a contiguous int64[n] from `source` on to `target` on; they may overlap. O(count).

    The caller guarantees that both ranges lie within the array.
    """
    array[target : target + count] = array[source : source + count].copy()


@intrinsic
def _memmove(typingctx: Any, array: Any, target: Any, source: Any, count: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        begin, end = builder.gep(data, [arguments[2]]), builder.gep(data, [arguments[1]])
        cgutils.raw_memmove(builder, end, begin, arguments[3], _WORD_BYTES)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, types.intp), codegen


@overload(move_words, inline="always")
def _move_words(array: Any, target: Any, source: Any, count: Any) -> Any:
    """Give numba the body: only for arrays whose words lie side by side."""
    if array.layout != "C" or array.dtype != types.int64:
        return None

    def body(array: Any, target: Any, source: Any, count: Any) -> Any:
        _memmove(array, target, source, count)

    return body
