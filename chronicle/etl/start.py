"""Where a raw lane begins: a shard's own checkpoint, states of other shards joined, or the first raw record."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from chronicle.core.cursor import Cursor, Window
from chronicle.core.errors import CorruptionError, RecordError, RetiredError
from chronicle.core.layout import HEADER_BYTES, INT64_MAX
from chronicle.core.paths import channel_of, clean_queue, lane_of, symbol_of
from chronicle.core.records import Record
from chronicle.core.source import SegmentInfo, SegmentSource
from chronicle.etl.checkpoint import Checkpoint, CheckpointStore, capture_state, restore_state, written_counts
from chronicle.etl.claims import Claims
from chronicle.etl.clean_writer import QueueSink
from chronicle.etl.config import EtlConfig
from chronicle.etl.handover import exactly, given_away, joined, plan_parts, reduced, taken_over
from chronicle.etl.lines import RANK_STRIDE
from chronicle.etl.owners import Owners
from chronicle.etl.pipeline import Pipeline
from chronicle.etl.stream import Definition

__all__ = ["Start"]

CATCH_UP_BYTES = 4 << 20


class Start:
    """Finds the beginning, and keeps the states that the next start needs.

    Parameters
    ----------
    source : SegmentSource
        Where raw (and clean) segments are read.
    segments : list of SegmentInfo
        Those of the raw queue.
    raw_queue : str
        Its name.
    generation : int
        And generation.
    folder : Path
        ``etl/SHARD`` of the target.
    config : EtlConfig
        What shapes the output.
    claims : Claims
        Which instruments are this shard's.
    sink : QueueSink
        The clean queues.
    owners : Owners
        Which raw queue each of them is made from.
    """

    def __init__(
        self,
        source: SegmentSource,
        segments: list[SegmentInfo],
        raw_queue: str,
        generation: int,
        folder: Path,
        config: EtlConfig,
        claims: Claims,
        sink: QueueSink,
        owners: Owners,
    ) -> None:
        self._source, self._segments, self._raw_queue, self._generation = source, segments, raw_queue, generation
        self._config, self._claims, self._sink, self._owners = config, claims, sink, owners
        self._folder = folder
        self._lane = lane_of(raw_queue)
        identity = {"raw_queue": raw_queue, "raw_generation": generation, "config": config.to_dict()}
        self._store = CheckpointStore(folder, raw_queue, identity)
        self._handed: list[Checkpoint] = []

    def pipeline(self) -> tuple[Pipeline, bool]:
        """Return a pipeline that stands where the lane goes on, and whether its state is not stored yet.

        Raises
        ------
        RetiredError
            When an instrument needs raw records that are no longer kept.
        CorruptionError
            When stored records are damaged, or clean queues are not what the raw queue gives.
        """
        first = self._segments[0].base_index if self._segments else 0
        end = self._segments[-1].end_index if self._segments else 0
        selection = self._config.selection
        own = [found for found in self._store.load() if first <= found.next_index <= end]
        for checkpoint in own:
            if checkpoint.selection == selection and self._is_covered(checkpoint.state):
                self._give_away(own)
                return self._restored(checkpoint.state), False
        found = [found for found in self._store.everywhere() if first <= found.next_index <= end]
        self._give_away(own)
        parts = plan_parts(self._claims.selects, found, self._covered)
        if not parts:
            return self._from_beginning(None), False
        target = max(part.next_index for part in parts)
        states = []
        for part in parts:
            selects = part.symbols.__contains__
            machine = self._from_beginning(selects) if part.state is None else self._restored(part.state, selects)
            self._work_off(machine, target)
            states.append(capture_state(machine))
        return self._restored(joined(states)), True

    def save(self, state: dict[str, Any]) -> None:
        """Publish a checkpoint, and drop what others have taken over."""
        self._store.save(state, self._config.selection)
        if self._handed:
            self._forget_taken()

    @property
    def bytes_last(self) -> int:
        """Size of the last checkpoint that was written."""
        return self._store.bytes_last

    def handed_over_index(self) -> int:
        """Return the raw index that instruments given away still need, INT64_MAX when all were taken over."""
        return min((given.next_index for given in self._handed), default=INT64_MAX)

    # --- instruments that change shards ----------------------------------------------------------------------------

    def _give_away(self, own: list[Checkpoint]) -> None:
        """Leave the newest state of instruments that this shard had and has no longer."""
        selection = self._config.selection
        left: set[str] = set()
        for checkpoint in own:
            symbols = self._covered(checkpoint.state, given_away(checkpoint, selection) - left)
            if symbols:
                self._store.hand_over(reduced(checkpoint.state, symbols), exactly(symbols))
                left |= symbols
        self._handed = self._store.handovers()
        if self._handed:
            self._forget_taken()

    def _forget_taken(self) -> None:
        found = [
            other
            for other in self._store.everywhere()
            if not other.path.name.startswith("handover-")
            and (other.path.parent != self._folder or other.selection == self._config.selection)
        ]
        for given in list(self._handed):
            if taken_over(given, found, self._covered):
                given.path.unlink(missing_ok=True)
                self._handed.remove(given)

    def _work_off(self, machine: Pipeline, target: int) -> None:
        """Give `machine` the raw records up to `target`, where a checkpoint was taken."""
        cursor = Cursor(self._source, self._raw_queue, machine.next_index)
        try:
            while machine.next_index < target:
                window = cursor.next_window(CATCH_UP_BYTES)
                if window is None or window.base_index != machine.next_index:
                    raise CorruptionError(
                        "raw records are missing before a checkpoint",
                        path=self._raw_queue,
                        expected=machine.next_index,
                        found=None if window is None else window.base_index,
                    )
                machine.feed(_until(window, target), window.base_index)
                machine.flush()
        finally:
            cursor.close()

    # --- states ----------------------------------------------------------------------------------------------------

    def _restored(self, state: dict[str, Any], selects: Callable[[str], bool] | None = None) -> Pipeline:
        machine = self._new_pipeline(selects)
        restore_state(machine, state)
        return machine

    def _from_beginning(self, selects: Callable[[str], bool] | None) -> Pipeline:
        """Return a pipeline before the first raw record that is kept."""
        machine = self._new_pipeline(selects)
        if self._segments and self._segments[0].base_index:
            machine.next_index = self._segments[0].base_index
            self._refuse_holes(machine)
            self._define_from_prologue(machine)
        return machine

    def _new_pipeline(self, selects: Callable[[str], bool] | None) -> Pipeline:
        return Pipeline(
            lane=self._lane,
            raw_queue=self._raw_queue,
            raw_generation=self._generation,
            config=self._config,
            sink=self._sink,
            selects=selects or self._claims.selects,
            owners=self._owners,
        )

    def _is_covered(self, state: dict[str, Any]) -> bool:
        symbols = {row[0] for row in state["streams"]}
        return len(self._covered(state, symbols)) == len(symbols)

    def _covered(self, state: dict[str, Any], symbols: Collection[str]) -> frozenset[str]:
        """Return those of `symbols` of which every clean queue reaches at least to the state's position."""
        short = set()
        for symbol, channel, rank, written in written_counts(state):
            if symbol in symbols and symbol not in short:
                queue = clean_queue(symbol, channel, self._lane + RANK_STRIDE * rank)
                if self._sink.tail(queue).next_index < written:
                    short.add(symbol)
        return frozenset(symbols) - short

    def _refuse_holes(self, machine: Pipeline) -> None:
        """Refuse to begin behind the beginning of clean queues that are there: their records could not be counted."""
        for queue in self._sink.queues():
            if lane_of(queue) % RANK_STRIDE != self._lane or not machine.selects(symbol_of(queue)):
                continue
            began = self._began_at(queue)
            if began is not None and began < machine.next_index:
                raise RetiredError(
                    f"{symbol_of(queue)} has a clean {channel_of(queue)} queue, no checkpoint of it is left, and the "
                    "raw records that it came from are no longer kept",
                    path=self._raw_queue,
                    expected=f"raw records from {began}",
                    found=f"from {machine.next_index}",
                    hint="bring the raw segments back, or leave the instrument out ([etl] shards) and capture it in "
                    "a home of its own",
                )

    def _began_at(self, queue: str) -> int | None:
        """Return the raw index before which a clean queue's first kept segment began; None: of another raw queue."""
        segments = self._source.segments(queue)
        if not segments:
            return None
        view = self._source.open(queue, segments[0].number)
        try:
            prologue = view.prologue()
        finally:
            view.close()
        sources = prologue.get("sources") or [{}]
        if sources[0].get("queue") != self._raw_queue:
            return None
        return -1 if segments[0].base_index else int(prologue["cursor"]["source_index"])

    def _define_from_prologue(self, machine: Pipeline) -> None:
        """Take the definitions that the first kept segment's prologue carries for what was retired before it."""
        view = self._source.open(self._raw_queue, self._segments[0].number)
        try:
            prologue = view.prologue()
        finally:
            view.close()
        for data in prologue.get("instruments", []):
            if not isinstance(data, bytes) or len(data) < HEADER_BYTES:
                raise RecordError("a raw segment's prologue holds no INSTRUMENT records", path=self._raw_queue)
            record = Record(data)
            definition = Definition(
                bytes(record.body), max(record.index, 0), record.ts_recv, record.ts_event, selected=True
            )
            definition.selected = machine.selects(definition.symbol)
            machine.add_definition(record.instrument, definition)


def _until(window: Window, target: int) -> memoryview:
    """Return the window's bytes before record `target`."""
    if window.end_index <= target:
        return window.memory
    return window.memory[: int(window.offsets()[target - window.base_index])]
