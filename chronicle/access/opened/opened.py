"""What every question of a store starts from: its places, opened, and the names of what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import getpid
from typing import TYPE_CHECKING, Any, Self

from chronicle.access.opened.asked import MISTAKEN_NS_MAX, check_unit, time_range
from chronicle.access.opened.places import Location, open_version
from chronicle.access.opened.segments import Shelf
from chronicle.access.opened.symbols import Directory, is_pattern
from chronicle.core.errors import ConfigError, NotFoundError, RangeError, SymbolError
from chronicle.core.paths import CHANNELS
from chronicle.core.times import parse_time

if TYPE_CHECKING:
    from types import TracebackType

    from chronicle.access.opened.catalog import Coverage, Instrument

__all__ = ["OpenedPlaces"]

LOOKED_AT_MAX = 16
"""Instruments whose first time is looked at, where a time given as int is in doubt."""


class OpenedPlaces:
    """Places, the segments in them, and the instruments that they hold."""

    def __init__(
        self,
        places: Location | Sequence[Location],
        *,
        options: Mapping[str, Any] | None = None,
        version: int | None = None,
        as_of: Any = None,
    ) -> None:
        self._places = places
        self._options = dict(options or {})
        self._version, self._as_of = version, as_of
        self._open()

    def _open(self) -> None:
        self._process = getpid()
        self._shelf_here = Shelf(open_version(self._places, self._version, self._as_of, self._options))
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release every segment. Arrays that were handed out stay valid."""
        self._shelf.close()

    def instruments(self) -> list[Instrument]:
        """Return the captured instruments, by symbol."""
        from chronicle.access.opened.catalog import instruments_of

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
        from chronicle.access.opened.catalog import coverage_of

        if channel is not None and channel not in CHANNELS:
            raise ConfigError(f"there is no channel {channel!r}", expected=" | ".join(CHANNELS), found=channel)
        return coverage_of(self._shelf, self._directory, self.resolve(symbol), channel)

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

    def _moment(self, value: Any) -> int:
        """Return a moment in ns; an int that looks like another unit is refused, unless data are of that time."""
        self._check_unit(value)
        return parse_time(value)

    def _range(self, start: Any, end: Any) -> tuple[int | None, int | None]:
        """Return [start, end) in ns; ints as :meth:`_moment` takes them."""
        self._check_unit(start, end)
        return time_range(start, end)

    def _check_unit(self, *values: Any) -> None:
        try:
            check_unit(*values)
        except RangeError:
            for symbol in self._directory.matching(None)[:LOOKED_AT_MAX]:
                kept = self.coverage(symbol)
                if kept.segments and kept.ts_first < MISTAKEN_NS_MAX:
                    return  # made-up times that begin at 0
            raise

    def _bounds(self, symbol: str, start: Any, end: Any) -> tuple[int, int]:
        first, last = self._range(start, end)
        if first is not None and last is not None:
            return first, last
        covered = self.coverage(symbol, "book")
        first = covered.ts_first if first is None else first
        return first, max(covered.ts_last + 1, first) if last is None else last
