"""The race of redundant lines for one book: the first copy of each message goes on, by the venue's own numbers.

A message that does not follow the last one is held back while another line may still bring what is missing: one that
has not delivered anything behind the hole yet. It goes on (and the book's stream declares the gap) once no line may,
or when the line's next messages are `HELD_NS` of ts_recv farther.

A race's numbers stand in a row that the kernel of plain messages shares (:mod:`chronicle.etl.kernels.races`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.core.layout import INT64_MAX, NONE, SequenceRule
from chronicle.etl.kernels import races as kernel
from chronicle.etl.merge.race_rows import LineRow, RaceRows

__all__ = ["BookRace", "Message", "TradeRace", "book_rows", "trade_rows"]

HELD_NS = 2_000_000_000
HELD_MAX = 4096
PASSED_MAX = 1024
TRADES_MAX = 2048
BEGUN_NS = 5_000_000_000
"""What a second line brings so soon is a copy by its number alone: what went on before it came is not remembered."""
OVERLAP = {SequenceRule.BINANCE_SPOT: 8, SequenceRule.BINANCE_FUTURES: 9}
"""Word of a BOOK_DELTA that says where its message begins, under rules whose messages cover a range."""

Words = NDArray[np.int64]


@dataclass(slots=True)
class Message:
    """One message of a line: its numbers, and its records in words."""

    line: int
    first: int
    sequence: int
    previous: int
    ts_recv: int
    words: Words

    def state(self) -> list[Any]:
        """Return plain values, for a checkpoint."""
        return [self.line, self.first, self.sequence, self.previous, self.ts_recv, self.words.tobytes()]

    @classmethod
    def of(cls, state: list[Any]) -> Message:
        """Return what :meth:`state` gave."""
        line, first, sequence, previous, ts_recv, data = state
        return cls(line, first, sequence, previous, ts_recv, np.frombuffer(data, dtype=np.int64).copy())


class BookRace:
    """One book's lines.

    Parameters
    ----------
    rule : int
        The venue's sequence rule.
    row : LineRow
        The race's row.
    """

    def __init__(self, rule: int, row: LineRow) -> None:
        self.rule = rule
        self.row = row
        self.held: list[Message] = []
        row.set(kernel.RULE, rule)

    @property
    def lines(self) -> dict[int, int]:
        """What each line that is up delivered last; NONE: nothing yet."""
        return self.row.lines

    @lines.setter
    def lines(self, lines: dict[int, int]) -> None:
        self.row.lines = lines

    @property
    def last(self) -> int:
        """Number of the last message that went on."""
        return self.row.get(kernel.LAST)

    @last.setter
    def last(self, sequence: int) -> None:
        self.row.set(kernel.LAST, sequence)

    @property
    def leader(self) -> int:
        """The line that brought it."""
        return self.row.get(kernel.LEADER)

    @leader.setter
    def leader(self, line: int) -> None:
        self.row.set(kernel.LEADER, line)

    @property
    def begun(self) -> tuple[int, int]:
        """The number behind which the race began, and until when older ones are copies."""
        return self.row.get(kernel.BEGUN), self.row.get(kernel.BEGUN_TS)

    @begun.setter
    def begun(self, begun: tuple[int, int]) -> None:
        self.row.set(kernel.BEGUN, begun[0])
        self.row.set(kernel.BEGUN_TS, begun[1])

    def begin(self, sequence: int, ts_recv: int) -> None:
        """Go on behind what one line alone has delivered."""
        self.restart(sequence)
        self.begun = (sequence, ts_recv + BEGUN_NS)

    def restart(self, sequence: int) -> None:
        """Go on behind a snapshot of `sequence`."""
        self.last = sequence
        self._pass(sequence)

    def has_passed(self, sequence: int, ts_recv: int = INT64_MAX) -> bool:
        """Whether a message or snapshot of this number went on (of the last thousand, or by growing numbers)."""
        before = sequence <= self.begun[0] and ts_recv <= self.begun[1]
        known = bool(kernel.holds_number(self.row.words, sequence))
        return known or before or (self.rule in OVERLAP and NONE != sequence <= self.last)

    def take(self, message: Message, counts: dict[str, int], firsts: dict[int, int]) -> list[Message]:
        """Take a line's next message; return what goes on now, in order."""
        self.row.bring(message.line, message.sequence)
        out: list[Message] = []
        if not self._offer(message, counts, firsts, out, was_held=False):
            self.held.append(message)
        return out + self.settle(message.ts_recv, counts, firsts)

    def settle(self, ts_recv: int, counts: dict[str, int], firsts: dict[int, int]) -> list[Message]:
        """Return what was held back and goes on now."""
        out: list[Message] = []
        while self.held:
            self.held.sort(key=lambda message: (message.sequence, message.ts_recv))
            rest = [item for item in self.held if not self._offer(item, counts, firsts, out, was_held=True)]
            if len(rest) < len(self.held):
                self.held = rest
                continue
            oldest = min(item.ts_recv for item in rest)
            waits = any(seen in (NONE, self.last) or self.has_passed(seen) for seen in self.lines.values())
            if waits and ts_recv - oldest <= HELD_NS and len(rest) <= HELD_MAX:
                break
            message = self.held.pop(0)
            counts["holes_left"] = counts.get("holes_left", 0) + 1
            self._go(message, firsts, out)
        self.row.set(kernel.HELD, len(self.held))
        for item in out:
            if item.ts_recv < ts_recv:
                item.ts_recv = ts_recv
        return out

    def _offer(
        self, message: Message, counts: dict[str, int], firsts: dict[int, int], out: list[Message], *, was_held: bool
    ) -> bool:
        """Deal with a message that follows or is a copy; False when it belongs behind a hole."""
        if not self._follows(message):
            if not self.has_passed(message.sequence, message.ts_recv):
                return False
            counts["duplicates"] = counts.get("duplicates", 0) + 1
            return True
        if self.held and not was_held:
            counts["holes_filled"] = counts.get("holes_filled", 0) + 1
        word = OVERLAP.get(SequenceRule(self.rule))
        if word is not None and self.last != NONE and self._overlaps(message):
            counts["overlaps"] = counts.get("overlaps", 0) + 1
            _begin_at(message, word, self.last + 1 if word == OVERLAP[SequenceRule.BINANCE_SPOT] else self.last)
        self._go(message, firsts, out)
        return True

    def _go(self, message: Message, firsts: dict[int, int], out: list[Message]) -> None:
        self.last, self.leader = message.sequence, message.line
        self._pass(message.sequence)
        firsts[message.line] = firsts.get(message.line, 0) + 1
        out.append(message)

    def _follows(self, message: Message) -> bool:
        """Whether a message goes on from the last one; sizes are absolute, so that it may begin before its end."""
        if self.last == NONE:
            return True
        if self.rule == SequenceRule.OKX_V5:
            return message.previous in (NONE, self.last) and not kernel.holds_number(self.row.words, message.sequence)
        begin = message.previous + 1 if self._by_previous(message) else message.first
        return begin <= self.last + 1 <= message.sequence

    def _overlaps(self, message: Message) -> bool:
        begin = message.previous + 1 if self._by_previous(message) else message.first
        return begin <= self.last

    def _by_previous(self, message: Message) -> bool:
        return self.rule == SequenceRule.BINANCE_FUTURES and message.previous != NONE

    def _pass(self, sequence: int) -> None:
        kernel.note_number(self.row.words, sequence)

    def state(self) -> list[Any]:
        """Return the race as plain values, for a checkpoint."""
        held = [message.state() for message in self.held]
        return [
            self.rule,
            list(self.lines.items()),
            self.last,
            held,
            [number for (number,) in self.row.ring(1)],
            list(self.begun),
            self.leader,
        ]

    @classmethod
    def of(cls, state: list[Any], row: LineRow) -> BookRace:
        """Return what :meth:`state` gave."""
        race = cls(state[0], row)
        race.lines, race.last, race.begun = dict(state[1]), state[2], (state[5][0], state[5][1])
        race.leader = state[6]
        race.held = [Message.of(row) for row in state[3]]
        for sequence in state[4]:
            race._pass(sequence)
        row.set(kernel.HELD, len(race.held))
        return race


