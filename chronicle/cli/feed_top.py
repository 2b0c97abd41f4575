"""``chronicle feed top``: the live feed's lines as they are now, and how fast they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chronicle.cli import show
from chronicle.cli.options import home_option, json_option, need_home

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from chronicle.feed.status import FeedStatus, LineStatus

_EPILOG = """\
\b
Examples:
  chronicle feed top --home data
  chronicle feed top --once --home data
  chronicle feed top --json --home data             the present state, for programs
\b
Columns: msg/s over the last interval; lag is how far receipt lies behind the venue's time, with how far our
clock is behind the venue's where events came before they were sent; oldest is the
book that was silent longest and for how long; stalled are books silent for longer than [feed] stall_after;
gaps are holes in the venue's numbers; first, missed and behind compare redundant lines: what each had before
the others, what it never had, and how late it was on average and at most. A multicast feed has a row for each
of its groups. Ctrl-C ends the view, not the feed. Where feeds write queues of their own, each is shown; --json
is then a list.
"""
_COLUMNS = (
    *("queue", "line", "venue", "state", "msg/s", "kB/s", "lag", "streams", "oldest", "stalled", "gaps"),
    *("connects", "failures", "first", "missed", "behind", "last error"),
)
_LEAST = (
    *("behind", "missed", "first", "kB/s", "connects", "queue", "streams", "failures", "gaps", "oldest"),
    *("stalled", "last error", "lag"),
)
"""The columns that a narrow terminal goes without, the first to go first."""
ERROR_WIDTH = 12
CLOCK_FLAGGED_NS = 1_000_000
_RIGHT = frozenset(_COLUMNS) - {"queue", "venue", "state", "oldest", "last error"}
_STATE, _STALLED = _COLUMNS.index("state"), _COLUMNS.index("stalled")


@click.command("top", epilog=_EPILOG)
@click.option("--once", is_flag=True, help="Print the present state once.")
@click.option("--interval", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, help="Seconds.")
@home_option
@json_option
def command(once: bool, interval: float, home: Path, as_json: bool) -> None:
    """Show the lines of the home's live feeds, again and again, until Ctrl-C."""
    from chronicle.core.clock import SystemClock
    from chronicle.feed.status import read_statuses

    statuses = read_statuses(need_home(home))
    if as_json:
        values = [status.to_dict() for status in statuses]
        show.echo_json(values[0] if len(values) == 1 else values or None)
        return
    if not statuses:
        click.echo("No live feed has run here: `chronicle feed run --help` tells how to start one.")
        return
    if once or not show.on_terminal():
        title, rows = views(statuses, {})
        show.echo_table(_COLUMNS, rows, right=tuple(_RIGHT), title=title)
        return
    from rich.live import Live

    clock = SystemClock()
    seen: dict[str, FeedStatus] = {}
    before: dict[str, FeedStatus] = {}
    with Live(screen=True, auto_refresh=False) as live:
        while True:  # until Ctrl-C
            for status in read_statuses(home):
                known = seen.get(status.raw)
                if known is None or known.ts != status.ts:
                    before[status.raw] = known or status
                    seen[status.raw] = status
            title, rows = views(list(seen.values()), before)
            live.update(render(title, rows, live.console.width), refresh=True)
            clock.sleep_ns(int(interval * 1e9))


def views(statuses: list[FeedStatus], before: Mapping[str, FeedStatus]) -> tuple[str, list[tuple[Any, ...]]]:
    """Return title and rows of all feeds; `before` holds what each raw queue's feed said the last time."""
    titles, rows = [], []
    for status in statuses:
        earlier = before.get(status.raw)
        title, own = table(status, earlier if earlier is not None and earlier.ts < status.ts else None)
        titles.append(title)
        rows += own
    return "\n".join(titles), rows


