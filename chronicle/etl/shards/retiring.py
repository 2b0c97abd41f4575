"""A shard that is gone for good: what it kept for a restart is removed, so that it holds no raw records back.

Whose instruments nobody else has taken over is not retired: their records behind its last one would never be refined.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from chronicle.core.clock import SystemClock
from chronicle.core.durable import file_errors, remove_file, sync_folder
from chronicle.core.errors import NotFoundError, QueueLockedError, StateError
from chronicle.core.local import LocalSource
from chronicle.core.queue import SETTINGS_NAME
from chronicle.core.registry import drop_tailer
from chronicle.core.selection import Selection
from chronicle.core.writer_lock import WriterLock
from chronicle.etl.shards.checkpoint import Checkpoint, read_checkpoint

__all__ = ["Retirement", "retire_shard"]

NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Retirement:
    """What was removed: the shard's progress queues, its tailers by raw queue; instruments that were given up."""

    shard: str
    queues: tuple[str, ...]
    tailers: tuple[str, ...]
    given_up: tuple[str, ...]


def retire_shard(
    home: str | Path, shard: str, others: Mapping[str, Selection], *, give_up: bool = False
) -> Retirement:
    """Remove what a shard left behind: ``etl/SHARD`` and its tailers of raw queues. Its clean queues stay.

    One that was cut short is finished by the next call.

    Parameters
    ----------
    others : mapping
        What the shards that stay work on, by name.
    give_up : bool
        Also where instruments are left that none of these has taken over.

    Raises
    ------
    NotFoundError
        When nothing is left of such a shard.
    QueueLockedError
        When it runs.
    StateError
        When instruments of it are taken by nobody, or not yet.
    """
    home, source = Path(home), LocalSource(home)
    folder = home / "etl" / shard
    tailers = tuple(
        raw for raw in source.queues("raw/") if f"etl-{shard}" in {item.name for item in source.queue(raw).tailers()}
    )
    shards = {entry.name for entry in (home / "etl").iterdir()} if (home / "etl").is_dir() else set()
    if shard not in shards and not tailers:
        raise NotFoundError(
            f"nothing is left of a shard {shard[:80]!r}", path=home / "etl", expected=", ".join(sorted(shards)) or "-"
        )
    queues = tuple(name for name in source.queues("etl/") if name.split("/")[1] == shard)
    with ExitStack() as held:
        for name in queues:
            held.callback(_stopped(home / name, shard).release)
        left = _left_behind(home, shard, others)
        if left and not give_up:
            raise _refusal(folder, shard, left, others)
        for raw in tailers:
            drop_tailer(home / raw, f"etl-{shard}")
        with file_errors("remove a shard's folder", folder):
            for name in queues:
                remove_file(home / name / SETTINGS_NAME)  # no queue from here on, wherever this is cut short
            if folder.is_dir():
                shutil.rmtree(folder)
                sync_folder(folder.parent)
    return Retirement(shard, queues, tailers, tuple(sorted(left)))


def _stopped(queue: Path, shard: str) -> WriterLock:
    """Take the lock of a progress queue: nobody runs the shard, or starts it meanwhile."""
    try:
        return WriterLock.acquire(queue, started_ns=SystemClock().now_ns())
    except QueueLockedError as error:
        raise QueueLockedError(
            f"shard {shard} runs",
            path=queue,
            expected="a shard that was stopped",
            found=error.found,
            hint="stop it first (SIGTERM)",
        ) from error


def _left_behind(home: Path, shard: str, others: Mapping[str, Selection]) -> dict[str, str | None]:
    """Return {instrument: the shard that is to take it, and has not yet; None: nobody is}."""
    found = [item for path in sorted((home / "etl").glob("*/*")) if (item := _checkpoint(path)) is not None]
    mine = [item for item in found if item.path.parent.name == shard]
    theirs = [item for item in found if item.path.parent.name in others and not _is_handover(item)]
    left: dict[str, str | None] = {}
    for own in _newest(mine):
        for symbol in {symbol for symbol, _ in own.state["canonical"] if own.selection.selects(symbol)}:
            taker = next((name for name, selection in others.items() if selection.selects(symbol)), None)
            if taker is None or not any(_reaches(other, own, taker, symbol) for other in theirs):
                left[symbol] = taker
    return left


def _reaches(other: Checkpoint, own: Checkpoint, taker: str, symbol: str) -> bool:
    """Return whether the shard that is to take an instrument has come as far as its former one."""
    same = other.identity.get("raw_queue") == own.identity.get("raw_queue")
    mine = other.path.parent.name == taker and other.selection.selects(symbol)
    return same and mine and other.next_index >= own.next_index


def _newest(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Return what was given away, and of each raw queue's alternating checkpoints the newest."""
    found: dict[object, Checkpoint] = {}
    for item in checkpoints:
        key = item.path.name if _is_handover(item) else item.identity.get("raw_queue")
        if key not in found or found[key].next_index < item.next_index:
            found[key] = item
    return list(found.values())


def _checkpoint(path: Path) -> Checkpoint | None:
    return read_checkpoint(path) if path.name.startswith(("checkpoint-", "handover-")) and path.is_file() else None


def _is_handover(checkpoint: Checkpoint) -> bool:
    return checkpoint.path.name.startswith("handover-")


def _refusal(folder: Path, shard: str, left: Mapping[str, str | None], others: Mapping[str, Selection]) -> StateError:
    """Return what is in the way, the worst first."""
    nobody = sorted(symbol for symbol, taker in left.items() if taker is None)
    named = nobody or sorted(left)
    names = ", ".join(named[:NAMES_SHOWN]) + (f" and {len(named) - NAMES_SHOWN} more" if named[NAMES_SHOWN:] else "")
    if nobody:
        return StateError(
            f"shard {shard} has instruments that no other shard takes: {names}",
            path=folder,
            expected=f"each in one of {', '.join(sorted(others)) or 'no shards'}",
            found=f"{len(nobody)} in none",
            hint="name them in another shard of [etl] shards, or --give-up what is not refined of them yet",
        )
    takers = sorted({taker for taker in left.values() if taker is not None})
    return StateError(
        f"{names} of shard {shard} were not taken over yet by {', '.join(takers)}",
        path=folder,
        expected="a checkpoint of the new shard behind the old one's",
        found=f"{len(left)} instruments without",
        hint=f"run it first: chronicle etl run --drain --shard {takers[0]}",
    )
