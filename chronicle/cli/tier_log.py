"""``chronicle tier log``: who moved what when."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

if TYPE_CHECKING:
    from chronicle.storage.manifest.history import Event

_EPILOG = """\
\b
Examples:
  chronicle tier log --home demo
  chronicle tier log --queues clean/kraken/ --last 20 --home demo
  chronicle tier log --json --home demo              a JSON line an event, with its hash
\b
Each event carries a hash over the one before it; the command checks the whole chain and fails (exit
code 5) where it is broken. The last hash is in every tier's catalog too.
"""


@click.command("log", epilog=_EPILOG)
@click.option("--queues", "prefix", default="", metavar="PREFIX", help="Only queues whose names start so.")
@click.option("--last", type=click.IntRange(1), help="Only so many, the newest.")
@home_option
@json_option
def command(prefix: str, last: int | None, home: Path, as_json: bool) -> None:
    """Show the manifest's history: moves, deletions, repairs, rebuilds."""
    from chronicle.storage.manifest.manifest import Manifest

    manifest = Manifest.open(need_home(home))
    events = manifest.history() if manifest else []
    chosen = [event for event in events if event.queue.startswith(prefix)]
    chosen = chosen if last is None else chosen[-last:]
    if as_json:
        for event in chosen:
            click.echo(show.json_line(event.to_dict()))
        return
    rows = [_row(event) for event in chosen]
    if rows:
        columns = ("time", "what", "segment", "from", "to", "bytes", "why", "by")
        show.echo_table(columns, rows, right=("bytes",))
    head = manifest.history_head()[1] if manifest else ""
    click.echo(
        f"{len(events)} events, each fits the one before" + (f"; the last hash is {head[:16]}" if head else "")
    )


def _row(event: Event) -> tuple[str, ...]:
    from chronicle.config.units import format_bytes

    source, target = (place.partition("/")[0] for place in (event.source, event.target))
    segment = f"{event.queue} {event.segment}" if event.queue else "-"
    size = format_bytes(event.bytes) if event.queue else f"{event.bytes} segments"
    return show.second(event.ts_ns), event.action, segment, source, target, size, event.reason, event.agent
