"""``chronicle init``: create a home."""

from __future__ import annotations

import os
from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option

_EPILOG = """\
\b
Examples:
  chronicle init --home data
  chronicle init --home data --memory home     keep the raw queue on the disk, not in /dev/shm
  CHRONICLE_HOME=data chronicle init --json
\b
It may be run again at any time: what is there stays. After a reboot it puts back the raw queue's
place in /dev/shm (records that were only there are gone; see docs/operations.md).
"""


@click.command("init", epilog=_EPILOG)
@home_option
@click.option("--memory", type=click.Choice(["auto", "shm", "home"]), help="Where raw/ lives; default [raw] memory.")
@json_option
def command(home: Path, memory: str | None, as_json: bool) -> None:
    """Create a home: its folders, a commented chronicle.toml, and the raw queue's memory.

    raw/ becomes a link into /dev/shm when that has room, else it lies beside the other folders.
    """
    from chronicle.config.home import prepare_home

    state = prepare_home(home, os.environ, show.note, memory=memory)
    if as_json:
        show.echo_json(
            {
                "home": str(state.home),
                "id": state.id,
                "raw": str(state.raw),
                "in_memory": state.in_memory,
                "created": state.created,
                "restored": state.restored,
            }
        )
        return
    click.echo(f"{'Created' if state.created else 'Found'} the home {state.home}")
    where = "shared memory: survives a killed process, not a reboot" if state.in_memory else "on the home's disk"
    click.echo(f"Raw queues: {state.raw} ({where})")
    click.echo(f"Settings:   {state.home / 'chronicle.toml'}")
    if state.created:
        click.echo(f"Next:       chronicle feed replay --help, or: chronicle demo --dir {state.home}-demo")
