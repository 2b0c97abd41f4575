"""``chronicle queue dump``: records as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.options import TIME, home_option
from chronicle.core.layout import Kind

if TYPE_CHECKING:
    from chronicle.core.cursor import Cursor
    from chronicle.core.queue import Queue
    from chronicle.core.records import Record

KINDS = [kind.name for kind in Kind if kind is not Kind.ROLL]
WAIT_NS = 200_000_000
_EPILOG = """\
\b
Examples:
  chronicle queue dump raw/main --limit 3 --home demo
  chronicle queue dump raw/main --kind TRADE --kind QUOTE --instrument 1 --home demo
  chronicle queue dump clean/kraken/btc_eur/book --kind GAP --home demo
  chronicle queue dump wire/main --start 2021-04-17T16:49:00Z --end 2021-04-17T16:49:01Z --home demo
  chronicle queue dump raw/main --follow --home demo | jq .kind
\b
Prices and sizes are mantissas here, as stored: the INSTRUMENT record before them has the exponents.
--start and --end are on ts_recv: [start, end).
"""


@click.command("dump", epilog=_EPILOG)
@click.argument("queue")
@home_option
@click.option(
    "--kind",
    "kinds",
    metavar="KIND",
    multiple=True,
    type=click.Choice(KINDS, case_sensitive=False),
    help=f"Only these kinds: {', '.join(KINDS)}.",
)
@click.option("--instrument", type=int, help="Only this queue-local instrument number.")
@click.option("--start", type=TIME, help="From this time on.")
@click.option("--end", type=TIME, help="Up to, but not at, this time.")
@click.option("--index", type=int, help="From this record on.")
@click.option("--limit", type=click.IntRange(min=0), help="Stop after this many records.")
@click.option("--follow", is_flag=True, help="Go on with what is committed from now on, until Ctrl-C.")
def command(
    queue: str,
    home: Path,
    kinds: tuple[str, ...],
    instrument: int | None,
    start: int | None,
    end: int | None,
    index: int | None,
    limit: int | None,
    follow: bool,
) -> None:
    """Print the records of QUEUE, one JSON object a line."""
    from chronicle.cli.queue import find_queue
    from chronicle.core.cursor import Cursor
    from chronicle.core.errors import ConfigError

    if start is not None and index is not None:
        raise ConfigError("--start and --index are two ways to say where to begin", hint="give one of them")
    target = find_queue(home, queue)
    source = _QueueSource(target)
    cursor = Cursor(source, target.name)
    if index is not None:
        cursor.seek_index(index)
    elif start is not None:
        cursor.seek_time(start)
    if limit == 0:
        return
    wanted = {int(Kind[kind.upper()]) for kind in kinds}
    shown = 0
    for record in _records(cursor, target, follow=follow):
        if end is not None and record.ts_recv >= end:
            break
        if index is not None and record.index < index:
            continue
        if (wanted and record.kind not in wanted) or (instrument is not None and record.instrument != instrument):
            continue
        click.echo(show.json_line(record.to_dict()))
        shown += 1
        if shown == limit:
            break


def _records(cursor: Cursor, queue: Queue, *, follow: bool) -> Iterator[Record]:
    from chronicle.core.clock import SystemClock

    clock = SystemClock()
    while True:
        window = cursor.next_window()
        if window is not None:
            yield from window.records()
        elif follow:
            clock.sleep_ns(WAIT_NS)
        else:
            return


class _QueueSource:
    """One queue as a SegmentSource, wherever its folder is."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.segments = lambda _: queue.segments()
        self.sealed_end = lambda _: queue.tail_mark().next_base_index
        self.open = lambda _, number: queue.open_segment(number)
        self.queues = lambda prefix="": [queue.name] if queue.name.startswith(prefix) else []
