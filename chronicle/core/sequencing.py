"""How venues number their book messages: pure rules from (state, numbers) to a step.

The feed asks them when it aligns a REST snapshot for a resync, the ETL asks them for every book event. Sources:

- BINANCE_SPOT: "How to manage a local order book correctly" (buffer, drop ``u <= lastUpdateId``, first
  ``U <= lastUpdateId + 1 <= u``, then ``U == u_previous + 1``). KuCoin's ``sequenceStart``/``sequenceEnd`` follow the
  same rule.
- BINANCE_FUTURES: USD-M and COIN-M, the same title (``pu`` is the ``u`` before; the first message behind a snapshot
  is the one with ``pu <= lastUpdateId <= u``). Update ids of a symbol do not count by one.
- OKX_V5: ``prevSeqId`` equals the ``seqId`` before it; it stays equal when nothing changed, and may fall after a
  maintenance reset. Deribit's ``prev_change_id`` follows the same rule.
- COUNT: each message of an instrument is one more than the last (Bybit v5 ``u``, Kraken Futures ``seq``).
- CONNECTION: messages are counted over the whole connection (Coinbase ``sequence_num``, Bitfinex with its flag for
  sequences). A hole there is a STATUS LOST of the connection; an instrument's own numbers only grow.
- GROWING: an instrument's numbers grow by any step (Bitget v2 ``seq``, Polygon ``q``): one that falls is out of
  order, one that was skipped says nothing, so that such a book is verified by its checksums or by nothing.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from chronicle.core.layout import NONE, SequenceRule

__all__ = ["BUFFERING_RULES", "SHARED_RULES", "Step", "accepts_snapshot", "first_of", "judge", "proves_continuity"]


class Step(IntEnum):
    """What to do with a book message."""

    APPLY = 0
    DROP = 1
    GAP = 2
    NEED_SNAPSHOT = 3


BUFFERING_RULES: Final = frozenset({SequenceRule.BINANCE_SPOT, SequenceRule.BINANCE_FUTURES})
"""Rules whose diffs may precede the snapshot that starts them, and are kept until it comes."""


SHARED_RULES: Final = frozenset({SequenceRule.BINANCE_SPOT, SequenceRule.BINANCE_FUTURES, SequenceRule.OKX_V5})
"""Rules whose numbers are the instrument's at the venue, the same on every connection: copies of one message can be
told by them. Under COUNT some venues number within a subscription (Kraken Futures), under CONNECTION all do."""


def first_of(rule: int, *, first: int, previous: int) -> int:
    """Return the least sequence that a message covers: it follows the one before it by what is missing between.

    A Binance futures message covers all since its ``pu``; its ``U`` leaves out ids that are none of the symbol's.
    """
    return previous + 1 if rule == SequenceRule.BINANCE_FUTURES and previous != NONE else first


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
    if rule in BUFFERING_RULES:
        return _range(last, after_snapshot, first_of(rule, first=first, previous=previous), sequence)
    if rule == SequenceRule.OKX_V5:
        return _okx(last, sequence, previous)
    if rule == SequenceRule.COUNT:
        return _count(last, sequence)
    if rule in (SequenceRule.CONNECTION, SequenceRule.GROWING):
        return _growing(last, sequence)
    return Step.APPLY


def proves_continuity(rule: int, *, last: int, sequence: int, previous: int, line_lost: bool = False) -> bool:
    """Return whether an APPLY verdict under `rule` proves that nothing was lost since `last`.

    A rule that had no number to compare proves nothing: after a disconnect (`line_lost`) such a book is not to be
    trusted. A number that counts within one connection proves nothing beyond it.
    """
    if last == NONE:
        return False
    if rule == SequenceRule.OKX_V5:
        return previous != NONE
    if rule == SequenceRule.CONNECTION:
        return sequence != NONE and not line_lost
    return (rule in BUFFERING_RULES or rule == SequenceRule.COUNT) and sequence != NONE


def accepts_snapshot(rule: int, *, last: int, synced: bool, sequence: int) -> bool:
    """Return whether a venue snapshot numbered `sequence` replaces a book whose last message was `last`.

    A book that is in sync is the newer knowledge when a REST snapshot of an earlier id arrives late.
    """
    if rule in BUFFERING_RULES and synced and NONE not in (last, sequence):
        return sequence >= last
    return True


def _range(last: int, after_snapshot: bool, first: int, sequence: int) -> Step:
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


def _growing(last: int, sequence: int) -> Step:
    if last == NONE or sequence == NONE or sequence > last:
        return Step.APPLY
    return Step.DROP if sequence == last else Step.GAP
