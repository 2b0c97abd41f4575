"""A stream's row: the words that Python and the sweep share (chronicle.etl.pipeline.row is Python's side).

A row is int64[ROW], addressed by its first byte. Python fills it when it hands a stream over (READY is 1 from then
on) and takes back what the sweep counted; between the two the sweep alone changes it.
"""

from __future__ import annotations

__all__ = ["ROW"]

READY = 0
KIND = 1
"""What the records are to the stream."""
STATE = 2
"""Address of the writer's state (chronicle.core.writer_state)."""
WORDS_LEFT = 3
"""Words that the open segment may still take, by the ETL's own rule."""
DAY_END = 4
RECORDS_TAKEN = 5
WORDS_TAKEN = 6
REGISTERS = 7
LIMITS = 8
LEVELS = 9
CAPACITY = 10
COUNTS = 11
SLOTS = 12
SLOT_COUNT = 13
BITS = 14
META = 15
INVERSE = 16
LIFT_AT = 17
"""Levels on a side from which on Python is asked for a tick ladder."""
VERIFIED_BY = 18
"""What stands behind the book, but for what the registers have counted since."""
FLOOR = 19
CEILING = 20
RECORDS_LEFT = 31
"""Records that may still be made, but for a snapshot before the last event: behind them the stream needs a look."""
ROW = 32

# Of a book of orders, beside those of its prices:
ORDERS = 21
ORDER_CAPACITY = 22
QUEUES = 23
QUEUE_CAPACITY = 24
TABLE = 25
ORDER_META = 26
NEEDED = 27
"""Out: records that a REARM makes room for."""
REFUSED_AT = 28
"""Out, with BLOCKED: record of the next event that the book refused, those before it are applied; negative: none."""
SNAPSHOT_AT = 29
"""Out: position of the event before which the last own snapshot was written, negative: none since READY."""
NUMBERED = 30
"""Whether the venue numbers the orders' messages."""

# Of a stream of candles, in the same words:
BARS = 9
BAR_HISTORY = 10
FLOORS = 11
SPANS = 12
SPAN_COUNT = 13
BAR_SCRATCH = 14
OUT = 15
OUT_STARTS = 16
OUT_ENDS = 17
TRADES = 8

PLAIN = 1
LEVELS_KIND = 2
CANDLES_KIND = 3
ORDERS_KIND = 4

DONE = 0
NOT_READY = 1
BLOCKED = 2
"""The next event needs a decision."""
REARM = 3
"""The book's memory is to be arranged anew."""
TENDED = 4
"""Added to the others: the segment has come so far that its appender has something to do."""
