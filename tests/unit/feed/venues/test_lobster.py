"""LOBSTER rows."""

from __future__ import annotations

import pytest

from chronicle.core.errors import DecodeError
from chronicle.core.layout import Action, Kind, Side, StatusCode, TradeType
from chronicle.core.records import InstrumentFields, Record
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues.lobster import LobsterAdapter
from tests.support.frames import TS, decoded, frame

FIRST = "34200.1,1,11,21,2238100,1\n2239500,100,2238100,21,2239900,100,2231800,100"
EMPTY_ASKS = "34200.2,3,12,100,2239500,-1\n2239900,100,2238100,21,9999999999,0,2231800,100"


def adapter() -> LobsterAdapter:
    return LobsterAdapter(InstrumentRegistry())


def rows(text: str) -> Frame:
    return frame(text.encode(), address="lobster:AMZN:2012-06-21:2")


def deltas(records: list[Record]) -> list[tuple[int, int, int]]:
    kept = [record for record in records if record.kind == Kind.BOOK_DELTA]
    return [(record.side, record.fields()["price"], record.fields()["size"]) for record in kept]


def test_first_row_is_a_snapshot_with_its_order() -> None:
    instrument, order, snapshot = decoded(adapter(), rows(FIRST))
    fields = InstrumentFields.unpack(instrument.body)
    assert (fields.symbol, fields.price_exponent, fields.size_exponent, fields.book_depth) == ("nasdaq:AMZN", 4, 0, 2)
    assert (order.side, order.fields()["action"], order.fields()["code"]) == (Side.BID, Action.ADD, 1)
    assert snapshot.fields()["asks"] == [(2239500, 100), (2239900, 100)]
    assert snapshot.fields()["bids"] == [(2238100, 21), (2231800, 100)]
    assert {record.ts_event for record in (order, snapshot)} == {TS}


def test_rows_become_their_difference_removals_first() -> None:
    assert deltas(decoded(adapter(), rows(FIRST), rows(EMPTY_ASKS))) == [(Side.ASK, 2239500, 0)]
    assert deltas(decoded(adapter(), rows(FIRST), rows(EMPTY_ASKS), rows(FIRST))) == [(Side.ASK, 2239500, 100)]
    shifted = "34200.3,1,13,5,2239400,-1\n2239400,5,2238100,20,2239500,100,2231800,100"
    assert deltas(decoded(adapter(), rows(FIRST), rows(shifted))) == [
        (Side.ASK, 2239900, 0),
        (Side.ASK, 2239400, 5),
        (Side.BID, 2238100, 20),
    ]


def test_executions_are_trades_of_the_other_side() -> None:
    book = FIRST.partition("\n")[2]
    order, trade = decoded(adapter(), rows(FIRST), rows(f"34200.4,4,11,1,2238100,1\n{book}"))
    assert (order.fields()["action"], trade.side, trade.fields()["type"]) == (Action.FILL, Side.ASK, TradeType.PLAIN)
    order, trade = decoded(adapter(), rows(FIRST), rows(f"34200.4,5,0,1,2238200,-1\n{book}"))
    assert (order.fields()["action"], trade.side, trade.fields()["type"]) == (
        Action.TRADE,
        Side.BID,
        TradeType.HIDDEN,
    )


@pytest.mark.parametrize(("price", "code"), [(-1, StatusCode.HALTED), (0, StatusCode.VENUE), (1, StatusCode.RESUMED)])
def test_halts_are_statuses(price: int, code: StatusCode) -> None:
    book = FIRST.partition("\n")[2]
    (status,) = decoded(adapter(), rows(FIRST), rows(f"34200.4,7,0,0,{price},-1\n{book}"))
    assert (status.instrument, status.fields()["code"]) == (1, code)


@pytest.mark.parametrize(
    "bad",
    [
        "34200.2,9,1,1,1,1\n1,1,1,1,2,1,2,1",
        "34200.2,1,1,1,1,1\n1,1,1",
        "x",
        "34200.2,1,-1,1,1,1\n1,1,1,1,2,1,2,1",
        "34200.2,1,1,1,1,1\n1,1,1,1,2,-1,2,1",
        "34200.2,1,1,1,1,1\n1,1_0,1,1,2,1,2,1",
    ],
)
def test_bad_row_marks_the_instrument_and_the_next_row_is_a_snapshot(bad: str) -> None:
    lobster = adapter()
    decoded(lobster, rows(FIRST))
    with pytest.raises(DecodeError):
        decoded(lobster, rows(bad))
    assert [record.kind for record in decoded(lobster, rows(FIRST))] == [Kind.ORDER, Kind.BOOK_SNAPSHOT]
