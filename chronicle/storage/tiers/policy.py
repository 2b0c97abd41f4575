"""The tier policy, and its state: plain values. :mod:`chronicle.storage.tiers.planning` decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from chronicle.core.errors import ConfigError
from chronicle.storage.stores.opening import is_url

__all__ = [
    "DELETE",
    "HOT",
    "LEGAL",
    "PIN",
    "Hold",
    "Limits",
    "Policy",
    "Prices",
    "Rule",
    "SegmentRow",
    "TierPolicy",
    "TierState",
    "default_policy",
]

HOT: Final = "hot"
DELETE: Final = "delete"
"""The target of a rule that removes segments; a segment that was removed has it as its place."""
PIN: Final = "pin"
LEGAL: Final = "legal"
NS_PER_SECOND: Final = 1_000_000_000
WARM_AFTER_NS: Final = 2 * 3600 * NS_PER_SECOND
COLD_AFTER_NS: Final = 7 * 86400 * NS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Limits:
    """What a tier may hold. Above `bytes_max`, or with less than `free_min` bytes free, its oldest segments go on.

    They go until `bytes_max` is kept and `free_target` bytes are free. 0: no such limit.
    """

    bytes_max: int = 0
    free_min: int = 0
    free_target: int = 0


@dataclass(frozen=True, slots=True)
class Prices:
    """What a tier's store costs, in whatever currency: a GB (10^9 bytes) a month, 1,000 puts, 1,000 gets."""

    gb_month: float = 0.0
    puts_1000: float = 0.0
    gets_1000: float = 0.0

    def of(self, puts: int, gets: int) -> float:
        """Return what requests cost."""
        return puts / 1000 * self.puts_1000 + gets / 1000 * self.gets_1000

    def month(self, stored_bytes: int) -> float:
        """Return what keeping so many bytes costs a month."""
        return stored_bytes / 1e9 * self.gb_month


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """A tier below hot. `root` is its folder or URL; `encoding` ``zstd``, ``compacted`` (fewer bytes, slower to write
    and read) or ``none`` (the sealed file as it is).

    `options` are handed to its store (:func:`chronicle.storage.stores.opening.open_store`). Segments that are
    expected to take less than `pack_bytes` there wait up to `pack_wait_ns` for others, and go as one object of that
    size or more.
    """

    name: str
    root: str | Path
    encoding: str = "zstd"
    level: int = 3
    options: Mapping[str, Any] = field(default_factory=dict)
    pack_bytes: int = 0
    pack_wait_ns: int = 0

    @property
    def is_remote(self) -> bool:
        """Whether it is an object store."""
        return is_url(self.root)


@dataclass(frozen=True, slots=True)
class Rule:
    """Segments of `queues` (globs over queue names) go from `source` to `target` at this age since seal.

    The target DELETE removes them for good.
    """

    source: str
    target: str
    after_ns: int
    queues: tuple[str, ...] = ("*",)

    def matches(self, queue: str) -> bool:
        """Whether the rule speaks of `queue`."""
        return any(fnmatchcase(queue, pattern) for pattern in self.queues)


@dataclass(frozen=True, slots=True)
class Hold:
    """Segments of `queues` with records in [start_ts, end_ts) are held.

    `kind` is PIN (they stay in their tier) or LEGAL (they move, and are never deleted). None leaves a side open.
    """

    kind: str
    queues: tuple[str, ...] = ("*",)
    start_ts: int | None = None
    end_ts: int | None = None
    reason: str = ""

    def covers(self, row: SegmentRow) -> bool:
        """Whether it holds a segment."""
        return (
            any(fnmatchcase(row.queue, pattern) for pattern in self.queues)
            and (self.end_ts is None or row.ts_first < self.end_ts)
            and (self.start_ts is None or row.ts_last >= self.start_ts)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """Tiers from hot to cold (hot itself is the home and not listed) and the rules between them.

    The first rule that matches a queue decides. Queues of `keep` never move. With `raw_waits_for_etl` a raw segment
    stays hot until every shard is past it. Sources are deleted `grace_ns` after the copy was published. `limits` and
    `prices` are by tier, hot among them.
    """

    tiers: tuple[TierPolicy, ...]
    rules: tuple[Rule, ...]
    keep: tuple[str, ...] = ("etl/*", "control/*")
    grace_ns: int = 0
    raw_waits_for_etl: bool = True
    holds: tuple[Hold, ...] = ()
    limits: Mapping[str, Limits] = field(default_factory=dict)
    prices: Mapping[str, Prices] = field(default_factory=dict)

    def tier(self, name: str) -> TierPolicy:
        """Return a tier by name (ConfigError when there is none)."""
        for tier in self.tiers:
            if tier.name == name:
                return tier
        raise ConfigError(f"there is no tier {name!r}", expected=", ".join(self.names), found=name)

    @property
    def names(self) -> tuple[str, ...]:
        """All tier names, hot first."""
        return (HOT, *(tier.name for tier in self.tiers))

    def next_tier(self, name: str) -> str | None:
        """Return the tier after `name`, None at the end."""
        names = self.names
        position = names.index(name) if name in names else len(names)
        return names[position + 1] if position + 1 < len(names) else None

    def is_remote(self, name: str) -> bool:
        """Whether a tier is an object store."""
        return any(tier.name == name and tier.is_remote for tier in self.tiers)


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A sealed segment as the policy sees it. Times in ns, `stored_bytes` at its present place."""

    queue: str
    number: int
    generation: int
    base_index: int
    end_index: int
    ts_last: int
    file_bytes: int
    stored_bytes: int
    place: str
    sealed_seen_ns: int
    moving: bool = False
    ts_first: int = 0


@dataclass(frozen=True, slots=True)
class TierState:
    """Everything a plan depends on besides the policy and the clock.

    `frontiers` maps a raw queue to {shard: raw index below which it has finished, None when it has not begun};
    a raw queue without an entry has no shard. `ratios` maps a tier to its measured stored over raw bytes, `free` to
    the bytes that are free where it is (object stores do not say).
    """

    segments: tuple[SegmentRow, ...]
    frontiers: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    free: Mapping[str, int] = field(default_factory=dict)


def default_policy(home: str | Path) -> Policy:
    """Return hot in the home, warm (zstd) in HOME/archive after 2 h, no cold tier."""
    warm = TierPolicy("warm", Path(home) / "archive")
    return Policy(tiers=(warm,), rules=(Rule(HOT, "warm", WARM_AFTER_NS),))
