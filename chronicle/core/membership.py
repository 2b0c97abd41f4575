"""Which raw queues are merged, and from where to where: the recorded decisions.

``control/merge.q`` holds one STATUS record for each decision: JOINED (a raw queue takes part, its records count as
received no earlier than `at`), LEFT (it is gone behind its record `at` - 1 and nobody waits for it). Every shard and
every rebuild reads the same log, so that all merge in the same order. Nothing is ever taken back: a queue that left
and goes on joins again.

A decision comes too late for nobody. Shards hold ``control/merge.lock`` shared while they read raw records and look
into the log behind that; who decides holds it alone from the look at where raw queues end to the append. So what a
shard has taken up without the decision was there when the decision was made, and that names a place behind it.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chronicle.core import layout
from chronicle.core.appender import Appender
from chronicle.core.cursor import Cursor
from chronicle.core.durable import file_errors
from chronicle.core.errors import ConfigError, CorruptionError, QueueLockedError
from chronicle.core.layout import INT64_MIN, Kind, StatusCode
from chronicle.core.local import LocalSource
from chronicle.core.queue import SETTINGS_NAME, Queue
from chronicle.core.records import Record, pack_details

__all__ = ["MEMBERS_MAX", "MERGE_QUEUE", "Decision", "DecisionLog", "decide"]

MERGE_QUEUE = "control/merge.q"
MERGE_LOCK = "control/merge.lock"
MEMBERS_MAX = 15
"""Raw queues that one home may ever have merged: their number is part of instrument numbers while they are merged."""
_LOCK_ATTEMPTS = 3_000
_LOCK_PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision about `raw`, which has `number` in every merge.

    `joins`: it takes part from its next record on, in the place of ts_recv `at` where a record is older (INT64_MIN:
    always in its own). Else it leaves: `at` is the index of its first record that is not taken, and `ts` is when:
    one ns behind its last record.
    """

    raw: str
    number: int
    joins: bool
    at: int
    ts: int = INT64_MIN


class Reading:
    """The shared lock of a shard that reads, held within a ``with`` block; there is one before every window."""

    __slots__ = ("lock",)

    def __init__(self, lock: int) -> None:
        self.lock = lock

    def __enter__(self) -> None:
        fcntl.flock(self.lock, fcntl.LOCK_SH)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self.lock, fcntl.LOCK_UN)


class DecisionLog:
    """Reads the decisions of a home as they come."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._settings = os.path.join(home, MERGE_QUEUE, SETTINGS_NAME)
        self._cursor: Cursor | None = None
        self._reading: Reading | None = None
        self.decisions: list[Decision] = []

    def reading(self) -> Reading:
        """Keep others from deciding while raw records are read and the log is looked at behind that.

        Raises
        ------
        StoreError
            When the home cannot be written to.
        """
        if self._reading is None:
            self._reading = Reading(_open_lock(self._home))
        return self._reading

    def poll(self) -> list[Decision]:
        """Return the decisions since the last call.

        Raises
        ------
        CorruptionError
            When a record is no decision.
        """
        if self._cursor is None:
            if not os.access(self._settings, os.F_OK):  # (before every window: half of what os.path.exists takes)
                return []
            self._cursor = Cursor(LocalSource(self._home), MERGE_QUEUE)
        found: list[Decision] = []
        while (window := self._cursor.next_window()) is not None:
            found += [_decision(record) for record in window.records()]
        self.decisions += found
        return found

    def close(self) -> None:
        """Release the queue."""
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None
        if self._reading is not None:
            os.close(self._reading.lock)
            self._reading = None


def decide(home: Path, plan: Callable[[Sequence[Decision]], Sequence[Decision]], *, ts_recv: int) -> list[Decision]:
    """Append what `plan` makes of all decisions so far, durably; return what was appended.

    `plan` looks at where raw queues end: no shard takes up records meanwhile. (The caller is in no :meth:`reading`.)

    Raises
    ------
    QueueLockedError
        When another process holds the log for seconds.
    ConfigError
        When more raw queues would be merged than there are numbers.
    """
    queue = Queue.create(home / MERGE_QUEUE, name=MERGE_QUEUE, segment_bytes=64 * 1024, exist_ok=True)
    with _alone(home), _appender(queue) as appender:
        log = DecisionLog(home)
        log.poll()
        log.close()
        decisions = list(plan(log.decisions))
        for decision in decisions:
            if decision.number >= MEMBERS_MAX:
                raise ConfigError(
                    f"{decision.raw} cannot be merged: a home merges {MEMBERS_MAX} raw queues at most",
                    hint="begin a new home, or give the feed the name of a raw queue that ended",
                )
            appender.append(Kind.STATUS, _body(decision), ts_recv=ts_recv)
        appender.sync()
    return decisions


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Wait until no shard reads raw records, and let none begin."""
    lock = _open_lock(home)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _open_lock(home: Path) -> int:
    path = home / MERGE_LOCK
    with file_errors("open the lock of the merge's decisions", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _appender(queue: Queue) -> Appender:
    """Return the log's writing end; another process holds it for a moment only."""
    pause = threading.Event()
    for _ in range(_LOCK_ATTEMPTS):
        with suppress(QueueLockedError):
            return queue.appender()
        pause.wait(_LOCK_PAUSE_SECONDS)
    return queue.appender()


def _body(decision: Decision) -> bytes:
    details = pack_details({"raw": decision.raw, "number": decision.number, "at": decision.at, "ts": decision.ts})
    code = StatusCode.JOINED if decision.joins else StatusCode.LEFT
    return layout.STATUS_BODY.pack(code, len(details)) + details


def _decision(record: Record) -> Decision:
    details: dict[str, Any] = {}
    code = 0
    if record.kind == Kind.STATUS:
        fields = record.fields()
        code, details = fields["code"], fields["details"]
    raw, number, at, ts = (details.get(name) for name in ("raw", "number", "at", "ts"))
    known = code in (StatusCode.JOINED, StatusCode.LEFT) and isinstance(raw, str) and isinstance(ts, int)
    if not (known and isinstance(number, int) and isinstance(at, int)):
        raise CorruptionError(
            "a record of the merge's decisions says something else",
            path=MERGE_QUEUE,
            expected="STATUS JOINED or LEFT with raw, number, at and ts",
            found=f"record {record.index}, kind {record.kind}, code {code}",
        )
    if not 0 <= number < MEMBERS_MAX or not INT64_MIN <= at <= layout.INT64_MAX:
        raise CorruptionError("a decision of the merge is out of range", path=MERGE_QUEUE, found=(number, at))
    return Decision(str(raw), number, code == StatusCode.JOINED, at, int(str(ts)))
