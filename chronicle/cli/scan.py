"""``chronicle scan``: a range of records as rows, to a file or a pipe."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.formats import FORMATS, TEXT_FORMATS, format_of
from chronicle.cli.options import TIME, need_place, place_option, version_options
from chronicle.core.errors import ConfigError

_EPILOG = """\
\b
Examples:
  chronicle scan kraken:BTC-EUR --home data | head
  chronicle scan kraken:BTC-EUR --channel trade --format jsonl --iso --home data
  chronicle scan kraken:BTC-EUR kraken:ETH-CHF --start 2021-04-17T16:49:00Z -o book.parquet --home data
  chronicle scan binance:ETHUSDT --columns ts_recv,side,price,size -o deltas.arrow --home data
  chronicle scan kraken:BTC-EUR --channel trade --where "side == 'bid' and size >= 0.5" --iso --home data
\b
The format follows the file's ending when --format is absent. A file appears under its name when it is
complete, never half. Times are ns since 1970 (UTC) unless --iso; prices and sizes are exact decimals
unless --decimals says otherwise. A range is [start, end) on ts_recv.
"""


@click.command("scan", epilog=_EPILOG)
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@click.option(
    "--channel",
    type=click.Choice(["book", "trade", "quote", "candle"]),
    default="book",
    show_default=True,
    help="Which records.",
)
@click.option("--start", type=TIME, help="From this time on.")
@click.option("--end", type=TIME, help="Up to, but not at, this time.")
@click.option("--columns", metavar="NAME,...", help="Which columns; default all.")
@click.option("--where", metavar="CONDITION", help="Only rows that pass, as \"side == 'bid' and price >= 100.5\".")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: by the file's ending, else csv.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where to; default stdout.")
@click.option(
    "--decimals",
    type=click.Choice(["decimal", "float", "int"]),
    default="decimal",
    show_default=True,
    help="How prices and sizes leave; int gives mantissas.",
)
@click.option("--iso", is_flag=True, help="Times as ISO 8601 text (csv and jsonl).")
@click.option("--limit", type=click.IntRange(min=0), help="Stop after this many rows.")
@place_option
@version_options
def command(
    symbols: tuple[str, ...],
    channel: str,
    start: int | None,
    end: int | None,
    columns: str | None,
    where: str | None,
    form: str | None,
    output: Path | None,
    decimals: str,
    iso: bool,
    limit: int | None,
    home: Path | str,
    version: int | None,
    as_of: int | None,
) -> None:
    """Write the records of SYMBOLs as rows: csv, jsonl, parquet or arrow."""
    import chronicle
    from chronicle.cli.rows import write_rows

    chosen = form or format_of(output)
    if output is None and chosen not in TEXT_FORMATS:
        raise ConfigError(f"{chosen} is written to a file", hint="give -o FILE, or --format csv")
    names = [part.strip() for part in columns.split(",")] if columns is not None else None
    text = chosen in TEXT_FORMATS
    with chronicle.open(need_place(home), version=version, as_of=as_of) as store:
        asked = {"channel": channel, "start": start, "end": end, "columns": names, "where": where}
        scan = store.scan(symbols, decimals=decimals, **asked)  # type: ignore[arg-type]
        if text and decimals == "decimal" and not scan.mixed:  # mantissas become text faster than numbers do
            scan = store.scan(symbols, decimals="int", **asked)  # type: ignore[arg-type]
        rows = write_rows(scan, chosen, output, exact=decimals == "decimal", iso=iso, limit=limit)
        if not rows and limit != 0 and where is not None:
            show.note(f"no row of {channel} passes {where}")
        elif not rows and limit != 0:
            for symbol in scan.symbols:
                covered = store.coverage(symbol, channel)
                first, last = show.moment(covered.ts_first), show.moment(covered.ts_last)
                show.note(f"no rows: {channel} of {symbol} covers {first} to {last}")
    if output is not None:
        show.note(f"{rows:,} rows to {output}")
