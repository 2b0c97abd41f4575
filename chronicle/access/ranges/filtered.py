"""Filtered: a scan of the rows that pass a condition.

What the condition settles beforehand is not read: a bound on ``ts_recv`` narrows the range, ``symbol`` the
instruments, ``kind`` the records. The columns that it names are decoded beside those that were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from chronicle.access.opened.segments import Shelf
from chronicle.access.ranges.columns import Chunk, Column
from chronicle.access.ranges.merge import joined
from chronicle.access.ranges.scaling import Scaling
from chronicle.access.ranges.scan import Scan, known_columns
from chronicle.access.ranges.where import Judge, Term, Where
from chronicle.core.layout import INT64_MAX, INT64_MIN
from chronicle.core.times import parse_time

__all__ = ["FilteredScan"]


class FilteredScan(Scan):
    """As :class:`Scan`; a batch holds rows, not whole events: the last row of one may not have passed."""

    def __init__(
        self,
        shelf: Shelf,
        symbols: Sequence[str],
        channel: str,
        start: int | None,
        end: int | None,
        *,
        where: Where,
        resolve: Callable[[str], str],
        **options: Any,
    ) -> None:
        where = _resolved(where, resolve)
        certain = where.certain()
        chosen = _settled([term for term in certain if term.column == "symbol"], symbols)
        start, end = _narrowed(certain, start, end)
        super().__init__(shelf, chosen, channel, start, end, **options)
        known: dict[str, Column] = known_columns(channel)
        if self._scaling.form != "mantissa":
            known = {name: column.in_form(self._scaling.form) for name, column in known.items()}
        known["symbol"] = Column("symbol", "word", "<i4", tuple(symbols))
        self._judge = Judge(where, known, (self.price_exponent, self.size_exponent))
        self._number = [list(symbols).index(symbol) for symbol in self.symbols]
        self._looked_at = where.columns()
        kinds = [term for term in certain if term.column == "kind"]
        self.kinds = tuple(_settled(kinds, self.kinds)) if not self._by_order else self.kinds

    def _merged(self, beside: set[str], scaling: Scaling) -> Iterator[Chunk]:
        del scaling  # mantissas are compared; what leaves is made of those that pass
        if not self.kinds:
            return
        for chunk in super()._merged(beside | self._looked_at, self._scaling):
            judged = chunk
            if "symbol" in self._looked_at:
                judged = {**chunk, "symbol": _renumbered(chunk["symbol"], self._number)}
            mask = self._judge.mask(judged)
            if mask.all():
                yield chunk
            elif mask.any():
                yield {name: values[mask] for name, values in chunk.items()}

    def _cuts(self, rows: int) -> Iterator[Chunk]:
        held: list[Chunk] = []
        count = 0
        for chunk in self._chunks():
            held.append(chunk)
            count += len(chunk["ts_recv"])
            if count < rows:
                continue
            whole, start = joined(held), 0
            while count - start >= rows:
                yield {name: values[start : start + rows] for name, values in whole.items()}
                start += rows
            held = [{name: values[start:] for name, values in whole.items()}] if start < count else []
            count -= start
        if held:
            yield joined(held)

    def _shown_cuts(self, rows: int) -> Iterator[Chunk]:
        return self._cuts(rows)


def _renumbered(codes: Any, numbers: list[int]) -> Any:
    """Return codes into the narrowed symbols as codes into all that were asked for."""
    return np.asarray(numbers, dtype=np.int32)[codes]


def _resolved(where: Where, resolve: Callable[[str], str]) -> Where:
    """Return the condition with symbols under their canonical names."""
    parts: list[Where | Term] = []
    for part in where.parts:
        if isinstance(part, Where):
            parts.append(_resolved(part, resolve))
        elif part.column == "symbol" and not part.other:
            several = isinstance(part.value, tuple)
            values = tuple(resolve(str(value)) for value in (part.value if several else (part.value,)))
            parts.append(Term("symbol", part.sign, values if several else values[0]))
        else:
            parts.append(part)
    return Where(where.word, tuple(parts))


def _settled(terms: list[Term], words: Sequence[str]) -> list[str]:
    """Return those of `words` that the terms leave."""
    left = list(words)
    for term in terms:
        if term.sign in ("==", "in"):
            wanted = term.value if isinstance(term.value, tuple) else (term.value,)
            left = [word for word in left if word in wanted]
    return left


def _narrowed(terms: list[Term], start: int | None, end: int | None) -> tuple[int | None, int | None]:
    """Return the range that the terms on ts_recv leave of [start, end)."""
    low, high = INT64_MIN if start is None else start, INT64_MAX if end is None else end
    for term in terms:
        if term.column != "ts_recv" or term.other or isinstance(term.value, tuple):
            continue
        at = parse_time(term.value)
        if term.sign in (">", ">=", "=="):
            low = max(low, at + (term.sign == ">"))
        if term.sign in ("<", "<=", "=="):
            high = min(high, at + (term.sign != "<"))
    high = max(low, high)
    return (None if low == INT64_MIN else low), (None if high == INT64_MAX else high)
