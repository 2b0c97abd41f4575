"""``chronicle etl run``: one shard, live or until drained."""

from __future__ import annotations

import os
from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

_EPILOG = """\
\b
Examples:
  chronicle etl run --drain --home data
  chronicle etl run --home data
  chronicle etl run --shard kraken --home data        one of several shards of [etl] shards
  chronicle etl run --spin 1h --home data             the shortest way to the clean queues, for a core of its own
\b
A shard continues where its own output ends: killed and started again it neither loses nor doubles a
record. It ends on SIGTERM or Ctrl-C after the window in hand.
"""


@click.command("run", epilog=_EPILOG)
@click.option("--drain", is_flag=True, help="Work off everything committed, seal the queues, and end.")
@click.option("--shard", help="Which shard of [etl] shards; not needed when there is one.")
@click.option(
    "--spin",
    default="100us",
    show_default=True,
    metavar="DURATION",
    help="Look for the next record for so long, with a whole core, before sleeping until the feed wakes the shard.",
)
@home_option
@json_option
@click.pass_context
def command(ctx: click.Context, drain: bool, shard: str | None, spin: str, home: Path, as_json: bool) -> None:
    """Turn raw queues into clean queues per instrument: CHANNEL.q under clean/VENUE/base_quote."""
    from chronicle.cli.limits import raise_descriptor_limit
    from chronicle.cli.shards import etl_config, live_line, other_shards, print_report, shard_name
    from chronicle.cli.sources import open_source
    from chronicle.cli.stopping import stopping
    from chronicle.config import load_settings
    from chronicle.config.units import parse_duration
    from chronicle.core.errors import ConfigError

    try:
        spin_ns = parse_duration(spin)
    except ValueError as error:
        raise ConfigError(f"cannot use --spin: {error}") from error
    raise_descriptor_limit()
    settings = load_settings(need_home(home), os.environ)
    name = shard_name(settings, shard)
    config = etl_config(settings, name)
    with stopping() as stopper, live_line(f"shard {name}") as progress:
        from chronicle.etl.shards.shard import run_shard

        report = run_shard(
            home,
            source=open_source(home),
            shard=name,
            drain=drain,
            config=config,
            others=other_shards(settings, name),
            stop=stopper.event,
            progress=progress,
            spin_ns=spin_ns,
        )
    if as_json:
        show.echo_json(report.to_dict())
    else:
        print_report(report)
    ctx.exit(stopper.exit_code)
