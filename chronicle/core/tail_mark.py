"""Where a queue continues after its last sealed segment, for the time when all of them are on other tiers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from chronicle.core import layout
from chronicle.core.durable import file_error, publish_bytes
from chronicle.core.errors import ForeignFileError

__all__ = ["TailMark", "read_tail_mark", "write_tail_mark"]

TAIL_NAME = "tail.json"
SEGMENT_COUNT_MAX = 10**10
"""A segment's number has ten digits in its file's name."""


@dataclass(frozen=True, slots=True)
class TailMark:
    """The next segment's number and first index; of the last segment its last ts_recv and bytes of records."""

    next_number: int = 0
    next_base_index: int = 0
    last_ts_recv: int = layout.INT64_MIN
    last_data_bytes: int = 0

    def __post_init__(self) -> None:
        values = (self.next_number, self.next_base_index, self.last_ts_recv, self.last_data_bytes)
        if any(type(value) is not int for value in values):
            raise ValueError("a value is no integer")
        if not layout.INT64_MIN <= min(values) <= max(values) <= layout.INT64_MAX:
            raise ValueError("a number is out of range")
        if not 0 <= self.next_number < SEGMENT_COUNT_MAX or min(self.next_base_index, self.last_data_bytes) < 0:
            raise ValueError("a number is out of range")


def read_tail_mark(folder: Path) -> TailMark:
    """Read the mark of the queue in `folder`; one that was never written is that of an empty queue.

    Raises
    ------
    ForeignFileError
        When the file is not ours.
    StoreError
        When it cannot be read.
    """
    path = folder / TAIL_NAME
    try:
        return TailMark(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return TailMark()
    except OSError as error:
        raise file_error(error, "read the queue's tail mark", path) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise ForeignFileError(f"cannot read the queue's tail mark: {error}", path=path) from error


def write_tail_mark(folder: Path, mark: TailMark) -> None:
    """Publish the mark of the queue in `folder`."""
    values = {name: getattr(mark, name) for name in TailMark.__slots__}
    publish_bytes(folder / TAIL_NAME, json.dumps(values).encode("ascii"))
