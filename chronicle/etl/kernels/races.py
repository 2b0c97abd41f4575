"""The plain case of a race between lines: copies that go on or are left out, all events of a batch in one call.

What a race is stands in rows that Python and the kernel share (:mod:`chronicle.etl.merge.race_rows`):

- ``books`` and ``trades`` int64[races, FIXED + ring]: the words below, then the numbers that went on, the newest at
  ``(COUNT - 1) % ring``; of trades two words each, id and line.
- ``lines`` int64[races, most lines, 2]: which lines are up, and the last number that each delivered.

Everything else stops the kernel before the event: a hole, what is held back, a message that begins before the last
one's end, a line that is new, a snapshot. The twins are ``BookRace.take`` and ``TradeRace.note``.
"""

from __future__ import annotations

from typing import Any

import numba

from chronicle.etl.kernels.merging import SIZE, START
from chronicle.etl.kernels.racing import (
    CHANNEL,
    CONNECTION,
    CONNECTION_MASK,
    FLAG_LAST_WORD,
    INSTRUMENT,
    KIND_BOOK_DELTA,
    KIND_TRADE,
    LENGTH_MASK,
    SIMPLE,
    TRADE,
    TRADE_ID,
)

__all__ = ["holds_number", "line_of_trade", "note_number", "note_trade", "run_races"]

NONE = -1
RULE_BINANCE_SPOT, RULE_OKX_V5, RULE_BINANCE_FUTURES = 1, 2, 4

UNKNOWN, APART, RACES = 0, -1, -2
"""Who delivers an instrument's channel: nobody known, lines apart, a race (RACES - its row); or the line + 1."""
RACING = 0xFFFF
"""The connection of what races; no raw queue has its number."""
_RACING_WORD = RACING << 32

RULE = 0
LAST = 1
LEADER = 2
BEGUN = 3
BEGUN_TS = 4
HELD = 5
"""Messages held back: while there are any, Python has the race."""
HIGHEST = 6
"""No number of the ring is higher; where COUNT is 0 it means nothing."""
COUNT = 7
"""Numbers that went on, ever."""
LINES = 8
FIXED = 9

TALLY_LINE, TALLY_FIRSTS = 0, 1


@numba.njit(cache=True, nogil=True)
def run_races(
    words: Any,
    table: Any,
    heads: Any,
    position: int,
    end: int,
    known: Any,
    holders: Any,
    slots: Any,
    rings: Any,
    books: Any,
    book_lines: Any,
    trades: Any,
    trade_lines: Any,
    tally: Any,
    out: Any,
    reached: Any,
) -> int:
    """Take events [position, end), none of which changes definitions or lines; return the first that is Python's.

    words int64[n], table int64[events, 4] and heads int64[events, 4]: a batch. known int64[m]: canonical numbers of
    instruments, none above 0: not ours. holders int64[>= m, 2]: who delivers books and trades. slots int64[>= m],
    rings: as ``_note_event`` has them. tally int64[lines, 2]: the lines of the lane, and the messages each had first
    (in and out). out int64[>= n]: the words that go on. reached int64[2]: words in `out` (in and out), copies left
    out (out).
    O(records), and a walk back through the ring for a copy.
    """
    duplicates, to, place = 0, reached[0], NONE
    while position < end:
        begin, size = table[position, START], table[position, SIZE]
        what, line = heads[position, CHANNEL], heads[position, CONNECTION]
        instrument = heads[position, INSTRUMENT]
        ours = known[instrument] if instrument < len(known) else NONE
        holder = holders[ours, min(what, TRADE)] if what <= TRADE and ours > 0 else APART
        of_line = line & CONNECTION_MASK != 0 or holder <= RACES
        if holder == APART or holder == line + 1 or not of_line:
            if what == TRADE:
                _note_event(words, begin, size, slots, rings)
            for offset in range(size):
                out[to + offset] = words[begin + offset]
            to += size
            position += 1
            continue
        if place < 0 or tally[place, TALLY_LINE] != line:
            place = NONE
            for number in range(len(tally)):
                if tally[number, TALLY_LINE] == line:
                    place = number
        if holder > RACES or heads[position, SIMPLE] == 0 or place < 0:
            break
        race = RACES - holder
        if what == TRADE:
            at = NONE
            for number in range(trades[race, LINES]):
                if trade_lines[race, number, 0] == line:
                    at = number
            if at < 0:
                break
            written, copies = _take_trades(words, begin, size, trades[race], line, out, to)
        else:
            at = NONE
            for number in range(books[race, LINES]):
                if book_lines[race, number, 0] == line:
                    at = number
            if at < 0:
                break
            written, sequence = _take_book(words, begin, size, books[race], line, out, to)
            if written < 0:
                break
            book_lines[race, at, 1] = sequence
            copies = 1 if written == 0 else 0
        duplicates += copies
        if written > 0:
            tally[place, TALLY_FIRSTS] += 1
            to += written
        position += 1
    reached[0], reached[1] = to, duplicates
    return position


