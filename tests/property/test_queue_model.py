"""A queue against a Python list: append, batch, seal, crash, reopen, seek and tail in any order."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chronicle.core import Kind
from chronicle.core.appender import Appender
from chronicle.core.layout import NONE
from chronicle.core.retention import RetentionPolicy
from chronicle.core.segment import LocalSegment
from chronicle.core.tailer import Tailer
from tests.support.queues import contents, event, small_queue


class QueueAgainstList(RuleBasedStateMachine):
    """`model` holds the bytes of every record ever appended."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.queue = small_queue(self.folder)
        self.model: list[bytes] = []
        self.starts: list[int] = []
        self.ts = 1_000
        self.appender: Appender = self.queue.appender()
        self.tailer: Tailer = self.queue.tailer()
        self.tailed: list[bytes] = []
        self.queue.register_tailer("slow")
        self.named = 0
        self.first = 0

    @rule(levels=st.integers(1, 40), step=st.integers(0, 10**6))
    def append_event(self, levels: int, step: int) -> None:
        self.ts += step
        data, count = event(self.ts, levels, price=len(self.model))
        assert self.appender.append_event(data, count) == len(self.model)
        self.starts.append(len(self.model))
        self.model += [bytes(data[at : at + 80]) for at in range(0, len(data), 80)]

    @rule(size=st.integers(0, 30_000))
    def append_one(self, size: int) -> None:
        index = self.appender.append(Kind.WIRE, random.Random(size).randbytes(size), ts_recv=self.ts)
        assert index == len(self.model)
        self.starts.append(index)
        last = self.queue.last_record()
        assert last is not None
        self.model.append(bytes(last.data))

    @rule()
    def seal(self) -> None:
        self.appender.seal()

    @rule(torn=st.binary(max_size=200))
    def crash_and_reopen(self, torn: bytes) -> None:
        self.appender.close()
        files = list(self.queue.segment_files().values())
        if files and files[-1].suffix == ".open":
            with LocalSegment(files[-1], queue="q.q") as segment:
                at = segment.data_end() + 8
                room = segment.header.data_limit - at
            with open(files[-1], "r+b") as file:
                file.seek(at)
                file.write(torn[: max(room, 0)])
        self.appender = self.queue.appender()
        assert self.appender.next_index == len(self.model)

    @rule(keep_bytes=st.integers(0, 200_000), force=st.booleans())
    def retain(self, keep_bytes: int, force: bool) -> None:
        """Retirement takes a prefix, never past the named tailer unless forced."""
        slow = next(tailer.index for tailer in self.queue.tailers() if tailer.name == "slow")
        plan = self.queue.retain(RetentionPolicy(bytes_max=keep_bytes), 0, force=force)
        if plan.numbers:
            assert self.first <= plan.first_index
            assert force or plan.first_index <= slow
            self.first = plan.first_index
        assert self.queue.first_index() == self.first

    @rule()
    def tail_by_name(self) -> None:
        """A tailer that comes and goes reads every record once, or one GAP over what was retired unread."""
        with self.queue.tailer("slow") as tailer:
            for record in tailer.drain():
                if record.index == NONE:
                    fields = record.fields()
                    assert fields["first_missing"] == self.named
                    assert fields["last_missing"] < self.first
                    self.named = fields["last_missing"] + 1
                else:
                    assert record.index == self.named
                    assert bytes(record.data) == self.model[self.named]
                    self.named += 1
            tailer.commit()
        assert self.named == len(self.model)

    @rule()
    def tail(self) -> None:
        for record in self.tailer.drain():
            if record.index == NONE:
                missing = record.fields()
                assert missing["first_missing"] == len(self.tailed)
                self.tailed += self.model[len(self.tailed) : missing["last_missing"] + 1]
            else:
                self.tailed.append(bytes(record.data))
        assert self.tailed == self.model

    @rule(where=st.integers(0, 10**6))
    def seek_index(self, where: int) -> None:
        if len(self.model) > self.first:
            index = self.first + where % (len(self.model) - self.first)
            start = max(at for at in self.starts if at <= index)
            tailer = self.queue.tailer()
            tailer.seek_index(index)
            found = tailer.next_event()
            assert found is not None
            assert found[0].index == start
            assert bytes(found[0].data) == self.model[start]

    @rule(where=st.integers(0, 10**7))
    def seek_time(self, where: int) -> None:
        asked = 1_000 + where
        tailer = self.queue.tailer()
        tailer.seek_time(asked)
        found = tailer.next_event()
        kept = [at for at in self.starts if at >= self.first]
        times = [int.from_bytes(self.model[at][8:16], "little") for at in kept]
        expected = next((at for at, ts in zip(kept, times, strict=True) if ts >= asked), None)
        assert (found[0].index if found else None) == expected

    @invariant()
    def nothing_lost_nothing_twice(self) -> None:
        if hasattr(self, "queue"):
            assert self.queue.end_index() == len(self.model)

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            self.appender.close()
            assert contents(self.queue) == self.model[self.first :]
            shutil.rmtree(self.folder)


TestQueueAgainstList = QueueAgainstList.TestCase
TestQueueAgainstList.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
