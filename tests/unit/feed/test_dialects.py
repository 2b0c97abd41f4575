"""What is said to each venue: within its limits, in its words, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chronicle.core.errors import ConfigError
from chronicle.feed.dialects import DIALECTS, FeedSpec, dialect_for, dialects_for
from chronicle.feed.venues import venues

SYMBOLS = {
    "binance": "BTC-USDT",
    "binance-coinm": "BTC-USD-PERP",
    "binance-us": "BTC-USDT",
    "binance-usdm": "BTC-USDT-PERP",
    "bitfinex": "BTC-USD",
    "bitget": "BTC-USDT",
    "bitmex": "BTC-USD-PERP",
    "bybit": "BTC-USDT-PERP",
    "coinbase": "BTC-USD",
    "coinbase-exchange": "BTC-USD",
    "deribit": "BTC-USD-PERP",
    "gateio": "BTC-USDT",
    "kraken": "BTC-USD",
    "kraken-futures": "BTC-USD-PERP",
    "kucoin": "BTC-USDT",
    "okx": "BTC-USDT-PERP",
    "polygon": "EUR-USD",
}
OWN = {
    "binance": "BTCUSDT",
    "binance-coinm": "BTCUSD_PERP",
    "binance-us": "BTCUSDT",
    "binance-usdm": "BTCUSDT",
    "bitfinex": "tBTCUSD",
    "bitget": "BTCUSDT",
    "bitmex": "XBTUSD",
    "bybit": "BTCUSDT",
    "coinbase": "BTC-USD",
    "coinbase-exchange": "BTC-USD",
    "deribit": "BTC-PERPETUAL",
    "gateio": "BTC_USDT",
    "kraken": "XBT/USD",
    "kraken-futures": "PI_XBTUSD",
    "kucoin": "BTC-USDT",
    "okx": "BTC-USDT-SWAP",
    "polygon": "EUR/USD",
}
AUTHENTICATED = '[{"ev":"status","status":"auth_success","message":"authenticated"}]'


def spec(venue: str, **changes: Any) -> FeedSpec:
    return FeedSpec(venue, symbols=(f"{venue}:{SYMBOLS[venue]}",), **({"key": "secret"} | changes))


def values(texts: list[str]) -> list[Any]:
    return [json.loads(text) for text in texts]


def test_every_json_venue_but_files_can_be_live() -> None:
    recorded = {venue.name for venue in venues() if "cryptofeed" in venue.captures}
    assert recorded <= set(DIALECTS)
    assert set(SYMBOLS) <= set(DIALECTS)


@pytest.mark.parametrize("venue", sorted(SYMBOLS))
def test_a_dialect_speaks_of_the_venue_s_own_symbol_at_public_addresses(venue: str) -> None:
    for dialect, line in dialects_for(spec(venue)):
        assert line == 1
        assert dialect.url.startswith("wss://")
        assert dialect.symbols == [OWN[venue]]
        assert dialect.canonical(OWN[venue]) == f"{venue}:{SYMBOLS[venue]}"
        subscribed = " ".join([*dialect.subscribe(), *dialect.hear(AUTHENTICATED)])
        assert OWN[venue].lower() in subscribed.lower()
        for channel in dialect.channels:
            assert dialect.carries(OWN[venue], channel)
        assert all(url.startswith("https://") for url in (*dialect.lists(), *dialect.snapshots()))
        assert dialect.lists(), "instruments are discovered"
        renewed = dialect.renew(OWN[venue], "book") if "book" in dialect.channels else []
        assert venue == "bitfinex" or "book" not in dialect.channels or len(renewed) == 2


@pytest.mark.parametrize("venue", sorted(SYMBOLS))
def test_an_address_of_one_s_own_asks_no_public_http(venue: str) -> None:
    dialect = dialect_for(spec(venue, url="ws://127.0.0.1:9"))
    assert dialect.url.startswith("ws://127.0.0.1:9")
    assert (dialect.lists(), dialect.snapshots(), dialect.token_request()) == ([], [], None)
    with pytest.raises(ConfigError, match="WebSocket"):
        dialect_for(spec(venue, url="http://127.0.0.1:9"))


def test_lines_repeat_a_feed_and_limits_split_it() -> None:
    symbols = tuple(f"bitfinex:{base}-USD" for base in ("BTC", "ETH", "LTC", "XRP", "EOS", "NEO", "IOT") * 2)[:7]
    many = FeedSpec("bitfinex", symbols=(*symbols, *(f"tA{n:02d}USD" for n in range(20))), lines=2)
    found = dialects_for(many)
    assert [line for _, line in found] == [1, 1, 1, 2, 2, 2]
    assert all(len(dialect.subscribe()) <= 26 for dialect, _ in found), "25 channels and the configuration"
    assert sum(len(dialect.symbols) for dialect, line in found if line == 1) == 27
    with pytest.raises(ConfigError, match="lines"):
        dialects_for(FeedSpec("kraken", symbols=("XBT/USD",), lines=9))


def test_markets_have_connections_of_their_own() -> None:
    mixed = ("bybit:BTC-USDT", "bybit:BTC-USDT-PERP", "bybit:BTC-USD-PERP", "bybit:BTC-USDC-241227-90000-C")
    found = [dialect for dialect, _ in dialects_for(FeedSpec("bybit", symbols=mixed))]
    assert [dialect.url.rpartition("/")[2] for dialect in found] == ["spot", "linear", "inverse", "option"]
    assert [dialect.canonical(dialect.symbols[0]) for dialect in found] == list(mixed)
    usdm = [dialect for dialect, _ in dialects_for(spec("binance-usdm"))]
    assert [(dialect.url.split("/")[3], dialect.channels) for dialect in usdm] == [
        ("public", ("book", "quote")),
        ("market", ("trade",)),
    ]
    bitget = FeedSpec("bitget", "ws://h/v1", ("bitget:BTC-USDT", "bitget:BTC-USDT-PERP"))
    assert [dialect.url.split("/")[3] for dialect, _ in dialects_for(bitget)] == ["spot", "mix"]


def test_depths_are_those_that_the_venue_has() -> None:
    def book(venue: str, depth: int) -> str:
        return next(text for text in dialect_for(spec(venue, depth=depth)).subscribe() if "book" in text)

    assert "orderbook.200." in book("bybit", 100)
    assert "orderbook.1000." in book("bybit", 5000)
    assert '"len":"100"' in book("bitfinex", 100)
    assert '"len":"250"' in book("bitfinex", 1000)


def test_deribit_s_test_request_is_answered() -> None:
    dialect = dialect_for(spec("deribit"))
    heartbeat = '{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}'
    assert values(list(dialect.hear(heartbeat)))[0]["method"] == "public/test"
    assert not dialect.hear('{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}')
    assert "100ms" in dialect.subscribe()[1], "the raw interval needs a key"


def test_bitfinex_leaves_a_channel_by_its_number() -> None:
    dialect = dialect_for(spec("bitfinex"))
    assert dialect.resync("tBTCUSD", "book") == []
    dialect.hear('{"event":"subscribed","channel":"book","chanId":77,"symbol":"tBTCUSD","prec":"P0"}')
    dialect.hear('{"event":"subscribed","chanId":"x"')
    dialect.hear('{"event":"subscribed","channel":"book","chanId":[],"symbol":"tBTCUSD"}')
    assert values(dialect.resync("tBTCUSD", "book")) == [
        {"event": "unsubscribe", "chanId": 77},
        {"event": "subscribe", "channel": "book", "symbol": "tBTCUSD", "prec": "P0", "freq": "F0", "len": "100"},
    ]
    dialect.begin()
    assert dialect.resync("tBTCUSD", "book") == [], "numbers belong to a connection"


def test_kucoin_s_address_is_the_one_it_gives() -> None:
    dialect = dialect_for(spec("kucoin"))
    assert dialect.token_request() == "https://api.kucoin.com/api/v1/bullet-public"
    good = {"data": {"token": "T", "instanceServers": [{"endpoint": "wss://a.example/endpoint"}]}}
    assert dialect.address(json.dumps(good).encode()) == "wss://a.example/endpoint?token=T"
    assert "T" not in dialect.url
    for bad in (b"", b"[]", b'{"data":{"token":"T","instanceServers":[]}}', b'{"data":null}'):
        with pytest.raises(OSError, match="token request"):
            dialect.address(bad)
    hostile = {"data": {"token": "T", "instanceServers": [{"endpoint": "file:///etc/passwd"}]}}
    with pytest.raises(OSError, match="no WebSocket"):
        dialect.address(json.dumps(hostile).encode())


def test_snapshots_over_http_are_asked_of_one_symbol_or_all() -> None:
    two = FeedSpec("binance-usdm", symbols=("BTCUSDT", "ETHUSDT"), channels=("book",), rest_url="http://r")
    dialect = dialect_for(two)
    assert dialect.snapshots("ETHUSDT") == ["http://r/fapi/v1/depth?symbol=ETHUSDT&limit=1000"]
    assert len(dialect.snapshots()) == 2
    assert dialect.resync("ETHUSDT", "book") == []
    assert [value["method"] for value in values(dialect.renew("ETHUSDT", "book"))] == ["UNSUBSCRIBE", "SUBSCRIBE"]


def test_kraken_speaks_v2_at_an_address_of_v2() -> None:
    wanted = FeedSpec("kraken", "wss://ws.kraken.com/v2", ("kraken:BTC-USD", "XDG/EUR"), ("book", "quote"), 25)
    dialect = dialect_for(wanted)
    assert values(dialect.subscribe()) == [
        {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD", "DOGE/EUR"], "depth": 25}},
        {
            "method": "subscribe",
            "params": {"channel": "ticker", "symbol": ["BTC/USD", "DOGE/EUR"], "event_trigger": "bbo"},
        },
    ]
    assert dialect.lists() == ["https://api.kraken.com/0/public/AssetPairs"]
    assert dialect.canonical("BTC/USD") == "kraken:BTC-USD"
    assert dialect.carries("DOGE/EUR", "book")


def test_a_list_gives_the_spelling_that_no_rule_gives() -> None:
    names = {"bitmex:XRP-BTC-210924": "XRPU21", "bitmex:BTC-USD-PERP": "XBTUSD"}
    wanted = FeedSpec("bitmex", symbols=("bitmex:XRP-BTC-210924", "bitmex:BTC-USD-PERP", "bitmex:NONE-USD-PERP"))
    dialect = dialect_for(wanted)
    listed = set(names.values())
    assert dialect.resolve(listed.__contains__, names.get) == ["NONEUSD"]
    assert dialect.symbols == ["XRPU21", "XBTUSD", "NONEUSD"]
    assert dialect.resolve(listed.__contains__, names.get) == ["NONEUSD"], "again, at the next connection"
    assert dialect.symbols == ["XRPU21", "XBTUSD", "NONEUSD"]
    bybit = dialect_for(FeedSpec("bybit", symbols=("bybit:BTC-USDT-PERP",)))
    assert bybit.resolve({"linear|BTCUSDT"}.__contains__, {}.get) == []
    assert bybit.resolve({"spot|BTCUSDT"}.__contains__, {}.get) == ["BTCUSDT"]


def test_bitget_speaks_v2_unless_its_address_ends_in_v1() -> None:
    symbols = ("bitget:BTC-USDT", "bitget:BTC-USDT-PERP", "bitget:BTC-USDC-PERP", "bitget:BTC-USD-PERP")
    spot, contracts = (
        dialect for dialect, _ in dialects_for(FeedSpec("bitget", symbols=symbols, channels=("book",)))
    )
    assert spot.url == contracts.url == "wss://ws.bitget.com/v2/ws/public"
    arguments = [argument for text in values(contracts.subscribe()) for argument in text["args"]]
    assert [(entry["instType"], entry["instId"]) for entry in arguments] == [
        *(("USDT-FUTURES", "BTCUSDT"), ("USDC-FUTURES", "BTCPERP"), ("COIN-FUTURES", "BTCUSD")),
    ]
    assert [url.rpartition("=")[2] for url in contracts.lists()] == ["USDT-FUTURES", "USDC-FUTURES", "COIN-FUTURES"]
    assert spot.canonical("BTCUSDT") == "bitget:BTC-USDT"
    assert contracts.canonical("BTCPERP") == "bitget:BTC-USDC-PERP"
    assert '"books15"' in dialect_for(spec("bitget", depth=10)).subscribe()[0]
    old = dialect_for(FeedSpec("bitget", "ws://127.0.0.1:9/v1", ("bitget:BTC-USDT",)))
    assert (old.url, values(old.subscribe())[0]["args"][0]["instType"]) == ("ws://127.0.0.1:9/spot/v1/stream", "SP")


def test_coinbase_exchange_asks_for_what_needs_no_key_in_one_request() -> None:
    dialect = dialect_for(spec("coinbase-exchange"))
    channels = ["level2_batch", "matches", "ticker", "heartbeat"]
    assert values(dialect.subscribe()) == [{"type": "subscribe", "product_ids": ["BTC-USD"], "channels": channels}]
    assert [value["type"] for value in values(dialect.resync("BTC-USD", "book"))] == ["unsubscribe", "subscribe"]


def test_polygon_says_its_key_first_and_keeps_it_out_of_the_queue() -> None:
    wanted = FeedSpec("polygon", symbols=("polygon:AAPL", "polygon:EUR-USD"), key="k3y")
    assert "k3y" not in repr(wanted)
    stocks, forex = (dialect for dialect, _ in dialects_for(wanted))
    assert (stocks.url, forex.url) == ("wss://socket.polygon.io/stocks", "wss://socket.polygon.io/forex")
    assert values(stocks.subscribe()) == [{"action": "auth", "params": "k3y"}]
    assert values([stocks.recorded(stocks.subscribe()[0])]) == [{"action": "auth", "params": "***"}]
    odd = dialect_for(FeedSpec("polygon", symbols=("polygon:AAPL",), key='k"3\\y'))
    assert "3" not in odd.recorded(odd.subscribe()[0]), "also one that JSON writes in another way"
    assert stocks.rest_headers == {"Authorization": "Bearer k3y"}
    assert not any("k3y" in url for url in (*stocks.lists(), *forex.lists()))
    assert list(stocks.hear('[{"ev":"status","status":"auth_failed","message":"authentication failed"}]')) == []
    assert list(stocks.hear('["auth_success"]')) == list(stocks.hear('"auth_success"')) == []
    assert values(list(stocks.hear(AUTHENTICATED))) == [{"action": "subscribe", "params": "T.AAPL,Q.AAPL"}]
    assert values(list(forex.hear(AUTHENTICATED))) == [{"action": "subscribe", "params": "C.EUR/USD"}]
    with pytest.raises(ConfigError, match="key"):
        dialect_for(FeedSpec("polygon", symbols=("polygon:AAPL",)))
    with pytest.raises(ConfigError, match="forex"):
        dialect_for(FeedSpec("polygon", symbols=("polygon:EUR-USD",), channels=("trade",), key="k"))


def test_polygon_s_list_comes_in_pages_of_its_own_host() -> None:
    few = dialect_for(FeedSpec("polygon", symbols=("polygon:AAPL",), key="k"))
    assert few.lists() == ["https://api.polygon.io/v3/reference/tickers?market=stocks&active=true&ticker=AAPL"]
    many = dialect_for(FeedSpec("polygon", symbols=tuple(f"polygon:A{n}" for n in range(30)), key="k"))
    assert [url.rpartition("&")[2] for url in many.lists()] == ["limit=1000"]
    everything = dialect_for(FeedSpec("polygon", symbols=("polygon:*",), channels=("trade",), key="k"))
    assert everything.lists()[0].endswith("limit=1000")
    assert values(list(everything.hear(AUTHENTICATED))) == [{"action": "subscribe", "params": "T.*"}]
    page = "https://api.polygon.io/v3/reference/tickers?cursor=abc"
    assert many.next_list(json.dumps({"next_url": page}).encode()) == page
    for answer in (
        b"{}",
        b"[]",
        b"",
        b'{"next_url":"https://evil.example/v3/reference/tickers?x"}',
        b'{"next_url":7}',
    ):
        assert many.next_list(answer) is None
