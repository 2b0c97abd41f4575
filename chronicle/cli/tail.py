"""``chronicle tail``: records as they are refined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chronicle.cli import show
from chronicle.cli.options import TIME, home_option, json_option, need_home

if TYPE_CHECKING:
    from chronicle.access import Event, Store
    from chronicle.core.records import Record

_EPILOG = """\
\b
Examples:
  chronicle tail kraken:BTC-USD --home demo                          from now on, until Ctrl-C
  chronicle tail kraken:BTC-USD --channel trade --home demo
  chronicle tail kraken:BTC-USD --start 2021-04-17T16:49:00Z --json --home data | head
  chronicle tail kraken:BTC-USD --timeout 5 --home demo              end after 5 s without anything new
"""


@click.command("tail", epilog=_EPILOG)
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@click.option(
    "--channel", "channels", multiple=True, type=click.Choice(["book", "trade", "quote"]), help="Default all."
)
@click.option("--start", type=TIME, help="Begin with history from this time on; default with what comes next.")
@click.option("--timeout", type=click.FloatRange(min=0), help="End after so many seconds without anything new.")
@click.option("--limit", type=click.IntRange(min=1), help="End after this many records.")
@home_option
@json_option
def command(
    symbols: tuple[str, ...],
    channels: tuple[str, ...],
    start: int | None,
    timeout: float | None,
    limit: int | None,
    home: Path,
    as_json: bool,
) -> None:
    """Print the records of SYMBOLs in the order of ts_recv, then live ones as they come."""
    import chronicle

    with chronicle.open(need_home(home)) as store:
        exponents = _Exponents(store)
        timeout_ns = None if timeout is None else int(timeout * 1e9)
        told = 0
        for event in store.tail(list(symbols), start=start, timeout_ns=timeout_ns):
            if channels and event.channel not in channels:
                continue
            for values in rows_of(event, exponents):
                click.echo(show.json_line(values) if as_json else _line(values))
                told += 1
                if told == limit:
                    return


class _Exponents:
    """The exponents of each instrument, as its INSTRUMENT records change them."""

    def __init__(self, store: Store) -> None:
        self._known = {item.symbol: (item.price_exponent, item.size_exponent) for item in store.instruments()}

    def of(self, symbol: str) -> tuple[int, int]:
        """Return (price exponent, size exponent)."""
        return self._known.get(symbol, (0, 0))

    def learn(self, symbol: str, record: Record) -> None:
        """Take over a definition."""
        fields = record.fields()
        self._known[symbol] = (fields["price_exponent"], fields["size_exponent"])


def rows_of(event: Event, exponents: _Exponents) -> Iterator[dict[str, Any]]:
    """Yield one row for each record of `event` that a reader of a tail wants to see."""
    from chronicle.core.decimals import text_fixed
    from chronicle.core.layout import INT64_MIN, Kind, Verdict

    for record in event.records:
        if record.kind == Kind.INSTRUMENT:
            exponents.learn(event.symbol, record)
        fields = record.to_dict()
        values: dict[str, Any] = {
            "ts_recv": record.ts_recv,
            "symbol": event.symbol,
            "channel": event.channel,
            "kind": str(fields["kind"]).lower(),
            "index": record.index,
        }
        if fields["side"]:
            values["side"] = fields["side"]
        price, size = exponents.of(event.symbol)
        for name, places in (
            ("price", price),
            ("size", size),
            ("bid_price", price),
            ("bid_size", size),
            ("ask_price", price),
            ("ask_size", size),
        ):
            if name in fields and fields[name] != INT64_MIN:
                values[name] = text_fixed(fields[name], places)
        if record.kind == Kind.CHECK:
            values["verdict"] = Verdict(fields["verdict"]).name.lower()
        if record.kind == Kind.BOOK_SNAPSHOT:
            values |= {"bids": len(fields["bids"]), "asks": len(fields["asks"])}
        yield values


def _line(values: dict[str, Any]) -> str:
    rest = {
        key: value for key, value in values.items() if key not in {"ts_recv", "symbol", "channel", "kind", "index"}
    }
    shown = " ".join(
        f"{key}={value}" if key not in {"side", "verdict"} else str(value) for key, value in rest.items()
    )
    return f"{show.moment(values['ts_recv'])}  {values['symbol']}  {values['kind']:<13} {shown}".rstrip()
