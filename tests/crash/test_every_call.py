"""Killed before any system call, or failed in any of them: a writer and a reader lose, double and tear nothing."""

from __future__ import annotations

import errno
import mmap
from collections.abc import Callable
from pathlib import Path

import pytest

from chronicle.core import Queue
from chronicle.core.tailer import Tailer
from tests.crash.script import Promise, read_and_commit, write_all
from tests.support.ptrace import FILE_CALLS, Child, Stop, needs_ptrace, stopped
from tests.support.queues import contents
from tests.support.survival import assert_survives, event_ends, fast_folder

__all__ = ["needs_ptrace"]
pytestmark = pytest.mark.usefixtures("needs_ptrace")

ERRORS = [
    errno.EIO,
    errno.ENOSPC,
    *(pytest.param(error, marks=pytest.mark.soak) for error in (errno.EMFILE, errno.ENOMEM, errno.EACCES)),
]
_MAP_ANONYMOUS = 0x20
_WRITES = {1: "write", 18: "pwrite64"}


def to_enter(child: Child, number: int) -> bool:
    """Run to before the `number`-th system call; False when it ended sooner."""
    entered = 0
    while entered < number:
        stop = child.go()
        if stop is Stop.EXIT:
            return False
        entered += stop is Stop.ENTER
    return True


def promise_page() -> Promise:
    return Promise(memoryview(mmap.mmap(-1, 4096)))


def the_truth(folder: Path) -> list[bytes]:
    """Run the script undisturbed (it also loads what it imports late) and return what the queue holds."""
    path = folder / "truth.q"
    write_all(path, promise_page())
    read_and_commit(path)
    return contents(Queue.open(path))


def test_writer_killed_before_every_call() -> None:
    with fast_folder() as folder:
        truth = the_truth(folder)
        number, alive = 0, True
        while alive:
            number += 1
            path, promise = folder / f"{number}.q", promise_page()
            with stopped(lambda path=path, promise=promise: lambda: write_all(path, promise)) as child:
                alive = to_enter(child, number)
                child.kill()
            if (path / "queue.json").exists():
                assert_survives(path, truth, promise.kept(), f"killed before call {number}")
            else:
                assert promise.kept() == 0
                write_all(path, promise)  # creation starts over where it died
                assert contents(Queue.open(path)) == truth
        print(f"killed before each of {number} calls")
        assert number > 150


def test_reader_killed_before_every_call_keeps_one_of_its_positions() -> None:
    with fast_folder() as folder:
        truth = the_truth(folder)
        queue = Queue.open(folder / "truth.q")
        positions = sorted(event_ends(truth))
        number, alive = 0, True
        while alive:
            number += 1
            before = Tailer(queue, "strategy").index
            with stopped(lambda: lambda: read_and_commit(queue.path)) as child:
                alive = to_enter(child, number)
                child.kill()
            steps = positions.index(Tailer(queue, "strategy").index) - positions.index(before)
            assert steps in {0, 3, 6, 9} or before == len(truth) or Tailer(queue, "strategy").index == len(truth)
        assert contents(queue) == truth
        assert number > 30


def fail_each_call(run: Callable[[int], tuple[Callable[[], None], Callable[[str], None]]], error: int) -> int:
    """For every file call of a script: run it with that one call failing, then check; return how many failed."""
    number = failed = 0
    alive = True
    while alive:
        number += 1
        work, check = run(number)
        with stopped(lambda work=work: work) as child:
            alive = to_enter(child, number)
            if not alive:
                break
            registers = child.registers()
            call = registers.orig_rax
            name = FILE_CALLS.get(call)
            if name is None or (name == "mmap" and registers.r10 & _MAP_ANONYMOUS):
                continue  # not about files: memory and signals fail everything alike
            where = f"call {number}, {name}, failed with {errno.errorcode[error]}"
            child.fail_call(error)
            assert child.run_out() == 0, f"{where}: not an error of ours, or tried again in vain"
        check(where)
        failed += 1
    return failed


@pytest.mark.parametrize("error", ERRORS)
def test_writer_survives_the_failure_of_every_file_call(error: int) -> None:
    """Each step answers with an error of ours at most, and works when tried again; nothing is lost or doubled."""
    with fast_folder() as folder:
        truth = the_truth(folder)

        def run(number: int) -> tuple[Callable[[], None], Callable[[str], None]]:
            path, promise = folder / f"{number}.q", promise_page()

            def check(where: str) -> None:
                assert promise.kept() == len(truth), where
                assert_survives(path, truth, len(truth), where)

            return lambda: write_all(path, promise, attempts=2), check

        failed = fail_each_call(run, error)
        print(f"{failed} calls failed with {errno.errorcode[error]}")
        assert failed > 100


@pytest.mark.parametrize("error", [errno.EIO])
def test_reader_survives_the_failure_of_every_file_call(error: int) -> None:
    with fast_folder() as folder:
        truth = the_truth(folder)
        path = folder / "truth.q"

        def run(number: int) -> tuple[Callable[[], None], Callable[[str], None]]:
            def check(where: str) -> None:
                assert contents(Queue.open(path)) == truth, where

            return lambda: read_and_commit(path, attempts=2), check

        assert fail_each_call(run, error) > 20


def test_short_writes_lose_nothing() -> None:
    """Every write that the kernel cuts in half is finished by another one."""
    with fast_folder() as folder:
        truth = the_truth(folder)
        path, promise = folder / "short.q", promise_page()
        cut = 0
        with stopped(lambda: lambda: write_all(path, promise)) as child:
            while (stop := child.go()) is not Stop.EXIT:
                registers = child.registers()
                if stop is Stop.ENTER and registers.orig_rax in _WRITES and registers.rdx > 1:
                    registers.rdx //= 2
                    child.set_registers(registers)
                    cut += 1
        assert child.exit_code == 0
        assert cut > 20
        assert_survives(path, truth, promise.kept(), "after short writes")
