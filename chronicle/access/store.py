"""Store: everything a researcher asks, over a home, an archive, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from chronicle.access.book import Book, BookOrder
from chronicle.access.lookup import book_at
from chronicle.access.places import Location, open_places
from chronicle.access.segments import Shelf
from chronicle.access.symbols import Directory
from chronicle.core.errors import BookNotTrustedError, ConfigError, NotFoundError, RangeError
from chronicle.core.layout import INT64_MAX
from chronicle.core.paths import CHANNELS
from chronicle.core.times import parse_time

if TYPE_CHECKING:
    from chronicle.access.books import Books
    from chronicle.access.catalog import Coverage, Instrument
    from chronicle.access.explain import Explanation
    from chronicle.access.frames import Decimals
    from chronicle.access.gaps import Gap
    from chronicle.access.quality import Quality
    from chronicle.access.replay import Event
    from chronicle.access.scan import Scan
    from chronicle.core.source import SegmentInfo
    from chronicle.storage.verify import VerifyReport

__all__ = ["Store", "open"]

DEPTH_MAX = 100_000


def open(places: Location | Sequence[Location]) -> Store:
    """Open a home directory, an archive root, or a list of both (the first one that has a segment gives it).

    Nothing is written or locked: any number of readers may open the same place, beside a live writer.

    Raises
    ------
    NotFoundError
        When a path is not there.

    Examples
    --------
    >>> import chronicle
    >>> store = chronicle.open("chronicle-data")                                  # doctest: +SKIP
    >>> print(store.book("kraken:BTC-EUR", depth=5))                              # doctest: +SKIP
    """
    return Store(places)


class Store:
    """A reader over all places it was opened on; see :func:`open`. Use it as a context manager, or close it."""

    def __init__(self, places: Location | Sequence[Location]) -> None:
        self._places = places
        self._shelf = Shelf(open_places(places))
        self._directory = Directory(self._shelf)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Store {self._places}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by place: a worker process opens its own store."""
        return Store, (self._places,)

    def close(self) -> None:
        """Release every segment. Arrays that were handed out stay valid."""
        self._shelf.close()

    # --- what is there -------------------------------------------------------------------------------------------

    def instruments(self) -> list[Instrument]:
        """Return the captured instruments, by symbol."""
        from chronicle.access.catalog import instruments_of

        return instruments_of(self._shelf, self._directory)

    def resolve(self, symbol: str) -> str:
        """Return the canonical name of `symbol`, which may be the venue's own spelling in any case.

        Raises
        ------
        SymbolError
            When nothing captured goes by that name.
        """
        return self._directory.resolve(symbol)

    def channels(self, symbol: str) -> list[str]:
        """Return the channels that are kept of `symbol`."""
        return self._directory.channels(self.resolve(symbol), fresh=True)

    def coverage(self, symbol: str, channel: str | None = None) -> Coverage:
        """Return which times of `symbol` are kept, in which segments, at which places."""
        from chronicle.access.catalog import coverage_of

        if channel is not None and channel not in CHANNELS:
            raise ConfigError(f"there is no channel {channel!r}", expected=" | ".join(CHANNELS), found=channel)
        return coverage_of(self._shelf, self._directory, self.resolve(symbol), channel)

    # --- books ---------------------------------------------------------------------------------------------------

    def book(self, symbol: str, at: Any = None, depth: int | None = None, *, strict: bool = False) -> Book:
        """Return the order book of `symbol` after all events with ``ts_recv <= at``.

        Parameters
        ----------
        symbol : str
            Canonical or the venue's own spelling.
        at : int ns, ISO 8601 text, datetime, pandas or NumPy stamp, optional
            Naive means UTC. Default: the latest state there is (``stale`` when its feed has ended).
        depth : int, optional
            Levels a side; default all.
        strict : bool
            Raise unless the status is ``ok``.

        Raises
        ------
        SymbolError, RangeError
            When the symbol or the time cannot be read.
        BookNotTrustedError
            With `strict`, when the book is not known to be right.

        Notes
        -----
        ``gap``: the moment lies between a last good event and the recovery, also when that was found out later.
        ``stale``: the feed was lost, or the moment is beyond what the ETL has finished. ``unverified``: no venue
        snapshot yet. Where several lanes cover the moment, the most trusted answers (``ok``, ``crossed``, ``gap``,
        ``unverified``, ``stale``; of what is not ``ok`` the freshest), then the lowest lane.
        """
        name = self._with_channel(symbol, "book")
        moment = None if at is None else parse_time(at)
        if depth is not None:
            _check_depth(depth)
        book = book_at(self._shelf, name, moment, depth)
        if strict and book.status != "ok":
            raise BookNotTrustedError(
                f"the book of {name} is {book.status} at {book.at}",
                expected="ok",
                found=book.status,
                hint="store.gaps(symbol) shows why; without strict the book comes with its status",
            )
        return book

    def orders(self, symbol: str, at: Any = None, depth: int | None = None) -> list[BookOrder]:
        """Return the resting orders of `symbol` at `at` with their queue positions: bids, then asks, best first.

        The book with its status is ``store.book(symbol, at, depth)``, and ``book.orders(side)`` these.

        Raises
        ------
        NotFoundError
            When the venue tells levels only.
        """
        book = self.book(symbol, at, depth)
        return book.orders("bid") + book.orders("ask")

    def books(
        self,
        symbol: str,
        start: Any = None,
        end: Any = None,
        *,
        every: str | int | None = None,
        on: Literal["event"] | None = None,
        depth: int = 10,
        decimals: Decimals = "float",
    ) -> Books:
        """Return sampled books in [start, end) as columns: one a step of time, or one an event.

        Parameters
        ----------
        start, end : time, optional
            Default: all that is covered.
        every : str or int
            Step of the grid, as ``"1s"``, ``"250ms"``, or ns; default ``"1s"`` unless `on` is given. Each row is
            what :meth:`book` answers at its time.
        on : "event"
            A row after each event of the venue that drives the book.
        depth : int
            Levels a side.
        decimals : "float", "int" or "decimal"
            How prices and sizes leave: nearest float64, mantissas, or exact decimals.
        """
        from chronicle.access.books import Books
        from chronicle.access.frames import check_decimals

        _check_depth(depth)
        check_decimals(decimals)
        if on not in (None, "event") or (on and every is not None):
            raise ConfigError(
                "books are sampled every step or on each event", expected='every="1s" or on="event"', found=on
            )
        name = self._with_channel(symbol, "book")
        step = 0 if on == "event" else _step_ns("1s" if every is None else every)
        first, last = self._bounds(name, start, end)
        return Books(self._shelf, name, first, last, every=step, depth=depth, decimals=decimals)

    # --- ranges --------------------------------------------------------------------------------------------------

    def scan(
        self,
        symbols: str | Sequence[str],
        channel: str = "book",
        start: Any = None,
        end: Any = None,
        *,
        columns: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        lanes: Sequence[int] | None = None,
        decimals: Decimals = "float",
    ) -> Scan:
        """Return the records of `symbols` with ts_recv in [start, end), as columns in order of time.

        Parameters
        ----------
        symbols : str or sequence of str
            One or many.
        channel : str
            ``book``, ``trade``, ``quote`` or ``candle``. Of a bar (timeframe, ts_open) the last row counts; rows that
            replace an earlier one have flag 2 (CORRECTION).
        columns : sequence of str, optional
            Default all of the channel's. Of a book there are also ``order_id`` and ``action``, when they are named.
        kinds : sequence of str, optional
            Of a book: ``delta``, ``snapshot`` (both by default), ``order`` (by default where orders make the book).
        lanes : sequence of int, optional
            Default every lane but redundant lines (1000 and up).
        decimals : "float", "int" or "decimal"
            How prices and sizes leave.
        """
        from chronicle.access.frames import check_decimals
        from chronicle.access.scan import Scan, columns_of

        columns_of(channel)
        check_decimals(decimals)
        first, last = _range(start, end)
        return Scan(
            self._shelf,
            self._names(symbols),
            channel,
            first,
            last,
            columns=columns,
            kinds=kinds,
            lanes=lanes,
            decimals=decimals,
        )

    def replay(
        self, symbols: str | Sequence[str], start: Any = None, end: Any = None, *, speed: float | None = None
    ) -> Iterator[Event]:
        """Yield the events of `symbols` (book, trade and quote; candles are made of these) in order of ``ts_recv``.

        Parameters
        ----------
        speed : float, optional
            Wait between events as long as they were apart, divided by this; default: no waiting.
        """
        from chronicle.access.replay import replay

        first, last = _range(start, end)
        if speed is not None and not speed > 0:
            raise ConfigError("a replay needs a speed above 0", expected="> 0, or None for no waiting", found=speed)
        return replay(self._shelf, self._names(symbols), first, last, speed=speed)

    def tail(
        self, symbols: str | Sequence[str], start: Any = None, *, timeout_ns: int | None = None
    ) -> Iterator[Event]:
        """Yield the events of `symbols` from `start` (default: from now on), then live ones as they are committed.

        Parameters
        ----------
        timeout_ns : int, optional
            End after this long without a new event; default never.
        """
        from chronicle.access.replay import tail

        first = None if start is None else parse_time(start)
        return tail(self._shelf.source, self._names(symbols), first, timeout_ns=timeout_ns)

    # --- trust ---------------------------------------------------------------------------------------------------

    def gaps(self, symbol: str | None = None, start: Any = None, end: Any = None) -> list[Gap]:
        """Return the known holes of `symbol` (default: of all) that reach into [start, end)."""
        from chronicle.access.gaps import gaps_of

        first, last = _range(start, end)
        names = self._directory.symbols(fresh=True) if symbol is None else [self.resolve(symbol)]
        return [gap for name in names for gap in gaps_of(self._shelf, name, first, last)]

    def quality(self, symbol: str) -> Quality:
        """Return counts that say how good the data of `symbol` is: records, checks, gaps."""
        from chronicle.access.quality import quality_of

        return quality_of(self._shelf, self.resolve(symbol))

    def explain(
        self, row: Mapping[str, Any] | Book | str, channel: str = "book", index: int | None = None, *, lane: int = 0
    ) -> Explanation:
        """Return where a row came from: clean record, raw record, and the exchange's bytes.

        Parameters
        ----------
        row : mapping, Book or str
            A row of :meth:`scan` (with ``symbol``, ``index``, ``lane``), a book, or a symbol with `channel`, `index`.

        Raises
        ------
        NotFoundError
            When the record is not there.
        """
        from chronicle.access.explain import explain

        if isinstance(row, Book):
            if "index" not in row.source:
                raise RangeError("the book rests on no event: there is nothing to explain")
            return explain(self._shelf, row.symbol, "book", int(row.source["index"]), int(row.source["lane"]))
        if not isinstance(row, str):
            if "symbol" not in row or "index" not in row:
                raise ConfigError("this row names no record", expected="a row with symbol and index", found=list(row))
            channel = _channel_of_kind(str(row.get("kind", "delta"))) if channel == "book" else channel
            index, lane, row = int(row["index"]), int(row.get("lane", 0)), str(row["symbol"])
        if index is None:
            raise ConfigError(
                "which record is to be explained?", hint="explain(row), or explain(symbol, channel, index)"
            )
        return explain(self._shelf, self.resolve(row), channel, index, lane)

    def verify(
        self, *, deep: bool = False, prefix: str = "", progress: Callable[[int, SegmentInfo], None] | None = None
    ) -> list[VerifyReport]:
        """Check every byte of every sealed segment; return a report for each place of the store.

        Parameters
        ----------
        deep : bool
            Also walk every record.
        prefix : str
            Only queues whose names start so.
        progress : callable, optional
            Called after each segment with (segments checked, its info).
        """
        from chronicle.storage.verify import verify

        places = [self._places] if isinstance(self._places, str | PathLike) else self._places
        return [verify(fspath(place), deep=deep, prefix=prefix, progress=progress) for place in places]

    # -------------------------------------------------------------------------------------------------------------

    def _names(self, symbols: str | Sequence[str]) -> list[str]:
        wanted = [symbols] if isinstance(symbols, str) else list(symbols)
        if not wanted:
            raise ConfigError("which instruments?", expected="at least one symbol", found="none")
        return list(dict.fromkeys(self.resolve(symbol) for symbol in wanted))

    def _with_channel(self, symbol: str, channel: str) -> str:
        """Return the canonical name, once it is known that the channel is kept of it."""
        name = self.resolve(symbol)
        kept = self._directory.channels(name)
        if channel not in kept and channel not in self._directory.channels(name, fresh=True):
            raise NotFoundError(
                f"no {channel} is kept of {name}",
                expected=channel,
                found=", ".join(kept),
                hint="see store.channels(symbol)",
            )
        return name

    def _bounds(self, symbol: str, start: Any, end: Any) -> tuple[int, int]:
        first, last = _range(start, end)
        if first is not None and last is not None:
            return first, last
        covered = self.coverage(symbol, "book")
        first = covered.ts_first if first is None else first
        return first, max(covered.ts_last + 1, first) if last is None else last


