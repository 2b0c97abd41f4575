"""What each venue's adapter makes of recorded captures: the table of docs/venues.md.

    python -m tools.venue_report CAPTURE... [--out docs/venues.md]

Each CAPTURE is a file, or a folder whose files are put together as they were recorded (text captures by exchange,
daily files by symbol). Archives (.tar.zst) of single packets give one row for each of their folders, every file read
by itself. Every capture goes through a replay and the ETL in a home of its own, as `chronicle feed
replay` and `chronicle etl run --drain` do it.
"""

from __future__ import annotations

import argparse
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from pathlib import Path

import zstandard

from chronicle.core.cursor import Cursor
from chronicle.core.errors import ChronicleError
from chronicle.core.layout import GapState, Kind, StatusCode, Verdict, WireForm
from chronicle.core.local import LocalSource
from chronicle.core.records import Record
from chronicle.etl import run_shard
from chronicle.feed.captures import detect_format
from chronicle.feed.captures.names import connection_name
from chronicle.feed.dialects import DIALECTS
from chronicle.feed.multicast.spec import TRANSPORTS
from chronicle.feed.replay import replay_capture
from chronicle.feed.venues import venues

__all__ = ["Row", "captures_in", "main", "measure", "render"]

ARCHIVE = ".tar.zst"
RECEIVED = frozenset({WireForm.TEXT, WireForm.BINARY})


@dataclass
class Row:
    """What one capture gave. `problem` is why it could not be read at all."""

    venue: str
    capture: str
    frames: int = 0
    records: int = 0
    books: int = 0
    decode_errors: int = 0
    lost: int = 0
    gaps: int = 0
    checks: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    problem: str = ""


def captures_in(paths: Iterable[Path]) -> list[tuple[str, list[Path]]]:
    """Return (name, files) of the captures at `paths`: folders are split into the captures that they hold."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if file.is_file() and file.name != "README.md" and not file.name.endswith(ARCHIVE):
                found.setdefault(_name(file), []).append(file)
    return sorted(found.items())


def _name(file: Path) -> str:
    try:
        format = detect_format(file)
    except ChronicleError:
        format = ""
    folder = file.parent.name
    if format == "hftbacktest":
        return f"{folder}/{file.name.rpartition('_')[0]}"
    if format == "cryptofeed" and ".jsonl" not in file.name:
        exchange = connection_name(file.name).split(".ws.")[0].split(".http.")[0]
        return f"{folder}/{exchange}"
    return f"{folder}/{file.name}"


def archives_in(paths: Iterable[Path]) -> list[Path]:
    """Return the archives of single packets at `paths`."""
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return [file for file in files if file.name.endswith(ARCHIVE)]


@contextmanager
def unpacked(archive: Path) -> Iterator[dict[str, list[Path]]]:
    """Yield the files of an archive by the folder that holds them."""
    with tempfile.TemporaryDirectory() as folder, open(archive, "rb") as file:
        with (
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            tar.extractall(folder, filter="data")
        found: dict[str, list[Path]] = {}
        for path in sorted(Path(folder).rglob("*.pcap")):
            found.setdefault(f"{archive.parent.name}/{path.parent.name}", []).append(path)
        yield found


def together(name: str, rows: list[Row]) -> Row:
    """Return the sum of several captures; what none of them could be read for, when that holds for all."""
    read = [row for row in rows if not row.problem]
    if not read:
        return Row("", name, problem=rows[0].problem)
    whole = Row(read[0].venue, name)
    for row in read:
        for count in ("frames", "records", "books", "decode_errors", "lost", "gaps"):
            setattr(whole, count, getattr(whole, count) + getattr(row, count))
        whole.checks += row.checks
        whole.errors += row.errors
    for row in rows:
        if row.problem:
            whole.errors[row.problem[:100]] += 1
    return whole


def measure(name: str, files: list[Path], day: date | None = None) -> Row:
    """Replay a capture, run the ETL over it, and count what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        try:
            is_itch = day is not None and detect_format(files[0]) == "itch"
            replay = replay_capture(home, files, day=day if is_itch else None)
        except ChronicleError as error:
            found = f" ({error.found})" if error.found and "no packet" in error.message else ""
            return Row("", name, problem=error.message + found)
        run_shard(home, drain=True)
        row = Row(", ".join(replay.venues), name, records=replay.records, decode_errors=replay.decode_errors)
        for record in _records(home, "wire/main.q"):
            row.frames += record.fields()["form"] in RECEIVED
        for record in _records(home, "raw/main.q"):
            if record.kind == Kind.STATUS:
                _take_status(row, record)
        for queue in LocalSource(home).queues("clean/"):
            if "/book" in queue:
                row.books += 1
                _take_book(row, _records(home, queue))
        return row


