"""The registry: when an INSTRUMENT record is due, and what it says."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronicle.core.decimals import to_decimal
from chronicle.core.errors import SymbolError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MAX, Kind
from chronicle.core.records import InstrumentFields, Record
from chronicle.feed.instruments import MISFITS_MAX, InstrumentRegistry, Listing
from chronicle.feed.symbology import Symbol
from chronicle.feed.venues.levels import LevelReader, quick_mantissa
from tests.support.naive_book import taken

BTC = Listing("BTCUSDT", Symbol("binance", "BTC", "USDT"), "0.01000000", "0.00001000", {"minNotional": "5"})


@pytest.fixture
def out() -> EventBuilder:
    builder = EventBuilder()
    builder.begin(1)
    return builder


def instruments(out: EventBuilder) -> list[InstrumentFields]:
    records = taken(out)
    assert all(record.kind == Kind.INSTRUMENT for record in records)
    return [InstrumentFields.unpack(record.body) for record in records]


def test_instrument_is_written_before_first_use_and_not_again(out: EventBuilder) -> None:
    registry = InstrumentRegistry()
    assert registry.use(out, "binance", "BTCUSDT", ["1.25"], ["3"]).number == 1
    assert registry.use(out, "binance", "BTCUSDT", ["1.2"], ["3"]).number == 1
    (fields,) = instruments(out)
    assert (fields.price_exponent, fields.size_exponent, fields.symbol) == (2, 0, "binance:BTC-USDT")
    assert fields.details is not None
    assert (fields.details["base"], fields.details["quote"], fields.details["from"]) == ("BTC", "USDT", "wire")


def test_longer_decimals_redefine_under_the_same_number(out: EventBuilder) -> None:
    registry = InstrumentRegistry()
    for text in ("1.2", "1.2345", "1"):
        assert registry.use(out, "binance", "BTCUSDT", [text], ["1"]).number == 1
    assert [fields.price_exponent for fields in instruments(out)] == [1, 4]


def test_list_gives_tick_lot_and_exponents_only_when_the_instrument_is_used(out: EventBuilder) -> None:
    registry = InstrumentRegistry()
    assert registry.learn("binance", [BTC]) == 1
    assert len(out) == 0
    registry.use(out, "binance", "BTCUSDT")
    (fields,) = instruments(out)
    assert (fields.price_exponent, fields.size_exponent, fields.tick, fields.lot) == (2, 5, 1, 1)
    assert fields.details is not None
    assert (fields.details["from"], fields.details["minNotional"]) == ("list", "5")


def test_list_that_comes_later_redefines_at_the_next_use(out: EventBuilder) -> None:
    registry = InstrumentRegistry()
    registry.use(out, "binance", "BTCUSDT", ["1.2345"], ["1"])
    registry.learn("binance", [BTC])
    assert registry.current("binance", "BTCUSDT") is None
    registry.use(out, "binance", "BTCUSDT")
    registry.learn("binance", [BTC])
    assert registry.current("binance", "BTCUSDT") is not None
    first, second = instruments(out)
    assert (first.price_exponent, second.price_exponent, second.tick) == (4, 4, 100)


def test_restored_instrument_keeps_number_and_is_not_written_again(out: EventBuilder) -> None:
    before = InstrumentRegistry()
    before.learn("binance", [BTC])
    before.use(out, "binance", "ETHUSDT", ["1.5"], ["1"])
    before.use(out, "binance", "BTCUSDT", ["1.25"], ["1"], book_depth=10, check_decimals=(2, 8))
    taken(out)
    out.begin(2)
    registry = InstrumentRegistry()
    for number, fields in before.definitions().items():
        registry.restore(number, fields)
    registry.learn("binance", [BTC])
    assert registry.use(out, "binance", "BTCUSDT", ["1.25"], ["1"]).number == 2
    assert registry.use(out, "binance", "ETHUSDT").number == 1
    assert len(out) == 0
    assert registry.use(out, "binance", "BNBUSDT").number == 3


def test_exponent_does_not_grow_past_what_earlier_numbers_can_follow(out: EventBuilder) -> None:
    """One hostile price with 18 decimals must not push the book's other levels out of int64."""
    reader = LevelReader(InstrumentRegistry(), out, "binance", "BTCUSDT", "book")
    reader.read([("61837.63", "1")])
    ((first, second),) = reader.read([("0.123456789012345678", "1"), ("61837.64", "1")])
    assert reader.instrument.price_exponent == 2
    assert first is None
    assert second == (6183764, 1)
    assert reader.problem_count == 1


