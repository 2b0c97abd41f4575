"""What shapes the ETL's output; recorded in every clean segment's prologue."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

__all__ = ["EtlConfig"]

NS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class EtlConfig:
    """Settings of a shard.

    Parameters
    ----------
    snapshot_interval_ns : int
        A book gets a snapshot before its next event when this much ts_recv passed since its last one.
    snapshot_deltas : int
        Or when this many deltas did.
    symbols : tuple of str
        Globs over ``venue:NAME`` (``kraken:*``, ``*:BTC-USD*``); an instrument that matches none is left to another
        shard.
    """

    snapshot_interval_ns: int = 60 * NS_PER_SECOND
    snapshot_deltas: int = 8192
    symbols: tuple[str, ...] = ("*",)

    def selects(self, symbol: str) -> bool:
        """Return whether `symbol` belongs to this shard."""
        return any(fnmatchcase(symbol.lower(), pattern.lower()) for pattern in self.symbols)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {
            "snapshot_interval_ns": self.snapshot_interval_ns,
            "snapshot_deltas": self.snapshot_deltas,
            "symbols": list(self.symbols),
        }
