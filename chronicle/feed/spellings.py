"""How venues that follow no common form spell their instruments, both ways: text to parts and parts to text.

Parts are (base, quote, kind, expiry, strike, right) as in :class:`chronicle.feed.symbology.Symbol`. A name of several
markets of one venue (Bybit's ``BTCUSDT`` is a spot pair and a perpetual) may carry the market in front:
``linear|BTCUSDT``; without it every meaning is given, spot first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

__all__ = ["KNOWN_QUOTES", "RARE_QUOTES", "Parts", "quote_splits", "read_spelling", "write_spelling"]

Parts = tuple[str, str, str, str, str, str]

_BINANCE_QUOTES: Final = (
    *("USDT", "FDUSD", "USDC", "BUSD", "TUSD", "USDP", "USDS", "USD1", "PAX", "DAI", "UST", "VAI", "XUSD"),
    *("BTC", "ETH", "BNB", "XRP", "TRX", "DOGE", "DOT", "SOL"),
    *("EUR", "EURI", "GBP", "AUD", "TRY", "BRL", "RUB", "UAH", "NGN", "ZAR", "JPY", "MXN", "ARS"),
    *("COP", "PLN", "RON", "CZK", "BIDR", "IDRT", "BKRW", "BVND", "GYEN"),
)
_BYBIT_QUOTES: Final = (
    "USDT",
    "USDC",
    "USDE",
    "USD1",
    "USDQ",
    "EUR",
    "BRL",
    "PLN",
    "TRY",
    "DAI",
    "BTC",
    "ETH",
    "MNT",
)

KNOWN_QUOTES: dict[str, tuple[str, ...]] = {
    "binance": _BINANCE_QUOTES,
    "binance-us": ("USDT", "USDC", "BUSD", "USD", "BTC", "ETH", "BNB", "DAI", "VAI", "UST"),
    "binance-usdm": ("USDT", "USDC", "BUSD", "USD1", "BTC"),
    "binance-coinm": ("USD",),
    "bitfinex": ("UST", "UDC", "USD", "EUR", "GBP", "JPY", "BTC", "ETH", "TRY", "CNHT", "MIM", "XCH"),
    "bitget": ("USDT", "USDC", "USD", "BTC", "ETH", "EUR", "BGB", "BRL"),
    "bitmex": ("USDT", "USD", "EUR", "ETH"),
    "bybit": _BYBIT_QUOTES,
    "kraken": (
        *("USDT", "USDC", "USDQ", "USDR", "USDG", "PYUSD", "RLUSD", "EURC", "EURQ", "EURR", "DAI"),
        *("USD", "EUR", "GBP", "CAD", "JPY", "CHF", "AUD", "AED", "XBT", "BTC", "ETH", "DOT"),
    ),
    "kraken-futures": ("USD", "EUR", "GBP", "XBT"),
    "okx": (
        *("USDT", "USDC", "USDK", "OKB", "BTC", "ETH", "OKT", "DAI", "EURT", "TUSD", "USDG"),
        *("USD", "EUR", "AED", "BRL", "TRY", "AUD", "SGD"),
    ),
}
"""Quote currencies that split a name without separator, per venue (matched longest first). Binance spot lists no
plain USD, so that ``BTCTUSD`` can only be BTC-TUSD."""

RARE_QUOTES: dict[str, tuple[str, ...]] = {"binance": ("AEUR",)}
"""Tried after all others: ADAEUR is ADA-EUR, not AD-AEUR."""

_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAY = re.compile(r"(\d{1,2})([A-Z]{3})(\d{2})", re.ASCII)
_YYMMDD = re.compile(r"\d{6}", re.ASCII)
_NUMBER = re.compile(r"\d+(?:[.D]\d+)?", re.ASCII)


def quote_splits(venue: str, name: str) -> list[tuple[str, str]]:
    """Return (base, quote) for each known quote currency of `venue` that ends `name`, longest first."""
    quotes = (*sorted(KNOWN_QUOTES.get(venue, ()), key=len, reverse=True), *RARE_QUOTES.get(venue, ()))
    return [(name[: -len(quote)], quote) for quote in quotes if name.endswith(quote) and len(name) > len(quote)]


def read_spelling(venue: str, name: str) -> list[Parts]:
    """Return what the venue's own spelling `name` (upper case) can mean, the likeliest first; often nothing."""
    reader = _READERS.get(venue)
    return reader(name) if reader else []


