"""Store: everything a researcher asks, over a home, an archive, or both.

The questions are by kind in ``store_books``, ``store_ranges`` and ``store_trust``; here are those whose answers go to
other tools: SQL, files, pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike, fspath, getpid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chronicle.access.opened.places import Location
from chronicle.access.store_books import BookQuestions
from chronicle.access.store_ranges import RangeQuestions
from chronicle.access.store_trust import TrustQuestions
from chronicle.core.errors import ConfigError

if TYPE_CHECKING:
    from chronicle.access.formats.export import Exported, ExportJob, Unit
    from chronicle.access.ranges.columns import Decimals
    from chronicle.access.sql.sql import Answer, Database

__all__ = ["Store", "open"]

SQL_MEMORY_BYTES = 2 << 30
SQL_MEMORY_BYTES_MIN = 16 << 20


def open(
    places: Location | Sequence[Location],
    *,
    options: Mapping[str, Any] | None = None,
    version: int | None = None,
    as_of: Any = None,
) -> Store:
    """Open a home directory, an archive root, or a list of both (the first one that has a segment gives it).

    Nothing is written or locked: any number of readers may open the same place, beside a live writer. An archive
    root may be a URL (``s3://bucket/prefix``, whatever fsspec opens): what it holds is published beside the data.

    Parameters
    ----------
    places : path, URL, or list of both
    options : mapping, optional
        Of the stores behind URLs, as ``{"endpoint_url": "http://host:9000"}`` (docs/configuration.md);
        credentials come from the environment or the shared files.
    version : int, optional
        Of one home: the clean queues of ``HOME/rebuilt/VERSION`` (``chronicle etl rebuild``); 0: its own.
    as_of : time, optional
        Of one home: those of the newest version that was whole at that time.

    Raises
    ------
    NotFoundError
        When a path or a version is not there.
    ConfigError
        When `version` and `as_of` are both given, or not for one home.

    Examples
    --------
    >>> import chronicle
    >>> store = chronicle.open("chronicle-data")                                  # doctest: +SKIP
    >>> print(store.book("kraken:BTC-EUR", depth=5))                              # doctest: +SKIP
    >>> archive = chronicle.open("s3://bucket/market-data")                       # doctest: +SKIP
    """
    return Store(places, options=options, version=version, as_of=as_of)


class Store(BookQuestions, RangeQuestions, TrustQuestions):
    """A reader over all places it was opened on; see :func:`open`. Use it as a context manager, or close it."""

    def __init__(
        self,
        places: Location | Sequence[Location],
        *,
        options: Mapping[str, Any] | None = None,
        version: int | None = None,
        as_of: Any = None,
    ) -> None:
        super().__init__(places, options=options, version=version, as_of=as_of)
        self._databases: dict[tuple[int, str, int], Database] = {}

    def __repr__(self) -> str:
        return f"<Store {self._places}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by place: a worker process opens its own store."""
        chosen = {"options": self._options, "version": self._version, "as_of": self._as_of}
        return partial(Store, **chosen), (self._places,)

    def close(self) -> None:
        """Release every segment. Arrays that were handed out stay valid."""
        for database in self._databases.values():
            database.close()
        self._databases.clear()
        super().close()

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
        from chronicle.access.libraries import library

        if decimals not in ("float", "decimal"):
            raise ConfigError(f"SQL gives no {decimals!r} numbers", expected="float | decimal", found=decimals)
        if memory_bytes < SQL_MEMORY_BYTES_MIN:
            raise ConfigError(
                "a query needs some memory", expected=f">= {SQL_MEMORY_BYTES_MIN} bytes", found=memory_bytes
            )
        library("pyarrow", "sql")
        from chronicle.access.sql.sql import Database

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
        from chronicle.access.formats.export import ExportJob
        from chronicle.access.libraries import library
        from chronicle.access.ranges.columns import check_decimals

        if form not in ("npz",):
            library("pyarrow")
        check_decimals(decimals)
        first, last = self._range(start, end)
        names = self._directory.symbols(fresh=True) if symbols is None else self._names(symbols)
        wanted = [channels] if isinstance(channels, str) else list(channels)
        place = Path(fspath(folder)).expanduser()
        return ExportJob(
            self._shelf, place, names, wanted, first, last, form=form, decimals=decimals, register=register
        )

    def quality_html(self, symbol: str, start: Any = None, end: Any = None) -> str:
        """Return the quality of `symbol` as one HTML page: counts, grade, latency, spread, depth, holes."""
        from chronicle.access.pages.report import quality_page

        first, last = self._range(start, end)
        return quality_page(self, self._with_channel(symbol, "book"), first, last)

    def plot_html(self, symbol: str, start: Any = None, end: Any = None) -> str:
        """Return price, spread and a heat map of the depth of `symbol` as one HTML page."""
        from chronicle.access.pages.report import plot_page

        first, last = self._range(start, end)
        return plot_page(self, self._with_channel(symbol, "book"), first, last)

    def plot_png(self, symbol: str, start: Any = None, end: Any = None, *, dpi: int = 120) -> bytes:
        """Return price, spread and a heat map of the depth of `symbol` as a PNG image (extra ``plot``).

        Raises
        ------
        ConfigError
            When matplotlib is not installed, or `dpi` is out of 30 to 600.
        """
        from chronicle.access.pages.images import plot_image

        first, last = self._range(start, end)
        return plot_image(self, self._with_channel(symbol, "book"), first, last, dpi=dpi)
