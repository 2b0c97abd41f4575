"""How results look: rich on a terminal, plain columns in a pipe, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "echo_json", "echo_spans", "echo_table", "json_line", "note", "on_terminal"]


def on_terminal() -> bool:
    """Return whether a person looks at stdout."""
    return sys.stdout.isatty()


def console() -> Console:
    """Return rich's console on stdout; imports rich, so only call it for people."""
    from rich.console import Console

    return Console(highlight=False)


def echo_json(value: Any, *, indent: int | None = 2) -> None:
    """Print `value` as JSON; numbers of any length stay exact, bytes become text or hex."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=indent, default=_plain))


def json_line(value: Any) -> str:
    """Return `value` as one line of JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)


def note(message: str) -> None:
    """Tell a person something on stderr, where it does not disturb the result."""
    click.echo(message, err=True)


def echo_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = (), title: str = ""
) -> None:
    """Print a table: boxed on a terminal, aligned text otherwise. Columns in `right` are right-aligned."""
    cells = [[_cell(value) for value in row] for row in rows]
    if on_terminal():
        _rich_table(columns, cells, right, title)
        return
    if title:
        click.echo(title)
    widths = [max([len(name), *(len(row[at]) for row in cells)]) for at, name in enumerate(columns)]
    for row in [list(columns), *cells]:
        parts = [
            text.rjust(width) if name in right else text.ljust(width)
            for text, width, name in zip(row, widths, columns, strict=True)
        ]
        click.echo("  ".join(parts).rstrip())


def _rich_table(columns: Sequence[str], cells: list[list[str]], right: Sequence[str], title: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=name in right)
    for row in cells:
        table.add_row(*(Text(text, style=_STYLES.get(text, "")) for text in row))
    console().print(table)


_STYLES = {
    "ok": "green",
    "passed": "green",
    "gap": "red",
    "failed": "bold red",
    "stale": "yellow",
    "crossed": "magenta",
    "unverified": "yellow",
    "open": "cyan",
}


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


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