@numba.njit(cache=True, nogil=True)
def _take_book(words: Any, begin: int, size: int, row: Any, line: int, out: Any, to: int) -> tuple[int, int]:
    """Take one message of deltas and checks; return (words that go on, its number), (-1, 0) where it is Python's."""
    delta = NONE
    position = begin
    while position < begin + size and delta < 0:
        if words[position] >> 32 & 0xFFFF == KIND_BOOK_DELTA:
            delta = position
        position += (words[position] & LENGTH_MASK) >> 3
    if row[HELD] != 0 or delta < 0 or words[delta + 5] == NONE:
        return NONE, 0
    sequence, previous, last, rule = words[delta + 5], words[delta + 9], row[LAST], row[RULE]
    starts = words[delta + 8]
    if rule == RULE_BINANCE_FUTURES and previous != NONE:
        starts = previous + 1
    overlaps = rule in (RULE_BINANCE_SPOT, RULE_BINANCE_FUTURES)
    if last == NONE:
        follows = True
    elif rule == RULE_OKX_V5:
        follows = previous in (NONE, last) and not holds_number(row, sequence)
    else:
        follows = starts <= last + 1 and last + 1 <= sequence
    if not follows:
        passed = overlaps and sequence <= last
        passed = passed or (sequence <= row[BEGUN] and words[begin + 1] <= row[BEGUN_TS])
        if passed or holds_number(row, sequence):
            return 0, sequence
        return NONE, 0
    if overlaps and last != NONE and starts <= last:
        return NONE, 0
    row[LAST], row[LEADER] = sequence, line
    ring, count = len(row) - FIXED, row[COUNT]
    if count == 0 or sequence > row[HIGHEST]:
        row[HIGHEST] = sequence
    row[FIXED + count % ring] = sequence
    row[COUNT] = count + 1
    position = begin
    while position < begin + size:
        length = (words[position] & LENGTH_MASK) >> 3
        for offset in range(length):
            out[to + offset] = words[position + offset]
        out[to + 4] = out[to + 4] & ~_RACING_WORD | _RACING_WORD
        position += length
        to += length
    return size, sequence


@numba.njit(cache=True, nogil=True)
def note_number(row: Any, number: int) -> None:
    """Put a number into the ring of the book's row."""
    ring, count = len(row) - FIXED, row[COUNT]
    if count == 0 or number > row[HIGHEST]:
        row[HIGHEST] = number
    row[FIXED + count % ring] = number
    row[COUNT] = count + 1


@numba.njit(cache=True, nogil=True)
def holds_number(row: Any, number: int) -> bool:
    """Whether a number is in the ring of the book's row; the newest are looked at first."""
    ring, count = len(row) - FIXED, row[COUNT]
    if count == 0 or number > row[HIGHEST]:
        return False
    back, held = 1, min(count, ring)
    while back <= held and row[FIXED + (count - back) % ring] != number:
        back += 1
    return bool(back <= held)


@numba.njit(cache=True, nogil=True)
def _take_trades(words: Any, begin: int, size: int, row: Any, line: int, out: Any, to: int) -> tuple[int, int]:
    """Copy the trades of an event that are no copies; return (words that go on, copies left out)."""
    position, first, last, copies = begin, to, NONE, 0
    while position < begin + size:
        length = (words[position] & LENGTH_MASK) >> 3
        if note_trade(row, words[position + TRADE_ID], line):
            for offset in range(length):
                out[to + offset] = words[position + offset]
            out[to] = out[to] & ~FLAG_LAST_WORD
            out[to + 4] = out[to + 4] & ~_RACING_WORD | _RACING_WORD
            last = to
            to += length
        else:
            copies += 1
        position += length
    if last != NONE:
        out[last] |= FLAG_LAST_WORD
    return to - first, copies


@numba.njit(cache=True, nogil=True)
def line_of_trade(row: Any, trade_id: int) -> int:
    """Return the line that brought a trade of the ring first, NONE where it is not there."""
    ring, count = (len(row) - FIXED) // 2, row[COUNT]
    if count == 0 or trade_id > row[HIGHEST]:
        return NONE
    for back in range(1, min(count, ring) + 1):
        at = FIXED + 2 * ((count - back) % ring)
        if row[at] == trade_id:
            return int(row[at + 1])
    return NONE


@numba.njit(cache=True, nogil=True)
def note_trade(row: Any, trade_id: int, line: int) -> bool:
    """Return whether a trade goes on: its id is new (it is noted), or the same line's again."""
    holder = line_of_trade(row, trade_id)
    if holder != NONE:
        return bool(holder == line)
    ring, count = (len(row) - FIXED) // 2, row[COUNT]
    if count == 0 or trade_id > row[HIGHEST]:
        row[HIGHEST] = trade_id
    at = FIXED + 2 * (count % ring)
    row[at], row[at + 1] = trade_id, line
    row[COUNT] = count + 1
    return True


@numba.njit(cache=True, nogil=True)
def _note_event(words: Any, begin: int, size: int, slots: Any, rings: Any) -> None:
    """Note the ids of an event's trades while one line delivers them.

    slots int64[m]: row of an instrument's number in rings, + 1; 0: none. rings int64[r, 1 + k]: how many ids were
    noted, and the last k of them in turn.
    """
    ring, position = rings.shape[1] - 1, begin
    while position < begin + size:
        number = words[position + 4] & LENGTH_MASK
        if words[position] >> 32 & 0xFFFF == KIND_TRADE and number < len(slots) and slots[number] > 0:
            row = slots[number] - 1
            rings[row, 1 + rings[row, 0] % ring] = words[position + TRADE_ID]
            rings[row, 0] += 1
        position += (words[position] & LENGTH_MASK) >> 3
