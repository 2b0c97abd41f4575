"""What shapes the ETL's output; recorded in every clean segment's prologue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chronicle.core.errors import ConfigError
from chronicle.core.selection import Selection

__all__ = ["TIMEFRAMES", "EtlConfig"]

NS_PER_SECOND = 1_000_000_000
TIMEFRAMES = {
    "1s": 1,
    "1m": 60,
    "5m": 300,
    "15m": 900,
    "30m": 1_800,
    "1h": 3_600,
    "4h": 14_400,
    "1d": 86_400,
    "1w": 604_800,
}
"""Timeframes of candles in seconds, ascending; each is a whole number of the one before."""


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
    venues : tuple of str
        Only instruments of these venues; none: all.
    share : (int, int)
        (number from 1, count): the share of the instruments by hash (:class:`chronicle.core.selection.Selection`).
    candles : tuple of str
        Timeframes of the candle channel, out of `TIMEFRAMES`; none: there is no candle channel.

    Raises
    ------
    ConfigError
        When a timeframe is unknown or the order is not ascending, or the share is out of range.
    """

    snapshot_interval_ns: int = 60 * NS_PER_SECOND
    snapshot_deltas: int = 8192
    symbols: tuple[str, ...] = ("*",)
    candles: tuple[str, ...] = tuple(TIMEFRAMES)
    venues: tuple[str, ...] = ()
    share: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if list(self.candles) != [name for name in TIMEFRAMES if name in self.candles]:
            raise ConfigError(
                "candles come in these timeframes, ascending", expected=", ".join(TIMEFRAMES), found=self.candles
            )
        Selection(self.symbols, self.venues, self.share)

    @property
    def selection(self) -> Selection:
        """What of the instruments belongs to the shard; it shapes no queue, only which queues there are."""
        return Selection(self.symbols, self.venues, self.share)

    def to_dict(self) -> dict[str, Any]:
        """Return what shapes a clean queue, as prologues carry it: the same in every shard of one layout."""
        return {
            "snapshot_interval_ns": self.snapshot_interval_ns,
            "snapshot_deltas": self.snapshot_deltas,
            "candles": list(self.candles),
        }
