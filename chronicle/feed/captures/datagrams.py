"""UDP datagrams out of captured packets: Ethernet with VLAN tags, Linux cooked captures, raw IP.

Sources: tcpdump.org/linktypes.html; RFC 791 (IPv4), RFC 768 (UDP), IEEE 802.1Q.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Final

from chronicle.feed.captures.packet_file import Packet

__all__ = ["Datagram", "Skipped", "datagram_of"]

_ETHERNET, _RAW, _SLL, _IPV4, _SLL2, _NULL = 1, 101, 113, 228, 276, 0
_IPV4_TYPE: Final = 0x0800
_IPV6_TYPE: Final = 0x86DD
_VLAN_TYPES: Final = frozenset({0x8100, 0x88A8, 0x9100})
_VLAN_TAGS_MAX: Final = 4
_UDP: Final = 17


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram. `payload` is shorter than `payload_bytes` where the capture cut it off."""

    ts: int
    group: str
    port: int
    payload: bytes
    payload_bytes: int

    @property
    def is_whole(self) -> bool:
        """Whether the capture holds all of it."""
        return len(self.payload) == self.payload_bytes


class Skipped(str):
    """Why a packet is no datagram for us: the name under which it is counted."""

    __slots__ = ()


NOT_IP: Final = Skipped("packets that are not IPv4")
NOT_UDP: Final = Skipped("packets that are not UDP")
FRAGMENT: Final = Skipped("IP fragments")
MALFORMED: Final = Skipped("malformed packets")
LINK: Final = Skipped("packets of an unknown link type")


def datagram_of(packet: Packet) -> Datagram | Skipped:
    """Return the UDP datagram in `packet`, or why it holds none."""
    try:
        at = _network_offset(packet)
        if isinstance(at, Skipped):
            return at
        return _ipv4(packet, at)
    except (struct.error, IndexError):
        return MALFORMED


def _network_offset(packet: Packet) -> int | Skipped:
    """Return where the IPv4 header begins."""
    data, link = packet.data, packet.link
    if link == _ETHERNET:
        at = 12
        for _ in range(_VLAN_TAGS_MAX + 1):
            kind = struct.unpack_from(">H", data, at)[0]
            if kind not in _VLAN_TYPES:
                return at + 2 if kind == _IPV4_TYPE else NOT_IP
            at += 4
        return MALFORMED
    if link in (_RAW, _IPV4):
        return 0
    if link == _SLL:
        return 16 if struct.unpack_from(">H", data, 14)[0] == _IPV4_TYPE else NOT_IP
    if link == _SLL2:
        return 20 if struct.unpack_from(">H", data)[0] == _IPV4_TYPE else NOT_IP
    if link == _NULL:  # the address family in the capturing host's byte order
        return 4 if data[:4] in (b"\x02\0\0\0", b"\0\0\0\x02") else NOT_IP
    return LINK


def _ipv4(packet: Packet, at: int) -> Datagram | Skipped:
    data = packet.data
    if data[at] >> 4 != 4:
        return NOT_IP
    header_bytes = (data[at] & 0xF) * 4
    total_bytes, _, fragment = struct.unpack_from(">HHH", data, at + 2)
    if data[at + 9] != _UDP:
        return NOT_UDP
    if fragment & 0x3FFF:  # more fragments follow, or this one is not the first
        return FRAGMENT
    udp = at + header_bytes
    if header_bytes < 20 or (total_bytes and total_bytes < header_bytes + 8):
        return MALFORMED
    port, size = struct.unpack_from(">HH", data, udp + 2)
    if size < 8 or (total_bytes and size > total_bytes - header_bytes):
        return MALFORMED
    group = socket.inet_ntoa(data[at + 16 : at + 20])
    return Datagram(packet.ts, group, port, data[udp + 8 : udp + size], size - 8)
