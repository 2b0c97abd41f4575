"""What a lane takes from its raw queues: windows as they lie, or the events of several queues in one order.

Events are taken by (ts_recv, number of the queue, raw index). An event is taken once every other queue that takes
part has one behind it (or stands behind it in the order): what a queue may still bring is not older than what it
brought last. Queues take part from the records that their decisions name (:mod:`chronicle.core.membership`), so that
the order depends on raw queues and decisions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.core import layout
from chronicle.core.cursor import Cursor
from chronicle.core.errors import ConfigError, CorruptionError
from chronicle.core.layout import INT64_MAX, INT64_MIN, NONE, OFFSET_TS_RECV, Flag, Kind, StatusCode
from chronicle.core.membership import Decision
from chronicle.core.records import pack_details, pack_record
from chronicle.core.source import SegmentInfo, SegmentSource
from chronicle.etl.clean.lineage import CONNECTION_SHIFT, position_of
from chronicle.etl.kernels import merging as kernel
from chronicle.etl.merge.members import standings
from chronicle.etl.merge.racing import Racing
from chronicle.etl.merge.units import Units

__all__ = ["Batch", "Intake", "Member"]

_NO_TABLE = np.empty((0, kernel.FIELDS), dtype=np.int64)
_NO_WORDS = np.empty(0, dtype=np.int64)


@dataclass(slots=True)
class Batch:
    """Whole events in order. `base` is the lane's position before them, `merged` says that each record carries its
    own position in word 3; `sources` is set where the table of sources grew."""

    memory: memoryview | bytes
    base: int
    first_ts: int
    merged: bool
    records: int
    grew: bool = False


@dataclass(slots=True)
class Member:
    """One raw queue's share in the lane."""

    name: str
    number: int
    generation: int
    cursor: Cursor
    decisions: list[Decision] = field(default_factory=list)
    applied: int = 0
    """Decisions that are behind it."""
    next_index: int = 0
    """Its first record that was not taken."""
    last_key: int = INT64_MIN
    """What it may still bring has a key no smaller."""
    floor: int = INT64_MIN
    joined: bool = False
    started: bool = False
    records: int = 0
    """Taken by this process."""
    words: NDArray[np.int64] = field(default_factory=lambda: _NO_WORDS)
    table: NDArray[np.int64] = field(default_factory=lambda: _NO_TABLE)
    head: int = 0

    @property
    def leaves_at(self) -> int:
        """Raw index at which it leaves, INT64_MAX while nothing says so."""
        if self.joined and self.applied < len(self.decisions):
            return self.decisions[self.applied].at
        return INT64_MAX

    @property
    def is_leaving(self) -> bool:
        """Whether everything before its leaving was taken."""
        return self.joined and self.next_index == self.leaves_at

    @property
    def stop(self) -> int:
        """The least key of what it may bring behind what is at hand; INT64_MAX: nobody waits for it."""
        if not self.joined:
            return INT64_MAX
        return self.last_key + 1 if self.is_leaving else self.last_key

    @property
    def pending(self) -> int:
        """Events at hand that were not taken."""
        return len(self.table) - self.head

    def fill(self, max_bytes: int) -> None:
        """Get the next window, where the last one is used up."""
        while self.joined and not self.pending and self.next_index < self.leaves_at:
            window = self.cursor.next_window(max_bytes)
            if window is None:
                return
            _check_next(self.name, self.next_index, window.base_index)
            self.words = np.frombuffer(window.memory, dtype=np.int64)
            table = np.empty((len(self.words) // 6 + 1, kernel.FIELDS), dtype=np.int64)
            left = self.leaves_at - self.next_index
            count = int(kernel.list_events(self.words, self.floor, len(table), left, table))
            if count < 0:
                raise CorruptionError(
                    "raw records have an impossible length", path=self.name, found=window.base_index
                )
            self.table, self.head = table[:count], 0
            if not count:  # the decision to leave stands inside an event
                raise CorruptionError(
                    "a raw queue leaves in the middle of an event", path=self.name, found=self.leaves_at
                )

    def enter(self) -> None:
        """Apply a decision to join that is next."""
        if not self.joined and self.applied < len(self.decisions):
            decision = self.decisions[self.applied]
            self.applied += 1
            self.joined, self.floor = True, decision.at
            self.last_key = max(self.last_key, decision.at)

    def leave(self) -> None:
        """Apply the decision to leave that is next."""
        self.applied += 1
        self.joined = False
        self.words, self.table, self.head = _NO_WORDS, _NO_TABLE, 0
        self.cursor.skip_to(self.next_index)

    def take(self, count: int) -> None:
        """Count `count` events at hand as taken."""
        taken = self.table[self.head : self.head + count]
        records = int(taken[:, kernel.RECORDS].sum())
        self.next_index += records
        self.records += records
        self.last_key = int(taken[-1, kernel.KEY])
        self.head += count
        self.started = True


class Intake:
    """The raw queues of a lane.

    Parameters
    ----------
    source : SegmentSource
        Where raw segments are read.
    names : sequence of str
        The raw queues that are there; the first is the lane's own where there are no decisions.
    decisions : sequence of Decision
        What is decided about them; none: there is one queue, taken from its beginning.

    Attributes
    ----------
    position : int
        Records taken so far, in the order of the merge: with one queue its next raw index.
    frontier : int
        Key (ts_recv) of the last event taken; INT64_MIN before the first.
    racing : Racing, optional
        Redundant lines, from the first event of a second line (`first_line` is the first) on.
    look : callable, optional
        Called once records were read and before they are put in order: learns decisions, returns whether there were
        any.
    reading : callable
        Returns what is held from the reading to that look (:meth:`chronicle.core.membership.DecisionLog.reading`):
        no decision names a place that was passed in between.
    """

    def __init__(self, source: SegmentSource, names: Sequence[str], decisions: Sequence[Decision] = ()) -> None:
        self._source = source
        self.position = 0
        self.frontier = INT64_MIN
        self.members: list[Member] = []
        self.look: Callable[[], bool] | None = None
        self.reading: Callable[[], AbstractContextManager[object]] = nullcontext
        self.units = Units()
        self.racing: Racing | None = None
        self.first_line = NONE
        if not decisions:
            self._add(names[0], 0, [Decision(names[0], 0, joins=True, at=INT64_MIN)])
        self.learn(decisions)

    @property
    def merged(self) -> bool:
        """Whether there is an order to be made."""
        return len(self.members) > 1

    def sources(self) -> list[dict[str, Any]]:
        """Return the prologue's table: queues taken from their beginnings, and all up to the last that delivered."""
        known = [member.number for member in self.members if member.started or member.decisions[0].at == INT64_MIN]
        last = max(known, default=0)
        return [
            {"queue": member.name, "generation": member.generation}
            for member in sorted(self.members, key=lambda member: member.number)
            if member.number <= last
        ]

    def learn(self, decisions: Sequence[Decision]) -> None:
        """Take up decisions that are new.

        Raises
        ------
        ConfigError
            When one comes too late: this shard is past the place that it names.
        """
        for raw, standing in standings(decisions).items():
            member = next((item for item in self.members if item.name == raw), None)
            if member is None:
                self._add(raw, standing.number, standing.decisions)
                continue
            fresh = [decision for decision in standing.decisions if decision not in member.decisions]
            for decision in fresh:
                self._refuse_late(member, decision)
            member.decisions += fresh

    def take(self, max_bytes: int, until: int = INT64_MAX) -> Batch | None:
        """Return the next events, no more than up to position `until`; None when there is none to be taken now.

        Raises
        ------
        CorruptionError
            When raw records are missing or damaged.
        """
        for member in self.members:
            member.enter()
        if not self.merged and self.members[0].leaves_at == INT64_MAX:
            return self._take_window(max_bytes, until)
        with self.reading():
            for member in self.members:
                member.fill(max_bytes)
            learned = self.look is not None and self.look()
        if learned:
            return self.take(max_bytes, until)
        if self.position >= until:
            return None
        leaver = self._leaver()
        return self._farewell(leaver) if leaver is not None else self._take_merged(max_bytes, until)

    def reached(self, ts_recv: int) -> None:
        """Note the ts_recv of the last record of a window that was taken as it lies."""
        self.frontier = max(self.frontier, ts_recv)
        self.members[0].last_key = max(self.members[0].last_key, ts_recv)

    def blockers(self) -> list[Member]:
        """Return the queues that hold others back: they take part, have nothing at hand, and others wait for them."""
        heads = [(int(item.table[item.head, kernel.KEY]), item.number) for item in self.members if item.pending]
        if not heads:
            return []
        first = min(heads)
        return [
            item for item in self.members if item.joined and not item.pending and (item.stop, item.number) < first
        ]

    def next_words(self) -> list[int]:
        """Return the addresses of the commit words that the raw queues' next records get; none where one has no such
        place now (it rolled, or has no open segment here)."""
        found = []
        for member in self.members:
            place = member.cursor.next_word() if member.joined else None
            if place is not None:
                found.append(place[0].address + place[1])
            elif member.joined:
                return []
        return found

    def close(self) -> None:
        """Release all segments."""
        for member in self.members:
            member.cursor.close()

    # --- states ----------------------------------------------------------------------------------------------------

    def state(self) -> list[list[Any]]:
        """Return where each queue stands as plain values, for a checkpoint."""
        return [
            [
                item.name,
                item.generation,
                item.next_index,
                item.last_key,
                item.applied,
                item.floor,
                item.joined,
                item.started,
            ]
            for item in self.members
        ]

    def restore(self, state: list[list[Any]], position: int, frontier: int) -> None:
        """Take back what :meth:`state` gave; queues that it does not know begin."""
        self.position, self.frontier = position, frontier
        known = {row[0]: row for row in state}
        for item in self.members:
            row = known.get(item.name)
            if row is not None:
                _, _, item.next_index, item.last_key, item.applied, item.floor, item.joined, item.started = row
            if item.next_index or self.merged:
                item.cursor.skip_to(item.next_index)
            for decision in item.decisions[item.applied :]:
                self._refuse_late(item, decision)

    # --- parts -----------------------------------------------------------------------------------------------------

    def _add(self, raw: str, number: int, decisions: list[Decision]) -> None:
        segments = self._source.segments(raw)
        member = Member(raw, number, segments[0].generation if segments else 1, Cursor(self._source, raw))
        member.decisions = list(decisions)
        member.cursor.skip_to(0)
        self.members.append(member)
        self.members.sort(key=lambda item: item.number)
        if self.frontier != INT64_MIN:
            for decision in decisions:
                self._refuse_late(member, decision)

    def _refuse_late(self, member: Member, decision: Decision) -> None:
        late = decision.at <= self.frontier if decision.joins else decision.at < member.next_index
        if late and self.frontier != INT64_MIN:
            word = "joins" if decision.joins else "leaves"
            raise ConfigError(
                f"{member.name} {word} the merge at a place that this shard is past",
                path=member.name,
                expected=f"behind {self.frontier if decision.joins else member.next_index}",
                found=decision.at,
                hint="rebuild the clean queues (`chronicle etl rebuild`), which takes all decisions in their place",
            )

    def _take_window(self, max_bytes: int, until: int) -> Batch | None:
        """Return a window of the only queue as it lies."""
        member = self.members[0]
        if self.position >= until:
            return None
        with self.reading():
            window = member.cursor.next_window(max_bytes)
            learned = window is not None and self.look is not None and self.look()
        if window is None:
            return None
        if learned:
            member.cursor.skip_to(member.next_index)
            return self.take(max_bytes, until)
        _check_next(member.name, member.next_index, window.base_index)
        memory, count = window.memory, len(window)
        if window.end_index > until:
            memory, count = memory[: int(window.offsets()[until - window.base_index])], until - window.base_index
        first_ts = int.from_bytes(memory[OFFSET_TS_RECV : OFFSET_TS_RECV + 8], "little", signed=True)
        batch = Batch(memory, self.position, first_ts, merged=False, records=count)
        member.next_index += count
        member.records += count
        member.started = True
        self.position += count
        return batch

    def _leaver(self) -> Member | None:
        """Return the queue whose leaving comes next, before all that others have or may bring."""
        leaving = [item for item in self.members if item.is_leaving]
        if not leaving:
            return None
        first = min(leaving, key=lambda item: (item.last_key, item.number))
        place = (first.last_key + 1, first.number)
        for item in self.members:
            key = int(item.table[item.head, kernel.KEY]) if item.pending else item.last_key
            if item.joined and not item.is_leaving and (key, item.number) < place:
                return None
        return first

    def _take_merged(self, max_bytes: int, until: int) -> Batch | None:
        members = self.members
        tables = [member.table[member.head :] for member in members]
        bounds = np.zeros(len(members) + 1, dtype=np.int64)
        bounds[1:] = np.cumsum([len(table) for table in tables])
        if not bounds[-1]:
            return None
        stops = np.array([item.stop for item in members], dtype=np.int64)
        fresh = np.array([not item.started and item.decisions[0].at != INT64_MIN for item in members], dtype=np.int64)
        was_fresh = int(fresh.sum())
        heads = np.zeros(len(members), dtype=np.int64)
        table = np.concatenate(tables)
        offsets = np.empty(len(table), dtype=np.int64)
        total = int(
            kernel.merge_events(
                table, bounds, stops, fresh, heads, offsets, max(max_bytes >> 3, 1), until - self.position
            )
        )
        if not total:
            return None
        out = np.empty(total, dtype=np.int64)
        records = 0
        for place, member in enumerate(members):
            count = int(heads[place] - bounds[place])
            if count:
                records -= member.next_index
                self._copy(member, count, offsets[bounds[place] : heads[place]], out)
                records += member.next_index
                self.frontier = max(self.frontier, member.last_key)
        out = self.units.apply(out)
        batch = Batch(out.data.cast("B"), self.position, int(out[1]), merged=True, records=records)
        batch.grew = int(fresh.sum()) < was_fresh
        self.position += records
        return batch

    def _copy(self, member: Member, count: int, offsets: NDArray[np.int64], out: NDArray[np.int64]) -> None:
        rows = member.table[member.head : member.head + count]
        if kernel.copy_events(member.words, rows, offsets, member.next_index, member.number, out) < 0:
            raise ConfigError(
                f"{member.name} cannot be merged: its instrument or connection numbers are too large",
                expected=f"instruments below {kernel.INSTRUMENTS}, connections below {kernel.CONNECTIONS}",
                hint="give its instruments to several feed processes",
            )
        member.take(count)

    def _farewell(self, member: Member) -> Batch:
        """Return the record that ends all lines of a queue that leaves; it stands behind the queue's last record."""
        ts_recv = max(member.last_key, 0) + 1
        details = pack_details({"raw": member.name, "reason": "left the merge by decision"})
        data = pack_record(
            Kind.STATUS,
            layout.STATUS_BODY.pack(StatusCode.LEFT, len(details)) + details,
            ts_recv=ts_recv,
            flags=Flag.LAST,
            source=member.number << CONNECTION_SHIFT,
            source_index=position_of(member.number, max(member.next_index - 1, 0)),
        )
        batch = Batch(data, self.position, ts_recv, merged=True, records=1)
        member.leave()
        self.position += 1
        self.frontier = max(self.frontier, ts_recv)
        return batch


def ends_of(segments: Sequence[SegmentInfo]) -> tuple[int, int]:
    """Return (first index kept, index after the last record) of a raw queue's segments."""
    return (segments[0].base_index, segments[-1].end_index) if segments else (0, 0)


def _check_next(name: str, expected: int, found: int) -> None:
    if found != expected:
        raise CorruptionError(
            "raw records are missing between two windows", path=name, expected=expected, found=found
        )
