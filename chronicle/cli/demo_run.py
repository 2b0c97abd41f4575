"""The demo's processes: started in order, watched, stopped in order; then drained and archived."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chronicle.cli.processes import Child, Crew
from chronicle.config.home import prepare_home, raw_place
from chronicle.config.leftovers import locked_queues, remove_memory
from chronicle.core.clock import Clock, SystemClock
from chronicle.core.durable import publish_bytes
from chronicle.core.errors import ChronicleError, QueueLockedError, StateError

__all__ = ["DemoTimings", "run_demo"]

MARKER_NAME = "demo.json"
LOGS_NAME = "logs"
RATE = 400
"""Market messages a second of the simulated exchange."""
SYMBOLS = ("XBT/USD", "ETH/USD", "XBT/EUR")
READY_SECONDS = 120.0
FIRST_BOOK_SECONDS = 600.0
"""The ETL's first window compiles kernels where none are cached. A process that ends is told of at once; the bound is
for one that hangs, on the slowest machine."""
DRAIN_SECONDS = 600.0
TICK_NS = 250_000_000
NS_PER_SECOND = 1_000_000_000

_SETTINGS = """\
# Settings of a demo: small segments and short times, so that a few seconds show every step.
[home]
id = {id}

[raw]
segment_bytes = "512 KiB"
# On the home's disk, so that removing the folder removes all of it. `chronicle init` would use /dev/shm.
memory = "home"

[etl]
snapshot_interval = "2s"

[agent]
interval = "1s"

[[policy]]
match = ["*"]
from = "hot"
to = "warm"
after = "2s"

# The simulated exchange is gone after the demo. To run it again:
#   python -m chronicle.feed.simulator --port {port}
[[feeds]]
venue = "kraken"
symbols = {symbols}
url = "ws://127.0.0.1:{port}"
"""

Say = Callable[[str], Any]


@dataclass(slots=True)
class DemoTimings:
    """What was measured while it ran. `lags` are (raw records behind, ns behind) of the shard, once a second."""

    seconds: float = 0.0
    start_ns: int = 0
    stop_ns: int = 0
    lags: list[tuple[int, int]] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)


def run_demo(folder: Path, *, seconds: float, seed: int, say: Say, clock: Clock | None = None) -> DemoTimings:
    """Run the whole system in `folder` for `seconds`, then drain and archive everything.

    Raises
    ------
    StateError
        When the folder holds something else, or one of the processes fails; none of them is left behind.
    """
    clock = clock or SystemClock()
    _make_room(folder, say)
    timings = DemoTimings()
    with Crew(folder / LOGS_NAME, clock) as crew:
        exchange = crew.start("exchange", "chronicle.feed.simulator", ["--seed", str(seed), "--rate", str(RATE)])
        port = int(crew.wait_for_text(exchange, "", timeout_s=READY_SECONDS).strip())
        _prepare(folder, port, say)
        say(f"exchange: simulated Kraken on ws://127.0.0.1:{port}, seed {seed}, {RATE} messages/s")
        home = ["--home", str(folder)]
        feed = crew.start("feed", "chronicle", ["feed", "run", *home])
        etl = crew.start("etl", "chronicle", ["etl", "run", *home])
        agent = crew.start("agent", "chronicle", ["tier", "run", *home])
        pids = ", ".join(f"{child.name} (pid {child.process.pid})" for child in (feed, etl, agent))
        say(f"started: {pids}")
        with _timed(timings, "first books", clock):
            _wait_for_books(folder, crew, etl, clock, say)
        crew.wait_for_text(agent, "agent of", timeout_s=READY_SECONDS)  # from here on it hears that it is to end
        _watch(folder, crew, seconds, clock, timings, say)
        with _timed(timings, "stop", clock):
            for child in (feed, exchange, etl, agent):
                if child.stop(DRAIN_SECONDS) != 0:
                    raise child.failure("did not end well")
        say("stopped: feed, exchange, ETL, agent; draining and archiving")
        with _timed(timings, "drain", clock):
            crew.run("drain", "chronicle", ["etl", "run", "--drain", *home], timeout_s=DRAIN_SECONDS)
        with _timed(timings, "archive", clock):
            crew.run("archive", "chronicle", ["tier", "apply", "--all", *home], timeout_s=DRAIN_SECONDS)
    return timings


def _make_room(folder: Path, say: Say) -> None:
    """Remove an earlier demo; refuse anything else that is there."""
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARKER_NAME).is_file()):
        raise StateError(
            "the demo's folder holds something that is not a demo: it is left alone",
            path=folder,
            hint="name another one with --dir",
        )
    locked = locked_queues(folder)
    if locked:
        raise QueueLockedError(
            "an earlier demo still runs here", path=locked[0], hint="stop it, or use another --dir"
        )
    place = raw_place(folder)
    if place is not None and place.is_dir():
        remove_memory(place.parent)
    if any(folder.iterdir()):
        say(f"replacing the earlier demo in {folder}")
        for entry in folder.iterdir():
            if entry.name != MARKER_NAME:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        shutil.rmtree(folder)  # its mark last: killed meanwhile, it is a demo still


def _prepare(folder: Path, port: int, say: Say) -> None:
    publish_bytes(folder / MARKER_NAME, json.dumps({"demo": "chronicle", "port": port}).encode())
    text = _SETTINGS.format(id=json.dumps(os.urandom(6).hex()), port=port, symbols=json.dumps(SYMBOLS))
    publish_bytes(folder / "chronicle.toml", text.encode())
    state = prepare_home(folder, {}, say)
    say(f"home: {state.home} (raw queue in {state.raw})")


def _wait_for_books(folder: Path, crew: Crew, etl: Child, clock: Clock, say: Say) -> None:
    """Return when every book is there, checked by the venue, and the shard has published its first frontier."""
    deadline = clock.monotonic_ns() + int(FIRST_BOOK_SECONDS * NS_PER_SECOND)
    say("waiting for the first books (the first run on a machine compiles kernels)")
    while clock.monotonic_ns() < deadline:
        crew.refuse_dead()
        if _lag(folder) is not None and _all_books_are_checked(folder):
            return
        clock.sleep_ns(TICK_NS)
    raise etl.failure(f"made no clean books within {FIRST_BOOK_SECONDS:.0f} s")


def _all_books_are_checked(folder: Path) -> bool:
    """Return whether each instrument has a book that the venue's checksum confirms: from here on all moments have."""
    import chronicle

    try:
        with chronicle.open(folder) as store:
            symbols = [item.symbol for item in store.instruments() if "book" in item.channels]
            books = [store.book(symbol, depth=1) for symbol in symbols]
    except (ChronicleError, OSError):
        return False  # a queue that is being made, or a segment that moved meanwhile
    return len(books) == len(SYMBOLS) and all((b.status, b.verified_by) == ("ok", "checksum") for b in books)


