"""A measured figure, and how to take quantiles of one."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of output."""

    name: str
    value: float
    unit: str
    n: int
    peer: str | None = None
    peer_value: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Return what is printed as JSON."""
        row: dict[str, object] = {"name": self.name, "value": round(self.value, 4), "unit": self.unit, "n": self.n}
        if self.peer is not None and self.peer_value:
            row |= {"peer": self.peer, "peer_value": round(self.peer_value, 4)}
            row["ratio"] = round(self.value / self.peer_value, 4)
        return row

    def to_line(self) -> str:
        """Return a line for people."""
        text = f"{self.name:36} {self.value:14,.2f} {self.unit:8} n={self.n:,}"
        if self.peer is not None and self.peer_value:
            text += f"   {self.peer}: {self.peer_value:,.2f} ({self.value / self.peer_value:.2f}x)"
        return text


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in shared memory where there is one, removed afterwards."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="chronicle-bench-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def each_ns(call: Callable[[int], object], count: int) -> list[int]:
    """Return the time of each call in ns, sorted; the clock's own cost (some 50 ns) is inside."""
    clock = time.perf_counter_ns
    times = []
    for number in range(count):
        start = clock()
        call(number)
        times.append(clock() - start)
    times.sort()
    return times


def quantile(times: list[int], share: float) -> float:
    """Return the quantile of sorted `times`."""
    return float(times[min(len(times) - 1, int(len(times) * share))])


def best_ns(call: Callable[[], object], repeats: int = 5) -> float:
    """Return the shortest of `repeats` runs, in ns."""
    best = None
    for _ in range(repeats):
        start = time.perf_counter_ns()
        call()
        took = time.perf_counter_ns() - start
        best = took if best is None else min(best, took)
    assert best is not None
    return float(best)
