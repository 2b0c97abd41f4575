"""``chronicle tier apply``: perform the plan, once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.bar import Bar
from chronicle.cli.options import home_option, json_option, need_home

if TYPE_CHECKING:
    from chronicle.storage.tiers.report import Report

_EPILOG = """\
\b
Examples:
  chronicle tier apply --home demo
  chronicle tier apply --all --home demo                 every sealed segment, to its next tier
  chronicle tier apply --queues clean/ --home demo
\b
A source is deleted only after its copy was written, read back, verified and published. A crash at any
step leaves every segment readable at one place; the next run finishes or undoes the move.
"""


@click.command("apply", epilog=_EPILOG)
@click.option("--all", "everything", is_flag=True, help="Treat every sealed segment as due for the next tier.")
@click.option("--queues", "prefix", default="", metavar="PREFIX", help="Only queues whose names start so.")
@home_option
@json_option
@click.pass_context
def command(ctx: click.Context, everything: bool, prefix: str, home: Path, as_json: bool) -> None:
    """Move the segments that are due to their next tier."""
    from chronicle.cli.stopping import stopping
    from chronicle.cli.tiering import options_of, policy_of
    from chronicle.config import load_settings
    from chronicle.storage.tiers.agent import apply_plan, make_plan

    settings = load_settings(need_home(home), os.environ)
    policy = policy_of(settings, home)
    plan, errors = make_plan(home, policy, everything=everything, prefix=prefix)
    with stopping() as stopper, Bar(sys.stderr, plan) as bar:
        options = options_of(settings, stopper.event.is_set)
        report = apply_plan(home, plan, policy, progress=bar.progress, options=options)
        if report.finished or report.undone:  # what a killed run left is settled: its segments may be due now
            plan, errors = make_plan(home, policy, everything=everything, prefix=prefix)
            report.add(apply_plan(home, plan, policy, progress=bar.progress, options=options))
    if as_json:
        held = [
            {"queue": item.segment.queue, "number": item.segment.number, "reason": item.reason} for item in plan.held
        ]
        show.echo_json(report.to_dict() | {"held": held, "errors": [error.to_dict() for error in errors]})
    else:
        print_report(report)
        for item in plan.held:
            click.echo(f"held: segment {item.segment.number} of {item.segment.queue}: {item.reason}")
    report.raise_for_failures()
    if errors:
        raise errors[0]
    if stopper.event.is_set():
        ctx.exit(stopper.exit_code)


def print_report(report: Report) -> None:
    """Print what a run did, for a person."""
    from chronicle.config.units import format_bytes

    settled = f", {report.finished} finished and {report.undone} undone" if report.finished or report.undone else ""
    click.echo(
        f"moved {len(report.moved)} segments: {format_bytes(report.source_bytes)} became "
        f"{format_bytes(report.target_bytes)}{settled}"
    )
    if report.expired:
        click.echo(f"removed {len(report.expired)} segments for good, as the policy says")
    if report.retired_pending:
        click.echo(f"{report.retired_pending} sources wait for their grace period to end")
    for entry in report.broken:
        click.echo(f"broken move: segment {entry.number} of {entry.queue}; `chronicle verify` tells more")
    for failure in report.failures:
        click.echo(
            f"not moved: segment {failure.move.segment.number} of {failure.move.segment.queue}: {failure.error}"
        )
