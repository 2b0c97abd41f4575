"""Which snapshots of a block follow from the deltas before them: the encoder's proof that they may be left out.

A book in ladders goes from snapshot to snapshot. Where it equals the stored levels, the decoder makes the same
(:class:`chronicle.storage.codec.snapshots.Replay`); where it does not (a venue that keeps fewer levels than its
deltas make), what the decoder would make is made and compared.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronicle.storage.codec.event_layout import LEVELS_COLUMNS, LEVELS_REPLAYED, LEVELS_VERBATIM, Place
from chronicle.storage.codec.scratch import scratch_array
from chronicle.storage.codec.snapshots import PRICE_MAX, Book, Replay, Stored
from chronicle.storage.codec.tokens import divider
from chronicle.storage.kernels.ladders import NO_PRICE, apply_groups, fill_book, follows, proper_levels

__all__ = ["snapshot_forms"]

Values = NDArray[np.int64]

RUNGS: Final = 1 << 15
"""Ticks of a ladder, around the touch: 256 KiB a side, of which only what is used is in the cache."""
SLOT_BITS_MIN: Final = 11
"""Outside there is room for thrice the first levels at least; where prices wander off farther, a book begins anew."""
SAMPLE: Final = 256


def snapshot_forms(
    snapshots: list[Stored], places: list[int], groups: Values, prices: Values, sizes: Values, book: Book | None
) -> tuple[list[int], list[Stored], bool]:
    """Choose each snapshot's form; return (forms, those whose levels become columns, whether `book` was used).

    Parameters
    ----------
    snapshots : list of Stored
    places : list of int
        The number of groups before each snapshot.
    groups : int64 array of shape (10, g)
    prices, sizes : int64 arrays of shape (rows,)
    book : Book, optional
        The book before the first group.
    """
    forms: list[int] = []
    kept: list[Stored] = []
    if not snapshots:
        return forms, kept, False
    following = _Following(groups, prices, sizes)
    if book is not None:
        following.remember(book, 0)
    on_prologue = False
    for snapshot, place in zip(snapshots, places, strict=True):
        if not snapshot.whole:
            forms.append(LEVELS_VERBATIM)
            continue
        found = following.reaches(snapshot, place)
        if found:
            on_prologue |= not kept and book is not None
            forms.append(LEVELS_REPLAYED)
        else:
            forms.append(LEVELS_COLUMNS)
            kept.append(snapshot)
            following.remember(Book(snapshot.instrument, snapshot.bids, snapshot.levels), place)
    return forms, kept, on_prologue


class _Following:
    """The book of a block's instrument, from snapshot to snapshot."""

    def __init__(self, groups: Values, prices: Values, sizes: Values) -> None:
        self._groups, self._prices, self._sizes = groups, prices, sizes
        self._instrument = int(groups[Place.LINE, 0]) & 0xFFFFFFFF
        steps = np.diff(prices[:SAMPLE])
        self._tick = max(1, int(np.gcd.reduce(steps))) if len(steps) else 1
        self._window: tuple[int, int, np.uint64] = (0, *divider(self._tick))
        self._state = np.zeros(4, dtype=np.int64)
        self._base: tuple[Book, int] | None = None
        self._book: tuple[Values, Values] | None = None
        self._group = self._row = 0

    def remember(self, book: Book, place: int) -> None:
        """Begin anew with a book that holds before group `place`."""
        self._book, self._base = None, None
        if book.instrument != self._instrument:
            return
        rungs = self._move(book)
        outside = proper_levels(book.levels, book.bids, PRICE_MAX, *self._window, rungs)
        if outside < 0:
            return
        self._base = book, place
        ladder = scratch_array("ladder", 2 * rungs, np.int64).reshape(2, rungs)
        ladder[:] = 0
        slots = 1 << max(SLOT_BITS_MIN, (2 * int(outside)).bit_length() + 1)
        tables = scratch_array("books", 4 * slots, np.int64).reshape(2, slots, 2)
        tables[:] = NO_PRICE
        self._state[:] = 0
        counts = self._groups[:2]
        self._row += int(counts[:, self._group : place].sum())
        self._group = place
        if fill_book(book.levels, book.bids, *self._window, ladder, tables, self._state):
            self._book = ladder, tables

    def _move(self, book: Book) -> int:
        """Lay the ladder around the touch of a book; return how many rungs it has."""
        best = int(book.levels[0, 0]) if len(book.levels) else int(self._prices[0])
        origin = best - RUNGS // 2 * self._tick
        if origin < -PRICE_MAX or origin + RUNGS * self._tick > PRICE_MAX:
            return 0
        self._window = (origin, *self._window[1:])
        return RUNGS

    def reaches(self, snapshot: Stored, place: int) -> bool:
        """Return whether a snapshot before group `place` is what follows; if so, the next one follows from it."""
        if self._base is None or snapshot.instrument != self._instrument:
            return False
        if self._book is not None:
            row = apply_groups(
                self._prices,
                self._sizes,
                self._groups[:2],
                self._group,
                place,
                self._row,
                PRICE_MAX,
                *self._window,
                *self._book,
                self._state,
            )
            if row < 0:
                self._book = None
            else:
                self._group, self._row = place, int(row)
        same = self._book is not None and bool(
            follows(snapshot.levels, snapshot.bids, PRICE_MAX, *self._window, *self._book, self._state)
        )
        book = Book(snapshot.instrument, snapshot.bids, snapshot.levels)
        if same:
            self._base = book, place
            return True
        if not self._replay().follows(snapshot, place):
            return False
        self.remember(book, place)
        return True

    def _replay(self) -> Replay:
        """Return what makes levels as the decoder does, from the last snapshot on."""
        assert self._base is not None
        book, place = self._base
        replay = Replay.of_groups(self._groups, self._prices, self._sizes, compiled=True)
        replay.remember(book.instrument, place, book.bids, book.levels)
        return replay
