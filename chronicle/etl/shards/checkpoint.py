"""Checkpoints: the whole state of a lane at a raw index, so that a restart need not replay all.

They only save time. A checkpoint counts when its checksum, the version, the configuration and the raw queue agree
and every clean queue reaches at least to where it says; else the one before it, else the raw queue's first record.
It says which instruments its shard had, and each one's state stands alone: another shard may take some of them over
(:mod:`chronicle.etl.shards.handover`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import xxhash

from chronicle import __version__
from chronicle.core.durable import publish_bytes
from chronicle.core.layout import INT64_MIN
from chronicle.core.paths import feed_of, lane_of
from chronicle.core.records import InstrumentFields
from chronicle.core.selection import Selection
from chronicle.etl.books.array_book import ArrayBook
from chronicle.etl.pipeline.pipeline import Pipeline
from chronicle.etl.streams.book_stream import BookStream
from chronicle.etl.streams.candles import CandleStream
from chronicle.etl.streams.gaps import Gap
from chronicle.etl.streams.order_stream import OrderStream
from chronicle.etl.streams.stream import Definition, PlainStream

__all__ = [
    "Checkpoint",
    "CheckpointStore",
    "capture_state",
    "read_checkpoint",
    "restore_state",
    "sources_of",
    "written_counts",
]

MAGIC = b"CHRETL02"
_TRAILER = struct.Struct("<Q")
_SLOTS = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A stored state: every selected instrument as it was before raw record `next_index`."""

    path: Path
    next_index: int
    selection: Selection
    state: dict[str, Any]
    identity: dict[str, Any] = field(default_factory=dict)

    def index_in(self, raw_queue: str) -> int | None:
        """Return where it stands in `raw_queue`, None where that was not part of the lane."""
        return next((int(row[2]) for row in sources_of(self.state) if row[0] in ("", raw_queue)), None)


class CheckpointStore:
    """Two alternating files, ``checkpoint-LANE-0`` and ``-1``, in the shard's folder (``checkpoint-FEED@LANE-0`` for
    raw queues other than main), and ``handover-LANE-INDEX`` for instruments that the shard gave away.

    Parameters
    ----------
    folder : Path
        ``etl/SHARD`` of the target.
    raw_queue : str
        The raw queue whose states these are.
    identity : dict
        What must be equal for a state to be used: raw queue, its generation, and the configuration.
    """

    def __init__(self, folder: Path, raw_queue: str, identity: dict[str, Any]) -> None:
        feed, lane = feed_of(raw_queue), lane_of(raw_queue)
        self._folder = folder
        self._stem = str(lane) if feed == "main" else f"{feed}@{lane}"
        self._identity = {"version": __version__, **identity}
        self._slot = 0
        self.bytes_last = 0

    def load(self) -> list[Checkpoint]:
        """Return the checkpoints that are whole and of this version, configuration and raw queue, newest first."""
        paths = [self._path(slot) for slot in range(_SLOTS)]
        found = self._newest_first(paths)
        if found:
            self._slot = 1 - paths.index(found[0].path)
        return found

    def everywhere(self) -> list[Checkpoint]:
        """Return what all shards of the target have left for this raw queue, newest first."""
        patterns = [f"*/checkpoint-{self._stem}-[01]", f"*/handover-{self._stem}-*"]
        return self._newest_first(path for pattern in patterns for path in self._folder.parent.glob(pattern))

    def handovers(self) -> list[Checkpoint]:
        """Return what this shard gave away and none was known to have taken."""
        return self._newest_first(self._folder.glob(f"handover-{self._stem}-*"))

    def save(self, state: dict[str, Any], selection: Selection) -> None:
        """Publish `state` in place of the older file."""
        self.bytes_last = self._write(self._path(self._slot), state, selection)
        self._slot = (self._slot + 1) % _SLOTS

    def hand_over(self, state: dict[str, Any], selection: Selection) -> None:
        """Leave `state`, reduced to what this shard no longer has, for the shard that has it now."""
        self._write(self._folder / f"handover-{self._stem}-{state['next_index']}", state, selection)

    def _write(self, path: Path, state: dict[str, Any], selection: Selection) -> int:
        content = {"identity": self._identity, "selection": selection.to_dict(), "state": state}
        data = MAGIC + msgpack.packb(content, use_bin_type=True)
        publish_bytes(path, data + _TRAILER.pack(xxhash.xxh3_64_intdigest(data)))
        return len(data)

    def _newest_first(self, paths: Iterable[Path]) -> list[Checkpoint]:
        found = [checkpoint for path in sorted(paths) if (checkpoint := self._read(path)) is not None]
        return sorted(found, key=lambda checkpoint: checkpoint.next_index, reverse=True)

    def _read(self, path: Path) -> Checkpoint | None:
        found = read_checkpoint(path)
        return None if found is None or found.identity != self._identity else found

    def _path(self, slot: int) -> Path:
        return self._folder / f"checkpoint-{self._stem}-{slot}"


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Return what a file holds, of whatever version, configuration and raw queue; None where it is no checkpoint."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    body, trailer = data[: -_TRAILER.size], data[-_TRAILER.size :]
    if not body.startswith(MAGIC) or _TRAILER.pack(xxhash.xxh3_64_intdigest(body)) != trailer:
        return None
    content = msgpack.unpackb(body[len(MAGIC) :], raw=False, strict_map_key=False)
    state = content["state"]
    selection = Selection.of(content["selection"])
    return Checkpoint(path, int(state["next_index"]), selection, state, content["identity"])


