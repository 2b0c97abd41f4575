"""``chronicle audit``: rebuild books from snapshot to snapshot, and compare."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import TIME, home_option, json_option, need_home
from chronicle.cli.progress import bar
from chronicle.core.errors import CorruptionError

_EPILOG = """\
\b
Examples:
  chronicle audit --home data
  chronicle audit kraken:BTC-EUR --start 2021-04-17T16:49:00Z --json --home data
\b
Each snapshot that the ETL wrote must be what the records before it rebuild, level by level: "wrong" counts
those that are not (exit code 5). A venue's own snapshots may bring something else: that is what was missed.
"""


@click.command("audit", epilog=_EPILOG)
@click.argument("symbol", required=False)
@click.option("--start", type=TIME, help="From this time on.")
@click.option("--end", type=TIME, help="Up to, but not at, this time.")
@home_option
@json_option
def command(symbol: str | None, start: int | None, end: int | None, home: Path, as_json: bool) -> None:
    """Audit the books of SYMBOL, or of every instrument."""
    import chronicle

    with chronicle.open(need_home(home)) as store:
        names = [symbol] if symbol else [item.symbol for item in store.instruments() if "book" in item.channels]
        found = []
        with bar(len(names), "audit") as step:
            for name in names:
                found.append(store.audit(name, start, end))
                step(name)
    wrong = sum(item.wrong for item in found)
    if as_json:
        show.echo_json([item.to_dict() for item in found])
    elif not found:
        click.echo("No book is here yet.")
    else:
        columns = ("instrument", "deltas", "snapshots", "wrong", "venue's", "bringing something else")
        rows = [
            (one.symbol, one.deltas, one.snapshots, one.wrong, one.venue_snapshots, one.venue_differing)
            for one in found
        ]
        show.echo_table(columns, rows, right=columns[1:])
    if wrong:
        first = next(item for item in found if item.wrong)
        raise CorruptionError(
            f"{wrong} snapshots are not what the records before them rebuild",
            found=first.differences[0],
            hint="chronicle verify tells whether bytes changed; chronicle etl rebuild --verify, whether the ETL errs",
        )
