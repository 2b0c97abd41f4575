"""The binary captures: IEX's day of twelve runs, a torn ITCH file, and one packet of every message."""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

import chronicle
from chronicle.core.cursor import Cursor
from chronicle.core.errors import ChronicleError
from chronicle.core.events import EventBuilder
from chronicle.core.layout import Kind, Side, StatusCode, WireForm
from chronicle.core.local import LocalSource
from chronicle.core.records import Record
from chronicle.etl import run_shard
from chronicle.feed.captures import open_capture
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.replay import ReplayReport, replay_capture
from chronicle.feed.venues import adapter_for

DEEP_TRUTH = {"5": 14_627, "8": 12_941, "T": 83_343, "B": 73, "E": 59, "H": 93_638, "O": 93_638, "P": 93_636, "S": 44}
"""Whole messages by type. (The capture's README has the letters of the two level updates the other way round.)"""
FIRST_SECONDS = [
    *("15:03:19", "15:19:10", "17:05:50", "17:08:20", "17:12:35", "17:15:58"),
    *("17:22:42", "18:04:26", "18:13:47", "18:23:03", "18:27:57", "19:35:47"),
]


def records(home: Path, queue: str) -> Iterator[Record]:
    cursor = Cursor(LocalSource(home), queue)
    while (window := cursor.next_window()) is not None:
        yield from window.records()


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command-line interface."""
    line = [sys.executable, "-m", "chronicle", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def deep(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReplayReport]:
    home = tmp_path_factory.mktemp("deep")
    report = replay_capture(home, [shared_data / "iex-pcap" / "DEEP10.pcap.gz"], format="pcap")
    run_shard(home, drain=True)
    return home, report


@pytest.mark.data
def test_every_message_of_the_iex_day_is_there_and_nothing_is_a_gap(deep: tuple[Path, ReplayReport]) -> None:
    home, report = deep
    assert (report.decode_errors, len(report.damage)) == (1, 1)  # the packet that the file cuts off
    assert "460 of 1490 bytes" in report.damage[0]
    packets = [r.fields()["payload"] for r in records(home, "wire/main.q") if r.fields()["form"] == WireForm.BINARY]
    assert len(packets) == 121_314
    assert sum(payload[14:16] == b"\0\0" for payload in packets) == 7_937
    found: Counter[str] = Counter()
    sessions = []
    symbols: set[int] = set()
    for record in records(home, "raw/main.q"):
        if record.kind == Kind.BOOK_DELTA:
            found["8" if record.side == Side.BID else "5"] += 1
            symbols.add(record.instrument)
        elif record.kind == Kind.TRADE:
            found["T"] += 1
            symbols.add(record.instrument)
        elif record.kind == Kind.STATUS:
            fields = record.fields()
            details = fields["details"]
            assert fields["code"] != StatusCode.LOST
            found[_letter(details)] += 1
            if details.get("state") == "session":
                sessions.append((details["first"], record.ts_recv))
    assert {kind: found[kind] for kind in DEEP_TRUTH} == DEEP_TRUTH
    assert len(symbols) == 20
    assert [first for first, _ in sessions] == [1] * 12
    begins = [datetime.fromtimestamp(ts // 10**9, UTC).strftime("%H:%M") for _, ts in sessions]
    assert begins == [text[:5] for text in FIRST_SECONDS]
    gaps = [r for queue in LocalSource(home).queues("clean/") for r in records(home, queue) if r.kind == Kind.GAP]
    assert not gaps


def _letter(details: dict[str, object]) -> str:
    state = str(details.get("state", details.get("event", "")))
    if state == "trade broken":
        return "B"
    if state.endswith("process complete"):
        return "E"
    if state in ("trading", "halted", "paused", "order acceptance"):
        return "H"
    if state.endswith("halted on IEX"):
        return "O"
    if state == "short sale price test":
        return "P"
    return "S" if "event" in details else ""


@pytest.mark.data
def test_iex_books_are_those_of_a_plain_walk_through_the_packets(
    deep: tuple[Path, ReplayReport], shared_data: Path
) -> None:
    home, _ = deep
    checked = 0
    with chronicle.open(str(home)) as store:
        for ts, books in _walk(shared_data / "iex-pcap" / "DEEP10.pcap.gz"):
            for symbol, (bids, asks) in books.items():
                book = store.book(f"iex:{symbol}", at=ts, depth=1_000)
                assert [(int(p * 10_000), int(s)) for p, s in book.bids] == sorted(bids.items(), reverse=True)
                assert [(int(p * 10_000), int(s)) for p, s in book.asks] == sorted(asks.items())
                assert str(book.status).lower().rpartition(".")[2] in ("ok", "crossed")
                checked += 1
    assert checked > 100


_Books = dict[str, tuple[dict[int, int], dict[int, int]]]


def _walk(path: Path) -> Iterator[tuple[int, _Books]]:
    """Yield (time, whole books) after every 4,000th packet at which no transaction is open."""
    with gzip.open(path) as file:
        data = file.read()
    books: _Books = {}
    pending: dict[str, list[tuple[int, int, int]]] = {}
    at, count, last = 24, 0, 0
    while at + 16 <= len(data):
        seconds, micros, size, _ = struct.unpack_from("<IIII", data, at)
        payload = data[at + 16 + 42 : at + 16 + size]
        at += 16 + size
        if at > len(data):
            return
        messages, first = struct.unpack_from("<H", payload, 14)[0], struct.unpack_from("<q", payload, 24)[0]
        if first < last:
            books, pending = {}, {}
        last = first
        place = 40
        for _ in range(messages):
            length = struct.unpack_from("<H", payload, place)[0]
            message = payload[place + 2 : place + 2 + length]
            place += 2 + length
            if message[0] in b"85":
                _, flags, _, name, shares, price = struct.unpack_from("<cBq8sIq", message)
                symbol = name.decode().strip()
                pending.setdefault(symbol, []).append((message[0], price, shares))
                if flags & 1:
                    sides = books.setdefault(symbol, ({}, {}))
                    for kind, level, total in pending.pop(symbol):
                        side = sides[kind != ord("8")]
                        side.pop(level, None)
                        if total:
                            side[level] = total
        count += 1
        if count % 4_000 == 0 and not pending:
            yield seconds * 10**9 + micros * 1_000, books


@pytest.mark.data
def test_the_torn_itch_sample_gives_its_whole_messages(shared_data: Path, tmp_path: Path) -> None:
    sample = str(shared_data / "nasdaq-itch" / "sample.itch")
    replay = ("feed", "replay", sample, "--format", "itch", "--home", str(tmp_path), "--json")
    without = command(*replay)
    assert without.returncode != 0
    assert "--date" in without.stderr
    assert "Traceback" not in without.stderr
    result = command(*replay, "--date", "2019-01-30")
    assert result.returncode == 8
    report = json.loads(result.stdout)
    assert "15 bytes" in report["damage"][0]
    found = list(records(tmp_path, "raw/main.q"))
    assert sum(record.kind == Kind.INSTRUMENT for record in found) == 98
    states = [r.fields()["details"] for r in found if r.kind == Kind.STATUS and r.ts_event]
    assert len(states) == 101
    assert Counter(str(d.get("state", d.get("event"))) for d in states) == {
        "listed": 98,
        "start of messages": 1,
        "trading": 1,
        "no price test": 1,
    }


# --- one packet of each message ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packets(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("omi")
    for archive in sorted((shared_data / "omi-packets").glob("*.tar.zst")):
        plain = folder / archive.stem
        with open(archive, "rb") as source, open(plain, "wb") as target:
            zstandard.ZstdDecompressor().copy_stream(source, target)
        subprocess.run(["tar", "-xf", str(plain), "-C", str(folder)], check=True)
    return folder


def decoded(path: Path) -> list[Record]:
    """Return the records of all packets of a capture."""
    capture = open_capture([path])
    registry, out = InstrumentRegistry(), EventBuilder()
    adapters = {line.number: adapter_for(line.venue, registry) for line in capture.lines}
    found = []
    for frame in capture.frames():
        out.begin(frame.ts_recv, source=frame.connection)
        adapters[frame.connection].decode(frame, out)
        data, _ = out.take()
        view = memoryview(bytes(data))
        while view:
            found.append(Record(view[: Record(view).length]))
            view = view[found[-1].length :]
    return found


def _says(record: Record) -> set[str]:
    """Return the words by which a record tells its message."""
    if record.kind == Kind.ORDER:
        return {f"order {chr(record.fields()['code'])}"}
    if record.kind == Kind.TRADE:
        return {"trade"}
    if record.kind in (Kind.QUOTE, Kind.BOOK_DELTA):
        return {f"{Kind(record.kind).name} {chr(record.side) if record.side else ''}".strip()}
    if record.kind == Kind.STATUS:
        details = record.fields()["details"]
        return {
            str(details.get("message")),
            str(details.get("state")),
            str(details.get("event")),
            str(details.get("type")),
        }
    return {"instrument"}


_EXPECTED = (
    ("ExecutedWithPrice", {"order executed with price"}),
    ("OrderExecuted", {"order executed", "L"}),
    ("OrderDelete", {"order delete", "R"}),
    ("OrderReplace", {"order replace"}),
    ("OrderCancel", {"order cancel"}),
    ("OrderModify", {"M"}),
    ("AddOrderNoM", {"order A"}),
    ("AddOrderMpid", {"order F"}),
    ("AddOrderWithM", {"order F"}),
    ("a_AddOrder", {"order a"}),
    ("Multiple.Packets", {"order A"}),
    ("CrossTrade", {"trade"}),
    ("NonCrossTrade", {"trade"}),
    ("Non-cross", {"trade"}),
    ("TradeBreak", {"trade broken"}),
    ("TradeReport", {"trade"}),
    ("T_Trade", {"trade"}),
    ("StockTradingAction", {"trading", "halted", "paused"}),
    ("TradingStatus", {"trading", "halted"}),
    ("RegSho", {"price test"}),
    ("RegSHO", {"price test"}),
    ("ShortSale", {"short sale price test"}),
    ("RetailInterest", {"retail interest"}),
    ("RetailLiquidity", {"retail liquidity"}),
    ("SystemEvent", {"start of market hours", "start of regular market hours", "start of messages"}),
    ("LULD", {"LULD auction collar"}),
    ("MarketParticipant", {"market participant"}),
    ("NetOrderImbalance", {"imbalance"}),
    ("SecurityDirectory", {"instrument"}),
    ("SecurityEvent", {"opening process complete"}),
    ("OperationalHalt", {"not halted on IEX"}),
    ("OfficialPrice", {"official opening price"}),
    ("AuctionInformation", {"auction"}),
    ("QuoteUpdate", {"QUOTE"}),
    ("PriceLevelBuy", {"BOOK_DELTA B"}),
    ("PriceLevelSell", {"BOOK_DELTA A"}),
    ("Heartbeat", {"session"}),
)


@pytest.mark.data
def test_each_file_of_a_known_protocol_gives_the_message_that_it_is_named_for(packets: Path) -> None:
    checked = 0
    for path in sorted(packets.rglob("*.pcap")):
        folder = path.parent.name
        if not ("TotalView" in folder or "IexTp" in folder) or path.stem == "all_message_types":
            continue
        wanted = next((words for name, words in _EXPECTED if name in path.stem), None)
        assert wanted is not None, path
        said = {word for record in decoded(path) for word in _says(record)}
        assert wanted & said, (path, said)
        checked += 1
    assert checked == 75


@pytest.mark.data
def test_foreign_protocols_are_refused_by_name(packets: Path) -> None:
    refused = 0
    for path in sorted(packets.rglob("*.pcap")):
        if "TotalView" in path.parent.name or "IexTp" in path.parent.name:
            continue
        with pytest.raises(ChronicleError, match="no packet of a feed that is known here") as caught:
            open_capture([path])
        assert caught.value.found
        refused += 1
    assert refused > 60
    cme = next(packets.rglob("MdIncrementalRefreshBook.pcap"))
    result = command("feed", "replay", str(cme), "--home", str(packets / "home"))
    assert result.returncode == 8
    assert "MoldUDP64 with ITCH 5.0" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (packets / "home").exists()
