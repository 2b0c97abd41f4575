"""``chronicle queue seal``: finish what a dead writer left."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option

_EPILOG = """\
\b
Examples:
  chronicle queue seal raw/main --home demo
\b
Anyone may seal for a writer that is gone; the next writer goes on at the next index. A live writer is spared: the
command ends with exit code 6 and names it.
"""


@click.command("seal", epilog=_EPILOG)
@click.argument("queue")
@home_option
@json_option
def command(queue: str, home: Path, as_json: bool) -> None:
    """End and seal the open segments of QUEUE, whose writer is gone."""
    from chronicle.cli.queue import find_queue

    found = find_queue(home, queue)
    numbers = found.seal_dead()
    if as_json:
        show.echo_json({"queue": found.name, "sealed": numbers, "end_index": found.end_index()})
    else:
        text = ", ".join(str(number) for number in numbers) or "nothing: there was no open segment with records"
        click.echo(f"sealed {text}")
