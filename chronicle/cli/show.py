"""How results look: coloured on a terminal, the same text in a pipe, JSON for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "console",
    "echo_json",
    "echo_spans",
    "echo_table",
    "is_absent",
    "json_line",
    "note",
    "on_terminal",
    "printable",
]


def on_terminal() -> bool:
    """Return whether a person looks at stdout and wants colours (NO_COLOR and TERM=dumb turn them off)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def printable(text: str) -> str:
    """Return `text` with control characters escaped: what a venue or an argument says must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def console() -> Console:
    """Return rich's console on stdout; imports rich, so only call it for people."""
    from rich.console import Console

    return Console(highlight=False)


def echo_json(value: Any, *, indent: int | None = 2) -> None:
    """Print `value` as JSON; numbers of any length stay exact, bytes become text or hex, absences (-1) null."""
    click.echo(json.dumps(_told(value), ensure_ascii=False, indent=indent, default=_plain))


def json_line(value: Any) -> str:
    """Return `value` as one line of JSON, as :func:`echo_json` does."""
    return json.dumps(_told(value), ensure_ascii=False, separators=(",", ":"), default=_plain)


_MAY_BE_ABSENT = ("sequence", "missing", "index", "age_ns", "trade_id")


def _told(value: Any) -> Any:
    """Return `value` with -1 as None where it stands for "there is none": in times, sequences, indexes and ids."""
    if isinstance(value, dict):
        return {name: None if is_absent(name, one) else _told(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_told(one) for one in value]
    return value


def is_absent(name: object, value: Any) -> bool:
    """Return whether a field of this name says with -1 that it has none."""
    if value != -1 or not isinstance(value, int) or not isinstance(name, str):
        return False
    is_time = name in ("ts", "at") or name.startswith("ts_") or name.endswith(("_ts", "_ns"))
    return is_time or any(part in name for part in _MAY_BE_ABSENT)


def note(message: str) -> None:
    """Tell a person something on stderr, where it does not disturb the result."""
    click.echo(message, err=True)


def echo_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = (), title: str = ""
) -> None:
    """Print a table of aligned text; columns in `right` are right-aligned. Nothing is ever cut to fit.

    A terminal gets a bold head and coloured states; a pipe gets the same text without codes. Where a terminal is too
    narrow, the last columns go below each row, or each of a few rows becomes a block of names and values.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if title:
        click.secho(title, bold=True)
    widths = [max([len(name), *(len(row[at]) for row in cells)]) for at, name in enumerate(columns)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sum(widths) + 2 * len(widths)
    if _width(widths) > room and cells:
        _echo_narrow(columns, cells, widths, room, right)
        return
    _echo_aligned(columns, cells, widths, right)


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _echo_aligned(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    widths: Sequence[int],
    right: Sequence[str],
    below: Sequence[str] = (),
    room: int = 0,
) -> None:
    """Print head and rows; a text of `below` goes under each row, in lines of at most `room` characters."""
    for number, row in enumerate([columns, *cells]):
        parts = [
            text.rjust(width) if name in right else text.ljust(width)
            for text, width, name in zip(row, widths, columns, strict=True)
        ]
        if not on_terminal():
            click.echo("  ".join(parts).rstrip())
        elif number == 0:
            click.echo(click.style("  ".join(parts).rstrip(), bold=True))
        else:
            click.echo("  ".join(_coloured(part) for part in parts).rstrip())
        if number and below:
            for line in textwrap.wrap(below[number - 1], room, initial_indent="    ", subsequent_indent="    "):
                click.echo(line)


def _echo_narrow(
    columns: Sequence[str], cells: list[list[str]], widths: list[int], room: int, right: Sequence[str]
) -> None:
    """Print a table that is wider than the terminal: what has no room below each row, or each row as a block."""
    fitting = next((count for count in range(len(columns) - 1, 0, -1) if _width(widths[:count]) <= room), 0)
    if fitting * 2 > len(columns) or (fitting > 1 and len(cells) > BLOCKS_MAX):
        rest = list(range(fitting, len(columns)))
        alone = len(rest) == 1
        below = [row[-1] if alone else "  ".join(f"{columns[at]} {row[at]}" for at in rest) for row in cells]
        _echo_aligned(columns[:fitting], [row[:fitting] for row in cells], widths[:fitting], right, below, room)
        return
    name_width = max(len(name) for name in columns)
    for number, row in enumerate(cells):
        if number:
            click.echo()
        for name, text in zip(columns, row, strict=True):
            head = name.ljust(name_width)
            click.echo(f"{click.style(head, bold=True)}  {_coloured(text)}" if on_terminal() else f"{head}  {text}")


BLOCKS_MAX = 4
"""So few rows are read one below the other, where they are too wide."""
_STYLES = {
    "ok": "green",
    "passed": "green",
    "gap": "red",
    "failed": "red",
    "damaged": "red",
    "up": "green",
    "down": "red",
    "stale": "yellow",
    "crossed": "magenta",
    "unverified": "yellow",
    "open": "cyan",
}


def _coloured(part: str) -> str:
    colour = _STYLES.get(part.strip())
    return click.style(part, fg=colour) if colour else part


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return printable(str(value))


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return {"hex": data.hex()}
    return str(value)


def echo_spans(lines: Iterable[Sequence[tuple[str, str]]]) -> None:
    """Print lines of (text, style) spans: styled on a terminal, plain text otherwise."""
    if not on_terminal():
        for line in lines:
            click.echo("".join(text for text, _ in line).rstrip())
        return
    from rich.text import Text

    screen = console()
    for line in lines:
        screen.print(Text.assemble(*line), soft_wrap=True)


def moment(ns: int | None) -> str:
    """Return a time for a table: ISO 8601 to the microsecond, ``-`` for none."""
    from chronicle.core.layout import INT64_MIN, NONE
    from chronicle.core.times import format_ns

    if ns is None or ns in {NONE, INT64_MIN}:
        return "-"
    return format_ns(ns)[:-4] + "Z"


def second(ns: int | None) -> str:
    """Return a time for a wide table: ISO 8601 to the second, ``-`` for none."""
    text = moment(ns)
    return text if text == "-" else text[:19] + "Z"
