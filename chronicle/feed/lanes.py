"""The raw and wire queues of a home: one pair per lane, and which instruments a raw queue already knows."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgpack

from chronicle.core.clock import Clock
from chronicle.core.cursor import Cursor
from chronicle.core.durable import file_error, publish_bytes
from chronicle.core.errors import (
    ConfigError,
    CorruptionError,
    NotFoundError,
    QueueLockedError,
    StateError,
    StoreError,
)
from chronicle.core.layout import INT64_MIN, Kind
from chronicle.core.local import LocalSource
from chronicle.core.paths import feed_of, lane_of, raw_queue, wire_queue
from chronicle.core.queue import Queue

__all__ = [
    "LANES_MAX",
    "Lane",
    "choose_lane",
    "deciding",
    "load_instruments",
    "open_lane",
    "prepare_home",
    "save_instruments",
]

LANES_MAX: Final = 999
"""The ETL numbers redundant lines of a lane from 1000 up."""
DAY_NS: Final = 86_400 * 10**9
SEGMENT_BYTES: Final = 64 * 1024 * 1024
LOCK_NAME: Final = "lanes.lock"
DECIDING_NS_MAX: Final = 60 * 10**9
"""A feed that starts holds the lock while it decodes what a killed one left: seconds."""
_LOOK_AGAIN_NS: Final = 10_000_000
INSTRUMENTS_NAME: Final = "instruments.msgpack"
_KIND_OFFSET: Final = 4


@dataclass(frozen=True, slots=True)
class Lane:
    """The wire and the raw queue of one lane; lane 0 is main."""

    number: int
    wire: Queue
    raw: Queue

    @property
    def end_ts(self) -> int:
        """ts_recv of the last record in either queue; INT64_MIN when both are empty."""
        return max(self.wire.last_ts_recv(), self.raw.last_ts_recv())


def prepare_home(home: Path) -> None:
    """Make the folders that a feed writes to; links (as ``raw`` to memory) are followed, a lost target is remade.

    Raises
    ------
    ConfigError
        When the home is a file.
    StoreError
        When a folder cannot be made.
    """
    if home.exists() and not home.is_dir():
        raise ConfigError("the home is no folder", path=home, hint="give another --home")
    for part in ("raw", "wire", "control"):
        folder = home / part
        try:
            os.makedirs(os.path.realpath(folder), exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder: {error.strerror or error}", path=folder) from error


def open_lane(
    home: Path, number: int, *, segment_bytes: int = SEGMENT_BYTES, cycle_ns: int = DAY_NS, name: str = "main"
) -> Lane:
    """Open lane `number` of the feed `name`, made when it is not there (an existing one keeps its settings)."""
    queues = [
        Queue.create(home / queue, name=queue, segment_bytes=segment_bytes, cycle_ns=cycle_ns, exist_ok=True)
        for queue in (wire_queue(name, number), raw_queue(name, number))
    ]
    return Lane(number, queues[0], queues[1])


@contextlib.contextmanager
def deciding(home: Path, clock: Clock) -> Iterator[None]:
    """Hold the home's lanes: while the block runs, no other feed looks which one is free.

    A lane is taken once its writer is open (the queues' locks), and the captures' ledger names it: until then the
    block lasts. The lock dies with its owner. The folder ``raw`` must exist.

    Raises
    ------
    QueueLockedError
        When another feed holds them for longer than any start takes.
    """
    path = home / "raw" / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise file_error(error, "lock the lanes", path) from error
    try:
        end_ns = clock.monotonic_ns() + DECIDING_NS_MAX
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if clock.monotonic_ns() >= end_ns:
                    raise QueueLockedError(
                        "another feed of this home is starting, and does not come to an end of it",
                        path=path,
                        expected=f"at most {DECIDING_NS_MAX // 10**9} s",
                        hint="`fuser` names the process that holds this file",
                    ) from None
                clock.sleep_ns(_LOOK_AGAIN_NS)
        yield
    finally:
        os.close(descriptor)


def choose_lane(home: Path, first_ts: int, *, taken: frozenset[int] = frozenset(), name: str = "main") -> int:
    """Return the first lane that ends at or before `first_ts`, so that time never runs backwards in a queue.

    `taken` lanes are passed over: an interrupted capture still has to end in them. So are those above 0 that another
    feed of the home has: a clean queue is named by its lane's number alone, and lanes above 0 are not merged.
    Two that look at once find the same lane: see :func:`deciding`.

    Raises
    ------
    StateError
        When all ``LANES_MAX`` lanes end later.
    """
    taken |= _others(home, name)
    for number in range(LANES_MAX + 1):
        if number not in taken and _lane_end(home, number, name) <= first_ts:
            return number
    raise StateError("every lane ends after this capture begins", expected=f"one of {LANES_MAX} lanes", path=home)


def _others(home: Path, name: str) -> frozenset[int]:
    """Return the numbers above 0 of the lanes that other feeds have."""
    local = LocalSource(home)
    queues = [*local.queues("raw/"), *local.queues("wire/")]
    return frozenset(lane_of(queue) for queue in queues if feed_of(queue) != name) - {0}


def _lane_end(home: Path, number: int, name: str) -> int:
    latest = INT64_MIN
    for queue in (wire_queue(name, number), raw_queue(name, number)):
        try:
            latest = max(latest, Queue.open(home / queue, name=queue).last_ts_recv())
        except NotFoundError:
            continue
    return latest


def load_instruments(home: Path, queue: Queue, before_index: int) -> dict[int, bytes]:
    """Return the newest INSTRUMENT record of each number among the records of raw `queue` below `before_index`.

    They stand in the prologue of the segment that holds the last of those records, and behind it. Where that segment
    has moved to another tier, the file that the last writer left says it.

    Raises
    ------
    StateError
        When neither is there: numbers would be given twice.
    CorruptionError
        When a prologue is not what a feed writes.
    """
    if before_index == 0:
        return {}
    for info in reversed(queue.segments()):
        if info.base_index >= before_index:
            continue
        if info.end_index < before_index:
            break  # the records up to before_index are elsewhere
        with queue.open_segment(info.number) as segment:
            known = _by_number(segment.prologue().get("instruments", []), info.location)
        cursor = Cursor(LocalSource(home), queue.name, info.base_index)
        try:
            _collect(cursor, before_index, known)
        finally:
            cursor.close()
        return known
    return _load_saved(queue, before_index)


def save_instruments(queue: Queue, end_index: int, instruments: dict[int, bytes]) -> None:
    """Leave the definitions beside the queue, for a writer that finds no segment on this host."""
    values = {"schema": 1, "end_index": end_index, "instruments": list(instruments.values())}
    publish_bytes(queue.path / INSTRUMENTS_NAME, msgpack.packb(values, use_bin_type=True))


def prologue_of(queue: str, instruments: dict[int, bytes], version: int) -> Callable[[], dict[str, Any]]:
    """Return the callable that gives a raw segment's prologue: what a reader needs to know the numbers in it."""

    def prologue() -> dict[str, Any]:
        ordered = [instruments[number] for number in sorted(instruments)]
        return {"schema": 1, "queue": queue, "decoder": version, "instruments": ordered}

    return prologue


def _collect(cursor: Cursor, before_index: int, known: dict[int, bytes]) -> None:
    while cursor.index < before_index and (window := cursor.next_window()) is not None:
        memory, position, index = window.memory, 0, window.base_index
        size = len(memory)
        while position < size and index < before_index:
            length = int.from_bytes(memory[position : position + 4], "little")
            if memory[position + _KIND_OFFSET] == Kind.INSTRUMENT and not memory[position + _KIND_OFFSET + 1]:
                record = bytes(memory[position : position + length])
                known[_number(record)] = record
            position += length
            index += 1


def _load_saved(queue: Queue, before_index: int) -> dict[int, bytes]:
    path = queue.path / INSTRUMENTS_NAME
    try:
        values = msgpack.unpackb(path.read_bytes(), raw=False)
    except FileNotFoundError:
        values = None
    except (OSError, ValueError, msgpack.exceptions.UnpackException) as error:
        raise CorruptionError(f"cannot read the instruments of the queue: {error}", path=path) from error
    if not isinstance(values, dict) or values.get("end_index") != before_index:
        raise StateError(
            "the instruments of the raw queue are not known on this host: its last segment was moved away",
            path=queue.path,
            hint="bring the newest raw segment back, or use another home",
        )
    return _by_number(values.get("instruments", []), str(path))


def _by_number(records: Any, path: str) -> dict[int, bytes]:
    if not isinstance(records, list) or not all(
        isinstance(record, bytes) and len(record) >= 48 for record in records
    ):
        raise CorruptionError("the instruments in a prologue are malformed", path=path)
    return {_number(record): record for record in records}


def _number(record: bytes) -> int:
    return int.from_bytes(record[32:36], "little")
