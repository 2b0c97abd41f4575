"""A queue: a folder ``NAME.q/`` of segments, one writer, many readers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronicle.core import layout
from chronicle.core.clock import Clock, SystemClock
from chronicle.core.control import Control
from chronicle.core.durability import Durability
from chronicle.core.durable import file_errors
from chronicle.core.errors import ConfigError, StateError
from chronicle.core.queue_folder import QueueFolder
from chronicle.core.queue_settings import (
    SEGMENT_BYTES_MIN,
    SETTINGS_NAME,
    QueueSettings,
    load_settings,
    store_settings,
)
from chronicle.core.registry import (
    TailerInfo,
    TailerLock,
    check_name,
    drop_tailer,
    list_tailers,
    load_position,
    store_position,
)
from chronicle.core.retention import RetentionPlan, RetentionPolicy, retain
from chronicle.core.watermarks import Watermarks, mark_tiered, read_watermarks, wait_synced
from chronicle.core.writer_lock import lock_holder

if TYPE_CHECKING:
    from chronicle.core.appender import Appender
    from chronicle.core.tailer import Tailer

__all__ = ["SETTINGS_NAME", "Queue", "QueueSettings"]


class Queue(QueueFolder):
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
        Durability.at(folder, settings)
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

    def synced_index(self) -> int:
        """Return the index up to which records survive a power cut (0 with durability ``shm``, or in memory)."""
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
            When the queue's durability is ``shm``, or it lies in memory.
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

    def place_tailer(self, name: str, index: int, *, clock: Clock | None = None) -> None:
        """Put a tailer that is not open at `index`, whether or not that record is still on this host.

        For readers that go through another source (all tiers, say) and only tell retention what they need.

        Raises
        ------
        QueueLockedError
            When a live tailer has the name.
        """
        check_name(name)
        now_ns = (clock or SystemClock()).now_ns()
        lock = TailerLock.acquire(self.path, name, opened_ns=now_ns)
        try:
            store_position(self.path, name, index, now_ns=now_ns)
        finally:
            lock.release()

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

    def writer(self) -> dict[str, Any] | None:
        """Return {pid, host, started_ns} of the live writer, or None."""
        return lock_holder(self.path)
