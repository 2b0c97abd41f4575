"""The venue adapters on whole captures: the records, applied to a naive book, must give the venue's own truth."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import zstandard

from chronicle.core.events import EventBuilder
from chronicle.core.layout import INT64_MIN, Kind, Side, WireForm
from chronicle.core.records import InstrumentFields
from chronicle.core.times import decimal_seconds_ns
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues import adapter_for
from tests.support.naive_book import NaiveMarket, taken

pytestmark = pytest.mark.data


def text_frames(path: Path, connection: int) -> Iterator[Frame]:
    """Read cryptofeed's text form (received frames, sent frames, HTTP answers)."""
    with zstandard.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            head, _, body = line.rstrip("\n").partition(": ")
            if head == "configuration" or not head:
                continue
            parts = head.split(" ")
            form, address = WireForm.TEXT, ""
            if len(parts) == 3:
                form = {"<->": WireForm.CONNECTED, "<-": WireForm.SENT, "->": WireForm.HTTP}[parts[1]]
                address = parts[0]
            yield Frame(form, connection, address, decimal_seconds_ns(parts[-1]), body.encode())


def run(venue: str, frames: Iterable[Frame]) -> NaiveMarket:
    """Decode `frames` in order and apply every event."""
    adapter, out, market = adapter_for(venue, InstrumentRegistry()), EventBuilder(), NaiveMarket()
    for frame in frames:
        out.begin(frame.ts_recv, source=frame.connection)
        adapter.decode(frame, out)
        market.apply(taken(out))
    return market


def merged(*streams: Iterable[Frame]) -> list[Frame]:
    return sorted((frame for stream in streams for frame in stream), key=lambda frame: frame.ts_recv)


@pytest.mark.parametrize("with_list", [True, False])
def test_kraken_capture_passes_all_its_checksums(shared_data: Path, with_list: bool) -> None:
    folder = shared_data / "cryptofeed-ws" / "raw-text"
    names = ["KRAKEN.0"] * with_list + ["KRAKEN.ws.48.0", "KRAKEN.ws.49.0", "KRAKEN.ws.50.0"]
    market = run("kraken", merged(*(text_frames(folder / f"{name}.zst", 1 + at) for at, name in enumerate(names))))

    assert (market.passed, market.failed) == (4269, 0)
    assert market.kinds["QUOTE"] == 18
    assert market.kinds["TRADE"] >= 8
    assert len(market.definitions) == 10
    chf = market.book("kraken:BTC-CHF").fields
    assert (chf.price_exponent, chf.size_exponent, chf.check_price_decimals, chf.book_depth) == (5, 8, 5, 1000)
    assert chf.details is not None
    assert (chf.tick, chf.details["from"]) == ((10_000, "list") if with_list else (0, "wire"))


@pytest.mark.parametrize("with_list", [True, False])
def test_okx_capture_passes_all_its_checksums(shared_data: Path, with_list: bool) -> None:
    folder = shared_data / "cryptofeed-ws" / "raw-text"
    names = ["OKX.0"] * with_list + ["OKX.ws.1.0"]
    market = run("okx", merged(*(text_frames(folder / f"{name}.zst", 1 + at) for at, name in enumerate(names))))

    assert (market.passed, market.failed) == (290, 0)
    assert market.kinds["QUOTE"] == 28
    assert market.kinds["TRADE"] >= 74
    symbols = {fields.symbol for fields in market.definitions.values()}
    assert symbols == {"okx:BTC-USD-220527", "okx:UNI-USD-PERP", "okx:BTC-USDT"}


@pytest.mark.parametrize("with_list", [True, False])
@pytest.mark.parametrize(("line", "checks"), [(1, 1504), (2, 1446), (3, 1422)])
def test_okex_lines_pass_all_their_checksums(shared_data: Path, line: int, checks: int, with_list: bool) -> None:
    folder = shared_data / "cryptofeed-ws" / "raw-text-2021-07-22"
    names = ["OKEX.0"] * with_list + [f"OKEX.ws.{line}.0"]
    market = run("OKEX", merged(*(text_frames(folder / f"{name}.zst", 1 + at) for at, name in enumerate(names))))

    assert (market.passed, market.failed) == (checks, 0)
    option = market.book("okx:BTC-USD-210924-66000-C").fields
    assert option.details is not None
    assert option.details["type"] == "option"
    assert market.book("okx:XMR-USDT-PERP").started


