"""``chronicle feed venues``: which venues the feed reads."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option

_EPILOG = """\
\b
Examples:
  chronicle feed venues
  chronicle feed venues --json
"""


@click.command("venues", epilog=_EPILOG)
@home_option
@json_option
def command(home: Path, as_json: bool) -> None:
    """List the venues, their channels, and the capture formats that can hold them."""
    from chronicle.feed.dialects import DIALECTS
    from chronicle.feed.venues import venues

    if as_json:
        show.echo_json([venue.to_dict() | {"live": venue.name in DIALECTS} for venue in venues()])
        return
    rows = [
        (
            venue.name,
            venue.description,
            "yes" if venue.name in DIALECTS else "-",
            ", ".join(venue.channels),
            ", ".join(venue.captures),
        )
        for venue in venues()
    ]
    show.echo_table(("venue", "what it is", "live", "channels", "capture formats"), rows)
