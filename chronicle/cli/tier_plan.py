"""``chronicle tier plan``: what would move, and why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

if TYPE_CHECKING:
    from chronicle.storage.tiers.planning import Plan

_EPILOG = """\
\b
Examples:
  chronicle tier plan --home demo
  chronicle tier plan --all --home demo                      every sealed segment, to its next tier
  chronicle tier plan --queues clean/kraken/ --json --home demo
\b
Nothing is written. Bytes to write are an estimate from what the tier holds already, requests and cost
follow from them (price_* of [[tiers]]). Each decision has its reason; what is due and held back, too.
"""


@click.command("plan", epilog=_EPILOG)
@click.option("--all", "everything", is_flag=True, help="Treat every sealed segment as due for the next tier.")
@click.option("--queues", "prefix", default="", metavar="PREFIX", help="Only queues whose names start so.")
@home_option
@json_option
def command(everything: bool, prefix: str, home: Path, as_json: bool) -> None:
    """Show which sealed segments are due for which tier, and which are held back."""
    from chronicle.cli.tiering import policy_of
    from chronicle.config import load_settings
    from chronicle.storage.tiers.agent import make_plan

    policy = policy_of(load_settings(need_home(home), os.environ), home)
    plan, errors = make_plan(home, policy, everything=everything, prefix=prefix)
    if as_json:
        show.echo_json(plan.to_dict() | {"errors": [error.to_dict() for error in errors]})
        return
    print_plan(plan)
    for error in errors:
        click.echo(f"unreadable: {error}")


def print_plan(plan: Plan) -> None:
    """Print a plan for a person."""
    from chronicle.config.units import format_bytes

    rows = [
        (
            move.segment.queue,
            str(move.segment.number),
            f"{move.source} -> {move.target}",
            format_bytes(move.source_bytes),
            format_bytes(move.target_bytes),
            move.reason,
        )
        for move in plan.moves
    ]
    if rows:
        columns = ("queue", "segment", "move", "read", "write (est.)", "why")
        show.echo_table(columns, rows, right=("segment", "read", "write (est.)"))
    for item in plan.held:
        click.echo(f"held: segment {item.segment.number} of {item.segment.queue}: {item.reason}")
    click.echo(
        f"{len(plan.moves)} segments to move, {format_bytes(plan.source_bytes)} to read, about "
        f"{format_bytes(plan.target_bytes)} to write in {plan.requests} requests; {len(plan.held)} held back"
    )
    if plan.cost or plan.month:
        click.echo(
            f"the requests cost {plan.cost:.3g}, keeping it {plan.month:+.3g} a month, at the prices of [[tiers]]"
        )
