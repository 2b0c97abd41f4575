"""Rebuilding: the same pure pipeline from the raw queue's first record into another folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event

from chronicle.core.clock import Clock
from chronicle.core.errors import ConfigError
from chronicle.core.selection import Selection
from chronicle.core.source import SegmentSource
from chronicle.etl.config import EtlConfig
from chronicle.etl.shard import EtlReport, run_shard

__all__ = ["rebuild"]


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

    A rebuild that was interrupted continues when called again with the same folder.
    :func:`chronicle.core.compare.compare_queue` tells whether a queue came out the same.

    Raises
    ------
    ConfigError
        When `into` is the home itself.
    """
    if Path(home).resolve() == Path(into).resolve():
        raise ConfigError("a rebuild needs a folder of its own", path=into, hint="give another folder with --into")
    return run_shard(
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
