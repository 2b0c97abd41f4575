"""``chronicle quality``: counts that say how good the data is."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import TIME, json_option, need_place, place_option
from chronicle.cli.rows import publish
from chronicle.core.errors import ConfigError

_EPILOG = """\
\b
Examples:
  chronicle quality --home data
  chronicle quality kraken:BTC-EUR --json --home data
  chronicle quality kraken:BTC-EUR --html quality.html --home data
\b
Checks are the venue's own book checksums, by our verdict. Clamped counts records whose receive time
stepped back (a clock was set). Grade A: no hole, no failed check; B and C: below a thousandth, a hundredth
of time and checks; D: more, or a hole that is still open. Latency is our clock minus the venue's.
"""


@click.command("quality", epilog=_EPILOG)
@click.argument("symbol", required=False)
@click.option("--start", type=TIME, help="From this time on.")
@click.option("--end", type=TIME, help="Up to, but not at, this time.")
@click.option(
    "-o", "--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a report of SYMBOL with plots."
)
@place_option
@json_option
def command(
    symbol: str | None, start: int | None, end: int | None, html: Path | None, home: Path | str, as_json: bool
) -> None:
    """Count records, checks and gaps of SYMBOL, or of every instrument."""
    import chronicle

    if html is not None and symbol is None:
        raise ConfigError("a report is of one instrument", hint="chronicle quality SYMBOL --html FILE")
    with chronicle.open(need_place(home)) as store:
        if html is not None and symbol is not None:
            publish(html, store.quality_html(symbol, start, end))
            show.note(f"the quality of {symbol} to {html}")
            return
        names = [symbol] if symbol else [item.symbol for item in store.instruments()]
        found = [store.quality(name, start, end) for name in names]
    if as_json:
        show.echo_json([item.to_dict() for item in found])
        return
    if not found:
        click.echo("No instrument is here yet.")
        return
    rows = [
        (
            item.symbol,
            item.grade,
            sum(item.records.values()),
            item.events,
            item.checks_passed,
            item.checks_failed,
            item.gaps,
            item.gaps_open,
            item.clamped,
            _milli(item.latency.quantile_ns(0.5)),
            _milli(item.latency.quantile_ns(0.99)),
        )
        for item in found
    ]
    counted = ("records", "events", "checks passed", "failed", "gaps", "open", "clamped", "latency p50", "p99")
    show.echo_table(("instrument", "grade", *counted), rows, right=counted)


def _milli(ns: int | None) -> str:
    return "-" if ns is None else f"{ns / 1e6:,.1f} ms"
