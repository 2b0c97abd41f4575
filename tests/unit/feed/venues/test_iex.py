"""IEX: levels of a transaction together, restarts as sessions, TOPS quotes, DEEP+ orders, bytes of any kind."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MIN, Action, Flag, Kind, Side, StatusCode, TradeType, WireForm
from chronicle.core.records import Record
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.transports.packet import IEX_HEADER
from chronicle.feed.venues.iex import IexAdapter

TOPS, DEEP, DEEP_PLUS = 0x8003, 0x8004, 0x8005
TS = 1_700_000_000 * 10**9


def packet(first: int, *messages: bytes, protocol: int = DEEP, sent: int = 0, session: int = 9) -> bytes:
    body = b"".join(struct.pack("<H", len(message)) + message for message in messages)
    head = IEX_HEADER.pack(1, 0, protocol, 1, session, len(body), len(messages), 0, first, sent or TS + first)
    return head + body


def level(side: str, price: int, size: int, *, symbol: bytes = b"AAPL", complete: bool = True) -> bytes:
    return struct.pack("<cBq8sIq", side.encode(), complete, TS, symbol.ljust(8), size, price)


def trade(kind: str = "T", flags: int = 0) -> bytes:
    return struct.pack("<cBq8sIqq", kind.encode(), flags, TS, b"AAPL    ", 100, 1_500_000, 77)


def state(kind: str, code: bytes, tail: bytes = b"") -> bytes:
    return kind.encode() + code + struct.pack("<q8s", TS, b"AAPL    ") + tail


class Run:
    def __init__(self) -> None:
        self.adapter, self.out = IexAdapter(InstrumentRegistry()), EventBuilder()
        self.errors: list[str] = []

    def take(self, payload: bytes, form: WireForm = WireForm.BINARY) -> list[list[Record]]:
        """Return the events of a frame."""
        self.out.begin(TS, source=1)
        try:
            self.adapter.decode(Frame(form, 1, "iextp://233.215.21.4:10378", TS, payload), self.out)
        except DecodeError as error:
            self.errors.append(error.message)
        data, _ = self.out.take()
        events: list[list[Record]] = [[]]
        view = memoryview(bytes(data))
        while view:
            record = Record(view[: Record(view).length])
            events[-1].append(record)
            if record.is_last:
                events.append([])
            view = view[record.length :]
        assert not events[-1]
        return events[:-1]


def rows(event: list[Record]) -> list[Any]:
    return [(r.side, r.fields()["price"], r.fields()["size"]) for r in event if r.kind == Kind.BOOK_DELTA]


def kinds(events: list[list[Record]]) -> list[int]:
    return [record.kind for event in events for record in event]


def statuses(events: list[list[Record]]) -> list[tuple[int, dict[str, Any]]]:
    return [(r.fields()["code"], r.fields()["details"]) for e in events for r in e if r.kind == Kind.STATUS]


def test_levels_of_one_transaction_are_one_event_over_packets_and_other_messages() -> None:
    run = Run()
    first = run.take(packet(1, level("8", 100, 5, complete=False), trade(), level("8", 90, 5, complete=False)))
    assert Kind.BOOK_DELTA not in kinds(first)
    assert Kind.TRADE in kinds(first)
    other = run.take(packet(4, level("5", 70, 1, symbol=b"IBM")))
    assert rows(other[-1]) == [(Side.ASK, 70, 1)]
    (event,) = run.take(packet(5, level("5", 110, 0)))
    assert rows(event) == [(Side.BID, 100, 5), (Side.BID, 90, 5), (Side.ASK, 110, 0)]
    assert [record.sequence for record in event] == [1, 3, 5]
    assert not any(record.flags & Flag.MAYBE_BAD_BOOK for record in event)


def test_a_session_seen_from_its_start_begins_with_empty_books_and_a_late_one_does_not() -> None:
    run = Run()
    events = run.take(packet(1, level("8", 100, 5)))
    assert kinds(events) == [Kind.STATUS, Kind.INSTRUMENT, Kind.BOOK_SNAPSHOT, Kind.BOOK_DELTA]
    late = Run()
    assert Kind.BOOK_SNAPSHOT not in kinds(late.take(packet(50, level("8", 100, 5))))


def test_a_restart_empties_all_books_and_is_no_gap() -> None:
    run = Run()
    run.take(packet(1, level("8", 100, 5), level("8", 100, 5, symbol=b"IBM")))
    events = run.take(packet(1, level("8", 90, 7), sent=TS + 1_000))
    assert StatusCode.LOST not in [code for code, _ in statuses(events)]
    snapshots = [r for e in events for r in e if r.kind == Kind.BOOK_SNAPSHOT]
    assert [record.fields()["bids"] for record in snapshots] == [[], [], []]  # both books, and AAPL's new start
    assert rows(events[-1]) == [(Side.BID, 90, 7)]


def test_the_same_packet_again_gives_nothing_and_a_hole_is_told() -> None:
    run = Run()
    run.take(packet(1, level("8", 100, 5)))
    assert run.take(packet(1, level("8", 100, 5))) == []
    run.take(packet(2, level("8", 95, 5, complete=False)))
    events = run.take(packet(6, level("8", 90, 5)))
    assert events[0][0].flags & Flag.MAYBE_BAD_BOOK  # its transaction will never be whole
    assert statuses(events) == [(StatusCode.LOST, {"first": 3, "last": 5})]
    heartbeat = run.take(packet(9))
    assert statuses(heartbeat) == [(StatusCode.LOST, {"first": 7, "last": 8})]


def test_what_is_held_back_is_written_when_the_line_ends() -> None:
    run = Run()
    run.take(packet(1, level("8", 100, 5, complete=False)))
    (event,) = run.take(b"", WireForm.DISCONNECTED)
    assert rows(event) == [(Side.BID, 100, 5)]
    assert event[0].flags & Flag.MAYBE_BAD_BOOK


def test_tops_gives_quotes_and_trades() -> None:
    run = Run()
    quote = struct.pack("<cBq8sIqqI", b"Q", 0, TS, b"AAPL    ", 100, 1_490_000, 1_500_000, 0)
    events = run.take(packet(1, quote, trade(flags=0x08), trade("B"), protocol=TOPS))
    found = next(r for e in events for r in e if r.kind == Kind.QUOTE).fields()
    assert found == {"bid_price": 1_490_000, "bid_size": 100, "ask_price": INT64_MIN, "ask_size": 0}
    crossed = next(r for e in events for r in e if r.kind == Kind.TRADE)
    assert (crossed.side, crossed.fields()["type"], crossed.fields()["trade_id"]) == (0, TradeType.CROSS, 77)
    assert statuses(events)[-1][1]["state"] == "trade broken"


def test_states_that_change_reach_the_book_and_usual_ones_do_not() -> None:
    run = Run()
    usual = run.take(packet(1, state("H", b"T", b"    "), state("O", b"N"), state("P", b"\0", b" ")))
    assert all(details["channel"] == "status" for _, details in statuses(usual)[1:])
    halted = run.take(packet(4, state("H", b"H", b"T1  "), state("H", b"T", b"    "), state("O", b"O")))
    assert [(code, details.get("channel")) for code, details in statuses(halted)] == [
        (StatusCode.HALTED, None),
        (StatusCode.RESUMED, None),
        (StatusCode.HALTED, None),
    ]
    assert statuses(halted)[0][1]["reason"] == "T1"


def test_a_directory_entry_defines_the_instrument() -> None:
    run = Run()
    entry = struct.pack("<cBq8sIqB", b"D", 0x80, TS, b"AAPL    ", 100, 1_500_000, 1)
    events = run.take(packet(1, entry))
    fields = next(r for e in events for r in e if r.kind == Kind.INSTRUMENT).fields()
    assert (fields["price_exponent"], fields["size_exponent"], fields["lot"]) == (4, 0, 100)
    assert fields["details"]["symbol"] == "iex:AAPL"


def test_unknown_types_are_told_and_short_ones_are_errors() -> None:
    run = Run()
    events = run.take(packet(1, b"z" * 12, b"8\x01", level("8", -5, 1), level("8", 10, 1)))
    assert ("unknown message", "z") in [(d.get("problem"), d.get("type")) for _, d in statuses(events)]
    assert len(run.errors) == 1
    assert rows(events[-1]) == [(Side.BID, 10, 1)]


def test_a_datagram_cut_off_is_a_hole() -> None:
    run = Run()
    whole = packet(1, level("8", 100, 5), level("8", 90, 5))
    events = run.take(whole[:-4])
    assert (StatusCode.LOST, {"first": 2, "last": 2}) in statuses(events)
    assert len(run.errors) == 1


def order(kind: str, order_id: int, body: bytes, code: int = 0) -> bytes:
    return struct.pack("<cBq8sq", kind.encode(), code, TS, b"AAPL    ", order_id) + body


def test_deep_plus_orders_follow_dbn() -> None:
    run = Run()
    add = order("a", 7, struct.pack("<Iq", 300, 1_000_000), ord("8"))
    modify = order("M", 7, struct.pack("<Iq", 200, 1_010_000))
    executed = order("L", 7, struct.pack("<Iqq", 50, 1_010_000, 99))
    delete = order("R", 7, b"")
    events = run.take(packet(1, add, modify, executed, delete, protocol=DEEP_PLUS))
    found = [r for e in events for r in e if r.kind in (Kind.ORDER, Kind.TRADE)]
    assert [(r.fields().get("action"), r.side, r.fields()["price"], r.fields()["size"]) for r in found] == [
        (Action.CLEAR, 0, 0, 0),
        (Action.ADD, Side.BID, 1_000_000, 300),
        (Action.MODIFY, Side.BID, 1_010_000, 200),
        (Action.FILL, Side.BID, 1_010_000, 50),
        (Action.CANCEL, Side.BID, 1_010_000, 50),
        (None, Side.ASK, 1_010_000, 50),
        (Action.CANCEL, Side.BID, 1_010_000, 150),
    ]
    definition = next(r for e in events for r in e if r.kind == Kind.INSTRUMENT).fields()
    assert definition["driver"] == Kind.ORDER
    run.take(packet(5, delete, protocol=DEEP_PLUS))
    assert len(run.errors) == 1  # all messages were seen, and there is no such order
    late = Run()
    told = late.take(packet(500, delete, delete, protocol=DEEP_PLUS))
    assert [code for code, _ in statuses(told)].count(StatusCode.ERROR) == 1
    assert not late.errors


def test_an_unknown_protocol_is_refused() -> None:
    run = Run()
    run.take(packet(1, protocol=0x8099))
    assert "0x8099" in run.errors[0]


GOOD = [level("8", 100, 5), level("5", 110, 0, complete=False), trade(), trade("B"), state("H", b"H", b"T1  ")]


@pytest.mark.parametrize("protocol", [TOPS, DEEP, DEEP_PLUS])
@given(data=st.data())
def test_any_bytes_give_records_or_a_counted_error(protocol: int, data: st.DataObject) -> None:
    orders = [order("a", 7, struct.pack("<Iq", 300, 1_000_000), ord("8")), order("M", 7, struct.pack("<Iq", 1, 2))]
    payload = bytearray(packet(1, *GOOD, *orders, protocol=protocol))
    for _ in range(data.draw(st.integers(0, 12))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    run = Run()
    run.take(bytes(payload))
    run.take(bytes(payload[: data.draw(st.integers(0, len(payload)))]))
    run.take(data.draw(st.binary(max_size=120)))
