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
}

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
        messages += [frame(changed), frame(message)]
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


@pytest.mark.parametrize("venue", sorted(GOOD))
@pytest.mark.parametrize("bad", ["NaN", "-5", "1" * 30, "", "1,5", "0x10"])
def test_bad_size_marks_the_instrument_and_keeps_the_rest(venue: str, bad: str) -> None:
    adapter, out = adapter_for(venue, InstrumentRegistry()), EventBuilder()
    book = next(
        message
        for message in GOOD[venue]
        if "depthUpdate" in json.dumps(message) or "books" in json.dumps(message) or "book-10" in json.dumps(message)
    )
    text = json.dumps(book).replace('"1.0"', f'"{bad}"', 1) if venue == "kraken" else ""
    text = text or json.dumps(book).replace('["1", "1"', f'["1", "{bad}"').replace('"2.0"', f'"{bad}"')
    out.begin(TS)
    with pytest.raises(DecodeError):
        adapter.decode(frame(text.encode()), out)
    records = taken(out)
    marks = [record for record in records if record.kind == Kind.STATUS]
    assert [record.fields()["code"] for record in marks] == [StatusCode.DECODE_ERROR]
    assert marks[0].instrument == 1
    assert marks[0].fields()["details"]["channel"] == "book"
    if venue != "binance":
        assert len([record for record in records if record.kind == Kind.BOOK_SNAPSHOT]) == 1
        position = [record.kind for record in records]
        assert position.index(Kind.BOOK_SNAPSHOT) < position.index(Kind.STATUS)
