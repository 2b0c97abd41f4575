"""The questions of a store that are answered by books."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from chronicle.access.books.lookup import book_at
from chronicle.access.opened.asked import check_depth, step_ns
from chronicle.access.opened.opened import OpenedPlaces
from chronicle.access.opened.symbols import is_pattern
from chronicle.core.errors import BookNotTrustedError, ConfigError

if TYPE_CHECKING:
    from chronicle.access.books.best import Best
    from chronicle.access.books.book import Book, BookOrder
    from chronicle.access.books.books import Books
    from chronicle.access.books.many import ManyBooks
    from chronicle.access.ranges.columns import Decimals

__all__ = ["BookQuestions"]


class BookQuestions(OpenedPlaces):
    """A book at a moment, books over a range, books of many instruments, best prices."""

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
        moment = None if at is None else self._moment(at)
        if depth is not None:
            check_depth(depth)
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
        from chronicle.access.books.books import Books
        from chronicle.access.ranges.columns import check_decimals

        check_depth(depth)
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
        step = 0 if on == "event" else step_ns("1s" if every is None else every)
        first, last = self._bounds(name, start, end)
        return Books(self._shelf, name, first, last, every=step, depth=depth, decimals=decimals)

    def _books_at(self, symbols: str | Sequence[str], at: Any, depth: int, decimals: Decimals) -> ManyBooks:
        from chronicle.access.books.many import ManyBooks
        from chronicle.access.books.sampling import exponents_in

        several = hasattr(at, "__iter__") and not isinstance(at, str)
        moments = [self._moment(moment) for moment in (at if several else [at])]
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

    def bbo(self, symbol: str, start: Any = None, end: Any = None, *, decimals: Decimals = "float") -> Best:
        """Return the best bid and ask of `symbol` in [start, end) as columns: a row for each change."""
        from chronicle.access.books.best import Best
        from chronicle.access.ranges.columns import check_decimals

        check_decimals(decimals)
        name = self._with_channel(symbol, "book")
        first, last = self._bounds(name, start, end)
        return Best(self._shelf, name, first, last, decimals=decimals)
