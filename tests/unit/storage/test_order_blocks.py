"""Order blocks: exact for every input, as the slow form says, smaller than columns, hostile bytes refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import (
    Action,
    Kind,
    Side,
)
from chronicle.core.records import pack_record
from chronicle.etl import OrderBook
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.codec.archive_layout import Holds, Method
from chronicle.storage.codec.blocks import encode_block
from chronicle.storage.codec.encode import encode_segment
from chronicle.storage.codec.order_decode import decode_orders
from chronicle.storage.codec.order_encode import _Split, encode_orders
from chronicle.storage.codec.order_layout import HEAD, HEAD_BYTES, SHAPES_MAX, orders_at
from chronicle.storage.codec.whole import read_whole
from chronicle.storage.kernels import orders as kernel
from chronicle.storage.stores.stores import LocalStore
from tests.support.naive_order_blocks import NAMES, Rows, is_last, naive_join, naive_split
from tests.support.order_flow import delta, delta_rows, market, order, order_rows, restated, streams
from tests.support.tiers import fill, first_sealed

IN_CHILD = "CHRONICLE_TEST_WITHOUT_JIT"


def coded(data: bytes, orders: object = None) -> tuple[bytes, int]:
    found = encode_orders(data, 3, orders)  # type: ignore[arg-type]
    assert found is not None
    return found


def decoded(block: bytes, size: int, orders: object = None) -> bytes:
    return bytes(decode_orders(block, size, None if orders is None else lambda: orders))  # type: ignore[arg-type, return-value]


# --- exact for every input ---------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(streams)
def test_every_stream_of_orders_comes_back_or_is_left_to_others(records: list[bytes]) -> None:
    data = b"".join(records)
    rows = sum(record[4:6] in (b"\x20\0", b"\x22\0") for record in records)
    found = encode_orders(data, 3)
    assert (found is not None) == (rows > 0 and rows >= len(records) - rows)
    if found is not None:
        assert decoded(found[0], len(data)) == data


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(order_rows, delta_rows), min_size=1, max_size=40))
def test_rows_are_split_and_joined_as_the_slow_form_does(records: list[bytes]) -> None:
    data = b"".join(records)
    words = np.frombuffer(data, dtype=np.int64).reshape(-1, 10).tolist()
    expected = naive_split(words)
    split = _Split(data, None)
    assert split.run()
    shapes = [tuple(split._shapes[shape].tolist()) for shape in split._rows[: split.rows].tolist()]
    state = split._state
    columns = {
        name: split._columns[place, : int(state[kernel.AGES + place])].tolist() for place, name in enumerate(NAMES)
    }
    assert (shapes, columns) == (expected.shapes, expected.columns)
    assert naive_join(Rows(shapes, columns)) == [
        (row[0], row[6], row[7], row[8] if row[0] >> 32 & 0xFFFF == Kind.ORDER else 0) for row in words
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(order_rows, delta_rows), min_size=1, max_size=30))
def test_groups_are_runs_of_equal_headers_within_events(records: list[bytes]) -> None:
    data = b"".join(records)
    words = np.frombuffer(data, dtype=np.int64).reshape(-1, 10)
    split = _Split(data, None)
    assert split.run()
    splits = set(split._splits[: int(split._state[kernel.SPLITS])].tolist())
    step, group = int(split._state[kernel.STEP]), -1
    opened = 0
    for row in range(len(words)):
        if row == 0 or is_last(int(words[row - 1, 0])) or row in splits:
            group, opened = group + 1, row
        inner = row - opened
        made = split._groups[:, group].copy()
        made[2] += max(step, 0) // 2 * inner
        made[3] += (max(step, 0) % 2 * inner) << 48
        assert made[:5].tolist() == words[row, 1:6].tolist()
        if words[row, 0] >> 32 & 0xFFFF == Kind.BOOK_DELTA:
            assert made[5:].tolist() == words[row, 8:].tolist()
    assert group + 1 == int(split._state[kernel.GROUPS])


# --- a market ----------------------------------------------------------------------------------------------------


def test_a_market_takes_fewer_bytes_than_its_columns_and_its_snapshots_none() -> None:
    records, _ = market(4000)
    data = b"".join(records)
    block, holds = coded(data)
    assert decoded(block, len(data)) == data
    columns = encode_block(data, 3)
    assert columns is not None
    assert len(block) < 0.7 * len(columns)
    assert HEAD.unpack_from(block)[6:8] == (20, 0)  # ten times two snapshots, no order of them kept
    assert holds == Holds.KNOWN | Holds.ORDERS | Holds.SNAPSHOTS | Holds.OTHERS


def test_orders_of_the_prologue_are_known_from_the_first_row() -> None:
    records, _ = market(2000, start=False, every=10**6)
    book = OrderBook()
    for record in records[:1000]:
        words = np.frombuffer(record, dtype=np.int64).tolist()
        if words[9] & 0xFF != Action.FILL:
            book.change(words[9] & 0xFF, words[6], words[0] >> 56 & 0xFF, words[7], words[8])
    record = np.frombuffer(restated(book)[1], dtype=np.int64)
    known = orders_at(record, 0, 8 * len(record))
    data = b"".join(records[1000:])
    alone, with_orders = coded(data)[0], coded(data, known)[0]
    assert len(with_orders) < len(alone)
    assert decoded(with_orders, len(data), known) == decoded(alone, len(data)) == data
    with pytest.raises(CorruptionError, match="are not there"):
        decoded(with_orders, len(data))


def test_snapshots_that_do_not_follow_are_kept_and_followed_from_then_on() -> None:
    records, book = market(300, every=10**6)
    others = restated(book)
    foreign = OrderBook()
    foreign.change(Action.ADD, 7, Side.BID, 5, 9)
    foreign.change(Action.ADD, 8, Side.ASK, 6, 1)
    later = [order(7, 5, 4, Action.CANCEL), order(8, 6, 1, Action.CANCEL, side=Side.ASK)]
    after = OrderBook()
    after.change(Action.ADD, 7, Side.BID, 5, 5)
    data = b"".join([*records, *others, *restated(foreign), *later, *restated(after)])
    block, _ = coded(data)
    assert HEAD.unpack_from(block)[6:8] == (8, 2)
    assert decoded(block, len(data)) == data


@pytest.mark.parametrize(
    "records",
    [
        [pack_record(Kind.TRADE, bytes(40), ts_recv=1)] * 3,
        [order(1, 1, 1, Action.ADD), order(2, 2, 2, Action.ADD, instrument=2)],
        [order(1, 1, 1, Action.ADD), *[pack_record(Kind.TRADE, bytes(40), ts_recv=1)] * 2],
        [order(1, 1, 1, Action.ADD, code=code % 256, flags=code // 256) for code in range(SHAPES_MAX + 1)],
        [b"\0" * 80],
        [b""],
        [b"1234"],
        [order(1, 1, 1, Action.ADD)[:-8]],
    ],
)
def test_what_other_methods_hold_better_is_left_to_them(records: list[bytes]) -> None:
    assert encode_orders(b"".join(records), 3) is None


# --- in an archive object ----------------------------------------------------------------------------------------


def test_an_archived_segment_of_orders_is_the_sealed_one_and_tells_what_it_holds(tmp_path: Path) -> None:
    records, _ = market(600)
    events: list[tuple[bytearray, int]] = []
    pending: list[bytes] = []
    for record in records:
        pending.append(record)
        if record[6] & 128:
            events.append((bytearray(b"".join(pending)), len(pending)))
            pending = []
    fill(tmp_path, "clean/nasdaq/x/book.q", events, per_segment=len(events))
    store = LocalStore(tmp_path / "archive")
    with first_sealed(tmp_path, "clean/nasdaq/x/book.q") as sealed:
        store.put("x.czst", encode_segment(sealed))
        with ArchivedSegment(store, "x.czst") as segment:
            assert Method.ORDERS in {block.method for block in segment.footer.blocks}
            assert bytes(segment.view(0, sealed.header.file_bytes)) == bytes(sealed.mapping.memory)
            held = [segment.may_hold(kind, segment.data_offset) for kind in (Kind.ORDER, Kind.TRADE, Kind.GAP)]
            assert held == [True, True, False]
            times = sealed.seek_points()[2].ts_recv, None
            found = list(segment.stretches(*times, ["price"], {Kind.ORDER}, sides=(1, 2)))
            assert found
            assert all(stretch.columns is not None for stretch in found)
            rows = list(segment.stretches(None, None, ["price", "sequence_first"], {Kind.ORDER}, sides=(1, 2)))
            assert all(stretch.columns is None for stretch in rows)
            assert not list(segment.stretches(None, None, ["price"], {Kind.GAP}, sides=(1, 2)))
    read_whole(store, "x.czst")


# --- hostile bytes -----------------------------------------------------------------------------------------------


def small_block() -> tuple[bytes, int]:
    records, _ = market(90, every=30)
    for count in range(20):
        records.append(delta(100 + count % 3, count, side=Side.ASK, flags=128 * (count % 2)))
    data = b"".join(records)
    return coded(data)[0], len(data)


def harmless(block: bytes, size: int) -> None:
    """Decode what may be damaged: an error, or as many bytes as were asked for."""
    try:
        assert len(decoded(block, size)) == size
    except CorruptionError:
        return


def test_no_flipped_bit_crashes_or_makes_more_than_was_asked_for() -> None:
    block, size = small_block()
    for position in range(len(block)):
        for bit in (0, 3, 7):
            changed = bytearray(block)
            changed[position] ^= 1 << bit
            harmless(bytes(changed), size)


def test_no_word_of_the_head_can_be_replaced_by_an_absurd_one() -> None:
    block, size = small_block()
    for position in range(0, HEAD_BYTES - 3, 2):
        for value in (0, 1, 2**31, 2**32 - 1):
            harmless(block[:position] + value.to_bytes(4, "little") + block[position + 4 :], size)


def with_descriptor(block: bytes, descriptor: bytes) -> bytes:
    packed = zstandard.ZstdCompressor().compress(descriptor)
    head = list(HEAD.unpack_from(block))
    rest = block[HEAD_BYTES + head[-2] :]
    head[-2] = len(packed)
    return HEAD.pack(*head) + packed + rest


def test_no_byte_of_the_descriptor_can_be_replaced_by_an_absurd_one() -> None:
    block, size = small_block()
    length = HEAD.unpack_from(block)[-2]
    descriptor = zstandard.ZstdDecompressor().decompress(block[HEAD_BYTES : HEAD_BYTES + length])
    assert decoded(with_descriptor(block, descriptor), size)
    for position in range(len(descriptor)):
        for value in (0, 1, 0x80, 0xFF):
            changed = descriptor[:position] + bytes((value,)) + descriptor[position + 1 :]
            harmless(with_descriptor(block, changed), size)


def test_a_reserved_byte_is_refused() -> None:
    block, size = small_block()
    for position in (34, 35):
        with pytest.raises(CorruptionError):
            decoded(block[:position] + b"\1" + block[position + 1 :], size)


def test_every_cut_of_a_block_is_an_error() -> None:
    block, size = small_block()
    for end in range(0, len(block), 3):
        with pytest.raises(CorruptionError):
            decoded(block[:end], size)
    for other in (size + 8, size - 80, 2**40):
        with pytest.raises(CorruptionError):
            decoded(block, other)


@settings(max_examples=200)
@given(st.binary(max_size=300), st.integers(0, 5000))
def test_arbitrary_bytes_are_refused(block: bytes, size: int) -> None:
    with pytest.raises(CorruptionError):
        decoded(block, size * 8)


def digest() -> str:
    """Return a hash of a block's bytes and of what it decodes to."""
    block, size = small_block()
    return hashlib.sha256(block + decoded(block, size)).hexdigest()


@pytest.mark.skipif(IN_CHILD in os.environ, reason="the child process itself")
def test_the_kernels_do_the_same_without_compilation() -> None:
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", IN_CHILD: "1"}
    code = "from tests.unit.storage.test_order_blocks import digest; print(digest())"
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert child.stdout.strip() == digest(), child.stderr
