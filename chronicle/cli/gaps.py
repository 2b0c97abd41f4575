"""``chronicle gaps``: the holes that are known of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.options import TIME, json_option, need_place, place_option, version_options
from chronicle.cli.progress import share

if TYPE_CHECKING:
    from chronicle.access import Gap

_EPILOG = """\
\b
Examples:
  chronicle gaps --home data                                  of all instruments
  chronicle gaps kraken:BTC-EUR --start 2021-04-17 --home data
  chronicle gaps --json --home data
\b
A hole lasts from the last good event to the recovery; one without a recovery is open. "Found in" is the raw
record that showed it; "covered" names another line that was whole meanwhile. Causes are explained in
docs/operations.md. With --start or --end, times that were never captured are told as not_captured.
Archived segments that are known to hold no hole are not opened; `chronicle tier repair` looks through those
that an earlier release archived.
"""


@click.command("gaps", epilog=_EPILOG)
@click.argument("symbol", required=False)
@click.option("--start", type=TIME, help="Only holes that reach past this time.")
@click.option("--end", type=TIME, help="Only holes that begin before this time.")
@place_option
@version_options
@json_option
def command(
    symbol: str | None,
    start: int | None,
    end: int | None,
    home: Path | str,
    version: int | None,
    as_of: int | None,
    as_json: bool,
) -> None:
    """List the holes in the books of SYMBOL, or of every instrument."""
    import chronicle

    with chronicle.open(need_place(home), version=version, as_of=as_of) as store, share("gaps") as progress:
        gaps = store.gaps(symbol, start=start, end=end, progress=progress)
    if as_json:
        show.echo_json([gap.to_dict() for gap in gaps])
        return
    if not gaps:
        click.echo("No gap is known of.")
        return
    columns = (
        "instrument",
        "cause",
        "state",
        "last good",
        "found",
        "recovery",
        "lasted",
        "missing sequence",
        "found in",
        "covered",
    )
    show.echo_table(columns, [_row(gap) for gap in gaps], right=("lasted",))
    still_open = sum(gap.state == "open" for gap in gaps)
    click.echo(f"{len(gaps)} gaps, {still_open} still open")


def _row(gap: Gap) -> tuple[str, ...]:
    from chronicle.config.units import format_duration

    lasted = gap.recovery_ts - gap.last_good_ts if gap.recovery_ts > 0 and gap.last_good_ts > 0 else None
    missing = "-" if gap.first_missing < 0 else f"{gap.first_missing} to {gap.last_missing}"
    return (
        gap.symbol + (f" @{gap.lane}" if gap.lane else ""),
        gap.cause,
        gap.state,
        show.moment(gap.last_good_ts),
        show.moment(gap.detected_ts),
        show.moment(gap.recovery_ts),
        "-" if lasted is None else format_duration(lasted),
        missing,
        f"{gap.source} {gap.source_index}" if gap.source_index >= 0 else "-",
        "no" if gap.covered_by is None else f"by @{gap.covered_by}",
    )
