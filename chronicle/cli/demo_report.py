"""What a demo produced: read back through the public interface, judged, printed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chronicle.cli import show
from chronicle.cli.demo_run import DemoTimings

if TYPE_CHECKING:
    from chronicle.access import Book, Explanation, Store

__all__ = ["DemoReport", "collect", "print_report"]

DEPTH = 8


@dataclass(slots=True)
class DemoReport:
    """Everything that is shown. `problems` is empty when all of it worked."""

    seconds: float
    steps: dict[str, float]
    channels: dict[str, int] = field(default_factory=dict)
    instruments: int = 0
    snapshots: int = 0
    checks_passed: int = 0
    checks_failed: int = 0
    gaps: int = 0
    lag_records_max: int = 0
    lag_ns_median: int = 0
    tiers: list[dict[str, Any]] = field(default_factory=list)
    compression: float | None = None
    book: dict[str, Any] | None = None
    explanation: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)
    ladder: dict[str, Any] | None = None
    chain: Any = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for ``--json``."""
        values = {name: getattr(self, name) for name in self.__slots__ if name not in {"ladder", "chain"}}
        return values | {"ok": not self.problems}


def collect(folder: Path, timings: DemoTimings) -> DemoReport:
    """Read a demo's home and archive back, and judge them."""
    import chronicle

    report = DemoReport(timings.seconds, timings.steps)
    lags = sorted(ns for _, ns in timings.lags)
    if lags:
        report.lag_ns_median = lags[len(lags) // 2]
        report.lag_records_max = max(records for records, _ in timings.lags)
    with chronicle.open(folder) as store:
        _count(report, store)
        _tiers(report, folder)
        symbol = max(report.channels, default="") and _busiest(store)
        if symbol:
            with chronicle.open(folder / "archive") as archive:
                book = _book(report, archive, symbol, (timings.start_ns + timings.stop_ns) // 2)
            if book is not None:
                _explain(report, store, book)
    _judge(report)
    return report


def _count(report: DemoReport, store: Store) -> None:
    symbols = [item.symbol for item in store.instruments()]
    report.instruments = len(symbols)
    for symbol in symbols:
        covered = store.coverage(symbol)
        for segment in covered.segments:
            report.channels[segment.channel] = report.channels.get(segment.channel, 0) + segment.records
        quality = store.quality(symbol)
        report.snapshots += quality.records.get("book_snapshot", 0)
        report.checks_passed += quality.checks_passed
        report.checks_failed += quality.checks_failed
        report.gaps += quality.gaps


def _busiest(store: Store) -> str:
    """Return the instrument with the most book records."""
    return max((store.coverage(item.symbol, "book") for item in store.instruments()), key=lambda c: c.records).symbol


def _tiers(report: DemoReport, folder: Path) -> None:
    from chronicle.cli.tiering import policy_of
    from chronicle.config import load_settings
    from chronicle.storage.tiers.status import tier_status

    status = tier_status(folder, policy_of(load_settings(folder, {}), folder))
    report.tiers = [asdict(row) | {"ratio": row.ratio} for row in status.tiers]
    warm = next((row for row in status.tiers if row.tier == "warm"), None)
    report.compression = warm.raw_bytes / warm.stored_bytes if warm and warm.stored_bytes else None
    report.problems += [f"unreadable: {error}" for error in status.errors]


def _book(report: DemoReport, archive: Store, symbol: str, at: int) -> Book | None:
    from chronicle.cli.ladder import ladder_input

    book = archive.book(symbol, at=at, depth=DEPTH)
    report.book = book.to_dict() | {"at": at, "verified_by": book.verified_by}
    report.ladder = ladder_input(book)
    if book.status != "ok" or not book.bids or not book.asks:
        report.problems.append(f"the book of {symbol} from the archive is {book.status}, not ok")
    if book.verified_by != "checksum":
        report.problems.append(f"the book of {symbol} is verified by {book.verified_by}, not by the venue's checksum")
    return book if "index" in book.source else None


def _explain(report: DemoReport, store: Store, book: Book) -> None:
    explanation: Explanation = store.explain(book)
    report.chain = explanation
    report.explanation = explanation.to_dict()
    if explanation.wire is None:
        report.problems.append(f"a row does not lead back to the venue's bytes: {explanation.missing}")


def _judge(report: DemoReport) -> None:
    for channel in ("book", "trade", "quote"):
        if not report.channels.get(channel):
            report.problems.append(f"there are no {channel} records")
    if report.checks_failed:
        report.problems.append(f"{report.checks_failed} of the venue's checksums do not hold")
    if not report.checks_passed:
        report.problems.append("no checksum of the venue was checked")
    if report.gaps:
        report.problems.append(f"{report.gaps} gaps, and the simulated exchange loses nothing")
    if not any(row["tier"] == "warm" and row["segments"] for row in report.tiers):
        report.problems.append("nothing reached the archive")
    if report.book is None:
        report.problems.append("there is no book in the archive")


def print_report(folder: Path, report: DemoReport) -> None:
    """Print what came out, for a person."""
    from chronicle.cli.explain import print_explanation
    from chronicle.cli.ladder import ladder_lines
    from chronicle.config.units import format_bytes, format_duration

    channels = ", ".join(f"{count:,} {channel}" for channel, count in sorted(report.channels.items()))
    steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in report.steps.items())
    click.echo("")
    click.echo(f"What came out of {report.seconds:g} s ({steps})")
    click.echo(f"  records    {channels}, of {report.instruments} instruments; {report.snapshots} book snapshots")
    click.echo(f"  checks     {report.checks_passed:,} passed, {report.checks_failed} failed; gaps: {report.gaps}")
    click.echo(
        f"  lag        ETL behind the feed: median {format_duration(report.lag_ns_median)}, at most "
        f"{report.lag_records_max:,} records (by its frontier, published once a second)"
    )
    for row in report.tiers:
        ratio = "" if row["ratio"] is None or row["tier"] == "hot" else f", {1 / row['ratio']:.1f} to 1"
        click.echo(
            f"  {row['tier']:<9}  {row['segments']} segments, {format_bytes(row['stored_bytes'])} stored of "
            f"{format_bytes(row['raw_bytes'])}{ratio}"
        )
    if report.ladder is not None:
        click.echo("\nA book from the middle of the run, from the archive alone:")
        show.echo_spans(ladder_lines(report.ladder))
    if report.chain is not None:
        click.echo("\nIts last event, back to the bytes that the exchange sent:")
        print_explanation(report.chain)
    click.echo("")
    for problem in report.problems:
        click.echo(f"NOT AS IT SHOULD BE: {problem}")
    if report.problems:
        click.echo(f"The processes' output is in {folder / 'logs'}.")
        return
    symbol = report.book["symbol"] if report.book else "SYMBOL"
    click.echo("All of it worked. The home stays; try:")
    for line in (
        f"chronicle ls --home {folder}",
        f"chronicle book {symbol} --at {report.book['at'] if report.book else ''} --home {folder}",
        f"chronicle scan {symbol} --channel trade --iso --limit 5 --home {folder}",
        f"chronicle tier status --home {folder}",
        f"chronicle verify --deep --home {folder}",
        f"chronicle etl rebuild --into {folder}-again --verify --home {folder}",
    ):
        click.echo(f"  {line}")
