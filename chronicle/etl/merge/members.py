"""Who takes part in a merge: one raw queue's share in it, and the plans of decisions about joining and leaving.

Plans are pure functions of what is known, so that whoever holds the log's lock decides the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chronicle.core.errors import NotFoundError, StateError
from chronicle.core.layout import INT64_MIN
from chronicle.core.local import LocalSource
from chronicle.core.membership import Decision, DecisionLog, decide

__all__ = ["Ending", "Standing", "leave", "plan_joins", "plan_leave", "standings"]


@dataclass(frozen=True, slots=True)
class Ending:
    """Where a raw queue ends now: the index after its last record, and that record's ts_recv (INT64_MIN: none)."""

    end_index: int
    last_ts: int


@dataclass(slots=True)
class Standing:
    """What the decisions say of one raw queue: `left_at` and `left_ts` are set while it is out; `floor` is where it
    joined last."""

    number: int
    left_at: int | None = None
    left_ts: int = INT64_MIN
    floor: int = INT64_MIN
    decisions: list[Decision] = field(default_factory=list)


def standings(decisions: Sequence[Decision]) -> dict[str, Standing]:
    """Return what `decisions` come to for each raw queue."""
    found: dict[str, Standing] = {}
    for decision in decisions:
        standing = found.get(decision.raw)
        if standing is None:
            standing = found[decision.raw] = Standing(decision.number)
        standing.left_at = None if decision.joins else decision.at
        standing.left_ts = decision.ts
        standing.floor = decision.at if decision.joins else standing.floor
        standing.decisions.append(decision)
    return found


def plan_joins(known: Sequence[Decision], present: Mapping[str, Ending], begun: Collection[str]) -> list[Decision]:
    """Return the decisions that are due: queues that are new, and queues that left and go on.

    Parameters
    ----------
    known : sequence of Decision
        All so far.
    present : mapping
        The raw queues that are there.
    begun : collection of str
        Those that a shard has worked on before there was a log.

    Notes
    -----
    The first decisions take all queues from their first records, unless shards have already worked some of them off:
    those come first, and the others join behind everything that those who take part have committed, as every later
    one does. Nobody is past that point (:mod:`chronicle.core.membership`).
    """
    found = standings(known)
    if not known and len(present) < 2:
        return []
    reached = [item.left_ts for item in found.values() if item.left_at is not None]
    taking = [raw for raw in present if raw in begun or (raw in found and found[raw].left_at is None)]
    reached += [max(present[raw].last_ts, found[raw].floor if raw in found else INT64_MIN) for raw in taking]
    bound = max(reached, default=0) + 1
    number = max((standing.number for standing in found.values()), default=-1) + 1
    plan: list[Decision] = []
    for raw in sorted(present, key=lambda raw: (raw not in begun, raw)):
        standing = found.get(raw)
        if standing is None:
            first = not known and (raw in begun or not any(other in begun for other in present))
            plan.append(Decision(raw, number, joins=True, at=INT64_MIN if first else bound))
            number += 1
        elif standing.left_at is not None and present[raw].end_index > standing.left_at:
            plan.append(Decision(raw, standing.number, joins=True, at=bound))
    return plan


def plan_leave(known: Sequence[Decision], raw: str, ending: Ending) -> list[Decision]:
    """Return the decision that `raw` leaves behind its last record; none where it has left already."""
    standing = standings(known).get(raw)
    if standing is None or standing.left_at is not None:
        return []
    return [
        Decision(
            raw, standing.number, joins=False, at=ending.end_index, ts=max(ending.last_ts, standing.floor, 0) + 1
        )
    ]


def leave(home: Path, raw: str, *, ts_recv: int) -> Decision:
    """Record that `raw` leaves the merge behind its last record; return the decision.

    Raises
    ------
    NotFoundError
        When there is no such raw queue, or it does not take part (any more).
    StateError
        When its feed is alive: it would join again with its next record.
    """
    local = LocalSource(home)
    names = local.queues("raw/")
    if raw not in names:
        raise NotFoundError(
            f"there is no raw queue {raw[:80]!r} in this home",
            path=home,
            expected=" or ".join(names) or "a raw queue",
            hint="`chronicle ls --raw` lists them",
        )
    _refuse_outsider(home, raw)
    queue = local.queue(raw)
    writer = queue.writer()
    if writer is not None:
        raise StateError(
            f"{raw} cannot leave the merge: its feed is alive and would join again with its next record",
            expected="a raw queue that nobody writes",
            found=f"process {writer.get('pid')} on {writer.get('host')}",
            hint="stop that feed first",
        )

    def plan(known: Sequence[Decision]) -> list[Decision]:
        return plan_leave(known, raw, Ending(queue.end_index(), queue.last_ts_recv()))

    recorded = decide(home, plan, ts_recv=ts_recv)
    if not recorded:
        _refuse_outsider(home, raw)
    return recorded[0]


def _refuse_outsider(home: Path, raw: str) -> None:
    """Refuse a raw queue that takes no part now."""
    log = DecisionLog(home)
    log.poll()
    log.close()
    found = standings(log.decisions)
    standing = found.get(raw)
    if standing is not None and standing.left_at is None:
        return
    taking = sorted(name for name, other in found.items() if other.left_at is None)
    raise NotFoundError(
        f"{raw} takes no part in a merge"
        + ("" if standing is None else f": it left before its record {standing.left_at} already"),
        expected=" or ".join(taking) or "a home whose shards have found several raw queues",
        found=raw,
        hint="`chronicle etl status` says who waits for whom",
    )
