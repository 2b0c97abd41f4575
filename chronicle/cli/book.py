"""``chronicle book``: the order book at a moment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.options import TIME, json_option, need_place, place_option, version_options
from chronicle.core.errors import ConfigError

if TYPE_CHECKING:
    from chronicle.access.books.book import BookOrder

_EPILOG = """\
\b
Examples:
  chronicle book kraken:BTC-EUR --home demo                                    the latest
  chronicle book kraken:BTC-EUR --at 2021-04-17T16:49:00Z --depth 5 --home data
  chronicle book kraken:XBT/EUR --at 1618678140000000000 --json --home data    the venue's own spelling
  chronicle book kraken:BTC-EUR --follow --depth 15 --home demo
  chronicle book cme:ESM4 --depth 1 --orders --home data                       who waits, and how much is ahead
  chronicle book nasdaq:AMZN --at 2012-06-21T14:00:00Z --strict --home data
\b
The book is the state after all events with ts_recv at or before the moment. Its status says how far to
trust it: ok, gap (messages are missing), stale (the feed was lost, or not refined yet), crossed,
unverified (no venue snapshot). --strict makes everything but ok an error (exit code 11).
"""


@click.command("book", epilog=_EPILOG)
@click.argument("symbol")
@click.option("--at", type=TIME, help="The moment (ts_recv), ISO 8601 (UTC) or integer ns; default the latest.")
@click.option("--depth", type=click.IntRange(1, 100_000), default=10, show_default=True, help="Levels per side.")
@click.option("--strict", is_flag=True, help="Fail when the book is not known to be right.")
@click.option("--follow", is_flag=True, help="Keep showing the latest book as it changes; Ctrl-C ends.")
@click.option("--interval", type=click.FloatRange(min=0.02), default=0.2, show_default=True, help="Seconds a look.")
@click.option("--timeout", type=click.FloatRange(min=0), help="With --follow: end after so many quiet seconds.")
@click.option("--orders", is_flag=True, help="Also the resting orders at these levels, where the venue tells them.")
@place_option
@version_options
@json_option
def command(
    symbol: str,
    at: int | None,
    depth: int,
    strict: bool,
    orders: bool,
    follow: bool,
    interval: float,
    timeout: float | None,
    home: Path | str,
    version: int | None,
    as_of: int | None,
    as_json: bool,
) -> None:
    """Show the order book of SYMBOL (venue:BASE-QUOTE) at a moment."""
    import chronicle
    from chronicle.cli.ladder import ladder_input, ladder_lines

    if follow and (at is not None or strict):
        raise ConfigError("the latest book is followed", expected="--follow alone", found="--at or --strict")
    if follow:
        from chronicle.cli.following import follow_book

        quiet_ns = None if timeout is None else int(timeout * 1e9)
        with chronicle.open(need_place(home), version=version, as_of=as_of) as store:
            follow_book(store, symbol, depth, interval_ns=int(interval * 1e9), quiet_ns=quiet_ns, as_json=as_json)
        return
    with chronicle.open(need_place(home), version=version, as_of=as_of) as store:
        book = store.book(symbol, at=at, depth=depth, strict=strict)
    resting = book.orders("bid") + book.orders("ask") if orders else []
    if as_json:
        more = {"orders": [order.to_dict() for order in resting]} if orders else {}
        show.echo_json(book.to_dict() | more, indent=None)
        return
    show.echo_spans(ladder_lines(ladder_input(book)))
    if orders:
        show.echo_table(("side", "price", "size", "ahead", "order"), [_cells(order) for order in resting])


def _cells(order: BookOrder) -> list[str]:
    values = order.to_dict()
    return [values[name] for name in ("side", "price", "size", "ahead", "order_id")]
