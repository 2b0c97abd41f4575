"""``chronicle tier repair``: what is damaged in a tier, from another copy."""

from __future__ import annotations

import os
from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

_EPILOG = """\
\b
Examples:
  chronicle tier repair --home demo
  chronicle tier repair --queues clean/kraken/ --json --home demo
\b
Every object below hot is read and proven. A damaged one is set aside in quarantine/ of its tier, never
removed, and replaced by a copy that proves whole: a source whose grace period still runs, another
tier's object, the sealed file in the home. Exit code 5 where there is none: chronicle etl rebuild
makes clean queues again where raw is still there. Parts of uploads that were cut off are removed.
"""


@click.command("repair", epilog=_EPILOG)
@click.option("--queues", "prefix", default="", metavar="PREFIX", help="Only queues whose names start so.")
@home_option
@json_option
@click.pass_context
def command(ctx: click.Context, prefix: str, home: Path, as_json: bool) -> None:
    """Find damaged objects and replace them by whole copies."""
    from chronicle.cli.tiering import policy_of
    from chronicle.config import load_settings
    from chronicle.core.errors import CorruptionError
    from chronicle.storage.tiers.repair import repair

    policy = policy_of(load_settings(need_home(home), os.environ), home)
    report = repair(home, policy, prefix=prefix)
    if as_json:
        values = {"checked": report.checked, "bytes": report.checked_bytes, "unavailable": report.unavailable}
        values["uploads"] = report.uploads
        show.echo_json(values | {"damaged": [item.to_dict() for item in report.damaged]})
    else:
        for item in report.damaged:
            outcome = f"replaced by {item.copy}" if item.copy else "no whole copy was found"
            click.echo(f"segment {item.entry.number} of {item.entry.queue}: {item.error}; {outcome}")
        away = f", {report.unavailable} could not be asked for" if report.unavailable else ""
        if report.uploads:
            click.echo(f"{report.uploads} uploads that were cut off were given up")
        click.echo(f"{report.checked} objects proven, {len(report.damaged)} damaged{away}")
    if report.lost:
        ctx.exit(CorruptionError.exit_code)
