"""Faults of an exchange and of the network to it, injected into what a server sends: seeded, counted, told.

At most one fault befalls a message. ``drop``: the message is never sent; ``delay``: it and all after it wait;
``reorder``: it changes places with the next one; ``duplicate``: it is sent twice; ``checksum``: its checksum is
altered (messages without one pass); ``disconnect``: the connection is cut without a close frame; ``half_open``: the
connection stays but nothing is sent or answered any more; ``garbage``: bytes that are no message come before it;
``giant``: a frame larger than a client should take comes before it.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from chronicle.core.errors import ConfigError

__all__ = ["CHECKSUM", "FAULTS", "Delivery", "FaultInjector", "FaultLane", "Signal"]

FAULTS: Final = (
    *("drop", "delay", "reorder", "duplicate", "checksum", "disconnect", "half_open", "garbage", "giant"),
)
GIANT_BYTES: Final = 64 * 1024 * 1024
CHECKSUM: Final = re.compile(r'("c":"|"checksum":)(-?\d+)')


class Signal(Enum):
    """What happens to a connection in place of a message."""

    CUT = "cut"
    FREEZE = "freeze"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing to do on a connection, after waiting `delay_seconds`."""

    what: str | bytes | Signal
    delay_seconds: float = 0.0


@dataclass(slots=True)
class FaultInjector:
    """Decides what befalls each message.

    Parameters
    ----------
    rates : mapping of str to float
        Share of the messages that each fault befalls, 0 to 1.
    seed : int
        All randomness.
    delay_seconds, giant_bytes
        How long a delay is, how large a giant.
    tell : callable, optional
        Is told (fault, start of the message) of each.
    limit : int
        Faults at most, over all; 0: without bound.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    seed: int = 1
    delay_seconds: float = 0.5
    giant_bytes: int = GIANT_BYTES
    tell: Callable[[str, str], None] | None = None
    limit: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    message_count: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.rates) - set(FAULTS))
        if unknown or not all(0 <= rate <= 1 for rate in self.rates.values()) or sum(self.rates.values()) > 1:
            raise ConfigError(
                "the rates of faults cannot be used",
                expected=f"shares from 0 to 1 of {', '.join(FAULTS)}, together at most 1",
                found=", ".join(unknown) or dict(self.rates),
            )
        self._random = random.Random(f"{self.seed}:faults")  # noqa: S311 - a simulation, not a secret

    def lane(self) -> FaultLane:
        """Return the faults of one connection."""
        return FaultLane(self)

    def choose(self, message: str) -> str:
        """Return the fault that befalls `message`, empty for none, and count it."""
        self.message_count += 1
        if not self.rates or (self.limit and self.counts.total() >= self.limit):
            return ""
        at = self._random.random()
        for fault in FAULTS:
            at -= self.rates.get(fault, 0.0)
            if at < 0:
                if fault == "checksum" and not CHECKSUM.search(message):
                    return ""
                self.note(fault, message)
                return fault
        return ""

    def note(self, fault: str, message: str) -> None:
        """Count a fault, and tell of it."""
        self.counts[fault] += 1
        if self.tell is not None:
            self.tell(fault, message[:200])

    def garbage(self) -> str | bytes:
        """Return what is no message: text or bytes of no form."""
        size = self._random.randrange(1, 200)
        if self._random.random() < 0.5:
            return self._random.randbytes(size)
        return "".join(self._random.choices('{}[]",:0123456789eE.-xyz\\ ', k=size))


class FaultLane:
    """The faults of one connection: a held message waits here for the one that overtakes it."""

    def __init__(self, injector: FaultInjector) -> None:
        self._injector = injector
        self._held: str | None = None

    def take(self, message: str) -> list[Delivery]:
        """Return what to do when `message` is due."""
        held, self._held = self._held, None
        out = [*self._fate(message), *([Delivery(held)] if held is not None else [])]
        if not out or self._held is not None:
            return [Delivery(held)] if held is not None else []
        return out

    def _fate(self, message: str) -> list[Delivery]:
        injector = self._injector
        match injector.choose(message):
            case "drop":
                return []
            case "delay":
                return [Delivery(message, injector.delay_seconds)]
            case "reorder":
                self._held = message
                return []
            case "duplicate":
                return [Delivery(message), Delivery(message)]
            case "checksum":
                return [Delivery(CHECKSUM.sub(lambda found: f"{found[1]}{int(found[2]) ^ 1}", message))]
            case "disconnect":
                return [Delivery(Signal.CUT)]
            case "half_open":
                return [Delivery(Signal.FREEZE)]
            case "garbage":
                return [Delivery(injector.garbage()), Delivery(message)]
            case "giant":
                return [Delivery("x" * injector.giant_bytes), Delivery(message)]
        return [Delivery(message)]
