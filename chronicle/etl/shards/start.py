"""Where a raw lane begins: a shard's own checkpoint, states of other shards joined, or the first raw record."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from chronicle.core.errors import CorruptionError, RecordError, RetiredError
from chronicle.core.layout import HEADER_BYTES, INT64_MAX, NONE
from chronicle.core.paths import channel_of, clean_queue, lane_of, symbol_of
from chronicle.core.records import Record
from chronicle.core.source import SegmentSource
from chronicle.etl.clean.clean_writer import QueueSink
from chronicle.etl.clean.lineage import INSTRUMENT_SHIFT, position_of
from chronicle.etl.config import EtlConfig
from chronicle.etl.kernels.racing import second_line, stamp_positions
from chronicle.etl.merge.intake import Batch, Intake, Member
from chronicle.etl.merge.lines import RANK_STRIDE
from chronicle.etl.merge.owners import Owners
from chronicle.etl.merge.racing import Racing
from chronicle.etl.pipeline.pipeline import Pipeline
from chronicle.etl.shards.checkpoint import (
    Checkpoint,
    CheckpointStore,
    capture_state,
    restore_state,
    sources_of,
    written_counts,
)
from chronicle.etl.shards.claims import Claims
from chronicle.etl.shards.handover import exactly, given_away, joined, plan_parts, reduced, taken_over
from chronicle.etl.streams.stream import Definition

__all__ = ["Start", "give", "settle", "whole_state"]

CATCH_UP_BYTES = 4 << 20


class Start:
    """Finds the beginning, and keeps the states that the next start needs.

    Parameters
    ----------
    source : SegmentSource
        Where raw (and clean) segments are read.
    intake : callable
        Returns a new intake of the lane's raw queues, at their beginnings.
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
        intake: Callable[[], Intake],
        folder: Path,
        config: EtlConfig,
        claims: Claims,
        sink: QueueSink,
        owners: Owners,
    ) -> None:
        self._source, self._new_intake = source, intake
        first = intake().members[0]
        self._raw_queue, self._generation = first.name, first.generation
        raw_queue = first.name
        self._config, self._claims, self._sink, self._owners = config, claims, sink, owners
        self._folder = folder
        self._lane = lane_of(raw_queue)
        identity = {"raw_queue": raw_queue, "raw_generation": first.generation, "config": config.to_dict()}
        self._store = CheckpointStore(folder, raw_queue, identity)
        self._handed: list[Checkpoint] = []

    def pipeline(self) -> tuple[Pipeline, Intake, bool]:
        """Return a pipeline and an intake that stand where the lane goes on, and whether that is not stored yet.

        Raises
        ------
        RetiredError
            When an instrument needs raw records that are no longer kept.
        CorruptionError
            When stored records are damaged, or clean queues are not what the raw queues give.
        """
        selection = self._config.selection
        own = [found for found in self._store.load() if self._is_usable(found)]
        for checkpoint in own:
            if checkpoint.selection == selection and self._is_covered(checkpoint.state):
                self._give_away(own)
                return *self._restored(checkpoint.state), False
        found = [found for found in self._store.everywhere() if self._is_usable(found)]
        self._give_away(own)
        parts = plan_parts(self._claims.selects, found, self._covered)
        if not parts:
            return *self._from_beginning(None), False
        target = max(part.next_index for part in parts)
        states = []
        for part in parts:
            selects = part.symbols.__contains__
            begun = self._from_beginning(selects) if part.state is None else self._restored(part.state, selects)
            self._work_off(*begun, target)
            states.append(whole_state(*begun))
            begun[1].close()
        return *self._restored(joined(states)), True

    def _is_usable(self, checkpoint: Checkpoint) -> bool:
        """Whether the raw queues still are those of a checkpoint, and hold what comes behind it."""
        intake = self._new_intake()
        for member in intake.members:
            segments = self._source.segments(member.name)
            first, end = (segments[0].base_index, segments[-1].end_index) if segments else (0, 0)
            index = checkpoint.index_in(member.name)
            generation = next((row[1] for row in sources_of(checkpoint.state) if row[0] == member.name), None)
            if not first <= (index or 0) <= end or (generation is not None and generation != member.generation):
                return False
        intake.close()
        return True

    def save(self, state: dict[str, Any]) -> None:
        """Publish a checkpoint, and drop what others have taken over."""
        self._store.save(state, self._config.selection)
        if self._handed:
            self._forget_taken()

    @property
    def bytes_last(self) -> int:
        """Size of the last checkpoint that was written."""
        return self._store.bytes_last

    def handed_over_index(self, raw_queue: str) -> int:
        """Return the raw index that instruments given away still need, INT64_MAX when all were taken over."""
        return min((given.index_in(raw_queue) or 0 for given in self._handed), default=INT64_MAX)

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

    def _work_off(self, machine: Pipeline, intake: Intake, target: int) -> None:
        """Give `machine` the raw records up to position `target`, where a checkpoint was taken."""
        while machine.next_index < target:
            batch = intake.take(CATCH_UP_BYTES, until=target)
            if batch is None:
                raise CorruptionError(
                    "raw records are missing before a checkpoint",
                    path=self._raw_queue,
                    expected=target,
                    found=machine.next_index,
                )
            give(machine, intake, batch)
            machine.flush()

    # --- states ----------------------------------------------------------------------------------------------------

    def _restored(
        self, state: dict[str, Any], selects: Callable[[str], bool] | None = None
    ) -> tuple[Pipeline, Intake]:
        machine, intake = self._new(selects)
        restore_state(machine, state)
        rows = [[row[0] or self._raw_queue, *row[1:]] for row in sources_of(state)]
        intake.restore(rows, state["next_index"], state["last_ts"])
        intake.units.restore(state.get("units", []))
        intake.first_line = state.get("first_line", NONE)
        if state.get("race") is not None:
            intake.racing = Racing(machine)
            intake.racing.restore(state["race"])
            counts, firsts = state["race_counts"] or [[], []]
            intake.racing.counts, intake.racing.firsts = dict(counts), dict(firsts)
        settle(machine, intake)
        return machine, intake

    def _from_beginning(self, selects: Callable[[str], bool] | None) -> tuple[Pipeline, Intake]:
        """Return a pipeline before the first raw records that are kept."""
        machine, intake = self._new(selects)
        retired = False
        for member in intake.members:
            segments = self._source.segments(member.name)
            if segments and segments[0].base_index:
                retired = True
                member.next_index = segments[0].base_index
                member.cursor.skip_to(member.next_index)
                intake.position += member.next_index
        machine.next_index = intake.position
        if retired:
            self._refuse_holes(machine, intake)
            for member in intake.members:
                if member.next_index:
                    self._define_from_prologue(machine, intake, member)
        settle(machine, intake)
        return machine, intake

    def _new(self, selects: Callable[[str], bool] | None) -> tuple[Pipeline, Intake]:
        machine = Pipeline(
            lane=self._lane,
            raw_queue=self._raw_queue,
            raw_generation=self._generation,
            config=self._config,
            sink=self._sink,
            selects=selects or self._claims.selects,
            owners=self._owners,
        )
        return machine, self._new_intake()

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

    def _refuse_holes(self, machine: Pipeline, intake: Intake) -> None:
        """Refuse to begin behind the beginning of clean queues that are there: their records could not be counted."""
        for queue in self._sink.queues():
            if lane_of(queue) % RANK_STRIDE != self._lane or not machine.selects(symbol_of(queue)):
                continue
            began = self._began_at(queue)
            if began is None:
                continue
            name, index = began
            member = next((item for item in intake.members if item.name == name), None)
            if intake.merged or (member is not None and index < member.next_index):
                raise RetiredError(
                    f"{symbol_of(queue)} has a clean {channel_of(queue)} queue, no checkpoint of it is left, and the "
                    "raw records that it came from are no longer kept",
                    path=self._raw_queue,
                    expected=f"raw records of {name} from {max(index, 0)}",
                    found=f"from {0 if member is None else member.next_index}",
                    hint="bring the raw segments back, or leave the instrument out ([etl] shards) and capture it in "
                    "a home of its own",
                )

    def _began_at(self, queue: str) -> tuple[str, int] | None:
        """Return the raw queue and index before which a clean queue's first kept segment began; None: it is empty."""
        segments = self._source.segments(queue)
        if not segments:
            return None
        view = self._source.open(queue, segments[0].number)
        try:
            prologue = view.prologue()
        finally:
            view.close()
        sources, cursor = prologue.get("sources") or [{}], prologue["cursor"]
        name = str(sources[int(cursor.get("source", 0))].get("queue", ""))
        return name, -1 if segments[0].base_index else int(cursor["source_index"])

    def _define_from_prologue(self, machine: Pipeline, intake: Intake, member: Member) -> None:
        """Take the definitions that the first kept segment's prologue carries for what was retired before it."""
        view = self._source.open(member.name, self._source.segments(member.name)[0].number)
        try:
            prologue = view.prologue()
        finally:
            view.close()
        for data in prologue.get("instruments", []):
            if not isinstance(data, bytes) or len(data) < HEADER_BYTES:
                raise RecordError("a raw segment's prologue holds no INSTRUMENT records", path=member.name)
            record = Record(data)
            number = member.number << INSTRUMENT_SHIFT | record.instrument
            body = bytes(record.body)
            if intake.merged:
                body = intake.units.define(number, body)
            place = position_of(member.number, max(record.index, 0))
            definition = Definition(body, place, record.ts_recv, record.ts_event, selected=True)
            definition.selected = machine.selects(definition.symbol)
            machine.add_definition(number, definition)


