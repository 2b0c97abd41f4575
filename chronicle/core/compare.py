"""Comparing a queue of two sources record for record: a rebuild and the first run, an archive and the original."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chronicle.core.cursor import Cursor, Window
from chronicle.core.records import Record
from chronicle.core.source import SegmentSource

__all__ = ["Difference", "compare_queue"]


@dataclass(frozen=True, slots=True)
class Difference:
    """The first record that differs; a side that ended before it has None.

    `index` is the record's index in the queue; `a` and `b` are the records as plain values.
    """

    queue: str
    index: int
    a: dict[str, Any] | None
    b: dict[str, Any] | None

    def __str__(self) -> str:
        missing = "ends before it in the first" if self.a is None else "ends before it in the second"
        if self.a is None or self.b is None:
            return f"{self.queue} record {self.index}: the queue {missing}"
        fields = [name for name in self.a if self.a.get(name) != self.b.get(name)]
        named = ", ".join(f"{name} {self.a.get(name)!r} / {self.b.get(name)!r}" for name in fields)
        return f"{self.queue} record {self.index}: {named[:500] or 'bytes differ'}"


class _Side:
    """The records of one source as one stretch of bytes after another."""

    def __init__(self, source: SegmentSource, queue: str) -> None:
        self._cursor = Cursor(source, queue)
        self.first_index = self._cursor.index
        self.memory = memoryview(b"")
        self.index = self._cursor.index

    def fill(self) -> bool:
        """Make sure that bytes are there; False at the end."""
        if not len(self.memory):
            window: Window | None = self._cursor.next_window()
            if window is None:
                return False
            self.memory, self.index = window.memory, window.base_index
        return True

    def first(self) -> Record:
        length = int.from_bytes(self.memory[:4], "little")
        return Record(bytes(self.memory[:length]), self.index)

    def close(self) -> None:
        self._cursor.close()


def compare_queue(source_a: SegmentSource, source_b: SegmentSource, queue: str) -> Difference | None:
    """Return the first difference between the records of `queue` in two sources, None when there is none.

    Every byte of every indexed record counts; where segments end and what their prologues say does not.
    """
    a, b = _Side(source_a, queue), _Side(source_b, queue)
    try:
        return _compare(a, b, queue)
    finally:
        a.close()
        b.close()


def _compare(a: _Side, b: _Side, queue: str) -> Difference | None:
    index = min(a.first_index, b.first_index)
    if a.first_index != b.first_index:
        return Difference(queue, index, *(_values(side) if side.first_index == index else None for side in (a, b)))
    while True:
        has_a, has_b = a.fill(), b.fill()
        if not has_a and not has_b:
            return None
        if not has_a or not has_b:
            index = a.index if has_a else b.index
            return Difference(queue, index, _values(a) if has_a else None, _values(b) if has_b else None)
        size = min(len(a.memory), len(b.memory))
        if a.memory[:size] != b.memory[:size]:
            return _locate(a, b, queue)
        count = _records_in(a.memory[:size])
        for side in (a, b):
            side.memory = side.memory[size:]
            side.index += count


def _locate(a: _Side, b: _Side, queue: str) -> Difference:
    while True:
        left, right = a.first(), b.first()
        if left.data != right.data:
            return Difference(queue, left.index, left.to_dict(), right.to_dict())
        for side in (a, b):
            side.memory = side.memory[left.length :]
            side.index += 1


def _values(side: _Side) -> dict[str, Any] | None:
    return side.first().to_dict() if side.fill() else None


def _records_in(memory: memoryview) -> int:
    count, position, size = 0, 0, len(memory)
    while position < size:
        position += int.from_bytes(memory[position : position + 4], "little")
        count += 1
    return count
