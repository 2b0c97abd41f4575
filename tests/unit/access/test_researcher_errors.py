"""What a researcher gets wrong is answered in one line that says what to do."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

import pytest

import chronicle
from chronicle.cli.main import run
from chronicle.core.errors import (
    BookNotTrustedError,
    ChronicleError,
    ConfigError,
    NotFoundError,
    RangeError,
    SymbolError,
)
from tests.support.home_builder import CleanQueue

START = 1_700_000_000_000_000_000
SYMBOL = "kraken:BTC-EUR"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    book = CleanQueue(tmp_path, SYMBOL)
    book.venue_snapshot(START, [(100, 1)], [(101, 1)])
    book.deltas(START + 10, ("bid", 100, 2))
    book.close()
    trade = CleanQueue(tmp_path, "kraken:ETH-EUR", "trade")
    trade.trade(START, "bid", 100, 1)
    trade.close()
    return tmp_path


CASES = [
    (lambda store: store.book("kraken:BTC-EU"), SymbolError, "close: kraken:BTC-EUR"),
    (lambda store: store.book("BTC-EUR"), SymbolError, "venue:BASE-QUOTE"),
    (lambda store: store.book("binance:DOGE-USDT"), SymbolError, "2 instruments are captured"),
    (lambda store: store.book(None), SymbolError, "named by text"),
    (lambda store: store.book("kraken:ETH-EUR"), NotFoundError, "no book is kept of kraken:ETH-EUR"),
    (
        lambda store: store.scan(SYMBOL, "trade"),
        NotFoundError,
        "no trade is kept of kraken:BTC-EUR; expected trade, found book",
    ),
    (lambda store: store.scan(SYMBOL, "trades"), ConfigError, "book | trade | quote | candle"),
    (lambda store: store.scan(SYMBOL, columns=["prize"]), ConfigError, "no column 'prize'"),
    (lambda store: store.scan(SYMBOL, kinds=["trade"]), ConfigError, "delta, snapshot, order"),
    (lambda store: store.scan(SYMBOL, decimals="double"), ConfigError, "float | int | decimal"),
    (lambda store: store.scan(SYMBOL, start=START + 1, end=START), RangeError, "ends before it starts"),
    (lambda store: store.replay(SYMBOL, START + 1, START), RangeError, "ends before it starts"),
    (lambda store: store.book(SYMBOL, at="yesterday"), RangeError, "2021-04-17T16:48:52.5Z"),
    (lambda store: store.book(SYMBOL, at=1.5), RangeError, "int ns, ISO 8601"),
    (lambda store: store.book(SYMBOL, at="2400-01-01"), RangeError, "1678 to 2262"),
    (lambda store: store.book(SYMBOL, at=START // 10**9), RangeError, "looks like seconds"),
    (lambda store: store.scan(SYMBOL, start=START // 10**6), RangeError, "looks like milliseconds"),
    (lambda store: store.books([SYMBOL], at=[START // 10**3]), RangeError, "looks like microseconds"),
    (lambda store: store.book(SYMBOL, depth=0), ConfigError, "1 to"),
    (lambda store: store.books(SYMBOL, every="1 fortnight"), ConfigError, "250ms"),
    (lambda store: store.books(SYMBOL, every="1s", on="event"), ConfigError, 'on="event"'),
    (lambda store: store.book(SYMBOL, at=START - 5, strict=True), BookNotTrustedError, "is unverified"),
    (lambda store: store.book(SYMBOL, at=START + 10**12, strict=True), BookNotTrustedError, "is stale"),
    (lambda store: store.coverage(SYMBOL, "depth"), ConfigError, "book | trade"),
    (lambda store: store.explain(SYMBOL, "book", 99), NotFoundError, "99"),
    (lambda store: chronicle.open("/no/such/place"), NotFoundError, "chronicle init"),
    (lambda store: chronicle.open([]), ConfigError, "at least one place"),
]


@pytest.mark.parametrize(("ask", "kind", "words"), CASES, ids=range(len(CASES)))
def test_one_line_with_what_to_do(home: Path, ask, kind, words: str) -> None:
    with chronicle.open(home) as store, pytest.raises(kind) as caught:
        ask(store)
    assert isinstance(caught.value, ChronicleError)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_archive_on_s3_without_credentials_says_which_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    pytest.importorskip("botocore")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID") as caught:
        chronicle.open("s3://bucket/archive", options={"endpoint_url": "http://127.0.0.1:9"})
    assert "\n" not in str(caught.value)
    assert run(["book", SYMBOL, "--home", "s3://bucket/archive"]) != 0
    told = capsys.readouterr().err
    assert "AWS_ACCESS_KEY_ID" in told
    assert told.count("\n") == 1


def test_a_naive_time_means_utc_and_an_empty_range_holds_nothing(home: Path) -> None:
    with chronicle.open(home) as store:
        naive, aware = datetime(2023, 11, 14, 22, 13, 21), "2023-11-15T00:13:21+02:00"  # noqa: DTZ001
        assert store.book(SYMBOL, at=naive).at == store.book(SYMBOL, at=aware).at
        assert len(store.scan(SYMBOL, start=START, end=START).to_numpy()["ts_recv"]) == 0
        assert len(store.scan(SYMBOL, start=START + 10**9).to_numpy()["ts_recv"]) == 0


def test_the_command_line_says_what_is_covered_where_nothing_is(home: Path, capsys) -> None:
    assert run(["scan", SYMBOL, "--start", "2024-01-01", "--home", str(home)]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert "no rows: book of kraken:BTC-EUR covers 2023-11-14T22:13:20.000000Z" in captured.err
    assert run(["scan", SYMBOL, "--channel", "trade", "--home", str(home)]) == 3
    assert "no trade is kept" in capsys.readouterr().err


def test_absences_are_null_in_json(home: Path, capsys) -> None:
    assert run(["book", SYMBOL, "--at", str(START - 5), "--json", "--home", str(home)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ts_recv"], answer["ts_event"], answer["bids"]) == (None, None, [])
    assert run(["scan", SYMBOL, "--format", "jsonl", "--home", str(home)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["sequence"] for row in rows] == [None] * 3
    assert [row["index"] for row in rows] == [0, 0, 1]
    assert run(["gaps", "--json", "--home", str(home)]) == 0
    assert "-1" not in capsys.readouterr().out
