"""``chronicle feed replay``: recorded captures into the raw and wire queues."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option
from chronicle.cli.progress import working

if TYPE_CHECKING:
    from chronicle.feed.replay import ReplayReport

_EPILOG = """\
\b
Formats (found out from the files when --format is absent):
  cryptofeed    raw capture files and JSON lines, zst, gz or plain
  dbn           Databento's DBN, zstd or plain, DBZ, MBO as CSV
  hftbacktest   gz of received lines (Binance)
  itch          NASDAQ's daily ITCH 5.0 files, gz, zst or plain; the day comes from their names, or from --date
  lobster       zip of the message and orderbook pair
  pcap          pcap or pcapng of exchange multicast (ITCH 5.0 over MoldUDP64, IEX-TP), gz, zst or plain
  tardis        Tardis.dev's CSV: incremental_book_L2, book_snapshot_N, trades, quotes
  wire          a wire queue of a home (HOME/wire/main.q): decode again what was captured
\b
Examples:
  chronicle feed replay kraken.jsonl.zst --format cryptofeed --home data
  chronicle feed replay btcusdt_20240808.gz btcusdt_20240809.gz --format hftbacktest --venue binance --home data
  chronicle feed replay glbx-mdp3-20240508.mbo.dbn.zst --home data
  chronicle feed replay AMZN_2012-06-21.zip --home data
  chronicle feed replay DEEP10.pcap.gz --format pcap --home data
  chronicle feed replay S081321-v50.txt.gz --format itch --home data
  chronicle feed replay capture.raw --speed 10 --home data      ten times as fast as it was recorded
\b
Several files are one stream in the order of ts_recv. A capture older than what the queue holds goes to
a lane of its own (raw/main@1.q). The same capture twice is refused (exit code 9) unless --again. A
replay that was interrupted continues exactly when the same command is run again. Exit code 8: some
lines could not be read; everything else was taken.
"""


@click.command("replay", epilog=_EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--format", "form", help="The capture's format; see below.")
@click.option("--venue", help="The venue, where the capture does not say it; `chronicle feed venues` lists them.")
@click.option(
    "--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="The day of an itch file, where its name tells none."
)
@click.option("--speed", default="max", show_default=True, help="max, or N: N times as fast as it was recorded.")
@click.option("--again", is_flag=True, help="Replay also what this home already holds.")
@click.option("--seal", is_flag=True, help="Seal the open segments at the end, so that tiers can take them at once.")
@home_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[Path, ...],
    form: str | None,
    venue: str | None,
    day: datetime | None,
    speed: str,
    again: bool,
    seal: bool,
    home: Path,
    as_json: bool,
) -> None:
    """Replay captured FILEs through the venue's adapter, as if they came in now.

    The frames go verbatim into wire/main.q and their records into raw/main.q. An uninitialised home is made
    on the way (with raw/ on its disk; `chronicle init` puts raw/ into memory).
    """
    from chronicle.config import load_settings
    from chronicle.config.home import refuse_lost_memory
    from chronicle.feed.replay import replay_capture

    settings = load_settings(home, os.environ)
    refuse_lost_memory(home)
    with progress_line("replaying") as progress:
        report = replay_capture(
            home,
            files,
            format=form,
            venue=venue,
            day=day.date() if day is not None else None,
            speed=speed,
            again=again,
            progress=progress,
            segment_bytes=settings.raw.segment_bytes,
            cycle_ns=settings.raw.cycle_ns,
            seal=seal,
        )
    if as_json:
        show.echo_json(report.to_dict() | {"exit_code": report.exit_code})
    else:
        _print(report)
    ctx.exit(report.exit_code)


@contextmanager
def progress_line(word: str) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a progress callback that shows a line on a terminal's stderr; None elsewhere."""
    with working(word) as say:

        def progress(frames: int, ts_recv: int) -> None:
            if say is not None:
                say(f"{word}: {frames:,} frames, up to {show.moment(ts_recv)}")

        yield None if say is None else progress


def _print(report: ReplayReport) -> None:
    resumed = " (continued where it was interrupted)" if report.resumed else ""
    rate = report.frames / report.seconds if report.seconds > 0 else 0.0
    click.echo(f"Replayed {', '.join(report.venues) or 'no market data'} from {report.format}{resumed}")
    click.echo(f"  {report.frames:,} frames to {report.wire}, {report.records:,} records to {report.raw}")
    click.echo(f"  {show.moment(report.first_ts)} to {show.moment(report.last_ts)}, {rate:,.0f} frames/s")
    if report.decode_errors:
        show.note(f"chronicle: {report.decode_errors} frames could not be read whole; STATUS records name them")
    for what, count in sorted(report.skipped.items()):
        show.note(f"chronicle: {count} {what}")
    for damage in report.damage:
        show.note(f"chronicle: {damage}")
