"""``chronicle feed top``: the live feed's lines as they are now, and how fast they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

if TYPE_CHECKING:
    from rich.console import RenderableType

    from chronicle.feed.status import FeedStatus, LineStatus

_EPILOG = """\
\b
Examples:
  chronicle feed top --home data
  chronicle feed top --once --home data
  chronicle feed top --json --home data             the present state, for programs
\b
Columns: msg/s over the last interval; lag is how far receipt lies behind the venue's time; oldest is the
book that was silent longest and for how long; stalled are books silent for longer than [feed] stall_after;
first and missed compare redundant lines. Ctrl-C ends the view, not the feed.
"""
_COLUMNS = (
    *("line", "venue", "state", "msg/s", "kB/s", "lag", "streams", "oldest", "stalled", "connects", "failures"),
    *("first", "missed", "last error"),
)
_RIGHT = frozenset(_COLUMNS) - {"venue", "state", "oldest", "last error"}


@click.command("top", epilog=_EPILOG)
@click.option("--once", is_flag=True, help="Print the present state once.")
@click.option("--interval", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, help="Seconds.")
@home_option
@json_option
def command(once: bool, interval: float, home: Path, as_json: bool) -> None:
    """Show the lines of the live feed, again and again, until Ctrl-C."""
    from chronicle.core.clock import SystemClock
    from chronicle.feed.status import read_status

    status = read_status(need_home(home))
    if as_json:
        show.echo_json(None if status is None else status.to_dict())
        return
    if status is None:
        click.echo("No live feed has run here: `chronicle feed run --help` tells how to start one.")
        return
    if once or not show.on_terminal():
        title, rows = table(status, None)
        show.echo_table(_COLUMNS, rows, right=tuple(_RIGHT), title=title)
        return
    from rich.live import Live

    clock = SystemClock()
    with Live(screen=True, auto_refresh=False) as live:
        before = status
        try:
            while True:
                live.update(render(*table(status, before if before.ts < status.ts else None)), refresh=True)
                clock.sleep_ns(int(interval * 1e9))
                found = read_status(home)
                if found is not None and found.ts != status.ts:
                    before, status = status, found
        except KeyboardInterrupt:
            return


def table(status: FeedStatus, before: FeedStatus | None) -> tuple[str, list[tuple[Any, ...]]]:
    """Return title and rows of the view; rates are those since `before`, those of the whole session without it."""
    from chronicle.config.units import format_duration

    ended = " ENDED" if status.ended else ""
    queues = ", ".join(f"{q.name} {q.committed:,} (synced {q.synced:,})" for q in status.queues)
    breakers = [f"{item.venue} {item.breaker}" for item in status.rest if item.breaker != "closed"]
    title = (
        f"{status.capture}{ended}  pid {status.pid}  {show.moment(status.ts)}  {status.records:,} records  "
        f"{status.decode_errors} decode errors  {status.lost} gaps  {status.resyncs} resyncs  {queues}"
        + (f"  REST: {', '.join(breakers)}" if breakers else "")
    )
    known = {line.number: line for line in before.lines} if before is not None else {}
    rows = []
    for line in status.lines:
        messages, kilobytes = _rates(status, line, before, known.get(line.number))
        age = format_duration(max(0, status.ts - line.oldest_stream_ts)) if line.oldest_stream_ts else "-"
        rows.append(
            (
                str(line.number),
                line.venue,
                "up" if line.is_up else "down",
                messages,
                kilobytes,
                f"{line.lag_ns / 1e6:.1f} ms",
                line.stream_count,
                f"{line.oldest_stream} {age}".strip(),
                line.stalled,
                line.connect_count,
                line.failure_count,
                line.first,
                line.missed,
                line.last_error[:60] or "-",
            )
        )
    return title, rows


def _rates(
    status: FeedStatus, line: LineStatus, before: FeedStatus | None, earlier: LineStatus | None
) -> tuple[str, str]:
    start = int(status.capture.removeprefix("live-")) if status.capture[5:].isdigit() else status.ts
    seconds = max((status.ts - (before.ts if before is not None else start)) / 1e9, 1e-3)
    frames = line.frames - (earlier.frames if earlier is not None else 0)
    size = line.bytes - (earlier.bytes if earlier is not None else 0)
    return f"{frames / seconds:,.1f}", f"{size / seconds / 1000:,.1f}"


def render(title: str, rows: list[tuple[Any, ...]]) -> RenderableType:
    """Return the view for a terminal."""
    from rich.markup import escape
    from rich.table import Table

    found = Table(title=escape(title), title_justify="left", expand=True)
    for name in _COLUMNS:
        found.add_column(name, justify="right" if name in _RIGHT else "left", no_wrap=name != "last error")
    for row in rows:
        style = "red" if row[2] == "down" else "yellow" if row[8] else ""
        found.add_row(*(escape(show.printable(str(cell))) for cell in row), style=style)
    return found
