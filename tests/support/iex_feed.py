"""IEX-TP packets by hand: DEEP levels of a few symbols, in sessions."""

from __future__ import annotations

import random
import struct

from chronicle.feed.transports.packet import IEX_HEADER

__all__ = ["deep_level", "deep_session", "iex_packet"]

DEEP = 0x8004


def iex_packet(first: int, messages: list[bytes], *, sent_ts: int, protocol: int = DEEP, session: int = 9) -> bytes:
    """Return a packet of `messages`, numbered from `first`."""
    body = b"".join(struct.pack("<H", len(message)) + message for message in messages)
    return IEX_HEADER.pack(1, 0, protocol, 1, session, len(body), len(messages), 0, first, sent_ts) + body


def deep_level(symbol: str, side: str, price: int, size: int, ts: int, *, complete: bool = True) -> bytes:
    """Return a price level update; `side` is 8 (buy) or 5 (sell)."""
    return struct.pack("<cBq8sIq", side.encode(), complete, ts, symbol.encode().ljust(8), size, price)


def deep_session(seed: int, count: int, *, start_ts: int, symbols: tuple[str, ...] = ("AAPL", "IBM")) -> list[bytes]:
    """Return `count` packets of a session from its first message; bids stay below asks."""
    rng = random.Random(seed)
    packets, first = [], 1
    for number in range(count):
        ts = start_ts + number * 1_000_000
        messages = []
        symbol = symbols[number % len(symbols)]
        for last in (False,) * rng.randrange(3) + (True,):
            side = rng.choice("85")
            price = 1_000_000 + 100 * (rng.randrange(1, 20) if side == "5" else -rng.randrange(1, 20))
            messages.append(deep_level(symbol, side, price, rng.choice((0, 100, 200)), ts, complete=last))
        packets.append(iex_packet(first, messages, sent_ts=ts))
        first += len(messages)
    return packets
