"""A book that is followed: redrawn in place on a terminal, printed anew at each change in a pipe."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from chronicle.cli import show
from chronicle.cli.ladder import ladder_input, ladder_lines
from chronicle.core.clock import Clock, SystemClock

if TYPE_CHECKING:
    from chronicle.access import Book, Store

__all__ = ["books_of", "fitting", "follow_book"]

FRAME_LINES: Final = 6
"""Lines of a ladder beside its levels: head, spread, status (up to three on a narrow terminal), the cursor's."""


def books_of(
    store: Store, symbol: str, depth: int, *, interval_ns: int, quiet_ns: int | None, clock: Clock | None = None
) -> Iterator[Book]:
    """Yield the latest book, then each that differs from the one before, looking every `interval_ns`.

    Parameters
    ----------
    quiet_ns : int, optional
        End after so long without a new event; None: never.
    """
    watch = clock or SystemClock()
    shown: tuple[int, str] | None = None
    quiet_since = watch.monotonic_ns()
    while True:
        now = watch.monotonic_ns()  # before the look: what was there by then is in the book
        book = store.book(symbol, depth=depth)
        state = book.ts_recv, book.status
        if state != shown:
            shown = state
            quiet_since = now
            yield book
        if quiet_ns is not None and now - quiet_since >= quiet_ns:
            return
        watch.sleep_ns(interval_ns)


def follow_book(
    store: Store, symbol: str, depth: int, *, interval_ns: int, quiet_ns: int | None, as_json: bool
) -> None:
    """Show the latest book of `symbol` as it changes, until Ctrl-C (KeyboardInterrupt) or a quiet time."""
    with _screen(as_json=as_json) as draw:
        for book in books_of(store, symbol, depth, interval_ns=interval_ns, quiet_ns=quiet_ns):
            draw(book)


def fitting(values: dict[str, Any], height: int) -> dict[str, Any]:
    """Return a ladder's input with the best levels of each side, as many as `height` lines have room for.

    What is drawn in place must fit: a longer ladder would lose its end, where the book's status stands.
    """
    levels = max(1, (height - FRAME_LINES) // 2)
    return values | {"bids": values["bids"][:levels], "asks": values["asks"][:levels]}


@contextlib.contextmanager
def _screen(*, as_json: bool) -> Iterator[Callable[[Book], None]]:
    """Yield what shows a book."""
    if as_json:
        yield lambda book: click.echo(show.json_line(book.to_dict()))
        return
    if not show.on_terminal():
        yield lambda book: show.echo_spans([*ladder_lines(ladder_input(book)), []])
        return
    from rich.live import Live
    from rich.text import Text

    with Live(console=show.console(), auto_refresh=False) as live:

        def draw(book: Book) -> None:
            values = fitting(ladder_input(book), live.console.height)
            lines = [Text.assemble(*line) for line in ladder_lines(values)]
            live.update(Text("\n").join(lines), refresh=True)

        yield draw