def test_binance_cryptofeed_capture_keeps_its_chain(shared_data: Path) -> None:
    folder = shared_data / "cryptofeed-ws" / "raw-text"
    names = ["BINANCE.0", "BINANCE.http.0.0", "BINANCE.ws.1.0"]
    frames = merged(*(text_frames(folder / f"{name}.zst", at) for at, name in enumerate(names)))
    registry, out = InstrumentRegistry(), EventBuilder()
    adapter, kinds, last, breaks = adapter_for("binance", registry), Counter[int](), {}, 0
    for frame in frames:
        out.begin(frame.ts_recv)
        adapter.decode(frame, out)
        for record in taken(out):
            kinds[record.kind] += 1
            if record.kind == Kind.BOOK_DELTA:
                before = last.get(record.instrument)
                first = record.fields()["sequence_first"]
                breaks += before is not None and record.sequence != before and first != before + 1
                last[record.instrument] = record.sequence

    symbols = {fields.symbol for fields in registry.definitions().values()}
    assert symbols == {f"binance:{name}" for name in ("NKN-USDT", "BLZ-ETH", "LRC-BTC", "RUNE-EUR")}
    assert breaks == 0
    assert (kinds[Kind.BOOK_SNAPSHOT], kinds[Kind.QUOTE], kinds[Kind.TRADE]) == (4, 84, 2)


def hftbacktest_frames(folder: Path) -> Iterator[Frame]:
    """Read the spot files: local ns, space, frame."""
    for name in ("btcusdt_20240808.gz", "btcusdt_20240809.gz"):
        with gzip.open(folder / name, "rb") as file:
            for line in file:
                stamp, _, payload = line.rstrip(b"\n").partition(b" ")
                yield Frame(WireForm.TEXT, 1, "hftbacktest:binance:btcusdt", int(stamp), payload)


def test_binance_hftbacktest_chain_and_best_levels(shared_data: Path) -> None:
    """Diffs before the snapshot are dropped, the rest chains, and the book's best equals the bookTicker's."""
    adapter, out = adapter_for("binance", InstrumentRegistry()), EventBuilder()
    market, waiting, applied, chain = NaiveMarket(), [], None, Counter[str]()
    tickers: list[tuple[int, tuple[int, int, int, int]]] = []
    floor, ceiling = 0, 0
    for frame in hftbacktest_frames(shared_data / "hftbacktest-binance" / "spot"):
        out.begin(frame.ts_recv, source=1)
        adapter.decode(frame, out)
        records = taken(out)
        chain.update(Kind(record.kind).name for record in records)
        if records[-1].kind == Kind.QUOTE:
            tickers.append((records[-1].sequence, tuple(records[-1].fields().values())))
        market.apply([record for record in records if record.kind in (Kind.INSTRUMENT, Kind.BOOK_SNAPSHOT)])
        for record in records:
            if record.kind == Kind.BOOK_SNAPSHOT:
                applied = record.sequence
                floor, ceiling = record.fields()["bid_floor"], record.fields()["ask_ceiling"]
        if records[-1].kind == Kind.BOOK_DELTA:
            waiting.append(records)
        if applied is None:
            continue
        for event in waiting:
            first, last = event[-1].fields()["sequence_first"], event[-1].sequence
            if last <= applied:
                continue
            assert first <= applied + 1 <= last, "a hole in U/u"
            chain["diff"] += 1
            market.apply([record for record in event if record.kind == Kind.BOOK_DELTA])
            applied = last
            chain["equal" if _best(market) == _ticker(tickers, applied) else "other"] += 1
        waiting.clear()

    assert (chain["TRADE"], chain["QUOTE"], chain["BOOK_SNAPSHOT"], chain["INSTRUMENT"]) == (19_904, 73_174, 1, 1)
    assert (chain["diff"], chain["equal"], chain["other"]) == (6493, 6491, 2)
    assert INT64_MIN < floor < ceiling < 2**63 - 1


def _best(market: NaiveMarket) -> tuple[int, int, int, int]:
    (book,) = market.books.values()
    bid, ask = max(book.bids), min(book.asks)
    return bid, book.bids[bid], ask, book.asks[ask]


