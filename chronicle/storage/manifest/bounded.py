"""Lists that are kept for who asks again, as long as they are not too many entries together."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

__all__ = ["Bounded"]

T = TypeVar("T")


class Bounded(Generic[T]):
    """Values by name with a weight each; beyond `most` together the least recently asked for is given up.

    The one that came last is kept, whatever it weighs. Threads may share it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._values: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, values: Mapping[str, T]) -> Bounded[T]:
        """Return what keeps all of `values`: they come from nowhere else again."""
        made = cls(0)
        made._values.update((name, (value, 0)) for name, value in values.items())
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._values))

    def get(self, name: str) -> T | None:
        """Return a value that is kept."""
        with self._lock:
            found = self._values.get(name)
            if found is None:
                return None
            self._values.move_to_end(name)
            return found[0]

    def put(self, name: str, value: T, weight: int) -> None:
        """Keep a value, in the place of the one of that name."""
        with self._lock:
            self._held += weight - (self._values.pop(name)[1] if name in self._values else 0)
            self._values[name] = value, weight
            while self._held > self._most and len(self._values) > 1:
                self._held -= self._values.popitem(last=False)[1][1]
