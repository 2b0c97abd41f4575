"""Which sealed segment is due for which tier, what holds it, and what that costs. Pure: state and clock in, plan out.

A decision has its reason in words. Age comes first, then what a tier may hold (oldest first); a hold, an ETL shard
that is behind or a move under way keeps a segment where it is, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from chronicle.storage.tiers.policy import (
    DELETE,
    HOT,
    LEGAL,
    NS_PER_SECOND,
    PIN,
    Policy,
    Prices,
    SegmentRow,
    TierState,
)

__all__ = ["Held", "Move", "Plan", "duration_text", "packs", "plan"]

EXPECTED_RATIO: Final = 0.1
"""Stored over raw bytes of a zstd tier before it holds anything to measure (BTC deltas: 0.04, WIRE text: 0.15)."""
REQUEST_BYTES: Final = 8 << 20
"""What one request to an object store carries of a large object."""


@dataclass(frozen=True, slots=True)
class Move:
    """One decision. `target` is a tier or DELETE; `target_bytes` is an estimate.

    `puts` and `gets` count the requests (of a folder: steps); `cost` is what they cost, `month` how much more (or
    less) the segment costs a month afterwards.
    """

    segment: SegmentRow
    source: str
    target: str
    reason: str
    source_bytes: int
    target_bytes: int
    puts: int = 2
    gets: int = 2
    cost: float = 0.0
    month: float = 0.0

    @property
    def requests(self) -> int:
        """Put, read-back, rename, delete: all of them."""
        return self.puts + self.gets


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
        return sum(move.source_bytes for move in self.moves if move.target != DELETE)

    @property
    def target_bytes(self) -> int:
        """Bytes expected to be written."""
        return sum(move.target_bytes for move in self.moves)

    @property
    def requests(self) -> int:
        """Store requests expected."""
        return sum(move.requests for move in self.moves)

    @property
    def cost(self) -> float:
        """What the requests cost."""
        return sum(move.cost for move in self.moves)

    @property
    def month(self) -> float:
        """How much more all of it costs a month afterwards."""
        return sum(move.month for move in self.moves)

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
                "cost": move.cost,
                "cost_month": move.month,
            }
            for move in self.moves
        ]
        held = [{"queue": h.segment.queue, "number": h.segment.number, "reason": h.reason} for h in self.held]
        return {
            "moves": moves,
            "held": held,
            "source_bytes": self.source_bytes,
            "target_bytes_expected": self.target_bytes,
            "requests": self.requests,
            "cost": self.cost,
            "cost_month": self.month,
        }


def plan(state: TierState, policy: Policy, now_ns: int, *, everything: bool = False, prefix: str = "") -> Plan:
    """Decide which segments move, and which are removed for good.

    Parameters
    ----------
    state : TierState
    policy : Policy
    now_ns : int
        The clock, ns UTC.
    everything : bool
        Treat every sealed segment as due for the next tier (``tier apply --all``); nothing is removed then.
    prefix : str
        Only queues whose names start so.

    Returns
    -------
    Plan
        Moves and held segments, each with its reason in words. Equal input gives an equal plan.
    """
    moves: list[Move] = []
    held: list[Held] = []
    decided: set[tuple[str, int, int]] = set()
    rows = sorted(state.segments, key=lambda row: (row.queue, row.generation, row.number))
    rows = [row for row in rows if row.queue.startswith(prefix) and row.place != DELETE]
    for row in rows:
        target, reason = _due(row, policy, now_ns, everything)
        if target is not None:
            decided.add(_key(row))
            _decide(row, target, reason, state, policy, moves, held)
    if not everything:
        moves, waiting = _together(moves, policy, now_ns)
        decided -= {_key(item.segment) for item in waiting}
        for row, target, reason in _over(rows, moves, decided, state, policy):  # a tier that is full does not wait
            _decide(row, target, reason, state, policy, moves, held)
        going = {_key(move.segment) for move in moves} | {_key(item.segment) for item in held}
        held += [item for item in waiting if _key(item.segment) not in going]
    moves.sort(key=lambda move: (move.segment.sealed_seen_ns, move.segment.queue, move.segment.number))
    return Plan(tuple(moves), tuple(held), now_ns)


def _together(moves: list[Move], policy: Policy, now_ns: int) -> tuple[list[Move], list[Held]]:
    """Return the moves, without those of small segments that wait for others to fill an object with; and these."""
    going: list[Move] = []
    waiting: list[Held] = []
    for name in sorted({move.target for move in moves}):
        mine = [move for move in moves if move.target == name]
        tier = None if name == DELETE else policy.tier(name)
        small = [move for move in mine if tier is not None and move.target_bytes < tier.pack_bytes]
        waits = False
        if tier is not None and small and sum(move.target_bytes for move in small) < tier.pack_bytes:
            latest = min(_due_since(move.segment, policy, now_ns) for move in small) + tier.pack_wait_ns
            waits = now_ns < latest
        if waits:
            reason = f"waits up to {duration_text(latest - now_ns)} for others, to go as one object of {name}"
            waiting += [Held(move.segment, reason) for move in small]
            mine = [move for move in mine if move not in small]
        going += mine
    return going, waiting


def _due_since(row: SegmentRow, policy: Policy, now_ns: int) -> int:
    """Return when a segment came to be due by its age; now, where its tier is full."""
    for rule in policy.rules:
        if rule.source == row.place and rule.matches(row.queue):
            return min(now_ns, row.sealed_seen_ns + rule.after_ns)
    return now_ns


def packs(moves: tuple[Move, ...], policy: Policy) -> list[list[Move]]:
    """Return the moves as they are made: alone, or the small ones of a tier in groups that fill an object.

    A group has the segments of a queue beside each other; what is left over goes as a smaller object.
    """
    groups: list[list[Move]] = []
    for name in dict.fromkeys(move.target for move in moves):
        mine = [move for move in moves if move.target == name]
        limit = 0 if name == DELETE else policy.tier(name).pack_bytes
        small = [move for move in mine if move.target_bytes < limit]
        groups += [[move] for move in mine if move.target_bytes >= limit]
        group: list[Move] = []
        for move in sorted(small, key=lambda move: _key(move.segment)):
            group.append(move)
            if sum(each.target_bytes for each in group) >= limit:
                groups.append(group)
                group = []
        if group:
            groups.append(group)
    return groups


def _key(row: SegmentRow) -> tuple[str, int, int]:
    return row.queue, row.generation, row.number


def _decide(
    row: SegmentRow,
    target: str,
    reason: str,
    state: TierState,
    policy: Policy,
    moves: list[Move],
    held: list[Held],
) -> bool:
    """Put a segment that is due among the moves, or among the held ones; return whether it moves."""
    obstacle = _obstacle(row, target, state, policy)
    if obstacle is not None:
        held.append(Held(row, obstacle))
        return False
    moves.append(_move(row, target, reason, state, policy))
    return True


def _due(row: SegmentRow, policy: Policy, now_ns: int, everything: bool) -> tuple[str | None, str]:
    """Return where a segment is due by its age, and why."""
    if _kept(row, policy):
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


def _kept(row: SegmentRow, policy: Policy) -> bool:
    return any(fnmatchcase(row.queue, pattern) for pattern in policy.keep)


def _over(
    rows: list[SegmentRow],
    moves: list[Move],
    decided: set[tuple[str, int, int]],
    state: TierState,
    policy: Policy,
) -> Iterator[tuple[SegmentRow, str, str]]:
    """Yield the oldest segments of tiers that hold more than they may, until they do not.

    `moves` grows while this is read: a segment that was held does not count as gone.
    """
    for name, limits in sorted(policy.limits.items()):
        here = sorted(
            (row for row in rows if row.place == name and _key(row) not in decided and not _kept(row, policy)),
            key=lambda row: (row.sealed_seen_ns, row.queue, row.number),
        )
        total = sum(row.stored_bytes for row in state.segments if row.place == name)
        free = state.free.get(name)
        short = limits.free_min > 0 and free is not None and free < limits.free_min
        for row in here:
            leaving = sum(move.source_bytes for move in moves if move.source == name)
            over = limits.bytes_max > 0 and total - leaving > limits.bytes_max
            if short and free is not None and free + leaving < max(limits.free_target, limits.free_min):
                reason = f"{name} has {_size(free)} free and must have {_size(limits.free_min)}: the oldest go first"
            elif over:
                reason = f"{name} holds {_size(total)} and may hold {_size(limits.bytes_max)}: the oldest go first"
            else:
                break
            target = _way_out(row, policy)
            if target is not None:
                yield row, target, reason


def _way_out(row: SegmentRow, policy: Policy) -> str | None:
    """Return where a segment goes when its tier is full: where its rule would send it later, else the next tier.

    A full tier removes nothing for good: only age does.
    """
    for rule in policy.rules:
        if rule.source == row.place and rule.matches(row.queue):
            return None if rule.target == DELETE else rule.target
    return policy.next_tier(row.place)


def _obstacle(row: SegmentRow, target: str, state: TierState, policy: Policy) -> str | None:
    """Return why a due segment must stay, None when it may go."""
    for hold in policy.holds:
        if (hold.kind == PIN or (hold.kind == LEGAL and target == DELETE)) and hold.covers(row):
            word = "pinned here" if hold.kind == PIN else "under a legal hold"
            return word + (f": {hold.reason}" if hold.reason else "")
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
    """Return a decision with what it costs."""
    before = policy.prices.get(row.place, Prices())
    if target == DELETE:
        return Move(
            row,
            row.place,
            DELETE,
            reason,
            row.stored_bytes,
            0,
            puts=1,
            gets=0,
            month=-before.month(row.stored_bytes),
        )
    after = policy.prices.get(target, Prices())
    encoding = policy.tier(target).encoding
    source = "none" if row.place == HOT else policy.tier(row.place).encoding
    if encoding == source:
        expected = row.stored_bytes
    elif encoding == "none":
        expected = row.file_bytes
    else:
        expected = int(row.file_bytes * state.ratios.get(target, EXPECTED_RATIO))
    puts, gets, cost = 2, 2, 0.0
    if policy.is_remote(target):
        pieces = max(1, -(-expected // REQUEST_BYTES))
        puts, gets = (1 if pieces == 1 else pieces + 3), pieces + 3  # looked at, read back, looked at
        cost += after.of(puts, gets)
    if policy.is_remote(row.place):
        reads = max(1, -(-row.stored_bytes // REQUEST_BYTES))
        puts, gets = puts + 1, gets + reads
        cost += before.of(1, reads)
    month = after.month(expected) - before.month(row.stored_bytes)
    return Move(row, row.place, target, reason, row.stored_bytes, expected, puts, gets, cost, month)


def _size(count: int) -> str:
    """Return bytes as people say them."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} {units[0]}" if value >= 100 or units[0] == "B" else f"{value:.1f} {units[0]}"


def duration_text(ns: int) -> str:
    """Return a duration as people say it: ``2 h 5 min``, ``7 d``, ``12 s``."""
    seconds = max(0, ns) // NS_PER_SECOND
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d" + (f" {hours} h" if hours else "")
    if hours:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    return f"{minutes} min" if minutes else f"{seconds} s"
