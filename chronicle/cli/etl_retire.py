"""``chronicle etl retire``: a shard that is gone for good holds raw segments back no longer."""

from __future__ import annotations

import os
from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

_EPILOG = """\
\b
Examples:
  chronicle etl status --home data            its last lines name shards that are to be retired
  chronicle etl retire old --home data
\b
Raw segments stay until every shard that ever ran here is past them, and a shard that was taken out of
[etl] shards never will be. Refused while it runs, while it is configured, and while it has instruments that
no configured shard has taken over. Clean queues stay as they are; only etl/SHARD and its place in the raw
queues are removed.
"""


@click.command("retire", epilog=_EPILOG)
@click.argument("shard", metavar="SHARD")
@click.option("--give-up", is_flag=True, help="Also where nobody takes its instruments: their rest is not refined.")
@home_option
@json_option
def command(shard: str, give_up: bool, home: Path, as_json: bool) -> None:
    """Forget SHARD, which [etl] shards no longer names, so that raw segments need not wait for it."""
    from dataclasses import asdict

    from chronicle.cli.shards import other_shards
    from chronicle.config import load_settings
    from chronicle.core.errors import ConfigError
    from chronicle.etl.shards.retiring import retire_shard

    home = need_home(home)
    settings = load_settings(home, os.environ)
    if any(item.name == shard for item in settings.etl.shards):
        raise ConfigError(
            f"shard {shard} is configured: the next start would make it again",
            path=home / "chronicle.toml",
            expected="a shard that [etl] shards does not name",
            hint="take it out of [etl] shards first",
        )
    done = retire_shard(home, shard, other_shards(settings, shard), give_up=give_up)
    if as_json:
        show.echo_json(asdict(done))
        return
    freed = ", ".join(done.tailers) or "no raw queue"
    click.echo(
        f"shard {shard} is retired: {len(done.queues)} progress queues removed, {freed} waits for it no longer"
    )
    if done.given_up:
        click.echo(f"given up: {', '.join(done.given_up)}")
