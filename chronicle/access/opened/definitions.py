"""Definitions: what a segment's INSTRUMENT records say, looked for once a process.

A sealed segment never changes. A process that opens the same places again and again (workers that are given units, a
server, a notebook) meets the same segments, and need not read their prologues each time.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Final

from chronicle.core.records import InstrumentFields
from chronicle.core.source import SegmentView
from chronicle.storage.codec.archive import ArchivedSegment

__all__ = ["KNOWN_MAX", "Definitions", "known_definitions", "remember_definitions"]

KNOWN_MAX: Final = 1024
"""Segments whose definitions are remembered, some kB each; the least recently asked for is given up first."""

Identity = tuple[str, int, int, int]
Found = list[tuple[int, InstrumentFields]]


class Definitions:
    """What is known of a segment's instrument, and how far it was looked for; `told`: it is all that there is."""

    __slots__ = ("found", "looked", "told", "walked")

    def __init__(self) -> None:
        self.found: Found = []
        self.looked = 0
        self.told = False
        self.walked = 0


_KNOWN: OrderedDict[Identity, Found] = OrderedDict()
_LOCK = threading.Lock()


def known_definitions(view: SegmentView) -> Found | None:
    """Return the definitions of an archived segment that were remembered."""
    if not isinstance(view, ArchivedSegment):
        return None
    identity = _identity(view)
    with _LOCK:
        found = _KNOWN.get(identity)
        if found is not None:
            _KNOWN.move_to_end(identity)
        return found


def remember_definitions(view: SegmentView, found: Found) -> None:
    """Remember all definitions of an archived segment; nobody changes the list any more."""
    if not isinstance(view, ArchivedSegment):
        return
    with _LOCK:
        _KNOWN[_identity(view)] = found
        while len(_KNOWN) > KNOWN_MAX:
            _KNOWN.popitem(last=False)


def _identity(view: ArchivedSegment) -> Identity:
    """Return what no other segment has: its name, and the checksum of all its sealed bytes."""
    footer = view.footer
    return footer.queue, footer.generation, footer.number, footer.whole_checksum


def _unlock() -> None:
    """Start a forked process with a free lock: the thread that held it is not there."""
    global _LOCK
    _LOCK = threading.Lock()


os.register_at_fork(after_in_child=_unlock)
