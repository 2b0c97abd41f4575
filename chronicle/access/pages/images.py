"""Images: price, spread and a heat map of the depth as PNG, by matplotlib (extra ``plot``), without a display."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

from chronicle.access.libraries import library
from chronicle.access.pages.report import DEPTH, Sampled, depth_cells
from chronicle.core.errors import ConfigError

if TYPE_CHECKING:
    from chronicle.access.store import Store

__all__ = ["plot_image"]

INCHES = (11.0, 8.5)
DPI_MAX = 600


def plot_image(
    store: Store, symbol: str, start: int | None = None, end: int | None = None, *, dpi: int = 120
) -> bytes:
    """Return price, spread, depth and trust of `symbol` in [start, end) as a PNG.

    Raises
    ------
    ConfigError
        When matplotlib is not installed, or `dpi` is out of 30 to 600.
    """
    if not 30 <= dpi <= DPI_MAX:
        raise ConfigError("an image has so many dots an inch", expected=f"30 to {DPI_MAX}", found=dpi)
    library("matplotlib", "plot")
    from matplotlib.dates import AutoDateFormatter, AutoDateLocator, date2num
    from matplotlib.figure import Figure

    sampled = Sampled(store, symbol, start, end)
    times = date2num([datetime.fromtimestamp(ts / 1e9, tz=UTC) for ts in sampled.books["ts_recv"].tolist()])
    figure = Figure(figsize=INCHES, layout="constrained")
    price, spread, depth = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 4))
    for side, colour in (("bid", "#2a7de1"), ("ask", "#d1495b")):
        price.plot(times, sampled.books[f"{side}_price"][:, 0], color=colour, linewidth=1, label=f"best {side}")
    price.set_title(f"{sampled.symbol}, {sampled.xs[0]} to {sampled.xs[1]}")
    price.legend(loc="upper left")
    price.set_ylabel("price")
    spread.plot(times, sampled.spread, color="#3a9d5d", linewidth=1)
    spread.set_ylabel("spread")
    _heat(depth, sampled, times)
    for axes in (price, spread, depth):
        for first, last, colour, _ in sampled.statuses():
            reach = times[-1] - times[0]
            axes.axvspan(times[0] + first * reach, times[0] + last * reach, color=colour, alpha=0.25, linewidth=0)
        axes.ticklabel_format(axis="y", useOffset=False)
    locator = AutoDateLocator()
    depth.xaxis.set_major_locator(locator)
    depth.xaxis.set_major_formatter(AutoDateFormatter(locator))
    depth.set_xlabel("ts_recv, UTC")
    out = BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()


def _heat(axes: Any, sampled: Sampled, times: Any) -> None:
    """Draw the depth: bids blue, asks red, on a logarithmic scale of sizes."""
    cells, low, high = depth_cells(sampled)
    extent = (times[0], max(times[-1], times[0] + 1e-9), low, max(high, low + 1e-12))
    axes.imshow(cells, origin="lower", aspect="auto", extent=extent, cmap="RdBu", vmin=-1, vmax=1)
    axes.set_ylabel(f"depth, {DEPTH} levels a side")
