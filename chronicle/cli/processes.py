"""Child processes of ``chronicle demo``: started in their own group, stopped in order, never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any

from chronicle.core.clock import Clock
from chronicle.core.errors import StateError

__all__ = ["Child", "Crew"]

STOP_TIMEOUT_S = 120.0
"""A process that compiles kernels hears its signal only when a step of that is over."""
KILL_TIMEOUT_S = 60.0
POLL_NS = 50_000_000
ENDING = (signal.SIGINT, signal.SIGTERM)
LOG_TAIL_BYTES = 2000


class Child:
    """One process of ours, with its output in a log file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def running(self) -> bool:
        """Whether it is still there."""
        return self.process.poll() is None

    def log_tail(self) -> str:
        """Return the end of what it printed."""
        try:
            data = self.log.read_bytes()[-LOG_TAIL_BYTES:]
        except OSError:
            return ""
        return data.decode("utf-8", "replace").strip()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Ask it to end (SIGTERM), insist after `timeout_s` (SIGKILL), and return its exit code."""
        if self.running:
            self._signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            return self.process.wait(KILL_TIMEOUT_S)

    def failure(self, what: str) -> StateError:
        """Return the error that says how it failed, with the end of its log."""
        return StateError(
            f"{self.name} {what}",
            path=self.log,
            found=f"exit code {self.process.returncode}" if not self.running else "a running process",
            hint=self.log_tail()[-600:] or "its log is empty",
        )

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Crew:
    """Children that all end when the block ends, whatever ends it: success, an error, Ctrl-C.

    Each child is the leader of a group of its own, so that Ctrl-C on the terminal reaches us only and the order of
    stopping is ours; on Linux each also gets SIGTERM from the kernel should we be killed.

    Within the block SIGINT and SIGTERM are noted, and KeyboardInterrupt is raised where we look for them
    (:meth:`heed`): a child is started and known, or neither, and no reading in between is broken off. The second
    Ctrl-C is raised at once.
    """

    def __init__(self, logs: Path, clock: Clock) -> None:
        self._logs = logs
        self._clock = clock
        self._files: list[IO[bytes]] = []
        self._noted = False
        self._handlers: dict[signal.Signals, Any] = {}
        self.children: list[Child] = []

    def __enter__(self) -> Crew:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._handlers = {number: signal.signal(number, self._note) for number in ENDING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)  # an impatient Ctrl-C must not leave them behind
        try:
            for child in reversed(self.children):
                if child.running:
                    child.stop()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        for file in self._files:
            file.close()
        if error is None:
            self.heed()

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._noted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._noted = True

    def heed(self) -> None:
        """Raise KeyboardInterrupt when SIGINT or SIGTERM came since the block began."""
        if self._noted:
            raise KeyboardInterrupt

    def start(self, name: str, module: str, arguments: Sequence[str]) -> Child:
        """Start ``python -m MODULE ARGUMENTS``; its output goes to ``NAME.log``."""
        self.heed()
        log = self._logs / f"{name}.log"
        file = open(log, "wb", buffering=0)  # noqa: SIM115 - closed with the crew
        self._files.append(file)
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
            env=_environment(),
        )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def run(self, name: str, module: str, arguments: Sequence[str], *, timeout_s: float) -> Child:
        """Run a child to its end.

        Raises
        ------
        StateError
            When it fails or takes longer than `timeout_s`.
        """
        child = self.start(name, module, arguments)
        deadline = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        while child.running:
            self.heed()
            if self._clock.monotonic_ns() >= deadline:
                child.stop()
                raise child.failure(f"took longer than {timeout_s:.0f} s")
            self._clock.sleep_ns(POLL_NS)
        if child.process.returncode != 0:
            raise child.failure("failed")
        return child

    def wait_for_text(self, child: Child, text: str, *, timeout_s: float) -> str:
        """Return the first whole line of a child's log that holds `text`.

        Raises
        ------
        StateError
            When the child ends first or does not print it in time.
        """
        deadline = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        while self._clock.monotonic_ns() < deadline:
            self.heed()
            running = child.running
            for line in child.log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
                if text in line and line.endswith("\n"):
                    return line.rstrip("\n")
            if not running:
                raise child.failure("ended before it was ready")
            self._clock.sleep_ns(POLL_NS)
        raise child.failure(f"was not ready within {timeout_s:.0f} s")

    def refuse_dead(self) -> None:
        """Raise StateError when a child has ended by itself with a failure; heed signals."""
        self.heed()
        for child in self.children:
            if not child.running and child.process.returncode != 0:
                raise child.failure("ended by itself")


def _environment() -> dict[str, str]:
    """Return the children's environment: ours, with this very package importable and output unbuffered."""
    import chronicle

    root = str(Path(chronicle.__file__).resolve().parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    overrides = tuple(f"CHRONICLE_{section}" for section in ("HOME", "RAW_", "ETL_", "AGENT_"))
    kept = {key: value for key, value in os.environ.items() if not key.startswith(overrides)}
    return kept | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUNBUFFERED": "1"}


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when our parent dies (Linux; elsewhere nothing happens)."""
    import ctypes

    set_death_signal = 1
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)
