"""Packet captures by hand: datagrams in Ethernet frames, in pcap and pcapng files."""

from __future__ import annotations

import socket
import struct

__all__ = ["ethernet", "pcap", "pcapng", "udp"]


def udp(payload: bytes, group: str = "233.54.12.111", port: int = 26400, *, protocol: int = 17) -> bytes:
    """Return an IPv4 packet with a UDP datagram (or, for another protocol, something else)."""
    datagram = struct.pack(">HHHH", 40_000, port, 8 + len(payload), 0) + payload
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 32, protocol, 0)
    return ip + socket.inet_aton("10.0.0.1") + socket.inet_aton(group) + datagram


def ethernet(packet: bytes, *, tags: int = 0, kind: int = 0x0800) -> bytes:
    """Return an Ethernet frame, with VLAN tags."""
    tagged = b"".join(struct.pack(">HH", 0x8100, 100 + number) for number in range(tags))
    return bytes(12) + tagged + struct.pack(">H", kind) + packet


def pcap(frames: list[tuple[int, bytes]], *, order: str = "<", nanoseconds: bool = False, link: int = 1) -> bytes:
    """Return a classic capture of (ns UTC, frame)."""
    unit = 1 if nanoseconds else 1_000
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    parts = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65_535, link)]
    for ts, frame in frames:
        seconds, rest = divmod(ts, 10**9)
        parts.append(struct.pack(order + "IIII", seconds, rest // unit, len(frame), len(frame)) + frame)
    return b"".join(parts)


def pcapng(frames: list[tuple[int, bytes]], *, order: str = "<", link: int = 1) -> bytes:
    """Return a pcapng capture whose interface counts nanoseconds; an unknown block stands between."""

    def block(kind: int, body: bytes) -> bytes:
        body = body.ljust(len(body) + 3 & -4, b"\0")
        size = len(body) + 12
        return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)

    resolution = struct.pack(order + "HHB3xHH", 9, 1, 9, 0, 0)
    parts = [
        block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1)),
        block(1, struct.pack(order + "HHI", link, 0, 65_535) + resolution),
        block(0xBAD, b"skip me"),
    ]
    for ts, frame in frames:
        head = struct.pack(order + "IIIII", 0, ts >> 32, ts & 0xFFFFFFFF, len(frame), len(frame))
        parts.append(block(6, head + frame))
    return b"".join(parts)
