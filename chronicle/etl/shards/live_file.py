"""What a shard says of itself beside its queues: how long records take, which line was first. Lost with no harm."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from chronicle.core.durable import temporary_name

__all__ = ["read_latency", "write_latency"]

LIVE_NAME = "live.json"


def write_latency(
    home: Path, shard: str, latency: dict[str, Any], lines: dict[str, int], race: dict[str, int]
) -> None:
    """Replace the shard's file; without a sync, which would stop the shard for milliseconds."""
    path = home / "etl" / shard / LIVE_NAME
    temporary = temporary_name(path)
    with contextlib.suppress(OSError):  # a full disk must not end the shard for a figure's sake
        temporary.write_text(json.dumps({"pid": os.getpid(), "latency": latency, "lines": lines, "race": race}))
        os.replace(temporary, path)


def read_latency(home: Path, shard: str) -> dict[str, Any] | None:
    """Return what the shard's last live run said, None when there is nothing."""
    try:
        found = json.loads((home / "etl" / shard / LIVE_NAME).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("latency"), dict) else None
