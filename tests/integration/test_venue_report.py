"""The table of venues is what the captures give."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronicle.feed.venues import venues
from tools.venue_report import captures_in, main, measure

pytestmark = pytest.mark.data
CLOCK = "behind by 44.456 ms or more (57.9%)"
"""Its recorder's clock was late: measured, and said."""


def test_files_of_one_recording_are_one_capture(shared_data: Path) -> None:
    folders = [shared_data / "hftbacktest-binance" / "spot", shared_data / "cryptofeed-ws" / "raw-text-2021-07-22"]
    found = {name: len(files) for name, files in captures_in(folders)}
    assert found == {"spot/btcusdt": 2, "raw-text-2021-07-22/OKEX": 5}


def test_report_counts_frames_checks_and_gaps(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "cryptofeed-ws" / "jsonl"
    out = tmp_path / "venues.md"
    captures = [folder / "BITGET.jsonl.zst", folder / "DERIBIT.jsonl.zst", folder / "BITHUMB.jsonl.zst"]
    assert main([*map(str, captures), "--out", str(out)]) == 0
    text = out.read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if ".jsonl" in line]
    assert ["bitget", "jsonl/BITGET.jsonl.zst", "1,157", "64,850", "10", "0", "0", "0", "637", "0", "0", ""] in rows
    assert [
        "deribit",
        "jsonl/DERIBIT.jsonl.zst",
        "136",
        "184",
        "10",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        CLOCK,
    ] in rows
    assert "jsonl/BITHUMB.jsonl.zst: no adapter reads" in text
    assert all(f"| {venue.name} | {venue.description} |" in text for venue in venues())


def test_checked_in_table_names_every_venue() -> None:
    document = Path(__file__).resolve().parents[2] / "docs" / "venues.md"
    text = document.read_text(encoding="utf-8")
    assert all(f"| {venue.name} | {venue.description} |" in text for venue in venues())


def test_damaged_capture_is_a_row_with_its_problem(tmp_path: Path) -> None:
    capture = tmp_path / "x.gz"
    capture.write_bytes(b"nothing")
    assert "format" in measure("x", [capture]).problem