def write_spelling(venue: str, parts: Parts) -> str | None:
    """Return the venue's own spelling of an instrument, None where the venue follows the common form."""
    writer = _WRITERS.get(venue)
    return writer(parts) if writer else None


def _pair(base: str, quote: str, kind: str = "spot") -> Parts:
    return base, quote, kind, "", "", ""


def _future(base: str, quote: str, expiry: str) -> Parts:
    return base, quote, "future", expiry, "", ""


def _expiry(text: str) -> str:
    """Return YYMMDD of ``24SEP21``, empty when it is no such day."""
    match = _DAY.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        return ""
    return f"{match[3]}{_MONTHS.index(match[2]) + 1:02d}{int(match[1]):02d}"


def _day(expiry: str) -> str:
    """Return ``24SEP21`` of YYMMDD."""
    month = int(expiry[2:4])
    return f"{int(expiry[4:])}{_MONTHS[month - 1]}{expiry[:2]}" if 1 <= month <= len(_MONTHS) else expiry


# --- Binance futures ---------------------------------------------------------------------------------------------


def _read_binance_futures(venue: str, name: str) -> list[Parts]:
    pair, _, tail = name.partition("_")
    if "-" in name or (tail not in ("", "PERP") and not _YYMMDD.fullmatch(tail)):
        return []
    return [
        _pair(base, quote, "perpetual") if tail in ("", "PERP") else _future(base, quote, tail)
        for base, quote in quote_splits(venue, pair)
    ]


def _write_usdm(parts: Parts) -> str:
    base, quote, kind, expiry, _, _ = parts
    return f"{base}{quote}_{expiry}" if kind == "future" else base + quote


def _write_coinm(parts: Parts) -> str:
    base, quote, kind, expiry, _, _ = parts
    return f"{base}{quote}_{expiry if kind == 'future' else 'PERP'}"


# --- Bybit -------------------------------------------------------------------------------------------------------


def _read_bybit(name: str) -> list[Parts]:
    market, _, own = name.rpartition("|")
    found: list[Parts] = []
    if market in ("", "SPOT"):
        found += [_pair(base, quote) for base, quote in quote_splits("bybit", own) if "-" not in own]
    if market in ("", "LINEAR", "INVERSE"):
        found += _read_bybit_contract(own)
    if market in ("", "OPTION"):
        found += _read_option(own, "USDC")
    return found


def _read_bybit_contract(name: str) -> list[Parts]:
    head, mark, tail = name.partition("-")
    if mark:
        expiry = _expiry(tail)
        pairs = [(head, "USDC"), *((base, quote) for base, quote in quote_splits("bybit", head) if quote == "USDT")]
        return [_future(base, quote, expiry) for base, quote in reversed(pairs)] if expiry else []
    if name.endswith("PERP") and len(name) > len("PERP"):
        return [_pair(name.removesuffix("PERP"), "USDC", "perpetual")]
    ends = [quote for quote in ("USDT", "USD") if name.endswith(quote) and len(name) > len(quote)]
    return [_pair(name.removesuffix(quote), quote, "perpetual") for quote in ends[:1]]


def _write_bybit(parts: Parts) -> str:
    base, quote, kind, expiry, strike, right = parts
    if kind == "perpetual":
        return base + ("PERP" if quote == "USDC" else quote)
    if kind == "future":
        return f"{base if quote == 'USDC' else base + quote}-{_day(expiry)}"
    if kind == "option":
        return f"{base}-{_day(expiry)}-{strike}-{right}" + ("" if quote == "USDC" else f"-{quote}")
    return base + quote


