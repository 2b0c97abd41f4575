"""Injected faults: seeded, counted, told; and which recorded connections a client is played."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from chronicle.core.errors import ConfigError
from chronicle.feed.simulator.faults import FAULTS, Delivery, FaultInjector, Signal
from chronicle.feed.simulator.playback import RecordedLine, Recording, _merged, load_recording

BOOK = '[1,{"a":[["1.0","2.0","3.0"]],"c":"974942666"},"book-10","XBT/USD"]'


def deliveries(fault: str, *messages: str, rate: float = 1.0) -> list[str | bytes | Signal]:
    lane = FaultInjector({fault: rate}, giant_bytes=100).lane()
    return [delivery.what for message in messages for delivery in lane.take(message)]


def test_each_fault_does_what_it_says() -> None:
    assert deliveries("drop", "a", "b") == []
    assert deliveries("duplicate", "a", "b") == ["a", "a", "b", "b"]
    assert deliveries("disconnect", "a") == [Signal.CUT]
    assert deliveries("half_open", "a") == [Signal.FREEZE]
    assert deliveries("giant", "a") == ["x" * 100, "a"]
    garbage, message = deliveries("garbage", "a")
    assert message == "a"
    assert garbage
    assert FaultInjector({"delay": 1.0}, delay_seconds=2.5).lane().take("a") == [Delivery("a", 2.5)]


def test_a_reordered_message_changes_places_with_the_next_and_none_is_lost() -> None:
    injector = FaultInjector({"reorder": 1.0}, limit=1)
    lane = injector.lane()
    assert [lane.take(text) for text in "abc"] == [[], [Delivery("b"), Delivery("a")], [Delivery("c")]]
    messages = [str(number) for number in range(2000)]
    assert Counter([*deliveries("reorder", *messages, rate=0.3), messages[-1]]).keys() == set(messages)


@pytest.mark.parametrize("text", [BOOK, '{"data":[{"checksum":-12,"seqId":5}]}'])
def test_only_a_checksum_is_altered(text: str) -> None:
    (altered,) = deliveries("checksum", text)
    assert isinstance(altered, str)
    assert sum(a != b for a, b in zip(altered, text, strict=True)) == 1
    assert deliveries("checksum", '{"no":"sum"}') == ['{"no":"sum"}']


def test_equal_seeds_give_equal_faults_near_their_shares() -> None:
    def run(seed: int) -> tuple[list[str], Counter[str]]:
        told: list[str] = []
        rates = {"drop": 0.1, "duplicate": 0.05, "checksum": 0.01}
        injector = FaultInjector(rates, seed=seed, tell=lambda fault, message: told.append(fault))
        for _ in range(10_000):
            injector.choose(BOOK)
        return told, injector.counts

    told, counts = run(1)
    assert (told, counts) == run(1)
    assert told != run(2)[0]
    assert Counter(told) == counts
    assert 900 < counts["drop"] < 1100
    assert 430 < counts["duplicate"] < 570
    assert 70 < counts["checksum"] < 135


@pytest.mark.parametrize("rates", [{"fire": 0.1}, {"drop": -0.1}, {"drop": 1.1}, dict.fromkeys(FAULTS, 0.2)])
def test_shares_that_cannot_be_are_refused(rates: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="faults"):
        FaultInjector(rates)


def test_a_client_gets_the_connections_of_its_path_and_one_of_redundant_ones() -> None:
    def line(address: str, *asked: str) -> RecordedLine:
        return RecordedLine(address, list(asked), [(1, "x")])

    a, b = line("wss://v/spot", "books"), line("wss://v/spot", "trades")
    c, d = line("wss://v/mix/", "books"), line("wss://v/spot", "books")
    recording = Recording(("v",), {1: a, 2: b, 3: c, 4: d, 5: RecordedLine("wss://v/spot", ["none"])})
    assert recording.groups("/spot") == [[a, d], [b]]
    assert recording.groups("/mix") == [[c]]
    assert recording.groups("/unknown") == [[a, c, d], [b]]


def test_http_answers_are_found_by_path_and_question() -> None:
    address = "https://v/api/depth?symbol=A&limit=1000"
    recording = Recording(("v",), answers=[(address, b"a"), ("https://v/api/depth?symbol=B", b"b")])
    assert recording.answer("/api/depth?symbol=A&limit=5") == b"a"
    assert recording.answer("/api/depth?symbol=B") == b"b"
    assert recording.answer("/api/depth?symbol=C") is None
    assert recording.answer("/api/other") is None


def test_frames_are_counted_for_the_line_they_are_of() -> None:
    lines = [RecordedLine(frames=[(ts, f"{number}-{ts}") for ts in (1, 4)], number=number) for number in (7, 8, 9)]
    assert [(text, number) for _, text, number in _merged(lines)] == [
        (f"{number}-{ts}", number) for ts in (1, 4) for number in (7, 8, 9)
    ]


@pytest.mark.data
def test_redundant_lines_of_a_capture_are_one_group(shared_data: Path) -> None:
    folder = shared_data / "cryptofeed-ws" / "raw-text-2021-07-22"
    recording = load_recording(sorted(folder.glob("OKEX.ws.*")))
    assert [len(lines) for lines in recording.groups("/ws/v5/public")] == [3]
    with pytest.raises(ConfigError, match="one venue"):
        load_recording([*folder.glob("OKEX.ws.1*"), shared_data / "cryptofeed-ws/jsonl/KRAKEN.jsonl.zst"])
