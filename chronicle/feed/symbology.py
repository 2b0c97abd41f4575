"""Names of instruments: the canonical ``venue:BASE-QUOTE`` and each venue's own spelling, both ways.

Nothing here needs a captured list: a venue's spelling is split by its own rules and, where it has no separator, by
the quote currencies that the venue is known to list. A list, where there is one, is asked first by the feed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chronicle.core.errors import SymbolError
from chronicle.core.paths import split_symbol
from chronicle.feed.spellings import KNOWN_QUOTES, quote_splits, read_spelling, write_spelling

__all__ = ["KNOWN_QUOTES", "Symbol", "candidates", "canonical", "from_venue", "to_venue", "venue_name"]

SYMBOL_CHARS_MAX = 64
"""Longer names are no instrument of any venue here."""

VENUE_ALIASES = {
    "okex": "okx",
    "binance-spot": "binance",
    "binance-futures": "binance-usdm",
    "binance-delivery": "binance-coinm",
    "lobster": "nasdaq",
}
TICKER_VENUES = frozenset(
    {
        *("nasdaq", "nasdaq-bx", "nasdaq-psx", "nyse", "nyse-national", "nyse-american", "nyse-arca", "nyse-chicago"),
        *("cboe-bzx", "cboe-byx", "cboe-edga", "cboe-edgx", "memx", "miax-pearl", "iex", "dbeq", "equs", "opra"),
        *("cme", "cfe", "eurex", "eex", "ice-europe", "ice-endex", "ice-us"),
    }
)
"""Venues whose ticker is the instrument's whole name: it is never split into base and quote."""
MIXED_VENUES = frozenset({"polygon"})
"""Venues of tickers and pairs: what is no pair by its spelling is a ticker."""
KRAKEN_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
_KRAKEN_SPELLING = {name: own for own, name in KRAKEN_NAMES.items()}
_PLAIN = re.compile(r"[!-~]+", re.ASCII)
_DATE = re.compile(r"\d{6}", re.ASCII)
_STRIKE = re.compile(r"\d+(\.\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Symbol:
    """One instrument by its parts. `kind` is spot, perpetual, future, option or equity; `expiry` is YYMMDD."""

    venue: str
    base: str
    quote: str = ""
    kind: str = "spot"
    expiry: str = ""
    strike: str = ""
    right: str = ""

    @property
    def name(self) -> str:
        """The canonical name, as ``okx:BTC-USD-PERP`` or ``nasdaq:AMZN``."""
        if self.kind == "equity":
            return f"{self.venue}:{self.base}"
        tail = {
            "perpetual": ("PERP",),
            "future": (self.expiry,),
            "option": (self.expiry, self.strike, self.right),
        }
        return f"{self.venue}:" + "-".join((self.base, self.quote, *tail.get(self.kind, ())))


def venue_name(text: str) -> str:
    """Return the name under which `text` (any case, old names too: OKEX) is known here."""
    lowered = text.strip().lower()
    return VENUE_ALIASES.get(lowered, lowered)


def candidates(venue: str, text: str) -> list[Symbol]:
    """Return every instrument that `text` can mean at `venue`, the likeliest first.

    Parameters
    ----------
    venue : str
        Any case; former names of a venue count.
    text : str
        Canonical name or the venue's own spelling, any case, without the venue.

    Examples
    --------
    >>> [symbol.name for symbol in candidates("kraken", "xbt/usd")]
    ['kraken:BTC-USD']
    """
    known = venue_name(venue)
    name = text.strip().upper()
    if not _PLAIN.fullmatch(name) or len(name) > SYMBOL_CHARS_MAX:
        return []
    if known in TICKER_VENUES:
        return [Symbol(known, name, kind="equity")]
    own = [Symbol(known, *parts) for parts in read_spelling(known, name) if all(parts[:2])]
    if own:
        return own
    if known in MIXED_VENUES:
        return [Symbol(known, name, kind="equity")]
    parts = [_common(known, part) for part in re.split(r"[-/_]", name)]
    if not all(parts):
        return []
    if len(parts) == 1:
        return [Symbol(known, *pair) for pair in _splits(known, name)]
    found = _from_parts(known, parts)
    return [found] if found else []


def from_venue(venue: str, venue_symbol: str) -> Symbol:
    """Return the likeliest instrument of the venue's own spelling; a name of no known form is its own base.

    Raises
    ------
    SymbolError
        When `venue_symbol` is empty, too long, or not printable ASCII.
    """
    found = candidates(venue, venue_symbol)
    if found:
        return found[0]
    name = venue_symbol.strip().upper()
    if not _PLAIN.fullmatch(name) or len(name) > SYMBOL_CHARS_MAX:
        raise SymbolError(
            f"cannot read {venue_symbol[:80]!r} as a symbol of {venue}",
            expected="1 to 64 printable characters",
        )
    return Symbol(venue_name(venue), name, kind="equity")


def canonical(text: str) -> str:
    """Return the canonical name of ``venue:ANYTHING``, whichever spelling follows the colon.

    Examples
    --------
    >>> canonical("binance:ethusdt"), canonical("OKX:BTC-USDT-SWAP")
    ('binance:ETH-USDT', 'okx:BTC-USDT-PERP')

    Raises
    ------
    SymbolError
        When there is no venue, or the name fits none of the venue's forms.
    """
    venue, name = split_symbol(text.strip())
    found = candidates(venue, name)
    if not found:
        raise SymbolError(
            f"cannot read {name[:80]!r} as an instrument of {venue_name(venue)}",
            hint="write it as venue:BASE-QUOTE (binance:ETH-USDT) or as the venue does (binance:ETHUSDT)",
        )
    return found[0].name


def to_venue(symbol: Symbol) -> str:
    """Return the venue's own spelling, as ``XBT/EUR``, ``BTC-USD-SWAP`` or ``BTCUSDT``."""
    if symbol.kind == "equity":
        return symbol.base
    if symbol.venue == "kraken" and symbol.kind == "spot":
        return "/".join(_KRAKEN_SPELLING.get(part, part) for part in (symbol.base, symbol.quote))
    if symbol.venue in ("binance", "binance-us") and symbol.kind == "spot":
        return symbol.base + symbol.quote
    parts = (symbol.base, symbol.quote, symbol.kind, symbol.expiry, symbol.strike, symbol.right)
    own = write_spelling(symbol.venue, parts)
    if own is not None:
        return own
    name = symbol.name.partition(":")[2]
    return name.removesuffix("-PERP") + "-SWAP" if symbol.venue == "okx" and symbol.kind == "perpetual" else name


def _common(venue: str, currency: str) -> str:
    return KRAKEN_NAMES.get(currency, currency) if venue == "kraken" else currency


def _from_parts(venue: str, parts: list[str]) -> Symbol | None:
    """Return the instrument of a name with separators, or None when its parts say nothing."""
    match parts:
        case [base, quote]:
            return Symbol(venue, base, quote)
        case [base, quote, "SWAP" | "PERP"]:
            return Symbol(venue, base, quote, "perpetual")
        case [base, quote, expiry] if _DATE.fullmatch(expiry):
            return Symbol(venue, base, quote, "future", expiry)
        case [base, quote, expiry, strike, "C" | "P" as right] if _DATE.fullmatch(expiry) and _STRIKE.fullmatch(
            strike
        ):
            return Symbol(venue, base, quote, "option", expiry, strike, right)
    return None


def _splits(venue: str, name: str) -> list[tuple[str, str]]:
    """Return (base, quote) for each known quote currency that ends `name`, longest first."""
    found = quote_splits(venue, name)
    if venue != "kraken":
        return found
    if re.fullmatch(r"X[A-Z]{3}[XZ][A-Z]{3}", name):  # Kraken's REST names of old: XXBTZEUR
        found.insert(0, (name[1:4], name[5:]))
    return [(_common(venue, base), _common(venue, quote)) for base, quote in found]
