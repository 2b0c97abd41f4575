"""``python -m chronicle.feed.simulator``: the simulated exchange as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from chronicle.feed.simulator.market import DEFAULT_PAIRS
from chronicle.feed.simulator.server import Faults, SimulatedExchange


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; the first line printed is the port."""
    parser = argparse.ArgumentParser(
        prog="python -m chronicle.feed.simulator",
        description="A simulated exchange on loopback; it speaks Kraken's WebSocket protocol v1, with checksums.",
    )
    names = [pair.name for pair in DEFAULT_PAIRS]
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one (default)")
    parser.add_argument("--seed", type=int, default=1, help="the market's randomness (default 1)")
    parser.add_argument("--rate", type=float, default=200.0, help="market messages a second (default 200)")
    parser.add_argument("--depth", type=int, default=200, help="levels of each side (default 200)")
    parser.add_argument("--pairs", default=",".join(names), help=f"of {','.join(names)} (default: all)")
    parser.add_argument("--drop-every", type=int, default=0, help="lose a book update at every N-th message")
    parser.add_argument("--corrupt-every", type=int, default=0, help="send a wrong checksum at every N-th message")
    parser.add_argument("--close-every", type=int, default=0, help="cut all connections at every N-th message")
    options = parser.parse_args(arguments)
    wanted = options.pairs.split(",")
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        parser.error(f"unknown pairs {','.join(unknown)}; there are {','.join(names)}")
    exchange = SimulatedExchange(
        seed=options.seed,
        pairs=tuple(pair for pair in DEFAULT_PAIRS if pair.name in wanted),
        rate=options.rate,
        depth=options.depth,
        host=options.host,
        port=options.port,
        faults=Faults(options.drop_every, options.corrupt_every, options.close_every),
    )
    asyncio.run(_serve(exchange))
    return 0


async def _serve(exchange: SimulatedExchange) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with exchange:
        sys.stdout.write(f"{exchange.port}\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    sys.exit(main())
