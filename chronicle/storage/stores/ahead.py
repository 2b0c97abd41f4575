"""A large object read from its beginning to its end: the next pieces are on their way while one is looked at."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final

from chronicle.core.errors import TornSegmentError
from chronicle.storage.stores.stores import ObjectReader, Readable

__all__ = ["Ahead"]

PIECE_BYTES: Final = 8 << 20
PIECES_AHEAD: Final = 3


class Ahead:
    """One object of a store of requests, as a store of its own; it keeps at most six pieces of 8 MiB.

    Use it as a context manager. Implements :class:`chronicle.storage.stores.stores.Readable`.

    Parameters
    ----------
    store : Readable
    name : str
    size : int
        Bytes of the object.
    pace : callable
        Called with the bytes of a piece before it is asked for.
    """

    def __init__(self, store: Readable, name: str, size: int, pace: Callable[[int], None]) -> None:
        self.location = store.location
        self.is_remote = False
        self._store, self._name, self._size, self._pace = store, name, size, pace
        self._pieces: dict[int, Future[bytes]] = {}
        self._last = max(0, size - 1) // PIECE_BYTES
        self._threads = ThreadPoolExecutor(PIECES_AHEAD, thread_name_prefix="ahead")

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def size(self, name: str) -> int | None:
        """Return the bytes of the object."""
        return self._size if name == self._name else None

    def reader(self, name: str, *, offset: int = 0, size: int | None = None) -> ObjectReader:
        """Open the object, or a part of it."""
        assert name == self._name
        return _Reader(self, offset, self._size - offset if size is None else size)

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the object, and ask for those that come next."""
        if offset < 0 or length < 0 or offset + length > self._size:
            path = f"{self.location}/{self._name}"
            raise TornSegmentError("a read outside the object", path=path, offset=offset, expected=length)
        first, last = offset // PIECE_BYTES, max(offset, offset + length - 1) // PIECE_BYTES
        for number in range(first, min(last + PIECES_AHEAD, self._last) + 1):
            if number not in self._pieces:
                self._pieces[number] = self._threads.submit(self._fetch, number)
        whole = b"".join(self._pieces[number].result() for number in range(first, last + 1))
        for number in [number for number in self._pieces if number < first and number != self._last]:
            del self._pieces[number]
        start = offset - first * PIECE_BYTES
        return whole[start : start + length]

    def _fetch(self, number: int) -> bytes:
        start = number * PIECE_BYTES
        length = min(PIECE_BYTES, self._size - start)
        self._pace(length)
        reader = self._store.reader(self._name, offset=start, size=length)
        try:
            return reader.read(0, length)
        finally:
            reader.close()


class _Reader:
    """The object, or a part of it."""

    def __init__(self, source: Ahead, start: int, size: int) -> None:
        self.ahead = 0
        self.size = size
        self._source, self._start = source, start

    def read(self, offset: int, length: int) -> bytes:
        return self._source.read(self._start + offset, length)

    def close(self) -> None:
        return
