"""Which snapshots of a block follow from the deltas before them: the encoder's proof that they may be left out.

A book in ladders goes from snapshot to snapshot. Where it equals the stored levels, the decoder makes the same
(:class:`chronicle.storage.codec.snapshots.Replay`); where it does not (a venue that keeps fewer levels than its
deltas make), what the decoder would make is made and compared.
"""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chronicle.storage.codec.event_layout import LEVELS_COLUMNS, LEVELS_REPLAYED, LEVELS_VERBATIM, Place
from chronicle.storage.codec.scratch import scratch_array
from chronicle.storage.codec.snapshots import PRICE_MAX, Book, Replay, Stored
from chronicle.storage.codec.tokens import divider
from chronicle.storage.kernels.ladders import FULL, GROUP, NO_PRICE, ROW, STATES, fill_book, follow, proper_levels

__all__ = ["snapshot_forms"]

Values = NDArray[np.int64]

RUNGS: Final = 1 << 15
"""Ticks of a ladder, around the touch: 256 KiB a side, of which only what is used is in the cache."""
SLOT_BITS_MIN: Final = 11
"""Outside there is room for thrice the first levels at least; where prices wander off farther, a book begins anew."""
SAMPLE: Final = 256


def snapshot_forms(
    words: Values,
    snapshots: list[Stored],
    places: list[int],
    groups: Values,
    prices: Values,
    sizes: Values,
    book: Book | None,
) -> tuple[list[int], list[Stored], bool]:
    """Choose each snapshot's form; return (forms, those whose levels become columns, whether `book` was used).

    Parameters
    ----------
    words : int64 array of shape (n,)
        The block, from which the snapshots were read.
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
    following = _Following(words, groups, prices, sizes)
    if book is not None:
        following.remember(book, 0)
    on_prologue = False
    while len(forms) < len(snapshots):
        snapshot, place = snapshots[len(forms)], places[len(forms)]
        if not snapshot.whole:
            forms.append(LEVELS_VERBATIM)
            continue
        found = following.reaches(snapshots[len(forms) :], places[len(forms) :])
        if found:
            on_prologue |= not kept and book is not None
            forms += [LEVELS_REPLAYED] * found
        else:
            forms.append(LEVELS_COLUMNS)
            kept.append(snapshot)
            following.remember(Book(snapshot.instrument, snapshot.bids, snapshot.levels), place)
    return forms, kept, on_prologue


class _Following:
    """The book of a block's instrument, from snapshot to snapshot."""

    def __init__(self, words: Values, groups: Values, prices: Values, sizes: Values) -> None:
        self._words, self._groups, self._prices, self._sizes = words, groups, prices, sizes
        self._instrument = int(groups[Place.LINE, 0]) & 0xFFFFFFFF
        steps = np.diff(prices[:SAMPLE])
        self._tick = max(1, int(np.gcd.reduce(steps))) if len(steps) else 1
        self._window: tuple[int, int, np.uint64] = (0, *divider(self._tick))
        self._state = np.zeros(STATES, dtype=np.int64)
        self._base: tuple[Book, int] | None = None
        self._book: tuple[Values, Values] | None = None

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
        group, row = self._state[GROUP : ROW + 1].tolist()
        row += int(self._groups[:2, group:place].sum())
        self._state[:] = 0
        self._state[GROUP], self._state[ROW] = place, row
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

    def reaches(self, snapshots: list[Stored], places: list[int]) -> int:
        """Return how many snapshots, which stand before groups `places`, follow one after the other; then the next
        one follows from the last of them.
        """
        snapshot, place = snapshots[0], places[0]
        if self._base is None or snapshot.instrument != self._instrument:
            return 0
        if self._book is not None:
            alike = itertools.takewhile(lambda each: each.whole and each.instrument == self._instrument, snapshots)
            facts = np.array([(each.start, each.bids, each.asks) for each in alike], dtype=np.int64)
            asked = np.empty((4, len(facts)), dtype=np.int64)
            asked[:3], asked[3] = facts.T, places[: len(facts)]
            found = int(
                follow(
                    self._words,
                    asked,
                    self._prices,
                    self._sizes,
                    self._groups[:2],
                    PRICE_MAX,
                    *self._window,
                    *self._book,
                    self._state,
                )
            )
            if self._state[FULL]:
                self._book = None
            if found:
                last = snapshots[found - 1]
                self._base = Book(last.instrument, last.bids, last.levels), places[found - 1]
                return found
        if not self._replay().follows(snapshot, place):
            return 0
        self.remember(Book(snapshot.instrument, snapshot.bids, snapshot.levels), place)
        return 1

    def _replay(self) -> Replay:
        """Return what makes levels as the decoder does, from the last snapshot on."""
        assert self._base is not None
        book, place = self._base
        replay = Replay.of_groups(self._groups, self._prices, self._sizes, compiled=True)
        replay.remember(book.instrument, place, book.bids, book.levels)
        return replay
