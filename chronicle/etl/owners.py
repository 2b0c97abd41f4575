"""Which raw queue each clean queue is made from: one, until they are merged."""

from __future__ import annotations

from chronicle.core.errors import ConfigError, NotFoundError
from chronicle.core.paths import symbol_of
from chronicle.core.source import SegmentSource

__all__ = ["Owners"]


class Owners:
    """The raw queue of each clean queue of a target, as the shard's lanes take them.

    Parameters
    ----------
    stored : SegmentSource
        Where clean queues that are there already are read, in any tier.
    """

    def __init__(self, stored: SegmentSource) -> None:
        self._stored = stored
        self._raw_of: dict[str, str] = {}

    def take(self, queue: str, raw_queue: str, *, there: bool) -> None:
        """Let `raw_queue` write `queue`; `there`: it holds records of which no checkpoint says whose they are.

        Raises
        ------
        ConfigError
            When another raw queue writes it, or has written it.
        """
        owner = self._raw_of.get(queue)
        if owner is None:
            owner = (self._source_of(queue) if there else None) or raw_queue
        if owner != raw_queue:
            raise ConfigError(
                f"{owner} and {raw_queue} both deliver {symbol_of(queue)}: they are not merged into one clean queue",
                path=queue,
                expected="each instrument in one raw queue of a home",
                found=f"{owner} and {raw_queue}",
                hint="let one feed process capture it, or capture it twice into homes of their own and read both: "
                "chronicle.open([A, B])",
            )
        self._raw_of[queue] = raw_queue

    def _source_of(self, queue: str) -> str | None:
        """Return the raw queue that the last segment's prologue names."""
        try:
            segments = self._stored.segments(queue)
            if not segments:
                return None
            view = self._stored.open(queue, segments[-1].number)
        except NotFoundError:
            return None
        try:
            sources = view.prologue().get("sources") or [{}]
        finally:
            view.close()
        return str(sources[-1]["queue"]) if "queue" in sources[-1] else None
