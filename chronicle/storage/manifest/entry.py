"""An entry of the manifest: one sealed segment, and the one place where it is published."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final

from chronicle.core.layout import SegmentState
from chronicle.core.source import SegmentInfo

__all__ = ["Entry", "Intent", "Retired"]

NO_DAY: Final = "none"
PACKS_FOLDER: Final = "packs/"
"""Objects below it hold several segments."""
QUARANTINE: Final = "quarantine/"
"""Below it are damaged objects that were set aside."""
DAY_NS: Final = 86_400 * 10**9
YEAR_9999_NS: Final = 253_370_764_800 * 10**9


@dataclass(frozen=True, slots=True)
class Intent:
    """A move that has begun: to which tier and object, under which temporary name, which step was reached."""

    tier: str
    object: str
    temporary: str
    step: str
    started_ns: int


@dataclass(frozen=True, slots=True)
class Retired:
    """A copy that is no longer published and is deleted from `due_ns` on."""

    tier: str
    object: str
    due_ns: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A sealed segment: identity, totals, and the one place where it is published.

    `checksum` is the sealed file's own checksum, `file_bytes` its size, `data_bytes` that of its records;
    `object`, `offset` and `length` say where its stored bytes are below the tier's root. `sealed_seen_ns` is when
    the agent first saw it sealed. `holds` says what kinds of record are in it, as the block tables of archives do
    (:class:`chronicle.storage.codec.archive_layout.Holds`); 0 where nobody has looked yet.
    """

    queue: str
    generation: int
    number: int
    queue_id: str
    base_index: int
    record_count: int
    ts_first: int
    ts_last: int
    data_bytes: int
    file_bytes: int
    checksum: int
    sealed_seen_ns: int
    place: str
    encoding: str
    object: str
    offset: int
    length: int
    intent: Intent | None = None
    retired: tuple[Retired, ...] = ()
    holds: int = 0

    @property
    def key(self) -> tuple[str, int, int]:
        """(queue, generation, number)."""
        return self.queue, self.generation, self.number

    @property
    def end_index(self) -> int:
        """Index of the first record after the segment."""
        return self.base_index + self.record_count

    @property
    def packed(self) -> bool:
        """Whether the object holds other segments as well."""
        return self.object.startswith(PACKS_FOLDER)

    @property
    def partition(self) -> str:
        """The UTC day of the first ts_recv, by which catalogs are parted; NO_DAY without records."""
        return day_of(self.ts_first) if self.record_count and 0 <= self.ts_first < YEAR_9999_NS else NO_DAY

    @property
    def state(self) -> str:
        """``published``, or ``moving`` while an intent stands."""
        return "moving" if self.intent else "published"

    def info(self, root: str) -> SegmentInfo:
        """Return the entry as a SegmentInfo of the tier at `root`."""
        return SegmentInfo(
            queue=self.queue,
            number=self.number,
            generation=self.generation,
            base_index=self.base_index,
            record_count=self.record_count,
            ts_first=self.ts_first,
            ts_last=self.ts_last,
            state=SegmentState.SEALED,
            data_bytes=self.data_bytes,
            size_bytes=self.length,
            place=self.place,
            location=f"{root}/{self.object}",
            holds=self.holds,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for storing and ``--json``; what nobody has looked for is not said."""
        values = asdict(self)
        if not self.holds:
            del values["holds"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Entry:
        """Return the entry that :meth:`to_dict` described; unknown keys of later versions are left out.

        Raises
        ------
        TypeError, KeyError
            When it is none.
        """
        plain = {key: value for key, value in values.items() if key in _FIELDS}
        if plain.get("intent"):
            plain["intent"] = Intent(**plain["intent"])
        plain["retired"] = tuple(Retired(**item) for item in plain.get("retired", ()))
        return cls(**plain)


_FIELDS: Final = frozenset(field.name for field in fields(Entry))


def day_of(ts: int) -> str:
    """Return the UTC day of a moment, the first or last that a catalog has for one outside them."""
    return _day(min(max(0, ts), YEAR_9999_NS - 1) // DAY_NS)


@lru_cache(maxsize=8192)
def _day(number: int) -> str:
    """Return the date of a day since 1970; catalogs ask for few days and many entries."""
    return (date(1970, 1, 1) + timedelta(days=number)).isoformat()
