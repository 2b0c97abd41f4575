"""The headers of MoldUDP64 and IEX-TP packets, and the places of the messages in them.

Sources: "MoldUDP64 Protocol Specification" (Nasdaq): session 10 bytes, sequence u64, message count u16 (big-endian),
then per message u16 length and message; count 0 is a heartbeat that carries the next sequence, 0xFFFF the end of the
session; a request is session, sequence and count, answered by a packet to the asker. "IEX Transport Protocol" (IEX-TP
1.25): 40 bytes little-endian, then per message u16 length and message; a gap fill request is version, request type
(1: numbered messages, 2: bytes of the stream), protocol, channel, session and count of ranges, then the first and
last number of each, answered by segments to the asker.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from chronicle.core.errors import DecodeError
from chronicle.core.layout import INT64_MAX, NONE

__all__ = [
    "END_OF_SESSION",
    "IEX_HEADER",
    "IEX_HEADER_BYTES",
    "MOLD_HEADER",
    "MOLD_HEADER_BYTES",
    "UNNUMBERED",
    "Header",
    "iex_request",
    "mold_request",
    "read_iex",
    "read_mold",
    "spans",
]

MOLD_HEADER: Final = struct.Struct(">10sQH")
MOLD_HEADER_BYTES: Final = 20
END_OF_SESSION: Final = 0xFFFF

IEX_HEADER: Final = struct.Struct("<BBHIIHHqqq")
"""version, reserved, message protocol, channel, session, payload bytes, message count, stream offset, first message
sequence, send time."""
IEX_HEADER_BYTES: Final = 40
IEX_VERSION: Final = 1

IEX_REQUEST: Final = struct.Struct("<BBHIII")
"""version, request type, message protocol, channel, session, count of ranges."""
IEX_RANGE: Final = struct.Struct("<qq")
"""first and last message of a range."""
IEX_MESSAGES: Final = 1

UNNUMBERED: Final = 0
"""Sequences begin at 1; a packet numbered 0 takes part in no sequence (edited captures hold such ones)."""

assert MOLD_HEADER.size == MOLD_HEADER_BYTES
assert IEX_HEADER.size == IEX_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Header:
    """What a packet says of itself.

    `first` is the sequence of its first message, of the next one when it holds none. `sent_ts` is when it was sent
    (ns UTC; NONE where the protocol does not say). `messages_at` is where the messages begin, `size` how long the
    packet says it is (NONE where it does not).
    """

    session: str
    first: int
    count: int
    messages_at: int
    is_end: bool = False
    sent_ts: int = NONE
    protocol: int = 0
    channel: int = 0
    size: int = NONE

    @property
    def next(self) -> int:
        """Sequence of the message after this packet."""
        return self.first + self.count


def read_mold(payload: bytes) -> Header:
    """Return the header of a MoldUDP64 packet.

    Raises
    ------
    DecodeError
        When the packet is too short, or its sequence is beyond int64.
    """
    if len(payload) < MOLD_HEADER_BYTES:
        raise DecodeError("a MoldUDP64 packet is too short", expected=MOLD_HEADER_BYTES, found=len(payload))
    session, first, count = MOLD_HEADER.unpack_from(payload)
    if first > INT64_MAX - END_OF_SESSION:
        raise DecodeError("a MoldUDP64 packet's sequence is out of range", found=first)
    is_end = count == END_OF_SESSION
    name = session.decode("latin-1").strip(" \0")
    return Header(name, first, 0 if is_end else count, MOLD_HEADER_BYTES, is_end)


def read_iex(payload: bytes) -> Header:
    """Return the header of an IEX-TP packet.

    Raises
    ------
    DecodeError
        When the packet is too short, of another version, or its numbers are impossible.
    """
    if len(payload) < IEX_HEADER_BYTES:
        raise DecodeError("an IEX-TP packet is too short", expected=IEX_HEADER_BYTES, found=len(payload))
    version, _, protocol, channel, session, size, count, _, first, sent_ts = IEX_HEADER.unpack_from(payload)
    if version != IEX_VERSION:
        raise DecodeError("an IEX-TP packet is of another version", expected=IEX_VERSION, found=version)
    if not 0 <= first <= INT64_MAX - END_OF_SESSION or sent_ts < 0:
        raise DecodeError("an IEX-TP packet's sequence or time is out of range", found=f"{first}, {sent_ts}")
    return Header(
        str(session),
        first,
        count,
        IEX_HEADER_BYTES,
        sent_ts=sent_ts,
        protocol=protocol,
        channel=channel,
        size=IEX_HEADER_BYTES + size,
    )


def mold_request(session: str, first: int, count: int) -> bytes:
    """Return the packet that asks a re-request server for `count` messages from `first` on."""
    return MOLD_HEADER.pack(session.encode("latin-1").ljust(10), first, min(count, END_OF_SESSION - 1))


def iex_request(heading: Header, session: str, first: int, count: int) -> bytes:
    """Return the request to fill `count` messages from `first` on; `heading` is that of any packet of the feed."""
    request = IEX_REQUEST.pack(IEX_VERSION, IEX_MESSAGES, heading.protocol, heading.channel, int(session), 1)
    return request + IEX_RANGE.pack(first, first + count - 1)


def spans(payload: bytes, header: Header, order: str) -> tuple[list[tuple[int, int]], bool]:
    """Return where the messages of a packet lie, as (start, end), and whether all of them are whole.

    Parameters
    ----------
    payload : bytes
        The packet.
    header : Header
        Its header.
    order : str
        Byte order of the lengths, ``>`` or ``<``.
    """
    unpack = struct.Struct(order + "H").unpack_from
    found: list[tuple[int, int]] = []
    at, size = header.messages_at, len(payload)
    for _ in range(header.count):
        if at + 2 > size:
            return found, False
        start = at + 2
        at = start + unpack(payload, at)[0]
        if at > size:
            return found, False
        found.append((start, at))
    return found, True
