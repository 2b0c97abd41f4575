"""What a peer reports, and how one is skipped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["PeerResult", "Unavailable", "ask"]


class Unavailable(Exception):
    """Why a peer cannot run on this machine."""


@dataclass(frozen=True, slots=True)
class PeerResult:
    """`label` names peer and version; `values` has ns by figure: p50, p99, p999, max, batch, read."""

    label: str
    values: dict[str, float] = field(default_factory=dict)


def ask(name: str, measure: Callable[[], PeerResult]) -> PeerResult | None:
    """Return what a peer measured, or None after saying on stderr why it did not."""
    try:
        return measure()
    except Unavailable as reason:
        print(f"peer {name} skipped: {reason}", file=sys.stderr)
        return None
