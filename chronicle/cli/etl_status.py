"""``chronicle etl status``: how far each shard has come, against the end of the raw queue."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

_EPILOG = """\
\b
Examples:
  chronicle etl status --home data
  chronicle etl status --json --home data
\b
Behind counts raw records and the time between the last one and the shard's frontier. A shard publishes
its frontier once a second while it works, and at its end. p50 and p99 are the time from receipt (ts_recv)
to the clean queue, over the windows of the shard's last live run.
\b
Several raw queues of a home are merged by ts_recv: the frontier is that of all, and a queue that brings
nothing holds the others back (an idle feed writes heartbeats). The last lines say who waits for whom, and
which shards are configured no longer and hold raw segments back (`chronicle etl retire`).
"""


@click.command("status", epilog=_EPILOG)
@home_option
@json_option
def command(home: Path, as_json: bool) -> None:
    """Show each shard's frontier, how far it is behind, and whether it runs."""
    from chronicle.config import load_settings
    from chronicle.config.units import format_duration

    rows = shard_rows(need_home(home))
    configured = {item.name for item in load_settings(home, os.environ).etl.shards}
    for row in rows:
        row["configured"] = row["shard"] in configured
    if as_json:
        show.echo_json(rows)
        return
    if not rows:
        click.echo("No shard has run here yet: `chronicle etl run --drain` works off what is captured.")
        return
    cells = [
        (
            row["shard"],
            row["raw_queue"],
            row["frontier_index"],
            row["end_index"],
            row["behind_records"],
            "-" if row["behind_ns"] is None else format_duration(row["behind_ns"]),
            show.moment(row["frontier_ts"]),
            _microseconds(row["latency"], "p50_ns"),
            _microseconds(row["latency"], "p99_ns"),
            f"pid {row['writer'].get('pid')}" if row["writer"] else "not running",
        )
        for row in rows
    ]
    columns = (
        "shard",
        "raw queue",
        "frontier",
        "end",
        "behind",
        "time behind",
        "frontier ts_recv",
        "p50",
        "p99",
        "state",
    )
    show.echo_table(columns, cells, right=("frontier", "end", "behind", "time behind", "p50", "p99"))
    for shard in dict.fromkeys(row["shard"] for row in rows):
        own = next(row for row in rows if row["shard"] == shard)
        if own["lines"]:
            firsts = ", ".join(f"{line} {count:,}" for line, count in own["lines"].items())
            rest = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in sorted(own["race"].items()))
            click.echo(f"shard {shard}, redundant lines: first with {firsts}; {rest or 'no copies'}")
    for row in rows:
        if row["holds_back"]:
            click.echo(_waiting(row))
    for shard in dict.fromkeys(row["shard"] for row in rows if not row["configured"]):
        click.echo(_retired(shard, [row for row in rows if row["shard"] == shard]))


def _retired(shard: str, rows: list[dict[str, Any]]) -> str:
    """Return what to do about a shard that is not configured any more."""
    held = ", ".join(f"{row['raw_queue']} from record {row['frontier_index']:,}" for row in rows)
    return f"shard {shard} is not in [etl] shards and holds back {held}: `chronicle etl retire {shard}` lets go of it"


def _waiting(row: dict[str, Any]) -> str:
    """Return what to do about a raw queue that others wait for."""
    raw = row["raw_queue"]
    who = "its feed runs, but says nothing" if row["feed"] else "no feed writes it"
    return (
        f"shard {row['shard']} waits for {raw}: no record or heartbeat since {show.moment(row['end_ts'])}, {who}; "
        f"start the feed, or `chronicle etl leave {raw}`"
    )


def _microseconds(latency: dict[str, Any] | None, name: str) -> str:
    """Return a quantile of the time from receipt to the clean queue as text."""
    value = (latency or {}).get("raw_to_clean", {}).get(name)
    return "-" if value is None else f"{value / 1000:,.0f} us"


def shard_rows(home: Path) -> list[dict[str, Any]]:
    """Return one row for each shard and raw lane."""
    from chronicle.core.errors import ChronicleError
    from chronicle.core.layout import NONE, Kind
    from chronicle.core.local import LocalSource
    from chronicle.core.membership import DecisionLog
    from chronicle.core.paths import read_by
    from chronicle.etl.merge.members import standings
    from chronicle.etl.shards.live_file import read_latency

    source = LocalSource(home)
    log = DecisionLog(home)
    log.poll()
    log.close()
    members = standings(log.decisions)
    rows: list[dict[str, Any]] = []
    for name in source.queues("etl/"):
        queue = source.queue(name)
        raw = read_by(name)
        last = queue.last_record()
        fields = last.fields() if last is not None and last.kind == Kind.PROGRESS else {}
        frontier, frontier_ts = fields.get("frontier_index", 0), fields.get("frontier_ts", NONE)
        try:
            target = source.queue(raw)
            end, end_ts = target.end_index(), target.last_ts_recv()
        except ChronicleError:
            target, end, end_ts = None, None, NONE
        said = read_latency(home, name.split("/")[1]) or {}
        known = end is not None and end_ts > 0 and frontier_ts > 0
        rows.append(
            {
                "shard": name.split("/")[1],
                "raw_queue": raw,
                "frontier_index": frontier,
                "frontier_ts": None if frontier_ts == NONE else frontier_ts,
                "end_index": end,
                "behind_records": None if end is None else max(0, end - frontier),
                "behind_ns": max(0, end_ts - frontier_ts) if known else None,
                "latency": said.get("latency"),
                "lines": said.get("lines", {}),
                "race": said.get("race", {}),
                "writer": queue.writer(),
                "end_ts": end_ts if end_ts > 0 else None,
                "takes_part": raw in members and members[raw].left_at is None,
                "left_ts": members[raw].left_ts if raw in members and members[raw].left_at is not None else None,
                "feed": None if target is None else target.writer(),
                "holds_back": False,
            }
        )
    _find_blockers(rows)
    return rows


def _find_blockers(rows: list[dict[str, Any]]) -> None:
    """Mark the raw queues that are worked off to their ends while records of others, behind them in time, wait."""
    for row in rows:
        done = row["takes_part"] and row["behind_records"] == 0
        row["holds_back"] = done and any(
            other["shard"] == row["shard"]
            and other["takes_part"]
            and other["behind_records"]
            and (other["end_ts"] or 0) >= (row["end_ts"] or 0)
            for other in rows
        )
