"""Which protocol a datagram speaks, told by its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chronicle.core.errors import DecodeError
from chronicle.feed.transports.itch_messages import MESSAGE_BYTES
from chronicle.feed.transports.packet import (
    IEX_HEADER_BYTES,
    MOLD_HEADER_BYTES,
    Header,
    read_iex,
    read_mold,
    spans,
)

__all__ = ["IEX", "IEX_PROTOCOLS", "Protocol", "Recognised", "protocol_of", "read_header", "recognise"]

TOPS, DEEP, DEEP_PLUS = 0x8003, 0x8004, 0x8005
IEX_PROTOCOLS: Final = {TOPS: "TOPS", DEEP: "DEEP", DEEP_PLUS: "DEEP+"}


@dataclass(frozen=True, slots=True)
class Protocol:
    """A transport: its name in addresses, the venue that uses it, and the byte order of its lengths."""

    name: str
    venue: str
    order: str


MOLD: Final = Protocol("moldudp64", "nasdaq", ">")
IEX: Final = Protocol("iextp", "iex", "<")
_PROTOCOLS: Final = {MOLD.name: MOLD, IEX.name: IEX}


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a datagram is: `stream` names the flow of numbers that it belongs to, within its transport."""

    protocol: Protocol
    header: Header
    stream: str


def protocol_of(name: str) -> Protocol:
    """Return the transport of that name (``moldudp64`` or ``iextp``).

    Raises
    ------
    DecodeError
        When there is none.
    """
    found = _PROTOCOLS.get(name)
    if found is None:
        raise DecodeError(f"there is no transport {name[:40]!r}", expected=", ".join(_PROTOCOLS), found=name[:40])
    return found


def read_header(protocol: Protocol, payload: bytes) -> Header:
    """Return the header of a packet of `protocol`; see ``read_mold`` and ``read_iex``."""
    return read_mold(payload) if protocol is MOLD else read_iex(payload)


def recognise(payload: bytes) -> Recognised | str:
    """Return what a datagram is, or in words what it is not.

    A MoldUDP64 packet must be filled exactly by its messages, and each of them must have the length that ITCH 5.0
    gives its type: other feeds over the same transport have other messages. One whose messages are all of unknown
    types is none of ours; one without a message (a heartbeat) says nothing of what it carries.
    """
    if len(payload) >= IEX_HEADER_BYTES and payload[:2] == b"\x01\x00":
        try:
            header = read_iex(payload)
        except DecodeError as error:
            return str(error.message)
        if header.size == len(payload) or header.size > len(payload) > IEX_HEADER_BYTES:
            name = IEX_PROTOCOLS.get(header.protocol)
            if name is None:
                return f"IEX-TP with the unknown message protocol {header.protocol:#06x}"
            return Recognised(IEX, header, f"{name}/{header.channel}")
    if len(payload) < MOLD_HEADER_BYTES:
        return f"{len(payload)} bytes of no known protocol"
    try:
        header = read_mold(payload)
    except DecodeError:
        return f"{len(payload)} bytes of no known protocol, which begin with {payload[:8].hex(' ')}"
    found, whole = spans(payload, header, MOLD.order)
    end = found[-1][1] if found else MOLD_HEADER_BYTES
    label = payload[:10]
    if not (label.isascii() and (label == bytes(10) or label.strip(b" ").isalnum())) or (
        whole and end != len(payload)
    ):
        return f"{len(payload)} bytes of no known protocol, which begin with {payload[:8].hex(' ')}"
    for start, stop in found:
        expected = MESSAGE_BYTES.get(payload[start]) if stop > start else 0
        if expected != stop - start:
            kind = chr(payload[start]) if stop > start else ""
            return f"MoldUDP64 that is not ITCH 5.0: a message {kind!r} of {stop - start} bytes"
    if not found:
        return "a MoldUDP64 packet without a message" if whole else "a MoldUDP64 packet that is cut off"
    return Recognised(MOLD, header, header.session)
