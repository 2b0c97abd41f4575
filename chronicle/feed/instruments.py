"""The instruments of one raw queue: their numbers, and when their definition must be written again.

An adapter asks the registry for an instrument before it adds records of it. The registry adds the INSTRUMENT record
where the stream does not say it yet: before the first use, and when an exponent, a depth or the venue's list changed.
Exponents only grow: what was stored at four decimals stays exact at five. The exception is an exponent that does not
hold what the venue sends now, message after message: it was set, or kept from growing, by a number that was wrong.
One such number, whatever it says, must not spoil the messages after it.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from chronicle.core import decimals
from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MAX, NONE, CheckRule, Kind, SequenceRule
from chronicle.core.records import InstrumentFields
from chronicle.feed.symbology import Symbol, from_venue

__all__ = ["Instrument", "InstrumentRegistry", "InstrumentState", "Listing", "VenueRules"]

INSTRUMENTS_MAX: Final = 1 << 20
"""Bound on instruments and on listings of a registry: a hostile feed must not eat the memory."""


MISFITS_MAX: Final = 3
"""So many messages one after another whose numbers the exponent does not hold are evidence against the exponent."""
MISFITS_NS: Final = 600 * 10**9
"""Longer apart they are not of one kind: compiled scans do not tell here that all was well in between."""

_DECIMAL = re.compile(r"[-+]?\d{1,40}(\.\d{0,40})?([eE][-+]?\d{1,2})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class VenueRules:
    """What holds for every instrument of a venue; exponents are the least ones."""

    driver: int = Kind.BOOK_DELTA
    check_rule: int = CheckRule.NONE
    sequence_rule: int = SequenceRule.NONE
    price_exponent: int = 0
    size_exponent: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """One entry of a venue's instrument list. `tick` and `lot` are decimal texts, empty when the list says none."""

    venue_symbol: str
    symbol: Symbol
    tick: str = ""
    lot: str = ""
    extras: Mapping[str, Any] = field(default_factory=dict)


class InstrumentState(ctypes.Structure):
    """The numbers of an instrument as 64-bit words in memory: Python reads them as attributes, the kernels that scan
    messages by their address. There is one copy, so that neither side can be behind the other.

    Attributes
    ----------
    price_most, size_most : int
        Greatest mantissas seen: an exponent does not grow past what they can follow.
    current : int
        Whether the stream says all that is known (0 or 1).
    """

    __slots__ = ()
    _fields_ = (
        ("number", ctypes.c_int64),
        ("price_exponent", ctypes.c_int64),
        ("size_exponent", ctypes.c_int64),
        ("price_most", ctypes.c_int64),
        ("size_most", ctypes.c_int64),
        ("book_depth", ctypes.c_int64),
        ("check_price_decimals", ctypes.c_int64),
        ("check_size_decimals", ctypes.c_int64),
        ("current", ctypes.c_int64),
    )

    if TYPE_CHECKING:
        number: int
        price_exponent: int
        size_exponent: int
        price_most: int
        size_most: int
        book_depth: int
        check_price_decimals: int
        check_size_decimals: int
        current: int


class Instrument(InstrumentState):
    """One instrument as the stream knows it now; `number` never changes."""

    __slots__ = ("details", "fields", "lot", "misfit_ts", "misfits", "rules", "tick", "venue", "venue_symbol")

    def __init__(self, number: int, venue: str, venue_symbol: str, details: dict[str, Any]) -> None:
        super().__init__()
        self.number = number
        self.venue = venue
        self.venue_symbol = venue_symbol
        self.details = details
        self.check_price_decimals = NONE
        self.check_size_decimals = NONE
        self.misfit_ts = 0
        self.misfits = [0, 0]
        """Messages in a row whose prices, and whose sizes, the exponent did not hold."""
        self.tick = Decimal(0)
        self.lot = Decimal(0)
        self.fields: InstrumentFields | None = None
        """What the last INSTRUMENT record said."""
        self.rules: VenueRules | None = None
        """Its own, where the capture differs from the venue's other feeds."""

    @property
    def symbol(self) -> str:
        """Canonical name."""
        return str(self.details["symbol"])


