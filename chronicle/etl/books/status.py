"""How far a book is to be trusted: the one state machine of the ETL and of its readers.

The ETL drives it with what it finds; a reader of a clean queue gets the same state by :meth:`BookTrust.follow`,
because every transition leaves a record: GAP, CHECK, STATUS of the line, a venue snapshot, or the first delta after
a lost line that no GAP precedes (the ETL proved by the venue's sequence that nothing was lost).
"""

from __future__ import annotations

from chronicle.core import layout
from chronicle.core.layout import (
    NONE,
    Action,
    BookStatus,
    Flag,
    GapState,
    Kind,
    Origin,
    SequenceRule,
    StatusCode,
    Verdict,
    VerifiedBy,
)
from chronicle.core.records import InstrumentFields, Record

__all__ = ["LINE_ENDS", "BookTrust"]

LINE_ENDS = frozenset({StatusCode.DISCONNECTED, StatusCode.CAPTURE_START, StatusCode.UNSUBSCRIBED, StatusCode.LEFT})
"""Status codes after which the line of a book delivers nothing more."""


_ACTION_AT = layout.HEADER_BYTES + 24

_NUMBERED = frozenset(SequenceRule) - {SequenceRule.NONE, SequenceRule.GROWING}


class BookTrust:
    """Trust in one book.

    Attributes
    ----------
    started : bool
        A venue snapshot was applied; before, the book is ``unverified``.
    in_gap : bool
        Between GAP OPEN and the venue snapshot that ends it.
    line_lost : bool
        The line is gone, and nothing that came since proves the book current.
    verified_by : int
        ``VerifiedBy``: what stands behind the book since its last venue snapshot.
    last_good_ts : int
        ts_recv at which the open gap's last good state ended; NONE when there is no gap.
    last_checked_ts, last_checked_index : int
        ts_recv and raw index of the last event whose CHECK passed, or of the snapshot it stands on.
    """

    __slots__ = (
        "in_gap",
        "last_checked_index",
        "last_checked_ts",
        "last_good_ts",
        "line_lost",
        "started",
        "verified_by",
    )

    def __init__(self) -> None:
        self.started = False
        self.in_gap = False
        self.line_lost = False
        self.verified_by = int(VerifiedBy.NOTHING)
        self.last_good_ts = NONE
        self.last_checked_ts = NONE
        self.last_checked_index = NONE

    def status(self, *, crossed: bool) -> BookStatus:
        """Return the book's status; the strongest doubt is named."""
        if not self.started:
            return BookStatus.UNVERIFIED
        if self.in_gap:
            return BookStatus.GAP
        if self.line_lost:
            return BookStatus.STALE
        return BookStatus.CROSSED if crossed else BookStatus.OK

    @property
    def steady(self) -> bool:
        """Whether the next event in sequence leaves the trust as it is."""
        return self.started and not self.in_gap and not self.line_lost

    def snapshot_applied(self, ts_recv: int, index: int, *, sequenced: bool) -> None:
        """Start anew on a venue snapshot; `sequenced` when later messages were joined to it by their numbers."""
        self.started = True
        self.in_gap = False
        self.line_lost = False
        self.last_good_ts = NONE
        self.verified_by = VerifiedBy.SEQUENCE if sequenced else VerifiedBy.NOTHING
        self.last_checked_ts = ts_recv
        self.last_checked_index = index

    def gap_opened(self, last_good_ts: int) -> None:
        """Enter a gap; the line's own state is decided by what comes next."""
        self.in_gap = True
        self.line_lost = False
        self.last_good_ts = last_good_ts

    def check_passed(self, ts_recv: int, index: int) -> None:
        """Note that the venue's checksum agreed."""
        if not self.in_gap:
            self.verified_by = VerifiedBy.CHECKSUM
            self.last_checked_ts = ts_recv
            self.last_checked_index = index

    def sequence_held(self) -> None:
        """Note that a message followed the one before it by the venue's numbers."""
        if not self.in_gap and self.verified_by == VerifiedBy.NOTHING:
            self.verified_by = VerifiedBy.SEQUENCE

    def follow(self, record: Record, instrument: InstrumentFields) -> None:
        """Take the next record of a clean book queue (a reader's side of the same machine)."""
        if record.kind == Kind.BOOK_DELTA:
            self._follow_delta(record, instrument)
        elif record.kind == Kind.ORDER:
            self._follow_order(record, instrument)
        elif record.kind == Kind.BOOK_SNAPSHOT:
            self._follow_snapshot(record)
        elif record.kind == Kind.GAP:
            fields = record.fields()
            if fields["state"] == GapState.OPEN:
                self.gap_opened(fields["last_good_ts"])
            else:
                self.in_gap = False
        elif record.kind == Kind.CHECK:
            verdict = record.fields()["verdict"]
            if verdict == Verdict.FAILED and not self.in_gap:
                self.gap_opened(self.last_checked_ts)
            elif verdict == Verdict.PASSED:
                self.check_passed(record.ts_recv, record.source_index)
        elif record.kind == Kind.STATUS and record.fields()["code"] in LINE_ENDS:
            self.line_lost = True

    def _follow_delta(self, record: Record, instrument: InstrumentFields) -> None:
        self.line_lost = False
        if instrument.sequence_rule not in _NUMBERED or record.sequence == NONE:
            return
        previous = layout.BOOK_DELTA_BODY.unpack_from(record.body)[3]
        if instrument.sequence_rule != SequenceRule.OKX_V5 or previous != NONE:
            self.sequence_held()

    def _follow_order(self, record: Record, instrument: InstrumentFields) -> None:
        """An ORDER counts only where it drives the book; a CLEAR that is not in doubt starts it anew."""
        if instrument.driver != Kind.ORDER:
            return
        self.line_lost = False
        if record.data[_ACTION_AT] == Action.CLEAR and not record.flags & Flag.MAYBE_BAD_BOOK:
            self.snapshot_applied(record.ts_recv, record.source_index, sequenced=False)
        numbered = instrument.sequence_rule in _NUMBERED and record.sequence != NONE
        if numbered and self.started and not record.flags & (Flag.SNAPSHOT | Flag.MAYBE_BAD_BOOK):
            self.sequence_held()

    def _follow_snapshot(self, record: Record) -> None:
        fields = layout.BOOK_SNAPSHOT_BODY.unpack_from(record.body)
        origin, status, verified_by, last_good_ts = fields[2], fields[3], fields[4], fields[8]
        if origin == Origin.VENUE:
            sequenced = verified_by == VerifiedBy.SEQUENCE
            self.snapshot_applied(record.ts_recv, record.source_index, sequenced=sequenced)
            return
        self.started = status != BookStatus.UNVERIFIED
        self.in_gap = status == BookStatus.GAP
        self.line_lost = status == BookStatus.STALE
        self.verified_by = verified_by
        self.last_good_ts = last_good_ts if self.in_gap else NONE
        self.last_checked_ts = last_good_ts
