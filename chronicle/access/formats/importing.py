"""Import: exported records back into queues of a home, segment by segment, proven by their checksums."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import chronicle.core.kernels.walking  # noqa: F401 - sealing walks segments by kernel once it is loaded
from chronicle.access.formats.record_rows import RecordFile
from chronicle.core.errors import ConfigError, CorruptionError, NotFoundError, StateError
from chronicle.core.kernels.mixed import append_mixed
from chronicle.core.layout import PAGE_BYTES
from chronicle.core.paths import clean_queue, lane_of, symbol_of
from chronicle.core.queue import SETTINGS_NAME, Queue
from chronicle.etl.clean.clean_writer import queue_identity
from chronicle.etl.clean.outlet import DAY_NS

__all__ = ["Imported", "files_of", "import_records"]

SEGMENT_BYTES_MIN = 1 << 16


@dataclass(slots=True)
class Imported:
    """What an import wrote."""

    queues: int = 0
    segments: int = 0
    records: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


def import_records(
    home: Path, paths: Iterable[Path], progress: Callable[[Path, Imported], None] | None = None
) -> Imported:
    """Write exported records into new clean queues under `home`.

    Every file is read and compared with its checksum before the first record is written; segments end where they
    ended, so the sealed files are the ones that were exported. A queue that is there already is refused.

    Parameters
    ----------
    home : Path
        A home; it may be empty.
    paths : iterable of Path
        Files, or folders that are searched for ``*.parquet``.
    progress : callable, optional
        Called after each segment.

    Raises
    ------
    NotFoundError, ForeignFileError
        When there is nothing to import, or a file is not ours.
    CorruptionError
        When rows were changed, segments are missing, or the first one is not there.
    StateError
        When a queue is there already.
    """
    queues: defaultdict[str, dict[int, Path]] = defaultdict(dict)
    for path in files_of(paths):
        with RecordFile(path) as file:
            _check_name(file.queue, path)
            if file.number in queues[file.queue]:
                raise ConfigError(
                    f"segment {file.number} of {file.queue} was given twice",
                    path=path,
                    found=queues[file.queue][file.number],
                )
            queues[file.queue][file.number] = path
    done = Imported()
    for queue in sorted(queues):
        if (home / queue / SETTINGS_NAME).exists():
            raise StateError(
                "the queue is there already", path=home / queue, hint="import into another home, or remove it first"
            )
        _check_whole(queue, queues[queue])
    for queue in sorted(queues):
        _import_queue(home, queue, queues[queue], done, progress)
        done.queues += 1
    return done


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Return the Parquet files that `paths` are or hold.

    Raises
    ------
    NotFoundError
        When a path is not there, or there is none.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise NotFoundError("there is nothing to import", path=path)
        inside = path.rglob("*.parquet") if path.is_dir() else [path]
        found += sorted(one for one in inside if not one.name.startswith("."))
    if not found:
        raise NotFoundError("no Parquet file is here", path=next(iter(paths), None), hint="name an export's folder")
    return found


def _check_name(queue: str, path: Path) -> None:
    """Refuse a queue's name that is not one of ours: it becomes a folder."""
    parts = PurePosixPath(queue).parts
    try:
        symbol = symbol_of(queue)
        expected = clean_queue(symbol, parts[-1].removesuffix(".q").split("@")[0], lane_of(queue))
    except (ValueError, IndexError, ConfigError, NotFoundError):
        expected = ""
    if expected != queue:
        raise CorruptionError("the file names a queue that cannot be", path=path, found=queue[:200])


def _check_whole(queue: str, files: dict[int, Path]) -> None:
    """Compare every file with its checksum, and their order with one another."""
    next_index, generation = 0, None
    for position, number in enumerate(sorted(files)):
        with RecordFile(files[number]) as file:
            if number != position or file.base_index != next_index or generation not in (None, file.generation):
                raise CorruptionError(
                    f"the segments of {queue} are not whole from the first on",
                    path=files[number],
                    expected=f"segment {position} from record {next_index}",
                    found=f"segment {number} from record {file.base_index}",
                    hint="export the queue without --start",
                )
            file.check()
            next_index, generation = file.base_index + file.records, file.generation


def _import_queue(
    home: Path,
    name: str,
    files: dict[int, Path],
    done: Imported,
    progress: Callable[[Path, Imported], None] | None,
) -> None:
    pending: dict[str, Any] = {}
    generation, size = 1, 0
    for path in files.values():
        with RecordFile(path) as file:
            generation, size = file.generation, max(size, file.bytes)
    queue = Queue.create(
        home / name,
        name=name,
        queue_id=queue_identity(name, generation),
        generation=generation,
        segment_bytes=max(SEGMENT_BYTES_MIN, size + PAGE_BYTES),
        cycle_ns=DAY_NS,
    )
    with queue.appender(prologue=lambda: dict(pending)) as appender:
        for number in sorted(files):
            with RecordFile(files[number]) as file:
                pending.clear()
                pending.update(file.prologue)
                for words in file.events():
                    append_mixed(appender, words)
                appender.seal()
                done.segments, done.records = done.segments + 1, done.records + file.records
            if progress is not None:
                progress(files[number], done)