class InstrumentRegistry:
    """Numbers of (venue, venue symbol), from 1, and the INSTRUMENT records that define them.

    Examples
    --------
    >>> registry, out = InstrumentRegistry(), EventBuilder()
    >>> out.begin(ts_recv=1)
    >>> registry.use(out, "binance", "BTCUSDT", ["61837.63"], ["0.5"]).price_exponent, len(out)
    (2, 1)
    >>> registry.use(out, "binance", "BTCUSDT", ["61837.6"], ["0.5"]).price_exponent, len(out)
    (2, 1)
    """

    def __init__(self) -> None:
        self._instruments: dict[tuple[str, str], Instrument] = {}
        self._listings: dict[tuple[str, str], Listing] = {}
        self._rules: dict[str, VenueRules] = {}
        self._next = 1

    def set_rules(self, venue: str, rules: VenueRules) -> None:
        """Say what holds for every instrument of `venue`; its adapter does so when it is made."""
        self._rules[venue] = rules
        for instrument in self._instruments.values():
            if instrument.venue == venue and not _follows(instrument, rules):
                instrument.current = 0

    def restore(self, number: int, fields: InstrumentFields) -> None:
        """Take back what an earlier writer of the same raw queue declared (its last INSTRUMENT of `number`)."""
        details = dict(fields.details or {})
        venue, venue_symbol = str(details.get("venue", "")), fields.venue_symbol
        if details.get("market"):  # one name in several markets of a venue
            venue_symbol = f"{details['market']}|{venue_symbol}"
        instrument = Instrument(number, venue, venue_symbol, details)
        instrument.price_exponent, instrument.size_exponent = fields.price_exponent, fields.size_exponent
        instrument.book_depth = fields.book_depth
        instrument.check_price_decimals = fields.check_price_decimals
        instrument.check_size_decimals = fields.check_size_decimals
        instrument.tick = decimals.to_decimal(fields.tick, fields.price_exponent)
        instrument.lot = decimals.to_decimal(fields.lot, fields.size_exponent)
        instrument.fields = fields
        listing = self._listings.get((venue, venue_symbol))
        if listing is not None:
            _adopt(instrument, listing)
        instrument.current = int(listing is None and _follows(instrument, self._rules.get(venue)))
        replaced = self._instruments.get((venue, venue_symbol))
        if replaced is not None:
            replaced.current = 0  # who still holds it must ask again
        self._instruments[venue, venue_symbol] = instrument
        self._next = max(self._next, number + 1)

    def learn(self, venue: str, listings: Iterable[Listing]) -> int:
        """Keep a venue's instrument list; nothing is written until an instrument is used. Return how many.

        Raises
        ------
        DecodeError
            When the lists of this registry exceed ``INSTRUMENTS_MAX``.
        """
        count = 0
        for listing in listings:
            key = (venue, listing.venue_symbol)
            if len(self._listings) >= INSTRUMENTS_MAX and key not in self._listings:
                raise DecodeError("the venues' lists hold too many instruments", expected=INSTRUMENTS_MAX)
            count += 1
            if self._listings.get(key) != listing:
                self._listings[key] = listing
                instrument = self._instruments.get(key)
                if instrument is not None:
                    _adopt(instrument, listing)
                    instrument.current = 0
        return count

    def is_listed(self, venue: str, venue_symbol: str) -> bool:
        """Return whether the venue's list, as far as it was learned, has `venue_symbol`."""
        return (venue, venue_symbol) in self._listings

    def listed_names(self, venue: str) -> dict[str, str]:
        """Return the venue's own spelling of each canonical name in its list; empty when none was learned."""
        return {listing.symbol.name: own for (place, own), listing in self._listings.items() if place == venue}

    def current(self, venue: str, venue_symbol: str) -> Instrument | None:
        """Return the instrument when the stream already says all that is known of it, else None (then `use` it)."""
        instrument = self._instruments.get((venue, venue_symbol))
        return instrument if instrument is not None and instrument.current else None

    def instruments(self) -> list[Instrument]:
        """Return every instrument that was numbered, in the order of the numbers."""
        return list(self._instruments.values())

    def definitions(self) -> dict[int, InstrumentFields]:
        """Return the last INSTRUMENT of each number, as a prologue needs them."""
        return {item.number: item.fields for item in self._instruments.values() if item.fields is not None}

    def use(
        self,
        out: EventBuilder,
        venue: str,
        venue_symbol: str,
        price_texts: Iterable[str] = (),
        size_texts: Iterable[str] = (),
        *,
        book_depth: int | None = None,
        check_decimals: tuple[int, int] | None = None,
        rules: VenueRules | None = None,
    ) -> Instrument:
        """Return the instrument, its definition being in the stream or in `out`.

        Parameters
        ----------
        out : EventBuilder
            Gets an INSTRUMENT record when the stream does not say yet what is known now.
        venue, venue_symbol : str
            The venue and its own spelling.
        price_texts, size_texts : iterable of str
            Decimal texts of the message at hand: the exponents grow to the longest, as far as all of them (and
            all numbers before) still fit int64. After ``MISFITS_MAX`` messages in a row that do not fit they become
            what this message needs, and what was before does not count.
        book_depth : int, optional
            Depth that the venue keeps for its book (0: unlimited).
        check_decimals : (int, int), optional
            Fixed decimals of price and size in the venue's checksum text.
        rules : VenueRules, optional
            What holds for this instrument instead of its venue's rules, from now on.

        Raises
        ------
        DecodeError
            When there are more than ``INSTRUMENTS_MAX`` instruments.
        SymbolError
            When `venue_symbol` cannot be a name.
        """
        instrument = self._instruments.get((venue, venue_symbol)) or self._add(venue, venue_symbol)
        if rules is not None:
            instrument.rules = rules
            instrument.price_exponent = max(instrument.price_exponent, rules.price_exponent)
            instrument.size_exponent = max(instrument.size_exponent, rules.size_exponent)
        _fit(instrument, list(price_texts), list(size_texts), out.ts_recv)
        if book_depth is not None:
            instrument.book_depth = book_depth
        if check_decimals is not None:
            instrument.check_price_decimals, instrument.check_size_decimals = check_decimals
        fields = self._fields(instrument)
        if fields != instrument.fields:
            out.instrument(instrument.number, fields)
            instrument.fields = fields
        instrument.current = 1
        return instrument

    def _add(self, venue: str, venue_symbol: str) -> Instrument:
        if len(self._instruments) >= INSTRUMENTS_MAX:
            raise DecodeError("the feed names too many instruments", expected=INSTRUMENTS_MAX, found=venue_symbol)
        listing = self._listings.get((venue, venue_symbol))
        symbol = listing.symbol if listing else from_venue(venue, venue_symbol)
        market, _, own = venue_symbol.rpartition("|")  # one name in several markets of a venue
        details = {"symbol": symbol.name, "venue": venue, "venue_symbol": own}
        if market:
            details["market"] = market
        details |= {"base": symbol.base, "quote": symbol.quote, "type": symbol.kind, "from": "wire"}
        instrument = Instrument(self._next, venue, venue_symbol, details)
        rules = self._rules.get(venue, VenueRules())
        instrument.price_exponent, instrument.size_exponent = rules.price_exponent, rules.size_exponent
        if listing is not None:
            _adopt(instrument, listing)
        self._instruments[venue, venue_symbol] = instrument
        self._next += 1
        return instrument

    def _fields(self, instrument: Instrument) -> InstrumentFields:
        rules = instrument.rules or self._rules.get(instrument.venue, VenueRules())
        return InstrumentFields(
            price_exponent=instrument.price_exponent,
            size_exponent=instrument.size_exponent,
            driver=rules.driver,
            check_rule=rules.check_rule,
            sequence_rule=rules.sequence_rule,
            check_price_decimals=instrument.check_price_decimals,
            check_size_decimals=instrument.check_size_decimals,
            book_depth=instrument.book_depth,
            tick=_scaled(instrument.tick, instrument.price_exponent),
            lot=_scaled(instrument.lot, instrument.size_exponent),
            details=dict(instrument.details),
        )


