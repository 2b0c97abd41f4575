"""Partitions: a range cut into units that workers elsewhere read on their own.

A unit is plain values and opens the store by its place, once a process: it pickles, and needs nothing of the
process that made it. Units follow one another in time without overlap, so all of them together are the range, each
record once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from os import getpid
from typing import TYPE_CHECKING, Any

from chronicle.access.libraries import library
from chronicle.access.opened.lanes import lanes_of
from chronicle.core.errors import ConfigError
from chronicle.core.layout import INT64_MAX, INT64_MIN

if TYPE_CHECKING:
    from chronicle.access.books.books import Books
    from chronicle.access.opened.segments import Shelf
    from chronicle.access.ranges.scan import Scan
    from chronicle.access.store import Store

__all__ = ["Partition", "cut", "to_dask"]


Bytes = bytes
"""The type, where an attribute has its name."""


@dataclass(frozen=True, slots=True)
class Partition:
    """The records of one channel of one instrument in [start, end).

    Attributes
    ----------
    places : tuple of str
        What a worker opens; it must see them under the same names.
    symbol, channel : str
    start, end : int
        ns on ts_recv, clipped to the range that was asked for.
    records, bytes : int
        About how many records and sealed bytes lie in it.
    options : tuple of (str, value)
        How :meth:`scan` reads: columns, where, kinds, decimals.
    stores : tuple of (str, value)
        The options of the stores behind URLs, as ``chronicle.open`` takes them.
    version : int, optional
        Of the clean queues, where the store was opened on one; what ``as_of`` chose is fixed here, so that a rebuild
        meanwhile changes no worker's answer.
    """

    places: tuple[str, ...]
    symbol: str
    channel: str
    start: int
    end: int
    records: int
    bytes: int
    options: tuple[tuple[str, Any], ...] = ()
    stores: tuple[tuple[str, Any], ...] = ()
    version: int | None = None

    def opened(self) -> Store:
        """Return this process' store of the unit's places."""
        return _opened(self.places, self.stores, self.version, getpid())

    def ticket(self) -> Bytes:
        """Return the unit for a Flight server of the same store (``chronicle flight``): ``Ticket(unit.ticket())``.

        What a server serves is its own store, so neither places nor version are in it.
        """
        from chronicle.access.ranges.tickets import Ticket

        if not isinstance(dict(self.options).get("where", ""), str):
            raise ConfigError("a ticket carries a condition as text", expected="where=\"side == 'bid'\"")
        start = None if self.start == INT64_MIN else self.start
        end = None if self.end == INT64_MAX else self.end
        return Ticket(self.symbol, self.channel, start, end, **dict(self.options)).pack()

    def scan(self) -> Scan:
        """Return the records, as :meth:`Store.scan` gives them."""
        start = None if self.start == INT64_MIN else self.start
        end = None if self.end == INT64_MAX else self.end
        return self.opened().scan(self.symbol, self.channel, start, end, **dict(self.options))

    def books(self, **options: Any) -> Books:
        """Return books over the unit's time, as :meth:`Store.books` samples them (``every`` or ``on``, ``depth``)."""
        return self.opened().books(self.symbol, self.start, self.end, **options)

    def to_arrow(self) -> Any:
        """Return the records as a pyarrow.Table."""
        return self.scan().to_arrow()

    def to_pandas(self) -> Any:
        """Return the records as a pandas.DataFrame."""
        return self.scan().to_pandas()


@cache
def _opened(places: tuple[str, ...], stores: tuple[tuple[str, Any], ...], version: int | None, process: int) -> Store:
    """Return this process' store of these places; it stays open for the units that follow."""
    del process  # part of the key: a fork's copy is not its own
    from chronicle.access.store import Store

    return Store(places[0] if len(places) == 1 else list(places), options=dict(stores), version=version)


def cut(
    shelf: Shelf,
    places: tuple[str, ...],
    symbol: str,
    channel: str,
    start: int | None,
    end: int | None,
    *,
    records: int,
    options: tuple[tuple[str, Any], ...],
    stores: tuple[tuple[str, Any], ...],
    version: int | None = None,
) -> Iterator[Partition]:
    """Yield the units of `symbol` in order of time, of about `records` records each.

    Cuts lie at times of the seek indexes of the segments, which events never straddle.
    """
    if records < 1:
        raise ConfigError("a partition holds at least one record", expected=">= 1", found=records)
    marks: list[tuple[int, int, int]] = []
    for lane in lanes_of(shelf, symbol, channel, fresh=True):
        for info in shelf.segments(lane.queue, fresh=True):
            if (start is not None and info.ts_last < start) or (end is not None and info.ts_first >= end):
                continue
            table = shelf.open(info).seek()
            share = max(1, info.size_bytes // max(1, len(table)))
            ends = [*table.index[1:], info.end_index]
            marks += [
                (ts, after - index, share) for ts, index, after in zip(table.ts, table.index, ends, strict=True)
            ]
    marks.sort()
    first, held, size = INT64_MIN if start is None else start, 0, 0
    for ts, count, share in marks:
        if held >= records and ts > first and (end is None or ts < end):
            yield Partition(places, symbol, channel, first, ts, held, size, options, stores, version)
            first, held, size = ts, 0, 0
        held, size = held + count, size + share
    if held:
        yield Partition(
            places, symbol, channel, first, INT64_MAX if end is None else end, held, size, options, stores, version
        )


def to_dask(partitions: list[Partition]) -> Any:
    """Return a dask.dataframe with a partition for each unit; nothing is read before it is computed.

    Raises
    ------
    ConfigError
        When dask is not installed, or there is no unit.
    """
    frames = library("dask.dataframe", "dask")
    if not partitions:
        raise ConfigError("there is nothing to make a frame of", hint="store.partitions(...) gave no unit")
    symbols = sorted({unit.symbol for unit in partitions})
    return frames.from_map(_Reader(tuple(symbols)), partitions, meta=_meta(partitions[0], symbols))


class _Reader:
    """Reads a unit; words of all units have the same categories, as dask's meta says."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self._symbols = symbols

    def __call__(self, unit: Partition) -> Any:
        return _same_symbols(unit.to_pandas(), self._symbols)


def _meta(unit: Partition, symbols: list[str]) -> Any:
    start = None if unit.start == INT64_MIN else unit.start
    scan = unit.opened().scan(unit.symbol, unit.channel, start, start, **dict(unit.options))
    return _same_symbols(scan.to_pandas().iloc[:0], symbols)


def _same_symbols(frame: Any, symbols: Any) -> Any:
    if "symbol" in frame:
        frame["symbol"] = frame["symbol"].cat.set_categories(list(symbols))
    return frame
