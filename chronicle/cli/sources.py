"""Where commands read segments from: the home and every tier that its manifest knows, or an archive root."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chronicle.core.source import SegmentSource

__all__ = ["open_source"]


def open_source(home: Path | str) -> SegmentSource:
    """Return the segments of `home` in all of its tiers."""
    from chronicle.storage.stores.source import open_source as open_tiers

    return open_tiers(home)
