"""``chronicle queue inspect``: what a queue looks like on this host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

if TYPE_CHECKING:
    from chronicle.core.queue import Queue

_EPILOG = """\
\b
Examples:
  chronicle queue inspect --home demo
  chronicle queue inspect raw/main.q --home demo
  chronicle queue inspect clean/kraken/btc_eur/book --json --home demo
\b
Watermarks: committed survives the writing process, synced a power cut, tiered the machine.
"""


@click.command("inspect", epilog=_EPILOG)
@click.argument("queue", required=False)
@home_option
@json_option
def command(queue: str | None, home: Path, as_json: bool) -> None:
    """Show the segments, watermarks and lock holder of QUEUE; without one, every queue in a line."""
    from chronicle.cli.queue import find_queue

    if queue is None:
        _all(need_home(home), as_json=as_json)
        return
    described = describe(find_queue(home, queue))
    if as_json:
        show.echo_json(described)
    else:
        _print(described)


def describe(queue: Queue) -> dict[str, Any]:
    """Return everything known of `queue` without reading its records; damaged segments carry an error."""
    from chronicle.core.errors import ChronicleError
    from chronicle.core.layout import NONE
    from chronicle.core.media import is_memory
    from chronicle.core.queue_folder import segment_info

    segments: list[dict[str, Any]] = []
    for number, path in queue.segment_files().items():
        try:
            info = segment_info(path, queue.name)
        except ChronicleError as error:
            segments.append({"segment": number, "location": str(path), "error": str(error)})
            continue
        segments.append(
            {
                "segment": info.number,
                "state": info.state.name.lower(),
                "first_index": info.base_index,
                "end_index": info.end_index,
                "records": info.record_count,
                "ts_first": None if info.ts_first == NONE else info.ts_first,
                "ts_last": None if info.ts_last == NONE else info.ts_last,
                "data_bytes": info.data_bytes,
                "size_bytes": info.size_bytes,
                "location": info.location,
            }
        )
    settings = queue.settings
    return {
        "queue": queue.name,
        "path": str(queue.path),
        "queue_id": settings.queue_id,
        "generation": settings.generation,
        "segment_bytes": settings.segment_bytes,
        "cycle_ns": settings.cycle_ns,
        "durability": settings.durability,
        "in_memory": is_memory(queue.path),
        "committed": _end_index(queue),
        **_survival(queue),
        "first_index": segments[0].get("first_index") if segments else None,
        "writer": queue.writer(),
        "segments": segments,
    }


def _end_index(queue: Queue) -> int | None:
    from chronicle.core.errors import ChronicleError

    try:
        return queue.end_index()
    except ChronicleError:
        return None


def _survival(queue: Queue) -> dict[str, int]:
    """Return the synced and tiered watermarks; of a damaged queue, what its control page says is not trusted."""
    from chronicle.core.errors import ChronicleError

    try:
        marks = queue.watermarks()
    except ChronicleError:
        return {"synced": 0, "tiered": 0}
    return {"synced": marks.synced, "tiered": marks.tiered}


def _print(described: dict[str, Any]) -> None:
    from chronicle.config.units import format_bytes

    writer = described["writer"]
    holder = f"pid {writer.get('pid')} on {writer.get('host')}" if writer else "none"
    committed, synced = described["committed"], described["synced"]
    click.echo(f"{described['queue']}  ({described['path']})")
    click.echo(f"  id {described['queue_id']}, generation {described['generation']}, writer: {holder}")
    click.echo(
        f"  committed {'unknown' if committed is None else format(committed, ',')}, synced {synced:,}, "
        f"tiered {described['tiered']:,}, "
        f"durability {described['durability']}{' (in memory: lost at a reboot)' if described['in_memory'] else ''}, "
        f"segments of {format_bytes(described['segment_bytes'])}"
    )
    if not described["segments"]:
        click.echo("  no segment on this host")
        return
    rows = []
    for item in described["segments"]:
        if "error" in item:
            rows.append((str(item["segment"]), "damaged", "-", "-", "-", "-", "-", item["error"]))
            continue
        rows.append(
            (
                str(item["segment"]),
                item["state"],
                item["first_index"],
                item["end_index"],
                show.moment(item["ts_first"]),
                show.moment(item["ts_last"]),
                format_bytes(item["data_bytes"]),
                format_bytes(item["size_bytes"]),
            )
        )
    columns = ("segment", "state", "first index", "end index", "first ts_recv", "last ts_recv", "records", "file")
    show.echo_table(columns, rows, right=("segment", "first index", "end index", "records", "file"))


def _all(home: Path, *, as_json: bool) -> None:
    from chronicle.core.local import LocalSource

    source = LocalSource(home)
    described = [describe(source.queue(name)) for name in source.queues()]
    if as_json:
        show.echo_json(described)
        return
    if not described:
        click.echo("No queues here yet. `chronicle feed replay --help` tells how to fill a home.")
        return
    rows = [
        (
            item["queue"],
            len(item["segments"]),
            item["first_index"],
            item["committed"],
            f"pid {item['writer'].get('pid')}" if item["writer"] else "-",
            "damaged" if any("error" in part for part in item["segments"]) else "ok",
        )
        for item in described
    ]
    columns = ("queue", "segments", "first index", "end index", "writer", "state")
    show.echo_table(columns, rows, right=("segments", "first index", "end index"))
