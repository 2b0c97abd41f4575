"""``chronicle feed simulate``: an exchange of our own, for tests of feeds and bots."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import click

from chronicle.cli import show

_EPILOG = """\
\b
Examples:
  chronicle feed simulate --venue okx --port 9000
  chronicle feed simulate kraken.jsonl.zst --speed 10 --port 9000
  chronicle feed simulate data/wire/main.q --fault drop=0.001 --fault disconnect=0.0001 --seed 7
  chronicle feed run --venue okx --symbol BTC-USDT --url ws://127.0.0.1:9000 --rest-url http://127.0.0.1:9000
\b
Faults, each with the share of market messages that it befalls: drop, delay, reorder, duplicate, checksum
(altered), disconnect (without a close frame), half_open (up, but mute and deaf), garbage (bytes that are no
message), giant (a frame of --giant-bytes). Equal seeds give equal faults for equal messages. The first line
printed is the port; the faults are counted in the last.
"""


@click.command("simulate", epilog=_EPILOG)
@click.argument("captures", nargs=-1, type=click.Path(path_type=Path), metavar="[CAPTURE...]")
@click.option("--format", "form", help="The capture's format; told by its content.")
@click.option(
    "--venue",
    help="Whose protocol, see above; of a capture what it does not say.",
)
@click.option("--speed", default="1", show_default=True, help="Of a capture: N times as recorded, or max.")
@click.option(
    "--rate", type=click.FloatRange(0, 100_000), default=200.0, show_default=True, help="Messages a second."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The randomness of market and faults.")
@click.option("--levels", type=click.IntRange(20, 5000), default=200, show_default=True, help="Levels of each side.")
@click.option("--fault", "faults", multiple=True, metavar="NAME=SHARE", help="What goes wrong; see below.")
@click.option("--fault-limit", type=click.IntRange(0), default=0, help="So many faults at most.  [default: no bound]")
@click.option("--fault-log", type=click.Path(path_type=Path), help="Write each fault as a JSON line.")
@click.option("--delay", type=click.FloatRange(0, 600), default=0.5, show_default=True, help="Seconds of a delay.")
@click.option("--giant-bytes", type=click.IntRange(1, 1 << 30), default=64 << 20, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on.  [default: a free one]")
@click.pass_context
def command(
    ctx: click.Context,
    captures: tuple[Path, ...],
    form: str | None,
    venue: str | None,
    speed: str,
    rate: float,
    seed: int,
    levels: int,
    faults: tuple[str, ...],
    fault_limit: int,
    fault_log: Path | None,
    delay: float,
    giant_bytes: int,
    host: str,
    port: int,
) -> None:
    """Serve an exchange over WebSocket and HTTP until stopped.

    With CAPTURE files (of any format that `feed replay` takes) it plays what their venue sent; without any, a seeded
    market speaks as kraken, okx, binance, bitget, coinbase-exchange or polygon.
    """
    import asyncio

    from chronicle.cli.stopping import stopping
    from chronicle.feed.replay import speed_factor
    from chronicle.feed.simulator import FaultInjector, SimulatedExchange
    from chronicle.feed.simulator.playback import PlaybackExchange, load_recording

    injector = FaultInjector(
        parse_faults(faults), seed=seed, delay_seconds=delay, giant_bytes=giant_bytes, limit=fault_limit
    )
    exchange: SimulatedExchange | PlaybackExchange
    if captures:
        recording = load_recording(captures, format=form, venue=venue)
        exchange = PlaybackExchange(recording, speed=speed_factor(speed), injector=injector, host=host, port=port)
    else:
        exchange = SimulatedExchange(
            venue=venue or "kraken", seed=seed, rate=rate, depth=levels, host=host, port=port, injector=injector
        )

    with stopping() as stopper, ExitStack() as files:
        if fault_log is not None:
            injector.tell = fault_writer(files, fault_log)

        async def serve() -> None:
            async with exchange:
                click.echo(exchange.port)
                while not stopper.event.is_set():  # noqa: ASYNC110 - a signal sets a thread's event
                    await asyncio.sleep(0.05)

        asyncio.run(serve())
    counts = ", ".join(f"{count} {name}" for name, count in sorted(injector.counts.items()))
    show.note(f"{injector.message_count:,} market messages; faults: {counts or 'none'}")
    ctx.exit(stopper.exit_code)


def parse_faults(texts: tuple[str, ...]) -> dict[str, float]:
    """Return the shares in texts such as ``drop=0.01``.

    Raises
    ------
    ConfigError
        When one is not NAME=SHARE.
    """
    from chronicle.core.errors import ConfigError

    found = {}
    for text in texts:
        name, mark, share = text.partition("=")
        try:
            found[name.strip()] = float(share)
        except ValueError:
            mark = ""
        if not mark:
            raise ConfigError("a fault cannot be read", expected="NAME=SHARE, as drop=0.01", found=text)
    return found


def fault_writer(files: ExitStack, path: Path) -> Callable[[str, str], None]:
    """Return what writes each fault as a JSON line to `path`, which `files` closes.

    Raises
    ------
    StoreError
        When the file cannot be made.
    """
    import json

    from chronicle.core.errors import StoreError

    try:
        file = files.enter_context(path.open("w", encoding="utf-8"))
    except OSError as error:
        raise StoreError(f"cannot write the faults: {error.strerror or error}", path=path) from error
    number = count(1)

    def tell(fault: str, message: str) -> None:
        file.write(json.dumps({"number": next(number), "fault": fault, "message": message}) + "\n")
        file.flush()

    return tell
