"""``chronicle tier rebuild``: the manifest again, from the segments alone."""

from __future__ import annotations

import os
from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home
from chronicle.cli.progress import working

_EPILOG = """\
\b
Examples:
  chronicle tier rebuild --home demo
  chronicle tier rebuild --json --home demo
\b
For a manifest that was lost or damaged. One that cannot be opened is set aside, not removed.
"""


@click.command("rebuild", epilog=_EPILOG)
@home_option
@json_option
def command(home: Path, as_json: bool) -> None:
    """Make the manifest and the tiers' catalogs again from the segments that are there."""
    from chronicle.cli.tiering import policy_of
    from chronicle.config import load_settings
    from chronicle.storage.manifest.rebuild import rebuild_manifest

    policy = policy_of(load_settings(need_home(home), os.environ), home)
    with working("every object of every tier is looked at"):
        report = rebuild_manifest(home, policy)
    if as_json:
        show.echo_json(
            {
                "segments": report.segments,
                "copies": report.copies,
                "temporaries_removed": report.temporaries_removed,
                "conflicts": list(report.conflicts),
                "errors": [error.to_dict() for error in report.errors],
            }
        )
    else:
        click.echo(f"{report.segments} segments published, {report.copies} colder copies found beside them")
        for conflict in report.conflicts:
            click.echo(f"conflict: {conflict}")
        for error in report.errors:
            click.echo(f"unreadable: {error}")
    if report.errors:
        raise report.errors[0]
