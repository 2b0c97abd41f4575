"""What a queue promises about power, by level, and the thread that keeps the promise in time.

``shm``: survives the process; there is no device behind it and `synced` never moves. ``buffered`` (default): the
kernel writes back when it likes; `Appender.sync` and every seal make it sure. In a folder on a tmpfs it is ``shm``,
and ``fsync`` is refused there. ``fsync``: synced after every
`sync_records` records (before their append returns) and every `sync_ns` ns, whichever is first.

``msync(MS_SYNC)`` of a shared file map is, on Linux, ``fdatasync`` of the range: pages, size and block map. The
file's name was made durable when it was created, so no descriptor is kept for it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from chronicle.core.errors import ChronicleError, ConfigError
from chronicle.core.media import is_memory

if TYPE_CHECKING:
    from chronicle.core.mapping import MemoryMap

__all__ = ["LEVELS", "Durability", "Syncer"]

LEVELS = ("shm", "buffered", "fsync")


class DurabilitySettings(Protocol):
    """The part of a queue's settings that says what it promises."""

    @property
    def durability(self) -> str: ...
    @property
    def sync_records(self) -> int: ...
    @property
    def sync_ns(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Durability:
    """A level with its bounds: `sync_records` and `sync_ns`, 0 = not by this."""

    level: str
    sync_records: int = 0
    sync_ns: int = 0

    @classmethod
    def of(cls, settings: DurabilitySettings) -> Durability:
        """Read the level from a queue's settings.

        Raises
        ------
        ConfigError
            For an unknown level, or an ``fsync`` without a bound.
        """
        level, records, interval = settings.durability, settings.sync_records, settings.sync_ns
        if level not in LEVELS or min(records, interval) < 0 or ((records or interval) and level != "fsync"):
            raise ConfigError(
                "a queue's durability cannot be used",
                expected=f"one of {', '.join(LEVELS)}; sync_records and sync_ns >= 0 and with fsync only",
                found=(level, records, interval),
            )
        if level == "fsync" and not (records or interval):
            records = 1
        return cls(level, records, interval)

    @classmethod
    def at(cls, folder: Path, settings: DurabilitySettings) -> Durability:
        """Return what the settings can promise in `folder`: in memory there is nothing to sync to.

        Raises
        ------
        ConfigError
            As :meth:`of`, and for ``fsync`` in memory.
        """
        wanted = cls.of(settings)
        if wanted.level == "shm" or not is_memory(folder):
            return wanted
        if wanted.level == "fsync":
            raise ConfigError(
                "a queue of durability fsync lies in memory, which no power cut spares",
                path=folder,
                expected="a folder on a disk",
                found="a tmpfs",
                hint="put the queue on a disk, or create it with durability shm",
            )
        return cls("shm")

    @property
    def can_sync(self) -> bool:
        """Whether there is a device to sync to."""
        return self.level != "shm"

    @property
    def syncs(self) -> bool:
        """Whether the writer syncs by itself."""
        return self.level == "fsync"

    @property
    def counts(self) -> bool:
        """Whether appends must count records towards the next sync."""
        return self.sync_records > 0

    @property
    def syncs_by_time(self) -> bool:
        """Whether a thread syncs every `sync_ns`."""
        return self.sync_ns > 0

    def sync(self, mapping: MemoryMap) -> None:
        """Write a map's dirty pages to the device and wait."""
        if self.can_sync:
            mapping.sync()


class Synced(Protocol):
    """What a syncer works for: an appender."""

    next_index: int
    _synced: int

    def sync(self) -> int:
        """Sync now."""
        ...


class Syncer:
    """A daemon thread that syncs a writer every `interval_ns` when it has appended; bounds what power can take.

    The writer never waits for it. An error of the device is kept and raised by the writer's next sync or close.
    """

    def __init__(self, writer: Synced, interval_ns: int) -> None:
        self._writer = writer
        self._interval_s = interval_ns / 1e9
        self._stop = threading.Event()
        self._error: ChronicleError | None = None
        self._thread = threading.Thread(target=self._run, name="syncer", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what the thread met."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """End the thread; the caller syncs what is left."""
        self._stop.set()
        self._thread.join()
        self.check()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            if self._writer.next_index > self._writer._synced:
                try:
                    self._writer.sync()
                except ChronicleError as error:
                    self._error = error
