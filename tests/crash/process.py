"""Processes for tests with several of them: a writer and a reader of numbered events.

``python -m tests.crash.process write QUEUE SEED [RECORDS]`` appends numbered events, rolls and seals as it goes, and
prints the index that follows each; without RECORDS until it is killed. It waits while another writer lives.
``python -m tests.crash.process read QUEUE [NAME]`` checks order, bytes and wholeness until it has read the event that
ends all, and commits its position when it has a name. It prints ``done COUNT``, or fails with what it saw.
"""

from __future__ import annotations

import random
import sys
import time

import numpy as np

from chronicle.core import Kind, Queue
from chronicle.core.appender import Appender
from chronicle.core.dtypes import DTYPES
from chronicle.core.errors import QueueLockedError
from chronicle.core.layout import Flag
from chronicle.core.records import Record
from tests.support.queues import event

SEGMENT_BYTES = 128 * 1024
LAST_WORD = b"the last"


def body(number: int) -> bytes:
    """The body of the plain record at index `number`: its size and bytes follow from it."""
    return number.to_bytes(8, "little") * (1 + number * 7919 % 200)


def rows(first: int, events: int, levels: int) -> np.ndarray:
    """Events of `levels` deltas each; price and sequence tell index and place."""
    array = np.zeros(events * levels, DTYPES[Kind.BOOK_DELTA])
    array["length"], array["kind"] = 80, Kind.BOOK_DELTA
    array["price"] = first + np.arange(events * levels)
    array["ts_recv"] = (first + np.arange(events * levels) // levels * levels).repeat(1)
    array["flags"][levels - 1 :: levels] = Flag.LAST
    return array


def append_something(appender: Appender, rng: random.Random) -> None:
    """One call of any kind: a record, an event, a batch; now and then a seal."""
    number = appender.next_index
    choice = rng.random()
    if choice < 0.4:
        appender.append(Kind.WIRE, body(number), ts_recv=number)
    elif choice < 0.9:
        data, count = event(number, rng.randrange(1, 9), price=number)
        appender.append_event(data, count)
    elif choice < 0.99:
        appender.append_many(rows(number, rng.randrange(1, 60), rng.randrange(1, 5)))
    else:
        appender.seal()


def check_event(records: list[Record], expected_index: int) -> None:
    """Fail unless the event is whole, stands where it must, and holds what its writer gave."""
    assert [record.index for record in records] == list(range(expected_index, expected_index + len(records)))
    assert [record.is_last for record in records] == [False] * (len(records) - 1) + [True], "half an event"
    assert {record.ts_recv for record in records} == {expected_index}, "another event's time"
    for record in records:
        if record.kind == Kind.WIRE and bytes(record.body) != LAST_WORD:
            assert bytes(record.body) == body(record.index), "torn bytes"
        elif record.kind == Kind.BOOK_DELTA:
            assert record.fields()["price"] == record.index, "torn bytes"


def write(path: str, seed: int, records: int | None) -> None:
    queue = Queue.create(path, segment_bytes=SEGMENT_BYTES, exist_ok=True)
    rng = random.Random(seed)
    with become_writer(queue) as appender:
        while records is None or appender.next_index < records:
            append_something(appender, rng)
            sys.stdout.write(f"{appender.next_index}\n")
            sys.stdout.flush()
        appender.append(Kind.WIRE, LAST_WORD, ts_recv=appender.next_index)


def become_writer(queue: Queue) -> Appender:
    while True:
        try:
            return queue.appender()
        except QueueLockedError:
            time.sleep(0.001)  # another writer lives; it will be killed


def read(path: str, name: str | None) -> None:
    tailer = Queue.open(path).tailer(name)
    expected, count = tailer.index, 0
    while True:
        records = tailer.next_event()
        if records is None:
            tailer.wait(200_000_000)
            continue
        check_event(records, expected)
        expected += len(records)
        count += len(records)
        if name is not None:
            tailer.commit()
        if bytes(records[0].body) == LAST_WORD:
            print(f"done {expected}", flush=True)
            return


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else None)
    else:
        read(sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
