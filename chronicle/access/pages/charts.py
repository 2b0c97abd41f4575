"""Charts as inline SVG: lines, bars, a timeline and a heat map, from plain numbers. Pure functions of their input."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

__all__ = ["bars", "heat", "lines", "timeline"]

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 900, 220, 78, 26, 10
TICKS = 5
COLOURS = ("#2a7de1", "#d1495b", "#3a9d5d", "#8d5bc1")


def lines(title: str, xs: Sequence[str], series: dict[str, NDArray[np.float64]], *, unit: str = "") -> str:
    """Return a chart of lines over equally spaced points.

    Parameters
    ----------
    xs : sequence of str
        Labels of the first and the last point.
    series : dict of str to float64[n]
        One line each; NaN breaks it.
    """
    values = np.concatenate([one[np.isfinite(one)] for one in series.values()] or [np.zeros(0)])
    if not len(values):
        return _frame(title, '<text x="450" y="110" text-anchor="middle">nothing to draw</text>')
    low, high = float(values.min()), float(values.max())
    if high <= low:
        low, high = low - abs(low) * 0.01 - 1e-9, high + abs(high) * 0.01 + 1e-9
    parts = [_axes(low, high, unit), _span(xs)]
    for number, (name, one) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        parts += [f'<polyline fill="none" stroke="{colour}" points="{run}"/>' for run in _runs(one, low, high)]
        parts.append(f'<text x="{LEFT + 8 + 150 * number}" y="{TOP + 12}" fill="{colour}">{escape(name)}</text>')
    return _frame(title, "".join(parts))


def bars(title: str, labels: Sequence[str], counts: Sequence[int], *, marks: dict[str, float] | None = None) -> str:
    """Return a histogram; `marks` are labelled places on the axis, as shares of its length."""
    most = max(counts, default=0)
    if not most:
        return _frame(title, '<text x="450" y="110" text-anchor="middle">nothing to draw</text>')
    width = (WIDTH - LEFT) / len(counts)
    parts = [_axes(0, most, "")]
    for number, count in enumerate(counts):
        tall = (HEIGHT - TOP - BOTTOM) * count / most
        x, y, wide = LEFT + number * width, HEIGHT - BOTTOM - tall, max(width - 0.5, 0.5)
        parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}" fill="{COLOURS[0]}"/>')
    every = max(1, len(labels) // 9)
    parts += [
        f'<text x="{LEFT + number * width:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(labels[number])}</text>'
        for number in range(0, len(labels), every)
    ]
    for name, share in (marks or {}).items():
        x = LEFT + share * (WIDTH - LEFT)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="{COLOURS[1]}"/>')
        parts.append(f'<text x="{x + 3:.1f}" y="{TOP + 10}" fill="{COLOURS[1]}">{escape(name)}</text>')
    return _frame(title, "".join(parts))


def timeline(title: str, xs: Sequence[str], stretches: Sequence[tuple[float, float, str, str]]) -> str:
    """Return a line of time with stretches (start share, end share, colour, tooltip) on it."""
    parts = [f'<rect x="{LEFT}" y="30" width="{WIDTH - LEFT}" height="30" fill="#dfeee3"/>']
    for start, end, colour, words in stretches:
        x, width = LEFT + start * (WIDTH - LEFT), max((end - start) * (WIDTH - LEFT), 1.5)
        parts.append(
            f'<rect x="{x:.1f}" y="30" width="{width:.1f}" height="30" fill="{escape(colour)}">'
            f"<title>{escape(words)}</title></rect>"
        )
    parts.append(f'<text x="{LEFT}" y="80">{escape(xs[0])}</text>')
    parts.append(f'<text x="{WIDTH}" y="80" text-anchor="end">{escape(xs[-1])}</text>')
    return _frame(title, "".join(parts), height=90)


def heat(title: str, xs: Sequence[str], low: float, high: float, cells: NDArray[np.float64]) -> str:
    """Return a heat map: cells float64[rows, columns] from 0 to 1, the first row at `low`, signed by side.

    Positive cells are drawn in the first colour (bids), negative ones in the second (asks).
    """
    strength = np.clip(np.abs(np.nan_to_num(cells)), 0, 1)[::-1, :, None]
    tint = np.where((cells >= 0)[::-1, :, None], np.array([42, 125, 225]), np.array([209, 73, 91]))
    pixels = (255 - (255 - tint) * np.sqrt(strength)).astype(np.uint8)
    image = base64.b64encode(_png(pixels)).decode()
    tall = 2 * HEIGHT - TOP - BOTTOM
    picture = (
        f'<image x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT}" height="{tall}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{image}"/>'
    )
    axes = _axes(low, high, "", height=2 * HEIGHT)
    return _frame(title, axes + picture + _span(xs, height=2 * HEIGHT), height=2 * HEIGHT)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Return uint8[rows, columns, 3] as a PNG (RFC 2083: signature, IHDR, IDAT, IEND)."""
    rows, columns, _ = pixels.shape
    raw = np.zeros((rows, 1 + columns * 3), dtype=np.uint8)
    raw[:, 1:] = pixels.reshape(rows, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw.tobytes(), 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _runs(values: NDArray[np.float64], low: float, high: float) -> list[str]:
    """Return the points of each unbroken run of a line."""
    xs = LEFT + np.arange(len(values)) * (WIDTH - LEFT) / max(1, len(values) - 1)
    ys = HEIGHT - BOTTOM - (values - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
    runs: list[str] = []
    held: list[str] = []
    for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
        if y == y:
            held.append(f"{x:.1f},{y:.1f}")
        elif held:
            runs.append(" ".join(held))
            held = []
    return [*runs, " ".join(held)] if held else runs


def _axes(low: float, high: float, unit: str, *, height: int = HEIGHT) -> str:
    parts = []
    for value in round_ticks(low, high):
        y = height - BOTTOM - (height - TOP - BOTTOM) * (value - low) / (high - low)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.10g}{escape(unit)}</text>')
    return "".join(parts)


def round_ticks(low: float, high: float) -> list[float]:
    """Return the multiples of 1, 2 or 5 times a power of ten in [low, high]: at most TICKS + 1, at least two."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough * (1 - 1e-9))
    places = max(0, 1 - math.floor(math.log10(step)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, places) for number in range(first, last + 1)]


def _span(xs: Sequence[str], *, height: int = HEIGHT) -> str:
    first, last = escape(xs[0]), escape(xs[-1])
    return (
        f'<text x="{LEFT}" y="{height - 8}">{first}</text>'
        f'<text x="{WIDTH}" y="{height - 8}" text-anchor="end">{last}</text>'
    )


def _frame(title: str, inside: str, *, height: int = HEIGHT) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {WIDTH + 4} {height}" font-family="sans-serif" font-size="11">{inside}</svg></figure>'
    )
