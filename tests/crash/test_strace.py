"""The same faults by an independent tool: strace kills a whole interpreter, or fails its calls, from outside."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from chronicle.core import Queue
from tests.support.queues import contents
from tests.support.survival import assert_survives, fast_folder

PROGRAM = """
import sys
from pathlib import Path
from tests.crash.script import Promise, write_all
promise = Promise(memoryview(bytearray(8)))
write_all(Path(sys.argv[1]), promise, attempts=2)
"""

ENVIRONMENT = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
"""The interpreter itself then renames and writes no file."""


@cache
def strace_problem() -> str | None:
    """Return why strace cannot be used here, or None."""
    if shutil.which("strace") is None:
        return "strace is not installed (`make test-tools` installs it on Debian)"
    done = subprocess.run(["strace", "-f", "-e", "trace=getpid", "true"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"strace cannot trace here: {done.stderr.strip()[:200]}"


@pytest.fixture(autouse=True)
def needs_strace() -> None:
    problem = strace_problem()
    if problem is not None:
        pytest.skip(problem)


def run(path: Path, inject: str, trace: str) -> subprocess.CompletedProcess[str]:
    """Run the script under strace; files are opened by the interpreter too, so opens count by the queue's paths."""
    command = ["strace", "-f", "-qq", "-e", f"trace={trace}", "-e", f"inject={inject}"]
    if trace == "openat":
        segments = [f"{number:010d}{suffix}" for number in range(8) for suffix in (".open", ".seg")]
        for name in (".", "queue.json", "control", "lock", "tail.json", *segments):
            command += ["-P", str(path / name)]
    command += [sys.executable, "-c", PROGRAM, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)


def truth(folder: Path) -> list[bytes]:
    path = folder / "truth.q"
    subprocess.run([sys.executable, "-c", PROGRAM, str(path)], check=True)
    return contents(Queue.open(path))


KILLS = [("rename", (2, 4, 6)), ("openat", (9, 21)), ("unlink", (1, 2)), ("fsync", (3, 7)), ("pwrite64", (1, 3))]
FAILURES = [
    ("fsync", "EIO", (1, 4, 8)),
    ("rename", "ENOSPC", (1, 3, 5)),
    ("openat", "EMFILE", (6, 14)),
    ("fallocate", "ENOSPC", (1, 2)),
    ("pwrite64", "EIO", (1, 2)),
    ("unlink", "EIO", (1,)),
]


@pytest.mark.parametrize("call", [call for call, _ in KILLS])
def test_a_writer_killed_by_strace_survives(call: str) -> None:
    with fast_folder() as folder:
        records = truth(folder)
        killed = 0
        for number in dict(KILLS)[call]:
            path = folder / f"{number}.q"
            done = run(path, f"{call}:signal=KILL:when={number}", call)
            killed += done.returncode in {-9, 137}
            if (path / "queue.json").exists():
                assert_survives(path, records, 0, f"killed at {call} {number}")
        assert killed, "no call was met"


@pytest.mark.parametrize(("call", "error", "numbers"), FAILURES, ids=[f"{row[0]}-{row[1]}" for row in FAILURES])
def test_a_writer_whose_calls_strace_fails_loses_nothing(call: str, error: str, numbers: tuple[int, ...]) -> None:
    with fast_folder() as folder:
        records = truth(folder)
        injected = 0
        for number in numbers:
            path = folder / f"{number}.q"
            done = run(path, f"{call}:error={error}:when={number}", call)
            injected += len(re.findall("INJECTED", done.stderr))
            assert done.returncode == 0, done.stderr[-2000:]
            assert_survives(path, records, len(records), f"{call} {number} failed with {error}")
        assert injected, "no call was met"
