"""Columns of an event block by two calls of compiled code: one for its groups, one for all rows asked for.

What a block says is checked here and in the kernels; :mod:`chronicle.storage.codec.event_decode` is the general way,
which takes the few forms that these loops do not, and works without a compiler.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from chronicle.core.fresh import fresh_array
from chronicle.core.layout import INT64_MAX, INT64_MIN
from chronicle.storage.codec import tokens
from chronicle.storage.codec.event_layout import COLUMNS, GAP_EDGES, REFERENCES, SIGNED, STEP_SOURCE, Place
from chronicle.storage.codec.scratch import scratch_array
from chronicle.storage.codec.tokens import Values, Words, decompressor, tables
from chronicle.storage.kernels import columns as kernel
from chronicle.storage.kernels.lanes import SLACK_ROWS
from chronicle.storage.kernels.rows import SCRATCH_ROWS

__all__ = ["all_forms", "block_columns", "price_scratch"]

WORDS: Final = 5
"""int64 words of a column's descriptor."""
FIELDS: Final = 11
OF_NAME: Final = {
    "ts_recv": Place.TS_RECV,
    "ts_event": Place.TS_EVENT,
    "sequence": Place.SEQUENCE,
    "sequence_first": Place.SEQUENCE_FIRST,
    "sequence_previous": Place.SEQUENCE_PREVIOUS,
    "source_index": Place.SOURCE_INDEX,
    "price": Place.PRICE_FIRST,
    "size": Place.SIZE,
}
PRICES: Final = tuple(Place.PRICE_FIRST + part for part in range(len(GAP_EDGES) + 1))
GROUP_PLACES: Final = {
    "flags": (Place.MARKS,),
    "source": (Place.LINE,),
    "index": (Place.OTHERS,),
    "side": (),
}
NARROW: Final[dict[str, np.dtype[Any]]] = {
    "flags": np.dtype(np.uint8),
    "side": np.dtype(np.uint8),
    "source": np.dtype(np.int32),
}
_NONE: Final = {name: np.empty(0, dtype=kind) for name, kind in NARROW.items()}
_EDGES: Final = np.array(GAP_EDGES, dtype=np.int64)


def block_columns(
    head: Any,
    descriptor: bytes,
    data: memoryview,
    names: Collection[str],
    base_index: int,
    sides: tuple[int, int],
    limits: tuple[int | None, int | None],
    divisors: tuple[float, float] = (0.0, 0.0),
) -> dict[str, NDArray[Any]] | None:
    """Return columns of a block's rows as :meth:`EventBlock.columns` does, None for a block of rarer form.

    Parameters
    ----------
    head : Head
    descriptor : bytes
        An entry of 40 bytes for each column.
    data : memoryview
        The columns' streams.
    limits : (int or None, int or None)
        Rows from the first to the last group with start <= ts_recv < end.
    divisors : (float, float)
        Where not 0.0, prices and sizes come as float64, divided; as mantissas if one of them is INT64_MIN.

    Raises
    ------
    ValueError, zstandard.ZstdError
        When the block does not hold what it says.
    """
    start, end = limits
    plan = _plan(tuple(names), start is not None or end is not None)
    longest, bases, widths = all_forms()
    table, jobs = np.empty((COLUMNS, FIELDS), dtype=np.int64), np.empty((len(plan.asked) + 1, 3), dtype=np.int64)
    rows_max = max(head.rows, head.levels, head.others)
    entries = np.frombuffer(descriptor, dtype=np.int64, count=WORDS * COLUMNS).reshape(COLUMNS, WORDS)
    status = kernel.lay_out(entries, len(data), rows_max, longest, tokens.NARROW_BITS, plan.asked, table, jobs)
    if status == kernel.IMPOSSIBLE:
        raise ValueError("the columns' streams do not add up")
    if status != kernel.FINE or len(data) < 8:
        return None
    *unpacked, (zeros, signed, _) = jobs.tolist()
    unpacked_tokens = _unpack(unpacked, zeros, data)
    streams = np.frombuffer(data, dtype=np.uint8)
    groups = np.empty((len(GROUP_ROWS), head.groups), dtype=np.int64)
    places = np.empty(head.others if plan.indexed else 0, dtype=np.int64)
    found = np.empty(4 + 2 * (len(GAP_EDGES) + 1), dtype=np.int64)
    sound = kernel.decode_groups(
        table,
        unpacked_tokens,
        streams,
        bases,
        widths,
        INT64_MIN if start is None else start,
        INT64_MAX if end is None else end,
        plan.timed,
        head.rows,
        _EDGES,
        groups,
        places,
        found,
    )
    if not sound:
        raise ValueError("the groups do not make the block's rows, or their columns hold other bits than they say")
    rows = int(found[3]) - int(found[2])
    room = (rows + SLACK_ROWS + 7) // 8 * 8  # each column begins on 64 bytes
    memory = fresh_array(plan.row_bytes * room, np.uint8)
    wide_bytes = 8 * room * max(1, len(plan.wide))
    out = memory[:wide_bytes].view(np.int64).reshape(-1, room)
    narrow, begin = dict(_NONE), wide_bytes
    for name in plan.narrow:
        kind = NARROW[name]
        narrow[name] = memory[begin : begin + kind.itemsize * room].view(kind)
        begin += kind.itemsize * room
    low, high = head.forms
    if signed:
        low, high = low | SIGNED, high | SIGNED
    steps = 1 if head.steps & STEP_SOURCE else 0
    status = kernel.decode_rows(
        table,
        unpacked_tokens,
        streams,
        bases,
        widths,
        groups,
        places,
        found,
        plan.wanted,
        np.array((head.price_base, head.price_unit, low, high, *sides, base_index, steps, head.rows), dtype=np.int64),
        _EDGES,
        np.empty((3, len(PRICES)), dtype=np.uint64),
        price_scratch(head.rows if "price" in plan.places else 0),
        np.array(divisors),
        out,
        narrow["flags"],
        narrow["side"],
        narrow["source"],
    )
    if status == kernel.IMPOSSIBLE:
        raise ValueError("a column holds other bits than its tokens ask for, or other values than there are rows")
    if status != kernel.FINE:  # a price or size that is none has no quotient
        return block_columns(head, descriptor, data, names, base_index, sides, limits)
    quotients = {name for name, divisor in zip(("price", "size"), divisors, strict=True) if divisor}
    columns: dict[str, NDArray[Any]] = {}
    for name, place in plan.places.items():
        column = narrow[name] if place < 0 else out[place]
        columns[name] = (column.view(np.float64) if name in quotients else column)[:rows]
    return columns