def _read_option(name: str, quote: str) -> list[Parts]:
    """Return the option of ``BTC-24SEP21-8000-P``, with another quote currency behind it where it has one."""
    parts = name.split("-")
    if len(parts) not in (4, 5) or parts[3] not in ("C", "P") or not _NUMBER.fullmatch(parts[2]):
        return []
    base, day, strike, right, *other = parts
    expiry = _expiry(day)
    return [(base, other[0] if other else quote, "option", expiry, strike.replace("D", "."), right)] if expiry else []


# --- Bitget ------------------------------------------------------------------------------------------------------


def _read_bitget(name: str) -> list[Parts]:
    """``BTCUSDT`` of SP (spot) and MC (contracts), ``BTCPERP`` is in USDC; lists of v1 say ``BTCUSDT_UMCBL``."""
    market, _, own = name.rpartition("|")
    own, _, product = own.partition("_")
    if "-" in own:
        return []
    market = market or {"SPBL": "SP", "UMCBL": "MC", "DMCBL": "MC", "CMCBL": "MC"}.get(product, "")
    if own.endswith("PERP") and len(own) > len("PERP") and market != "SP":
        return [_pair(own.removesuffix("PERP"), "USDC", "perpetual")]
    kinds = {"SP": ("spot",), "MC": ("perpetual",)}.get(market, ("spot", "perpetual"))
    return [_pair(base, quote, kind) for kind in kinds for base, quote in quote_splits("bitget", own)]


# --- Deribit -----------------------------------------------------------------------------------------------------


def _read_deribit(name: str) -> list[Parts]:
    head, _, rest = name.partition("-")
    base, mark, quote = head.partition("_")
    quote = quote if mark else "USD"
    if rest == "PERPETUAL":
        return [_pair(base, quote, "perpetual")]
    expiry = _expiry(rest)
    if expiry:
        return [_future(base, quote, expiry)]
    return [(base, quote, *option[2:]) for option in _read_option(name, quote)]


def _write_deribit(parts: Parts) -> str:
    base, quote, kind, expiry, strike, right = parts
    head = base if quote == "USD" else f"{base}_{quote}"
    if kind == "perpetual":
        return f"{head}-PERPETUAL"
    if kind == "future":
        return f"{head}-{_day(expiry)}"
    return f"{head}-{_day(expiry)}-{strike.replace('.', 'd')}-{right}" if kind == "option" else f"{base}_{quote}"


# --- Kraken Futures, Bitfinex, BitMEX ----------------------------------------------------------------------------

_KRAKEN_KINDS: Final = {"PI": "perpetual", "PF": "perpetual", "FI": "future", "FF": "future", "IN": "index"}
FLEX: Final = "F"
"""Added to the quote currency of Kraken's multi-collateral contracts: PF_XBTUSD and PI_XBTUSD are two instruments."""


def _read_kraken_futures(name: str) -> list[Parts]:
    product, mark, rest = name.partition("_")
    pair, _, expiry = rest.partition("_")
    kind = _KRAKEN_KINDS.get(product, "")
    if not mark or kind not in ("perpetual", "future") or (kind == "future") != bool(_YYMMDD.fullmatch(expiry)):
        return []
    flex = FLEX if product in ("PF", "FF") else ""
    return [
        (_bitcoin(base), _bitcoin(quote) + flex, kind, expiry, "", "")
        for base, quote in quote_splits("kraken-futures", pair)
    ]


def _write_kraken_futures(parts: Parts) -> str:
    base, quote, kind, expiry, _, _ = parts
    flex = quote.endswith(FLEX)
    product = ("P" if kind == "perpetual" else "F") + ("F" if flex else "I")
    pair = ("XBT" if base == "BTC" else base) + quote.removesuffix(FLEX)
    return f"{product}_{pair}" + (f"_{expiry}" if kind == "future" else "")


