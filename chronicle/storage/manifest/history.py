"""The manifest's history: who moved what when, each event chained to the one before by a hash.

An event is written in the transaction that does what it tells of. Its hash is SHA-256 over the hash before it and
the event's own bytes: an event that was changed, left out or put in later does not fit the next one, and the last
hash, which catalogs carry to every tier, stands for all of them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import lmdb
import msgpack

from chronicle.core.errors import CorruptionError

__all__ = ["Event", "append_events", "read_events"]

DATABASE: Final = b"history"
_KEY: Final = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that was done. `number` and `hash` are given when it is written.

    `action` is ``moved``, ``deleted``, ``expired``, ``repaired``, ``quarantined`` or ``rebuilt``; `source` and
    `target` are TIER/OBJECT; `checksum` is that of the sealed file; `agent` HOST:PID.
    """

    ts_ns: int
    action: str
    queue: str
    generation: int
    segment: int
    source: str
    target: str
    bytes: int
    checksum: int
    reason: str
    agent: str
    number: int = 0
    hash: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for storing and ``--json``."""
        return asdict(self)


def append_events(environment: Any, transaction: Any, events: Iterable[Event]) -> None:
    """Write events at the end of the chain, within the caller's transaction."""
    listed = list(events)
    if not listed:
        return
    database = environment.open_db(DATABASE, txn=transaction)
    meta = environment.open_db(b"meta", txn=transaction, create=False)
    packed = transaction.get(b"history", db=meta)
    number, before = msgpack.unpackb(packed) if packed else (0, "")
    for event in listed:
        number += 1
        data = _pack(replace(event, number=number, hash=""))
        before = _chained(before, data)
        transaction.put(_KEY.pack(number), msgpack.packb([data, before]), db=database)
    transaction.put(b"history", msgpack.packb([number, before]), db=meta)


def read_events(
    environment: Any, transaction: Any, path: Path, *, after: int = 0, limit: int | None = None
) -> list[Event]:
    """Return the events after number `after`, oldest first.

    Raises
    ------
    CorruptionError
        When the chain is broken.
    """
    try:
        database = environment.open_db(DATABASE, txn=transaction, create=False)
    except lmdb.NotFoundError:
        return []
    events: list[Event] = []
    packed = transaction.get(_KEY.pack(after), db=database) if after else None
    before = "" if packed is None else str(msgpack.unpackb(bytes(packed))[1])
    cursor = transaction.cursor(db=database)
    if not cursor.set_range(_KEY.pack(after + 1)):
        return events
    for key, value in cursor:
        if limit is not None and len(events) >= limit:
            break
        number = _KEY.unpack(bytes(key))[0]
        try:
            data, digest = msgpack.unpackb(bytes(value))
            event = Event(**msgpack.unpackb(data))
        except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
            raise _broken(path, number, str(error)) from error
        if number != after + len(events) + 1 or event.number != number or _chained(before, data) != digest:
            raise _broken(path, number, "it does not fit the event before it")
        before = digest
        events.append(replace(event, hash=digest))
    return events


def _pack(event: Event) -> bytes:
    values = {name: value for name, value in event.to_dict().items() if name != "hash"}
    data: bytes = msgpack.packb(values)
    return data


def _chained(before: str, data: bytes) -> str:
    return hashlib.sha256(before.encode() + data).hexdigest()


def _broken(path: Path, number: int, why: str) -> CorruptionError:
    return CorruptionError(
        f"the manifest's history is broken at event {number}: {why}",
        path=path,
        hint="the segments are not affected; chronicle verify proves them. Somebody or something changed the history",
    )
