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
from chronicle.core.layout import GapState, Kind, Origin, StatusCode, Verdict, WireForm
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
MARKET = frozenset({Kind.BOOK_DELTA, Kind.BOOK_SNAPSHOT, Kind.ORDER, Kind.TRADE, Kind.QUOTE})
HEAD = (
    *("venue", "capture", "frames", "records", "books", "decode errors", "lost", "gaps", "passed", "failed"),
    *("sessions", "clock"),
)
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
    sessions: int = 0
    """Sessions that a numbered transport opened."""
    timed: int = 0
    ahead: int = 0
    least_ns: int = 0
    """Events of the market; those whose venue time is later than their receipt; the least difference of the two."""
    out_of_sync: list[str] = field(default_factory=list)
    """Books that got changes but never began, or end in a gap."""
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
        for count in ("frames", "records", "books", "decode_errors", "lost", "gaps", "sessions", "timed", "ahead"):
            setattr(whole, count, getattr(whole, count) + getattr(row, count))
        whole.least_ns = min(whole.least_ns, row.least_ns)
        whole.out_of_sync += row.out_of_sync
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
            elif record.kind in MARKET and record.ts_event > 0:
                row.timed += 1
                row.ahead += record.ts_event > record.ts_recv
                row.least_ns = min(row.least_ns, record.ts_recv - record.ts_event)
        for queue in LocalSource(home).queues("clean/"):
            if "/book" in queue:
                row.books += 1
                if _take_book(row, _records(home, queue)):
                    row.out_of_sync.append(queue.removeprefix("clean/").removesuffix("/book.q"))
        return row


def _take_status(row: Row, record: Record) -> None:
    fields = record.fields()
    if fields["code"] == StatusCode.LOST:
        row.lost += 1
    elif fields["code"] == StatusCode.VENUE:
        row.sessions += fields["details"].get("state") == "session"
    elif fields["code"] == StatusCode.DECODE_ERROR:
        details = fields["details"]
        row.errors[str(details.get("problem") or details.get("error"))[:100]] += 1


def _take_book(row: Row, records: Iterable[Record]) -> bool:
    """Count gaps and checks of a book; return whether it had changes and was out of sync at the end."""
    began = in_gap = changed = False
    for record in records:
        if record.kind == Kind.GAP:
            in_gap = record.fields()["state"] == GapState.OPEN
            row.gaps += in_gap
        elif record.kind == Kind.CHECK:
            row.checks[Verdict(record.fields()["verdict"]).name.lower()] += 1
        elif record.kind == Kind.BOOK_SNAPSHOT and not began:
            began = record.fields()["origin"] == Origin.VENUE
        elif record.kind == Kind.BOOK_DELTA:
            changed = True
    return changed and (in_gap or not began)


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
        "`chronicle/feed/dialects/`. Each dialect was run against a server that plays that venue's recorded",
        "session; Kraken, OKX, Binance and Bitget also against a simulated market with faults. Expect limits and",
        "addresses to need a look at the first live run, with `chronicle feed top` beside it. No capture holds",
        "Polygon.io, Bitget in version 2 of its protocol or Kraken in version 2: their adapters are tested with",
        "the messages that the venues' documents show, Polygon.io's and Bitget's also against a simulated market.",
        "Bitget is spoken in version 2, and in version 1 (as recorded) at an address that ends in `/v1`; Kraken",
        "in version 1, and in version 2 at one that ends in `/v2`. Coinbase Exchange was recorded when it was",
        "Coinbase Pro. Its full order feed asks for a key and is not read.",
        "",
        "## What the captures gave",
        "",
        "Frames are what the exchange sent; records are those of the raw queue. Lost: holes in a count over a whole",
        "connection. Gaps: holes that the ETL declared. Passed and failed: the venue's book checksums against the",
        "books of the ETL. Sessions: those that a numbered transport (IEX-TP, MoldUDP64) began. Clock: how far",
        "the recorder's clock was behind the venue's at least, and for which share of the events; the order is that",
        "of receipt all the same (`chronicle quality` shows the same of one instrument).",
        "",
        f"| {' | '.join(HEAD)} |",
        f"|{'---|' * len(HEAD)}",
        *map(_line, read),
    ]
    named = [(row, error, count) for row in read for error, count in sorted(row.errors.items())]
    if named:
        lines += ["", "## Decode errors by their messages", ""]
        lines += [f"- {row.venue}, {row.capture}: {count} x {error}" for row, error, count in named]
    unsynced = [f"{row.capture}: {', '.join(row.out_of_sync)}" for row in read if row.out_of_sync]
    lines += ["", "## Books out of sync at the end of their capture", "", *CHECKED_BOOKS]
    lines += [f"- {line}" for line in unsynced] or ["None."]
    unread = [row for row in rows if row.problem]
    if unread:
        lines += ["", "## Captures that no adapter reads", ""]
        lines += [f"- {row.capture}: {row.problem}" for row in sorted(unread, key=lambda row: row.capture)]
    return "\n".join(lines) + "\n"


CHECKED_BOOKS = (
    "Books that had changes and never began, or end in a gap. KuCoin's FET-BTC is in sync: the message that its",
    "recorder's notes call missing (1612712745583) is in the capture, and the book equals the venue's ticker",
    "from there on; without that message it is reported (`tests/integration/test_etl_venues.py` has both). The",
    "3,928 rows of Databento's MBP-10 file for ARL are compared with the books of its MBO file in",
    "`tests/integration/test_order_books_captures.py`.",
    "",
)


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
    counts = (row.frames, row.records, row.books, *errors, row.sessions)
    cells = [row.venue, row.capture, *(f"{count:,}" for count in counts), _clock(row)]
    return f"| {' | '.join(cells)} |"


def _clock(row: Row) -> str:
    """Return how far the recorder's clock was behind the venue's, as far as the events show it."""
    if not row.ahead:
        return ""
    return f"behind by {-row.least_ns / 1e6:,.3f} ms or more ({row.ahead / row.timed:.1%})"


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
