"""A queue: a folder ``NAME.q/`` of segments, one writer, many readers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronicle.core import layout
from chronicle.core.clock import Clock, SystemClock
from chronicle.core.control import Control, lock_holder
from chronicle.core.durability import Durability
from chronicle.core.durable import file_error, file_errors
from chronicle.core.errors import ConfigError, ForeignFileError, NotFoundError, StateError
from chronicle.core.layout import SegmentState
from chronicle.core.queue_settings import (
    SEGMENT_BYTES_MIN,
    SETTINGS_NAME,
    QueueSettings,
    load_settings,
    store_settings,
)
from chronicle.core.records import Record
from chronicle.core.registry import TailerInfo, check_name, drop_tailer, list_tailers, load_position, store_position
from chronicle.core.retention import RetentionPlan, RetentionPolicy, retain
from chronicle.core.scan import checked_length
from chronicle.core.segment import LocalSegment
from chronicle.core.source import SegmentInfo
from chronicle.core.watermarks import Watermarks, mark_tiered, read_watermarks, wait_synced

if TYPE_CHECKING:
    from chronicle.core.appender import Appender
    from chronicle.core.tailer import Tailer

__all__ = ["SETTINGS_NAME", "Queue", "QueueSettings"]

TAIL_NAME = "tail.json"
SEGMENT_COUNT_MAX = 10**10
"""A segment's number has ten digits in its file's name."""


class Queue:
    """A queue on this host.

    Examples
    --------
    >>> import tempfile
    >>> from chronicle.core import Kind, Queue
    >>> folder = tempfile.TemporaryDirectory()
    >>> with Queue.create(folder.name + "/demo.q") as queue:
    ...     with queue.appender() as appender:
    ...         first = appender.append(Kind.STATUS, ts_recv=1_000)
    ...     [record.ts_recv for record in queue.tailer().drain()]
    [1000]
    >>> folder.cleanup()
    """

    def __init__(self, path: Path, settings: QueueSettings) -> None:
        self.path = path
        self.settings = settings

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        name: str | None = None,
        queue_id: bytes | None = None,
        generation: int = 1,
        segment_bytes: int = 64 * 1024 * 1024,
        segment_growth: int = 1,
        segment_bytes_max: int | None = None,
        segment_adapts: bool = False,
        cycle_ns: int = 0,
        durability: str = "buffered",
        sync_records: int = 0,
        sync_ns: int = 0,
        exist_ok: bool = False,
    ) -> Queue:
        """Create a queue, or open it when `exist_ok` and it is there.

        Parameters
        ----------
        path : path
            The folder, by convention ending in ``.q``.
        name : str, optional
            Path relative to the home; default the folder's name.
        queue_id : bytes of length 16, optional
            Default random. Give one where equal input must give equal bytes.
        generation : int
            Counts re-creations of the same queue (a rebuild).
        segment_bytes, segment_growth, segment_bytes_max, segment_adapts, cycle_ns, durability, sync_records, sync_ns
            See :class:`QueueSettings`.

        Raises
        ------
        StateError
            When it exists and `exist_ok` is false.
        ConfigError
            When a setting cannot be used.
        CapacityError, StoreError
            When the disk refuses.
        """
        folder = Path(path)
        with file_errors("look for a queue", folder):
            exists = (folder / SETTINGS_NAME).exists()
        if exists:
            if exist_ok:
                return cls.open(folder, name=name)
            raise StateError("the queue exists already", path=folder, hint="open it with Queue.open")
        growth_min = 2 if segment_adapts else 1
        if segment_bytes < SEGMENT_BYTES_MIN or segment_growth < growth_min or cycle_ns < 0:
            raise ConfigError(
                "a queue's settings cannot be used",
                path=folder,
                expected=f"segment_bytes >= {SEGMENT_BYTES_MIN}, segment_growth >= {growth_min}, cycle_ns >= 0",
                found=(segment_bytes, segment_growth, cycle_ns),
            )
        identity = os.urandom(16) if queue_id is None else queue_id
        if len(identity) != 16:
            raise ConfigError("a queue id has 16 bytes", path=folder, expected=16, found=len(identity))
        settings = QueueSettings(
            name=name or folder.name,
            queue_id=identity.hex(),
            generation=generation,
            segment_bytes=segment_bytes,
            segment_growth=segment_growth,
            segment_bytes_max=segment_bytes_max or segment_bytes,
            segment_adapts=segment_adapts,
            cycle_ns=cycle_ns,
            durability=durability,
            sync_records=sync_records,
            sync_ns=sync_ns,
        )
        Durability.of(settings)
        Control.create(folder, identity, generation)
        store_settings(folder, settings)
        return cls(folder, settings)

    @classmethod
    def open(cls, path: str | Path, *, name: str | None = None) -> Queue:
        """Open an existing queue; nothing is written, read-only media will do.

        Raises
        ------
        NotFoundError
            When there is no queue.
        ForeignFileError
            When its settings file is not ours.
        """
        folder = Path(path)
        settings = load_settings(folder)
        if name is not None and settings.name != name:
            settings = replace(settings, name=name)
        return cls(folder, settings)

    def __enter__(self) -> Queue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Queue {self.name} at {self.path}>"

    def close(self) -> None:
        """Nothing stays open: appenders and tailers own what they hold."""

    @property
    def name(self) -> str:
        """The queue's name: its path relative to the home."""
        return self.settings.name

    @property
    def generation(self) -> int:
        """Counts re-creations of the queue."""
        return self.settings.generation

    def appender(
        self, *, prologue: Callable[[], dict[str, Any]] | None = None, clock: Clock | None = None
    ) -> Appender:
        """Become the writer: recover the tail and continue at the next index.

        Parameters
        ----------
        prologue : callable, optional
            Called at every new segment; its map is stored there so that the segment explains itself.

        Raises
        ------
        QueueLockedError
            When a live writer owns the queue; the error names it.
        CorruptionError
            When committed records before the tail are damaged.
        """
        from chronicle.core.appender import Appender

        return Appender(self, prologue=prologue, clock=clock or SystemClock())

    def tailer(self, name: str | None = None) -> Tailer:
        """Return a reader at the start, or, when named, where that name stopped last.

        A name belongs to one open tailer at a time, and retention keeps what it has not read.

        Raises
        ------
        QueueLockedError
            When a live tailer has the name.
        """
        from chronicle.core.tailer import Tailer

        return Tailer(self, name)

    def segment_files(self) -> dict[int, Path]:
        """Return {number: path}; where both forms stand, the sealed one is published."""
        files: dict[int, Path] = {}
        try:
            names = sorted(os.listdir(self.path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError("there is no queue", path=self.path) from error
        except OSError as error:
            raise file_error(error, "list the queue's segments", self.path) from error
        for name in names:
            stem, dot, suffix = name.partition(".")
            if len(stem) != 10 or not stem.isdigit() or f"{dot}{suffix}" not in _SUFFIXES:
                continue
            number = int(stem)
            if number not in files or f".{suffix}" == layout.SEGMENT_SEALED_SUFFIX:
                files[number] = self.path / name
        return dict(sorted(files.items()))

    def segments(self) -> list[SegmentInfo]:
        """Return the segments on this host, in order; one that moves away meanwhile is left out."""
        found = (self._look(path) for path in self.segment_files().values())
        return [info for info in found if info is not None]

    def open_segment(self, number: int) -> LocalSegment:
        """Map a segment for reading.

        Raises
        ------
        NotFoundError
            When this host does not hold it (any more).
        """
        for state in (SegmentState.SEALED, SegmentState.OPEN, SegmentState.SEALED):
            path = self.path / layout.segment_name(number, state)
            try:
                return LocalSegment(path, queue=self.name)
            except NotFoundError:
                continue  # in the other state, or moved away
        raise NotFoundError(
            f"segment {number} of {self.name} is not on this host",
            path=self.path,
            hint="open the home with chronicle.open: it knows the other tiers",
        )

    def tail_mark(self) -> dict[str, int]:
        """Return where the queue continues after its last sealed segment: number, base index, ts_recv, its bytes."""
        path = self.path / TAIL_NAME
        try:
            values = json.loads(path.read_bytes())
            mark = {key: int(values[key]) for key in ("next_number", "next_base_index", "last_ts_recv")}
            if min(mark.values()) < layout.INT64_MIN or max(mark.values()) > layout.INT64_MAX:
                raise ValueError("a number is out of range")  # noqa: TRY301
            if not 0 <= mark["next_number"] < SEGMENT_COUNT_MAX or mark["next_base_index"] < 0:
                raise ValueError("a number is out of range")  # noqa: TRY301
            mark["last_data_bytes"] = int(values.get("last_data_bytes", 0))
        except FileNotFoundError:
            return {"next_number": 0, "next_base_index": 0, "last_ts_recv": layout.INT64_MIN, "last_data_bytes": 0}
        except OSError as error:
            raise file_error(error, "read the queue's tail mark", path) from error
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ForeignFileError(f"cannot read the queue's tail mark: {error}", path=path) from error
        return mark

    def end_index(self) -> int:
        """Return the index the next record will get (the committed watermark)."""
        return self._end()[0]

    def last_ts_recv(self) -> int:
        """Return the ts_recv of the last committed record; INT64_MIN when there is none."""
        return self._end()[1]

    def first_index(self) -> int:
        """Return the index of the first record still on this host (the end index when there is none)."""
        for path in self.segment_files().values():
            info = self._look(path)
            if info is not None:
                return info.base_index
        return self.tail_mark()["next_base_index"]

    def synced_index(self) -> int:
        """Return the index up to which records survive a power cut (0 on a queue of durability ``shm``)."""
        return self.watermarks().synced

    def watermarks(self) -> Watermarks:
        """Return how far the records survive the process, power, and the machine.

        Examples
        --------
        >>> import tempfile
        >>> from chronicle.core import Kind, Queue
        >>> folder = tempfile.TemporaryDirectory()
        >>> queue = Queue.create(folder.name + "/demo.q")
        >>> with queue.appender() as appender:
        ...     index = appender.append(Kind.STATUS, ts_recv=1)
        ...     before = queue.watermarks()
        ...     synced = appender.sync()
        >>> (before.committed, before.synced, queue.watermarks().synced)
        (1, 0, 1)
        >>> folder.cleanup()
        """
        return read_watermarks(self)

    def wait_synced(self, index: int, timeout_ns: int | None = None, *, clock: Clock | None = None) -> bool:
        """Wait until the records below `index` survive a power cut; return whether they do.

        It wakes when the writer syncs; it does not make it sync.

        Raises
        ------
        StateError
            When the queue's durability is ``shm``.
        """
        return wait_synced(self, index, timeout_ns, clock or SystemClock())

    def mark_tiered(self, index: int) -> int:
        """Say that records below `index` are published on another tier; return the watermark, which never falls."""
        return mark_tiered(self, index)

    def tailers(self) -> list[TailerInfo]:
        """Return the named tailers: position, lag, state (``new parked live dead``) and process."""
        return list_tailers(self.path, self.end_index())

    def register_tailer(self, name: str) -> None:
        """Register a tailer at the first record kept, before it ever reads: retention waits for it from now on."""
        check_name(name)
        if load_position(self.path, name) is None:
            store_position(self.path, name, self.first_index(), now_ns=None)

    def drop_tailer(self, name: str) -> None:
        """Forget a tailer that is not open, so that retention no longer waits for it.

        Raises
        ------
        StateError
            When it is live.
        NotFoundError
            When there is none.
        """
        drop_tailer(self.path, name)

    def retain(self, policy: RetentionPolicy, now_ns: int, *, force: bool = False) -> RetentionPlan:
        """Retire the sealed segments that `policy` no longer keeps; return what was done.

        Never past the slowest named tailer, unless `force`: then the drop is recorded and that tailer's next event
        is a GAP.
        """
        return retain(self, policy, now_ns=now_ns, force=force)

    def seal_dead(self) -> list[int]:
        """Finish what a dead writer left: seal its rolled segments, end and seal its open one; return the numbers.

        Anyone may: it takes the writer lock for the moment and the queue continues at the next index.

        Raises
        ------
        QueueLockedError
            When the writer lives; the error names it.
        """
        sealed = layout.SEGMENT_SEALED_SUFFIX
        before = {number for number, path in self.segment_files().items() if path.suffix != sealed}
        with self.appender() as appender:
            appender.seal()
        after = self.segment_files()
        return sorted(number for number in before if number in after and after[number].suffix == sealed)

    def last_record(self) -> Record | None:
        """Return the last committed record on this host, or None."""
        for number in reversed(self.segment_files()):
            with self.open_segment(number) as segment:
                end, end_index, _ = segment.extent()
                if end > segment.data_offset:
                    return _last_record(segment, end, end_index)
        return None

    def writer(self) -> dict[str, Any] | None:
        """Return {pid, host, started_ns} of the live writer, or None."""
        return lock_holder(self.path)

    def _look(self, path: Path) -> SegmentInfo | None:
        """Return what a listed segment holds; None when it went to another tier since the listing."""
        for candidate in (path, path.with_suffix(layout.SEGMENT_SEALED_SUFFIX)):
            try:
                return segment_info(candidate, self.name)
            except NotFoundError:
                continue  # sealed (the other name) or moved meanwhile
        return None

    def _end(self) -> tuple[int, int]:
        mark = self.tail_mark()
        for path in reversed(self.segment_files().values()):
            info = self._look(path)
            if info is not None and info.record_count:
                return info.end_index, info.ts_last
        return mark["next_base_index"], mark["last_ts_recv"]


_SUFFIXES = (layout.SEGMENT_OPEN_SUFFIX, layout.SEGMENT_SEALED_SUFFIX)


def segment_info(path: Path, queue: str, place: str = "hot") -> SegmentInfo:
    """Return what is known of a segment file; a sealed one is not mapped for it."""
    from chronicle.core.segment_header import read_header

    if path.suffix == layout.SEGMENT_SEALED_SUFFIX:
        header = read_header(path)
        if header.state is SegmentState.SEALED:
            return SegmentInfo(
                queue=queue,
                number=header.number,
                generation=header.generation,
                base_index=header.base_index,
                record_count=header.record_count,
                ts_first=header.ts_first,
                ts_last=header.ts_last,
                state=header.state,
                data_bytes=header.data_bytes - layout.ROLL_BYTES,
                size_bytes=header.file_bytes,
                place=place,
                location=str(path),
            )
    with LocalSegment(path, queue=queue, place=place) as segment:
        return segment.info


def _last_record(segment: LocalSegment, end: int, end_index: int) -> Record:
    point = segment.point_before(end_index - 1)
    offset = segment.data_offset if point is None else point.offset
    segment.view(offset, end)  # of a sealed segment: checked before it is walked
    words = segment.mapping.words
    last = offset
    while offset < end:
        last = offset
        offset += checked_length(words[offset >> 3], offset, segment.path)
    return Record(bytes(segment.view(last, offset)), end_index - 1)
