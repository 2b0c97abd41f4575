"""Async twins: a store for servers. Reading happens in threads; the event loop is never held up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from chronicle.access.books.book import Book
from chronicle.access.opened.places import Location
from chronicle.access.store import Store

if TYPE_CHECKING:
    from chronicle.access.opened.catalog import Coverage, Instrument
    from chronicle.access.ranges.columns import Chunk
    from chronicle.access.ranges.frames import Columnar
    from chronicle.access.ranges.replay import Event
    from chronicle.access.sql.sql import Answer
    from chronicle.access.trust.explain import Explanation
    from chronicle.access.trust.gaps import Gap
    from chronicle.access.trust.quality import Quality

__all__ = ["AsyncStore", "aopen"]

T = TypeVar("T")
EVENTS_PER_STEP = 256


async def aopen(places: Location | Sequence[Location], *, options: Mapping[str, Any] | None = None) -> AsyncStore:
    """Open a store for use in an event loop; see :func:`chronicle.open`.

    Examples
    --------
    >>> store = await chronicle.aopen("chronicle-data")                     # doctest: +SKIP
    >>> book = await store.book("kraken:BTC-EUR", depth=5)                  # doctest: +SKIP
    """
    return AsyncStore(await asyncio.to_thread(Store, places, options=options))


class AsyncStore:
    """The questions of :class:`Store`, awaited. Calls may overlap; each takes the same arguments as its twin.

    Attributes
    ----------
    store : Store
        The store that is asked; its methods stay usable from threads.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    async def __aenter__(self) -> AsyncStore:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Release every segment."""
        await asyncio.to_thread(self.store.close)

    async def instruments(self) -> list[Instrument]:
        """Return the captured instruments, by symbol."""
        return await asyncio.to_thread(self.store.instruments)

    async def coverage(self, symbol: str, channel: str | None = None) -> Coverage:
        """Return which times of `symbol` are kept, in which segments, at which places."""
        return await asyncio.to_thread(self.store.coverage, symbol, channel)

    async def book(self, symbol: str, at: Any = None, depth: int | None = None, *, strict: bool = False) -> Book:
        """Return the order book of `symbol` after all events with ``ts_recv <= at``."""
        return await asyncio.to_thread(self.store.book, symbol, at, depth, strict=strict)

    async def gaps(self, symbol: str | None = None, start: Any = None, end: Any = None) -> list[Gap]:
        """Return the known holes that reach into [start, end)."""
        return await asyncio.to_thread(self.store.gaps, symbol, start, end)

    async def quality(self, symbol: str, start: Any = None, end: Any = None) -> Quality:
        """Return what says how good the data of `symbol` in [start, end) is."""
        return await asyncio.to_thread(self.store.quality, symbol, start, end)

    async def explain(self, row: Mapping[str, Any] | Book | str, *position: Any, **options: Any) -> Explanation:
        """Return where a row came from."""
        return await asyncio.to_thread(self.store.explain, row, *position, **options)

    def scan(self, *wanted: Any, **options: Any) -> AsyncColumnar:
        """Return the records of a range; await a form of it, or iterate its batches."""
        return AsyncColumnar(lambda: self.store.scan(*wanted, **options))

    def books(self, *wanted: Any, **options: Any) -> AsyncColumnar:
        """Return sampled books; await a form of them, or iterate their batches."""
        return AsyncColumnar(lambda: self.store.books(*wanted, **options))

    def bbo(self, *wanted: Any, **options: Any) -> AsyncColumnar:
        """Return the changes of the best prices; await a form of them, or iterate their batches."""
        return AsyncColumnar(lambda: self.store.bbo(*wanted, **options))

    async def sql(self, query: str, parameters: Any = None, **options: Any) -> Any:
        """Return the answer to one SELECT as a pyarrow.Table."""

        def ask() -> Any:
            answer: Answer = self.store.sql(query, parameters, **options)
            return answer.to_arrow()

        return await asyncio.to_thread(ask)

    async def replay(self, *wanted: Any, **options: Any) -> AsyncIterator[Event]:
        """Yield the events of a range in order of time; at a speed, one by one when they are due."""
        paced = options.get("speed") is not None
        steps = _steps(lambda: self.store.replay(*wanted, **options).batches(1 if paced else EVENTS_PER_STEP))
        async for events in steps:
            for event in events:
                yield event

    async def tail(
        self, symbols: str | Sequence[str] | None = None, start: Any = None, *, timeout_ns: int | None = None
    ) -> AsyncIterator[Event]:
        """Yield the events from `start` on, then live ones; ends with the task that iterates it."""
        given_up = threading.Event()
        events = self.store.tail(symbols, start, timeout_ns=timeout_ns, stopped=given_up.is_set)
        waiting: asyncio.Future[Any] | None = None
        try:
            while True:
                waiting = asyncio.ensure_future(asyncio.to_thread(next, events, None))
                event = await asyncio.shield(waiting)
                if event is None:
                    return
                yield event
        finally:
            given_up.set()
            if waiting is not None and not waiting.done():
                with suppress(asyncio.CancelledError):
                    await waiting


class AsyncColumnar:
    """Columns of a query for an event loop: made and read in a thread."""

    def __init__(self, make: Callable[[], Columnar]) -> None:
        self._make = make

    async def to_numpy(self) -> Chunk:
        """Return {column: array}."""
        return await asyncio.to_thread(lambda: self._make().to_numpy())

    async def to_arrow(self) -> Any:
        """Return a pyarrow.Table."""
        return await asyncio.to_thread(lambda: self._make().to_arrow())

    async def to_pandas(self) -> Any:
        """Return a pandas.DataFrame."""
        return await asyncio.to_thread(lambda: self._make().to_pandas())

    async def to_polars(self) -> Any:
        """Return a polars.DataFrame."""
        return await asyncio.to_thread(lambda: self._make().to_polars())

    def batches(self, rows: int = 65_536) -> AsyncIterator[Chunk]:
        """Yield NumPy columns of at most `rows` rows; the next batch is read while it is awaited, not before."""
        return _steps(lambda: self._make().batches(rows))

    def arrow_batches(self, rows: int = 65_536) -> AsyncIterator[Any]:
        """Yield pyarrow.RecordBatch of at most `rows` rows."""
        return _steps(lambda: self._make().arrow_batches(rows))


async def _steps(begin: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """Yield what an iterator gives, each step in a thread."""
    iterator = await asyncio.to_thread(begin)
    end = object()
    while (item := await asyncio.to_thread(next, iterator, end)) is not end:
        yield item  # type: ignore[misc]  # what is not the end is an item
