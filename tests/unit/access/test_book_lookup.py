"""book(at): state after all events up to the moment, and how far it is to be trusted."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

import chronicle
from chronicle.access.books import lookup
from chronicle.core.errors import BookNotTrustedError, ConfigError, NotFoundError, SymbolError
from chronicle.core.layout import Cause, StatusCode, Verdict
from tests.support.home_builder import CleanQueue, definition, progress

SYMBOL = "kraken:BTC-EUR"


@pytest.fixture(params=[False, True], ids=["python", "kernel"], autouse=True)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rule holds for both ways of replaying."""
    monkeypatch.setattr(lookup, "_kernels_pay", lambda _: request.param)


START = 1_700_000_000_000_000_000


def simple(home: Path, **settings: object) -> CleanQueue:
    """A snapshot at START + 10 and deltas at +20, +30 (two events), +40."""
    clean = CleanQueue(home, **settings)  # type: ignore[arg-type]
    clean.define(START)
    clean.venue_snapshot(START + 10, [(10000, 5), (9990, 7)], [(10010, 3), (10020, 4)])
    clean.deltas(START + 20, ("bid", 10000, 6))
    clean.deltas(START + 30, ("ask", 10010, 0))
    clean.deltas(START + 30, ("ask", 10015, 9))
    clean.deltas(START + 40, ("bid", 9990, 0), ("bid", 9980, 1))
    return clean


