"""What commands print: ladders, tables, times."""

from __future__ import annotations

import pytest

from chronicle.cli.feed_top import columns_for
from chronicle.cli.following import fitting
from chronicle.cli.ladder import ladder_lines
from chronicle.cli.show import echo_spans, echo_table, json_line, moment

BOOK = {
    "symbol": "kraken:BTC-EUR",
    "ts_recv": 1_618_678_132_385_815_100,
    "status": "ok",
    "verified_by": "checksum",
    "snapshot_age_ns": 12_300_000_000,
    "bids": [["50000.1", "1.25"], ["50000", "0.2"]],
    "asks": [["50000.3", "3.1"], ["50001", "0.004"]],
    "source": {"place": "warm"},
    "cost": {"deltas_replayed": 482},
}


def text(book: dict) -> list[str]:
    return ["".join(part for part, _ in line).rstrip() for line in ladder_lines(book)]


def test_ladder_has_asks_above_bids_and_the_spread_between():
    lines = text(BOOK)
    assert [line.split()[:3] for line in lines[1:3]] == [["ask", "50001", "0.004"], ["ask", "50000.3", "3.1"]]
    assert lines[3].split() == ["spread", "0.2", "0.04", "bp", "mid", "50000.2"]
    assert [line.split()[0] for line in lines[4:6]] == ["bid", "bid"]
    assert lines[2].count("█") == 28
    assert lines[6].startswith("  ok: ")
    assert "verified by checksum · snapshot 12.3 s before · from warm · 482 deltas replayed" in lines[6]


@pytest.mark.parametrize("status", ["gap", "stale", "crossed", "unverified"])
def test_ladder_says_what_a_bad_status_means(status):
    styles = [style for _, style in ladder_lines(BOOK | {"status": status})[0]]
    assert all("green" not in style for style in styles)
    assert text(BOOK | {"status": status})[-1].startswith(f"  {status}: ")
    assert "verified by" not in text(BOOK | {"status": status})[-1]


@pytest.mark.parametrize("sides", [{"bids": [], "asks": []}, {"bids": []}, {"asks": []}])
def test_ladder_of_an_empty_or_one_sided_book(sides):
    assert any("no " in line or "empty" in line for line in text(BOOK | sides))


def test_ladder_of_a_crossed_book_keeps_its_negative_spread():
    assert any("spread -1" in line for line in text(BOOK | {"bids": [["50001.3", "1"]], "status": "crossed"}))


def test_ladder_of_negative_and_zero_prices():
    assert text(BOOK | {"bids": [["-1", "0"]], "asks": [["1", "1"]]})


def test_plain_output_has_no_escape_codes(capsys):
    echo_spans(ladder_lines(BOOK))
    echo_table(("a", "b"), [("ok", 1000), (None, -1)], right=("b",), title="t")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "ok  1,000" in out


def test_control_characters_do_not_reach_the_terminal(capsys):
    echo_table(("a",), [("\x1b[31mred\n",)])
    assert capsys.readouterr().out == "a\n\\x1b[31mred\\n\n"


def test_a_table_without_rows(capsys):
    echo_table(("a", "b"), [])
    assert capsys.readouterr().out == "a  b\n"


def test_json_lines_keep_bytes_and_big_numbers():
    assert json_line({"a": b"x", "b": b"\xff", "c": 2**63}) == '{"a":"x","b":{"hex":"ff"},"c":9223372036854775808}'


def test_moments():
    assert moment(1_618_678_132_385_815_100) == "2021-04-17T16:48:52.385815Z"
    assert (moment(None), moment(-1)) == ("-", "-")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch):
    """Make stdout count as a terminal of some width."""

    def of(columns: int) -> None:
        monkeypatch.setattr("chronicle.cli.show.sys.stdout.isatty", lambda: True, raising=False)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("NO_COLOR", "1")

    return of


COLUMNS = ("queue", "segment", "stored", "why")
ROWS = [(f"clean/kraken/btc_eur/book{n}.q", n, "16 MiB", "sealed 3 h ago, and hot keeps 2 h") for n in range(6)]


@pytest.mark.parametrize("columns", [80, 60, 45, 20])
def test_a_table_fits_a_narrow_terminal_and_loses_nothing(columns, terminal, capsys):
    echo_table(COLUMNS, ROWS, right=("segment", "stored"))
    wide = capsys.readouterr().out
    terminal(columns)
    echo_table(COLUMNS, ROWS, right=("segment", "stored"))
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= max(columns, 51), "a value alone is not broken"
    assert set(wide.split()) - set(COLUMNS) <= {word for line in lines for word in line.split()}


def test_few_wide_rows_become_blocks(terminal, capsys):
    terminal(40)
    echo_table(COLUMNS, ROWS[:2])
    assert capsys.readouterr().out.splitlines()[:2] == ["queue    clean/kraken/btc_eur/book0.q", "segment  0"]


def test_a_table_that_fits_is_as_in_a_pipe(terminal, capsys):
    echo_table(COLUMNS, ROWS, right=("segment",))
    wide = capsys.readouterr().out
    terminal(max(len(line) for line in wide.splitlines()))
    echo_table(COLUMNS, ROWS, right=("segment",))
    assert capsys.readouterr().out == wide


@pytest.mark.parametrize(("height", "levels"), [(24, 9), (8, 1), (3, 1), (60, 20)])
def test_a_ladder_that_is_followed_keeps_the_best_levels_and_its_status(height, levels):
    sides = {"bids": [[str(100 - n), "1"] for n in range(20)], "asks": [[str(101 + n), "1"] for n in range(20)]}
    shown = fitting(BOOK | sides, height)
    assert (shown["bids"], shown["asks"]) == (sides["bids"][:levels], sides["asks"][:levels])
    assert len(text(BOOK | shown)) <= max(height - 2, 6)
    assert text(BOOK | shown)[-1].startswith("  ok: ")


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_feed_top_leaves_out_what_matters_least(width):
    cells = [["main", "1", "kraken", "up", "70.1", "9.5", "0.5 ms", "2", "XBT/USD book 40 ms", *"0000000", "x" * 60]]
    shown = columns_for(cells, width)
    assert {"line", "venue", "state", "msg/s", "stalled", "lag"} <= set(shown)
    assert ("behind" in shown) == (width == 200)
    assert len(columns_for(cells, 30)) == 4
