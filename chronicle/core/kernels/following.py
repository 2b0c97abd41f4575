"""The loop of a reader in compiled code: acquire loads on the next commit word, a handler for each record."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

import chronicle.core.kernels  # noqa: F401 - points numba's cache at the folder of these sources, before numba loads
from chronicle.core.kernels.atomics import load_acquire, pause
from chronicle.core.kernels.memory import peek
from chronicle.core.layout import HEADER_BYTES, WORD_FLAGS_SHIFT, WORD_KIND_SHIFT, WORD_LENGTH_MASK, Flag, Kind

__all__ = ["ENDED", "STOPPED", "TIMED_OUT", "compiled_loop", "monotonic_ns", "spin_any"]

TIMED_OUT, ENDED, STOPPED = 0, 1, 2
_LAST = int(Flag.LAST) << WORD_FLAGS_SHIFT
_ROLL = int(Kind.ROLL)
_CLOCK_MONOTONIC = 1
_LOOKS = 255
"""Looks at the word between two at the clock, less one."""

_clock_gettime = types.ExternalFunction("clock_gettime", types.intc(types.intc, types.intp))


@njit(cache=True, nogil=True)
def monotonic_ns(scratch: Any) -> Any:
    """Return the ns of ``Clock.monotonic_ns``; 20 to 35 ns. scratch: address of 16 bytes of the caller's."""
    _clock_gettime(_CLOCK_MONOTONIC, scratch)
    return peek(scratch) * 1_000_000_000 + peek(scratch + 8)


@njit(cache=True, nogil=True)
def spin_any(addresses: Any, deadline: Any, scratch: Any) -> int:
    """Return the number of the first of several commit words that is set, or -1 at `deadline` (monotonic ns).

    addresses int64[n]: of words in mapped segments. scratch: address of 16 bytes of the caller's. Some ns a word and
    look; it holds no GIL.
    """
    looks = 0
    while True:
        for place in range(addresses.shape[0]):
            if load_acquire(np.uint64(addresses[place])) != 0:
                return place
        looks += 1
        if looks & _LOOKS == 0 and monotonic_ns(scratch) >= deadline:
            return -1
        pause()


@cache
def compiled_loop(handler: Callable[..., int]) -> Any:
    """Return the loop around a jitted ``handler(address, length, index, state) -> int``, compiled once.

    The loop takes (address of the bytes, place, limit, deadline, scratch, state). place: i64[2], offset and index of
    the next event (caller's, written after every whole event). limit: no record reaches past it. deadline: monotonic
    ns. It returns TIMED_OUT, ENDED (a ROLL, or the limit), STOPPED (the handler returned other than 0; the event it
    was in is finished), or -1 - offset at an impossible word. It holds no GIL.
    """

    @njit(nogil=True)
    def loop(base: Any, place: Any, limit: Any, deadline: Any, scratch: Any, state: Any) -> Any:
        offset = place[0]
        index = place[1]
        looks = 0
        stopped = 0
        while offset + HEADER_BYTES <= limit:
            word = np.int64(load_acquire(base + offset))
            if word == 0:
                if offset != place[0]:
                    return -1 - offset
                looks += 1
                if looks & _LOOKS == 0 and monotonic_ns(scratch) >= deadline:
                    return TIMED_OUT
                pause()
                continue
            length = word & WORD_LENGTH_MASK
            kind = (word >> WORD_KIND_SHIFT) & 0xFFFF
            if kind == _ROLL:
                return ENDED
            if length < HEADER_BYTES or length & 7 or offset + length > limit or kind == 0:
                return -1 - offset
            stopped |= handler(base + offset, length, index, state)
            offset += length
            index += 1
            if word & _LAST != 0:
                place[0] = offset
                place[1] = index
                if stopped != 0:
                    return STOPPED
                looks += 1
                if looks & _LOOKS == 0 and monotonic_ns(scratch) >= deadline:
                    return TIMED_OUT
        return ENDED if offset == place[0] else -1 - offset

    return loop
