"""The questions of a store about its own answers: holes, quality, where a row came from, whether the bytes hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from chronicle.access.books.book import Book
from chronicle.access.opened.opened import OpenedPlaces
from chronicle.core.errors import ConfigError, RangeError

if TYPE_CHECKING:
    from chronicle.access.trust.audit import Audit
    from chronicle.access.trust.explain import Explanation
    from chronicle.access.trust.gaps import Gap, Progress
    from chronicle.access.trust.quality import Quality
    from chronicle.core.source import SegmentInfo
    from chronicle.storage.tiers.verify import VerifyReport

__all__ = ["TrustQuestions"]


class TrustQuestions(OpenedPlaces):
    """Gaps, quality, lineage, audits, proof."""

    def gaps(
        self, symbol: str | None = None, start: Any = None, end: Any = None, *, progress: Progress | None = None
    ) -> list[Gap]:
        """Return the known holes of `symbol` (default: of all) that reach into [start, end).

        Segments of which manifest or catalog says that they hold no GAP record are not opened.

        Parameters
        ----------
        progress : callable, optional
            Called with the share of the work that is done (0 to 1) and words that say where it is.
        """
        from chronicle.access.trust.gaps import gaps_of, gaps_of_all

        first, last = self._range(start, end)
        if symbol is not None:
            return gaps_of(self._shelf, self.resolve(symbol), first, last, progress=progress)
        return gaps_of_all(self._shelf, self._directory.symbols(fresh=True), first, last, progress)

    def quality(self, symbol: str, start: Any = None, end: Any = None) -> Quality:
        """Return what says how good the data of `symbol` is: records, checks, gaps, latency, a grade."""
        from chronicle.access.trust.quality import quality_of

        first, last = self._range(start, end)
        return quality_of(self._shelf, self.resolve(symbol), first, last)

    def explain(
        self, row: Mapping[str, Any] | Book | str, channel: str = "book", index: int | None = None, *, lane: int = 0
    ) -> Explanation:
        """Return where a row came from: clean record, raw record, and the exchange's bytes.

        Parameters
        ----------
        row : mapping, Book or str
            A row of :meth:`scan` (with ``symbol``, ``index``, ``lane``), a book, or a symbol with `channel`, `index`.

        Raises
        ------
        NotFoundError
            When the record is not there.
        """
        from chronicle.access.trust.explain import explain

        if isinstance(row, Book):
            if "index" not in row.source:
                raise RangeError("the book rests on no event: there is nothing to explain")
            return explain(self._shelf, row.symbol, "book", int(row.source["index"]), int(row.source["lane"]))
        if not isinstance(row, str):
            if "symbol" not in row or "index" not in row:
                raise ConfigError("this row names no record", expected="a row with symbol and index", found=list(row))
            channel = _channel_of_kind(str(row.get("kind", "delta"))) if channel == "book" else channel
            index, lane, row = int(row["index"]), int(row.get("lane", 0)), str(row["symbol"])
        if index is None:
            raise ConfigError(
                "which record is to be explained?", hint="explain(row), or explain(symbol, channel, index)"
            )
        return explain(self._shelf, self.resolve(row), channel, index, lane)

    def audit(self, symbol: str, start: Any = None, end: Any = None) -> Audit:
        """Rebuild the book of `symbol` from snapshot to snapshot in [start, end), and compare it with each.

        ``wrong`` counts snapshots of ours that the records before them do not rebuild; it must be 0.
        """
        from chronicle.access.trust.audit import audit_of

        first, last = self._range(start, end)
        return audit_of(self._shelf, self._with_channel(symbol, "book"), first, last)

    def verify(
        self, *, deep: bool = False, prefix: str = "", progress: Callable[[int, SegmentInfo], None] | None = None
    ) -> list[VerifyReport]:
        """Check every byte of every sealed segment; return a report for each place of the store.

        Parameters
        ----------
        deep : bool
            Also walk every record.
        prefix : str
            Only queues whose names start so.
        progress : callable, optional
            Called after each segment with (segments checked, its info).
        """
        from chronicle.storage.tiers.verify import verify

        places = [self._places] if isinstance(self._places, str | PathLike) else self._places
        return [
            verify(fspath(place), deep=deep, prefix=prefix, progress=progress, options=self._options)
            for place in places
        ]


def _channel_of_kind(kind: str) -> str:
    return kind if kind in ("trade", "quote") else "book"
