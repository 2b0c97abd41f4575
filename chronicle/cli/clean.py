"""``chronicle clean``: remove what homes left in shared memory."""

from __future__ import annotations

from pathlib import Path

import click

from chronicle.cli import show
from chronicle.cli.options import json_option, resolve_home

_EPILOG = """\
\b
Examples:
  chronicle clean --dry-run                 say what would be removed
  chronicle clean                           remove the memory of homes that are gone
  chronicle clean --home data --yes         remove the raw queues of this home, too
\b
A folder in which a writer is alive, another user's folder, and the memory of a home that still
links to it are never touched. Raw records that are in no tier yet are lost with --home --yes.
"""


@click.command("clean", epilog=_EPILOG)
@click.option("--home", metavar="DIR", default=None, help="Also remove this home's own raw queues (needs --yes).")
@click.option("--yes", is_flag=True, help="Confirm that the raw queues of --home may go.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
def command(home: str | None, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove memory folders in /dev/shm whose homes are gone."""
    from chronicle.config.leftovers import find_memory, remove_memory
    from chronicle.config.units import format_bytes

    removed = []
    kept = []
    for leftover in find_memory():
        if leftover.state != "gone":
            kept.append(leftover)
            continue
        if not dry_run:
            remove_memory(leftover.folder)
        removed.append({"folder": str(leftover.folder), "home": leftover.home, "bytes": leftover.size_bytes})
    if home is not None:
        removed += _clean_home(resolve_home(home), yes=yes, dry_run=dry_run)
    if as_json:
        others = [{"folder": str(item.folder), "home": item.home, "state": item.state} for item in kept]
        show.echo_json({"removed": removed, "kept": others, "dry_run": dry_run})
        return
    verb = "Would remove" if dry_run else "Removed"
    for item in removed:
        click.echo(f"{verb} {item['folder']} ({format_bytes(int(str(item['bytes'])))}), left by {item['home']}")
    for leftover in kept:
        click.echo(f"Kept {leftover.folder}: {leftover.state}" + (f" by {leftover.home}" if leftover.home else ""))
    if not removed:
        click.echo("Nothing to remove.")


def _clean_home(home: Path, *, yes: bool, dry_run: bool) -> list[dict[str, object]]:
    from chronicle.cli.options import need_home
    from chronicle.config.home import raw_place
    from chronicle.config.leftovers import folder_bytes, locked_queues, remove_memory
    from chronicle.core.errors import ConfigError, QueueLockedError

    need_home(home)
    place = raw_place(home)
    raw = home / "raw"
    folder = raw if place is None else place.parent
    if not folder.is_dir():
        return []
    locked = locked_queues(folder)
    if locked:
        raise QueueLockedError("a live writer is in this home's raw queues: nothing was removed", path=locked[0])
    item: dict[str, object] = {"folder": str(folder), "home": str(home), "bytes": folder_bytes(folder)}
    if dry_run:
        return [item]
    if not yes:
        raise ConfigError(
            "this removes the home's raw queues, with every record that is in no tier yet",
            path=folder,
            hint="repeat it with --yes if that is what you want",
        )
    remove_memory(folder)
    if place is not None:
        raw.unlink()
    return [item]
