"""``chronicle demo``: the whole system for some seconds, on one host, with an exchange of our own."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import json_option

_EPILOG = """\
\b
Examples:
  chronicle demo
  chronicle demo --dir demo --seconds 30 --seed 7
  chronicle demo --json
\b
It starts four processes: a simulated exchange on loopback (Kraken's protocol, checksums included), the
feed handler, an ETL shard, the tiering agent. After some seconds they end in order, everything is
drained and archived, and what came out is shown: records, checks, gaps, tiers, and a book from the
middle of the run read back from the archive. The folder stays; every other command can open it. The
first run on a machine compiles kernels, which takes up to a minute more. Exit code 0: all of it worked.
"""


@click.command("demo", epilog=_EPILOG)
@click.option(
    "--dir",
    "--home",
    "folder",
    default="chronicle-demo",
    show_default=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the demo's home goes; a demo that is there is replaced, anything else is not.",
)
@click.option("--seconds", type=click.FloatRange(1, 3600), default=12.0, show_default=True, help="How long to run.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True, help="The market's seed.")
@json_option
@click.pass_context
def command(ctx: click.Context, folder: Path, seconds: float, seed: int, as_json: bool) -> None:
    """Run exchange, feed, ETL and tiering for some seconds, and show what came out."""
    from chronicle.cli.demo_report import collect, print_report
    from chronicle.cli.demo_run import run_demo

    say = show.note if as_json else click.echo
    timings = run_demo(folder, seconds=seconds, seed=seed, say=say)
    report = collect(folder, timings)
    if as_json:
        show.echo_json(report.to_dict())
    else:
        print_report(folder, report)
    if report.problems:
        ctx.exit(1)