def table(status: FeedStatus, before: FeedStatus | None) -> tuple[str, list[tuple[Any, ...]]]:
    """Return title and rows of one feed; rates are those since `before`, those of the whole session without it."""
    from chronicle.config.units import format_duration

    ended = " ENDED" if status.ended else ""
    queues = ", ".join(f"{q.name} {q.committed:,} (synced {q.synced:,})" for q in status.queues)
    breakers = [f"{item.venue} {item.breaker}" for item in status.rest if item.breaker != "closed"]
    title = (
        f"{status.capture}{ended}  pid {status.pid}  {show.moment(status.ts)}  {status.records:,} records  "
        f"{status.decode_errors} decode errors  {status.lost} lost  {status.resyncs} resyncs  {queues}"
        + (f"  REST: {', '.join(breakers)}" if breakers else "")
    )
    known = {line.number: line for line in before.lines} if before is not None else {}
    rows = []
    for line in status.lines:
        messages, kilobytes = _rates(status, line, before, known.get(line.number))
        age = format_duration(max(0, status.ts - line.oldest_stream_ts)) if line.oldest_stream_ts else "-"
        rows.append(
            (
                status.raw.removeprefix("raw/").removesuffix(".q"),
                str(line.number),
                line.venue,
                "up" if line.is_up else "down",
                messages,
                kilobytes,
                _lag(line),
                line.stream_count,
                f"{line.oldest_stream} {age}".strip(),
                line.stalled,
                line.multicast.get("arbitration", {}).get("given_up", 0) if line.multicast else line.gaps,
                line.connect_count,
                line.failure_count,
                line.first,
                line.missed,
                _behind(line),
                line.last_error[:60] or "-",
            )
        )
        rows += _groups(line)
    return title, rows


def _lag(line: LineStatus) -> str:
    """Return how far receipt lies behind the venue's time, and how far our clock does where that was seen."""
    clock = f" (clock {-line.clock_behind_ns / 1e6:,.0f} ms)" if line.clock_behind_ns >= CLOCK_FLAGGED_NS else ""
    return f"{line.lag_ns / 1e6:.1f} ms{clock}"


def _behind(line: LineStatus) -> str:
    """Return how late a redundant line was: on average and at most."""
    if not line.later:
        return "-"
    return f"{line.behind_ns / line.later / 1e6:.2f} / {line.behind_ns_max / 1e6:.1f} ms"


def _groups(line: LineStatus) -> list[tuple[Any, ...]]:
    """Return a row for each group of a multicast feed: packets that it had first and again, and what was dropped."""
    arbitration, dropped = line.multicast.get("arbitration", {}), line.multicast.get("dropped", {})
    counts = {name: arbitration.get(name, {}) for name in ("won", "duplicates", "filled")}
    groups = dict.fromkeys([*dropped, *counts["won"], *counts["duplicates"]])
    empty = ("",) * len(_COLUMNS)
    rows = []
    for group in groups:
        row = dict(zip(_COLUMNS, empty, strict=True))
        row["venue"], row["first"] = f"  {group}", counts["won"].get(group, 0)
        told = f"{counts['duplicates'].get(group, 0)} again, {counts['filled'].get(group, 0)} filled a hole"
        row["last error"] = f"{told}, {dropped.get(group, 0)} dropped by the kernel"
        rows.append(tuple(row.values()))
    return rows


def _rates(
    status: FeedStatus, line: LineStatus, before: FeedStatus | None, earlier: LineStatus | None
) -> tuple[str, str]:
    start = int(status.capture.removeprefix("live-")) if status.capture[5:].isdigit() else status.ts
    seconds = max((status.ts - (before.ts if before is not None else start)) / 1e9, 1e-3)
    frames = line.frames - (earlier.frames if earlier is not None else 0)
    size = line.bytes - (earlier.bytes if earlier is not None else 0)
    return f"{frames / seconds:,.1f}", f"{size / seconds / 1000:,.1f}"


def render(title: str, rows: list[tuple[Any, ...]], width: int) -> RenderableType:
    """Return the view for a terminal of `width` columns."""
    from rich.markup import escape
    from rich.table import Table

    cells = [[show.printable(str(cell)) for cell in row] for row in rows]
    shown = columns_for(cells, width)
    left_out = [name for name in _COLUMNS if name not in shown]
    caption = f"no room for {', '.join(left_out)}: a wider terminal, or --once" if left_out else None
    found = Table(title=escape(title), title_justify="left", expand=True, caption=caption, caption_justify="left")
    for name in shown:
        found.add_column(name, justify="right" if name in _RIGHT else "left", no_wrap=name != "last error")
    for row in cells:
        style = "red" if row[_STATE] == "down" else "yellow" if row[_STALLED] not in ("", "0") else ""
        found.add_row(*(escape(row[_COLUMNS.index(name)]) for name in shown), style=style)
    return found


def columns_for(cells: list[list[str]], width: int) -> list[str]:
    """Return the columns that `width` has room for, each as wide as its cells: what matters least is left out."""
    wide = {name: max([len(name), *(len(row[at]) for row in cells)]) for at, name in enumerate(_COLUMNS)}
    wide["last error"] = min(wide["last error"], ERROR_WIDTH)  # it may go on in lines of its own
    shown = list(_COLUMNS)
    for name in _LEAST:
        if sum(wide[each] + 3 for each in shown) + 1 <= width:
            break
        shown.remove(name)
    return shown