def _bitcoin(currency: str) -> str:
    return "BTC" if currency == "XBT" else currency


_BITFINEX_NAMES: Final = {"UST": "USDT", "UDC": "USDC"}
_BITFINEX_OWN: Final = {name: own for own, name in _BITFINEX_NAMES.items()}


def _read_bitfinex(name: str) -> list[Parts]:
    """``tBTCUSD``, ``tTESTBTC:TESTUSD``, ``tBTCF0:USTF0`` (a perpetual)."""
    own = name[1:] if name.startswith("T") and (":" in name or len(name) > 6) else name
    if "-" in own or "/" in own:
        return []
    base, mark, quote = own.partition(":")
    pairs = [(base, quote)] if mark and base and quote else quote_splits("bitfinex", own)
    if not mark and len(own) == 6:
        pairs = [(own[:3], own[3:])]
    return [
        _pair(
            base.removesuffix("F0"), _usual(quote.removesuffix("F0")), "perpetual" if quote.endswith("F0") else "spot"
        )
        for base, quote in pairs
    ]


def _write_bitfinex(parts: Parts) -> str:
    base, quote, kind, *_ = parts
    quote = _BITFINEX_OWN.get(quote, quote)
    if kind == "perpetual":
        return f"t{base}F0:{quote}F0"
    return f"t{base}{quote}" if len(base) == len(quote) == 3 else f"t{base}:{quote}"


def _usual(currency: str) -> str:
    return _BITFINEX_NAMES.get(currency, currency)


def _read_bitmex(name: str) -> list[Parts]:
    """Perpetuals by their names; a dated contract's day is in the venue's list only."""
    if "-" in name or "_" in name:
        return []
    return [_pair(_bitcoin(base), quote, "perpetual") for base, quote in quote_splits("bitmex", name)]


def _write_bitmex(parts: Parts) -> str:
    base, quote, kind, expiry, _, _ = parts
    own = ("XBT" if base == "BTC" else base) + quote
    return own if kind == "perpetual" else f"{own}-{expiry}"


# --- Polygon.io --------------------------------------------------------------------------------------------------

_FOREX = re.compile(r"(?:C:([A-Z]{3})[-/]?([A-Z]{3}))|(?:([A-Z]{3})[-/]([A-Z]{3}))", re.ASCII)


def _read_polygon(name: str) -> list[Parts]:
    """``USD/CNH`` on the stream, ``C:USDCNH`` in the list; every other name is a ticker."""
    match = _FOREX.fullmatch(name)
    return [_pair(match[1] or match[3], match[2] or match[4])] if match else []


_READERS: Final[dict[str, Callable[[str], list[Parts]]]] = {
    "binance-usdm": lambda name: _read_binance_futures("binance-usdm", name),
    "binance-coinm": lambda name: _read_binance_futures("binance-coinm", name),
    "bitfinex": _read_bitfinex,
    "bitget": _read_bitget,
    "bitmex": _read_bitmex,
    "bybit": _read_bybit,
    "deribit": _read_deribit,
    "kraken-futures": _read_kraken_futures,
    "polygon": _read_polygon,
}
_WRITERS: Final[dict[str, Callable[[Parts], str]]] = {
    "binance-usdm": _write_usdm,
    "binance-coinm": _write_coinm,
    "bitfinex": _write_bitfinex,
    "bitget": lambda parts: parts[0] + ("PERP" if parts[1:3] == ("USDC", "perpetual") else parts[1]),
    "bitmex": _write_bitmex,
    "bybit": _write_bybit,
    "deribit": _write_deribit,
    "gateio": lambda parts: f"{parts[0]}_{parts[1]}",
    "kraken-futures": _write_kraken_futures,
    "polygon": lambda parts: f"{parts[0]}/{parts[1]}",
}
