"""GAP records: what was lost, and the bounds of the hole."""

from __future__ import annotations

from dataclasses import dataclass

from chronicle.core import layout
from chronicle.core.layout import NONE, Flag, GapState, Kind, SequenceRule
from chronicle.core.records import pack_record
from chronicle.core.sequencing import BUFFERING_RULES

__all__ = ["Gap", "missing_range"]


@dataclass(frozen=True, slots=True)
class Gap:
    """An open hole: why, which numbers are missing (NONE when they cannot be told), and the last good record."""

    cause: int
    last_good_ts: int
    last_good_index: int = NONE
    first_missing: int = NONE
    last_missing: int = NONE

    def record(self, state: int, *, ts_recv: int, raw_index: int, ordinal: int, recovery_ts: int = NONE) -> bytes:
        """Return the GAP record of `state`, an event of its own."""
        body = layout.GAP_BODY.pack(
            self.cause,
            state,
            self.first_missing,
            self.last_missing,
            self.last_good_ts,
            recovery_ts if state == GapState.CLOSED else NONE,
            self.last_good_index,
        )
        return pack_record(
            Kind.GAP,
            body,
            ts_recv=ts_recv,
            flags=Flag.LAST,
            instrument=1,
            source_index=raw_index,
            ordinal=ordinal,
        )

    def state(self) -> list[int]:
        """Return the fields as plain values for a checkpoint."""
        return [int(self.cause), self.last_good_ts, self.last_good_index, self.first_missing, self.last_missing]


def missing_range(rule: int, *, last: int, first: int, sequence: int) -> tuple[int, int]:
    """Return (first, last) missing sequence under `rule`; NONE where the venue's numbers do not count by one."""
    if last == NONE or sequence == NONE:
        return NONE, NONE
    start = first if rule in BUFFERING_RULES else sequence
    counted = rule in BUFFERING_RULES or rule == SequenceRule.COUNT
    return (last + 1, start - 1) if counted and start > last + 1 else (NONE, NONE)