def _take_status(row: Row, record: Record) -> None:
    fields = record.fields()
    if fields["code"] == StatusCode.LOST:
        row.lost += 1
    elif fields["code"] == StatusCode.DECODE_ERROR:
        details = fields["details"]
        row.errors[str(details.get("problem") or details.get("error"))[:100]] += 1


def _take_book(row: Row, records: Iterable[Record]) -> None:
    for record in records:
        if record.kind == Kind.GAP:
            row.gaps += record.fields()["state"] == GapState.OPEN
        elif record.kind == Kind.CHECK:
            row.checks[Verdict(record.fields()["verdict"]).name.lower()] += 1


def _records(home: Path, queue: str) -> Iterable[Record]:
    cursor = Cursor(LocalSource(home), queue)
    while (window := cursor.next_window()) is not None:
        yield from window.records()


def render(rows: list[Row]) -> str:
    """Return the document: the venues, what their captures gave, and what no adapter reads."""
    read = sorted((row for row in rows if not row.problem), key=lambda row: (row.venue, row.capture))
    lines = [
        "# Venues",
        "",
        "Made by `python -m tools.venue_report CAPTURE... --out docs/venues.md`; do not edit by hand.",
        "",
        "| venue | what | channels | captures | live |",
        "|---|---|---|---|---|",
        *(
            f"| {venue.name} | {venue.description} | {', '.join(venue.channels)} | {', '.join(venue.captures)} "
            f"| {_live(venue.name)} |"
            for venue in venues()
        ),
        "",
        "## What was never run live",
        "",
        "Every one of them: the exchanges cannot be reached from where this is built. What a live feed says",
        "(requests, keep-alives, lists, snapshots over HTTP) follows the venues' documentation, named in",
        "`chronicle/feed/dialects/`. Each dialect was run against a server that plays that venue's recorded session;",
        "Kraken, OKX and Binance also against a simulated market with faults. Expect limits and addresses to need a",
        "look at the first live run, with `chronicle feed top` beside it. Bitget is spoken in version 1 of its",
        "protocol, as recorded; Kraken too, and in version 2 (no capture holds it) at an address that ends in `/v2`.",
        "",
        "## What the captures gave",
        "",
        "Frames are what the exchange sent; records are those of the raw queue. Lost: holes in a count over a whole",
        "connection. Gaps: holes that the ETL declared. Passed and failed: the venue's book checksums against the",
        "books of the ETL.",
        "",
        "| venue | capture | frames | records | books | decode errors | lost | gaps | passed | failed |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *map(_line, read),
    ]
    named = [(row, error, count) for row in read for error, count in sorted(row.errors.items())]
    if named:
        lines += ["", "## Decode errors by their messages", ""]
        lines += [f"- {row.venue}, {row.capture}: {count} x {error}" for row, error, count in named]
    unread = [row for row in rows if row.problem]
    if unread:
        lines += ["", "## Captures that no adapter reads", ""]
        lines += [f"- {row.capture}: {row.problem}" for row in sorted(unread, key=lambda row: row.capture)]
    return "\n".join(lines) + "\n"


def _live(venue: str) -> str:
    """Return the address that a live feed connects to, a dash for venues of files."""
    if venue in TRANSPORTS:
        return f"multicast, {TRANSPORTS[venue]}"
    if venue not in DIALECTS:
        return "-"
    module, _, name = DIALECTS[venue].partition(":")
    return f"`{getattr(import_module(f'chronicle.feed.dialects.{module}'), name).public_url}`"


def _line(row: Row) -> str:
    failed = row.checks["failed"] + row.checks["no_book"] + row.checks["unjudged"]
    errors = (row.decode_errors, row.lost, row.gaps, row.checks["passed"], failed)
    cells = [row.venue, row.capture, *(f"{count:,}" for count in (row.frames, row.records, row.books, *errors))]
    return f"| {' | '.join(cells)} |"


def main(arguments: list[str] | None = None) -> int:
    """Measure the captures and write the document (or print it)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("captures", nargs="+", type=Path, metavar="CAPTURE")
    parser.add_argument("--out", type=Path, help="write here instead of printing")
    parser.add_argument("--date", type=date.fromisoformat, help="the day of itch files whose names tell none")
    options = parser.parse_args(arguments)
    rows = [measure(name, files, options.date) for name, files in captures_in(options.captures)]
    for archive in archives_in(options.captures):
        with unpacked(archive) as folders:
            rows += [
                together(name, [measure(file.name, [file]) for file in files]) for name, files in folders.items()
            ]
    text = render(rows)
    if options.out is None:
        print(text, end="")
    else:
        options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
