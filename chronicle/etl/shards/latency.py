"""Latencies as a distribution: log-linear buckets, so that a quantile is known to one part in sixteen."""

from __future__ import annotations

from typing import Any

__all__ = ["Latency"]

_STEP_BITS = 4
_STEPS = 1 << _STEP_BITS
_BUCKETS = 64 * _STEPS


class Latency:
    """Counts of durations in ns; 0 to 2**62, at a relative error of 1/16.

    Examples
    --------
    >>> latency = Latency()
    >>> for value in range(1, 101):
    ...     latency.add(1000 * value)
    >>> latency.count, 49_000 <= latency.quantile(0.5) <= 53_500
    (100, True)
    """

    __slots__ = ("_buckets", "count", "worst_ns")

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKETS
        self.count = 0
        self.worst_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one duration; a negative one (the wall clock stepped) counts as 0."""
        value = max(0, min(duration_ns, 1 << 62))
        self._buckets[_bucket(value)] += 1
        self.count += 1
        self.worst_ns = max(self.worst_ns, value)

    def quantile(self, share: float) -> int | None:
        """Return the duration that `share` of all did not exceed (its bucket's upper end); None when none was."""
        if not self.count:
            return None
        wanted, seen = share * self.count, 0
        for number, count in enumerate(self._buckets):
            seen += count
            if count and seen >= wanted:
                return min(_upper(number), self.worst_ns)
        return self.worst_ns

    def to_dict(self) -> dict[str, Any]:
        """Return count, p50, p99 and worst as plain values (ns)."""
        return {
            "count": self.count,
            "p50_ns": self.quantile(0.5),
            "p99_ns": self.quantile(0.99),
            "worst_ns": self.worst_ns if self.count else None,
        }


def _bucket(value: int) -> int:
    """Return the bucket of `value`: its power of two, and the next bits below it."""
    if value < _STEPS:
        return value
    power = value.bit_length() - _STEP_BITS - 1
    return (power << _STEP_BITS) + (value >> power)


def _upper(bucket: int) -> int:
    """Return the largest value of a bucket."""
    if bucket < 2 * _STEPS:
        return bucket
    power = (bucket >> _STEP_BITS) - 1
    return ((bucket - (power << _STEP_BITS) + 1) << power) - 1
