"""Tasks of one owner run in their order, never beside one another, by a few threads that go when there is no work."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from chronicle.core import crew
from chronicle.core.crew import THREADS_MAX, Tasks

LONG = 600


@pytest.fixture(autouse=True)
def fresh_crew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads of the test alone, which end soon."""
    monkeypatch.setattr(crew, "_LINGER_SECONDS", 0.01)
    monkeypatch.setattr(crew, "_crew", crew._Crew())
    yield
    for thread in _threads():
        thread.join(LONG)
        assert not thread.is_alive()


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "housekeeper"]


def test_tasks_of_many_owners_keep_their_order_on_few_threads() -> None:
    owners = [Tasks(8) for _ in range(200)]
    done: list[list[int]] = [[] for _ in owners]
    under_way, one = [0] * len(owners), threading.Lock()
    most: list[int] = []  # (threads that have given up but not ended yet are none of the crew)
    beside: list[int] = []

    def task(owner: int, number: int) -> None:
        with one:
            under_way[owner] += 1
            beside.append(under_way[owner])
            most.append(sum(under_way))
        done[owner].append(number)
        with one:
            under_way[owner] -= 1

    for number in range(20):
        for owner, tasks in enumerate(owners):
            tasks.put(lambda owner=owner, number=number: task(owner, number))  # type: ignore[misc]
    for tasks in owners:
        tasks.join()
        assert len(tasks) == 0
    assert done == [list(range(20))] * len(owners)
    assert max(beside) == 1, "an owner's tasks stand beside one another"
    assert 1 <= max(most) <= THREADS_MAX
    assert crew._crew.threads <= THREADS_MAX


def test_a_full_list_makes_the_owner_wait_and_nobody_else() -> None:
    gate, full, second = threading.Event(), Tasks(2), Tasks(2)
    seen: list[str] = []
    full.put(lambda: _hold(gate))
    full.put(lambda: seen.append("second"))
    third = threading.Thread(target=lambda: full.put(lambda: seen.append("third")))
    third.start()
    second.put(lambda: seen.append("other"))
    second.join()
    assert seen == ["other"]
    assert len(full) == 2
    gate.set()
    third.join(LONG)
    full.join()
    assert seen == ["other", "second", "third"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_task_that_breaks_off_takes_no_other_with_it() -> None:
    tasks, done = Tasks(4), threading.Event()

    def breaks() -> None:
        raise ZeroDivisionError

    for _ in range(2 * THREADS_MAX):
        tasks.put(breaks)
    tasks.put(done.set)
    tasks.join()
    assert done.is_set()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    gate, tasks = threading.Event(), Tasks(2)
    tasks.put(lambda: _hold(gate))
    child = os.fork()
    if not child:
        code = 1
        try:
            tasks.join()  # what waits here is the parent's
            ran = threading.Event()
            tasks.put(ran.set)
            tasks.join()
            code = 0 if ran.is_set() else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    gate.set()
    tasks.join()
    assert os.waitstatus_to_exitcode(status) == 0


def _hold(gate: threading.Event) -> None:
    assert gate.wait(LONG)
