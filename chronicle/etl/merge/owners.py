"""Which lane each clean queue is made from: raw queues that are merged are one, others do not mix."""

from __future__ import annotations

from collections.abc import Sequence

from chronicle.core.errors import ConfigError, NotFoundError
from chronicle.core.paths import lane_of, symbol_of
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
        self._lane_of: dict[str, str] = {}

    def merge(self, names: Sequence[str]) -> None:
        """Take the raw queues `names` for one, of which the first speaks for all."""
        self._lane_of |= dict.fromkeys(names, names[0])
        self._raw_of = {queue: self._lane_of.get(raw, raw) for queue, raw in self._raw_of.items()}

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
            owner = self._lane_of.get(owner, owner)
        if owner != raw_queue:
            raise ConfigError(
                f"{owner} and {raw_queue} both deliver {symbol_of(queue)}: lanes above 0 are not merged, and both "
                f"would write its lane {lane_of(queue)}",
                path=queue,
                expected="no number above 0 twice (feeds and replays see to that in one home)",
                found=f"{owner} and {raw_queue}",
                hint="take one of them out of the home and decode it anew under a number of its own: `chronicle feed "
                "replay --format wire` with its wire queue; or keep it in a home of its own and read both: "
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
