"""``chronicle export``: files for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.options import TIME, home_option, json_option, need_home
from chronicle.cli.progress import bar

if TYPE_CHECKING:
    from chronicle.access.formats.export import Exported, Unit

_EPILOG = """\
\b
Examples:
  chronicle export out --home data
  chronicle export out binance:BTC-USDT --channel trade --start 2024-08-09 --home data
  chronicle export lake --register delta --home data
  chronicle export backtest binance:BTC-USDT --format npz --home data
  chronicle export dbn nasdaq:AMZN --format dbn --home data
  chronicle export copy --format records --home data     (chronicle import makes the same queues of it)
  chronicle export out --plan --home data
\b
One file a channel, instrument and UTC day: OUT/trade/venue=binance/symbol=BTC-USDT/date=2024-08-09/part-0.parquet.
A file appears under its name when it is complete. Stopped with Ctrl-C, an export keeps the files that are
complete; running it again writes all of them anew. In OUT/CHANNEL, DuckDB, Polars, Spark and pandas find one
table. With --register delta or iceberg times are microseconds, with twins in ns (ts_recv_ns).
"""


@click.command("export", epilog=_EPILOG)
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path, file_okay=False))
@click.argument("symbols", nargs=-1, metavar="[SYMBOL]...")
@click.option(
    "--channel",
    "channels",
    multiple=True,
    type=click.Choice(["book", "trade", "quote", "candle"]),
    help="Which records; may be given several times; default all.",
)
@click.option("--start", type=TIME, help="From this time on.")
@click.option("--end", type=TIME, help="Up to, but not at, this time.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "arrow", "csv", "jsonl", "npz", "dbn", "records"]),
    default="parquet",
    show_default=True,
    help="npz: hftbacktest's events. dbn: Databento's records (MBO, MBP-10, trades, MBP-1). records: every record in"
    " full, for import.",
)
@click.option(
    "--decimals",
    type=click.Choice(["decimal", "float", "int"]),
    default="decimal",
    show_default=True,
    help="How prices and sizes leave; int gives mantissas and exponents.",
)
@click.option("--register", type=click.Choice(["delta", "iceberg"]), help="Also a table over the Parquet files.")
@click.option("--plan", is_flag=True, help="Only say what would be written.")
@home_option
@json_option
def command(
    folder: Path,
    symbols: tuple[str, ...],
    channels: tuple[str, ...],
    start: int | None,
    end: int | None,
    form: str,
    decimals: str,
    register: str | None,
    plan: bool,
    home: Path,
    as_json: bool,
) -> None:
    """Write records to files under OUT, for all instruments or the SYMBOLs."""
    import chronicle

    with chronicle.open(need_home(home)) as store:
        job = store.export_job(
            folder,
            symbols or None,
            channels or ("book", "trade", "quote", "candle"),
            start,
            end,
            form=form,
            decimals=decimals,  # type: ignore[arg-type]
            register=register,
        )
        units = job.units()
        if plan:
            _plan(units, as_json=as_json)
            return
        with bar(len(units), "export") as step:

            def tell(unit: Unit, done: Exported) -> None:
                step(f"{unit.channel} {unit.symbol} {done.rows:,} rows")

            done = job.run(tell)
    if as_json:
        show.echo_json(done.to_dict())
    else:
        click.echo(f"{done.rows:,} rows in {done.files:,} files under {folder}, {done.bytes:,} bytes")


def _plan(units: list[Unit], *, as_json: bool) -> None:
    rows = [(unit.path, unit.start, unit.end) for unit in units]
    if as_json:
        show.echo_json([{"path": path, "start": start, "end": end} for path, start, end in rows])
        return
    for path, _, _ in rows:
        click.echo(path)
    click.echo(f"{len(rows):,} files at most: days without a record have none")
