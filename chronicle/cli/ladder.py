"""A book as a ladder: asks above, bids below, bars for size, and a line that says how far to trust it.

The lines are spans of (text, style): :func:`chronicle.cli.show.echo_spans` colours them on a terminal and prints
plain text elsewhere. Numbers are the exact decimal strings of ``Book.to_dict()``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chronicle.config.units import format_duration
from chronicle.core.times import format_ns

if TYPE_CHECKING:
    from chronicle.access import Book

__all__ = ["ladder_input", "ladder_lines"]

Span = tuple[str, str]
BAR_WIDTH = 28
_EIGHTHS = " ▏▎▍▌▋▊▉"
STATUS_STYLES = {
    "ok": "bold green",
    "gap": "bold red",
    "stale": "bold yellow",
    "crossed": "bold magenta",
    "unverified": "bold yellow",
}
_TRUST = {
    "ok": "the sequence is unbroken since a venue snapshot",
    "gap": "messages are missing: do not trust these levels until the next venue snapshot",
    "stale": "the feed was lost, or the ETL has not come this far",
    "crossed": "the best bid is above the best ask",
    "unverified": "no venue snapshot started this book",
}


def ladder_lines(book: Mapping[str, Any]) -> list[list[Span]]:
    """Return the lines of a ladder for a book of ``Book.to_dict()`` shape.

    Parameters
    ----------
    book : mapping
        ``symbol``, ``ts_recv`` (int ns), ``status``, ``bids`` and ``asks`` (best first, decimal strings); where
        present also ``verified_by``, ``snapshot_age_ns``, ``source`` and ``cost``.
    """
    bids, asks = list(book.get("bids") or []), list(book.get("asks") or [])
    lines = [_heading(book)]
    if not bids and not asks:
        lines.append([("  the book is empty", "dim")])
    shown = _aligned([*bids, *asks])
    widths = _widths(shown)
    largest = max((Decimal(level[1]) for level in [*bids, *asks]), default=Decimal(0))
    lines += [_level(level, "ask", largest, widths) for level in reversed(shown[len(bids) :])]
    lines.append(_middle(bids, asks, widths))
    lines += [_level(level, "bid", largest, widths) for level in shown[: len(bids)]]
    lines.append(_trust(book))
    return lines


def _heading(book: Mapping[str, Any]) -> list[Span]:
    status = str(book.get("status", ""))
    moment = book.get("ts_recv")
    when = format_ns(moment) if isinstance(moment, int) and moment > 0 else "no event yet"
    return [
        (str(book.get("symbol", "")), "bold"),
        (f"  {when}  ", ""),
        (status, STATUS_STYLES.get(status, "bold")),
    ]


def _aligned(levels: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return (price, size) texts padded behind, so that their decimal points stand below one another."""
    columns = []
    for at in (0, 1):
        texts = [str(level[at]) for level in levels]
        behind = [len(text.partition(".")[2]) + ("." in text) for text in texts]
        columns.append([text + " " * (max(behind) - used) for text, used in zip(texts, behind, strict=True)])
    return [list(pair) for pair in zip(*columns, strict=True)] if levels else []


def _widths(levels: Sequence[Sequence[str]]) -> tuple[int, int]:
    price = max((len(str(level[0])) for level in levels), default=5)
    size = max((len(str(level[1])) for level in levels), default=4)
    return max(price, 8), max(size, 8)


def _level(level: Sequence[str], side: str, largest: Decimal, widths: tuple[int, int]) -> list[Span]:
    style = "green" if side == "bid" else "red"
    price, size = str(level[0]), str(level[1])
    return [
        (f"  {side}  ", "dim"),
        (price.rjust(widths[0]), style),
        (f"  {size.rjust(widths[1])}  ", ""),
        (_bar(Decimal(size.strip()), largest), style),
    ]


def _bar(size: Decimal, largest: Decimal) -> str:
    if largest <= 0 or size <= 0:
        return ""
    eighths = max(1, int(size * BAR_WIDTH * 8 / largest))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def _middle(bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]], widths: tuple[int, int]) -> list[Span]:
    if not bids or not asks:
        side = "asks" if bids else "bids" if asks else "levels"
        return [(f"  {'-' * (widths[0] + widths[1] + 8)}  no {side}", "dim")]
    bid, ask = Decimal(str(bids[0][0])), Decimal(str(asks[0][0]))
    middle = (bid + ask) / 2
    spread = ask - bid
    points = f"  {spread / middle * 10_000:.2f} bp" if middle > 0 else ""
    text = f"  spread {spread:f}{points}   mid {middle:f}"
    return [(text, "bold" if spread >= 0 else "bold magenta")]


def _trust(book: Mapping[str, Any]) -> list[Span]:
    status = str(book.get("status", ""))
    parts = [_TRUST.get(status, status)]
    verified = book.get("verified_by")
    if verified and status == "ok":
        parts.append(f"verified by {verified}")
    age = book.get("snapshot_age_ns")
    if isinstance(age, int) and age >= 0:
        parts.append(f"snapshot {format_duration(age)} before")
    source = book.get("source")
    if isinstance(source, Mapping):
        parts += [f"from {source['place']}"] if source.get("place") else []
    cost = book.get("cost")
    if isinstance(cost, Mapping):
        parts.append(f"{cost.get('deltas_replayed', 0):,} deltas replayed")
        parts += [f"{cost['requests']} requests"] if cost.get("requests") else []
    return [(f"  {status}: " + " · ".join(parts), STATUS_STYLES.get(status, "").removeprefix("bold ") or "")]


def ladder_input(book: Book) -> dict[str, Any]:
    """Return what the ladder shows of a book."""
    extra = {"verified_by": book.verified_by, "snapshot_age_ns": book.snapshot_age_ns, "cost": book.cost.to_dict()}
    return book.to_dict() | extra
