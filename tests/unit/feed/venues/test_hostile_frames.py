"""Whatever comes over the wire: records or a DecodeError, never another exception, and always whole records."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import Kind, StatusCode, WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues import adapter_for, venues
from tests.support.frames import TS, frame
from tests.support.naive_book import taken

GOOD: dict[str, list[Any]] = {
    "kraken": [
        [
            1,
            {"as": [["1.10", "2.0", "1618678142.557535"]], "bs": [["1.00", "1.0", "1618678142.5"]]},
            "book-10",
            "XBT/EUR",
        ],
        [
            *(1, {"a": [["1.10", "0.0", "1618678142.557535"]]}),
            *({"b": [["1.00", "1.0", "1618678142.5", "r"]], "c": "12"}, "book-10", "XBT/EUR"),
        ],
        [1, [["1.10", "2.0", "1618678142.557535", "b", "l", ""]], "trade", "XBT/EUR"],
        [1, {"a": ["1.1", 1, "1.0"], "b": ["1.0", 1, "1.0"]}, "ticker", "XBT/EUR"],
        [1, ["1.0", "1.1", "1618678142.5", "2", "3"], "spread", "XBT/EUR"],
        {"event": "subscriptionStatus", "status": "subscribed", "pair": "XBT/EUR", "channelName": "book-10"}
        | {"subscription": {"name": "book", "depth": 10}},
        {"event": "systemStatus", "status": "online"},
        {"channel": "trade", "type": "update"}
        | {
            "data": [
                {"symbol": "BTC/USD", "side": "sell", "price": 1.5, "qty": 4.0, "trade_id": 3}
                | {"timestamp": "2023-09-25T07:49:37.708706Z"}
            ]
        },
        {"channel": "ticker", "type": "update"}
        | {"data": [{"symbol": "BTC/USD", "bid": 1.5, "bid_qty": 1.0, "ask": 1.6, "ask_qty": 1}]},
        {"method": "subscribe", "success": True, "result": {"channel": "book", "depth": 10, "symbol": "BTC/USD"}},
    ],
    "okx": [
        {"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": "snapshot"}
        | {
            "data": [
                {
                    "asks": [["2", "1", "0", "1"]],
                    "bids": [["1", "1", "0", "1"]],
                    "ts": "1652459225464",
                    "checksum": -9,
                }
            ]
        },
        {"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": "update"}
        | {
            "data": [
                {"asks": [["2", "0"]], "bids": [], "ts": "1652459225464", "checksum": 7, "seqId": 2, "prevSeqId": 1}
            ]
        },
        {"arg": {"channel": "trades", "instId": "BTC-USDT"}}
        | {"data": [{"tradeId": "1", "px": "1", "sz": "2", "side": "buy", "ts": "1652459225464"}]},
        {"arg": {"channel": "tickers", "instId": "BTC-USDT"}}
        | {"data": [{"askPx": "2", "askSz": "1", "bidPx": "", "bidSz": "", "ts": "1652459225464"}]},
        {"arg": {"channel": "books5", "instId": "BTC-USDT"}, "data": [{"asks": [["2", "1"]], "bids": [], "ts": "1"}]},
        {"event": "subscribe", "arg": {"channel": "books", "instId": "BTC-USDT"}},
    ],
    "gateio": [
        {"time": 1, "channel": "spot.order_book_update", "event": "update"}
        | {"result": {"t": 1, "s": "BTC_USDT", "U": 1, "u": 2, "b": [["1.0", "2.0"]], "a": []}},
        {"time": 1, "channel": "spot.trades", "event": "update"}
        | {
            "result": {"id": 3, "create_time_ms": "1619093543708.2642", "side": "sell"}
            | {"currency_pair": "BTC_USDT", "amount": "1.0", "price": "1"}
        },
        {"time": 1, "channel": "spot.book_ticker", "event": "update"}
        | {"result": {"t": 1, "u": 2, "s": "BTC_USDT", "b": "1.0", "B": "1.0", "a": "2.0", "A": "1.0"}},
        {"time": 1, "channel": "spot.trades", "event": "subscribe", "result": {"status": "success"}},
        {"time": 1, "channel": "spot.pong", "event": "", "result": None},
    ],
    "binance": [
        {
            "stream": "btcusdt@depth",
            "data": {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 1, "u": 2} | {"b": [["1.0", "2.0"]], "a": []},
        },
        {"e": "trade", "E": 1, "s": "BTCUSDT", "t": 3, "p": "1.0", "q": "1.0", "T": 1, "m": True},
        {"e": "aggTrade", "E": 1, "s": "BTCUSDT", "a": 3, "p": "1", "q": "1", "f": 1, "l": 2, "T": 1, "m": False},
        {"u": 1, "s": "BTCUSDT", "b": "1.0", "B": "1.0", "a": "2.0", "A": "1.0"},
        {"lastUpdateId": 7, "bids": [["1.0", "1.0"]], "asks": [["2.0", "1.0"]]},
        {"result": None, "id": 1},
        {"code": -1121, "msg": "Invalid symbol."},
    ],
    "binance-usdm": [
        {
            "stream": "btcusdt@depth",
            "data": {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 2, "u": 3, "pu": 1}
            | {"b": [["1.0", "2.0"]], "a": []},
        },
        {
            "stream": "btcusdt@depth5@100ms",
            "data": {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 2, "u": 3, "pu": 1}
            | {"b": [["1.0", "3.0"]], "a": [["2.0", "1.0"]]},
        },
        {"e": "bookTicker", "u": 1, "s": "BTCUSDT", "b": "1.0", "B": "1.0", "a": "2.0", "A": "1.0", "T": 1, "E": 2},
        {"lastUpdateId": 7, "E": 1, "T": 1, "bids": [["1.0", "1.0"]], "asks": [["2.0", "1.0"]]},
    ],
    "bitfinex": [
        {"event": "conf", "status": "OK", "flags": 65536},
        {"event": "subscribed", "channel": "book", "chanId": 7, "symbol": "tBTCUSD", "prec": "P0", "len": "25"},
        {"event": "subscribed", "channel": "trades", "chanId": 8, "symbol": "tBTCUSD"},
        [7, [[1.5, 1, 2.5], [1.6, 1, -3]], 1],
        [7, [1.5, 0, 1], 2],
        [8, "te", [5, 1618665870435, -1.5, 2], 3],
        [8, [[6, 1618665870435, 1.5, 2]], 4],
        [7, "hb", 5],
    ],
    "bitmex": [
        {"table": "orderBookL2", "action": "partial", "filter": {"symbol": "XBTUSD"}}
        | {"data": [{"symbol": "XBTUSD", "id": 1, "side": "Buy", "size": "2.0", "price": 1.5}]},
        {"table": "orderBookL2", "action": "update"}
        | {"data": [{"symbol": "XBTUSD", "id": 1, "side": "Buy", "size": 3}]},
        {"table": "orderBook10", "action": "update"}
        | {
            "data": [
                {"symbol": "ETHUSD", "bids": [[1, 2]], "asks": [[3, 4]], "timestamp": "2021-07-22T22:36:10.014Z"}
            ]
        },
        {"table": "trade", "action": "insert"}
        | {
            "data": [
                {"symbol": "XBTUSD", "side": "Buy", "size": 5, "price": 1.5}
                | {"timestamp": "2021-07-22T22:36:10.014Z"}
            ]
        },
        {"table": "quote", "action": "insert"}
        | {
            "data": [
                {"symbol": "XBTUSD", "bidSize": 1, "bidPrice": 1.5, "askPrice": None}
                | {"timestamp": "2021-07-22T22:36:10.014Z"}
            ]
        },
        {"success": True, "subscribe": "orderBookL2:XBTUSD"},
    ],
    "bybit": [
        {"topic": "orderbook.50.BTCUSDT", "type": "snapshot", "ts": 5, "cts": 4}
        | {"data": {"s": "BTCUSDT", "b": [["1.0", "2.0"]], "a": [["2.0", "1.0"]], "u": 7, "seq": 9}},
        {"topic": "orderbook.50.BTCUSDT", "type": "delta", "ts": 5}
        | {"data": {"s": "BTCUSDT", "b": [["1.0", "0"]], "a": [], "u": 8, "seq": 10}},
        {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 5}
        | {"data": [{"T": 1, "s": "BTCUSDT", "S": "Buy", "v": "1.0", "p": "2", "i": "9", "seq": 1}]},
        {"topic": "tickers.BTCUSDT", "type": "snapshot", "ts": 5, "cs": 3}
        | {"data": {"bid1Price": "1", "bid1Size": "2", "ask1Price": "3", "ask1Size": "4"}},
        {"success": True, "ret_msg": "", "op": "subscribe"},
    ],
    "bitget": [
        {"action": "snapshot", "arg": {"instType": "sp", "channel": "books", "instId": "EOSUSDT"}}
        | {"data": [{"asks": [["2.0", "1.0"]], "bids": [["1.0", "2.0"]], "checksum": -5, "ts": "1649290076333"}]},
        {"action": "update", "arg": {"instType": "sp", "channel": "books", "instId": "EOSUSDT"}}
        | {"data": [{"asks": [["2.0", "0"]], "bids": [], "checksum": 7, "ts": "1649290076333"}]},
        {"action": "update", "arg": {"instType": "mc", "channel": "trade", "instId": "EOSUSDT"}}
        | {"data": [["1649290076333", "1.0", "2.0", "sell"]]},
        {"action": "snapshot", "arg": {"instType": "sp", "channel": "ticker", "instId": "EOSUSDT"}}
        | {"data": [{"bestBid": "1", "bidSz": "2", "bestAsk": "3", "askSz": "4", "ts": 1649290076034}]},
        {"event": "subscribe", "arg": {"instType": "sp", "channel": "books", "instId": "EOSUSDT"}},
        {"action": "update", "arg": {"instType": "SPOT", "channel": "books", "instId": "EOSUSDT"}}
        | {"data": [{"asks": [["2.0", "0"]], "bids": [], "checksum": 7, "seq": 9, "ts": "1649290076333"}]},
        {"action": "update", "arg": {"instType": "USDT-FUTURES", "channel": "trade", "instId": "EOSUSDT"}}
        | {"data": [{"ts": "1695709835822", "price": "1.0", "size": "2.0", "side": "buy", "tradeId": "17"}]},
        {"action": "snapshot", "arg": {"instType": "COIN-FUTURES", "channel": "ticker", "instId": "EOSUSD"}}
        | {"data": [{"bidPr": "1", "bidSz": "2", "askPr": "3", "askSz": "4", "ts": "1649290076034"}]},
    ],
    "coinbase-exchange": [
        {"type": "snapshot", "product_id": "BTC-USD", "bids": [["1.0", "2.0"]], "asks": [["3.0", "0.5"]]},
        {"type": "l2update", "product_id": "BTC-USD", "changes": [["buy", "1.0", "0.0"], ["sell", "3.0", "1.5"]]}
        | {"time": "2019-08-14T20:42:27.265Z"},
        {"type": "match", "trade_id": 10, "sequence": 50, "side": "sell", "size": "5.2", "price": "4.0"}
        | {"product_id": "BTC-USD", "time": "2014-11-07T08:19:27.028459Z"},
        {"type": "heartbeat", "sequence": 9, "last_trade_id": 20, "product_id": "BTC-USD", "time": "2014-11-07"},
        {"type": "ticker", "sequence": 3, "product_id": "BTC-USD", "best_bid": "1.0", "best_bid_size": "2.0"}
        | {"best_ask": "3.0", "best_ask_size": "1.0", "time": "2022-10-19T23:28:22.061769Z"},
        {"type": "subscriptions", "channels": [{"name": "level2", "product_ids": ["BTC-USD"]}]},
        {"type": "status", "products": [{"id": "ETH-USD", "base_currency": "ETH", "quote_currency": "USD"}]},
    ],
    "polygon": [
        [
            {"ev": "T", "sym": "MSFT", "x": 4, "i": "12345", "p": 114.125, "s": 100, "c": [0], "t": 1536036818784}
            | {"q": 3681328},
            {
                "ev": "Q",
                "sym": "MSFT",
                "bp": 114.125,
                "bs": 100,
                "ap": 114.128,
                "as": 160,
                "t": 1536036818784,
                "q": 5,
            },
        ],
        [{"ev": "C", "p": "USD/CNH", "x": "44", "a": 6.83366, "b": 6.83363, "t": 1536036818784}],
        [{"ev": "LULD", "T": "MSFT", "h": 218.94, "l": 218.25, "i": [21], "t": 1601316612585, "q": 8918506}],
        [{"ev": "status", "status": "success", "message": "subscribed to: T.MSFT"}],
    ],
    "coinbase": [
        {"channel": "l2_data", "timestamp": "2026-08-09T21:05:48.483587501Z", "sequence_num": 1}
        | {
            "events": [
                {"type": "snapshot", "product_id": "BTC-USD"}
                | {
                    "updates": [
                        {"side": "bid", "price_level": "1.0", "new_quantity": "2.0"},
                        {"side": "offer", "price_level": "3.0", "new_quantity": "0.5"},
                    ]
                }
            ]
        },
        {"channel": "market_trades", "timestamp": "2026-08-09T21:05:48Z", "sequence_num": 2}
        | {
            "events": [
                {"type": "update"}
                | {
                    "trades": [
                        {"product_id": "BTC-USD", "trade_id": "9", "price": "1", "size": "2"}
                        | {"time": "2026-08-09T21:05:42.5Z", "side": "SELL"}
                    ]
                }
            ]
        },
        {"channel": "ticker", "timestamp": "2026-08-09T21:05:48Z", "sequence_num": 3}
        | {
            "events": [
                {
                    "tickers": [
                        {"product_id": "BTC-USD", "best_bid": "1", "best_bid_quantity": "2"}
                        | {"best_ask": "3", "best_ask_quantity": "4"}
                    ]
                }
            ]
        },
        {"channel": "subscriptions", "timestamp": "2026-08-09T21:05:48Z", "sequence_num": 9}
        | {"events": [{"subscriptions": {"level2": ["BTC-USD"]}}]},
    ],
    "deribit": [
        {"jsonrpc": "2.0", "method": "subscription"}
        | {
            "params": {
                "channel": "book.BTC-PERPETUAL.raw",
                "data": {"type": "snapshot", "timestamp": 1626993723632, "instrument_name": "BTC-PERPETUAL"}
                | {"change_id": 5, "bids": [["new", 1.0, 2.0]], "asks": [["new", 3.0, "2.0"]]},
            }
        },
        {"jsonrpc": "2.0", "method": "subscription"}
        | {
            "params": {
                "channel": "book.BTC-PERPETUAL.raw",
                "data": {"type": "change", "timestamp": 1626993723632, "instrument_name": "BTC-PERPETUAL"}
                | {"change_id": 6, "prev_change_id": 5, "bids": [["delete", 1.0, 0.0]], "asks": []},
            }
        },
        {"method": "subscription"}
        | {
            "params": {
                "channel": "trades.BTC-PERPETUAL.raw",
                "data": [
                    {"trade_seq": 1, "trade_id": "ETH-2", "timestamp": 3, "price": 1.5, "amount": 10}
                    | {"instrument_name": "BTC-PERPETUAL", "direction": "buy"}
                ],
            }
        },
        {"method": "subscription"}
        | {
            "params": {
                "channel": "ticker.BTC-PERPETUAL.raw",
                "data": {"timestamp": 3, "instrument_name": "BTC-PERPETUAL", "best_bid_price": 1.5}
                | {"best_bid_amount": 1.0, "best_ask_price": None, "best_ask_amount": 0.0},
            }
        },
        {"id": 0, "result": ["book.BTC-PERPETUAL.raw"]},
    ],
    "kraken-futures": [
        {"feed": "book_snapshot", "product_id": "PI_ETHUSD", "timestamp": 1626994925378, "seq": 4}
        | {"bids": [{"price": 1.5, "qty": 2.0}], "asks": [{"price": 1.6, "qty": "2.0"}]},
        {"feed": "book", "product_id": "PI_ETHUSD", "side": "sell", "seq": 5, "price": 2.85, "qty": 0.0}
        | {"timestamp": 1626994927744},
        {"feed": "trade", "product_id": "PI_ETHUSD", "side": "buy", "seq": 1, "time": 5, "qty": 3.0, "price": 1.5},
        {"feed": "ticker", "product_id": "PI_ETHUSD", "bid": 1.5, "bid_size": 1, "ask": 2, "ask_size": 3, "time": 4},
        {"event": "subscribed", "feed": "book", "product_ids": ["PI_ETHUSD"]},
    ],
    "kucoin": [
        {"type": "message", "topic": "/market/level2:FET-BTC"}
        | {
            "data": {"symbol": "FET-BTC", "sequenceStart": 1, "sequenceEnd": 2}
            | {"changes": {"asks": [["1.5", "2.0", "1"]], "bids": [["0", "0", "2"]]}}
        },
        {"type": "message", "topic": "/market/match:FET-BTC"}
        | {
            "data": {"symbol": "FET-BTC", "sequence": "3", "side": "buy", "size": "1", "price": "1.5"}
            | {"time": "1619378327739050725", "tradeId": "6085"}
        },
        {"type": "message", "topic": "/market/ticker:FET-BTC", "subject": "trade.ticker"}
        | {
            "data": {"sequence": "3", "time": 1619378326323, "bestBid": "1", "bestBidSize": "2"}
            | {"bestAsk": "2", "bestAskSize": "2"}
        },
        {"id": "1", "type": "ack"},
    ],
}
ADDRESSES = {"bybit": "wss://stream.bybit.com/v5/public/linear"}
"""Where the address of a venue's connection says something."""

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["", "NaN", "Infinity", "-1", "1e999999999", "1e-999999999", "9" * 40, "0." + "0" * 40 + "1", "٣", "1_0"]
    ),
    st.text(max_size=12),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


