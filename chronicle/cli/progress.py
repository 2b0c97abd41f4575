"""Progress on a terminal, nothing in a pipe: a bar where the end is known, else a line."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

__all__ = ["bar", "share", "text_width", "working"]

BESIDE_TEXT: Final = 64
"""Columns of what else a bar shows: words, bar, counts, bytes, time left."""


def text_width() -> int:
    """Return how wide a bar's last text may be, so that the line stays short of the terminal's edge: the ^C that is
    echoed there must not begin another line."""
    return max(10, shutil.get_terminal_size().columns - BESIDE_TEXT)


@contextlib.contextmanager
def working(what: str) -> Iterator[Callable[[str], None] | None]:
    """Yield what changes the text of one line on a terminal's stderr, of work whose end is not known; else None."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.text import Text

    def text(said: str) -> Text:
        return Text(said, no_wrap=True, overflow="ellipsis")

    with Console(stderr=True).status(text(what)) as status:
        yield lambda said: status.update(text(said))


@contextlib.contextmanager
def bar(total: int, what: str) -> Iterator[Callable[[str], None]]:
    """Yield a function to call after each of `total` steps with a short text; it draws on stderr, for people only."""
    if not sys.stderr.isatty() or total < 2:
        yield lambda _text: None
        return
    with _drawn(total, what, counted=True) as (progress, task):
        yield lambda text: progress.update(task, advance=1, text=text)


@contextlib.contextmanager
def share(what: str) -> Iterator[Callable[[float, str], None] | None]:
    """Yield a function to call with the share of the work that is done (0 to 1) and a short text; None in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    with _drawn(1.0, what, counted=False) as (progress, task):
        yield lambda done, text: progress.update(task, completed=done, text=text)


@contextlib.contextmanager
def _drawn(total: float, what: str, *, counted: bool) -> Iterator[tuple[Any, Any]]:
    """Draw a bar on stderr; `counted`: of steps, else of a share."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    last = Column(no_wrap=True, overflow="ellipsis", max_width=text_width())
    columns = (
        TextColumn(what, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=20),
        (MofNCompleteColumn if counted else TaskProgressColumn)(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[text]}", table_column=last),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress, progress.add_task(what, total=total, text="")
