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
\b
A shard continues where its own output ends: killed and started again it neither loses nor doubles a
record. It ends on SIGTERM or Ctrl-C after the window in hand.
"""


@click.command("run", epilog=_EPILOG)
@click.option("--drain", is_flag=True, help="Work off everything committed, seal the queues, and end.")
@click.option("--shard", help="Which shard of [etl] shards; not needed when there is one.")
@home_option
@json_option
@click.pass_context
def command(ctx: click.Context, drain: bool, shard: str | None, home: Path, as_json: bool) -> None:
    """Turn raw queues into clean queues per instrument: CHANNEL.q under clean/VENUE/base_quote."""
    from chronicle.cli.limits import raise_descriptor_limit
    from chronicle.cli.shards import etl_config, live_line, other_shards, print_report, shard_name
    from chronicle.cli.sources import open_source
    from chronicle.cli.stopping import stopping
    from chronicle.config import load_settings

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
        )
    if as_json:
        show.echo_json(report.to_dict())
    else:
        print_report(report)
    ctx.exit(stopper.exit_code)
