"""From decimal texts to mantissas of an instrument: the part of decoding that every text venue shares.

The common message costs one pass. A message that the instrument's present exponents cannot hold goes the slow way:
the exponents grow first (a redefinition in the same event, before the records that need it), then each number is
read alone, so that one unreadable level does not take the others with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from chronicle.core import decimals
from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MAX, NONE, Side, StatusCode
from chronicle.feed.instruments import Instrument, InstrumentRegistry, VenueRules

__all__ = ["Level", "LevelReader", "Levels", "add_deltas", "known", "wire_decimals"]

Level = tuple[int, int]
Levels = list["Level | None"]
"""(price, size) mantissas in the order of the rows; None where a row could not be read."""

_POWERS: Final = tuple(10**places for places in range(decimals.EXPONENT_MAX + 1))
_DIGITS_MAX: Final = 18
PROBLEMS_MAX: Final = 8
"""How many unreadable levels an error names; all are counted."""


def quick_mantissa(text: Any, exponent: int) -> int:
    """Return the mantissa of a plain non-negative decimal text, or -1 where the slow way must decide."""
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    shift = exponent - len(fraction)
    if shift < 0 or len(digits) > _DIGITS_MAX or not (whole and digits.isdigit() and digits.isascii()):
        return -1
    value = int(digits) * _POWERS[shift] if shift else int(digits)
    return value if value <= INT64_MAX else -1


class LevelReader:
    """Reads the (price, size) rows of one message of one instrument, and remembers what it could not read.

    Parameters
    ----------
    registry : InstrumentRegistry
        Numbers the instrument and holds its exponents.
    out : EventBuilder
        Gets the INSTRUMENT record when one is due.
    venue, venue_symbol : str
        Whose numbers these are.
    channel : str
        ``book``, ``trade`` or ``quote``: what cannot be trusted when something cannot be read.
    rules : VenueRules, optional
        What holds for the instrument instead of its venue's rules.
    """

    __slots__ = (
        *("_out", "_registry", "_venue", "_venue_symbol"),
        *("channel", "instrument", "problem_count", "problems", "reported", "rules"),
    )

    def __init__(
        self,
        registry: InstrumentRegistry,
        out: EventBuilder,
        venue: str,
        venue_symbol: str,
        channel: str,
        *,
        rules: VenueRules | None = None,
    ) -> None:
        self.channel = channel
        self.rules = rules
        self.reported = False
        self._registry = registry
        self._out = out
        self._venue = venue
        self._venue_symbol = venue_symbol
        self.instrument: Instrument
        self.problems: list[str] = []
        self.problem_count = 0

    def read(
        self,
        *sides: Sequence[Any],
        book_depth: int | None = None,
        check_decimals: tuple[int, int] | None = None,
    ) -> list[Levels]:
        """Return the levels of each of `sides`, whose rows start with price and size texts.

        A row that cannot be read (no decimal text, negative size, more than int64 holds) becomes None and is
        counted in `problem_count`.
        """
        instrument = self._registry.current(self._venue, self._venue_symbol)
        if (
            instrument is not None
            and (self.rules is None or instrument.rules is self.rules)
            and (book_depth is None or instrument.book_depth == book_depth)
            and (
                check_decimals is None
                or (instrument.check_price_decimals, instrument.check_size_decimals) == check_decimals
            )
        ):
            quick = _quick_sides(instrument, sides)
            if quick is not None:
                self.instrument = instrument
                return quick
        texts = [row for rows in sides for row in rows if isinstance(row, (list, tuple)) and len(row) >= 2]
        self.instrument = self._registry.use(
            self._out,
            self._venue,
            self._venue_symbol,
            [row[0] for row in texts],
            [row[1] for row in texts],
            book_depth=book_depth,
            check_decimals=check_decimals,
            rules=self.rules,
        )
        return [[self._slow(row) for row in rows] for rows in sides]

    def report(self) -> None:
        """Add a STATUS of the instrument when something of the message could not be read."""
        if self.problem_count:
            details = {
                "channel": self.channel,
                "problem": "; ".join(self.problems),
                "count": self.problem_count,
            }
            self._out.status(StatusCode.DECODE_ERROR, details, instrument=self.instrument.number)
            self.reported = True

    def fail(self, problem: str) -> None:
        """Add a STATUS of the instrument whose message could not be read at all; at most one a message."""
        if not self.reported:
            self.instrument = self._registry.current(self._venue, self._venue_symbol) or self._registry.use(
                self._out, self._venue, self._venue_symbol, rules=self.rules
            )
            self.problem(problem)
            self.report()

    def finish(self) -> None:
        """Raise what `report` told the stream; called after the rest of the event was added.

        Raises
        ------
        DecodeError
            When something of the message could not be read.
        """
        if self.problem_count:
            raise DecodeError(
                f"cannot read {self.problem_count} rows of a message of {self._venue} {self._venue_symbol}",
                found="; ".join(self.problems),
                hint="the rest of the message is kept; the instrument's book is not trusted until a snapshot",
            )

    def problem(self, text: str) -> None:
        """Count something of the message that could not be read."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text[:200])

    def _slow(self, row: Any) -> Level | None:
        instrument = self.instrument
        try:
            price = decimals.mantissa(row[0], instrument.price_exponent)
            size = decimals.mantissa(row[1], instrument.size_exponent)
        except (DecodeError, TypeError, ValueError, LookupError, AttributeError) as error:
            self.problem(str(error))
            return None
        if size < 0:
            self.problem(f"the size {row[1]!r} is negative")
            return None
        instrument.price_most = max(instrument.price_most, abs(price))
        instrument.size_most = max(instrument.size_most, size)
        return price, size


