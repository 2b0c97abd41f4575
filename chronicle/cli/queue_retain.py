"""``chronicle queue retain``: retire the oldest sealed segments of a queue, by age and bytes."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option

_EPILOG = """\
\b
Examples:
  chronicle queue retain raw/main --age 2d --plan --home demo
  chronicle queue retain raw/main --bytes 10GiB --home demo
  chronicle queue retain raw/main --age 1d --force --home demo
\b
Nothing is retired past the slowest named tailer. --force does it: the drop is recorded, and each tailer that
lagged reads one GAP record with the first and last index that it missed.
"""


@click.command("retain", epilog=_EPILOG)
@click.argument("queue")
@click.option("--age", metavar="SPAN", help="Retire what is older, as 12h or 7d (by ts_recv).")
@click.option("--bytes", "size", metavar="SIZE", help="Retire the oldest while the queue is larger, as 10GiB.")
@click.option("--force", is_flag=True, help="Go past tailers that have not read it; they see a GAP.")
@click.option("--plan", "plan_only", is_flag=True, help="Show what would go and do nothing.")
@home_option
@json_option
def command(
    queue: str, age: str | None, size: str | None, force: bool, plan_only: bool, home: Path, as_json: bool
) -> None:
    """Retire the sealed segments of QUEUE that the bounds no longer keep."""
    from chronicle.cli.queue import find_queue
    from chronicle.config.units import format_bytes, parse_bytes, parse_duration
    from chronicle.core.clock import SystemClock
    from chronicle.core.retention import RetentionPolicy, plan_retention

    if age is None and size is None:
        raise click.UsageError("name a bound: --age or --bytes")
    try:
        policy = RetentionPolicy(
            age_ns=None if age is None else parse_duration(age), bytes_max=None if size is None else parse_bytes(size)
        )
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    found = find_queue(home, queue)
    now_ns = SystemClock().now_ns()
    if plan_only:
        positions = {tailer.name: tailer.index for tailer in found.tailers()}
        next_number = found.tail_mark().next_number
        plan = plan_retention(
            found.segments(), positions, policy, now_ns=now_ns, next_number=next_number, force=force
        )
    else:
        plan = found.retain(policy, now_ns, force=force)
    if as_json:
        show.echo_json(plan.to_dict() | {"done": not plan_only})
        return
    verb = "would retire" if plan_only else "retired"
    click.echo(
        f"{verb} {len(plan.numbers)} segments, {format_bytes(plan.freed_bytes)}; "
        f"the first record kept is {plan.first_index:,}"
    )
    if plan.blocked_by is not None:
        click.echo(f"held back by the tailer {plan.blocked_by}: chronicle queue tailers {queue} shows it")
    for name, (first, end) in plan.dropped.items():
        click.echo(f"the tailer {name} misses records {first:,} to {end - 1:,}")
