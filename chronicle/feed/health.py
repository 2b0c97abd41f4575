"""Which subscribed streams are silent for too long although their line is up, and what to do about each.

The rule is that of the oldest stream: a line is as healthy as the stream that was silent longest, however much the
others say. Only books are judged (an instrument may go without a trade for a day); what comes of it is decided here
and done elsewhere: a pure policy over times that are passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Action", "HealthSettings", "StreamWatch"]

SECOND_NS: Final = 10**9
Key = tuple[str, str]
"""(symbol in the venue's spelling, channel)"""


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """`stall_seconds` of silence make a book suspect (0: never); `answer_seconds` are left for a fresh snapshot."""

    stall_seconds: float = 300.0
    answer_seconds: float = 60.0
    patience_seconds_max: float = 3600.0


@dataclass(frozen=True, slots=True)
class Action:
    """What to do: subscribe to `symbol` anew, or give the line up (`reconnects`)."""

    symbol: str
    channel: str
    reconnects: bool
    silent_seconds: float


@dataclass(slots=True)
class _State:
    patience_ns: int
    asked_ns: int = 0
    hopeless: bool = False
    """A reconnect did not bring it back: it is asked for, but no other stream is disturbed for it again."""


class StreamWatch:
    """Watches the book streams of one line.

    A silent book is subscribed to anew. When the snapshot comes, the stream lives and was only quiet: it is asked
    half as often the next time. When nothing comes, the line is given up once; a stream that stays silent after
    that (a delisted symbol) is counted as stalled and leaves the others alone.

    Parameters
    ----------
    streams : iterable of (str, str)
        The subscribed (symbol, channel).
    answers : bool
        Whether a renewed subscription brings a snapshot on the line; where it comes over HTTP it proves nothing.
    """

    def __init__(self, streams: Iterable[Key], settings: HealthSettings, *, answers: bool) -> None:
        self._settings = settings
        self._answers = answers
        self._base_ns = int(settings.stall_seconds * SECOND_NS)
        self._states = {key: _State(self._base_ns) for key in streams if key[1] == "book"}
        self.renewed_count = 0

    def oldest(self, seen: Mapping[Key, int], up_since_ns: int, now_ns: int) -> tuple[str, str, int] | None:
        """Return (symbol, channel, age in ns) of the book stream that was silent longest; None when there is none."""
        ages = [(now_ns - max(seen.get(key, 0), up_since_ns), key) for key in self._states]
        if not ages or not up_since_ns:
            return None
        age, (symbol, channel) = max(ages)
        return symbol, channel, max(age, 0)

    def stalled(self, seen: Mapping[Key, int], up_since_ns: int, now_ns: int) -> int:
        """Return how many book streams are silent for longer than allowed."""
        if not self._base_ns or not up_since_ns:
            return 0
        return sum(now_ns - max(seen.get(key, 0), up_since_ns) >= self._base_ns for key in self._states)

    def tick(self, seen: Mapping[Key, int], up_since_ns: int, now_ns: int) -> list[Action]:
        """Return what is due.

        Parameters
        ----------
        seen : mapping of (str, str) to int
            ts_recv of the last event of each stream that had one.
        up_since_ns : int
            Since when the line is up; 0 while it is down.
        now_ns : int
            Wall time, as in `seen`.
        """
        if not self._base_ns or not up_since_ns:
            return []
        actions = []
        for key, state in self._states.items():
            last = max(seen.get(key, 0), up_since_ns)
            action = self._judge(key, state, last, seen.get(key, 0) >= up_since_ns, now_ns)
            if action is not None:
                actions.append(action)
                if action.reconnects:
                    return [action]
        return actions

    def _judge(self, key: Key, state: _State, last: int, spoke: bool, now_ns: int) -> Action | None:
        answer_ns = int(self._settings.answer_seconds * SECOND_NS)
        if spoke:
            state.hopeless = False
        if state.asked_ns and last > state.asked_ns + answer_ns:
            state.patience_ns, state.asked_ns = self._base_ns, 0  # it went on by itself
        waiting = state.asked_ns and last <= state.asked_ns
        silent = now_ns - last
        if waiting:
            if self._answers and not state.hopeless and now_ns - state.asked_ns >= answer_ns:
                state.hopeless, state.asked_ns = True, 0
                return Action(*key, reconnects=True, silent_seconds=silent / SECOND_NS)
            if now_ns - state.asked_ns < state.patience_ns:
                return None
        if silent < state.patience_ns:
            return None
        most = max(int(self._settings.patience_seconds_max * SECOND_NS), self._base_ns)
        state.asked_ns, state.patience_ns = now_ns, min(2 * state.patience_ns, most)
        self.renewed_count += 1
        return Action(*key, reconnects=False, silent_seconds=silent / SECOND_NS)
