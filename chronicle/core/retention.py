"""Retention of a queue's sealed segments by age and bytes: a pure plan, and the act.

Nothing moves past the slowest registered tailer, whatever its state: a dead one must be dropped by name first. With
`force` the plan goes past them; the drop is recorded in ``retired.json`` before the first file goes, and a tailer
that lagged is told by a GAP (:mod:`chronicle.core.tailer`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chronicle.core.durable import file_error, publish_bytes, remove_file
from chronicle.core.errors import ConfigError, ForeignFileError
from chronicle.core.layout import INT64_MAX, SegmentState
from chronicle.core.queue_folder import QueueFolder
from chronicle.core.registry import list_tailers
from chronicle.core.source import SegmentInfo

__all__ = ["RetentionPlan", "RetentionPolicy", "plan_retention", "retain", "retirements"]

RETIRED_NAME = "retired.json"
_RETIREMENTS_MAX = 64


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Retire a segment when its last record is older than `age_ns`, or when the queue exceeds `bytes_max`.

    None leaves that bound out. Segments go oldest first, whole, and sealed ones only.
    """

    age_ns: int | None = None
    bytes_max: int | None = None

    def __post_init__(self) -> None:
        if min(self.age_ns or 0, self.bytes_max or 0) < 0:
            raise ConfigError("a retention bound is negative", expected=">= 0", found=(self.age_ns, self.bytes_max))


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What would go: segment `numbers` in order, their `freed_bytes`, and the first index kept.

    `blocked_by` names the tailer that holds back segments which the policy would retire; `dropped` maps each tailer
    that a forced plan passes to the range [first, end) of records that it will miss.
    """

    numbers: tuple[int, ...]
    first_index: int
    freed_bytes: int
    blocked_by: str | None
    dropped: Mapping[str, tuple[int, int]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"dropped": {name: list(span) for name, span in self.dropped.items()}}


def plan_retention(
    segments: Sequence[SegmentInfo],
    positions: Mapping[str, int],
    policy: RetentionPolicy,
    *,
    now_ns: int,
    next_number: int,
    force: bool = False,
) -> RetentionPlan:
    """Return what `policy` retires; pure.

    Parameters
    ----------
    segments : sequence of SegmentInfo
        The local segments in order.
    positions : mapping
        Index of each registered tailer: the first record that it has not read.
    now_ns : int
        The time against which ages count, ns UTC, as ts_recv.
    next_number : int
        From the tail mark: a segment is retired only when a later segment or this mark says where the queue
        continues.
    force : bool
        Go past tailers.
    """
    slowest = min(positions, key=lambda name: positions[name], default=None)
    floor = INT64_MAX if slowest is None or force else positions[slowest]
    total = sum(info.size_bytes for info in segments)
    numbers: list[int] = []
    freed, blocked = 0, None
    first = segments[0].base_index if segments else 0
    for position, info in enumerate(segments):
        continues = position + 1 < len(segments) or next_number > info.number
        if info.state is not SegmentState.SEALED or not continues:
            break
        old = policy.age_ns is not None and info.ts_last < now_ns - policy.age_ns
        over = policy.bytes_max is not None and total - freed > policy.bytes_max
        if not (old or over):
            break
        if info.end_index > floor:
            blocked = slowest
            break
        numbers.append(info.number)
        freed += info.size_bytes
        first = info.end_index
    missed = {name: (index, first) for name, index in sorted(positions.items()) if numbers and index < first}
    return RetentionPlan(tuple(numbers), first, freed, blocked, missed)


def retain(queue: QueueFolder, policy: RetentionPolicy, *, now_ns: int, force: bool = False) -> RetentionPlan:
    """Plan and act; safe beside the writer and beside readers, which keep what they have mapped.

    Raises
    ------
    StoreError
        When a file cannot be removed; the next call goes on.
    """
    positions = {info.name: info.index for info in list_tailers(queue.path, queue.end_index())}
    next_number = queue.tail_mark().next_number
    plan = plan_retention(queue.segments(), positions, policy, now_ns=now_ns, next_number=next_number, force=force)
    if not plan.numbers:
        return plan
    entry = {
        "retired_ns": now_ns,
        "first_index": plan.first_index,
        "segments": list(plan.numbers),
        "forced": bool(plan.dropped),
        "dropped": {name: list(span) for name, span in plan.dropped.items()},
    }
    log = [*retirements(queue.path), entry][-_RETIREMENTS_MAX:]
    publish_bytes(queue.path / RETIRED_NAME, json.dumps({"retirements": log}, indent=1).encode("utf-8"))
    files = queue.segment_files()
    for number in plan.numbers:  # oldest first: what is left is always one unbroken run
        if number in files:
            remove_file(files[number])
    return plan


def retirements(folder: Path) -> list[dict[str, Any]]:
    """Return what was retired from the queue in `folder`, the last 64 acts, oldest first.

    Raises
    ------
    ForeignFileError
        When the file is not ours.
    """
    path = folder / RETIRED_NAME
    try:
        values = json.loads(path.read_bytes())["retirements"]
        return [entry | {"first_index": int(entry["first_index"])} for entry in values]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise file_error(error, "read what was retired", path) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ForeignFileError(f"cannot read what was retired: {error}", path=path) from error
