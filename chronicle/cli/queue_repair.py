"""``chronicle queue repair``: cut a damaged tail, after saying what is lost."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option

_EPILOG = """\
\b
Examples:
  chronicle queue repair raw/main --home demo            say what would be cut
  chronicle queue repair raw/main --yes --home demo      cut it
\b
You need this only after damage (a truncated file, bytes overwritten): a killed writer leaves nothing
to repair. The bytes that are cut are kept in a file beside the segment. Only the open tail can be cut;
a damaged sealed segment comes back from another tier, or from `chronicle etl rebuild`.
"""


@click.command("repair", epilog=_EPILOG)
@click.argument("queue")
@click.option("--yes", is_flag=True, help="Do it; without this, only say what would be done.")
@home_option
@json_option
def command(queue: str, yes: bool, home: Path, as_json: bool) -> None:
    """Cut the damaged open segment of QUEUE after its last good record."""
    from chronicle.cli.queue import find_queue
    from chronicle.core.clock import SystemClock
    from chronicle.core.repair import perform_repair, plan_repair

    target = find_queue(home, queue)
    plan = plan_repair(target)
    if plan is not None and yes:
        perform_repair(target, plan, started_ns=SystemClock().now_ns())
    if as_json:
        show.echo_json(
            {"queue": target.name, "damaged": False, "repaired": False}
            if plan is None
            else {
                "queue": target.name,
                "damaged": True,
                "repaired": yes,
                "segment": str(plan.path),
                "problem": plan.problem,
                "records_kept_below": plan.end_index,
                "cut_offset": plan.cut_offset,
                "cut_bytes": plan.cut_bytes,
                "kept_in": str(plan.keep_path) if plan.cut_bytes else None,
            }
        )
        return
    if plan is None:
        click.echo(f"{target.name} is whole: nothing to repair.")
        return
    known = f" (it is known to have reached record {plan.seek_index_end})" if plan.seek_index_end >= 0 else ""
    click.echo(f"Damage: {plan.problem}")
    click.echo(f"{'Kept' if yes else 'Would keep'} every record below index {plan.end_index}{known}.")
    if plan.cut_bytes:
        click.echo(
            f"{'Cut' if yes else 'Would cut'} {plan.cut_bytes:,} bytes from offset {plan.cut_offset} of {plan.path}, "
            f"copied to {plan.keep_path.name}."
        )
    else:
        click.echo(f"{'Gave' if yes else 'Would give'} {plan.path} its full length back; no bytes are cut.")
    if not yes:
        click.echo("Repeat it with --yes to do it.")
