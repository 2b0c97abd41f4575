"""Reached: where a replay within one segment begins, and how far it came."""

from __future__ import annotations

from dataclasses import dataclass

from chronicle.core.records import InstrumentFields

__all__ = ["Reached", "Start"]


@dataclass(frozen=True, slots=True)
class Start:
    """Where a replay begins: an event's offset in its segment, its record index, the definition in force there."""

    offset: int
    index: int
    definition: InstrumentFields | None
    at_opening: bool
    """The book is what the segment's prologue says; else a snapshot stands at `offset`."""


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a replay came: the first event behind, and the ts_recv of the last one passed (NONE: none)."""

    offset: int
    index: int
    last_ts: int
    confirmed: bool
    """What follows was looked at already, and stands behind the book."""