GROUP_ROWS: Final = range(Place.SEQUENCE_PREVIOUS + 1)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What must be decoded for some columns: which columns of the block (references included), and where they go.

    `places` has for each name its row of the int64 columns, -1 for a narrow one; `row_bytes` is what they take.
    """

    timed: bool
    indexed: bool
    asked: Values
    wide: tuple[str, ...]
    narrow: tuple[str, ...]
    row_bytes: int
    wanted: Values
    places: dict[str, int]


@lru_cache(maxsize=256)
def _plan(names: tuple[str, ...], timed: bool) -> _Plan:
    asked = {Place.BIDS, Place.ASKS} | ({Place.TS_RECV} if timed else set())
    for name in names:
        place = OF_NAME.get(name)
        if place is None:
            asked.update(GROUP_PLACES[name])
        elif place <= Place.SEQUENCE_PREVIOUS:
            asked.add(place)
            if place in REFERENCES:
                asked.add(REFERENCES[place])
    rows = (*(PRICES if "price" in names else ()), *((Place.SIZE,) if "size" in names else ()))
    wide = tuple(name for name in names if name not in NARROW)
    wanted = np.full(COLUMNS + 1, -1, dtype=np.int64)
    for number, name in enumerate(wide):
        wanted[OF_NAME.get(name, COLUMNS)] = number
    places = {name: -1 if name in NARROW else wide.index(name) for name in names}
    narrow = tuple(sorted({name for name in names if name in NARROW}, key=lambda name: -NARROW[name].itemsize))
    row_bytes = 8 * max(1, len(wide)) + sum(NARROW[name].itemsize for name in narrow)
    columns = np.array((*sorted(asked), *rows), dtype=np.int64)
    return _Plan(timed, "index" in names, columns, wide, narrow, row_bytes, wanted, places)


def price_scratch(rows: int) -> Values:
    """Return working room for the prices of a block of so many rows."""
    count = rows + SCRATCH_ROWS
    return scratch_array("prices", 3 * count, np.int64).reshape(3, count)


def _unpack(jobs: list[list[int]], zeros: int, data: memoryview) -> NDArray[np.uint8]:
    """Return the tokens of columns side by side (start, bytes as stored and count of each), then so many zeros."""
    zstd = decompressor()
    parts: list[bytes | memoryview] = []
    for start, stored, count in jobs:
        part: bytes | memoryview = data[start : start + stored]
        if stored != count:
            if zstandard.frame_content_size(part) != count:
                raise ValueError("a stream has another length than its entry says")
            part = zstd.decompress(part, max_output_size=count)
        parts.append(part)
    if zeros:
        parts.append(bytes(zeros))
    return np.frombuffer(b"".join(parts) or b"\0", dtype=np.uint8)


@cache
def all_forms() -> tuple[Values, Words, NDArray[np.uint8]]:
    """Return, by form k * 8 + m of tokens: longest word (0: no form), bases and widths of 256 tokens."""
    longest = np.zeros(64, dtype=np.int64)
    bases, widths = np.zeros(64 * 256, dtype=np.uint64), np.zeros(64 * 256, dtype=np.uint8)
    for k in range(1, 8):
        for m in range(k + 1):
            form = tables(k, m)
            number = k * 8 + m
            longest[number] = form.limit
            bases[256 * number : 256 * (number + 1)] = form.bases
            widths[256 * number : 256 * (number + 1)] = form.widths
    return longest, bases, widths
