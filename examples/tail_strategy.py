"""A strategy that tails a raw queue and reacts to trades; prints how long the way from append to reaction was.

    python examples/tail_strategy.py                      # writer and strategy, 2 s, a queue made for it
    python examples/tail_strategy.py --queue HOME/raw/main.q --seconds 60   # beside a running feed

The strategy keeps a moving average of the trade price and "reacts" when a trade leaves it by more than a threshold.
Its position is kept under the name ``example-strategy``: started again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from chronicle.core import EventBuilder, Kind, Queue, Side
from chronicle.core.layout import GAP_BODY, TRADE_BODY

NAME = "example-strategy"
RATE_PER_S = 5_000


class MeanReversion:
    """Reacts to trades that leave the moving average of the last `length` by more than `threshold` mantissas."""

    def __init__(self, length: int = 64, threshold: int = 40) -> None:
        self.length, self.threshold = length, threshold
        self.prices: list[int] = []
        self.reactions = 0

    def on_trade(self, price: int) -> bool:
        """Take a trade; return whether it calls for an order."""
        self.prices.append(price)
        if len(self.prices) <= self.length:
            return False
        mean = sum(self.prices[-self.length - 1 : -1]) // self.length
        del self.prices[: -self.length]
        if abs(price - mean) <= self.threshold:
            return False
        self.reactions += 1
        return True


def run_strategy(path: Path, is_over: Callable[[], bool], *, spin: bool) -> dict[str, object]:
    """Tail the queue until `is_over` and all is read; return counts and the latencies in ns, by power of two."""
    strategy, latencies, missed = MeanReversion(), [], 0
    with Queue.open(path).tailer(NAME) as tailer:
        wait = tailer.spin if spin else tailer.wait
        wait(0)  # loads the compiled spin before the first trade
        while True:
            over = is_over()
            event = tailer.next_event()
            if event is None:
                if over:
                    break
                wait(20_000_000)  # returns at once when something comes, at the latest after 20 ms: Ctrl-C works
                continue
            for record in event:
                if record.kind == Kind.TRADE:
                    strategy.on_trade(TRADE_BODY.unpack_from(record.body)[0])
                    latencies.append(time.time_ns() - record.ts_recv)
                elif record.kind == Kind.GAP:  # retention went past us: records are missing, start the average anew
                    _, _, first, last, *_ = GAP_BODY.unpack_from(record.body)
                    missed += last - first + 1
                    strategy.prices.clear()
        tailer.commit()
        lag = tailer.lag()
    return {
        "trades": len(latencies),
        "reactions": strategy.reactions,
        "missed": missed,
        "lag": lag,
        **quantiles(sorted(latencies)),
        "histogram_ns": histogram(latencies),
    }


def quantiles(ordered: list[int]) -> dict[str, int]:
    """Return p50, p99 and the worst of sorted ns."""
    if not ordered:
        return {}
    shares = {"p50_ns": 0.5, "p99_ns": 0.99, "max_ns": 1.0}
    return {name: ordered[min(int(len(ordered) * share), len(ordered) - 1)] for name, share in shares.items()}


def histogram(values: list[int]) -> dict[str, int]:
    """Return counts by power of two: {"<2048": 17, ...}."""
    counts: dict[int, int] = {}
    for value in values:
        bound = 1 << max(value, 1).bit_length()
        counts[bound] = counts.get(bound, 0) + 1
    return {f"<{bound}": counts[bound] for bound in sorted(counts)}


def write_trades(path: str, seconds: float) -> None:
    """Append a random walk of trades, one every 1/RATE_PER_S s, as a feed would."""
    price, seed, out = 1_000_000, 12345, EventBuilder()
    with Queue.open(path).appender() as appender:
        end, due = time.monotonic() + seconds, time.monotonic()
        while due < end:
            due += 1 / RATE_PER_S
            time.sleep(max(0.0, due - time.monotonic()))
            seed = (seed * 1_103_515_245 + 12_345) % 2**31
            price += seed // 65_536 % 41 - 20
            out.begin(time.time_ns())
            out.trade(1, Side.BID, price, 10, ts_event=0)
            appender.append_event(*out.take())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queue", type=Path, help="a raw queue that something writes; default: one made for it")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--spin", action="store_true", help="burn a core instead of sleeping on the futex")
    options = parser.parse_args()
    if options.queue is not None:
        end = time.monotonic() + options.seconds
        result = run_strategy(options.queue, lambda: time.monotonic() > end, spin=options.spin)
        print(json.dumps(result, indent=1))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "main.q"
        Queue.create(path, segment_bytes=1 << 20)
        context = multiprocessing.get_context("spawn")
        writer = context.Process(target=write_trades, args=(str(path), options.seconds))
        writer.start()
        result = run_strategy(path, lambda: not writer.is_alive(), spin=options.spin)
        writer.join()
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
