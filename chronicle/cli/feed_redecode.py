"""``chronicle feed redecode``: a new raw queue from the wire queue."""

from __future__ import annotations

import os
from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

_EPILOG = """\
\b
Examples:
  chronicle feed redecode --home data               into data/redecoded/1, the next time into data/redecoded/2
  chronicle feed redecode --verify --home data      and compare with the home's raw queue
  chronicle etl run --drain --home data/redecoded/1         the clean queues of it
\b
The home's own raw and clean queues stay as they are. With --verify a difference is told and the exit code
is 5: after a fix that is what one looks for; without one every record is the same.
"""


@click.command("redecode", epilog=_EPILOG)
@click.option(
    "--into",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where the queue goes.  [default: the next free number under HOME/redecoded]",
)
@click.option("--queue", default="main", show_default=True, help="Which wire queue, as wire/QUEUE.q.")
@click.option("--lane", type=click.IntRange(0, 999), default=0, show_default=True, help="Which lane of it.")
@click.option("--verify", is_flag=True, help="Compare with the raw queue of the home.")
@click.option("--seal", is_flag=True, help="Seal the open segment at the end.")
@home_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    into: Path | None,
    queue: str,
    lane: int,
    verify: bool,
    seal: bool,
    home: Path,
    as_json: bool,
) -> None:
    """Decode the frames of a wire queue again, as after a fix of an adapter, into a raw queue of its own."""
    from chronicle.cli.etl_rebuild import next_folder
    from chronicle.cli.feed_replay import progress_line
    from chronicle.cli.sources import open_source
    from chronicle.config import load_settings
    from chronicle.core.compare import compare_queue
    from chronicle.core.errors import CorruptionError
    from chronicle.core.local import LocalSource
    from chronicle.feed.redecode import redecode

    settings = load_settings(need_home(home), os.environ)
    target = into if into is not None else next_folder(home / "redecoded")
    source = open_source(home)
    with progress_line("redecoding") as progress:
        report = redecode(
            home,
            target,
            source=source,
            name=queue,
            lane=lane,
            segment_bytes=settings.raw.segment_bytes,
            cycle_ns=settings.raw.cycle_ns,
            seal=seal,
            progress=progress,
        )
    difference = compare_queue(source, LocalSource(target), report.raw) if verify else None
    if as_json:
        show.echo_json(report.to_dict() | {"difference": str(difference) if difference else None})
    else:
        old = "unknown" if report.old_decoder is None else f"version {report.old_decoder}"
        click.echo(f"{report.frames:,} frames of {report.wire}, {report.records:,} records to {target / report.raw}")
        click.echo(f"decoder version {report.decoder}; the home's raw queue is of {old}")
        if report.decode_errors:
            show.note(f"chronicle: {report.decode_errors} frames could not be read whole; STATUS records name them")
        if difference is not None:
            click.echo(f"different: {difference}")
        elif verify:
            click.echo("every record equals the home's")
    ctx.exit(CorruptionError.exit_code if difference is not None else 0)
