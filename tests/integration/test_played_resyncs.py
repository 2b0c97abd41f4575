"""A played capture with a message missing: the ETL asks for the book anew, and the player's answer makes it whole."""

from __future__ import annotations

import asyncio
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from chronicle.core.layout import Kind, Origin, WireForm
from chronicle.core.local import LocalSource
from chronicle.core.paths import clean_queue
from chronicle.etl import run_shard
from chronicle.feed.connection import ConnectionSettings
from chronicle.feed.dialects import FeedSpec
from chronicle.feed.live import FeedSession
from chronicle.feed.simulator import FaultInjector
from chronicle.feed.simulator.playback import PlaybackExchange, load_recording
from tests.support.captured import Captured
from tests.support.etl_streams import follow, queue_records, status_word
from tests.support.polling import until

pytestmark = pytest.mark.data
SETTINGS = ConnectionSettings(backoff_first=0.05, backoff_last=0.2)


class DropOnce(FaultInjector):
    """Loses the `number`-th message that holds `word`."""

    def __init__(self, word: str, number: int) -> None:
        super().__init__()
        self.word, self.left = word, number

    def choose(self, message: str) -> str:
        if self.word in message:
            self.left -= 1
            if not self.left:
                self.counts["drop"] += 1
                return "drop"
        return ""


def play(home: Path, capture: Path, symbol: str, dropped: DropOnce) -> int:
    """Play a capture in some seconds with one message dropped; return how many resyncs the player answered."""
    venue = symbol.partition(":")[0]
    folder = clean_queue(symbol, "book").removeprefix("clean/").removesuffix("/book.q")
    stop_etl = threading.Event()
    thread = threading.Thread(target=run_shard, args=(home,), kwargs={"stop": stop_etl})
    recording = load_recording([capture])

    async def run() -> int:
        async with PlaybackExchange(recording, speed=8.0, injector=dropped) as exchange:
            spec = FeedSpec(venue, exchange.url, (symbol,), ("book",), 1000, exchange.rest_url)
            session = FeedSession(home, [spec], settings=SETTINGS)
            captured, stop = Captured(home), asyncio.Event()
            task = asyncio.create_task(session.run(stop))
            try:
                await until(lambda: captured.form(WireForm.TEXT) > 20, "the first frames")
                thread.start()
                total = sum(len(line.frames) for line in recording.lines.values())
                await until(lambda: exchange.played["frames"] >= total - 1, "all frames")
                await until(lambda: exchange.played["resync"] > 0, "a resync")
                await until(lambda: words(home, folder)[-2:] == ["gap", "ok"], "a book that is whole again")
            finally:
                stop.set()
                await task
                stop_etl.set()
                if thread.ident is not None:
                    await asyncio.to_thread(thread.join)
            return exchange.played["resync"]

    answered = asyncio.run(run())
    run_shard(home, drain=True)
    return answered


def places(home: Path, capture: Path, *parts: str) -> list[int]:
    """Return which of the capture's frames that hold `parts` came, by their numbers among those."""
    lines = load_recording([capture]).lines.values()
    known = [text for line in lines for _, text in line.frames if all(part in text for part in parts)]
    assert len(set(known)) == len(known)
    number = {text.encode(): place for place, text in enumerate(known)}
    fields = [record.fields() for record in queue_records(home, "wire/main.q")]
    return [number[one["payload"]] for one in fields if one["payload"] in number]


def words(home: Path, folder: str) -> list[str]:
    found = [status_word(book, trust) for _, book, trust in follow(queue_records(home, f"clean/{folder}/book.q"))]
    return [word for at, word in enumerate(found) if not at or word != found[at - 1]]


def test_a_book_on_the_stream_is_played_again_up_to_now(shared_data: Path, tmp_path: Path) -> None:
    capture = shared_data / "cryptofeed-ws" / "jsonl" / "KRAKEN.jsonl.zst"
    dropped = DropOnce('"book-1000","XBT/CHF"', 90)  # one whose loss a checksum shows
    assert play(tmp_path, capture, "kraken:BTC-CHF", dropped) >= 1
    assert dropped.counts["drop"] == 1
    came = places(tmp_path, capture, '"book-1000","XBT/CHF"')
    jumps = [(before, after) for before, after in pairwise(came) if after != before + 1]
    assert [after - before for before, after in jumps[:1]] == [2], "one is lost"
    assert [after for _, after in jumps[1:]] == [0] * (len(jumps) - 1), "and what is played again ends where it was"
    found = words(tmp_path, "kraken/btc_chf")
    assert "gap" in found
    assert found[-2:] == ["ok", "stale"], "whole again, by checksums, until the feed ended"
    others = {queue for queue in LocalSource(tmp_path).queues("clean/") if queue.endswith("/book.q")}
    assert len(others) == 10
    assert not any(
        "gap" in words(tmp_path, queue.split("/", 1)[1][:-7]) for queue in others if "btc_chf" not in queue
    )


def test_a_book_over_http_is_brought_up_to_date(shared_data: Path, tmp_path: Path) -> None:
    capture = shared_data / "cryptofeed-ws" / "jsonl" / "BINANCE_FUTURES.jsonl.zst"
    dropped = DropOnce("sushiusdt@depth", 30)
    assert play(tmp_path, capture, "binance-usdm:SUSHI-USDT-PERP", dropped) >= 1
    found = words(tmp_path, "binance-usdm/sushi_usdt_perp")
    assert found[-3:] == ["gap", "ok", "stale"]
    records = queue_records(tmp_path, "clean/binance-usdm/sushi_usdt_perp/book.q")
    starts = [r for r in records if r.kind == Kind.BOOK_SNAPSHOT and r.fields()["origin"] == Origin.VENUE]
    assert len({record.sequence for record in starts}) >= 2, "the second is of a later moment"
