"""``chronicle explain``: from a row back to the bytes that the exchange sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chronicle.cli import show
from chronicle.cli.options import TIME, json_option, need_place, place_option
from chronicle.core.errors import ConfigError

if TYPE_CHECKING:
    from chronicle.access import Explanation
    from chronicle.access.trust.explain import Link

PAYLOAD_SHOWN = 2000
_EPILOG = """\
\b
Examples:
  chronicle explain kraken:BTC-EUR --at 2021-04-17T16:49:00Z --home data     the book's last event at that time
  chronicle explain kraken:BTC-EUR --channel trade --index 5 --home data
  chronicle explain kraken:BTC-EUR --index 1234 --json --home data
\b
INDEX is the record's index in its clean queue, as `scan` and `queue dump` print it.
"""


@click.command("explain", epilog=_EPILOG)
@click.argument("symbol")
@click.option(
    "--channel",
    type=click.Choice(["book", "trade", "quote", "candle"]),
    default="book",
    show_default=True,
    help="Which queue.",
)
@click.option("--index", type=click.IntRange(min=0), help="The record's index in the clean queue.")
@click.option("--lane", type=click.IntRange(min=0), default=0, help="Its lane, where there are several.")
@click.option("--at", type=TIME, help="Instead of --index: the last event of the book at this time.")
@place_option
@json_option
def command(
    symbol: str, channel: str, index: int | None, lane: int, at: int | None, home: Path | str, as_json: bool
) -> None:
    """Show where a record came from: the clean record, the raw record, the frame as the venue sent it."""
    import chronicle

    if (index is None) == (at is None):
        raise ConfigError("which record? give --index or --at", hint="chronicle scan prints the index of each row")
    with chronicle.open(need_place(home)) as store:
        if at is not None:
            explanation = store.explain(store.book(symbol, at=at, depth=1))
        else:
            explanation = store.explain(symbol, channel, index, lane=lane)
        if as_json:
            show.echo_json(explanation.to_dict())
        else:
            print_explanation(explanation)


def print_explanation(explanation: Explanation) -> None:
    """Print the chain for a person."""
    click.echo(explanation.symbol)
    for name, link in (("clean", explanation.clean), ("raw", explanation.raw), ("wire", explanation.wire)):
        if link is not None:
            _print_link(name, link)
    if explanation.wire is not None:
        text = explanation.payload[:PAYLOAD_SHOWN].decode("utf-8", "backslashreplace")
        more = len(explanation.payload) - PAYLOAD_SHOWN
        click.echo(f"  from {explanation.address}, {explanation.form}, {len(explanation.payload):,} bytes:")
        click.echo(f"  {show.printable(text)}" + (f" ... and {more:,} more bytes" if more > 0 else ""))
    if explanation.missing:
        click.echo(f"  {explanation.missing}")


def _print_link(name: str, link: Link) -> None:
    values: dict[str, Any] = link.record.to_dict()
    kept = {
        key: value
        for key, value in values.items()
        if key not in {"index", "payload", "address", "details", "length", "bids", "asks", "form"}
        and value not in {"", -1}
        and not (key in {"ordinal", "source", "flags"} and value == 0)
    }
    for key in ("ts_recv", "ts_event"):
        if kept.get(key):
            kept[key] = show.moment(kept[key])
    fields = "  ".join(f"{key}={value}" for key, value in kept.items() if not isinstance(value, (list, dict)))
    click.echo(f"  {name:<5}  {link.queue} record {link.index} (segment {link.segment}, {link.place})")
    click.echo(f"         {fields}")
