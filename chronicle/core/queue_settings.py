"""What is fixed when a queue is created, and the file that says so."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from chronicle.core import layout
from chronicle.core.durability import Durability
from chronicle.core.durable import file_error, publish_bytes
from chronicle.core.errors import ConfigError, ForeignFileError, NotFoundError

__all__ = ["SEGMENT_BYTES_MIN", "SETTINGS_NAME", "QueueSettings", "load_settings", "store_settings"]

SETTINGS_NAME = "queue.json"
SEGMENT_BYTES_MIN = 64 * 1024


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What is fixed when a queue is created.

    `segment_bytes` is the capacity of a segment's records; with `segment_growth` above 1 each segment has that many
    times the capacity of the one before, up to `segment_bytes_max` (a pure function of the number, so that equal
    records make equal segments). With `segment_adapts` it is instead the least of those sizes that holds twice the
    records of the segment before it, so that a queue that falls quiet becomes small again (a function of the records
    alone, too). `cycle_ns` rolls at multiples of that much ts_recv, UTC (0 = by size only).
    `durability` is ``shm``, ``buffered`` or ``fsync`` (see :mod:`chronicle.core.durability`), the last with
    `sync_records` and `sync_ns`.
    """

    name: str
    queue_id: str
    generation: int = 1
    segment_bytes: int = 64 * 1024 * 1024
    segment_growth: int = 1
    segment_bytes_max: int = 64 * 1024 * 1024
    cycle_ns: int = 0
    segment_adapts: bool = False
    durability: str = "buffered"
    sync_records: int = 0
    sync_ns: int = 0

    def check(self) -> None:
        """Refuse values that :meth:`Queue.create` never stores: a file that was spoiled or made by others.

        Raises
        ------
        ValueError, TypeError
            With what is wrong.
        """
        if not isinstance(self.name, str) or len(bytes.fromhex(self.queue_id)) != 16:
            raise ValueError("a name and an id of 16 bytes are needed")
        if type(self.segment_adapts) is not bool:
            raise ValueError("segment_adapts is true or false")
        numbers = {
            "generation": 0,
            "segment_bytes": SEGMENT_BYTES_MIN,
            "segment_growth": 2 if self.segment_adapts else 1,
            "segment_bytes_max": 0,
            "cycle_ns": 0,
            "sync_records": 0,
            "sync_ns": 0,
        }
        for name, least in numbers.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= layout.INT64_MAX:
                raise ValueError(f"{name} is {value!r}")

    def capacity(self, number: int, previous_bytes: int = 0) -> int:
        """Return the record capacity of segment `number`, the one before it having `previous_bytes` of records."""
        if self.segment_adapts:
            size = self.segment_bytes
            while size < 2 * previous_bytes and size < self.segment_bytes_max:
                size *= self.segment_growth
            return min(size, max(self.segment_bytes_max, self.segment_bytes))
        size = self.segment_bytes
        while self.segment_growth > 1 and number > 0 and size < self.segment_bytes_max:
            size *= self.segment_growth
            number -= 1
        return min(size, max(self.segment_bytes_max, self.segment_bytes))


def store_settings(folder: Path, settings: QueueSettings) -> None:
    """Publish the settings of the queue in `folder`; from then on it is there."""
    values = {"format": "chronicle-queue", "version": layout.FORMAT_VERSION}
    values |= {name: getattr(settings, name) for name in QueueSettings.__slots__}
    lines = json.dumps(values, separators=(",\n ", ": "))[1:-1]  # (what indent=1 writes, in a tenth of the time)
    publish_bytes(folder / SETTINGS_NAME, f"{{\n {lines}\n}}".encode())


def load_settings(folder: Path) -> QueueSettings:
    """Read the settings of the queue in `folder`.

    Raises
    ------
    NotFoundError
        When there is no queue.
    ForeignFileError
        When the file is not ours.
    """
    settings_path = folder / SETTINGS_NAME
    try:
        values = json.loads(settings_path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError("there is no queue", path=folder, hint="chronicle ls shows what is there") from error
    except OSError as error:
        raise file_error(error, "read the queue's settings", settings_path) from error
    except (ValueError, RecursionError) as error:
        raise ForeignFileError(f"cannot read the queue's settings: {error}", path=settings_path) from error
    try:
        if values.pop("format") != "chronicle-queue" or values.pop("version") != layout.FORMAT_VERSION:
            raise ValueError("another format or version")  # noqa: TRY301
        settings = QueueSettings(**values)
        settings.check()
        Durability.of(settings)
    except (AttributeError, KeyError, TypeError, ValueError, ConfigError) as error:
        raise ForeignFileError(
            f"the queue's settings are not ours: {error}",
            path=settings_path,
            expected=f"chronicle-queue version {layout.FORMAT_VERSION}",
        ) from error
    return settings
