"""Event blocks: exact for every input in both forms of decoding, columns as records say, hostile bytes refused."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronicle.core.errors import CorruptionError
from chronicle.core.layout import BOOK_DELTA_BODY, CHECK_BODY, INT64_MIN, Kind, Origin, Side
from chronicle.core.records import InstrumentFields, SnapshotFields, pack_record
from chronicle.storage.codec import engine, event_arrays, event_kernels, tokens
from chronicle.storage.codec.event_decode import EventBlock, Head
from chronicle.storage.codec.event_encode import encode_events
from chronicle.storage.codec.event_layout import HEAD_BYTES, LEVELS_COLUMNS, LEVELS_REPLAYED
from chronicle.storage.codec.holding import COLUMN_NAMES
from chronicle.storage.codec.snapshots import PRICE_MAX, Book, is_proper_side
from chronicle.storage.kernels.levels import is_proper
from tests.support.naive_events import naive_columns
from tests.support.tiers import book_events
from tests.support.words import int64

FORMS = [event_arrays, event_kernels]
IN_CHILD = "CHRONICLE_TEST_WITHOUT_JIT"


@pytest.fixture(autouse=True)
def _decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are decoded by the kernels unless a test says otherwise."""
    monkeypatch.setattr(engine, "arrays", lambda: event_kernels)


def decoded(block: bytes, size: int, form: object, book: Book | None = None) -> bytes:
    before = engine.arrays
    engine.arrays = lambda: form  # type: ignore[assignment]
    try:
        return bytes(EventBlock(block, size).raw(None if book is None else lambda: book))
    finally:
        engine.arrays = before


def delta(
    price: int, size: int, *, side: int = Side.BID, first: int = -1, previous: int = -1, **header: int
) -> bytes:
    header = {"ts_recv": 1, "instrument": 1, **header}
    return pack_record(Kind.BOOK_DELTA, BOOK_DELTA_BODY.pack(price, size, first, previous), side=side, **header)


@pytest.mark.parametrize("form", FORMS)
def test_book_events_come_back_and_shrink(form: object) -> None:
    data = b"".join(bytes(event) for event, _ in book_events(3000))
    found = encode_events(data, 3)
    assert found is not None
    assert decoded(found[0], len(data), form) == data
    assert len(found[0]) < len(data) / 10


rows = st.tuples(
    st.sampled_from([Side.BID, Side.ASK, Side.BID, Side.ASK, Side.NONE]),
    int64,  # price
    int64,  # size
    st.sampled_from([0, 0, 0, 128, 32, 160, 255]),  # flags
    st.sampled_from([0, 0, 0, 1, 2**40]),  # later by
    st.sampled_from([0, 0, 1, 5, -7]),  # ts_event later by
    st.sampled_from([0, 1, 1, 1, 3]),  # source index
    st.sampled_from([0, 0, 1, 65535]),  # ordinal
    st.one_of(st.just(7), int64),  # sequence
    st.one_of(st.just(-1), int64),  # sequence first
    st.sampled_from(["delta"] * 12 + ["check", "status", "instrument", "snapshot", "odd", "short"]),
)


def records_of(drawn: list[tuple[int, ...]]) -> bytes:
    out, ts, event, source_index = [], 1000, 900, 5
    levels: dict[int, dict[int, int]] = {Side.BID: {}, Side.ASK: {}}
    for side, price, size, flags, later, event_later, step, ordinal, sequence, first, what in drawn:
        ts, event, source_index = ts + later, event + event_later, source_index + step
        header = {
            "ts_recv": ts,
            "ts_event": event,
            "flags": flags,
            "instrument": 1,
            "source_index": source_index,
            "ordinal": ordinal,
            "sequence": sequence,
        }
        if what == "delta":
            out.append(delta(price, size, side=side, first=first, **header))
            levels.get(side, {})[price] = size
        elif what == "check":
            out.append(pack_record(Kind.CHECK, CHECK_BODY.pack(1, 1, price, price), **header))
        elif what == "instrument":
            out.append(pack_record(Kind.INSTRUMENT, InstrumentFields(1, 8, details={"a": 1}).pack(), **header))
        elif what == "snapshot":
            bids = sorted(((p, s) for p, s in levels[Side.BID].items() if s), reverse=True)
            asks = sorted((p, s) for p, s in levels[Side.ASK].items() if s)
            body = SnapshotFields(bids, asks, Origin.ETL if size % 2 else Origin.VENUE, 1, 2).pack()
            out.append(pack_record(Kind.BOOK_SNAPSHOT, body, **header))
        elif what == "odd":
            out.append(pack_record(Kind.BOOK_SNAPSHOT, b"\x05" * 40, **header))
        elif what == "short":
            out.append(pack_record(Kind.BOOK_DELTA, b"", side=side, **header))
        else:
            out.append(pack_record(Kind.STATUS, b"text" * (size % 9 * 2), **header))
    return b"".join(out)


