"""Columns of order blocks: what the records say, of any kinds, at any time, from any block; hostile bytes refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import INT64_MIN, ORDER_SNAPSHOT_BODY, Action, Kind, Side
from chronicle.core.records import InstrumentFields, pack_record
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.codec.archive_layout import Method
from chronicle.storage.codec.encode import encode_segment
from chronicle.storage.codec.order_columns import order_columns, order_instruments
from chronicle.storage.codec.order_encode import encode_orders
from chronicle.storage.stores.stores import MemoryStore
from tests.support.home_builder import definition
from tests.support.naive_order_blocks import naive_columns
from tests.support.order_flow import delta, few, market, number, order, restated, streams
from tests.support.tiers import fill, first_sealed

IN_CHILD = "CHRONICLE_TEST_WITHOUT_JIT"
KINDS = [{Kind.ORDER}, {Kind.BOOK_DELTA}, {Kind.ORDER, Kind.BOOK_DELTA}]
SIDES = (1, 2)
EVERYTHING = (None, None)


def told(
    records: list[bytes], kinds: set[int], limits: tuple[int | None, int | None] = EVERYTHING, orders: object = None
):
    """Return (what a block of records gives as columns, what the slow form says), None where it is no such block."""
    data = b"".join(records)
    found = encode_orders(data, 3, orders)  # type: ignore[arg-type]
    if found is None:
        return None
    expected = naive_columns(records, kinds, 50, SIDES, limits)
    columns = order_columns(
        found[0],
        len(data),
        list(expected),
        kinds,
        50,
        sides=SIDES,
        start_ts=limits[0],
        end_ts=limits[1],
        orders=None if orders is None else lambda: orders,  # type: ignore[arg-type, return-value]
    )
    return {name: values.tolist() for name, values in columns.items()}, expected


limit = st.one_of(st.none(), few, number)


@settings(max_examples=400, deadline=None)
@given(streams, st.sampled_from(KINDS), st.tuples(limit, limit))
def test_columns_are_what_the_records_say(
    records: list[bytes], kinds: set[int], limits: tuple[int | None, int | None]
) -> None:
    both = told(records, kinds, limits)
    if both is not None:
        assert both[0] == both[1]


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_columns_of_a_market_are_its_records_from_any_time_to_any(kinds: set[int], seed: int) -> None:
    records, _ = market(700, seed=seed, every=90)
    records += [delta(100 + n % 3, n, side=Side.ASK, ts_recv=2 * 10**18, flags=128 * (n % 2)) for n in range(60)]
    times = sorted({int.from_bytes(record[8:16], "little") for record in records})
    for first, last in ((0, 700), (0, 1), (1, 2), (333, 335), (350, 700), (699, 800), (5, 5)):
        both = told(records, kinds, (times[first], times[min(last, len(times) - 1)] + (last >= len(times))))
        assert both is not None
        assert both[0] == both[1]
        assert len(both[1]["price"]) >= min(last, 700) - first or Kind.ORDER not in kinds


@pytest.mark.parametrize("kinds", KINDS)
def test_orders_of_the_prologue_and_of_snapshots_are_known(kinds: set[int]) -> None:
    known = np.array([[7, 990, 5], [9, 991, 1], [8, 1010, 6]], dtype=np.int64)
    foreign = pack_record(
        Kind.ORDER_SNAPSHOT, ORDER_SNAPSHOT_BODY.pack(1, 1) + np.array([[5, 3, 9], [6, 4, 1]]).tobytes(), ts_recv=1
    )
    records = [
        order(7, 990, 2, Action.CANCEL, flags=128),
        delta(990, 3, flags=128),
        order(8, 1010, 6, Action.MODIFY, side=Side.ASK, flags=128),
        foreign,
        order(5, 3, 4, Action.FILL),
        order(5, 3, 4, Action.CANCEL, flags=128),
        delta(3, 5, flags=128),
        order(6, 4, 1, Action.CANCEL, side=Side.ASK, flags=128),
        order(9, 991, 1, Action.CANCEL, flags=128),
    ]
    both = told(records, kinds, orders=(known, 2))
    assert both is not None
    assert both[0] == both[1]
    block = encode_orders(b"".join(records), 3, (known, 2))
    assert block is not None
    with pytest.raises(CorruptionError, match="are not there"):
        order_columns(block[0], sum(map(len, records)), ("price",), kinds)
    assert len(order_columns(block[0], sum(map(len, records)), ("ts_recv", "kind"), kinds)["kind"])


def test_only_what_is_asked_for_is_there_and_quotients_are_the_nearest() -> None:
    records, _ = market(900)
    data = b"".join(records)
    block = encode_orders(data, 3)
    assert block is not None
    whole = order_columns(block[0], len(data), ("price", "size"), {Kind.ORDER})
    for names in (("price",), ("size",), ("order_id", "size"), ("flags",), ("ts_event", "side")):
        assert list(order_columns(block[0], len(data), names, {Kind.ORDER})) == list(names)
    divided = order_columns(block[0], len(data), ("size", "price"), {Kind.ORDER}, divisors=(100.0, 1e8))
    assert divided["price"].tolist() == (whole["price"] / 100.0).tolist()
    assert divided["size"].tolist() == (whole["size"] / 1e8).tolist()


def test_a_price_that_is_none_stays_a_mantissa() -> None:
    data = order(1, INT64_MIN, 3, Action.ADD) + order(2, 5, 4, Action.ADD, flags=128)
    block = encode_orders(data, 3)
    assert block is not None
    found = order_columns(block[0], len(data), ("price", "size"), {Kind.ORDER}, divisors=(100.0, 1e8))
    assert found["price"].tolist() == [INT64_MIN, 5]
    assert found["size"].tolist() == [3 / 1e8, 4 / 1e8]


def test_definitions_are_told_where_they_stand_without_a_row() -> None:
    records, book = market(300, every=60)
    fields = definition("nasdaq:X")
    body = fields.pack()
    redefined = pack_record(Kind.INSTRUMENT, body, ts_recv=3 * 10**18, instrument=1)
    records = [*records, redefined, *restated(book), *records[-3:], redefined]
    data = b"".join(records)
    block = encode_orders(data, 3)
    assert block is not None
    found = order_instruments(block[0], len(data))
    assert [InstrumentFields.unpack(each) for _, each in found] == [fields, fields]
    assert [data[at : at + len(redefined)] for at, _ in found] == [redefined, redefined]


# --- hostile bytes -----------------------------------------------------------------------------------------------


def small_block() -> tuple[bytes, int]:
    records, _ = market(70, every=30)
    records += [delta(100 + count % 3, count, side=Side.ASK, flags=128 * (count % 2)) for count in range(20)]
    data = b"".join(records)
    found = encode_orders(data, 3)
    assert found is not None
    return found[0], len(data)


def harmless(block: bytes, size: int) -> None:
    """Ask what may be damaged for all there is: an error, or columns of one length."""
    names = list(naive_columns([], set(), 0, SIDES, EVERYTHING))
    for kinds in KINDS:
        try:
            found = order_columns(block, size, names, kinds, start_ts=10**18)
        except CorruptionError:
            continue
        assert len({len(values) for values in found.values()}) == 1


def test_no_flipped_bit_crashes() -> None:
    block, size = small_block()
    for position in range(len(block)):
        for bit in (0, 5):
            changed = bytearray(block)
            changed[position] ^= 1 << bit
            harmless(bytes(changed), size)


def test_every_cut_of_a_block_is_an_error() -> None:
    block, size = small_block()
    for end in range(0, len(block), 5):
        with pytest.raises(CorruptionError):
            order_columns(block[:end], size, ("price",), {Kind.ORDER})


def test_who_asks_twice_for_a_small_part_of_a_block_has_its_records_kept(tmp_path: Path) -> None:
    records, _ = market(3000, every=50)
    events = [(bytearray(record), 1) for record in records if record[6] & 128]
    fill(tmp_path, "clean/nasdaq/x/book.q", events, per_segment=len(events))
    with first_sealed(tmp_path, "clean/nasdaq/x/book.q") as sealed:
        whole = b"".join(encode_segment(sealed))
        times = [point.ts_recv for point in sealed.seek_points()]
    assert len(times) > 12
    with ArchivedSegment(MemoryStore("m", {"x": whole}), "x") as segment:

        def looks(start: int | None, end: int | None) -> list[bool]:
            found = segment.stretches(start, end, ("ts_recv", "price"), {Kind.ORDER}, sides=SIDES)
            return [stretch.columns is None for stretch in found]

        assert looks(times[3], times[4]) == [False]
        assert looks(times[6], times[7]) == [True]
        assert looks(times[0], times[-1]) == looks(None, None) == [False]


def test_no_flipped_byte_of_an_object_gives_rows(tmp_path: Path) -> None:
    records, _ = market(200)
    events = [(bytearray(record), 1) for record in records if record[6] & 128]
    fill(tmp_path, "clean/nasdaq/x/book.q", events, per_segment=len(events))
    with first_sealed(tmp_path, "clean/nasdaq/x/book.q") as sealed:
        whole = b"".join(encode_segment(sealed))
    with ArchivedSegment(MemoryStore("m", {"x": whole}), "x") as segment:
        block = next(block for block in segment.footer.blocks if block.method == Method.ORDERS)
        asked = ("ts_recv", "price"), {Kind.ORDER}
        expected = [each.columns for each in segment.stretches(None, None, *asked, sides=SIDES)]
        assert len(expected) == 1
    for position in range(block.object_offset, block.object_offset + block.object_bytes, 7):
        changed = whole[:position] + bytes((whole[position] ^ 16,)) + whole[position + 1 :]
        with (
            ArchivedSegment(MemoryStore("m", {"x": changed}), "x") as segment,
            pytest.raises(CorruptionError, match="checksum"),
        ):
            list(segment.stretches(None, None, *asked, sides=SIDES))


def digest() -> list[list[int]]:
    """Return all columns of a block."""
    block, size = small_block()
    names = list(naive_columns([], set(), 0, SIDES, EVERYTHING))
    return [values.tolist() for values in order_columns(block, size, names, KINDS[2], 9).values()]


@pytest.mark.skipif(IN_CHILD in os.environ, reason="the child process itself")
def test_the_kernels_do_the_same_without_compilation() -> None:
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", IN_CHILD: "1"}
    code = "from tests.unit.storage.test_order_columns import digest; print(digest())"
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert child.stdout.strip() == str(digest()), child.stderr
