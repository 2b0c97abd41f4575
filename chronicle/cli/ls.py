"""``chronicle ls``: what a home holds, which times of it, and where."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chronicle.cli import show
from chronicle.cli.options import json_option, need_place, place_option
from chronicle.core.errors import ChronicleError
from chronicle.core.layout import NONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from chronicle.core.source import QueueSummary, SegmentSource

_EPILOG = """\
\b
Examples:
  chronicle ls --home demo
  chronicle ls "kraken:*" --home demo
  chronicle ls --raw --home demo                  raw, wire and progress queues, too
  chronicle ls --json --home demo
\b
Place says where segments are: hot is the home, warm and cold are the tiers of chronicle.toml. Times are
ts_recv, when we received it.
"""


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One queue as `ls` shows it. Times are ts_recv in ns, None when there is no record."""

    queue: str
    symbol: str
    channel: str
    lane: int
    records: int
    ts_first: int | None
    ts_last: int | None
    stored_bytes: int
    segments: int
    places: dict[str, int]
    error: str | None


@click.command("ls", epilog=_EPILOG)
@click.argument("pattern", default="*")
@click.option("--raw", is_flag=True, help="Also list raw, wire and progress queues.")
@place_option
@json_option
def command(pattern: str, raw: bool, home: Path | str, as_json: bool) -> None:
    """List instruments and their channels: records, time range, bytes, place.

    PATTERN is a shell pattern over symbols, as kraken:*.
    """
    from chronicle.cli.sources import open_source

    source = open_source(need_place(home))
    rows = [row_of(source, name) for name in source.queues("clean/")]
    rows = [row for row in rows if fnmatch.fnmatchcase(row.symbol.lower(), pattern.lower())]
    others = [row_of(source, name) for name in source.queues("") if not name.startswith("clean/")] if raw else []
    if as_json:
        show.echo_json([to_dict(row) for row in [*rows, *others]])
        return
    if not rows and not others:
        click.echo(_nothing(source, pattern))
        return
    _print(rows)
    if others:
        _print_others(others)


def row_of(source: SegmentSource, queue: str) -> QueueRow:
    """Return the row of one queue; a queue that cannot be read is a row with an error."""
    from chronicle.core.paths import channel_of, lane_of, symbol_of
    from chronicle.core.source import summary_of

    symbol = channel = ""
    try:
        if queue.startswith("clean/"):
            symbol, channel = symbol_of(queue), channel_of(queue)
        sealed_end = source.sealed_end(queue)
        look: Callable[[str], QueueSummary] | None = getattr(source, "summary", None)  # core.source.SummaryLookup
        found = summary_of(source.segments(queue)) if look is None else look(queue)
    except ChronicleError as error:
        return QueueRow(queue, symbol, channel, lane_of(queue), 0, None, None, 0, 0, {}, str(error))
    end = found.end_index
    return QueueRow(
        queue=queue,
        symbol=symbol,
        channel=channel,
        lane=lane_of(queue),
        records=found.records,
        ts_first=None if found.ts_first == NONE else found.ts_first,
        ts_last=None if found.ts_last == NONE else found.ts_last,
        stored_bytes=found.stored_bytes,
        segments=sum(found.segments.values()),
        places=dict(sorted(found.segments.items())),
        error=f"records {end} to {sealed_end - 1} are missing" if end < sealed_end else None,
    )


def to_dict(row: QueueRow) -> dict[str, Any]:
    """Return a row as plain values."""
    from dataclasses import asdict

    return asdict(row)


def _print(rows: list[QueueRow]) -> None:
    from chronicle.config.units import format_bytes

    cells: list[tuple[object, ...]] = []
    before = ""
    for row in rows:
        channel = row.channel + (f"@{row.lane}" if row.lane else "")
        shown = row.symbol if row.symbol != before else ""
        if row.error:
            cells.append((row.queue, "damaged", "-", "-", "-", "-", row.error))
            continue
        before = row.symbol
        cells.append(
            (
                shown,
                channel,
                row.records,
                show.second(row.ts_first),
                show.second(row.ts_last),
                format_bytes(row.stored_bytes),
                _places(row.places),
            )
        )
    columns = ("instrument", "channel", "records", "first ts_recv", "last ts_recv", "stored", "place (segments)")
    show.echo_table(columns, cells, right=("records", "stored"))
    symbols = len({row.symbol for row in rows})
    total = sum(row.records for row in rows)
    click.echo(f"{symbols:,} instruments, {total:,} records, {format_bytes(sum(row.stored_bytes for row in rows))}")


def _print_others(rows: list[QueueRow]) -> None:
    from chronicle.config.units import format_bytes

    cells = [
        (
            row.queue,
            row.records,
            show.second(row.ts_first),
            show.second(row.ts_last),
            format_bytes(row.stored_bytes),
            row.error or _places(row.places),
        )
        for row in rows
    ]
    columns = ("queue", "records", "first ts_recv", "last ts_recv", "stored", "place (segments)")
    show.echo_table(columns, cells, right=("records", "stored"))


def _places(places: dict[str, int]) -> str:
    return ", ".join(f"{place} ({count})" for place, count in places.items()) or "-"


def _nothing(source: SegmentSource, pattern: str) -> str:
    if pattern != "*":
        return f"No instrument matches {pattern!r}; `chronicle ls` lists all."
    if source.queues("raw/"):
        return "Nothing refined yet: `chronicle etl run --drain` makes clean queues of the raw ones (see `ls --raw`)."
    return "Nothing here yet. `chronicle demo` shows all of it; `chronicle feed replay --help` fills a home."
