"""The demo's children: none is left behind, whenever a signal comes; a signal that is taken in is passed on."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from chronicle.cli import demo_run, processes
from chronicle.cli.processes import Crew
from chronicle.cli.stopping import stopping
from chronicle.core.clock import SystemClock
from chronicle.core.errors import StateError
from tests.support.patience import HANG_SECONDS


def test_a_signal_while_a_child_starts_leaves_none_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, start = [], subprocess.Popen

    def interrupted_start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(start(*arguments, **options))  # type: ignore[call-overload]
        signal.raise_signal(signal.SIGTERM)
        return started[-1]

    monkeypatch.setattr(processes.subprocess, "Popen", interrupted_start)
    with Crew(tmp_path, SystemClock()) as crew:
        child = crew.start("exchange", "chronicle.feed.simulator", [])
        for asked in (
            crew.heed,
            crew.refuse_dead,
            partial(crew.wait_for_text, child, "never", timeout_s=HANG_SECONDS),
        ):
            with pytest.raises(KeyboardInterrupt):
                asked()
        monkeypatch.setattr(crew, "_noted", False)
    assert [child.poll() is not None for child in started] == [True]


def test_a_second_signal_does_not_break_off_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = processes.Child.stop

    def stopped_twice(child: processes.Child, timeout_s: float = HANG_SECONDS) -> int:
        signal.raise_signal(signal.SIGTERM)
        return stop(child, timeout_s)

    monkeypatch.setattr(processes.Child, "stop", stopped_twice)
    with Crew(tmp_path, SystemClock()) as crew:
        children = [crew.start(name, "chronicle.feed.simulator", []) for name in ("a", "b")]
    assert not any(child.running for child in children)


def test_a_signal_breaks_off_what_is_waited_for_and_none_is_lost(tmp_path: Path) -> None:
    class Pressing(SystemClock):
        """Ctrl-C at the first pause."""

        def sleep_ns(self, duration_ns: int) -> None:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), Crew(tmp_path, Pressing()) as crew:
        crew.run("exchange", "chronicle.feed.simulator", [], timeout_s=HANG_SECONDS)
    assert not any(child.running for child in crew.children)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), Crew(tmp_path, SystemClock()):
        signal.raise_signal(signal.SIGTERM)  # at the very end, when nobody looks any more
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_second_ctrl_c_is_raised_at_once(tmp_path: Path) -> None:
    with Crew(tmp_path, SystemClock()) as crew:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        crew._noted = False


def test_only_a_whole_line_is_taken_for_what_a_child_says(tmp_path: Path) -> None:
    code = "import sys; print('12', end='', flush=True); print(file=sys.stderr); sys.stdin.read(); print('34')"
    with Crew(tmp_path, SystemClock()) as crew:
        log = tmp_path / "half.log"
        with open(log, "wb") as file:
            pipe = subprocess.PIPE
            process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=file, stderr=pipe)
        child = processes.Child("half", process, log)
        crew.children.append(child)
        assert process.stdin is not None
        assert process.stderr is not None
        process.stderr.readline()
        with pytest.raises(StateError, match="not ready"):
            crew.wait_for_text(child, "1", timeout_s=0.1)
        process.stdin.close()
        assert crew.wait_for_text(child, "1", timeout_s=HANG_SECONDS) == "1234"
        assert process.wait(HANG_SECONDS) == 0
        process.stderr.close()


def test_a_demo_whose_removal_was_broken_off_is_a_demo_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "demo"
    for name in ("clean", "archive"):
        (folder / name).mkdir(parents=True)
    for name in ("a.json", "demo.json", "z.json"):
        (folder / name).write_text("{}")
    removed = demo_run.shutil.rmtree

    def broken_off(path: Path) -> None:
        if path == folder:
            raise KeyboardInterrupt
        removed(path)

    monkeypatch.setattr(demo_run.shutil, "rmtree", broken_off)
    with pytest.raises(KeyboardInterrupt):
        demo_run._make_room(folder, lambda said: None)
    assert [path.name for path in folder.iterdir()] == ["demo.json"]
    monkeypatch.undo()
    demo_run._make_room(folder, lambda said: None)
    assert not folder.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_that_comes_while_the_event_is_looked_at_sets_it(number: signal.Signals, code: int) -> None:
    wake = threading.Event()
    with stopping(wake) as stopper:
        with stopper.event._cond, wake._cond:  # as the main thread holds them within wait()
            signal.raise_signal(number)
        assert stopper.event.wait(HANG_SECONDS)
        assert wake.wait(HANG_SECONDS)
        assert stopper.exit_code == code
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(number) != stopper.note