def give(machine: Pipeline, intake: Intake, batch: Batch) -> int:
    """Give a batch to the pipeline; return its number of records."""
    if batch.merged:
        machine.merge()
    if batch.grew:
        settle(machine, intake)
        for stream in machine.streams.values():
            stream.disarm()  # the sweep writes where the segment goes on
            stream.outlet.end_segment()
    begin = records = 0
    if intake.racing is None:
        window = machine.load(batch.memory, batch.base)
        words = window.words
        records, intake.first_line = second_line(window.heads, window.events, window.count, intake.first_line)
        begin = len(words)
        if records < window.count:
            begin = int(window.starts[records])
            machine.load(batch.memory[: begin << 3], batch.base)
        if begin:
            machine.work()
            if not batch.merged:
                intake.reached(machine.last_ts)
    else:
        words = np.frombuffer(batch.memory, dtype=np.int64)
    if begin < len(words):
        intake.racing = intake.racing or Racing(machine)
        if not batch.merged:
            words = words[begin:].copy()
            stamp_positions(words, batch.base + records)
            begin = 0
        machine.merge()
        for part in intake.racing.parts(words[begin:]):
            machine.feed(part.data.cast("B"), batch.base)
        if not batch.merged:
            intake.reached(intake.racing.last_ts)
    machine.next_index = batch.base + batch.records
    machine.last_ts = intake.frontier
    return batch.records


def settle(machine: Pipeline, intake: Intake) -> None:
    """Let prologues name the raw queues that the intake has taken from, and units know what was defined so far."""
    machine.settings.sources = intake.sources()
    if intake.merged and not intake.units:
        for number, definition in machine.definitions.items():
            intake.units.define(number, definition.body)


def whole_state(machine: Pipeline, intake: Intake) -> dict[str, Any]:
    """Return the state of pipeline and intake together, for a checkpoint."""
    racing = intake.racing
    return capture_state(machine) | {
        "sources": intake.state(),
        "units": intake.units.state(),
        "first_line": intake.first_line,
        "race": None if racing is None else racing.state(),
        "race_counts": None if racing is None else [list(racing.counts.items()), list(racing.firsts.items())],
    }
