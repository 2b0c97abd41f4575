"""``chronicle etl rebuild``: the clean queues anew, and whether they come out the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

if TYPE_CHECKING:
    from chronicle.core.source import SegmentSource

_EPILOG = """\
\b
Examples:
  chronicle etl rebuild --home data                     into data/rebuilt/1, the next time into data/rebuilt/2
  chronicle etl rebuild --verify --home data            and compare every record with the home's
  chronicle etl rebuild --into DIR --home data          into a folder of yours, or go on there
\b
Output is a function of the raw queue and the configuration alone, so that an unchanged rebuild equals
the first run record for record; with --verify a difference is told and the exit code is 5. A rebuild
that was interrupted continues when it is run again with the same folder.
"""


@click.command("rebuild", epilog=_EPILOG)
@click.option(
    "--into",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where the queues go.  [default: the next free number under HOME/rebuilt]",
)
@click.option("--shard", help="Which shard of [etl] shards; not needed when there is one.")
@click.option("--verify", is_flag=True, help="Compare with the clean queues of the home.")
@home_option
@json_option
@click.pass_context
def command(
    ctx: click.Context, into: Path | None, shard: str | None, verify: bool, home: Path, as_json: bool
) -> None:
    """Make the clean queues again from the raw ones, in a folder of their own."""
    from chronicle.cli.limits import raise_descriptor_limit
    from chronicle.cli.shards import etl_config, live_line, other_shards, print_report, shard_name
    from chronicle.cli.sources import open_source
    from chronicle.cli.stopping import stopping
    from chronicle.config import load_settings
    from chronicle.core.errors import CorruptionError

    raise_descriptor_limit()
    settings = load_settings(need_home(home), os.environ)
    name = shard_name(settings, shard)
    target = into if into is not None else next_folder(home / "rebuilt")
    with stopping() as stopper, live_line("rebuild") as progress:
        from chronicle.etl.rebuilding import rebuild

        source = open_source(home)
        report = rebuild(
            home,
            target,
            source=source,
            shard=name,
            config=etl_config(settings, name),
            others=other_shards(settings, name),
            stop=stopper.event,
            progress=progress,
        )
    differences = compare(source, target) if verify and not stopper.event.is_set() else None
    if as_json:
        show.echo_json(report.to_dict() | {"into": str(target), "differences": differences})
    else:
        print_report(report)
        click.echo(f"in {target}")
        for difference in differences or []:
            click.echo(f"different: {difference}")
        if differences == []:
            click.echo("every record equals the home's")
    ctx.exit(CorruptionError.exit_code if differences else stopper.exit_code)


def next_folder(folder: Path) -> Path:
    """Return the next free number in `folder`, which need not be there."""
    numbers = [int(path.name) for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    return folder / str(max(numbers, default=0) + 1)


def compare(source: SegmentSource, into: Path) -> list[str]:
    """Return what differs between the clean queues of `source` and those under `into`."""
    from chronicle.core.compare import compare_queue
    from chronicle.core.local import LocalSource

    rebuilt = LocalSource(into)
    here, there = set(source.queues("clean/")), set(rebuilt.queues("clean/"))
    found = [f"{name} is only in the home" for name in sorted(here - there)]
    found += [f"{name} is only in the rebuild" for name in sorted(there - here)]
    for name in sorted(here & there):
        difference = compare_queue(source, rebuilt, name)
        if difference is not None:
            found.append(str(difference))
    return found
