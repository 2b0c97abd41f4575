"""``chronicle plot``: price, spread and depth of a range as one HTML file or a PNG image."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import TIME, home_option, need_home

_EPILOG = """\
\b
Examples:
  chronicle plot kraken:BTC-EUR -o btc.html --home data
  chronicle plot kraken:BTC-EUR -o btc.png --dpi 200 --home data
  chronicle plot binance:BTC-USDT --start 2024-08-09 --end 2024-08-09T00:05:00Z -o five.html --home data
\b
The page needs nothing else: lines are SVG, the heat map of the depth (20 levels a side, 400 moments) is an
image inside it. Moments whose book is not ok are marked. The ending of FILE decides: .html, or .png (extra plot).
"""


FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("plot", epilog=_EPILOG)
@click.argument("symbol")
@click.option("--start", type=TIME, help="From this time on.")
@click.option("--end", type=TIME, help="Up to, but not at, this time.")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="FILE.html or FILE.png."
)
@click.option("--dpi", type=click.IntRange(30, 600), default=120, show_default=True, help="Of a PNG: dots an inch.")
@home_option
def command(symbol: str, start: int | None, end: int | None, output: Path, dpi: int, home: Path) -> None:
    """Plot the book of SYMBOL."""
    import chronicle
    from chronicle.cli.rows import publish
    from chronicle.core.errors import ConfigError

    ending = output.suffix.lower()
    if ending not in (".html", ".htm", ".png"):
        raise ConfigError("a plot is a page or an image", expected="FILE.html or FILE.png", found=output.name)
    with chronicle.open(need_home(home)) as store:
        drawn = (
            store.plot_png(symbol, start, end, dpi=dpi) if ending == ".png" else store.plot_html(symbol, start, end)
        )
        publish(output, drawn)
    show.note(f"{symbol} to {output}")
