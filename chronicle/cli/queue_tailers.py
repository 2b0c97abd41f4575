"""``chronicle queue tailers``: who reads a queue by name, how far each is behind, and forgetting dead ones."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option

_EPILOG = """\
\b
Examples:
  chronicle queue tailers raw/main --home demo
  chronicle queue tailers raw/main --drop old-strategy --home demo
\b
States: live (open now), parked (closed cleanly), dead (its process ended without closing), new (registered,
never read). Retention waits for all of them; a dropped name starts anew when it comes back.
"""


@click.command("tailers", epilog=_EPILOG)
@click.argument("queue")
@click.option("--drop", "dropped", metavar="NAME", multiple=True, help="Forget this tailer; it must not be live.")
@home_option
@json_option
def command(queue: str, dropped: tuple[str, ...], home: Path, as_json: bool) -> None:
    """List the named tailers of QUEUE, or drop some."""
    from chronicle.cli.queue import find_queue
    from chronicle.core.lag import measure_lag

    found = find_queue(home, queue)
    for name in dropped:
        found.drop_tailer(name)
    rows = [(tailer, measure_lag(found, tailer.index)) for tailer in found.tailers()]
    if as_json:
        show.echo_json(
            [tailer.to_dict() | {"lag_bytes": lag.size_bytes, "lag_ns": lag.age_ns} for tailer, lag in rows]
        )
        return
    for name in dropped:
        click.echo(f"dropped {name}")
    if not rows:
        click.echo("no named tailers")
        return
    from chronicle.config.units import format_bytes

    show.echo_table(
        ("tailer", "state", "index", "lag", "lag bytes", "lag s", "pid"),
        [
            (
                tailer.name,
                tailer.state,
                tailer.index,
                tailer.lag,
                format_bytes(lag.size_bytes),
                f"{lag.age_ns / 1e9:.3f}",
                "-" if tailer.pid is None else tailer.pid,
            )
            for tailer, lag in rows
        ],
        right=("index", "lag", "lag bytes", "lag s", "pid"),
    )
