"""Store: everything a researcher asks, over a home, an archive, or both.

Longer than a file should be: it is the public surface in one place. A method checks what it was given and hands on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike, fspath, getpid
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from chronicle.access.book import Book, BookOrder
from chronicle.access.lookup import book_at
from chronicle.access.places import Location, open_places
from chronicle.access.segments import Shelf
from chronicle.access.symbols import Directory, is_pattern
from chronicle.core.errors import BookNotTrustedError, ConfigError, NotFoundError, RangeError, SymbolError
from chronicle.core.layout import INT64_MAX
from chronicle.core.paths import CHANNELS
from chronicle.core.times import parse_time

if TYPE_CHECKING:
    from chronicle.access.audit import Audit
    from chronicle.access.best import Best
    from chronicle.access.books import Books
    from chronicle.access.catalog import Coverage, Instrument
    from chronicle.access.explain import Explanation
    from chronicle.access.export import Exported, ExportJob, Unit
    from chronicle.access.frames import Decimals
    from chronicle.access.gaps import Gap
    from chronicle.access.many import ManyBooks
    from chronicle.access.partitions import Partition
    from chronicle.access.quality import Quality
    from chronicle.access.replay import Event, Order, Replay
    from chronicle.access.scan import Scan
    from chronicle.access.sql import Answer, Database
    from chronicle.core.source import SegmentInfo
    from chronicle.storage.verify import VerifyReport

__all__ = ["Store", "open"]

DEPTH_MAX = 100_000
SQL_MEMORY_BYTES = 2 << 30
SQL_MEMORY_BYTES_MIN = 16 << 20


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
        self._open()
        self._databases: dict[tuple[int, str, int], Database] = {}

    def _open(self) -> None:
        self._process = getpid()
        self._shelf_here = Shelf(open_places(self._places))
        self._directory_here = Directory(self._shelf_here)

    @property
    def _shelf(self) -> Shelf:
        """The segments; a forked process opens its own: locks and the manifest's database are not shared."""
        if self._process != getpid():
            self._open()
        return self._shelf_here

    @property
    def _directory(self) -> Directory:
        """The names of what is captured."""
        if self._process != getpid():
            self._open()
        return self._directory_here

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
        for database in self._databases.values():
            database.close()
        self._databases.clear()
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

    @overload
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
    ) -> Books: ...

    @overload
    def books(
        self, symbol: str | Sequence[str], *, at: Any, depth: int = 10, decimals: Decimals = "float"
    ) -> ManyBooks: ...

    def books(
        self,
        symbol: str | Sequence[str],
        start: Any = None,
        end: Any = None,
        *,
        at: Any = None,
        every: str | int | None = None,
        on: Literal["event"] | None = None,
        depth: int = 10,
        decimals: Decimals = "float",
    ) -> Books | ManyBooks:
        """Return sampled books in [start, end) as columns: one a step of time, or one an event.

        With `at`, return the books of several instruments as of one moment, or of several.

        Parameters
        ----------
        symbol : str, or sequence of str with `at`
            With `at` also patterns (``"kraken:*"``): those of them with a book.
        start, end : time, optional
            Default: all that is covered.
        at : time or sequence of times, optional
            Moments, instead of a range.
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
        if at is not None:
            if start is not None or end is not None or every is not None or on is not None:
                raise ConfigError("books are asked for at moments or over a range", expected="at, or start and end")
            return self._books_at(symbol, at, depth, decimals)
        if not isinstance(symbol, str):
            raise ConfigError("a range is sampled of one instrument", expected="one symbol, or at=...", found=symbol)
        if on not in (None, "event") or (on and every is not None):
            raise ConfigError(
                "books are sampled every step or on each event", expected='every="1s" or on="event"', found=on
            )
        name = self._with_channel(symbol, "book")
        step = 0 if on == "event" else _step_ns("1s" if every is None else every)
        first, last = self._bounds(name, start, end)
        return Books(self._shelf, name, first, last, every=step, depth=depth, decimals=decimals)

    def _books_at(self, symbols: str | Sequence[str], at: Any, depth: int, decimals: Decimals) -> ManyBooks:
        from chronicle.access.many import ManyBooks
        from chronicle.access.sampling import exponents_in

        several = hasattr(at, "__iter__") and not isinstance(at, str)
        moments = [parse_time(moment) for moment in (at if several else [at])]
        given = [symbols] if isinstance(symbols, str) else list(symbols)
        names = [name for name in self._names(given) if "book" in self._directory.channels(name)]
        for symbol in given:
            if not is_pattern(symbol):
                self._with_channel(symbol, "book")
        exponents = [exponents_in(self._shelf, name, "book", None, None) for name in names]
        finest = max((one for one, _ in exponents), default=0), max((one for _, one in exponents), default=0)
        return ManyBooks(
            lambda name, moment: book_at(self._shelf, name, moment, depth),
            names,
            moments,
            depth=depth,
            decimals=decimals,
            exponents=finest,
        )

    # --- ranges --------------------------------------------------------------------------------------------------

    def scan(
        self,
        symbols: str | Sequence[str] | None = None,
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
        symbols : str or sequence of str, optional
            One or many, names or patterns (``"kraken:*"``); default all.
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
        names = self._names(symbols)
        if names and not any(channel in self._directory.channels(name) for name in names):
            self._with_channel(names[0], channel)
        return Scan(
            self._shelf,
            names,
            channel,
            first,
            last,
            columns=columns,
            kinds=kinds,
            lanes=lanes,
            decimals=decimals,
        )

    def partitions(
        self,
        symbols: str | Sequence[str] | None = None,
        channel: str = "book",
        start: Any = None,
        end: Any = None,
        *,
        records: int = 1_000_000,
        columns: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        decimals: Decimals = "float",
    ) -> list[Partition]:
        """Return [start, end) cut into units that pickle and read on their own: for Dask, Ray, Spark, processes.

        Units of an instrument follow one another in time; all of them together are the range, each record once.
        ``chronicle.access.to_dask(units)`` makes a dask.dataframe of them.

        Parameters
        ----------
        records : int
            About how many records a unit holds.
        columns, kinds, decimals
            As :meth:`scan` takes them; a unit's ``scan()`` uses them.
        """
        from chronicle.access.frames import check_decimals
        from chronicle.access.partitions import cut
        from chronicle.access.scan import columns_of

        columns_of(channel)
        check_decimals(decimals)
        first, last = _range(start, end)
        given = [self._places] if isinstance(self._places, str | PathLike) else list(self._places)
        places = tuple(_place(place) for place in given)
        chosen = {
            "columns": None if columns is None else tuple(columns),
            "kinds": None if kinds is None else tuple(kinds),
            "decimals": decimals,
        }
        options = tuple(chosen.items())
        return [
            unit
            for name in self._names(symbols)
            for unit in cut(self._shelf, places, name, channel, first, last, records=records, options=options)
        ]

    def replay(
        self,
        symbols: str | Sequence[str] | None = None,
        start: Any = None,
        end: Any = None,
        *,
        channels: str | Sequence[str] = ("book", "trade", "quote"),
        speed: float | None = None,
        order: Order = "ts_recv",
        reorder: str | int = "10s",
    ) -> Replay:
        """Return the events of `symbols` in order of time, as an iterator that seeks and gives batches.

        Parameters
        ----------
        symbols : str or sequence of str, optional
            Names or patterns (``"kraken:*"``); default all.
        channels : str or sequence of str
            Of ``book``, ``trade``, ``quote`` (candles are made of trades).
        speed : float, optional
            Wait between events as long as they were apart, divided by this; default: no waiting.
        order : "ts_recv" or "ts_event"
            As things were known here, or as they happened there.
        reorder : str or int
            By ``ts_event``: how long (of receive time) an event is held back so that earlier ones overtake it.
        """
        from chronicle.access.replay import Replay

        first, last = _range(start, end)
        return Replay(
            self._shelf,
            self._names(symbols),
            first,
            last,
            channels=[channels] if isinstance(channels, str) else list(channels),
            speed=speed,
            order=order,
            reorder_ns=0 if reorder == 0 else _step_ns(reorder),
        )

    def tail(
        self,
        symbols: str | Sequence[str] | None = None,
        start: Any = None,
        *,
        timeout_ns: int | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> Iterator[Event]:
        """Yield the events of `symbols` from `start` (default: from now on), then live ones as they are committed.

        Parameters
        ----------
        symbols : str or sequence of str, optional
            Names or patterns (``"kraken:*"``); default all. What appears later and fits a pattern is taken up.
        timeout_ns : int, optional
            End after this long without a new event; default never.
        stopped : callable, optional
            Asked while nothing comes; True ends the tail.
        """
        from chronicle.access.tail import tail

        first = None if start is None else parse_time(start)
        wanted = None if symbols is None else [symbols] if isinstance(symbols, str) else list(symbols)
        if wanted is not None and not any(is_pattern(name) for name in wanted):
            self._names(wanted)
        return tail(
            self._shelf.source,
            lambda: self._directory.matching(wanted),
            first,
            timeout_ns=timeout_ns,
            stopped=stopped,
        )

    def bbo(self, symbol: str, start: Any = None, end: Any = None, *, decimals: Decimals = "float") -> Best:
        """Return the best bid and ask of `symbol` in [start, end) as columns: a row for each change."""
        from chronicle.access.best import Best
        from chronicle.access.frames import check_decimals

        check_decimals(decimals)
        name = self._with_channel(symbol, "book")
        first, last = self._bounds(name, start, end)
        return Best(self._shelf, name, first, last, decimals=decimals)

    def sql(
        self,
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        decimals: Literal["float", "decimal"] = "float",
        memory_bytes: int = SQL_MEMORY_BYTES,
    ) -> Answer:
        """Return the answer to one SELECT of DuckDB's SQL over the store, which it cannot change.

        Tables: ``book``, ``trade``, ``quote``, ``candle`` (the columns of :meth:`scan`; times as TIMESTAMPTZ with an
        exact twin ``*_ns``), ``status``, ``gaps``, ``instruments``, ``segments``. A condition on ``symbol`` and on
        ``ts_recv`` or ``ts_recv_ns`` decides what is read at all. Rows come in no promised order without ORDER BY.
        ``book(symbol, moment, depth := 10)`` and ``books(symbol, start, until, every := '1s',
        depth := 10)`` are tables of books, ``book_at(symbol, moment, depth := 10)`` is one as a value.

        Parameters
        ----------
        query : str
            One SELECT (or FROM, DESCRIBE, EXPLAIN).
        parameters : sequence or mapping, optional
            For ``?`` or ``$name`` in it.
        decimals : "float" or "decimal"
            Prices and sizes as DOUBLE, or exact as DECIMAL with as many decimals as the finest instrument has.
        memory_bytes : int
            What the query may hold at once; there is no disk to spill to.

        Raises
        ------
        SqlError
            When the query cannot be read or is no SELECT.
        ConfigError
            When duckdb is not installed.
        """
        from chronicle.access.frames import library

        if decimals not in ("float", "decimal"):
            raise ConfigError(f"SQL gives no {decimals!r} numbers", expected="float | decimal", found=decimals)
        if memory_bytes < SQL_MEMORY_BYTES_MIN:
            raise ConfigError(
                "a query needs some memory", expected=f">= {SQL_MEMORY_BYTES_MIN} bytes", found=memory_bytes
            )
        library("pyarrow", "sql")
        from chronicle.access.sql import Database

        key = (getpid(), decimals, memory_bytes)  # a database does not survive a fork
        database = self._databases.get(key)
        if database is None:
            database = Database(self, self._shelf, self._directory, decimals=decimals, memory_bytes=memory_bytes)
            self._databases[key] = database
        return database.ask(query, parameters)

    def export(
        self,
        folder: str | PathLike[str],
        symbols: str | Sequence[str] | None = None,
        channels: str | Sequence[str] = ("book", "trade", "quote", "candle"),
        start: Any = None,
        end: Any = None,
        *,
        form: str = "parquet",
        decimals: Decimals = "decimal",
        register: str | None = None,
        progress: Callable[[Unit, Exported], None] | None = None,
    ) -> Exported:
        """Write records with ts_recv in [start, end) to files that other tools read.

        A file holds one channel of one instrument of one UTC day, sorted by ``ts_recv``, under
        ``folder/CHANNEL/venue=V/symbol=S/date=D/``; it appears under its name when it is complete, and replaces what
        had its name.

        Parameters
        ----------
        folder : path
            Created when it is not there.
        symbols, channels : optional
            Default all instruments, and the four channels that a scan knows.
        form : str
            ``parquet``, ``arrow``, ``csv``, ``jsonl``; ``npz`` (hftbacktest's events, from book and trades);
            ``records`` (Parquet with every record in full: ``chronicle import`` makes the same queues of it).
        decimals : "decimal", "float" or "int"
            Prices and sizes exact, as float64, or as mantissas with their exponents in two more columns.
        register : "delta" or "iceberg", optional
            Also register each channel's Parquet files as a table in place; times are microseconds then, with twins.
        progress : callable, optional
            Called after each file with (unit, what was written so far).

        Raises
        ------
        ConfigError
            When a choice is not known, or a library is not installed.
        CapacityError, StoreError
            When a file cannot be written.
        """
        return self.export_job(
            folder, symbols, channels, start, end, form=form, decimals=decimals, register=register
        ).run(progress)

    def export_job(
        self,
        folder: str | PathLike[str],
        symbols: str | Sequence[str] | None = None,
        channels: str | Sequence[str] = ("book", "trade", "quote", "candle"),
        start: Any = None,
        end: Any = None,
        *,
        form: str = "parquet",
        decimals: Decimals = "decimal",
        register: str | None = None,
    ) -> ExportJob:
        """Return an export that has not begun: its ``units()`` say what it would write, ``run()`` writes it."""
        from chronicle.access.export import ExportJob
        from chronicle.access.frames import check_decimals, library

        if form not in ("npz",):
            library("pyarrow")
        check_decimals(decimals)
        first, last = _range(start, end)
        names = self._directory.symbols(fresh=True) if symbols is None else self._names(symbols)
        wanted = [channels] if isinstance(channels, str) else list(channels)
        place = Path(fspath(folder)).expanduser()
        return ExportJob(
            self._shelf, place, names, wanted, first, last, form=form, decimals=decimals, register=register
        )

    # --- trust ---------------------------------------------------------------------------------------------------

    def gaps(self, symbol: str | None = None, start: Any = None, end: Any = None) -> list[Gap]:
        """Return the known holes of `symbol` (default: of all) that reach into [start, end)."""
        from chronicle.access.gaps import gaps_of

        first, last = _range(start, end)
        names = self._directory.symbols(fresh=True) if symbol is None else [self.resolve(symbol)]
        return [gap for name in names for gap in gaps_of(self._shelf, name, first, last)]

    def quality(self, symbol: str, start: Any = None, end: Any = None) -> Quality:
        """Return what says how good the data of `symbol` is: records, checks, gaps, latency, a grade."""
        from chronicle.access.quality import quality_of

        first, last = _range(start, end)
        return quality_of(self._shelf, self.resolve(symbol), first, last)

    def quality_html(self, symbol: str, start: Any = None, end: Any = None) -> str:
        """Return the quality of `symbol` as one HTML page: counts, grade, latency, spread, depth, holes."""
        from chronicle.access.report import quality_page

        first, last = _range(start, end)
        return quality_page(self, self._with_channel(symbol, "book"), first, last)

    def plot_html(self, symbol: str, start: Any = None, end: Any = None) -> str:
        """Return price, spread and a heat map of the depth of `symbol` as one HTML page."""
        from chronicle.access.report import plot_page

        first, last = _range(start, end)
        return plot_page(self, self._with_channel(symbol, "book"), first, last)

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

    def audit(self, symbol: str, start: Any = None, end: Any = None) -> Audit:
        """Rebuild the book of `symbol` from snapshot to snapshot in [start, end), and compare it with each.

        ``wrong`` counts snapshots of ours that the records before them do not rebuild; it must be 0.
        """
        from chronicle.access.audit import audit_of

        first, last = _range(start, end)
        return audit_of(self._shelf, self._with_channel(symbol, "book"), first, last)

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

    def _names(self, symbols: str | Sequence[str] | None) -> list[str]:
        wanted = [symbols] if isinstance(symbols, str) else None if symbols is None else list(symbols)
        if wanted is not None and not wanted:
            raise ConfigError("which instruments?", expected="at least one symbol", found="none")
        if wanted is not None and not any(is_pattern(name) for name in wanted):
            return list(dict.fromkeys(self.resolve(name) for name in wanted))
        for name in wanted or ():
            if not is_pattern(name):
                self.resolve(name)
        names = self._directory.matching(wanted)
        if wanted and not names:
            raise SymbolError(f"nothing captured fits {', '.join(wanted)}", hint="see store.instruments()")
        return names

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


def _place(place: Any) -> str:
    """Return a place as a worker elsewhere names it: a path from the root, or a URL."""
    text = fspath(place)
    return text if "://" in text else str(Path(text).expanduser().absolute())


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
