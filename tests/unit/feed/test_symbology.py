"""Names: canonical and venue spelling, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronicle.core.errors import SymbolError
from chronicle.feed.symbology import KNOWN_QUOTES, Symbol, candidates, canonical, from_venue, to_venue


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("kraken:XBT/EUR", "kraken:BTC-EUR"),
        ("kraken:xbt/usd", "kraken:BTC-USD"),
        ("kraken:XDG/EUR", "kraken:DOGE-EUR"),
        ("kraken:XBTUSD", "kraken:BTC-USD"),
        ("kraken:XXBTZEUR", "kraken:BTC-EUR"),
        ("Kraken:btc-eur", "kraken:BTC-EUR"),
        ("okx:BTC-USDT", "okx:BTC-USDT"),
        ("okx:BTC-USDT-SWAP", "okx:BTC-USDT-PERP"),
        ("okex:btc-usd-swap", "okx:BTC-USD-PERP"),
        ("okx:BTC-USD-PERP", "okx:BTC-USD-PERP"),
        ("okx:BTC-USD-220527", "okx:BTC-USD-220527"),
        ("okx:BTC-USD-210924-66000-C", "okx:BTC-USD-210924-66000-C"),
        ("binance:ETHUSDT", "binance:ETH-USDT"),
        ("binance:ethusdt", "binance:ETH-USDT"),
        ("binance:BTC-USDT", "binance:BTC-USDT"),
        ("binance:BTCTUSD", "binance:BTC-TUSD"),
        ("binance:ADAEUR", "binance:ADA-EUR"),
        ("binance:BNBBTC", "binance:BNB-BTC"),
        ("binance-usdm:BTCUSDT", "binance-usdm:BTC-USDT-PERP"),
        ("binance-usdm:btcusdt_210924", "binance-usdm:BTC-USDT-210924"),
        ("binance-usdm:BTC-USDT-PERP", "binance-usdm:BTC-USDT-PERP"),
        ("binance-futures:1000shibusdt", "binance-usdm:1000SHIB-USDT-PERP"),
        ("binance-coinm:BTCUSD_PERP", "binance-coinm:BTC-USD-PERP"),
        ("binance-coinm:ethusd_210924", "binance-coinm:ETH-USD-210924"),
        ("binance-us:BTCUSD", "binance-us:BTC-USD"),
        ("bybit:BTCUSDT", "bybit:BTC-USDT"),
        ("bybit:linear|BTCUSDT", "bybit:BTC-USDT-PERP"),
        ("bybit:BTCPERP", "bybit:BTC-USDC-PERP"),
        ("bybit:BTCUSD", "bybit:BTC-USD-PERP"),
        ("bybit:BTCUSDT-26DEC25", "bybit:BTC-USDT-251226"),
        ("bybit:BTC-26DEC25", "bybit:BTC-USDC-251226"),
        ("bybit:BTC-30DEC22-18000-C", "bybit:BTC-USDC-221230-18000-C"),
        ("bybit:BTC-USDT-PERP", "bybit:BTC-USDT-PERP"),
        ("coinbase:btc-usd", "coinbase:BTC-USD"),
        ("bitget:GOGUSDT_SPBL", "bitget:GOG-USDT"),
        ("bitget:mc|EOSUSDT", "bitget:EOS-USDT-PERP"),
        ("kraken-futures:PI_XBTUSD", "kraken-futures:BTC-USD-PERP"),
        ("kraken-futures:fi_ethusd_211231", "kraken-futures:ETH-USD-211231"),
        ("deribit:BTC-PERPETUAL", "deribit:BTC-USD-PERP"),
        ("deribit:BTC-24SEP21-8000-P", "deribit:BTC-USD-210924-8000-P"),
        ("deribit:xrp_usdc-30jun23-0d625-c", "deribit:XRP-USDC-230630-0.625-C"),
        ("bitfinex:tBTCUSD", "bitfinex:BTC-USD"),
        ("bitfinex:tBTCF0:USTF0", "bitfinex:BTC-USDT-PERP"),
        ("bitmex:XBTUSD", "bitmex:BTC-USD-PERP"),
        ("kucoin:ANKR-BTC", "kucoin:ANKR-BTC"),
        ("nasdaq:amzn", "nasdaq:AMZN"),
        ("nasdaq:BRK.B", "nasdaq:BRK.B"),
    ],
)
def test_every_spelling_gives_the_canonical_name(typed: str, name: str) -> None:
    assert canonical(typed) == name


@pytest.mark.parametrize(
    "typed", ["binance:NOPE", "okx:BTC-USD-22-C", "okx:-USDT", "kraken:a b", "binance:" + "X" * 65]
)
def test_text_of_no_known_form_is_a_symbol_error(typed: str) -> None:
    with pytest.raises(SymbolError):
        canonical(typed)


def test_candidates_hold_every_split_likeliest_first() -> None:
    assert [symbol.name for symbol in candidates("binance", "BTCAEUR")] == ["binance:BTCA-EUR", "binance:BTC-AEUR"]


def test_venue_symbol_of_no_known_form_keeps_its_own_name() -> None:
    assert from_venue("binance", "STRANGE").name == "binance:STRANGE"


currency = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=2, max_size=8)
dates = st.from_regex(r"\A\d{6}\Z").filter(str.isascii)


@given(base=currency, quote=currency, expiry=dates, strike=st.integers(1, 10**6), right=st.sampled_from("CP"))
def test_symbols_with_separators_round_trip(base: str, quote: str, expiry: str, strike: int, right: str) -> None:
    option = Symbol("okx", base, quote, "option", expiry, str(strike), right)
    for symbol in (
        Symbol("okx", base, quote),
        Symbol("okx", base, quote, "perpetual"),
        Symbol("okx", base, quote, "future", expiry),
        option,
    ):
        assert from_venue("okx", to_venue(symbol)) == symbol
        assert canonical(symbol.name) == symbol.name
        assert canonical(symbol.name.lower()) == symbol.name


@given(
    base=currency.filter(lambda text: text not in {"XBT", "XDG"}),
    quote=st.sampled_from(["EUR", "USD", "BTC", "DOGE"]),
)
def test_kraken_symbols_round_trip(base: str, quote: str) -> None:
    symbol = Symbol("kraken", base, quote)
    assert from_venue("kraken", to_venue(symbol)) == symbol


@given(base=currency, quote=st.sampled_from(KNOWN_QUOTES["binance"]))
def test_binance_spelling_has_the_symbol_among_its_candidates(base: str, quote: str) -> None:
    symbol = Symbol("binance", base, quote)
    assert symbol in candidates("binance", to_venue(symbol))


@pytest.mark.parametrize(
    ("venue", "name"),
    [
        *(("binance-usdm", name) for name in ("BTCUSDT", "BTCUSDT_210924", "1000SHIBUSDT")),
        *(("binance-coinm", name) for name in ("BTCUSD_PERP", "ETHUSD_210924")),
        *(("bybit", name) for name in ("BTCUSDT", "BTCPERP", "BTCUSD", "BTCUSDT-26DEC25", "BTC-26DEC25")),
        *(("bybit", name) for name in ("BTC-30DEC22-18000-C", "BTC-30DEC22-18000-C-USDT", "ETH-3JAN25")),
        *(("kraken-futures", name) for name in ("PI_XBTUSD", "PF_XBTUSD", "FI_ETHUSD_211231", "FF_XBTUSD_250926")),
        *(("deribit", name) for name in ("BTC-PERPETUAL", "SOL_USDC-PERPETUAL", "BTC-24SEP21", "BTC_USDC")),
        *(("deribit", name) for name in ("BTC-24SEP21-8000-P", "XRP_USDC-30JUN23-0d625-C")),
        *(("bitfinex", name) for name in ("tBTCUSD", "tTESTBTC:TESTUSD", "tBTCF0:USTF0", "tIOTETH")),
        *(("bitmex", name) for name in ("XBTUSD", "ETHUSDT")),
    ],
)
def test_own_spelling_of_each_venue_round_trips(venue: str, name: str) -> None:
    assert to_venue(from_venue(venue, name)) == name


def test_contracts_of_two_kinds_are_two_instruments() -> None:
    assert from_venue("kraken-futures", "PF_XBTUSD") != from_venue("kraken-futures", "PI_XBTUSD")
    assert [symbol.name for symbol in candidates("bybit", "BTCUSDT")] == ["bybit:BTC-USDT", "bybit:BTC-USDT-PERP"]


@given(st.text(max_size=80))
def test_any_text_gives_candidates_or_none(text: str) -> None:
    for venue in (
        *("binance", "kraken", "okx", "nasdaq", "unknown", "binance-usdm", "binance-coinm", "bybit", "coinbase"),
        *("bitget", "kraken-futures", "deribit", "bitfinex", "bitmex", "kucoin"),
    ):
        for symbol in candidates(venue, text):
            assert symbol.name.isascii()