def _ticker(tickers: list[tuple[int, tuple[int, int, int, int]]], sequence: int) -> tuple[int, int, int, int]:
    for ticker_sequence, quote in reversed(tickers):
        if ticker_sequence <= sequence:
            return quote
    raise AssertionError("no bookTicker before the diff")


def lobster_rows(shared_data: Path) -> Iterator[tuple[int, str, str]]:
    """Read (ns of the day, message row, order book row) of the 5-level file."""
    path = shared_data / "lobster" / "LOBSTER_SampleFile_AMZN_2012-06-21_5.zip"
    with zipfile.ZipFile(path) as archive:
        names = {part: name for name in archive.namelist() for part in ("message", "orderbook") if part in name}
        with archive.open(names["message"]) as messages, archive.open(names["orderbook"]) as books:
            rows = zip(io.TextIOWrapper(messages, "ascii"), io.TextIOWrapper(books, "ascii"), strict=True)
            for message, book in rows:
                message = message.rstrip("\n")
                yield decimal_seconds_ns(message.partition(",")[0]), message, book.rstrip("\n")


def test_lobster_book_equals_every_order_book_row(shared_data: Path) -> None:
    adapter, out, kinds = adapter_for("nasdaq", InstrumentRegistry()), EventBuilder(), Counter[str]()
    asks: dict[int, int] = {}
    bids: dict[int, int] = {}
    rows = 0
    for stamp, message, row in lobster_rows(shared_data):
        out.begin(stamp, source=1)
        adapter.decode(Frame(WireForm.TEXT, 1, "lobster:AMZN:2012-06-21:5", stamp, f"{message}\n{row}".encode()), out)
        records = taken(out)
        kinds.update(Kind(record.kind).name for record in records)
        for record in records:
            fields = record.fields() if record.kind in (Kind.BOOK_SNAPSHOT, Kind.BOOK_DELTA) else {}
            if record.kind == Kind.BOOK_SNAPSHOT:
                bids, asks = dict(fields["bids"]), dict(fields["asks"])
            elif fields:
                side = bids if record.side == Side.BID else asks
                side.pop(fields["price"], None)
                if fields["size"]:
                    side[fields["price"]] = fields["size"]
        numbers = [int(text) for text in row.split(",")]
        levels = list(zip(numbers[0::2], numbers[1::2], strict=True))
        assert sorted(asks.items()) == [level for level in levels[0::2] if level[1]], f"asks after row {rows}"
        assert sorted(bids.items(), reverse=True) == [level for level in levels[1::2] if level[1]], (
            f"bids, row {rows}"
        )
        rows += 1

    assert rows == 155_935
    assert (kinds["ORDER"], kinds["TRADE"], kinds["BOOK_SNAPSHOT"], kinds["INSTRUMENT"]) == (
        155_935,
        8974 + 2445,
        1,
        1,
    )


def test_venue_list_alone_gives_no_record(shared_data: Path) -> None:
    for venue, name in (("kraken", "KRAKEN.0"), ("okx", "OKX.0"), ("binance", "BINANCE.0")):
        registry, out = InstrumentRegistry(), EventBuilder()
        adapter = adapter_for(venue, registry)
        for frame in text_frames(shared_data / "cryptofeed-ws" / "raw-text" / f"{name}.zst", 0):
            out.begin(frame.ts_recv)
            adapter.decode(frame, out)
            assert len(out) == 0
        assert registry.definitions() == {}


def test_instrument_definition_survives_its_record(shared_data: Path) -> None:
    """A restarted writer that re-learned its numbers writes no INSTRUMENT again for the same capture."""
    frames = list(text_frames(shared_data / "cryptofeed-ws" / "raw-text" / "OKX.ws.1.0.zst", 1))
    first = run("okx", frames)
    registry, out = InstrumentRegistry(), EventBuilder()
    for number, fields in first.definitions.items():
        registry.restore(number, InstrumentFields.unpack(fields.pack()))
    adapter = adapter_for("okx", registry)
    for frame in frames:
        out.begin(frame.ts_recv, source=1)
        adapter.decode(frame, out)
        assert all(record.kind != Kind.INSTRUMENT for record in taken(out))