def try_decode(venue: str, *frames: Frame) -> None:
    """Decode the frames; a DecodeError is right, the records must be whole in any case."""
    adapter, out = adapter_for(venue, InstrumentRegistry()), EventBuilder()
    defined: set[int] = set()
    for one in frames:
        out.begin(TS, source=1)
        with contextlib.suppress(DecodeError):
            adapter.decode(one, out)
        for record in taken(out):
            record.fields()
            defined |= {record.instrument} if record.kind == Kind.INSTRUMENT else set()
            assert record.instrument == 0 or record.instrument in defined


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [prefix] if prefix else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += paths(inner, (*prefix, key))
    return found


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_changed_messages_give_records_or_decode_errors(data: st.DataObject) -> None:
    venue = data.draw(st.sampled_from(sorted(GOOD)))
    messages = []
    for message in GOOD[venue]:
        changed = copy.deepcopy(message)
        *way, last = data.draw(st.sampled_from(paths(changed)))
        target = changed
        for key in way:
            target = target[key]
        if data.draw(st.booleans()):
            target[last] = data.draw(values)
        else:
            del target[last]
        address = ADDRESSES.get(venue, "wss://test")
        messages += [frame(changed, address=address), frame(message, address=address)]
    try_decode(venue, *messages)


@settings(max_examples=100, deadline=None)
@given(values, st.sampled_from([WireForm.TEXT, WireForm.HTTP, WireForm.SENT, WireForm.CONFIG, WireForm.CONNECTED]))
def test_any_json_gives_records_or_decode_errors(value: Any, form: WireForm) -> None:
    addresses = {
        "kraken": "https://api.kraken.com/0/public/AssetPairs",
        "okx": "https://www.okx.com/api/v5/public/instruments?instType=SPOT",
        "binance": "https://api.binance.com/api/v3/exchangeInfo",
        "nasdaq": "lobster:AMZN:2012-06-21:1",
    }
    for venue, address in addresses.items():
        for shape in (value, {"error": [], "code": "0", "result": value, "data": value, "symbols": value}):
            try_decode(venue, frame(shape, form=form, address=address))


