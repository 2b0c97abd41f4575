"""Our own wire queues as captures: frames verbatim, with the marks that say where each capture began and ended.

Given are homes, folders of wire queues, or single segment files. The frames keep their connection numbers and times;
the marks in the queue go with them, so that the raw queue comes out as it did the first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from chronicle.core.cursor import Cursor
from chronicle.core.errors import ChronicleError, ConfigError, DecodeError, NotFoundError
from chronicle.core.layout import SEGMENT_OPEN_SUFFIX, SEGMENT_SEALED_SUFFIX, Kind, WireForm
from chronicle.core.local import LocalSource, QueueSource
from chronicle.core.queue import SETTINGS_NAME, Queue
from chronicle.core.records import Record
from chronicle.feed.adapter import Frame
from chronicle.feed.captures.merge import Stream
from chronicle.feed.marks import START, Line, read_lines, read_mark

__all__ = ["frame_of", "is_wire", "open_wire", "queues_of"]

_SUFFIXES: Final = (SEGMENT_OPEN_SUFFIX, SEGMENT_SEALED_SUFFIX)


def is_wire(path: Path) -> bool:
    """Whether `path` is a home with wire queues, a queue's folder, or a segment file."""
    if path.is_dir():
        return (path / SETTINGS_NAME).exists() or bool(LocalSource(path).queues("wire/"))
    return path.suffix in _SUFFIXES and path.stem.isdigit()


def queues_of(path: Path) -> list[Queue]:
    """Return the wire queues that `path` names (for a segment file, that of its folder).

    Raises
    ------
    NotFoundError
        When there is none.
    """
    if path.is_dir() and not (path / SETTINGS_NAME).exists():
        source = LocalSource(path)
        queues = [source.queue(name) for name in source.queues("wire/")]
        if not queues:
            raise NotFoundError("the home holds no wire queue", path=path)
        return queues
    return [Queue.open(path if path.is_dir() else path.parent)]


def open_wire(paths: list[Path], venue: str | None) -> tuple[list[Line], list[Stream]]:
    """Return the lines that the wire queues' marks name, and one stream per queue.

    Several queues at once (the lanes of a home) would share connection numbers: each is replayed by itself.

    Raises
    ------
    ConfigError
        When the paths name more than one queue, or `venue` is given (the marks say it).
    """
    if venue is not None:
        raise ConfigError("a wire queue says its venues itself", found=f"--venue {venue}", hint="leave --venue out")
    queues = {queue.path.resolve(): queue for path in paths for queue in queues_of(path)}
    if len(queues) > 1:
        raise ConfigError(
            "several wire queues cannot be one capture: their connection numbers are their own",
            found=", ".join(sorted(str(path) for path in queues)),
            hint="replay one wire/NAME.q at a time",
        )
    queue = next(iter(queues.values()))
    only = {int(path.stem) for path in paths if path.suffix in _SUFFIXES and not path.is_dir()}
    opener = partial(_read, queue, frozenset(only))
    return _lines(queue, frozenset(only)), [Stream(queue.name, 0, opener)]


def _lines(queue: Queue, only: frozenset[int]) -> list[Line]:
    """Return the lines of the first start mark: in the first segment's prologue, or its first record."""
    for number in queue.segment_files():
        if only and number not in only:
            continue
        with queue.open_segment(number) as segment:
            mark = segment.prologue().get("capture") or b""
        if mark:
            return read_lines(read_mark(Frame(WireForm.CONFIG, 0, START, 0, mark)))
        break
    first = next(_read(queue, only), None)
    if first is None or first.address != START:
        raise DecodeError(
            "the wire queue does not say which lines it holds",
            path=queue.path,
            hint="give it from the segment on in which a capture starts",
        )
    return read_lines(read_mark(first))


def _read(queue: Queue, only: frozenset[int]) -> Iterator[Frame]:
    numbers = sorted(number for number in queue.segment_files() if not only or number in only)
    if not numbers:
        return
    with queue.open_segment(numbers[0]) as segment:
        first = segment.info.base_index
    with queue.open_segment(numbers[-1]) as segment:
        end = segment.info.end_index
    cursor = Cursor(QueueSource(queue), queue.name, first)
    try:
        while cursor.index < end and (window := cursor.next_window()) is not None:
            for record in window.records():
                if record.kind == Kind.WIRE:
                    yield frame_of(record)
    except DecodeError:
        raise
    except ChronicleError as error:
        raise DecodeError(f"the wire queue is damaged: {error}", path=queue.path) from error
    finally:
        cursor.close()


def frame_of(record: Record) -> Frame:
    """Return the frame in a WIRE record.

    Raises
    ------
    DecodeError
        When it has a form that this build does not know.
    """
    values: dict[str, Any] = record.fields()
    try:
        form = WireForm(values["form"])
    except ValueError as error:
        raise DecodeError(f"record {record.index} has the unknown form {values['form']}") from error
    return Frame(form, record.source, values["address"], record.ts_recv, values["payload"])