@pytest.fixture(params=["open", "sealed"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    clean = simple(tmp_path)
    progress(tmp_path, START + 100)
    clean.close(seal=request.param == "sealed")
    return tmp_path


def levels(book: chronicle.Book) -> tuple[list[list[str]], list[list[str]]]:
    values = book.to_dict()
    return values["bids"], values["asks"]


@pytest.mark.parametrize(
    ("at", "bids", "asks"),
    [
        (10, [["100", "0.005"], ["99.9", "0.007"]], [["100.1", "0.003"], ["100.2", "0.004"]]),
        (19, [["100", "0.005"], ["99.9", "0.007"]], [["100.1", "0.003"], ["100.2", "0.004"]]),
        (20, [["100", "0.006"], ["99.9", "0.007"]], [["100.1", "0.003"], ["100.2", "0.004"]]),
        (30, [["100", "0.006"], ["99.9", "0.007"]], [["100.15", "0.009"], ["100.2", "0.004"]]),
        (40, [["100", "0.006"], ["99.8", "0.001"]], [["100.15", "0.009"], ["100.2", "0.004"]]),
    ],
)
def test_book_holds_the_state_after_all_events_up_to_the_moment(
    home: Path, at: int, bids: list[list[str]], asks: list[list[str]]
) -> None:
    with chronicle.open(home) as store:
        book = store.book(SYMBOL, at=START + at)
        assert levels(book) == (bids, asks)
        assert book.status == "ok"


def test_book_says_where_it_comes_from_and_what_it_cost(home: Path) -> None:
    with chronicle.open(home) as store:
        book = store.book(SYMBOL, at=START + 35)
        assert (book.ts_recv, book.ts_event, book.snapshot_age_ns) == (START + 30, START + 25, 25)
        assert book.source["queue"] == "clean/kraken/btc_eur/book.q"
        assert (book.source["index"], book.source["raw_index"], book.source["raw_queue"]) == (4, 105, "raw/main.q")
        assert (book.cost.segments_opened, book.cost.deltas_replayed) == (1, 3)
        assert book.cost.bytes_read > 0
        assert book.bids[0] == (Decimal("100.00"), Decimal("0.006"))
        assert (book.spread, book.mid) == (Decimal("0.15"), Decimal("100.075"))
        assert "ok" in str(book)
        assert "100.15" in book._repr_html_()
        json.dumps(book.to_dict())


def test_latest_book_is_the_state_after_the_last_record(home: Path) -> None:
    with chronicle.open(home) as store:
        book = store.book(SYMBOL)
        assert (book.at, book.ts_recv, book.status) == (START + 40, START + 40, "ok")


def test_depth_cuts_the_answer_not_the_book(home: Path) -> None:
    with chronicle.open(home) as store:
        assert levels(store.book(SYMBOL, at=START + 40, depth=1)) == ([["100", "0.006"]], [["100.15", "0.009"]])


def test_book_before_the_first_record_is_unverified_and_empty(home: Path) -> None:
    with chronicle.open(home) as store:
        book = store.book(SYMBOL, at=START - 1)
        assert (book.status, book.bids, book.asks, book.ts_recv) == ("unverified", [], [], -1)
        assert store.book(SYMBOL, at=START + 5).status == "unverified"


def test_book_beyond_the_frontier_is_stale_and_idle_before_it_is_ok(home: Path) -> None:
    with chronicle.open(home) as store:
        assert store.book(SYMBOL, at=START + 100).status == "ok"
        assert store.book(SYMBOL, at=START + 101).status == "stale"


def test_book_in_a_gap_found_later_is_not_ok(tmp_path: Path) -> None:
    clean = simple(tmp_path)
    clean.gap_open(START + 80, START + 40)
    clean.deltas(START + 80, ("bid", 10000, 1))
    clean.deltas(START + 90, ("bid", 10000, 2))
    clean.gap_closed(START + 100, START + 40)
    clean.venue_snapshot(START + 100, [(10001, 1)], [(10002, 1)])
    clean.deltas(START + 110, ("bid", 10001, 2))
    clean.close()
    with chronicle.open(tmp_path) as store:
        statuses = {at: store.book(SYMBOL, at=START + at).status for at in (40, 41, 60, 80, 90, 99, 100, 110)}
        assert statuses == {40: "ok", 41: "gap", 60: "gap", 80: "gap", 90: "gap", 99: "gap", 100: "ok", 110: "ok"}
        with pytest.raises(BookNotTrustedError, match="gap"):
            store.book(SYMBOL, at=START + 60, strict=True)
        assert store.book(SYMBOL, at=START + 110, strict=True).status == "ok"
        (gap,) = store.gaps(SYMBOL)
        assert (gap.cause, gap.state, gap.last_good_ts, gap.detected_ts, gap.recovery_ts) == (
            "sequence", "closed", START + 40, START + 80, START + 100,
        )  # fmt: skip
        assert (gap.first_missing, gap.last_missing) == (7, 9)
        assert store.gaps(SYMBOL, START + 100) == []
        assert store.gaps(SYMBOL, START, START + 40) == []
        assert len(store.gaps(None, START + 50, START + 60)) == 1


def test_failed_check_distrusts_back_to_the_last_that_passed(tmp_path: Path) -> None:
    clean = CleanQueue(tmp_path, fields=definition(check_rule=1))
    clean.venue_snapshot(START + 10, [(10000, 5)], [(10010, 3)])
    clean.deltas(START + 20, ("bid", 10000, 6), check=Verdict.PASSED)
    clean.deltas(START + 30, ("bid", 10000, 7))
    clean.gap_open(START + 40, START + 20, Cause.CHECK)
    clean.deltas(START + 40, ("bid", 10000, 8), check=Verdict.FAILED)
    clean.close()
    with chronicle.open(tmp_path) as store:
        book = store.book(SYMBOL, at=START + 20)
        assert (book.status, book.verified_by) == ("ok", "checksum")
        assert [store.book(SYMBOL, at=START + at).status for at in (21, 30, 40)] == ["gap"] * 3


def test_lost_line_makes_the_book_stale_until_it_is_fed_again(tmp_path: Path) -> None:
    clean = simple(tmp_path)
    clean.status(START + 50, StatusCode.DISCONNECTED)
    clean.venue_snapshot(START + 70, [(10000, 5)], [(10010, 3)])
    clean.close()
    with chronicle.open(tmp_path) as store:
        assert [store.book(SYMBOL, at=START + at).status for at in (49, 50, 69, 70)] == ["ok", "stale", "stale", "ok"]


def test_crossed_book_is_crossed_until_it_uncrosses(tmp_path: Path) -> None:
    clean = simple(tmp_path)
    clean.deltas(START + 50, ("bid", 10030, 1))
    clean.deltas(START + 60, ("bid", 10030, 0))
    clean.close()
    with chronicle.open(tmp_path) as store:
        assert [store.book(SYMBOL, at=START + at).status for at in (49, 50, 60)] == ["ok", "crossed", "ok"]


def test_redefinition_changes_the_exponent_and_not_the_value(tmp_path: Path) -> None:
    clean = simple(tmp_path)
    clean.redefine(START + 50, definition(price_exponent=4, size_exponent=3))
    clean.deltas(START + 60, ("bid", 1000050, 2))
    clean.etl_snapshot(START + 70)
    clean.deltas(START + 70, ("ask", 1001500, 8))
    clean.close(seal=True)
    with chronicle.open(tmp_path) as store:
        assert levels(store.book(SYMBOL, at=START + 49, depth=1)) == ([["100", "0.006"]], [["100.15", "0.009"]])
        assert levels(store.book(SYMBOL, at=START + 50, depth=1)) == ([["100", "0.006"]], [["100.15", "0.009"]])
        assert levels(store.book(SYMBOL, at=START + 60, depth=1)) == ([["100.005", "0.002"]], [["100.15", "0.009"]])
        assert levels(store.book(SYMBOL, at=START + 70, depth=1)) == ([["100.005", "0.002"]], [["100.15", "0.008"]])


def test_book_is_cut_to_the_depth_the_venue_keeps(tmp_path: Path) -> None:
    clean = CleanQueue(tmp_path, fields=definition(book_depth=2))
    clean.venue_snapshot(START + 10, [(100, 1), (99, 1)], [(101, 1), (102, 1)])
    clean.deltas(START + 20, ("bid", 98, 1), ("ask", 100, 0), ("bid", 97, 5), ("bid", 100, 0))
    clean.close()
    with chronicle.open(tmp_path) as store:
        book = store.book(SYMBOL, at=START + 20)
        assert book.bid_levels == ((99, 1), (98, 1))
        assert book.complete_range == (Decimal("0.98"), Decimal("1.02"))


def test_limited_snapshot_leaves_levels_outside_it_unknown(tmp_path: Path) -> None:
    clean = CleanQueue(tmp_path)
    clean.venue_snapshot(START + 10, [(100, 1)], [(101, 1)], floor=90, ceiling=110)
    clean.close()
    with chronicle.open(tmp_path) as store:
        assert store.book(SYMBOL).complete_range == (Decimal("0.90"), Decimal("1.10"))


def test_injected_snapshots_and_segments_change_no_answer(tmp_path: Path) -> None:
    plain, dense = tmp_path / "plain", tmp_path / "dense"
    for home, snapshots in ((plain, False), (dense, True)):
        clean = CleanQueue(home, segment_bytes=1 << 16)
        clean.venue_snapshot(START, [(10000 - n, 1) for n in range(20)], [(10001 + n, 1) for n in range(20)])
        for step in range(2_000):
            ts = START + 100 * (step + 1)
            if snapshots and step % 97 == 0:
                clean.etl_snapshot(ts)
            clean.deltas(ts, ("bid", 10000 - step * 7 % 31, step % 5), ("ask", 10001 + step * 11 % 29, step % 4))
        clean.close(seal=snapshots)
    with chronicle.open(plain) as first, chronicle.open(dense) as second:
        assert len(second.coverage(SYMBOL).segments) > 2
        for step in range(0, 2_000, 131):
            at = START + 100 * step + step % 3
            one, two = first.book(SYMBOL, at=at), second.book(SYMBOL, at=at)
            assert (one.bid_levels, one.ask_levels, one.ts_recv, one.status) == (
                two.bid_levels, two.ask_levels, two.ts_recv, two.status,
            )  # fmt: skip


def test_best_lane_answers_and_the_lowest_number_breaks_ties(tmp_path: Path) -> None:
    main = CleanQueue(tmp_path, lane=0)
    main.venue_snapshot(START + 1_000, [(200, 1)], [(201, 1)])
    main.deltas(START + 1_100, ("bid", 200, 2))
    main.close()
    older = CleanQueue(tmp_path, lane=1)
    older.venue_snapshot(START, [(100, 1)], [(101, 1)])
    older.deltas(START + 50, ("bid", 100, 2))
    older.status(START + 60, StatusCode.DISCONNECTED)
    older.close()
    again = CleanQueue(tmp_path, lane=1000)
    again.venue_snapshot(START + 1_000, [(200, 9)], [(201, 9)])
    again.deltas(START + 1_100, ("bid", 200, 9))
    again.close()
    with chronicle.open(tmp_path) as store:
        assert store.book(SYMBOL, at=START + 55).source["lane"] == 1
        assert store.book(SYMBOL, at=START + 500).status == "stale"
        assert store.book(SYMBOL, at=START + 1_050).source["lane"] == 0
        assert store.book(SYMBOL, at=START + 1_050).status == "ok"


def test_reader_sees_what_is_appended_after_it_opened(tmp_path: Path) -> None:
    clean = simple(tmp_path, segment_bytes=1 << 16)
    with chronicle.open(tmp_path) as store:
        assert store.book(SYMBOL).ts_recv == START + 40
        clean.deltas(START + 50, ("bid", 10001, 1))
        assert store.book(SYMBOL).ts_recv == START + 50
        assert store.book(SYMBOL, at=START + 50).ts_recv == START + 50
        clean.seal()
        clean.deltas(START + 60, ("bid", 10002, 1))
        assert store.book(SYMBOL, at=START + 60).ts_recv == START + 60
        assert store.book(SYMBOL, at=START + 50).ts_recv == START + 50
    clean.close()


def test_missing_segment_is_a_hole_in_the_answer(tmp_path: Path) -> None:
    clean = simple(tmp_path)
    clean.seal()
    clean.deltas(START + 50, ("bid", 10001, 1))
    clean.seal()
    clean.deltas(START + 60, ("bid", 10001, 2))
    clean.close()
    next(tmp_path.glob("clean/kraken/btc_eur/book.q/0000000001.*")).unlink()
    with chronicle.open(tmp_path) as store:
        assert [store.book(SYMBOL, at=START + at).status for at in (40, 55, 60)] == ["ok", "gap", "ok"]
        assert store.gaps(SYMBOL)[0].cause == "missing_segment"


@pytest.mark.parametrize(
    "text",
    ["kraken:BTC-EUR", "KRAKEN:btc-eur", "kraken:XBT/EUR", "kraken:xbt/eur", "kraken:btc/eur", " kraken:XBTEUR "],
)
def test_symbol_is_taken_in_any_spelling_of_the_venue(home: Path, text: str) -> None:
    with chronicle.open(home) as store:
        assert store.resolve(text) == SYMBOL


def test_unknown_symbol_names_close_ones(home: Path) -> None:
    with chronicle.open(home) as store:
        with pytest.raises(SymbolError, match="kraken:BTC-EUR"):
            store.book("kraken:BTC-EUX")
        with pytest.raises(SymbolError):
            store.book("nonsense")


def test_captured_spelling_and_aliases_are_taken(tmp_path: Path) -> None:
    fields = definition("nowhere:FOO-BAR", venue_symbol="foo~bar!")
    clean = CleanQueue(tmp_path, "nowhere:FOO-BAR", fields=fields)
    clean.venue_snapshot(START, [(1, 1)], [(2, 1)])
    clean.close()
    with chronicle.open(tmp_path) as store:
        assert store.resolve("nowhere:FOO~BAR!") == "nowhere:FOO-BAR"


@pytest.mark.parametrize("name", ["../../ETC", "a b", "ΩMEGA", "%2e%2e", ".HIDDEN", "CON\n"])
def test_hostile_symbol_names_stay_inside_their_folder(tmp_path: Path, name: str) -> None:
    symbol = f"nowhere:{name}"
    clean = CleanQueue(tmp_path, symbol)
    clean.venue_snapshot(START, [(1, 1)], [(2, 1)])
    clean.close()
    with chronicle.open(tmp_path) as store:
        assert [row.symbol for row in store.instruments()] == [symbol]
        assert store.book(symbol).bid_levels == ((1, 1),)


def test_missing_place_is_an_error_with_a_hint_and_an_empty_home_is_not(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="chronicle init"):
        chronicle.open(tmp_path / "absent")
    with chronicle.open(tmp_path) as store:
        assert store.instruments() == []
        assert store.gaps() == []
        with pytest.raises(SymbolError, match="nothing is captured"):
            store.book(SYMBOL)


def test_instruments_channels_and_coverage_say_what_is_there(home: Path) -> None:
    with chronicle.open(home) as store:
        (row,) = store.instruments()
        assert (row.symbol, row.venue, row.venue_symbol, row.base, row.quote, row.type) == (
            SYMBOL, "kraken", "BTC/EUR", "BTC", "EUR", "spot",
        )  # fmt: skip
        assert (row.channels, row.tick, row.lot, row.price_exponent) == (("book",), Decimal("0.01"), None, 2)
        assert store.channels("kraken:XBT/EUR") == ["book"]
        coverage = store.coverage(SYMBOL)
        assert (coverage.ts_first, coverage.ts_last, coverage.records) == (START, START + 40, 7)
        assert (coverage.frontier_ts, coverage.segments[0].place) == (START + 100, "hot")
        json.dumps(coverage.to_dict())
        json.dumps(row.to_dict())


def test_short_book_needs_no_kernel(home: Path) -> None:
    code = (
        "import sys, chronicle; "
        f"print(chronicle.open({str(home)!r}).book('{SYMBOL}', at={START + 40}).status, "
        "'numba' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ok", "False", "False"]


def test_two_places_are_read_as_one(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    clean = CleanQueue(first)
    clean.venue_snapshot(START, [(100, 1)], [(101, 1)])
    clean.seal()
    clean.deltas(START + 10, ("bid", 100, 2))
    clean.close(seal=True)
    (second / "clean/kraken").mkdir(parents=True)
    folder = first / "clean/kraken/btc_eur/book.q"
    other = second / "clean/kraken/btc_eur/book.q"
    other.mkdir(parents=True)
    (other / "queue.json").write_bytes((folder / "queue.json").read_bytes())
    (folder / "0000000000.seg").rename(other / "0000000000.seg")
    with chronicle.open([first, second]) as store:
        assert [segment.number for segment in store.coverage(SYMBOL).segments] == [0, 1]
        assert store.book(SYMBOL, at=START + 5).bid_levels == ((100, 1),)
        assert store.book(SYMBOL, at=START + 10).bid_levels == ((100, 2),)


def test_long_use_comes_to_pay_for_the_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(lookup, "KERNELS_FROM_DELTAS", 10)
    monkeypatch.delitem(sys.modules, "chronicle.access.books.bulk", raising=False)
    monkeypatch.delitem(sys.modules, "chronicle.access.books.moment", raising=False)
    simple(tmp_path).close()
    with chronicle.open(tmp_path) as store:
        answers = []
        for _ in range(6):
            answers.append(store.book(SYMBOL, at=START + 35).to_dict())
            paid = lookup._kernels_pay(store._shelf)
        assert paid
        assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_segment_is_a_gap_wherever_it_stood(tmp_path: Path, lost: int) -> None:
    clean = simple(tmp_path)
    clean.seal()
    clean.deltas(START + 1000, ("bid", 9990, 4))
    clean.seal()
    clean.deltas(START + 2000, ("bid", 9990, 5))
    clean.close(seal=True)
    progress(tmp_path, START + 3000)
    book_queue = tmp_path / "clean/kraken/btc_eur/book.q"
    with chronicle.open(tmp_path) as store:
        assert store.gaps(SYMBOL) == []
        assert store.book(SYMBOL, at=START + 2500).status == "ok"
    (book_queue / f"{lost:010d}.seg").unlink()
    with chronicle.open(tmp_path) as store:
        (gap,) = store.gaps(SYMBOL)
        assert gap.cause == "missing_segment"
        assert gap.state == ("open" if lost == 2 else "closed")
        statuses = [store.book(SYMBOL, at=START + at).status for at in (40, 500, 1500, 2500)]
        sampled = store.books(SYMBOL, START + 40, START + 2600, every=500, depth=1).to_numpy()["status"]
    assert (
        statuses
        == {
            0: ["unverified", "unverified", "ok", "ok"],
            1: ["ok", "gap", "gap", "ok"],
            2: ["ok", "ok", "gap", "gap"],
        }[lost]
    )
    if lost == 2:
        assert sampled.tolist() == ["ok", "ok", "gap", "gap", "gap", "gap"]


def test_a_queue_whose_every_segment_is_lost_is_a_gap(tmp_path: Path) -> None:
    simple(tmp_path).close(seal=True)
    (tmp_path / "clean/kraken/btc_eur/book.q/0000000000.seg").unlink()
    with chronicle.open(tmp_path) as store:
        assert [gap.cause for gap in store.gaps(SYMBOL)] == ["missing_segment"]
        assert store.book(SYMBOL, at=START + 50).status != "ok"


@pytest.mark.parametrize("wrong", [None, 5, ["kraken:BTC-EUR"]])
def test_what_is_no_name_and_no_depth_is_refused_with_words(home: Path, wrong: object) -> None:
    with chronicle.open(home) as store:
        with pytest.raises(SymbolError, match="named by text"):
            store.book(wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigError):
            store.book(SYMBOL, depth="x")  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        chronicle.open("")
    with pytest.raises(ConfigError):
        chronicle.open(5)  # type: ignore[arg-type]