class TradeRace:
    """One instrument's trades: an id that another line delivered is a copy."""

    def __init__(self, row: LineRow) -> None:
        self.row = row

    @property
    def lines(self) -> set[int]:
        """The lines that are up."""
        return set(self.row.lines)

    @lines.setter
    def lines(self, lines: set[int]) -> None:
        self.row.lines = dict.fromkeys(sorted(lines), NONE)

    def note(self, trade_id: int, line: int) -> bool:
        """Return whether a trade goes on: its id is new, or the same line's again."""
        return bool(kernel.note_trade(self.row.words, trade_id, line))

    def state(self) -> list[Any]:
        """Return the ids as plain values, for a checkpoint."""
        return [sorted(self.lines), self.row.ring(2)]

    @classmethod
    def of(cls, state: list[Any], row: LineRow) -> TradeRace:
        """Return what :meth:`state` gave."""
        race = cls(row)
        race.lines = set(state[0])
        for trade_id, line in state[1]:
            race.note(trade_id, line)
        return race


def book_rows() -> RaceRows:
    """Return the rows of a lane's books."""
    return RaceRows(PASSED_MAX)


def trade_rows() -> RaceRows:
    """Return the rows of a lane's trades."""
    return RaceRows(2 * TRADES_MAX)


def _begin_at(message: Message, word: int, value: int) -> None:
    """Let a message begin behind the last one: what it covers before that has been applied."""
    words, position = message.words, 0
    while position < len(words):
        head = int(words[position])
        if head >> 32 & 0xFFFF == 32:
            words[position + word] = value
        position += (head & 0xFFFFFFFF) >> 3