def _quick_sides(instrument: Instrument, sides: tuple[Sequence[Any], ...]) -> list[Levels] | None:
    """Return the levels of all sides, or None when any number needs the slow way."""
    price_exponent, size_exponent = instrument.price_exponent, instrument.size_exponent
    price_most, size_most = instrument.price_most, instrument.size_most
    found: list[Levels] = []
    try:
        for rows in sides:
            levels: Levels = []
            for row in rows:
                price, size = quick_mantissa(row[0], price_exponent), quick_mantissa(row[1], size_exponent)
                if price < 0 or size < 0:
                    return None
                if price > price_most:
                    price_most = price
                if size > size_most:
                    size_most = size
                levels.append((price, size))
            found.append(levels)
    except (AttributeError, TypeError, ValueError, LookupError):
        return None
    instrument.price_most, instrument.size_most = price_most, size_most
    instrument.misfits[0] = instrument.misfits[1] = 0
    return found


def known(levels: Levels) -> list[Level]:
    """Return the levels that could be read."""
    return [level for level in levels if level is not None]


def add_deltas(
    out: EventBuilder,
    number: int,
    side: Side,
    levels: Levels,
    *,
    ts_event: int,
    sequence: int = -1,
    sequence_first: int = -1,
    sequence_previous: int = -1,
) -> None:
    """Add a BOOK_DELTA for each level that could be read."""
    out.deltas(
        number,
        side,
        levels,
        ts_event=ts_event,
        sequence=sequence,
        sequence_first=sequence_first,
        sequence_previous=sequence_previous,
    )


def wire_decimals(rows: Sequence[Any], before: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the wire's fixed decimals (price, size) as the first of `rows` writes them, at least `before`."""
    try:
        price, size = rows[0][0], rows[0][1]
        places = (
            len(price) - price.index(".") - 1 if "." in price else 0,
            len(size) - size.index(".") - 1 if "." in size else 0,
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        return before if before != (NONE, NONE) else None
    places = (min(places[0], 18), min(places[1], 18))
    return places if before is None else (max(places[0], before[0]), max(places[1], before[1]))
