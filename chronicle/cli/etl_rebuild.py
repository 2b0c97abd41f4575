"""``chronicle etl rebuild``: the clean queues anew, and whether they come out the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chronicle.core.selection import Selection
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
Where several shards are configured, all of them are rebuilt, one after the other, into the same folder;
--shard makes one of them (on several cores at once, say) in the newest folder where it is not done yet.
"""


@click.command("rebuild", epilog=_EPILOG)
@click.option(
    "--into",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where the queues go.  [default: the next free number under HOME/rebuilt]",
)
@click.option("--shard", help="Only this shard of [etl] shards.  [default: all, one after the other]")
@click.option("--verify", is_flag=True, help="Compare with the clean queues of the home (the shard's, with --shard).")
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
    configured = [item.name for item in settings.etl.shards]
    names = configured if shard is None else [shard_name(settings, shard)]
    one_of_several = len(names) < len(configured)
    target = into if into is not None else _folder(home / "rebuilt", names[0] if one_of_several else None)
    source, reports = open_source(home), []
    with stopping() as stopper, live_line("rebuild") as progress:
        from chronicle.etl.rebuilding import rebuild

        for name in names:
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
            reports.append(report)
            if stopper.event.is_set():
                break
    differences = None
    if verify and not stopper.event.is_set():
        selections = [etl_config(settings, name).selection for name in names] if one_of_several else None
        differences = compare(source, target, selections)
    if as_json:
        told = reports[0].to_dict() if len(reports) == 1 else {"shards": [report.to_dict() for report in reports]}
        show.echo_json(told | {"into": str(target), "differences": differences})
    else:
        for report in reports:
            print_report(report)
        click.echo(f"in {target}")
        for difference in differences or []:
            click.echo(f"different: {difference}")
        if differences == []:
            click.echo(f"every record equals the home's{f' (shard {names[0]})' if one_of_several else ''}")
    ctx.exit(CorruptionError.exit_code if differences else stopper.exit_code)


def _folder(rebuilt: Path, shard: str | None) -> Path:
    """Return the next free folder; for one shard of several the newest that others began and that lacks its part."""
    from chronicle.etl.rebuilding import lacks

    following = next_folder(rebuilt)
    newest = rebuilt / str(int(following.name) - 1)
    return newest if shard is not None and newest.is_dir() and lacks(newest, shard) else following


def next_folder(folder: Path) -> Path:
    """Return the next free number in `folder`, which need not be there."""
    numbers = [int(path.name) for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    return folder / str(max(numbers, default=0) + 1)


def compare(source: SegmentSource, into: Path, selections: Sequence[Selection] | None = None) -> list[str]:
    """Return what differs between the clean queues of `source` and those under `into`; only of what is selected."""
    from chronicle.core.compare import compare_queue
    from chronicle.core.local import LocalSource
    from chronicle.core.paths import symbol_of

    def queues(place: SegmentSource) -> set[str]:
        found = place.queues("clean/")
        if selections is None:
            return set(found)
        return {name for name in found if any(item.selects(symbol_of(name)) for item in selections)}

    rebuilt = LocalSource(into)
    here, there = queues(source), queues(rebuilt)
    found = [f"{name} is only in the home" for name in sorted(here - there)]
    found += [f"{name} is only in the rebuild" for name in sorted(there - here)]
    for name in sorted(here & there):
        difference = compare_queue(source, rebuilt, name)
        if difference is not None:
            found.append(str(difference))
    return found
