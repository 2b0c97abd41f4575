"""``chronicle quality``: counts that say how good the data is."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import json_option, need_place, place_option

_EPILOG = """\
\b
Examples:
  chronicle quality --home data
  chronicle quality kraken:BTC-EUR --json --home data
\b
Checks are the venue's own book checksums, by our verdict. Clamped counts records whose receive time
stepped back (a clock was set).
"""


@click.command("quality", epilog=_EPILOG)
@click.argument("symbol", required=False)
@place_option
@json_option
def command(symbol: str | None, home: Path | str, as_json: bool) -> None:
    """Count records, checks and gaps of SYMBOL, or of every instrument."""
    import chronicle

    with chronicle.open(need_place(home)) as store:
        names = [symbol] if symbol else [item.symbol for item in store.instruments()]
        found = [store.quality(name) for name in names]
    if as_json:
        show.echo_json([item.to_dict() for item in found])
        return
    if not found:
        click.echo("No instrument is here yet.")
        return
    rows = [
        (
            item.symbol,
            sum(item.records.values()),
            item.events,
            item.checks_passed,
            item.checks_failed,
            item.gaps,
            item.gaps_open,
            item.clamped,
        )
        for item in found
    ]
    columns = ("instrument", "records", "events", "checks passed", "failed", "gaps", "open", "clamped")
    show.echo_table(columns, rows, right=columns[1:])