def _watch(folder: Path, crew: Crew, seconds: float, clock: Clock, timings: DemoTimings, say: Say) -> None:
    """Let it run, and measure how far the shard is behind."""
    start = clock.monotonic_ns()
    timings.start_ns = clock.now_ns()
    told = 0.0
    while (elapsed := (clock.monotonic_ns() - start) / NS_PER_SECOND) < seconds:
        crew.refuse_dead()
        behind = _lag(folder)
        if behind is not None:
            timings.lags.append(behind)
            if elapsed - told >= 3:
                told = elapsed
                say(f"  {elapsed:4.0f} s: {_raw_end(folder):,} raw records, the shard {behind[0]:,} behind")
        clock.sleep_ns(TICK_NS)
    timings.stop_ns = clock.now_ns()
    timings.seconds = seconds


def _lag(folder: Path) -> tuple[int, int] | None:
    """Return (raw records, ns) by which the shard is behind; None before it published anything."""
    from chronicle.cli.etl_status import shard_rows

    try:
        rows = [row for row in shard_rows(folder) if row["frontier_index"] and row["behind_ns"] is not None]
    except (ChronicleError, OSError):
        return None  # a segment moved to another tier between look and open; the next look sees it there
    return (rows[0]["behind_records"], rows[0]["behind_ns"]) if rows else None


def _raw_end(folder: Path) -> int:
    from chronicle.core.queue import Queue

    try:
        return Queue.open(folder / "raw" / "main.q").end_index()
    except (ChronicleError, OSError):
        return 0


@contextmanager
def _timed(timings: DemoTimings, step: str, clock: Clock) -> Iterator[None]:
    start = clock.monotonic_ns()
    yield
    timings.steps[step] = (clock.monotonic_ns() - start) / NS_PER_SECOND
