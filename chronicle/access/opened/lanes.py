"""Lanes: which queues hold one channel of an instrument, and which of them speaks for which time.

A channel's main queue is lane 0; history older than its end was captured into lanes of its own (``book@1.q``), and
a second, redundant line of the same feed has 1000 more than the line it repeats.
"""

from __future__ import annotations

from dataclasses import dataclass

from chronicle.access.opened.segments import Shelf
from chronicle.core.layout import INT64_MAX, INT64_MIN
from chronicle.core.paths import channel_of, instrument_folder, lane_of

__all__ = ["REDUNDANT_STEP", "Lane", "Turn", "lanes_of", "turns"]

REDUNDANT_STEP = 1000


@dataclass(frozen=True, slots=True)
class Lane:
    """One queue of a channel."""

    number: int
    queue: str

    @property
    def raw_lane(self) -> int:
        """The lane of the raw queue that it was made from."""
        return self.number % REDUNDANT_STEP


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch of time [start_ts, end_ts) for which one lane speaks."""

    lane: Lane
    start_ts: int
    end_ts: int


def lanes_of(shelf: Shelf, symbol: str, channel: str, *, fresh: bool = False) -> list[Lane]:
    """Return the lanes of an instrument's channel, by number."""
    prefix = f"{instrument_folder(symbol)}/"
    names = shelf.queues(prefix, fresh=fresh)
    found = [Lane(lane_of(name), name) for name in names if channel_of(name) == channel]
    return sorted(found, key=lambda lane: lane.number)


def turns(shelf: Shelf, lanes: list[Lane], *, fresh: bool = True) -> list[Turn]:
    """Return who speaks when: a lane where it has records, the lowest number first where several have.

    Between the records of two lanes the earlier one goes on speaking (it knows that its feed ended). The turns cover
    all of time, in order, without overlap; there are none when no lane has a record.
    """
    claimed: list[Turn] = []
    for lane in lanes:
        infos = shelf.segments(lane.queue, fresh=fresh)
        if infos:
            claimed += _minus(Turn(lane, infos[0].ts_first, infos[-1].ts_last + 1), claimed)
    claimed.sort(key=lambda turn: turn.start_ts)
    out: list[Turn] = []
    for position, turn in enumerate(claimed):
        start = INT64_MIN if position == 0 else turn.start_ts
        end = claimed[position + 1].start_ts if position + 1 < len(claimed) else INT64_MAX
        if out and out[-1].lane == turn.lane:
            out[-1] = Turn(turn.lane, out[-1].start_ts, end)
        else:
            out.append(Turn(turn.lane, start, end))
    return out


def _minus(turn: Turn, taken: list[Turn]) -> list[Turn]:
    """Return what is left of `turn` outside `taken`."""
    left = [turn]
    for other in taken:
        rest: list[Turn] = []
        for piece in left:
            if other.end_ts <= piece.start_ts or piece.end_ts <= other.start_ts:
                rest.append(piece)
                continue
            if piece.start_ts < other.start_ts:
                rest.append(Turn(piece.lane, piece.start_ts, other.start_ts))
            if other.end_ts < piece.end_ts:
                rest.append(Turn(piece.lane, other.end_ts, piece.end_ts))
        left = rest
    return left
