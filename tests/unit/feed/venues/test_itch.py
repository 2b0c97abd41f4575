"""ITCH 5.0: the kernels against their naive twin, sessions, and bytes of any kind."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronicle.core.errors import DecodeError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import NONE, Action, Kind, StatusCode, WireForm
from chronicle.core.records import Record
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.kernels import itch as kernel
from chronicle.feed.transports.itch_messages import MESSAGE_BYTES, MESSAGE_NAMES
from chronicle.feed.venues import adapter_for
from chronicle.feed.venues.itch import ItchAdapter
from tests.support.itch_day import ItchDay, framed, mold_packets
from tests.support.naive_itch import NaiveItch

NINE_THIRTY = 1_692_711_000 * 10**9
"""2023-08-22 13:30 UTC, 9:30 in New York."""
MIDNIGHT = NINE_THIRTY - 34_200 * 10**9


def frame(payload: bytes, ts: int = NINE_THIRTY, address: str = "moldudp64://233.54.12.1:26400") -> Frame:
    return Frame(WireForm.BINARY, 1, address, ts, payload)


class Run:
    """Frames through one adapter."""

    def __init__(self) -> None:
        self.registry = InstrumentRegistry()
        self.adapter = ItchAdapter(self.registry)
        self.out = EventBuilder()
        self.errors: list[DecodeError] = []
        self.events = 0

    def take(self, item: Frame) -> list[Record]:
        self.out.begin(item.ts_recv, source_index=7, source=item.connection)
        try:
            self.adapter.decode(item, self.out)
        except DecodeError as error:
            self.errors.append(error)
        self.events += self.out.events
        data, count = self.out.take()
        found, view = [], memoryview(bytes(data))
        while view:
            length = Record(view).length
            found.append(Record(view[:length]))
            view = view[length:]
        assert len(found) == count
        return found

    def all(self, frames: list[Frame]) -> list[Record]:
        return [record for item in frames for record in self.take(item)]


def market(records: list[Record]) -> list[Record]:
    """Orders and trades, without what opens a book."""
    kept = [record for record in records if record.kind in (Kind.ORDER, Kind.TRADE)]
    return [r for r in kept if r.kind == Kind.TRADE or r.fields()["action"] != Action.CLEAR]


def as_naive(record: Record, registry: InstrumentRegistry, day: ItchDay) -> dict[str, Any]:
    fields = record.fields()
    symbols = {number: item.venue_symbol for number, item in registry.definitions().items()}
    base = {
        "locate": int(symbols[record.instrument][3:]),
        "ns": record.ts_event - MIDNIGHT,
        "sequence": record.sequence,
        "side": record.side,
        "price": fields["price"],
        "size": fields["size"],
    }
    if record.kind == Kind.TRADE:
        assert fields["trade_id_last"] == NONE
        return base | {"trade": True, "id": fields["trade_id"], "type": fields["type"]}
    own = {"trade": False, "id": fields["order_id"], "action": fields["action"], "code": fields["code"]}
    return base | own


def expected(messages: list[bytes], twin: NaiveItch | None = None) -> list[dict[str, Any]]:
    twin = twin or NaiveItch()
    return [record for number, message in enumerate(messages, 1) for record in twin.message(message, number)]


@pytest.mark.parametrize(("per_packet", "seed"), [(1, 1), (7, 2), (500, 3)])
def test_datagrams_give_what_the_naive_twin_gives(per_packet: int, seed: int) -> None:
    day = ItchDay(seed=seed).open().trade(4_000)
    run, twin = Run(), NaiveItch()
    records = run.all([frame(packet) for packet in mold_packets(day.messages, per_packet=per_packet)])
    assert not run.errors
    assert [as_naive(record, run.registry, day) for record in market(records)] == expected(day.messages, twin)
    assert not twin.unknown
    assert {key: value[1:] for key, value in twin.orders.items()} == {
        key: (price, shares) for key, (_, _, price, shares) in day.orders.items()
    }
    assert all(record.ts_recv == NINE_THIRTY and record.source_index == 7 for record in records)


def test_each_message_is_one_event_and_books_start_with_a_clear() -> None:
    day = ItchDay(seed=4, stocks=3).open().trade(300)
    run = Run()
    records = run.all([frame(packet) for packet in mold_packets(day.messages, per_packet=10)])
    ends = [record for record in records if record.is_last]
    assert len(ends) == run.events
    events: dict[int, int] = {}
    for record in market(ends):
        events[record.sequence] = events.get(record.sequence, 0) + 1
    assert set(events.values()) == {1}
    clears = [r for r in records if r.kind == Kind.ORDER and r.fields()["action"] == Action.CLEAR]
    assert sorted(r.instrument for r in clears) == [1, 2, 3]
    for clear in clears:
        first = next(r for r in market(records) if r.instrument == clear.instrument)
        assert records.index(clear) < records.index(first)


def test_files_take_their_times_from_the_messages_and_the_day_from_the_address() -> None:
    day = ItchDay(seed=5).open().trade(1_000)
    address = "itch:S082223-v50.txt.gz:2023-08-22"
    parts = [framed(day.messages[:400]), framed(day.messages[400:])]
    first = MIDNIGHT + int.from_bytes(day.messages[0][5:11], "big")
    second = MIDNIGHT + int.from_bytes(day.messages[400][5:11], "big")
    run = Run()
    records = run.all([frame(parts[0], first, address), frame(parts[1], second, address)])
    assert not run.errors
    assert [as_naive(record, run.registry, day) for record in market(records)] == expected(day.messages)
    times = [record.ts_recv for record in records]
    assert times == sorted(times)
    spans = [(record, first if record.sequence <= 400 else second) for record in market(records)]
    assert all(record.ts_recv == min(record.ts_event, base + 10_000_000) for record, base in spans)


def test_a_line_joined_late_claims_nothing_and_tells_once_what_it_misses() -> None:
    day = ItchDay(seed=6, stocks=2).open().trade(3_000)
    packets = mold_packets(day.messages, per_packet=20)[60:]
    run, twin = Run(), NaiveItch()
    records = run.all([frame(packet) for packet in packets])
    assert not run.errors
    assert not [r for r in records if r.kind == Kind.ORDER and r.fields()["action"] == Action.CLEAR]
    told = [r for r in records if r.kind == Kind.STATUS and r.fields()["code"] == StatusCode.ERROR]
    assert len({(r.instrument, str(r.fields()["details"])) for r in told}) == len(told) > 0
    for record in market(records):
        if record.kind == Kind.ORDER and record.fields()["action"] == Action.ADD:
            assert record.side in (65, 66)
    later = day.messages[1_200:]
    want = [record for number, message in enumerate(later, 1_201) for record in twin.message(message, number)]
    adds = [r["id"] for r in want if r.get("action") == Action.ADD]
    skipped = {r["id"] for r in want if r["sequence"] < 1_260}
    got = {r.fields()["order_id"] for r in market(records) if r.kind == Kind.ORDER}
    assert set(adds) - skipped <= got


def test_a_hole_is_told_and_an_unknown_order_of_a_whole_session_is_an_error() -> None:
    day = ItchDay(seed=7, stocks=2).open().trade(200)
    packets = mold_packets(day.messages, per_packet=5)
    run = Run()
    records = run.all([frame(packet) for packet in packets[:10] + packets[12:]])
    lost = [r.fields()["details"] for r in records if r.kind == Kind.STATUS and r.fields()["code"] == StatusCode.LOST]
    assert lost == [{"first": 51, "last": 60}]
    whole = Run()
    foreign = struct.pack(">cHHHIQ", b"D", 1, 0, 0, 5, 424242)
    records = whole.all([frame(packet) for packet in mold_packets([*day.messages, foreign], per_packet=5)])
    assert len(whole.errors) == 1
    (status,) = [r for r in records if r.kind == Kind.STATUS and r.fields()["code"] == StatusCode.DECODE_ERROR]
    assert status.instrument == 1


def test_duplicates_and_overlaps_are_taken_once() -> None:
    day = ItchDay(seed=8).open().trade(300)
    threes, sevens = mold_packets(day.messages, per_packet=3), mold_packets(day.messages, per_packet=7)
    frames = [frame(packet) for pair in zip(threes, threes, strict=True) for packet in pair]
    run = Run()
    assert [as_naive(r, run.registry, day) for r in market(run.all(frames))] == expected(day.messages)
    mixed = Run()
    order = sorted(threes + sevens, key=lambda packet: (struct.unpack_from(">Q", packet, 10)[0], len(packet)))
    records = mixed.all([frame(packet) for packet in order])
    assert [as_naive(r, mixed.registry, day) for r in market(records)] == expected(day.messages)


def test_a_new_session_empties_the_books_of_the_one_before() -> None:
    first, second = ItchDay(seed=9, stocks=2).open().trade(100), ItchDay(seed=10, stocks=1).open().trade(10)
    run = Run()
    run.all([frame(packet) for packet in mold_packets(first.messages)])
    records = run.all([frame(p, NINE_THIRTY + 1) for p in mold_packets(second.messages, session=b"SESSION002")])
    clears = [r.instrument for r in records if r.kind == Kind.ORDER and r.fields()["action"] == Action.CLEAR]
    assert clears[:2] == [1, 2]
    assert not run.errors
    assert [as_naive(r, run.registry, second) for r in market(records)] == expected(second.messages)


def test_every_message_type_gives_a_record() -> None:
    rng = random.Random(3)
    for kind, (size, name) in MESSAGE_NAMES.items():
        body = bytearray(rng.randbytes(size))
        body[0], body[5:11] = ord(kind), (34_200 * 10**9).to_bytes(6, "big")
        for at in {**dict.fromkeys("RHYKJhNO", 11), "L": 15, "I": 28, "A": 24, "F": 24, "P": 24, "Q": 19}.items():
            if at[0] == kind:
                body[at[1] : at[1] + 8] = b"AMZN    "
        if kind in "AF":
            body[19:24] = b"B" + struct.pack(">I", 100)
        if kind in "AFPC":
            body[32:36] = struct.pack(">I", 1_000_000)
        if kind == "Q":
            body[11:19], body[27:31] = struct.pack(">Q", 100), struct.pack(">I", 1_000_000)
        run = Run()
        add = ItchDay(seed=1, stocks=1).open().messages
        records = run.all([frame(packet) for packet in mold_packets([*add, bytes(body)], per_packet=1)])
        own = [r for r in records if r.sequence == len(add) + 1 or r.kind == Kind.STATUS]
        assert own, name
        assert [e for e in run.errors if "unknown" in str(e)] == [], name


def test_an_unknown_type_is_told_and_a_wrong_length_is_an_error() -> None:
    run = Run()
    records = run.all([frame(p) for p in mold_packets([b"z" + bytes(10), b"A" + bytes(20)], per_packet=2)])
    problems = [r.fields()["details"].get("problem") for r in records if r.kind == Kind.STATUS]
    assert "unknown message" in problems
    assert len(run.errors) == 1


def test_lobster_rows_and_itch_share_a_venue() -> None:
    adapter = adapter_for("nasdaq", InstrumentRegistry())
    out = EventBuilder()
    out.begin(1)
    row = b"34200.1,1,11,100,1000000,1\n1000100,10,1000000,100"
    adapter.decode(Frame(WireForm.TEXT, 1, "lobster:AMZN:2012-06-21:1", 1, row), out)
    assert len(out) == 3


_DAY = ItchDay(seed=11, stocks=3).open().trade(120)
_SHAPES = kernel.shapes_of(MESSAGE_BYTES)


@given(st.data())
def test_any_bytes_give_records_or_a_counted_error(data: st.DataObject) -> None:
    packet = bytearray(mold_packets(_DAY.messages, per_packet=40)[data.draw(st.integers(0, 2))])
    for _ in range(data.draw(st.integers(0, 12))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packet)))
    run = Run()
    run.take(frame(bytes(packet)))
    run.take(frame(bytes(packet[:cut])))
    run.take(frame(bytes(packet[20:]), address="itch:x:2023-08-22"))
    run.take(frame(data.draw(st.binary(max_size=200))))


@given(st.binary(max_size=400), st.binary(min_size=64, max_size=64), st.binary(min_size=64, max_size=64))
def test_what_stands_behind_the_bytes_changes_nothing(payload: bytes, one: bytes, other: bytes) -> None:
    found = []
    for tail in (one, other):
        memory = np.frombuffer(payload + tail, dtype=np.uint8)[: len(payload)]
        registers = np.zeros(kernel.REGISTERS, dtype=np.int64)
        registers[kernel.MESSAGES] = 2 * kernel.UNTIL_END
        out = np.zeros(2_048, dtype=np.uint64)
        kernel.decode_messages(memory, _SHAPES, np.ones(65_536, dtype=np.int64), registers, out[:1_024])
        assert not out[1_024:].any()
        found.append((registers.tolist(), out.tolist()))
    assert found[0] == found[1]


def test_the_order_table_grows_and_forgets() -> None:
    day = ItchDay(seed=12, stocks=2).open()
    adds = []
    for number in range(9_000):
        body = struct.pack(">QcI8sI", number + 1, b"B", 100, b"SYM0001 ", 1_000_000 + number)
        adds.append(struct.pack(">cHHHI", b"A", 1, 0, 7, number) + body)
    run = Run()
    run.all([frame(packet) for packet in mold_packets([*day.messages, *adds], per_packet=1_000)])
    line = run.adapter._lines[1]
    assert len(line.orders) == 9_000
    deletes = [struct.pack(">cHHHIQ", b"D", 1, 0, 7, 1, number + 1) for number in range(9_000)]
    random.Random(1).shuffle(deletes)
    first = len(day.messages) + len(adds) + 1
    payload = struct.pack(">10sQH", b"SESSION001", first, 9_000) + framed(deletes)
    records = market(run.take(frame(payload)))
    assert not run.errors
    assert len(line.orders) == 0
    assert {r.fields()["size"] for r in records} == {100}


def test_frames_are_immutable_inputs() -> None:
    item = frame(mold_packets(_DAY.messages)[0])
    before = dataclasses.replace(item)
    Run().take(item)
    assert item == before


IN_CHILD = "CHRONICLE_TEST_IN_CHILD"


def _digest() -> str:
    day = ItchDay(seed=13, stocks=3).open().trade(800)
    packets = mold_packets(day.messages, per_packet=11)
    records = Run().all([frame(packet) for packet in packets[:20] + packets[23:]])
    return hashlib.sha256(b"".join(bytes(record.data) for record in records)).hexdigest()


@pytest.mark.skipif(IN_CHILD in os.environ, reason="the child process itself")
def test_records_are_the_same_without_compilation() -> None:
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", IN_CHILD: "1"}
    code = "from tests.unit.feed.venues.test_itch import _digest; print(_digest())"
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == _digest()
