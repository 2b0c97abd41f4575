"""Where a clean queue ends on disk: one look at its last segments, because a start takes one at every queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from chronicle.core.errors import NotFoundError
from chronicle.core.layout import INT64_MAX, NONE
from chronicle.core.queue import SETTINGS_NAME, Queue
from chronicle.core.queue_folder import segment_info
from chronicle.core.records import Record
from chronicle.core.segment import LocalSegment
from chronicle.etl.clean.lineage import position_of
from chronicle.etl.clean.outlet import DAY_NS, Tail

__all__ = ["stored_tail"]

_LOOKS_MAX = 100


def stored_tail(home: Path, queue: str, numbers: Mapping[str, int]) -> Tail:
    """Return the tail of `queue` under `home`, all zero when there is none.

    Parameters
    ----------
    home : Path
        The home folder.
    queue : str
        The clean queue's name.
    numbers : mapping
        Number of each raw queue where several are merged, else empty: the last record's position is made with it.

    Raises
    ------
    NotFoundError
        When its segments vanish again and again as they are looked at.
    CorruptionError
        When the last segment is damaged.
    """
    if not (home / queue / SETTINGS_NAME).exists():
        return Tail()
    stored = Queue.open(home / queue, name=queue)
    for _ in range(_LOOKS_MAX):
        try:
            return _look(stored, numbers)
        except NotFoundError:
            continue  # retention or the tiering agent took a segment between the listing and the look
    raise NotFoundError("the queue's segments vanish as they are looked at", path=stored.path)


def _look(stored: Queue, numbers: Mapping[str, int]) -> Tail:
    mark = stored.tail_mark()
    files = list(stored.segment_files().values())
    if not files:
        return Tail(mark.next_base_index, mark.next_number, 0, mark.last_data_bytes >> 3, stored.settings, INT64_MAX)
    words, day_end, next_index, number = 0, INT64_MAX, mark.next_base_index, int(files[-1].stem)
    with LocalSegment(files[-1], queue=stored.name) as last:
        end, end_index, _ = last.extent()
        size, record = end - last.data_offset, last.last_record()
        if last.is_sealed:
            number, previous = number + 1, size
        else:
            previous = segment_info(files[-2], stored.name).data_bytes if len(files) > 1 else mark.last_data_bytes
            if record is not None:
                first = int.from_bytes(last.view(last.data_offset + 8, last.data_offset + 16), "little", signed=True)
                words, day_end = size >> 3, first - first % DAY_NS + DAY_NS
        if record is not None:
            next_index, position = end_index, _position(last, record, numbers)
    if record is None:
        record, position = _last_before(files[:-1], stored.name, numbers)
        next_index = next_index if record is None else record.index + 1
    return Tail(
        next_index=next_index,
        next_number=number,
        words=words,
        previous_words=previous >> 3,
        sizes=stored.settings,
        day_end=day_end,
        source_index=position,
        ordinal=0 if record is None else record.ordinal,
    )


def _last_before(files: Sequence[Path], queue: str, numbers: Mapping[str, int]) -> tuple[Record | None, int]:
    """Return the last record of segments behind which an empty one stands, and its position."""
    for path in reversed(files):
        with LocalSegment(path, queue=queue) as segment:
            record = segment.last_record()
            if record is not None:
                return record, _position(segment, record, numbers)
    return None, NONE


def _position(segment: LocalSegment, record: Record, numbers: Mapping[str, int]) -> int:
    """Return a record's position, by the names in its segment's prologue."""
    if not numbers:
        return int(record.source_index)
    sources = segment.prologue().get("sources") or []
    name = sources[record.source].get("queue") if record.source < len(sources) else None
    number = numbers.get(str(name))
    return NONE if number is None else position_of(number, record.source_index)
