"""``chronicle etl leave``: a raw queue whose feed is dead leaves the merge, by a recorded decision."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

_EPILOG = """\
\b
Examples:
  chronicle etl leave raw/b.q --home data
\b
Several raw queues of a home are merged in the order of ts_recv, so that a feed which died (kill -9, a lost
host) holds the others back: whether it comes back only you can know. It leaves behind its last record;
its books are stale from there. The decision is recorded in control/merge.q, where every shard and every
rebuild finds it. When the feed comes back and writes on, its queue joins again by itself.
"""


@click.command("leave", epilog=_EPILOG)
@click.argument("raw_queue", metavar="RAW")
@home_option
@json_option
def command(raw_queue: str, home: Path, as_json: bool) -> None:
    """Let the merge go on without RAW (raw/NAME.q)."""
    from chronicle.core.clock import SystemClock
    from chronicle.etl.merge.members import leave

    home = need_home(home)
    name = raw_queue if raw_queue.startswith("raw/") else f"raw/{raw_queue}"
    name = name if name.endswith(".q") else f"{name}.q"
    decision = leave(home, name, ts_recv=SystemClock().now_ns())
    if as_json:
        show.echo_json({"raw_queue": decision.raw, "index": decision.at, "ts": decision.ts})
    else:
        click.echo(f"{name} leaves the merge before its record {decision.at:,}, at {show.moment(decision.ts)}")
