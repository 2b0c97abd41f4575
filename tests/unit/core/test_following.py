"""A compiled handler sees every record once, in order, over rolls and seals, and stops where it asks to."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from chronicle.core import Kind
from chronicle.core.errors import ConfigError, CorruptionError
from chronicle.core.kernels.memory import peek
from tests.support.queues import append_random, event, small_queue

LONG = 600_000_000_000
SHORT = 1_000_000


@njit
def note(address: int, length: int, index: int, state: np.ndarray) -> int:
    """state[0] counts, state[1] is the index to stop behind; then index and commit word of each record seen."""
    at = 2 + 2 * state[0]
    state[at] = index
    state[at + 1] = peek(address)
    state[0] += 1
    return int(index >= state[1])


def seen(state: np.ndarray) -> list[tuple[int, int]]:
    return [tuple(row) for row in state[2 : 2 + 2 * state[0]].reshape(-1, 2).tolist()]


def fresh(stop: int, room: int = 20_000) -> np.ndarray:
    state = np.zeros(2 + 2 * room, dtype=np.int64)
    state[1] = stop
    return state


def test_handler_sees_what_a_tailer_reads(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        append_random(appender, 3_000, seed=5)
        appender.seal()
        append_random(appender, 50, seed=6)
        state = fresh(1 << 62)
        with queue.tailer() as tailer:
            assert tailer.follow(note, state, SHORT) == appender.next_index == tailer.index
            assert tailer.next_event() is None
            appender.append(Kind.STATUS, b"more", ts_recv=1 << 60)
            assert tailer.follow(note, state, SHORT) == 1
    truth = [
        (record.index, int.from_bytes(record.data[:8], "little", signed=True)) for record in queue.tailer().drain()
    ]
    assert seen(state) == truth
    assert len(queue.segments()) > 3


def test_other_than_zero_stops_behind_the_event(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        for number in range(10):
            appender.append_event(*event(1_000 + number, 3))
        tailer, state = queue.tailer(), fresh(7)
        assert tailer.follow(note, state, LONG) == 9, "record 7 is inside the third event"
        record = (tailer.next_event() or [None])[0]
        assert record is not None
        assert record.index == 9
        state[1] = 1 << 62
        assert tailer.follow(note, state, SHORT) == 18
        appender.seal()
        tailer.seek_start()
        state = fresh(7)
        assert tailer.follow(note, state, LONG) == 9, "in a sealed segment, too"
        assert tailer.index == 9


def test_follows_a_writer_over_rolls(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    total = 8_000

    def write() -> None:
        with queue.appender() as appender:
            for number in range(total):
                appender.append(Kind.STATUS, bytes(number % 90), ts_recv=number)
                if number % 900 == 899:
                    appender.seal()

    writer = threading.Thread(target=write)
    tailer, state = queue.tailer(), fresh(total - 1)
    writer.start()
    count = 0
    while count < total:
        found = tailer.follow(note, state, LONG)
        assert found > 0
        count += found
    writer.join()
    assert [index for index, _ in seen(state)] == list(range(total))


def test_empty_queue_times_out_and_a_plain_function_is_refused(tmp_path: Path) -> None:
    tailer = small_queue(tmp_path).tailer()
    assert tailer.follow(note, fresh(0), SHORT) == 0
    with pytest.raises(ConfigError, match="jitted"):
        tailer.follow(lambda *_: 0, fresh(0), SHORT)


def test_impossible_word_is_an_error_and_the_position_stands_before_it(tmp_path: Path) -> None:
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        for number in range(5):
            appender.append(Kind.STATUS, b"", ts_recv=number)
        tailer = queue.tailer()
        assert tailer.follow(note, fresh(1), LONG) == 2
        at = appender._position
        appender._words[at >> 3] = 17 << 32 | 3
        state = fresh(1 << 62)
        with pytest.raises(CorruptionError) as caught:
            tailer.follow(note, state, LONG)
        assert caught.value.offset == at
        appender._words[at >> 3] = 0
