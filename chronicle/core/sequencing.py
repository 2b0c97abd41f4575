"""How venues number their book messages: pure rules from (state, numbers) to a step.

The feed asks them when it aligns a REST snapshot for a resync, the ETL asks them for every book event. Sources:
Binance spot, "How to manage a local order book correctly" (buffer, drop ``u <= lastUpdateId``, first
``U <= lastUpdateId + 1 <= u``, then ``U == u_previous + 1``); OKX v5 order book channel (``prevSeqId`` equals the
``seqId`` before it; it stays equal when nothing changed, and may fall after a maintenance reset).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from chronicle.core.layout import NONE, SequenceRule

__all__ = ["BUFFERING_RULES", "Step", "accepts_snapshot", "judge", "proves_continuity"]


class Step(IntEnum):
    """What to do with a book message."""

    APPLY = 0
    DROP = 1
    GAP = 2
    NEED_SNAPSHOT = 3


BUFFERING_RULES: Final = frozenset({SequenceRule.BINANCE_SPOT})
"""Rules whose diffs may precede the snapshot that starts them, and are kept until it comes."""


def judge(rule: int, *, last: int, after_snapshot: bool, first: int, sequence: int, previous: int) -> Step:
    """Return what to do with a message that carries `first`, `sequence` and `previous`.

    Parameters
    ----------
    rule : int
        A ``SequenceRule``; one that this build does not know says nothing, as NONE.
    last : int
        Sequence of the last applied message or snapshot; ``NONE`` before there is one.
    after_snapshot : bool
        Whether `last` is that of a snapshot to which nothing was applied yet.
    first, sequence, previous : int
        The message's own numbers, ``NONE`` where the venue sends none.
    """
    if rule == SequenceRule.BINANCE_SPOT:
        return _binance_spot(last, after_snapshot, first, sequence)
    if rule == SequenceRule.OKX_V5:
        return _okx(last, sequence, previous)
    if rule == SequenceRule.COUNT:
        return _count(last, sequence)
    return Step.APPLY


def proves_continuity(rule: int, *, last: int, sequence: int, previous: int) -> bool:
    """Return whether an APPLY verdict under `rule` proves that nothing was lost since `last`.

    A rule that had no number to compare proves nothing: after a disconnect such a book is not to be trusted.
    """
    if last == NONE:
        return False
    if rule == SequenceRule.OKX_V5:
        return previous != NONE
    return rule in {SequenceRule.BINANCE_SPOT, SequenceRule.COUNT} and sequence != NONE


def accepts_snapshot(rule: int, *, last: int, synced: bool, sequence: int) -> bool:
    """Return whether a venue snapshot numbered `sequence` replaces a book whose last message was `last`.

    A book that is in sync is the newer knowledge when a Binance REST snapshot of an earlier id arrives late.
    """
    if rule == SequenceRule.BINANCE_SPOT and synced and NONE not in (last, sequence):
        return sequence >= last
    return True


def _binance_spot(last: int, after_snapshot: bool, first: int, sequence: int) -> Step:
    if last == NONE:
        return Step.NEED_SNAPSHOT
    if sequence <= last:
        return Step.DROP
    if after_snapshot:
        return Step.APPLY if first <= last + 1 <= sequence else Step.GAP
    return Step.APPLY if first == last + 1 else Step.GAP


def _okx(last: int, sequence: int, previous: int) -> Step:
    if last == NONE or previous in {NONE, last}:
        return Step.APPLY
    return Step.DROP if sequence == last else Step.GAP


def _count(last: int, sequence: int) -> Step:
    if last == NONE or sequence == NONE or sequence == last + 1:
        return Step.APPLY
    return Step.DROP if sequence == last else Step.GAP
