"""Rebuilding: the same pure pipeline from the raw queue's first record into another folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import Any

from chronicle import __version__
from chronicle.core.clock import Clock, SystemClock
from chronicle.core.durable import publish_bytes
from chronicle.core.errors import ConfigError
from chronicle.core.selection import Selection
from chronicle.core.source import SegmentSource
from chronicle.etl.config import EtlConfig
from chronicle.etl.shards.shard import EtlReport, run_shard

__all__ = ["lacks", "rebuild"]

SHARD_NAME = "rebuilt.json"
"""Says of one shard's part of a rebuild what made it and when."""
VERSION_NAME = "version.json"
"""Says of a whole rebuild what made it and when: ``chronicle.open(home, as_of=...)`` chooses by it."""


def rebuild(
    home: str | Path,
    into: str | Path,
    *,
    source: SegmentSource | None = None,
    shard: str = "default",
    config: EtlConfig | None = None,
    others: Mapping[str, Selection] | None = None,
    stop: Event | None = None,
    clock: Clock | None = None,
    progress: Callable[[EtlReport], None] | None = None,
) -> EtlReport:
    """Make the clean queues of `home` anew under `into` (``into/clean/...``, ``into/etl/...``).

    With several shards (`others`) each is rebuilt into the same folder; the version is whole with the last of them.
    Under ``HOME/rebuilt/N`` it is version N of the home (``chronicle.open(home, version=N)``). A rebuild that was
    interrupted continues when called again with the same folder.
    :func:`chronicle.core.compare.compare_queue` tells whether a queue came out the same.

    Raises
    ------
    ConfigError
        When `into` is the home itself.
    """
    if Path(home).resolve() == Path(into).resolve():
        raise ConfigError("a rebuild needs a folder of its own", path=into, hint="give another folder with --into")
    report = run_shard(
        home,
        source=source,
        target=into,
        shard=shard,
        drain=True,
        config=config,
        others=others,
        stop=stop,
        clock=clock,
        progress=progress,
    )
    if stop is None or not stop.is_set():
        made = {
            "schema": 1,
            "made_ns": (clock or SystemClock()).now_ns(),
            "etl": {"version": __version__, "config": (config or EtlConfig()).to_dict()},
            "raw": {lane.raw_queue: lane.frontier_index for lane in report.lanes},
        }
        publish_bytes(Path(into) / "etl" / shard / SHARD_NAME, json.dumps(made).encode())
        _publish_version(Path(into), {shard, *(others or {})})
    return report


def lacks(into: Path, shard: str) -> bool:
    """Whether `into` holds a rebuild that is not whole, begun by any shard, and the part of `shard` is not done."""
    begun = any((into / "etl").glob("*/"))
    return begun and not (into / VERSION_NAME).exists() and not (into / "etl" / shard / SHARD_NAME).exists()


def _publish_version(into: Path, shards: set[str]) -> None:
    """Say that the version is whole, once the last of its shards has been rebuilt."""
    made = []
    for shard in sorted(shards):
        path = into / "etl" / shard / SHARD_NAME
        if not path.exists():
            return
        made.append(json.loads(path.read_bytes()))
    newest: dict[str, Any] = max(made, key=lambda item: int(item["made_ns"]))
    raw = {name: min(item["raw"].get(name, 0) for item in made) for name in newest["raw"]}
    publish_bytes(into / VERSION_NAME, json.dumps(newest | {"raw": raw}).encode())