@settings(max_examples=150)
@given(st.lists(rows, min_size=1, max_size=60), st.integers(1, 6), st.booleans())
def test_any_records_come_back_in_both_forms(drawn: list[tuple[int, ...]], repeats: int, with_book: bool) -> None:
    data = records_of(drawn * repeats)
    book = Book(1, 1, np.array([[10, 5], [11, 6]], dtype=np.int64)) if with_book else None
    found = encode_events(data, 1, book)
    if found is None:
        return
    for form in FORMS:
        assert decoded(found[0], len(data), form, book) == data


@settings(max_examples=80)
@given(st.lists(rows, min_size=1, max_size=40), st.integers(1, 3))
def test_columns_are_what_the_records_say(drawn: list[tuple[int, ...]], repeats: int) -> None:
    data = records_of([row if row[-1] != "short" else (*row[:-1], "delta") for row in drawn] * repeats)
    found = encode_events(data, 1)
    if found is None or any(row[0] == Side.NONE for row in drawn):
        return
    expected = naive_columns(data)
    for form in FORMS:
        engine.arrays = lambda form=form: form  # type: ignore[assignment]
        columns = EventBlock(found[0], len(data)).columns(COLUMN_NAMES)
        assert {name: values.tolist() for name, values in columns.items()} == expected


@pytest.mark.parametrize("form", FORMS)
def test_a_part_of_a_block_holds_what_was_asked_for(form: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "arrays", lambda: form)
    data = b"".join(bytes(event) for event, _ in book_events(300, snapshot_every=20))
    found = encode_events(data, 3)
    assert found is not None
    for begin in range(0, len(data), 1999):
        for end in (begin + 1, begin + 700, begin + 20_000, len(data)):
            end = min(end, len(data))
            offset, part = EventBlock(found[0], len(data)).part(begin, end)
            assert offset <= begin
            assert end <= offset + len(part)
            assert bytes(part) == data[offset : offset + len(part)]