def capture_state(pipeline: Pipeline) -> dict[str, Any]:
    """Return the state of a pipeline between two windows as plain values."""
    pipeline.settle()
    return {
        "next_index": pipeline.next_index,
        "last_ts": pipeline.last_ts,
        "canonical": list(pipeline.canonical.items()),
        "definitions": [
            [number, item.body, item.raw_index, item.ts_recv, item.ts_event]
            for number, item in pipeline.definitions.items()
        ],
        "lines": pipeline.lines.state(),
        "skipped": list(pipeline.skipped.items()),
        "streams": [[*key, stream.outlet.written, _stream_state(stream)] for key, stream in pipeline.streams.items()],
    }


def sources_of(state: dict[str, Any]) -> list[list[Any]]:
    """Return where each raw queue of a lane stands (:meth:`chronicle.etl.merge.intake.Intake.state`).

    A state of one raw queue may say nothing of it: then its name is empty.
    """
    return state.get("sources") or [["", None, state["next_index"], state["last_ts"], 1, INT64_MIN, True, True]]


def written_counts(state: dict[str, Any]) -> list[tuple[str, str, int, int]]:
    """Return (symbol, channel, rank, records written) of every stream in a state."""
    return [(row[0], row[1], row[2], row[3]) for row in state["streams"]]


def restore_state(pipeline: Pipeline, state: dict[str, Any]) -> None:
    """Bring a new pipeline to `state`.

    Raises
    ------
    CorruptionError
        When a clean queue ends before the state's position.
    """
    for symbol, number in state["canonical"]:
        pipeline.canonical[symbol] = number
    for number, body, raw_index, ts_recv, ts_event in state["definitions"]:
        symbol = InstrumentFields.unpack(body).symbol
        selected = pipeline.selects(symbol)
        pipeline.restore_definition(number, Definition(body, raw_index, ts_recv, ts_event, selected=selected))
    pipeline.lines.restore(state["lines"])
    pipeline.skipped = dict(state["skipped"])
    for symbol, channel, rank, written, own in state["streams"]:
        definition = pipeline.definitions[pipeline.canonical[symbol]]
        stream = pipeline.make_stream((symbol, channel, rank), definition, written)
        if isinstance(stream, BookStream) and own is not None:
            _restore_book(stream, own)
        elif isinstance(stream, CandleStream) and own is not None:
            stream.restore(own)
    pipeline.next_index = state["next_index"]
    pipeline.last_ts = state["last_ts"]


def _stream_state(stream: PlainStream) -> dict[str, Any] | None:
    if isinstance(stream, OrderStream):
        return _trust_state(stream) | stream.orders_state()
    if isinstance(stream, BookStream):
        return _book_state(stream)
    return stream.state() if isinstance(stream, CandleStream) else None


def _book_state(stream: BookStream) -> dict[str, Any]:
    book = stream.book
    bids, asks = book.arrays()
    return _trust_state(stream) | {
        "levels": [bids.tobytes(), asks.tobytes()],
        "bounds": list(book.bounds()),
        "shape": [book.book_depth, book.price_exponent, book.size_exponent],
    }


def _trust_state(stream: BookStream) -> dict[str, Any]:
    trust = stream.trust
    return {
        "registers": stream.registers.tolist(),
        "trust": [getattr(trust, name) for name in trust.__slots__],
        "gap": None if stream.gap is None else stream.gap.state(),
        "buffer": stream.buffer.state(),
        "counts": list(stream.counts.items()),
    }


def _restore_book(stream: BookStream, state: dict[str, Any]) -> None:
    if isinstance(stream, OrderStream):
        stream.restore_orders(state)
    else:
        stream.book = _levels_of(state)
    stream.registers[:] = state["registers"]
    for name, value in zip(stream.trust.__slots__, state["trust"], strict=True):
        setattr(stream.trust, name, value)
    stream.gap = None if state["gap"] is None else Gap(*state["gap"])
    stream.buffer.restore(state["buffer"])
    stream.counts = dict(state["counts"])


def _levels_of(state: dict[str, Any]) -> ArrayBook:
    depth, price_exponent, size_exponent = state["shape"]
    book = ArrayBook(book_depth=depth, price_exponent=price_exponent, size_exponent=size_exponent)
    sides = [np.frombuffer(data, dtype=np.int64).reshape(-1, 2) for data in state["levels"]]
    book.load_arrays(sides[0], sides[1], bid_floor=state["bounds"][0], ask_ceiling=state["bounds"][1])
    return book
