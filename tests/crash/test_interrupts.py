"""Ctrl-C at any place of an append: the record is in the queue or it is not, and the appender goes on."""

from __future__ import annotations

import dis
import gc
import itertools
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest

from chronicle.core import Kind
from chronicle.core.appender import Appender
from chronicle.core.dtypes import DTYPES
from chronicle.core.errors import RecordError
from chronicle.core.layout import Flag
from tests.support.queues import contents, event, small_queue

CORE = "chronicle/core/"


class InterruptAt:
    """Raises KeyboardInterrupt at the `number`-th place in the core where the interpreter looks at signals.

    CPython looks when a function begins, at a jump back, and after a call; between them it never interrupts.
    """

    def __init__(self, number: int) -> None:
        self.left = number
        self._before: dict[FrameType, str] = {}

    def __enter__(self) -> InterruptAt:
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, what: str, argument: Any) -> Callable[..., Any] | None:
        if CORE not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        return self._opcode

    def _opcode(self, frame: FrameType, what: str, argument: Any) -> Callable[..., Any]:
        if what == "opcode":
            looked = self._before.get(frame, "").startswith(("CALL", "RESUME", "JUMP_BACKWARD"))
            self._before[frame] = names(frame.f_code)[frame.f_lasti]
            self.left -= looked
            if looked and self.left == 0:
                raise KeyboardInterrupt
        return self._opcode


@cache
def names(code: CodeType) -> dict[int, str]:
    """Return the bytecodes of `code` by offset."""
    return {instruction.offset: instruction.opname for instruction in dis.get_instructions(code)}


def batch() -> np.ndarray:
    rows = np.zeros(6, DTYPES[Kind.BOOK_DELTA])
    rows["length"], rows["kind"], rows["ts_recv"] = 80, Kind.BOOK_DELTA, 10**6
    rows["flags"][1::2] = Flag.LAST
    return rows


def reserve(appender: Appender) -> None:
    with appender.reserve(Kind.WIRE, 300, ts_recv=10**6) as body:
        body[:] = b"\x5a" * 300


CALLS: dict[str, Callable[[Appender], object]] = {
    "reserve": reserve,
    "append": lambda appender: appender._append_long(Kind.WIRE, b"body" * 50, ts_recv=10**6),
    "append_event": lambda appender: appender._append_event_long(*event(10**6, 3)),
    "append_compiled": lambda appender: appender.append(Kind.WIRE, b"body" * 50, ts_recv=10**6),
    "append_many": lambda appender: appender.append_many(batch()),
    "roll": lambda appender: appender.append(Kind.WIRE, bytes(range(200)) * 200, ts_recv=10**6),
    "seal": lambda appender: appender.seal(),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(sys.gettrace() is not None, reason="a debugger or coverage traces already")
@pytest.mark.parametrize("name", CALLS)
def test_interrupted_anywhere_loses_doubles_and_tears_nothing(tmp_path: Path, name: str) -> None:
    """The exception may come before or after the commit; what follows continues behind what is committed."""
    call = CALLS[name]
    gc.collect()
    gc.disable()  # a collection would run finalisers of other tests' objects, and one of them would be interrupted
    try:
        interrupt_everywhere(tmp_path, name, call)
    finally:
        gc.enable()


def interrupt_everywhere(tmp_path: Path, name: str, call: Callable[[Appender], object]) -> None:
    for number in itertools.count(1):
        queue = small_queue(tmp_path, f"{number}.q")
        appender = queue.appender()
        for before in range(3):
            appender.append(Kind.WIRE, bytes([before]) * 10_000, ts_recv=before)
        appender.append(Kind.WIRE, b"plan" * 50, ts_recv=5)
        committed = contents(queue)
        interrupted = False
        try:
            with InterruptAt(number):
                call(appender)
        except KeyboardInterrupt:
            interrupted = True
        seen = contents(queue)
        assert seen[: len(committed)] == committed
        for after in range(3):
            assert appender.append(Kind.STATUS, bytes([after]) * 8, ts_recv=10**6) == len(seen) + after
        found = contents(queue)
        assert found[: len(seen)] == seen, f"interrupted at place {number}: a committed record was overwritten"
        assert [bytes(data[48:]) for data in found[len(seen) :]] == [bytes([after]) * 8 for after in range(3)]
        appender.close()
        if not interrupted:
            assert (number > 3) is (name != "append_compiled"), "compiled code has no place to interrupt"
            return


def test_a_refused_record_leaves_nothing_behind_the_tail(tmp_path: Path) -> None:
    """A field that does not fit is found before or after its body was copied; shorter records follow cleanly."""
    queue = small_queue(tmp_path)
    with queue.appender() as appender:
        for number in range(20):
            for bad in (
                {"side": 300},
                {"instrument": -1},
                {"flags": 256},
                {"source": 1 << 16},
                {"sequence": 1 << 63},
            ):
                with pytest.raises(RecordError):
                    appender.append(Kind.WIRE, b"\xff" * 500, ts_recv=number, **bad)
            for kind in (0, Kind.ROLL, 1 << 16, -1):
                with pytest.raises(RecordError):
                    appender.append(kind, b"\xff" * 16, ts_recv=number)
            assert appender.append(Kind.STATUS, b"", ts_recv=number) == number
    assert [len(data) for data in contents(queue)] == [48] * 20
