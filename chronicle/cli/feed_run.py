"""``chronicle feed run``: live connections."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option
from chronicle.config.settings import Settings
from chronicle.core.errors import ConfigError

if TYPE_CHECKING:
    from chronicle.feed.dialects import FeedSpec

_EPILOG = """\
\b
Examples:
  chronicle feed run --venue kraken --symbol BTC-USD --symbol ETH-USD --home data
  chronicle feed run --venue okx --symbol okx:BTC-USDT-SWAP --channel book --channel trade --home data
  chronicle feed run --venue binance --symbol BTC-USDT --lines 2 --http 127.0.0.1:9108 --log json
  POLYGON_API_KEY=... chronicle feed run --venue polygon --symbol AAPL --symbol EUR-USD --home data
  chronicle feed run --home data                    the connections of [[feeds]] and [[multicast]]
  chronicle feed run --queue kraken --home data     those with queue = "kraken", into raw/kraken.q
\b
Symbols may be written as BTC-USD, kraken:BTC-USD or as the venue does (XBT/USD). A lost connection
comes back with a delay from 1 s to 60 s and asks for fresh snapshots; a book that falls silent on a line
that is up is asked for anew. SIGTERM or Ctrl-C end in order: intake stops, the end is recorded,
everything is made durable. `chronicle feed top` watches it from another terminal. NASDAQ and IEX come by
multicast: [[multicast]] in chronicle.toml names their groups, interface and re-request server.
"""


@click.command("run", epilog=_EPILOG)
@click.option("--venue", help="Which venue; `chronicle feed venues` lists them. Without it: [[feeds]].")
@click.option("--symbol", "symbols", multiple=True, help="An instrument; may be repeated, or separated by commas.")
@click.option(
    "--channel",
    "channels",
    multiple=True,
    type=click.Choice(["book", "trade", "quote"]),
    help="Default: all three.",
)
@click.option("--depth", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Depth of the book.")
@click.option("--url", default="", help="The WebSocket's address; default the venue's public one.")
@click.option("--rest-url", help="Root of the venue's HTTP interface, for lists and snapshots.")
@click.option("--queue", help="Name of the raw and wire queue.  [default: main, or the only one of [[feeds]]]")
@click.option("--lines", type=click.IntRange(1, 8), default=1, show_default=True, help="Redundant connections.")
@click.option("--key-env", default="", help="Environment variable with the venue's key.  [default: POLYGON_API_KEY]")
@click.option("--http", help="Serve /healthz, /readyz and /metrics there, as 127.0.0.1:9108.")
@click.option("--log", type=click.Choice(["text", "json", "off"]), help="What is told on stderr.  [default: text]")
@home_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    venue: str | None,
    symbols: tuple[str, ...],
    channels: tuple[str, ...],
    depth: int,
    url: str,
    rest_url: str | None,
    queue: str | None,
    lines: int,
    key_env: str,
    http: str | None,
    log: str | None,
    home: Path,
    as_json: bool,
) -> None:
    """Connect to a venue and append what arrives to wire/main.q and raw/main.q, until stopped.

    Several processes may capture into one home, each with a --queue of its own and its own instruments. A home
    that is not there yet is made as `chronicle init` would.
    """
    from chronicle.cli.stopping import stopping
    from chronicle.config import load_settings
    from chronicle.config.home import prepare_home
    from chronicle.core.clock import SystemClock
    from chronicle.feed.dialects import FeedSpec, dialects_for
    from chronicle.feed.health import HealthSettings
    from chronicle.feed.http import parse_address
    from chronicle.feed.live import run_feed
    from chronicle.feed.log import EventLog
    from chronicle.feed.multicast import MulticastSpec, check_spec
    from chronicle.feed.symbology import venue_name

    settings = load_settings(home, os.environ)
    multicast: list[MulticastSpec] = []
    if venue is None:
        queue, feeds = configured_feeds(settings, queue, given=bool(symbols or channels or url))
        wanted_multicast = [asdict(item) for item in settings.multicast if item.queue == queue]
        multicast = [MulticastSpec(**{k: v for k, v in item.items() if k != "queue"}) for item in wanted_multicast]
    else:
        name = venue_name(venue)
        names = [part.strip() for text in symbols for part in text.split(",") if part.strip()]
        wanted = tuple(part if ":" in part else f"{name}:{part}" for part in names)
        wanted_channels = channels or ("book", "trade", "quote")
        key = key_of(name, key_env)
        feeds = [FeedSpec(name, url, wanted, wanted_channels, depth, rest_url, lines, key=key)]
        queue = _checked(queue or "main")
    for feed in feeds:
        dialects_for(feed)  # what cannot be run is refused before a home is made
    for spec in multicast:
        check_spec(spec)
    address = http if http is not None else settings.feed.http
    served = parse_address(address) if address else None
    prepare_home(home, os.environ, show.note)
    with stopping() as stopper:
        if not as_json:
            for feed in feeds:
                click.echo(f"feed of {home}: {feed.venue} {', '.join(feed.symbols)} ({', '.join(feed.channels)})")
            for spec in multicast:
                click.echo(f"feed of {home}: {spec.venue} from {', '.join(spec.groups)}")
        report = run_feed(
            home,
            feeds,
            stopper.event,
            multicast=multicast,
            health=HealthSettings(stall_seconds=settings.feed.stall_after_ns / 1e9),
            http=served,
            log=EventLog(SystemClock(), show.note, log or settings.feed.log),
            segment_bytes=settings.raw.segment_bytes,
            cycle_ns=settings.raw.cycle_ns,
            name=queue,
        )
    if as_json:
        show.echo_json(report.to_dict())
    else:
        click.echo(
            f"{report.frames:,} frames, {report.records:,} records to {report.raw}; {report.connects} connects, "
            f"{report.failures} failures, {report.resyncs} resyncs, {report.decode_errors} decode errors"
        )
    ctx.exit(stopper.exit_code)


def key_of(venue: str, variable: str) -> str:
    """Return the venue's key from the environment, empty for a venue that wants none.

    Raises
    ------
    ConfigError
        When a variable was named that is not there.
    """
    from chronicle.feed.dialects import KEY_VARIABLES

    key = os.environ.get(variable or KEY_VARIABLES.get(venue, ""), "").strip()
    if variable and not key:
        raise ConfigError("the key of a feed is not there", expected=f"the environment variable {variable}")
    return key


def _checked(queue: str) -> str:
    from chronicle.config.values import queue_name

    try:
        return queue_name(queue)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def configured_feeds(settings: Settings, queue: str | None, *, given: bool) -> tuple[str, list[FeedSpec]]:
    """Return the connections of ``[[feeds]]`` for one queue, and its name.

    Raises
    ------
    ConfigError
        When there are none, they are for several queues and none is named, or options were given that only make
        sense with --venue.
    """
    from chronicle.feed.dialects import FeedSpec
    from chronicle.feed.symbology import venue_name

    if given:
        raise ConfigError("--symbol, --channel and --url need --venue", hint="chronicle feed venues lists the venues")
    if not settings.feeds and not settings.multicast:
        raise ConfigError(
            "which venue? none was named, and chronicle.toml has no [[feeds]] and no [[multicast]]",
            hint="chronicle feed run --venue kraken --symbol BTC-USD",
        )
    queues = [*(feed.queue for feed in settings.feeds), *(item.queue for item in settings.multicast)]
    names = list(dict.fromkeys(queues))
    if queue is None and len(names) == 1:
        queue = names[0]
    if queue not in names:
        told = "[[feeds]] and [[multicast]] are for several queues: which one is this?"
        raise ConfigError(
            told if queue is None else f"no [[feeds]] and no [[multicast]] are for the queue {queue!r}",
            expected=", ".join(names),
            hint="give --queue NAME",
        )
    return queue, [
        FeedSpec(
            venue_name(feed.venue),
            feed.url,
            tuple(text if ":" in text else f"{venue_name(feed.venue)}:{text}" for text in feed.symbols),
            feed.channels,
            feed.depth,
            feed.rest_url or None,
            feed.lines,
            key=key_of(venue_name(feed.venue), feed.key_env),
        )
        for feed in settings.feeds
        if feed.queue == queue
    ]