def _range(start: Any, end: Any) -> tuple[int | None, int | None]:
    """Return [start, end) in ns.

    Raises
    ------
    RangeError
        When it ends before it starts.
    """
    first = None if start is None else parse_time(start)
    last = None if end is None else parse_time(end)
    if first is not None and last is not None and last < first:
        raise RangeError("the range ends before it starts", expected=f"an end at or after {first}", found=last)
    return first, last


_UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}


def _step_ns(every: str | int) -> int:
    """Return a grid step in ns."""
    if isinstance(every, str):
        digits = every.strip().rstrip("abcdefghijklmnopqrstuvwxyz")
        unit = every.strip()[len(digits) :]
        step = int(digits or "1") * _UNITS_NS[unit] if unit in _UNITS_NS and (digits or "1").isdigit() else 0
    else:
        step = int(every)
    if not 0 < step <= INT64_MAX:
        raise ConfigError(f"cannot step by {every!r}", expected='"1s", "250ms", "5m" ..., or ns above 0', found=every)
    return step


def _check_depth(depth: int) -> None:
    if not isinstance(depth, int) or not 1 <= depth <= DEPTH_MAX:
        raise ConfigError("a book has at least one level a side", expected=f"1 to {DEPTH_MAX}", found=depth)


def _channel_of_kind(kind: str) -> str:
    return kind if kind in ("trade", "quote") else "book"
