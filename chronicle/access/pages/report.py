"""Reports: an instrument's quality, or its price and depth, as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chronicle.access.pages import charts
from chronicle.access.trust.quality import EDGES, Latency
from chronicle.core.errors import RangeError
from chronicle.core.times import format_ns

if TYPE_CHECKING:
    from chronicle.access.ranges.columns import Chunk
    from chronicle.access.store import Store

__all__ = ["Sampled", "depth_cells", "plot_page", "quality_page"]

POINTS = 400
DEPTH = 20
PRICE_ROWS = 96
_STATUS_COLOURS = {"gap": "#d1495b", "stale": "#d9a441", "crossed": "#8d5bc1", "unverified": "#9aa0a6"}
_STYLE = """body{font:14px sans-serif;margin:24px auto;max-width:960px;color:#222}table{border-collapse:collapse}
td,th{padding:3px 14px 3px 0;text-align:left}figure{margin:22px 0}figcaption{font-weight:600;margin-bottom:4px}
.grade{font-size:40px;font-weight:700}"""


class Sampled:
    """The books of one instrument at equally spaced moments of [start, end)."""

    def __init__(self, store: Store, symbol: str, start: Any, end: Any) -> None:
        covered = store.coverage(symbol, "book")
        self.symbol = covered.symbol
        first = covered.ts_first if start is None else max(start, covered.ts_first)
        last = covered.ts_last + 1 if end is None else min(end, covered.ts_last + 1)
        if last <= first:
            raise RangeError(
                f"no book of {self.symbol} lies in this range",
                expected=f"{format_ns(covered.ts_first)} to {format_ns(covered.ts_last)}",
            )
        self.start, self.end = first, last
        step = max(1, (last - first) // POINTS)
        self.books: Chunk = store.books(symbol, first, last, every=step, depth=DEPTH).to_numpy()
        self.xs = (_second(first), _second(last))

    @property
    def spread(self) -> NDArray[np.float64]:
        """Best ask minus best bid, NaN where a side is empty."""
        spread: NDArray[np.float64] = self.books["ask_price"][:, 0] - self.books["bid_price"][:, 0]
        return spread

    def depth_of(self, side: str) -> NDArray[np.float64]:
        """Size of the first levels of a side together."""
        depth: NDArray[np.float64] = self.books[f"{side}_size"].sum(axis=1)
        return depth

    def statuses(self) -> list[tuple[float, float, str, str]]:
        """Stretches of time whose book is not ``ok``, as shares of the range."""
        words = self.books["status"]
        found: list[tuple[float, float, str, str]] = []
        for row, word in enumerate(words.tolist()):
            if word == "ok":
                continue
            begin, until = row / len(words), (row + 1) / len(words)
            colour = _STATUS_COLOURS.get(word, "#000000")
            if found and found[-1][2] == colour and found[-1][1] == begin:
                found[-1] = (found[-1][0], until, colour, word)
            else:
                found.append((begin, until, colour, word))
        return found


def quality_page(store: Store, symbol: str, start: int | None = None, end: int | None = None) -> str:
    """Return the quality of `symbol` in [start, end) as HTML: counts, grade, latency, spread, depth, holes."""
    sampled = Sampled(store, symbol, start, end)
    quality = store.quality(symbol, start, end)
    gaps = store.gaps(symbol, sampled.start, sampled.end)
    span = sampled.end - sampled.start
    holes = [
        (
            max(0.0, (gap.last_good_ts - sampled.start) / span),
            min(1.0, ((gap.recovery_ts if gap.recovery_ts > 0 else sampled.end) - sampled.start) / span),
            "#7a1f2b",
            f"{gap.cause}, {gap.state}",
        )
        for gap in gaps
    ]
    told = quality.to_dict()
    rows = [
        ("events", quality.events),
        *((f"records: {name}", count) for name, count in quality.records.items()),
        ("checksums passed", quality.checks_passed),
        ("checksums failed", quality.checks_failed),
        ("gaps", quality.gaps),
        ("gaps still open", quality.gaps_open),
        ("time in closed gaps", f"{quality.gap_ns / 1e9:.3f} s of {quality.span_ns / 1e9:.0f} s"),
        ("snapshots of a crossed book", quality.snapshots_crossed),
        ("receive times clamped", quality.clamped),
        *((f"latency {name.removesuffix('_ns')}", _milli(told["latency"][name])) for name in _LATENCIES),
        ("received before they were sent", quality.latency.negative),
    ]
    parts = [
        f'<p>Grade <span class="grade">{quality.grade}</span></p>',
        _table(rows),
        charts.timeline("Trust in the book", sampled.xs, [*sampled.statuses(), *holes]),
        _latencies(quality.latency),
        charts.lines("Spread", sampled.xs, {"spread": sampled.spread}),
        _histogram("Spread, how often", sampled.spread),
        _histogram(f"Depth of {DEPTH} levels a side, how often", sampled.depth_of("bid") + sampled.depth_of("ask")),
    ]
    return _page(f"{sampled.symbol}: quality", sampled.xs, parts)


def plot_page(store: Store, symbol: str, start: int | None = None, end: int | None = None) -> str:
    """Return price, spread and a heat map of the depth of `symbol` in [start, end) as HTML."""
    sampled = Sampled(store, symbol, start, end)
    bid, ask = sampled.books["bid_price"][:, 0], sampled.books["ask_price"][:, 0]
    cells, low, high = depth_cells(sampled)
    parts = [
        charts.lines("Best prices", sampled.xs, {"bid": bid, "ask": ask}),
        charts.lines("Spread", sampled.xs, {"spread": sampled.spread}),
        charts.heat(f"Depth, {DEPTH} levels a side: bids blue, asks red", sampled.xs, low, high, cells),
        charts.timeline("Trust in the book", sampled.xs, sampled.statuses()),
    ]
    return _page(f"{sampled.symbol}: price and depth", sampled.xs, parts)


_LATENCIES = ("least_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "most_ns")


def depth_cells(sampled: Sampled) -> tuple[NDArray[np.float64], float, float]:
    """Return (cells, lowest price, highest price): sizes by price (rows, lowest first) and moment (columns).

    Cells are logarithms as shares of the greatest: bids above 0, asks below.
    """
    prices = np.concatenate((sampled.books["bid_price"], sampled.books["ask_price"]), axis=1)
    sizes = np.concatenate((sampled.books["bid_size"], -sampled.books["ask_size"]), axis=1)
    there = np.isfinite(prices)
    if not there.any():
        return np.zeros((1, 1)), 0.0, 1.0
    low, high = float(np.nanmin(prices)), float(np.nanmax(prices))
    places = np.zeros(prices.shape, dtype=np.int64)
    places[there] = ((prices[there] - low) / max(high - low, 1e-12) * (PRICE_ROWS - 1)).astype(np.int64)
    cells = np.zeros((PRICE_ROWS, len(prices)))
    columns = np.broadcast_to(np.arange(len(prices))[:, None], prices.shape)
    np.add.at(cells, (places[there], columns[there]), sizes[there])
    most = np.abs(cells).max()
    scaled = np.sign(cells) * np.log1p(np.abs(cells)) / np.log1p(most) if most > 0 else cells
    return scaled, low, high


def _latencies(latency: Latency) -> str:
    used = np.flatnonzero(latency.counts)
    if not len(used):
        return charts.bars("Latency (receive time minus the venue's)", [], [])
    first, last = int(used[0]), int(used[-1])
    counts = latency.counts[first : last + 1].tolist()
    marks = {}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        value = latency.quantile_ns(share)
        if value is not None and value > 0:
            place = int(np.searchsorted(EDGES, value)) - first
            marks[name] = min(1.0, max(0.0, place / len(counts)))
    labels = [_milli(int(edge)) for edge in EDGES[first : last + 1]]
    return charts.bars("Latency (receive time minus the venue's)", labels, counts, marks=marks)


def _histogram(title: str, values: NDArray[np.float64]) -> str:
    known = values[np.isfinite(values)]
    if not len(known):
        return charts.bars(title, [], [])
    counts, edges = np.histogram(known, bins=40)
    return charts.bars(title, [f"{edge:.6g}" for edge in edges[:-1]], counts.tolist())


def _milli(ns: int | None) -> str:
    return "-" if ns is None else f"{ns / 1e6:.3g} ms"


def _second(ns: int) -> str:
    return format_ns(ns)[:19] + "Z"


def _table(rows: Sequence[tuple[str, object]]) -> str:
    cells = "".join(
        f"<tr><td>{escape(name)}</td><td>{value:,}</td></tr>"
        if isinstance(value, int)
        else f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in rows
    )
    return f"<table>{cells}</table>"


def _page(title: str, xs: Sequence[str], parts: Sequence[str]) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1><p>{escape(xs[0])} to {escape(xs[-1])}</p>"
        f"{''.join(parts)}</body></html>\n"
    )