def read(registry: InstrumentRegistry, out: EventBuilder, *rows: tuple[str, str]) -> list[tuple[int, int] | None]:
    reader = LevelReader(registry, out, "bybit", "BTCUSDT", "book")
    (levels,) = reader.read(rows)
    return levels


@pytest.mark.parametrize("hostile", ["9223372036854775807", "92233720368547758.07", "0.000000000000000001", "1e18"])
@pytest.mark.parametrize("first", [True, False])
def test_one_hostile_number_harms_few_of_the_messages_after_it(out: EventBuilder, hostile: str, first: bool) -> None:
    registry = InstrumentRegistry()
    if not first:
        read(registry, out, ("61837.6", "0.5"))
    read(registry, out, (hostile, hostile))
    unreadable = sum(None in read(registry, out, ("61837.63", "0.125"), ("61838", "12")) for _ in range(20))
    assert unreadable < MISFITS_MAX
    assert read(registry, out, ("61837.63", "0.125")) == [(6183763, 125)]


def test_hostile_numbers_between_good_messages_change_nothing(out: EventBuilder) -> None:
    registry = InstrumentRegistry()
    read(registry, out, ("61837.63", "0.125"))
    for _ in range(10):
        read(registry, out, ("0.000000000000000001", "0.000000000000000001"))
        assert read(registry, out, ("61837.6", "0.5"), ("61837.634", "0.5"))[0] is not None
    assert registry.instruments()[0].price_exponent == 3


def test_what_the_list_says_is_kept_when_an_exponent_was_wrong(out: EventBuilder) -> None:
    registry = InstrumentRegistry()
    registry.learn("bybit", [Listing("BTCUSDT", Symbol("bybit", "BTC", "USDT"), "0.01", "0.001")])
    read(registry, out, ("9223372036854775807", "1"))
    read(registry, out, ("0.000000000000000001", "1"))
    for _ in range(MISFITS_MAX):
        read(registry, out, ("61837.5", "1"))
    assert registry.instruments()[0].price_exponent == 2


def test_number_beyond_int64_is_counted_and_the_rest_is_kept(out: EventBuilder) -> None:
    reader = LevelReader(InstrumentRegistry(), out, "binance", "BTCUSDT", "book")
    ((first, second, third),) = reader.read([("1.5", "2"), ("99999999999999999999", "1"), ("1.25", "-1")])
    assert (first, second, third) == ((150, 2), None, None)
    assert reader.problem_count == 2


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "bad\x00name"])
def test_hostile_name_is_no_instrument(out: EventBuilder, name: str) -> None:
    with pytest.raises(SymbolError):
        InstrumentRegistry().use(out, "binance", name)


plain = st.decimals(min_value=0, max_value=10**9, places=8).map(lambda number: format(number, "f"))


@given(st.lists(st.tuples(plain, plain), min_size=1, max_size=8))
def test_levels_are_exact(rows: list[tuple[str, str]]) -> None:
    out = EventBuilder()
    out.begin(1)
    reader = LevelReader(InstrumentRegistry(), out, "binance", "BTCUSDT", "book")
    for _ in range(2):  # the second time takes the quick way
        (levels,) = reader.read(rows)
        assert reader.problem_count == 0
        for row, level in zip(rows, levels, strict=True):
            assert level is not None
            assert to_decimal(level[0], reader.instrument.price_exponent) == Decimal(row[0])
            assert to_decimal(level[1], reader.instrument.size_exponent) == Decimal(row[1])


@given(st.text("0123456789.-+eE_ ²٣", max_size=24), st.integers(0, 18))
def test_quick_mantissa_is_exact_or_refuses(text: str, exponent: int) -> None:
    value = quick_mantissa(text, exponent)
    if value >= 0:
        assert to_decimal(value, exponent) == Decimal(text)
        assert value <= INT64_MAX


@given(st.lists(st.one_of(st.text("0123456789.-eE", max_size=30), plain), max_size=6))
def test_growth_never_fails_and_never_shrinks(texts: list[str]) -> None:
    out, registry, before = EventBuilder(), InstrumentRegistry(), 0
    out.begin(1)
    for text in texts:
        exponent = registry.use(out, "binance", "BTCUSDT", [text], [text]).price_exponent
        assert before <= exponent <= 18
        before = exponent
    assert isinstance(Record(bytes(out.take()[0])).fields(), dict) if texts else True