def _follows(instrument: Instrument, rules: VenueRules | None) -> bool:
    """Whether the stream's last definition is of `rules`: one of another capture format may not be."""
    fields = instrument.fields
    if fields is None or rules is None or instrument.rules is not None:
        return True
    own = (fields.driver, fields.check_rule, fields.sequence_rule)
    return own == (rules.driver, rules.check_rule, rules.sequence_rule)


def _adopt(instrument: Instrument, listing: Listing) -> None:
    """Take over what the venue's list says. The name under which the stream knows the instrument stays."""
    symbol = listing.symbol
    instrument.details |= {"base": symbol.base, "quote": symbol.quote, "type": symbol.kind, "from": "list"}
    instrument.details |= {key: value for key, value in listing.extras.items() if key != "market"}
    instrument.price_exponent = _grown(instrument.price_exponent, instrument.price_most, [_stripped(listing.tick)])
    instrument.size_exponent = _grown(instrument.size_exponent, instrument.size_most, [_stripped(listing.lot)])
    instrument.tick = _number(listing.tick) or Decimal(0)
    instrument.lot = _number(listing.lot) or Decimal(0)


def _fit(instrument: Instrument, price_texts: list[str], size_texts: list[str], ts_recv: int) -> None:
    """Let the exponents hold the numbers of a message, where that is possible and right."""
    if ts_recv - instrument.misfit_ts > MISFITS_NS:
        instrument.misfits = [0, 0]
    for place, (name, texts) in enumerate((("price", price_texts), ("size", size_texts))):
        exponent, most = getattr(instrument, f"{name}_exponent"), getattr(instrument, f"{name}_most")
        grown = _grown(exponent, most, texts)
        most = min(most * 10 ** (grown - exponent), INT64_MAX)
        numbers = _readable(texts)
        if not numbers or _holds(grown, numbers):
            instrument.misfits[place] = 0
        else:
            instrument.misfits[place] += 1
            instrument.misfit_ts = ts_recv
            step = (instrument.tick, instrument.lot)[place]
            own = max(*(places for places, _ in numbers), max(-int(step.normalize().as_tuple().exponent), 0))
            if instrument.misfits[place] >= MISFITS_MAX and _holds(own, numbers):
                grown, most = own, int(max(value for _, value in numbers).scaleb(own))
                instrument.misfits[place] = 0
        setattr(instrument, f"{name}_exponent", grown)
        setattr(instrument, f"{name}_most", most)


