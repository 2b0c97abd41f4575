"""``chronicle sql``: one SELECT over the store, as a table, JSON, CSV, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chronicle.cli import show
from chronicle.cli.formats import FORMATS, format_of
from chronicle.cli.options import SIZE, home_option, json_option, need_home
from chronicle.core.errors import ConfigError

if TYPE_CHECKING:
    from chronicle.access.sql.sql import Answer

SHOWN_ROWS = 50
_EPILOG = """\
\b
Examples:
  chronicle sql "select symbol, count(*) n from trade group by symbol order by n desc" --home data
  chronicle sql "from trade where symbol = 'binance:BTC-USDT' and ts_recv >= '2024-08-09' limit 5" --home data
  chronicle sql "from book('kraken:BTC-EUR', '2021-04-17 16:49:10', depth := 5)" --home data
  chronicle sql "from books('kraken:BTC-EUR', '2021-04-17 16:49', '2021-04-17 16:50')" -o b.parquet --home data
\b
Tables: book, trade, quote, candle, status, gaps, instruments, segments; `describe trade` names the columns.
A condition on symbol and ts_recv (or ts_recv_ns, exact) decides what is read at all. The SQL is DuckDB's; a
query reads the store and nothing else: no files, no network, no changes. Needs the extra `sql`.
"""


@click.command("sql", epilog=_EPILOG)
@click.argument("query")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write a file: by its ending.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Of the file; default by its ending.")
@click.option("--exact", is_flag=True, help="Prices and sizes as exact decimals instead of floats.")
@click.option(
    "--memory", type=SIZE, default="2GiB", show_default=True, metavar="SIZE", help="What the query may hold at once."
)
@click.option("--limit", type=click.IntRange(min=1), default=SHOWN_ROWS, show_default=True, help="Rows in the table.")
@home_option
@json_option
def command(
    query: str,
    as_csv: bool,
    output: Path | None,
    form: str | None,
    exact: bool,
    memory: int,
    limit: int,
    home: Path,
    as_json: bool,
) -> None:
    """Answer one SELECT over the store's tables."""
    import chronicle
    from chronicle.cli.answers import print_csv, print_json, write_answer

    if sum((as_csv, as_json, output is not None)) > 1:
        raise ConfigError("an answer goes one way", expected="--json, --csv or -o FILE", found="several")
    chosen = form or format_of(output) if output is not None else None
    with chronicle.open(need_home(home)) as store:
        answer = store.sql(query, decimals="decimal" if exact else "float", memory_bytes=memory)
        if output is not None and chosen is not None:
            show.note(f"{write_answer(answer, chosen, output):,} rows to {output}")
        elif as_csv:
            print_csv(answer)
        elif as_json:
            print_json(answer)
        else:
            _table(answer, limit)


def _table(answer: Answer, limit: int) -> None:
    from chronicle.cli.answers import plain

    if answer.query.strip().lower().startswith("explain"):
        for row in answer:
            click.echo("\n".join(str(row[name]) for name in answer.columns[1:] or answer.columns))
        return
    rows: list[list[Any]] = []
    more = False
    for row in answer:
        if len(rows) == limit:
            more = True
            break
        rows.append([_cell(plain(row[name])) for name in answer.columns])
    numbers = [name for name, kind in zip(answer.columns, answer.types, strict=True) if _is_number(kind)]
    show.echo_table(answer.columns, rows, right=numbers)
    if more:
        show.note(f"... more than {limit} rows; see --limit, --csv, --json, -o")


def _cell(value: Any) -> Any:
    """Return a cell that a reader can copy: whole numbers without separators, lists as JSON."""
    if isinstance(value, list | dict):
        return show.json_line(value)
    return value if value is None else str(value)


def _is_number(kind: str) -> bool:
    return kind.startswith(("BIGINT", "INTEGER", "DOUBLE", "DECIMAL", "HUGEINT", "UTINYINT", "UBIGINT", "FLOAT"))
