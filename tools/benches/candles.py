"""Trades into candles of all nine timeframes; peer: polars, one timeframe in one batch.

Part of the topic etl, and alone: ``python -m tools.benches.candles``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chronicle.core.layout import Kind
from chronicle.etl.config import TIMEFRAMES
from chronicle.etl.kernels import candles as kernel
from tools.benches.figure import Figure, best_ns

TRADES = 500_000
RECORD_WORDS = 11
START = 1_709_000_000_000_000_000


def run() -> Iterator[Figure]:
    """Yield ns a trade: dense (25 a second) and sparse (one in two seconds)."""
    for name, interval_ns in (("", 40_000_000), ("_sparse", 2_000_000_000)):
        words = _trades(interval_ns)
        ours = best_ns(_ours(words), 5) / TRADES
        yield Figure(f"etl.candle_ns{name}", ours, "ns", TRADES, *_polars(words))


def _trades(interval_ns: int) -> Any:
    """Return int64[TRADES, 11]: TRADE records, a random walk at exponential distances."""
    generator = np.random.default_rng(11)
    words = np.zeros((TRADES, RECORD_WORDS), dtype=np.int64)
    words[:, 0] = RECORD_WORDS * 8 | int(Kind.TRADE) << 32 | 128 << 48
    words[:, 0] |= generator.choice([65, 66], TRADES) << 56
    words[:, 2] = START + np.cumsum(generator.exponential(interval_ns, TRADES).astype(np.int64))
    words[:, 1] = words[:, 2] + 1_000_000
    words[:, 3] = np.arange(TRADES)
    words[:, 6] = 6_000_000 + np.cumsum(generator.integers(-5, 6, TRADES))
    words[:, 7] = generator.integers(1, 10**9, TRADES)
    return words


def _ours(words: Any) -> Any:
    flat = words.reshape(-1)
    starts = np.arange(TRADES + 1, dtype=np.int64) * RECORD_WORDS
    ends = np.arange(1, TRADES + 1, dtype=np.int64)
    spans = np.array([seconds * 1_000_000_000 for seconds in TIMEFRAMES.values()], dtype=np.int64)
    bars = np.zeros((len(spans), kernel.FIELDS), dtype=np.int64)
    history = np.zeros((len(spans), kernel.HISTORY, kernel.FIELDS), dtype=np.int64)
    floors, registers = np.zeros(len(spans), dtype=np.int64), np.zeros(kernel.REGISTERS, dtype=np.int64)
    out, scratch = np.zeros(4096 * kernel.CANDLE_WORDS, dtype=np.int64), np.zeros(18, dtype=np.int64)
    out_starts, out_ends = np.zeros(4097, dtype=np.int64), np.zeros(4096, dtype=np.int64)

    def call() -> None:
        bars[:] = history[:] = 0
        bars[:, 0] = history[:, :, 0] = kernel.EMPTY
        floors[:] = kernel.EMPTY
        event = 0
        while event < TRADES:
            event = kernel.take_trades(
                bars,
                history,
                floors,
                spans,
                registers,
                flat,
                starts,
                ends,
                event,
                out,
                out_starts,
                out_ends,
                scratch,
            )

    call()
    return call


def _polars(words: Any) -> tuple[str, float] | tuple[None, None]:
    try:
        import polars
    except ImportError:
        return None, None
    frame = polars.DataFrame({"ts": words[:, 2], "price": words[:, 6] / 100, "size": words[:, 7] / 1e8}).with_columns(
        polars.col("ts").cast(polars.Datetime("ns"))
    )
    price, size = polars.col("price"), polars.col("size")

    def call() -> None:
        frame.group_by_dynamic("ts", every="1m").agg(
            price.first().alias("open"),
            price.max().alias("high"),
            price.min().alias("low"),
            price.last().alias("close"),
            size.sum().alias("volume"),
            (price * size).sum().alias("notional"),
            price.len().alias("count"),
        )

    call()
    return "polars, 1m alone, in one batch", best_ns(call, 5) / TRADES


if __name__ == "__main__":
    for figure in run():
        print(figure.to_line())
