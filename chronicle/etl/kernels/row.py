"""A stream's row: the words that Python and the sweep share (chronicle.etl.row is Python's side).

A row is int64[ROW], addressed by its first byte. Python fills it when it hands a stream over (READY is 1 from then
on) and takes back what the sweep counted; between the two the sweep alone changes it.
"""

from __future__ import annotations

__all__ = ["ROW"]

READY = 0
KIND = 1
"""What the records are to the stream: PLAIN or LEVELS."""
STATE = 2
"""Address of the writer's state (chronicle.core.writer_state)."""
WORDS_LEFT = 3
"""Words that the open segment may still take by the ETL's own rule."""
DAY_END = 4
RECORDS_TAKEN = 5
WORDS_TAKEN = 6
SPILL_FROM = 7
SPILL_END = 8
"""Words of the scratch that found no place in the segment."""
REGISTERS = 9
LIMITS = 10
LEVELS = 11
CAPACITY = 12
COUNTS = 13
SLOTS = 14
SLOT_COUNT = 15
BITS = 16
META = 17
INVERSE = 18
LIFT_AT = 19
"""Levels on a side from which on Python is asked for a tick ladder."""
ROW = 20

PLAIN = 1
LEVELS_KIND = 2

DONE = 0
NOT_READY = 1
BLOCKED = 2
"""The next event needs a decision."""
REARM = 3
"""The book's memory is to be arranged anew."""
SPILLED = 4
TENDED = 8
"""Added to the others: the segment has come so far that its appender has something to do."""
