"""Which shard has which instruments: no clean queue may be written by two.

A shard leaves its selection beside its progress before it writes anything. At its start, and at each definition of an
instrument, what it selects is held against the other configured shards and against those that run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from chronicle.core.durable import publish_bytes
from chronicle.core.errors import ChronicleError, ConfigError, QueueLockedError
from chronicle.core.local import LocalSource
from chronicle.core.selection import Selection

__all__ = ["Claims"]

CLAIM_NAME = "selection.json"


class Claims:
    """What this shard has, and what others have.

    Parameters
    ----------
    target : Path
        The home (or rebuild) whose clean queues are written.
    shard : str
        This shard.
    selection : Selection
        What it works on.
    others : mapping
        Selections of the other configured shards by name.
    """

    def __init__(self, target: Path, shard: str, selection: Selection, others: Mapping[str, Selection]) -> None:
        self._target = target
        self.shard = shard
        self.selection = selection
        self._others = dict(others)
        self._others.pop(shard, None)

    def publish(self) -> None:
        """Leave this shard's selection for others, then take up theirs: of two that start at once, one sees it."""
        folder = self._target / "etl" / self.shard
        folder.mkdir(parents=True, exist_ok=True)
        publish_bytes(folder / CLAIM_NAME, json.dumps(self.selection.to_dict()).encode())
        for name in self.running():
            stored = self._stored(name)
            if stored is not None:
                self._others[name] = stored

    def selects(self, symbol: str) -> bool:
        """Return whether `symbol` is this shard's.

        Raises
        ------
        ConfigError
            When another shard has it too.
        """
        if not self.selection.selects(symbol):
            return False
        for name, other in self._others.items():
            if other.selects(symbol):
                raise ConfigError(
                    f"shards {self.shard} and {name} both have {symbol}: two shards would write its queues",
                    expected="each instrument in one shard",
                    found=f"{_words(self.selection)} and {_words(other)}",
                    hint="change [etl] shards, and restart the shards that changed",
                )
        return True

    def running(self) -> dict[str, int]:
        """Return the process of each other shard that runs on this target now."""
        found: dict[str, int] = {}
        source = LocalSource(self._target)
        for name in source.queues("etl/"):
            shard = name.split("/")[1]
            if shard == self.shard or shard in found:
                continue
            try:
                holder = source.queue(name).writer()
            except ChronicleError:
                continue
            if holder is not None:
                found[shard] = int(holder.get("pid") or 0)
        return found

    def named(self, error: QueueLockedError) -> QueueLockedError:
        """Return the error of a clean queue's lock with the names of both shards, where the other can be told."""
        holder = error.found if isinstance(error.found, dict) else {}
        for shard, process in self.running().items():
            if process == holder.get("pid") and "/clean/" in str(error.path):
                return QueueLockedError(
                    f"shards {self.shard} and {shard} both write a queue",
                    path=error.path,
                    expected="each instrument in one shard",
                    found=f"shard {shard}, process {process}",
                    hint="change [etl] shards, and restart the shards that changed",
                )
        return error

    def _stored(self, shard: str) -> Selection | None:
        try:
            return Selection.of(json.loads((self._target / "etl" / shard / CLAIM_NAME).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            return None  # of a version that left none, or damaged: the writer's lock still holds


def _words(selection: Selection) -> str:
    """Return a selection as a person writes it."""
    parts = [" ".join(selection.symbols)]
    if selection.venues:
        parts.append(f"venues {' '.join(selection.venues)}")
    if selection.share[1] > 1:
        parts.append(f"hash {selection.share[0]}/{selection.share[1]}")
    return ", ".join(parts)
