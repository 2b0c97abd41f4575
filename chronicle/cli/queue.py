"""``chronicle queue``: tools that look into one queue, below everything else; and how a queue is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli.commands import GROUPS
from chronicle.cli.lazy import LazyGroup
from chronicle.cli.options import need_home
from chronicle.core.errors import NotFoundError

if TYPE_CHECKING:
    from chronicle.core.queue import Queue

__all__ = ["find_queue", "group"]

_EPILOG = """\
\b
A QUEUE is a name relative to the home (raw/main.q, clean/kraken/btc_eur/book.q; the .q may be left
out) or the path of a queue's folder. Readers need no lock: all but repair are safe beside a live writer.
\b
Examples:
  chronicle queue inspect --home demo                        every queue of the home, a line each
  chronicle queue inspect raw/main --home demo               its segments and watermarks
  chronicle queue dump raw/main --kind TRADE --limit 5 --home demo
  chronicle queue check raw/main --home demo
"""


@click.group("queue", cls=LazyGroup, table=GROUPS["queue"], epilog=_EPILOG, no_args_is_help=True)
def group() -> None:
    """Look into one queue: its segments, its bytes, its records; and repair it after damage."""


def find_queue(home: Path, text: str) -> Queue:
    """Open the queue that `text` names.

    Raises
    ------
    NotFoundError
        When there is none; with close matches.
    """
    from chronicle.core.local import LocalSource
    from chronicle.core.queue import SETTINGS_NAME, Queue

    names = [text.strip("/"), f"{text.strip('/')}.q"]
    for name in names:
        folder = home / name
        if ".." not in Path(name).parts and os.path.isfile(folder / SETTINGS_NAME):
            return Queue.open(folder, name=name)
    if os.path.isfile(Path(text) / SETTINGS_NAME):
        return Queue.open(text)
    import difflib

    need_home(home)
    known = LocalSource(home).queues()
    close = difflib.get_close_matches(names[1], known, n=1) or known[:1]
    hint = f"did you mean {close[0]}?" if close else "this home has no queues yet: chronicle feed replay fills it"
    raise NotFoundError(f"there is no queue {text!r}", path=home, hint=hint)
