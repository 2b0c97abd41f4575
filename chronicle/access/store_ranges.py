"""The questions of a store that are answered by records: scans, units for workers, replays, tails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from chronicle.access.opened.asked import place_text, step_ns
from chronicle.access.opened.opened import OpenedPlaces
from chronicle.access.opened.symbols import is_pattern

if TYPE_CHECKING:
    from chronicle.access.ranges.columns import Decimals
    from chronicle.access.ranges.partitions import Partition
    from chronicle.access.ranges.replay import Event, Order, Replay
    from chronicle.access.ranges.scan import Scan

__all__ = ["RangeQuestions"]


class RangeQuestions(OpenedPlaces):
    """Records of a range as columns, as units, as events in order of time, and on into the live end."""

    def scan(
        self,
        symbols: str | Sequence[str] | None = None,
        channel: str = "book",
        start: Any = None,
        end: Any = None,
        *,
        columns: Sequence[str] | None = None,
        where: str | Sequence[tuple[str, str, Any]] | None = None,
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
        where : str or sequence of (column, sign, value), optional
            Only rows that pass, as ``"side == 'bid' and price >= 62985.1"``; of any columns, compared exactly. What
            it rules out by ``ts_recv``, ``symbol`` and ``kind`` is not read at all. Batches then hold rows, not whole
            events.
        kinds : sequence of str, optional
            Of a book: ``delta``, ``snapshot`` (both by default), ``order`` (by default where orders make the book).
        lanes : sequence of int, optional
            Default every lane but redundant lines (1000 and up).
        decimals : "float", "int" or "decimal"
            How prices and sizes leave.
        """
        from chronicle.access.ranges.columns import check_decimals
        from chronicle.access.ranges.scan import Scan, columns_of

        columns_of(channel)
        check_decimals(decimals)
        first, last = self._range(start, end)
        names = self._names(symbols)
        if names and not any(channel in self._directory.channels(name) for name in names):
            self._with_channel(names[0], channel)
        place = self._shelf, names, channel, first, last
        if where is not None:
            from chronicle.access.ranges.filtered import FilteredScan
            from chronicle.access.ranges.where import parse_where

            return FilteredScan(
                *place,
                where=parse_where(where),
                resolve=self.resolve,
                columns=columns,
                kinds=kinds,
                lanes=lanes,
                decimals=decimals,
            )
        return Scan(*place, columns=columns, kinds=kinds, lanes=lanes, decimals=decimals)

    def partitions(
        self,
        symbols: str | Sequence[str] | None = None,
        channel: str = "book",
        start: Any = None,
        end: Any = None,
        *,
        records: int = 1_000_000,
        columns: Sequence[str] | None = None,
        where: str | Sequence[tuple[str, str, Any]] | None = None,
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
        columns, where, kinds, decimals
            As :meth:`scan` takes them; a unit's ``scan()`` uses them.
        """
        from chronicle.access.ranges.columns import check_decimals
        from chronicle.access.ranges.partitions import cut
        from chronicle.access.ranges.scan import columns_of
        from chronicle.access.trust.versions import chosen_version

        columns_of(channel)
        check_decimals(decimals)
        first, last = self._range(start, end)
        given = [self._places] if isinstance(self._places, str | PathLike) else list(self._places)
        places = tuple(place_text(place) for place in given)
        chosen: dict[str, Any] = {
            "columns": None if columns is None else tuple(columns),
            "kinds": None if kinds is None else tuple(kinds),
            "decimals": decimals,
        }
        if where is not None:
            from chronicle.access.ranges.where import parse_where

            parse_where(where)
            chosen["where"] = where if isinstance(where, str) else tuple(tuple(part) for part in where)
        options, stores = tuple(chosen.items()), tuple(sorted(self._options.items()))
        version = self._version
        if self._as_of is not None:
            version = chosen_version(self._places, None, self._as_of).number
        return [
            unit
            for name in self._names(symbols)
            for unit in cut(
                self._shelf,
                places,
                name,
                channel,
                first,
                last,
                records=records,
                options=options,
                stores=stores,
                version=version,
            )
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
        from chronicle.access.ranges.replay import Replay

        first, last = self._range(start, end)
        return Replay(
            self._shelf,
            self._names(symbols),
            first,
            last,
            channels=[channels] if isinstance(channels, str) else list(channels),
            speed=speed,
            order=order,
            reorder_ns=0 if reorder == 0 else step_ns(reorder),
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
        from chronicle.access.ranges.tail import tail

        first = None if start is None else self._moment(start)
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
