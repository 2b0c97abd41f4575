"""Predicates: which times and which instruments an Arrow filter leaves possible.

An engine hands a filter over as one opaque Arrow expression. What it rules out is asked of Arrow's own simplifier,
which prunes a dataset's fragments by what is guaranteed of them: here each fragment stands for a stretch of time or
for one instrument, and those that survive are read. Nothing is parsed: the text of the expression only gives the
places where stretches may begin, so a text that is written otherwise some day makes a read longer, never wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
from pyarrow import fs

from chronicle.core.errors import RangeError
from chronicle.core.layout import INT64_MAX, INT64_MIN
from chronicle.core.times import parse_time

__all__ = ["TimeBounds", "columns_in", "symbols_in", "times_in"]

TimeBounds = tuple[int, int]
"""First and last possible ts_recv (ns, both inclusive)."""
STAMP = pa.timestamp("us", tz="UTC")
EDGES_MAX = 16
"""With more constants than this only the outermost are looked at."""
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}(?:\.\d+)?", re.ASCII)
_NUMBER = re.compile(r"-?\b\d{1,19}\b", re.ASCII)
_NS_PER_US = 1_000


def columns_in(filter: Any, names: Iterable[str]) -> set[str]:
    """Return those of `names` that the filter may look at."""
    words = set(re.findall(r"\w+", str(filter)))
    return {name for name in names if name in words}


def symbols_in(filter: Any, schema: Any, symbols: Sequence[str]) -> list[str]:
    """Return those of `symbols` that the filter leaves possible."""
    if "symbol" not in columns_in(filter, ("symbol",)):
        return list(symbols)
    field = pads.field("symbol")
    left = _alive(filter, schema, [field == symbol for symbol in symbols])
    return [symbols[number] for number in left]


def times_in(filter: Any, schema: Any) -> TimeBounds | None:
    """Return the first and last ``ts_recv`` (ns) that the filter leaves possible; None when there is none.

    The schema has ``ts_recv`` as timestamp[us, UTC], rounded down, and ``ts_recv_ns`` as int64.
    """
    if not columns_in(filter, ("ts_recv", "ts_recv_ns")):
        return INT64_MIN, INT64_MAX
    begins = [INT64_MIN, *_edges(str(filter))]
    ends = [edge - 1 for edge in begins[1:]] + [INT64_MAX]
    stretches = list(zip(begins, ends, strict=True))
    left = _alive(filter, schema, [_within(first, last) for first, last in stretches])
    return (stretches[left[0]][0], stretches[left[-1]][1]) if left else None


def always_true(filter: Any, schema: Any, symbol: str, bounds: TimeBounds) -> bool:
    """Return whether every row of `symbol` within `bounds` passes, as far as Arrow can tell."""
    guarantee = (pads.field("symbol") == symbol) & _within(*bounds)
    return not _alive(~filter, schema, [guarantee])


def _edges(text: str) -> list[int]:
    """Return the ns at which a comparison with a constant in `text` may change, in order."""
    found: set[int] = set()
    for moment in _MOMENT.findall(text):
        try:
            stamp = parse_time(moment)
        except RangeError:
            continue
        found |= {stamp, stamp + _NS_PER_US}
    for number in _NUMBER.findall(_MOMENT.sub("", text)):
        found |= {int(number), int(number) + 1}
    edges = sorted(edge for edge in found if INT64_MIN < edge <= INT64_MAX)
    return edges if len(edges) <= EDGES_MAX else [*edges[:2], *edges[-2:]]


def _within(first: int, last: int) -> Any:
    """Return the guarantee that ``ts_recv`` lies in [first, last]."""
    exact, rounded = pads.field("ts_recv_ns"), pads.field("ts_recv")
    low, high = pa.scalar(first // _NS_PER_US, STAMP), pa.scalar(last // _NS_PER_US, STAMP)
    return (exact >= first) & (exact <= last) & (rounded >= low) & (rounded <= high)


def _alive(filter: Any, schema: Any, guarantees: Sequence[Any]) -> list[int]:
    """Return which of `guarantees` do not contradict the filter."""
    form, files = pads.ParquetFileFormat(), fs.LocalFileSystem()
    fragments = [
        form.make_fragment(str(number), filesystem=files, partition_expression=guarantee)  # a name; nothing is opened
        for number, guarantee in enumerate(guarantees)
    ]
    dataset = pads.FileSystemDataset(fragments, schema, form, files)
    return sorted(int(fragment.path) for fragment in dataset.get_fragments(filter=filter))
