"""``chronicle diff``: whether two versions of the clean queues, or two homes, hold the same records."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option

if TYPE_CHECKING:
    from chronicle.core.compare import Difference
    from chronicle.core.source import SegmentSource

_EPILOG = """\
\b
Examples:
  chronicle diff 0 2 --home data                    the home's own clean queues and data/rebuilt/2
  chronicle diff HOME OTHER                         two homes, or a home and an archive root
  chronicle diff 1 2 --queue 'clean/kraken/*' --home data
\b
For each queue that differs its first differing record is named. Segments and prologues do not count, records
do, to the last bit. The exit code is 5 when something differs.
"""


@click.command("diff", epilog=_EPILOG)
@click.argument("a")
@click.argument("b")
@click.option("--queue", "pattern", default="clean/*", show_default=True, help="Which queues, as a pattern.")
@home_option
@json_option
@click.pass_context
def command(ctx: click.Context, a: str, b: str, pattern: str, home: Path, as_json: bool) -> None:
    """Compare A with B record for record: numbers are versions of the home (0: its own), all else is a path."""
    from chronicle.core.compare import compare_queue
    from chronicle.core.errors import CorruptionError

    first, second = _source(a, home), _source(b, home)
    names = [{name for name in source.queues("") if fnmatchcase(name, pattern)} for source in (first, second)]
    only = [(name, a) for name in sorted(names[0] - names[1])] + [(name, b) for name in sorted(names[1] - names[0])]
    both = sorted(names[0] & names[1])
    found = [found for name in both if (found := compare_queue(first, second, name)) is not None]
    made = [_made_by(source, both) for source in (first, second)]
    if as_json:
        show.echo_json(
            {
                "a": {"name": a, "etl": made[0]},
                "b": {"name": b, "etl": made[1]},
                "queues": len(both),
                "only": [{"queue": name, "in": side} for name, side in only],
                "differences": [_values(difference) for difference in found],
            }
        )
    else:
        for name, side in only:
            click.echo(f"{name} is only in {side}")
        for difference in found:
            click.echo(str(difference))
        if made[0] != made[1]:
            click.echo(f"made by {made[0]} and {made[1]}")
        click.echo(f"{len(both) - len(found)} queues are equal, {len(found) + len(only)} are not")
    ctx.exit(CorruptionError.exit_code if found or only else 0)


def _source(name: str, home: Path) -> SegmentSource:
    from chronicle.access.opened.places import open_places
    from chronicle.access.trust.versions import chosen_version

    return open_places(chosen_version(home, int(name), None).path if name.isascii() and name.isdigit() else name)


def _made_by(source: SegmentSource, queues: list[str]) -> dict[str, Any]:
    """Return ETL version and configuration as the newest segment of the first queue names them."""
    for name in queues:
        segments = source.segments(name)
        if segments:
            view = source.open(name, segments[-1].number)
            try:
                return dict(view.prologue().get("etl") or {})
            finally:
                view.close()
    return {}


def _values(difference: Difference) -> dict[str, Any]:
    return {"queue": difference.queue, "index": difference.index, "a": difference.a, "b": difference.b}