def _readable(texts: Iterable[str]) -> list[tuple[int, Decimal]]:
    """Return (decimals, absolute value) of the numbers that int64 can hold by themselves."""
    found = []
    for text in texts:
        value = _number(text)
        if value is not None and value.is_finite():
            places = max(-int(value.normalize().as_tuple().exponent), 0)
            if places <= decimals.EXPONENT_MAX and abs(value).scaleb(places) <= INT64_MAX:
                found.append((places, abs(value)))
    return found


def _holds(exponent: int, numbers: list[tuple[int, Decimal]]) -> bool:
    """Whether all `numbers` are whole at `exponent` and fit int64."""
    return all(places <= exponent and value.scaleb(exponent) <= INT64_MAX for places, value in numbers)


def _number(text: object) -> Decimal | None:
    """Return the value of a decimal text, or None when it is none (who reads the message will say so)."""
    return Decimal(text) if isinstance(text, str) and _DECIMAL.fullmatch(text) else None


def _stripped(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _scaled(value: Decimal, exponent: int) -> int:
    scaled = value.scaleb(exponent)
    return int(scaled) if scaled == scaled.to_integral_value() and 0 < scaled <= INT64_MAX else 0


def _grown(exponent: int, most: int, texts: Iterable[str]) -> int:
    """Return the longest decimals of `texts` at which all of them and `most` fit int64, at least `exponent`."""
    numbers = [(text, value) for text in texts if (value := _number(text)) is not None]
    bound = decimals.to_decimal(most, exponent)
    for _, value in numbers:
        if abs(value).scaleb(exponent) <= INT64_MAX:
            bound = max(bound, abs(value))
    for text, _ in numbers:
        try:
            places = decimals.decimals_of(text)
            if places > decimals.EXPONENT_MAX:
                places = decimals.decimals_of(_stripped(text))
        except DecodeError:
            continue  # past every exponent: the level itself is refused where it is packed
        if exponent < places <= decimals.EXPONENT_MAX and bound.scaleb(places) <= INT64_MAX:
            exponent = places
    return exponent