@given(st.binary(max_size=60))
def test_any_bytes_give_records_or_decode_errors(payload: bytes) -> None:
    for venue in venues():
        for form in (WireForm.TEXT, WireForm.BINARY, WireForm.HTTP, WireForm.SENT):
            for address in ("", "lobster:AMZN:2012-06-21:1", "https://x/api/v3/depth?symbol=BTCUSDT&limit=x"):
                try_decode(venue.name, Frame(form, 1, address, TS, payload))


@pytest.mark.parametrize("venue", sorted(GOOD))
def test_deep_nesting_is_a_decode_error(venue: str) -> None:
    adapter, out = adapter_for(venue, InstrumentRegistry()), EventBuilder()
    out.begin(TS)
    with pytest.raises(DecodeError):
        adapter.decode(frame(b"[" * 200_000 + b"]" * 200_000), out)
    assert len(out) == 0


@pytest.mark.parametrize("venue", sorted(set(GOOD) - {"bitfinex", "polygon"}))  # channels by number; no book
@pytest.mark.parametrize("bad", ["NaN", "-5", "1" * 30, "", "1,5", "0x10"])
def test_bad_size_marks_the_instrument_and_keeps_the_rest(venue: str, bad: str) -> None:
    adapter, out = adapter_for(venue, InstrumentRegistry()), EventBuilder()
    book = next(
        message
        for message in GOOD[venue]
        if any(
            word in json.dumps(message)
            for word in (
                "depthUpdate",
                "order_book_update",
                "books",
                "book-10",
                "orderbook",
                "l2_data",
                '"snapshot"',
                "book_snapshot",
                "book.",
                "level2",
                "orderBookL2",
            )
        )
    )
    text = json.dumps(book).replace('"1.0"', f'"{bad}"', 1) if venue == "kraken" else ""
    text = text or json.dumps(book).replace('["1", "1"', f'["1", "{bad}"').replace('"2.0"', f'"{bad}"')
    out.begin(TS)
    with pytest.raises(DecodeError):
        adapter.decode(frame(text.encode(), address=ADDRESSES.get(venue, "wss://test")), out)
    records = taken(out)
    marks = [record for record in records if record.kind == Kind.STATUS]
    assert [record.fields()["code"] for record in marks] == [StatusCode.DECODE_ERROR]
    assert marks[0].instrument == 1
    assert marks[0].fields()["details"]["channel"] == "book"
    if not venue.startswith("binance") and venue not in ("gateio", "kucoin"):
        assert len([record for record in records if record.kind == Kind.BOOK_SNAPSHOT]) == 1
        position = [record.kind for record in records]
        assert position.index(Kind.BOOK_SNAPSHOT) < position.index(Kind.STATUS)
