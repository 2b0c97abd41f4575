"""Instruments that change shards: which stored state each one goes on from, and how states become one.

A checkpoint holds every instrument of its shard as it was at one raw index, and an instrument's state depends on
nothing of the others. So a shard whose share grew takes each instrument from the newest checkpoint of any shard that
had it, works each group off to the newest of those indexes, and has one state again. An instrument that no checkpoint
has goes back to the first raw record. Its queue's own tail leaves out what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from glob import escape
from typing import Any

from chronicle.core.selection import Selection
from chronicle.etl.shards.checkpoint import Checkpoint

__all__ = ["Part", "exactly", "given_away", "joined", "plan_parts", "reduced", "taken_over"]

Covered = Callable[[dict[str, Any], Collection[str]], frozenset[str]]
"""Those of the symbols whose clean queues reach at least to where a state says."""


@dataclass(frozen=True, slots=True)
class Part:
    """Instruments that go on from one place: a stored state reduced to them, or None for the first raw record."""

    symbols: frozenset[str]
    state: dict[str, Any] | None

    @property
    def next_index(self) -> int:
        """The raw index at which they go on; -1 for the first that is kept."""
        return -1 if self.state is None else int(self.state["next_index"])


def plan_parts(selects: Callable[[str], bool], found: Iterable[Checkpoint], covered: Covered) -> list[Part]:
    """Return where each selected instrument goes on, the newest place first; empty: all of them at the beginning.

    `found` comes newest first. Instruments that are defined after the newest checkpoint need no place.
    """
    checkpoints = list(found)
    if not checkpoints:
        return []
    left = {symbol for symbol, _ in checkpoints[0].state["canonical"] if selects(symbol)}
    if not left:
        return [Part(frozenset(), reduced(checkpoints[0].state, frozenset()))]
    parts = []
    for checkpoint in checkpoints:
        has = {symbol for symbol in left if checkpoint.selection.selects(symbol)}
        mine = covered(checkpoint.state, has)
        if mine:
            parts.append(Part(mine, reduced(checkpoint.state, mine)))
            left -= mine
    if not parts:
        return []
    if left:
        parts.append(Part(frozenset(left), None))
    return parts


def reduced(state: dict[str, Any], symbols: Collection[str]) -> dict[str, Any]:
    """Return `state` with the streams and lines of `symbols` only."""
    return state | {
        "streams": [row for row in state["streams"] if row[0] in symbols],
        "lines": [row for row in state["lines"] if row[0] in symbols],
        "race": _only(state.get("race"), symbols),
    }


def joined(states: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one state of several at the same raw index that share no instrument."""
    return states[0] | {
        "streams": [row for state in states for row in state["streams"]],
        "lines": [row for state in states for row in state["lines"]],
        "race": _together([state.get("race") for state in states]),
    }


def _only(rows: list[list[Any]] | None, symbols: Collection[str]) -> list[list[Any]] | None:
    return None if rows is None else [row for row in rows if row[0] in symbols]


def _together(parts: list[list[list[Any]] | None]) -> list[list[Any]] | None:
    known = [rows for rows in parts if rows is not None]
    return [row for rows in known for row in rows] if known else None


def taken_over(given: Checkpoint, found: Iterable[Checkpoint], covered: Covered) -> bool:
    """Return whether every instrument of `given` has a newer or equal checkpoint of a shard that selects it."""
    left = {symbol for symbol, _ in given.state["canonical"] if given.selection.selects(symbol)}
    for other in found:
        if other.path != given.path and other.next_index >= given.next_index:
            left -= covered(other.state, {symbol for symbol in left if other.selection.selects(symbol)})
    return not left


def given_away(checkpoint: Checkpoint, selection: Selection) -> frozenset[str]:
    """Return the instruments in a shard's own checkpoint that it no longer selects."""
    had = checkpoint.selection
    return frozenset(
        symbol for symbol, _ in checkpoint.state["canonical"] if had.selects(symbol) and not selection.selects(symbol)
    )


def exactly(symbols: Collection[str]) -> Selection:
    """Return the selection of these instruments and no others."""
    return Selection(tuple(escape(symbol) for symbol in sorted(symbols)))
