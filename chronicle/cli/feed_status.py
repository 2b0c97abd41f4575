"""``chronicle feed status``: what the live feed says of itself."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

_EPILOG = """\
\b
Examples:
  chronicle feed status --home data
  chronicle feed status --json --home data
\b
Health is the age of the stream that was silent longest, not of the newest message. The feed writes this
once a second; an old time means that it no longer runs.
"""


@click.command("status", epilog=_EPILOG)
@home_option
@json_option
def command(home: Path, as_json: bool) -> None:
    """Show the connections of the last live feed, their health and counts."""
    from chronicle.config.units import format_duration
    from chronicle.core.clock import SystemClock
    from chronicle.feed.status import read_status

    status = read_status(need_home(home))
    if as_json:
        show.echo_json(None if status is None else status.to_dict())
        return
    if status is None:
        click.echo("No live feed has run here: `chronicle feed run --help` tells how to start one.")
        return
    age = format_duration(max(0, SystemClock().now_ns() - status.ts))
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
