"""``chronicle tier status``: what each tier holds."""

from __future__ import annotations

import os
from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

_EPILOG = """\
\b
Examples:
  chronicle tier status --home demo
  chronicle tier status --json --home demo
\b
Stored is what sealed segments take where they are, raw what they hold; "a month" what that costs at the
prices of [[tiers]]. A move that was interrupted is finished or undone by the next `tier apply` or
`tier run`. Raw segments stay hot until every shard has refined them: the last lines say which one is
the farthest behind, and what to do.
"""


FAILED_SHOWN = 10


@click.command("status", epilog=_EPILOG)
@home_option
@json_option
def command(home: Path, as_json: bool) -> None:
    """Show segments, bytes and compression of each tier, interrupted moves, unreadable segments."""
    from chronicle.cli.shards import shard_standing
    from chronicle.cli.tiering import policy_of
    from chronicle.config import load_settings
    from chronicle.config.units import format_bytes
    from chronicle.storage.tiers.status import tier_status

    settings = load_settings(need_home(home), os.environ)
    status = tier_status(home, policy_of(settings, home))
    if as_json:
        show.echo_json(status.to_dict())
        return
    rows = [
        (
            row.tier,
            row.segments,
            row.open_segments,
            format_bytes(row.stored_bytes),
            format_bytes(row.raw_bytes),
            "-" if row.ratio is None else f"{row.ratio:.1%}",
            show.second(row.ts_first),
            show.second(row.ts_last),
            show.second(row.sealed_first_ns),
            f"{row.cost_month:.3g}" if row.cost_month else "-",
            "-" if row.free_bytes is None else format_bytes(row.free_bytes),
            row.path,
        )
        for row in status.tiers
    ]
    times = ("first ts_recv", "last ts_recv", "oldest sealed")
    columns = ("tier", "sealed", "open", "stored", "raw", "ratio", *times, "a month", "free", "path")
    show.echo_table(columns, rows, right=("sealed", "open", "stored", "raw", "ratio", "a month", "free"))
    pending = status.pending
    if pending.moves or pending.held:
        size = format_bytes(pending.source_bytes)
        click.echo(f"due: {len(pending.moves)} segments, {size}; {len(pending.held)} held back (chronicle tier plan)")
    for held in status.raw_held:
        click.echo(
            f"raw held back: {held.queue}, {held.segments} segments, {format_bytes(held.bytes)}, by "
            f"{shard_standing(home, settings, held.shard, held.frontier_index)}"
        )
    for failed in status.failed[-FAILED_SHOWN:]:
        click.echo(
            f"failed: segment {failed['number']} of {failed['queue']} to {failed['target']}: {failed['error']}"
        )
    for damaged in status.damaged:
        click.echo(f"damaged: segment {damaged['number']} of {damaged['queue']}: {damaged['error']}")
    for entry in status.interrupted:
        click.echo(f"interrupted: segment {entry.number} of {entry.queue}, published in {entry.place}")
    if status.retired_copies:
        click.echo(f"{status.retired_copies} copies wait for their grace period to end")
    if status.catalogs_behind:
        click.echo(f"catalogs behind: {', '.join(status.catalogs_behind)} (the next apply publishes them)")
    for error in status.errors:
        click.echo(f"unreadable: {error}")
