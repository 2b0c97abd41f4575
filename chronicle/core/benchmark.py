"""Measuring a queue where it will run: single appends by each path, batches, rolls, and reading back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from chronicle.core.clock import Clock
from chronicle.core.layout import Flag, Kind
from chronicle.core.queue import Queue

__all__ = ["Measure", "measure_queue"]

_BODY = bytes(16)
_ROLLS = 20


@dataclass(frozen=True, slots=True)
class Measure:
    """Quantiles in ns of `count` calls (of a batch or a read: ns a record, all equal)."""

    name: str
    p50: float
    p99: float
    p999: float
    worst: float
    count: int

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)


def measure_queue(folder: Path, count: int, clock: Clock) -> list[Measure]:
    """Measure in an empty `folder`: `count` records of 64 bytes by each path.

    Raises
    ------
    CapacityError
        When the folder has no room for about 300 bytes a record.
    """
    import numpy as np

    from chronicle.core.dtypes import DTYPES

    queue = Queue.create(folder / "single.q", segment_bytes=max(count * 64 * 3 + (1 << 20), 1 << 20))
    measures: list[Measure] = []
    control = _quantiles("", _times(lambda number: None, count, clock), 0).p50
    with queue.appender() as appender:
        appender.append(Kind.STATUS, _BODY, ts_recv=0)
        appender.prefault()
        put = appender.recorder(Kind.STATUS, len(_BODY))
        paths: dict[str, Callable[[int], object]] = {
            "append": lambda number: appender.append(Kind.STATUS, _BODY, ts_recv=number),
            "recorder": lambda number: put(count + number, _BODY),
        }
        for name, call in paths.items():
            measures.append(_quantiles(name, _times(call, count, clock), control))
    rows = np.zeros(count, DTYPES[Kind.ROLL])  # any kind of 64 bytes
    rows["length"], rows["kind"], rows["flags"] = 64, 1024, Flag.LAST
    many = Queue.create(folder / "many.q", segment_bytes=max(count * 64 * 4 + (1 << 20), 1 << 20))
    with many.appender() as appender:
        appender.append_many(rows[:1])
        appender.prefault()
        measures.append(
            _each("append_many", [_time(lambda: appender.append_many(rows), clock) for _ in range(3)], count)
        )
    measures.append(_measure_rolls(folder, clock))
    measures.append(_measure_views(many, clock))
    return measures


def _measure_rolls(folder: Path, clock: Clock) -> Measure:
    """Time the appends that find no room: create, commit the ROLL, and (small segments) seal in place."""
    queue = Queue.create(folder / "rolls.q", segment_bytes=64 * 1024)
    times: list[int] = []
    with queue.appender() as appender:
        body = bytes(30_000)
        for number in range(3 * _ROLLS):
            segments = len(queue.segment_files())
            taken = _time(lambda: appender.append(Kind.WIRE, body, ts_recv=0), clock)
            if len(queue.segment_files()) > segments and number:
                times.append(taken)
    return _quantiles("roll", sorted(times), 0)


def _measure_views(queue: Queue, clock: Clock) -> Measure:
    import chronicle.core.kernels.scan  # noqa: F401 - the kernel path is what is measured

    count = queue.end_index()

    def read() -> None:
        tailer = queue.tailer()
        while (window := tailer.next_window()) is not None:
            window.offsets()

    read()
    return _each("read", [_time(read, clock) for _ in range(3)], count)


def _time(call: Callable[[], object], clock: Clock) -> int:
    start = clock.monotonic_ns()
    call()
    return clock.monotonic_ns() - start


def _times(call: Callable[[int], object], count: int, clock: Clock) -> list[int]:
    now, times = clock.monotonic_ns, [0] * count
    for number in range(count):
        start = now()
        call(number)
        times[number] = now() - start
    times.sort()
    return times


def _quantiles(name: str, times: list[int], control: float) -> Measure:
    def at(share: float) -> float:
        return max(times[min(int(len(times) * share), len(times) - 1)] - control, 0.0)

    return Measure(name, at(0.5), at(0.99), at(0.999), at(1.0), len(times))


def _each(name: str, times: list[int], count: int) -> Measure:
    best = min(times) / max(count, 1)
    return Measure(name, best, best, best, max(times) / max(count, 1), count)
