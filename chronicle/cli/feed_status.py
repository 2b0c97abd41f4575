"""``chronicle feed status``: what the live feed says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

if TYPE_CHECKING:
    from chronicle.feed.status import FeedStatus

_EPILOG = """\
\b
Examples:
  chronicle feed status --home data
  chronicle feed status --json --home data
\b
Health is the age of the stream that was silent longest, not of the newest message. The feed writes this
once a second; an old time means that it no longer runs. Where feeds write raw queues of their own, each one's
is shown; --json is then a list.
"""


@click.command("status", epilog=_EPILOG)
@home_option
@json_option
def command(home: Path, as_json: bool) -> None:
    """Show the connections of the last live feed, their health and counts."""
    from chronicle.core.clock import SystemClock
    from chronicle.feed.status import read_statuses

    statuses = read_statuses(need_home(home))
    if as_json:
        values = [status.to_dict() for status in statuses]
        show.echo_json(values[0] if len(values) == 1 else values or None)
        return
    if not statuses:
        click.echo("No live feed has run here: `chronicle feed run --help` tells how to start one.")
        return
    now_ns = SystemClock().now_ns()
    for status in statuses:
        _print(status, now_ns)


def _print(status: FeedStatus, now_ns: int) -> None:
    from chronicle.config.units import format_duration

    age = format_duration(max(0, now_ns - status.ts))
    click.echo(f"{status.capture} (pid {status.pid}), written {age} ago")
    click.echo(
        f"  {status.frames:,} frames, {status.records:,} records to {status.raw}; "
        f"{status.decode_errors} decode errors, {status.clamped} clamped times, {status.resyncs} resyncs"
    )
    rows = [
        (
            str(line.number),
            line.venue,
            "up" if line.is_up else "down",
            line.connect_count,
            line.failure_count,
            line.stream_count,
            show.moment(line.last_frame_ts or None),
            format_duration(max(0, status.ts - line.oldest_stream_ts)) if line.oldest_stream_ts else "-",
            line.last_error or "-",
        )
        for line in status.lines
    ]
    columns = (
        "line",
        "venue",
        "state",
        "connects",
        "failures",
        "streams",
        "last frame",
        "oldest stream",
        "last error",
    )
    show.echo_table(columns, rows, right=("line", "connects", "failures", "streams", "oldest stream"))
