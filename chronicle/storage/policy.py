"""The tier policy: which sealed segment is due for which tier, and why. Pure: state and clock in, plan out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from chronicle.core.errors import ConfigError

__all__ = [
    "HOT",
    "Held",
    "Move",
    "Plan",
    "Policy",
    "Rule",
    "SegmentRow",
    "TierPolicy",
    "TierState",
    "default_policy",
    "plan",
    "policy_from_mapping",
]

HOT: Final = "hot"
ENCODINGS: Final = ("none", "zstd")
NS_PER_SECOND: Final = 1_000_000_000
WARM_AFTER_NS: Final = 2 * 3600 * NS_PER_SECOND
COLD_AFTER_NS: Final = 7 * 86400 * NS_PER_SECOND
EXPECTED_RATIO: Final = 0.1
"""Stored over raw bytes of a zstd tier before it holds anything to measure (BTC deltas: 0.04, WIRE text: 0.15)."""
_UNITS: Final = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """A tier below hot. `root` is its folder or URL; `encoding` ``zstd`` or ``none`` (the sealed file as it is).

    `options` are handed to its store (:func:`chronicle.storage.opening.open_store`).
    """

    name: str
    root: str | Path
    encoding: str = "zstd"
    level: int = 3
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """Segments of `queues` (globs over queue names) go from `source` to `target` at this age since seal."""

    source: str
    target: str
    after_ns: int
    queues: tuple[str, ...] = ("*",)

    def matches(self, queue: str) -> bool:
        """Whether the rule speaks of `queue`."""
        return any(fnmatchcase(queue, pattern) for pattern in self.queues)


@dataclass(frozen=True, slots=True)
class Policy:
    """Tiers from hot to cold (hot itself is the home and not listed) and the rules between them.

    The first rule that matches a queue decides. Queues of `keep` never move. With `raw_waits_for_etl` a raw segment
    stays hot until every shard is past it. Sources are deleted `grace_ns` after the copy was published.
    """

    tiers: tuple[TierPolicy, ...]
    rules: tuple[Rule, ...]
    keep: tuple[str, ...] = ("etl/*", "control/*")
    grace_ns: int = 0
    raw_waits_for_etl: bool = True

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


@dataclass(frozen=True, slots=True)
class TierState:
    """Everything a plan depends on besides the policy and the clock.

    `frontiers` maps a raw queue to {shard: raw index below which it has finished, None when it has not begun};
    a raw queue without an entry has no shard. `ratios` maps a tier to its measured stored over raw bytes.
    """

    segments: tuple[SegmentRow, ...]
    frontiers: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Move:
    """One decision. `requests` counts put, read-back, rename and delete; `target_bytes` is an estimate."""

    segment: SegmentRow
    source: str
    target: str
    reason: str
    source_bytes: int
    target_bytes: int
    requests: int = 4


@dataclass(frozen=True, slots=True)
class Held:
    """A segment that is due and stays, and why."""

    segment: SegmentRow
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done, oldest first, and what is held back."""

    moves: tuple[Move, ...]
    held: tuple[Held, ...]
    now_ns: int

    @property
    def source_bytes(self) -> int:
        """Bytes to read."""
        return sum(move.source_bytes for move in self.moves)

    @property
    def target_bytes(self) -> int:
        """Bytes expected to be written."""
        return sum(move.target_bytes for move in self.moves)

    @property
    def requests(self) -> int:
        """Store requests expected."""
        return sum(move.requests for move in self.moves)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for ``--json``."""
        moves = [
            {
                "queue": move.segment.queue,
                "number": move.segment.number,
                "from": move.source,
                "to": move.target,
                "reason": move.reason,
                "source_bytes": move.source_bytes,
                "target_bytes_expected": move.target_bytes,
                "requests": move.requests,
            }
            for move in self.moves
        ]
        held = [{"queue": h.segment.queue, "number": h.segment.number, "reason": h.reason} for h in self.held]
        totals = {"source_bytes": self.source_bytes, "target_bytes_expected": self.target_bytes}
        return {"moves": moves, "held": held, **totals, "requests": self.requests}


def plan(state: TierState, policy: Policy, now_ns: int, *, everything: bool = False, prefix: str = "") -> Plan:
    """Decide which segments move.

    Parameters
    ----------
    state : TierState
    policy : Policy
    now_ns : int
        The clock, ns UTC.
    everything : bool
        Treat every sealed segment as due for the next tier (``tier apply --all``).
    prefix : str
        Only queues whose names start so.

    Returns
    -------
    Plan
        Moves and held segments, each with its reason in words. Equal input gives an equal plan.
    """
    moves: list[Move] = []
    held: list[Held] = []
    for row in sorted(state.segments, key=lambda row: (row.queue, row.generation, row.number)):
        if not row.queue.startswith(prefix):
            continue
        target, reason = _due(row, policy, now_ns, everything)
        if target is None:
            continue
        obstacle = _obstacle(row, state, policy)
        if obstacle is not None:
            held.append(Held(row, obstacle))
            continue
        moves.append(_move(row, target, reason, state, policy))
    moves.sort(key=lambda move: (move.segment.sealed_seen_ns, move.segment.queue, move.segment.number))
    return Plan(tuple(moves), tuple(held), now_ns)


def _due(row: SegmentRow, policy: Policy, now_ns: int, everything: bool) -> tuple[str | None, str]:
    if any(fnmatchcase(row.queue, pattern) for pattern in policy.keep):
        return None, ""
    if everything:
        target = policy.next_tier(row.place)
        return target, f"every sealed segment was asked to go from {row.place} to the next tier"
    age = now_ns - row.sealed_seen_ns
    for rule in policy.rules:
        if rule.source != row.place or not rule.matches(row.queue):
            continue
        if age >= rule.after_ns:
            words = f"sealed {duration_text(age)} ago, and {rule.source} keeps {duration_text(rule.after_ns)}"
            return rule.target, words
        return None, ""
    return None, ""


def _obstacle(row: SegmentRow, state: TierState, policy: Policy) -> str | None:
    """Return why a due segment must stay, None when it may go."""
    if row.moving:
        return "a move of it was interrupted; the next run of the agent settles that first"
    if not policy.raw_waits_for_etl or not row.queue.startswith("raw/") or row.place != HOT:
        return None
    shards = state.frontiers.get(row.queue)
    if not shards:
        return f"no ETL shard has read {row.queue} yet; run chronicle etl run, or set raw_waits_for_etl = false"
    behind = {name: index for name, index in shards.items() if index is None or index < row.end_index}
    if not behind:
        return None
    name, index = min(behind.items(), key=lambda item: (item[1] is not None, item[1] or 0, item[0]))
    where = "has not begun" if index is None else f"is at record {index}"
    return f"shard {name} {where}, the segment ends at {row.end_index}"


def _move(row: SegmentRow, target: str, reason: str, state: TierState, policy: Policy) -> Move:
    encoding = policy.tier(target).encoding
    source = "none" if row.place == HOT else policy.tier(row.place).encoding
    if encoding == source:
        expected = row.stored_bytes
    elif encoding == "none":
        expected = row.file_bytes
    else:
        expected = int(row.file_bytes * state.ratios.get(target, EXPECTED_RATIO))
    return Move(row, row.place, target, reason, row.stored_bytes, expected)


def default_policy(home: str | Path) -> Policy:
    """Return hot in the home, warm (zstd) in HOME/archive after 2 h, no cold tier."""
    warm = TierPolicy("warm", Path(home) / "archive")
    return Policy(tiers=(warm,), rules=(Rule(HOT, "warm", WARM_AFTER_NS),))


def policy_from_mapping(values: Mapping[str, Any], home: str | Path) -> Policy:
    """Return the policy that a configuration's ``[tiers]`` table describes.

    Parameters
    ----------
    values : mapping
        ``{"warm": {"path", "encoding", "level", "after"}, "cold": {...}, "rules": [{"from", "to", "after",
        "queues"}], "keep": [...], "grace": "0s", "raw_waits_for_etl": true}``; all parts optional. Tiers go from
        warm to cold in the order written. Own rules come before those of the tiers' ``after``. Durations are
        integers of ns or text such as ``90s``, ``2h``, ``7d``; paths are relative to `home`.

    Raises
    ------
    ConfigError
        Naming the key, what was expected and what was found.
    """
    known = {"rules", "keep", "grace", "raw_waits_for_etl"}
    tables = {key: value for key, value in values.items() if key not in known}
    tables.setdefault("warm", {})
    order = ["warm", *(key for key in tables if key != "warm")]
    tiers: list[TierPolicy] = []
    chain: list[Rule] = []
    for name in order:
        tier, after_ns = _tier(name, tables[name], Path(home), cold=name != "warm")
        chain.append(Rule(HOT if not tiers else tiers[-1].name, name, after_ns))
        tiers.append(tier)
    names = {HOT, *order}
    own = [_rule(position, rule, names) for position, rule in enumerate(_list(values, "rules"))]
    keep = tuple(str(pattern) for pattern in _list(values, "keep", ["etl/*", "control/*"]))
    waits = values.get("raw_waits_for_etl", True)
    if not isinstance(waits, bool):
        raise ConfigError("tiers.raw_waits_for_etl must be true or false", found=waits)
    return Policy(tuple(tiers), (*own, *chain), keep, duration_ns(values.get("grace", 0), "tiers.grace"), waits)


def _tier(name: str, table: Any, home: Path, *, cold: bool) -> tuple[TierPolicy, int]:
    where = f"tiers.{name}"
    if not isinstance(table, Mapping) or name == HOT or not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", name):
        raise ConfigError(f"{where} must be a table with path, encoding, level, after", found=table)
    unknown = sorted(set(table) - {"path", "encoding", "level", "after"})
    if unknown:
        raise ConfigError(
            f"{where} has unknown keys", expected="path, encoding, level, after", found=", ".join(unknown)
        )
    if cold and "path" not in table:
        raise ConfigError(f"{where} needs a path", hint=f'write [tiers.{name}] path = "/mnt/archive"')
    path = str(table.get("path", "archive"))
    encoding, level = table.get("encoding", "zstd"), table.get("level", 3)
    if encoding not in ENCODINGS:
        raise ConfigError(f"{where}.encoding is unknown", expected=" or ".join(ENCODINGS), found=encoding)
    if not isinstance(level, int) or isinstance(level, bool) or not 1 <= level <= 19:
        raise ConfigError(f"{where}.level must be a zstd level", expected="1 to 19", found=level)
    default = COLD_AFTER_NS if cold else WARM_AFTER_NS
    root = path if "://" in path else home / Path(path).expanduser()
    return TierPolicy(name, root, encoding, level), duration_ns(table.get("after", default), f"{where}.after")


def _rule(position: int, table: Any, names: set[str]) -> Rule:
    where = f"tiers.rules[{position}]"
    if not isinstance(table, Mapping) or set(table) - {"from", "to", "after", "queues"} or "to" not in table:
        raise ConfigError(f"{where} must be a table with from, to, after, queues", found=table)
    source, target = table.get("from", HOT), table["to"]
    if source not in names or target not in names or source == target or target == HOT:
        raise ConfigError(f"{where} names no way between tiers", found=f"{source} to {target}")
    queues = tuple(str(pattern) for pattern in _list(table, "queues", ["*"]))
    return Rule(source, target, duration_ns(table.get("after", 0), f"{where}.after"), queues)


def _list(values: Mapping[str, Any], key: str, default: list[str] | None = None) -> list[Any]:
    found = values.get(key, default or [])
    if not isinstance(found, (list, tuple)):
        raise ConfigError(f"{key} must be a list", found=found)
    return list(found)


def duration_ns(value: Any, where: str) -> int:
    """Return ns of an integer or of text such as ``90s``, ``2h``, ``7d``."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = re.fullmatch(r"\s*(\d+)\s*(ns|us|ms|s|m|h|d)\s*", value) if isinstance(value, str) else None
    if match is None:
        raise ConfigError(f"{where} is no duration", expected="as 90s, 15m, 2h, 7d, or ns", found=value)
    return int(match[1]) * _UNITS[match[2]]


def duration_text(ns: int) -> str:
    """Return a duration as people say it: ``2 h 5 min``, ``7 d``, ``12 s``."""
    seconds = max(0, ns) // NS_PER_SECOND
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d" + (f" {hours} h" if hours else "")
    if hours:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    return f"{minutes} min" if minutes else f"{seconds} s"