@pytest.mark.parametrize("form", FORMS)
def test_columns_between_two_times_are_those_rows_of_them(form: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "arrays", lambda: form)
    data = b"".join(bytes(event) for event, _ in book_events(200))
    found = encode_events(data, 3)
    assert found is not None
    whole = EventBlock(found[0], len(data)).columns(COLUMN_NAMES)
    times = whole["ts_recv"]
    moments = [
        None,
        int(times[0]) - 1,
        *(int(times[len(times) * part // 7]) for part in range(7)),
        int(times[-1]) + 1,
    ]
    for start_ts in moments:
        for end_ts in moments:
            part = EventBlock(found[0], len(data)).columns(COLUMN_NAMES, start_ts=start_ts, end_ts=end_ts)
            low = 0 if start_ts is None else int(np.searchsorted(times, start_ts))
            high = len(times) if end_ts is None else max(low, int(np.searchsorted(times, end_ts)))
            for name, values in part.items():
                assert values.tolist() == whole[name][low:high].tolist()


@pytest.mark.parametrize("order", ["outward", "inward", "any"])
def test_every_order_of_levels_within_a_message_comes_back(order: str) -> None:
    rng = random.Random(order)
    data = []
    for number in range(400):
        bids = sorted(rng.sample(range(500, 1000), rng.randrange(1, 120)), reverse=order == "outward")
        asks = sorted(rng.sample(range(1000, 1500), rng.randrange(1, 120)), reverse=order == "inward")
        if order == "any":
            rng.shuffle(bids)
        sides = [(Side.BID, price) for price in bids] + [(Side.ASK, price) for price in asks]
        data += [
            delta(price * 50, rng.randrange(3) * 1000, side=side, ts_recv=number, flags=128 * (row == len(sides) - 1))
            for row, (side, price) in enumerate(sides)
        ]
    whole = b"".join(data)
    found = encode_events(whole, 3)
    assert found is not None
    for form in FORMS:
        assert decoded(found[0], len(whole), form) == whole


def test_snapshots_follow_from_the_prologue_s_book_and_from_one_another() -> None:
    book = Book(1, 2, np.array([[99, 4], [98, 3], [101, 1], [105, 9]], dtype=np.int64))
    snapshot = SnapshotFields([(99, 7), (97, 2)], [(101, 1)], Origin.ETL, 1, 2)
    records = [
        delta(99, 7, side=Side.BID),
        delta(97, 2, side=Side.BID),
        delta(98, 0, side=Side.BID),
        delta(105, 0, side=Side.ASK, flags=128),
        pack_record(Kind.BOOK_SNAPSHOT, snapshot.pack(), ts_recv=2, instrument=1, flags=160),
        delta(101, 1, side=Side.ASK, ts_recv=3, flags=128),
        pack_record(Kind.BOOK_SNAPSHOT, snapshot.pack(), ts_recv=4, instrument=1, flags=160),
    ]
    data = b"".join(records)
    alone, with_book = encode_events(data, 3), encode_events(data, 3, book)
    assert alone is not None
    assert with_book is not None
    assert EventBlock(alone[0], len(data))._forms == [LEVELS_COLUMNS, LEVELS_REPLAYED]
    assert EventBlock(with_book[0], len(data))._forms == [LEVELS_REPLAYED, LEVELS_REPLAYED]
    for form in FORMS:
        assert decoded(with_book[0], len(data), form, book) == data
        with pytest.raises(CorruptionError, match="begins with a book"):
            decoded(with_book[0], len(data), form)


@pytest.mark.parametrize(
    "records",
    [
        [pack_record(Kind.TRADE, bytes(40), ts_recv=1)] * 3,
        [delta(1, 1), delta(2, 2, instrument=2)],
        [delta(1, 1), pack_record(Kind.ORDER, bytes(32), ts_recv=1, instrument=1)],
        [b"\0" * 80],
        [b""],
        [b"1234"],
    ],
)
def test_what_other_methods_hold_better_is_left_to_them(records: list[bytes]) -> None:
    assert encode_events(b"".join(records), 3) is None


# --- hostile bytes -----------------------------------------------------------------------------------------------


def small_block() -> tuple[bytes, int]:
    data = b"".join(bytes(event) for event, _ in book_events(60, snapshot_every=13))
    found = encode_events(data, 3)
    assert found is not None
    return found[0], len(data)


@pytest.mark.parametrize("form", FORMS)
def test_no_flipped_bit_crashes_or_makes_more_than_was_asked_for(form: object) -> None:
    block, size = small_block()
    for position in range(0, len(block), 1 if form is event_kernels else 3):
        for bit in (0, 3, 7):
            changed = bytearray(block)
            changed[position] ^= 1 << bit
            try:
                assert len(decoded(bytes(changed), size, form)) == size
            except CorruptionError:
                continue


def outcome(block: bytes, size: int, form: object, **limits: int) -> dict[str, list[int]] | None:
    """Return the columns of a block by one form of decoding, None where it refuses the block."""
    before = engine.arrays
    engine.arrays = lambda: form  # type: ignore[assignment]
    try:
        found = EventBlock(block, size).columns(COLUMN_NAMES, **limits)
    except CorruptionError:
        return None
    finally:
        engine.arrays = before
    return {name: values.tolist() for name, values in found.items()}


def test_both_forms_say_the_same_of_every_damaged_block() -> None:
    block, size = small_block()
    whole = outcome(block, size, event_arrays)
    assert whole is not None
    third, half = (whole["ts_recv"][len(whole["ts_recv"]) // part] for part in (3, 2))
    refused = 0
    for position in range(0, len(block), 2):
        changed = bytearray(block)
        changed[position] ^= 1 << position % 8
        plain, compiled = (outcome(bytes(changed), size, form) for form in FORMS)
        assert plain == compiled
        refused += plain is None
        # Of a part each form checks what it reads: one may refuse what the other does not look at.
        limits = {"start_ts": third, "end_ts": half} if position % 4 else {"end_ts": half}
        parts = [outcome(bytes(changed), size, form, **limits) for form in FORMS]
        assert None in parts or parts[0] == parts[1]
    assert refused


def test_tokens_too_wide_for_one_load_are_decoded_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    block, size = small_block()
    expected = outcome(block, size, event_kernels)
    monkeypatch.setattr(tokens, "NARROW_BITS", 0)
    assert outcome(block, size, event_kernels) == expected
    assert decoded(block, size, event_kernels) == decoded(block, size, event_arrays)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.one_of(st.integers(-4, 12), int64), st.integers(0, 3)), max_size=8),
    st.integers(0, 8),
    st.booleans(),
)
def test_both_forms_agree_which_books_are_proper(drawn: list[tuple[int, int]], bids: int, ordered: bool) -> None:
    bids = min(bids, len(drawn))
    if ordered:
        drawn = sorted(drawn[:bids], reverse=True) + sorted(drawn[bids:])
    levels = np.array(drawn, dtype=np.int64).reshape(-1, 2)
    expected = all(-PRICE_MAX <= price <= PRICE_MAX and size != 0 for price, size in drawn) and all(
        sign * (after[0] - before[0]) > 0
        for sign, side in ((-1, drawn[:bids]), (1, drawn[bids:]))
        for before, after in itertools.pairwise(side)
    )
    assert bool(is_proper(levels, bids, PRICE_MAX)) == expected
    assert (is_proper_side(levels[:bids], -1) and is_proper_side(levels[bids:], 1)) == expected


@pytest.mark.parametrize("form", FORMS)
def test_no_word_of_the_head_can_be_replaced_by_an_absurd_one(form: object) -> None:
    block, size = small_block()
    for position in range(0, HEAD_BYTES - 3, 2):
        for value in (0, 1, 2**31, 2**32 - 1):
            changed = block[:position] + value.to_bytes(4, "little") + block[position + 4 :]
            try:
                assert len(decoded(changed, size, form)) == size
            except CorruptionError:
                continue


@pytest.mark.parametrize("place", [28, 44])
@pytest.mark.parametrize("unit", [0, -1, INT64_MIN])
def test_prices_without_a_unit_are_refused_in_both_forms(place: int, unit: int) -> None:
    block, size = small_block()
    changed = block[:place] + unit.to_bytes(8, "little", signed=True) + block[place + 8 :]
    assert [outcome(changed, size, form) for form in FORMS] == [None, None]


def test_every_cut_of_a_block_is_an_error() -> None:
    block, size = small_block()
    for end in range(0, len(block), 5):
        with pytest.raises(CorruptionError):
            EventBlock(block[:end], size).raw()
    with pytest.raises(CorruptionError):
        EventBlock(block, size + 8).raw()
    with pytest.raises(CorruptionError):
        Head(block, 2**40)


@settings(max_examples=200)
@given(st.binary(max_size=300), st.integers(0, 5000))
def test_arbitrary_bytes_are_refused(block: bytes, size: int) -> None:
    with pytest.raises(CorruptionError):
        EventBlock(block, size * 8).raw()


# --- without a compiler ------------------------------------------------------------------------------------------


def digest() -> str:
    import hashlib

    data = b"".join(bytes(event) for event, _ in book_events(150, snapshot_every=25))
    with np.errstate(over="ignore"):
        found = encode_events(data, 3)
        assert found is not None
        assert decoded(found[0], len(data), event_kernels) == data
        columns = EventBlock(found[0], len(data)).columns(COLUMN_NAMES)
    shown = [found[0], *(columns[name].tobytes() for name in COLUMN_NAMES)]
    return hashlib.sha256(b"".join(shown)).hexdigest()


@pytest.mark.skipif(IN_CHILD in os.environ, reason="the child process itself")
def test_the_kernels_do_the_same_without_compilation() -> None:
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", IN_CHILD: "1"}
    code = "from tests.unit.storage.test_event_blocks import digest; print(digest())"
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert child.stdout.strip() == digest(), child.stderr


def test_a_block_or_two_are_decoded_without_numba() -> None:
    block, size = small_block()
    code = (
        "import sys; from chronicle.storage.codec.event_decode import EventBlock;"
        f"block = bytes.fromhex({block.hex()!r}); raw = EventBlock(block, {size}).raw();"
        "sys.exit('numba' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
