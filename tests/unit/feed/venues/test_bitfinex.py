"""Bitfinex v2 messages."""

from __future__ import annotations

from typing import Any

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.layout import INT64_MAX, Kind, Side, StatusCode, WireForm
from chronicle.core.records import InstrumentFields, Record
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.bitfinex import BitfinexAdapter
from tests.support.frames import decoded, frame


def subscribed(by: BitfinexAdapter, flags: int = 65536) -> BitfinexAdapter:
    decoded(
        by,
        {"event": "conf", "status": "OK", "flags": flags},
        {"event": "subscribed", "channel": "book", "chanId": 7, "symbol": "tBTCUSD", "prec": "P0", "len": "25"},
        {"event": "subscribed", "channel": "trades", "chanId": 8, "symbol": "tBTCUSD"},
    )
    return by


def adapter(flags: int = 65536) -> BitfinexAdapter:
    return subscribed(BitfinexAdapter(InstrumentRegistry()), flags)


def statuses(records: list[Record]) -> list[Any]:
    return [record.fields()["code"] for record in records if record.kind == Kind.STATUS]


def test_sign_of_the_amount_is_the_side_and_count_zero_deletes() -> None:
    by = adapter()
    instrument, snapshot = decoded(by, [7, [[60417, 1, 0.5], [60423.5, 1, -0.25]], 1])
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.symbol, fields.book_depth) == ("bitfinex:BTC-USD", 0)
    assert (snapshot.fields()["bids"], snapshot.fields()["asks"]) == ([(604170, 50)], [(604235, 25)])
    gone = decoded(by, [7, [60423.5, 0, -1], 2])[-1]
    assert (gone.side, gone.sequence, gone.fields()["price"], gone.fields()["size"]) == (Side.ASK, 2, 604235, 0)


def test_full_side_is_known_to_its_last_level() -> None:
    fields = decoded(adapter(), [7, [[100 - at, 1, 0.5] for at in range(25)], 1])[-1].fields()
    assert (fields["bid_floor"], fields["ask_ceiling"]) == (76, INT64_MAX)


def test_count_goes_over_all_channels() -> None:
    by = adapter()
    decoded(by, [7, [[1, 1, 1]], 1])
    assert decoded(by, [99, "hb", 2]) == []
    assert statuses(decoded(by, [8, "hb", 4])) == [StatusCode.LOST]


def test_times_and_counts_are_read_as_the_flags_say() -> None:
    by = adapter(65536 | 32768)
    record = decoded(by, [7, [[1, 1, 1]], 9, 1618665870435])[-1]
    assert (record.sequence, record.ts_event) == (9, 1618665870_435000000)
    assert decoded(adapter(0), [7, [[1, 1, 1]]])[-1].sequence == -1


def test_trades_come_once_and_name_the_taker() -> None:
    by = adapter()
    old = decoded(by, [8, [[6, 1618665870436, 1.5, 2], [5, 1618665870435, -1.5, 2]], 1])
    assert [(r.fields()["trade_id"], r.side) for r in old if r.kind == Kind.TRADE] == [(5, Side.ASK), (6, Side.BID)]
    assert decoded(by, [8, "te", [7, 1618665870437, 1, 2], 2])[-1].fields()["trade_id"] == 7
    assert decoded(by, [8, "tu", [7, 1618665870437, 1, 2], 3]) == []


def test_new_connection_forgets_channels() -> None:
    by = adapter()
    decoded(by, frame(b"", form=WireForm.CONNECTED))
    with pytest.raises(DecodeError, match="no subscribed channel"):
        decoded(by, [7, [1, 1, 1]])


def test_raw_book_is_refused() -> None:
    by = adapter()
    decoded(
        by, {"event": "subscribed", "channel": "book", "chanId": 9, "symbol": "tBTCUSD", "prec": "R0", "len": "25"}
    )
    with pytest.raises(DecodeError, match="raw"):
        decoded(by, [9, [[1, 2, 3]], 1])
