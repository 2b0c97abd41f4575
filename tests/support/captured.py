"""What the queues of a live feed came to hold: tests wait for the very records and frames that they ask for later.

How many frames or records a feed has written says nothing of what they are: a session writes of itself, too (marks,
and a heartbeat whenever nothing came for a second), the more the slower the machine is. So they are counted by what
they are: kind, status code, form.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from chronicle.core.errors import NotFoundError
from chronicle.core.layout import Kind, StatusCode, WireForm
from chronicle.core.queue import Queue
from chronicle.core.records import Record
from chronicle.core.tailer import Tailer

__all__ = ["Captured"]


class _Growing:
    """The records of one queue from a moment on; the queue may not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tailer: Tailer | None = None
        self.records: list[Record] = []
        tailer = self._opened()
        if tailer is not None:
            tailer.seek_end()

    def read(self) -> list[Record]:
        """Return what came since the last call."""
        tailer = self._opened()
        fresh = [record.copy() for record in tailer.drain()] if tailer is not None else []
        self.records += fresh
        return fresh

    def _opened(self) -> Tailer | None:
        if self._tailer is None:
            try:
                self._tailer = Queue.open(self._path).tailer()
            except NotFoundError:
                return None
        return self._tailer


class Captured:
    """What the raw and the wire queue of feed `name` hold and did not hold when this was made.

    Whatever is asked reads on from where the last question stopped, so that it can be polled.
    """

    def __init__(self, home: Path, name: str = "main") -> None:
        self._raw, self._wire = _Growing(home / f"raw/{name}.q"), _Growing(home / f"wire/{name}.q")
        self._kinds: Counter[int] = Counter()
        self._codes: Counter[int] = Counter()
        self._forms: Counter[tuple[int, int]] = Counter()
        self._answers: Counter[str] = Counter()

    @property
    def raw(self) -> list[Record]:
        """The raw records."""
        for record in self._raw.read():
            self._kinds[record.kind] += 1
            if record.kind == Kind.STATUS:
                self._codes[record.fields()["code"]] += 1
        return self._raw.records

    @property
    def wire(self) -> list[Record]:
        """The frames, as WIRE records."""
        for record in self._wire.read():
            fields: dict[str, Any] = record.fields()
            self._forms[fields["form"], record.source] += 1
            if fields["form"] == WireForm.HTTP:
                self._answers[fields["address"]] += 1
        return self._wire.records

    def kind(self, kind: Kind) -> int:
        """Return how many raw records of `kind` there are."""
        return self._kinds[kind] if self.raw else 0

    def code(self, code: StatusCode) -> int:
        """Return how many STATUS records with `code` there are."""
        return self._codes[code] if self.raw else 0

    def form(self, form: WireForm, connection: int | None = None) -> int:
        """Return how many frames of `form` there are, of one connection or of all."""
        if not self.wire:
            return 0
        return sum(count for key, count in self._forms.items() if key[0] == form and connection in (None, key[1]))

    def answers(self, *parts: str) -> int:
        """Return how many answers over HTTP there are whose address has one of `parts`; without parts all."""
        if not self.wire:
            return 0
        return sum(n for address, n in self._answers.items() if not parts or any(part in address for part in parts))
