"""Packets out of pcap and pcapng files.

Sources: the Internet Drafts draft-ietf-opsawg-pcap (classic: four magic numbers for byte order and for micro- or
nanoseconds) and draft-ietf-opsawg-pcapng (sections, interfaces with their own resolution of time, packet blocks).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chronicle.core.errors import DecodeError
from chronicle.feed.captures.bytes_reader import BytesReader

__all__ = ["Packet", "is_packet_file", "read_packets"]

PACKET_BYTES_MAX: Final = 1 << 20
"""A longer packet is no packet of any network here: the file is damaged or hostile."""
BLOCK_BYTES_MAX: Final = PACKET_BYTES_MAX + 4096
INTERFACES_MAX: Final = 1024

_CLASSIC: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
"""Magic number to byte order and ns per unit of the time's fraction."""
_SECTION: Final = 0x0A0D0D0A
_INTERFACE, _SIMPLE, _ENHANCED = 1, 3, 6
_OPTION_RESOLUTION, _OPTION_OFFSET = 9, 14
_ORDERS: Final = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}


@dataclass(frozen=True, slots=True)
class Packet:
    """One captured packet. `ts` is ns UTC, `link` the number of the link type, `wire_bytes` its size on the wire."""

    ts: int
    link: int
    data: bytes
    wire_bytes: int


def is_packet_file(head: bytes) -> bool:
    """Whether a file that begins with `head` (4 bytes or more) is a packet capture."""
    return head[:4] in _CLASSIC or head[:4] == b"\x0a\x0d\x0d\x0a"


def read_packets(path: Path) -> Iterator[Packet]:
    """Yield the packets of `path` in the order in which they were written; gzip, zstd or plain.

    Raises
    ------
    NotFoundError
        When the file is not there.
    DecodeError
        When it is no packet capture; or, after the packets that are whole, when it is torn or damaged.
    """
    reader = BytesReader(path)
    magic = reader.take(4)
    if magic in _CLASSIC:
        yield from _classic(reader, *_CLASSIC[magic])
    elif magic == b"\x0a\x0d\x0d\x0a":
        yield from _Blocks(reader).packets()
    else:
        raise reader.torn or DecodeError(
            "this is no packet capture", path=path, expected="pcap or pcapng", found=repr(magic)
        )


def _classic(reader: BytesReader, order: str, fraction_ns: int) -> Iterator[Packet]:
    head = reader.take(20)
    if len(head) < 20:
        raise _torn(reader, "its header")
    link = struct.unpack_from(order + "I", head, 16)[0] & 0x0FFFFFFF  # the high bits tell of frame check sequences
    record = struct.Struct(order + "IIII")
    while True:
        head = reader.take(16)
        if len(head) < 16:
            if head or reader.torn is not None:
                raise _torn(reader, f"a packet's header: {len(head)} of 16 bytes")
            return
        seconds, fraction, size, wire_bytes = record.unpack(head)
        if size > PACKET_BYTES_MAX:
            raise DecodeError(
                "a packet of the capture has an impossible size",
                path=reader.path,
                offset=reader.offset - 16,
                expected=f"at most {PACKET_BYTES_MAX}",
                found=size,
            )
        data = reader.take(size)
        if len(data) < size:
            raise _torn(reader, f"a packet: {len(data)} of {size} bytes")
        yield Packet(seconds * 10**9 + fraction * fraction_ns, link, data, wire_bytes)


class _Blocks:
    """The blocks of a pcapng file."""

    def __init__(self, reader: BytesReader) -> None:
        self._reader = reader
        self._order = "<"
        self._interfaces: list[tuple[int, int, int, int]] = []
        """(link type, numerator and denominator of ns per unit of time, offset in ns)"""

    def packets(self) -> Iterator[Packet]:
        head = self._reader.take(8)  # behind the first four bytes of the type
        self._section(head)
        while True:
            head = self._reader.take(8)
            if len(head) < 8:
                if head or self._reader.torn is not None:
                    raise _torn(self._reader, "a block's header")
                return
            if head[:4] == b"\x0a\x0d\x0d\x0a":
                self._section(head[4:] + self._reader.take(4))
                continue
            kind, size = struct.unpack(self._order + "II", head)
            body = self._body(size, 8)
            if kind == _INTERFACE:
                self._interface(body)
            elif kind == _ENHANCED:
                yield self._enhanced(body)
            elif kind == _SIMPLE:
                raise DecodeError(
                    "the capture holds packets without a time (simple packet blocks)",
                    path=self._reader.path,
                    offset=self._reader.offset,
                    hint="capture with times: tcpdump and dumpcap do by default",
                )

    def _section(self, head: bytes) -> None:
        order = _ORDERS.get(head[4:8])
        if order is None:
            raise self._damaged("a section of the pcapng file names no byte order", head[4:8].hex())
        self._order = order
        self._interfaces = []
        self._body(struct.unpack(order + "I", head[:4])[0], 12)

    def _body(self, size: int, taken: int) -> bytes:
        """Return a block's body of which `taken` bytes were read; its length stands again behind it."""
        if size % 4 or not taken + 4 <= size <= BLOCK_BYTES_MAX:
            raise self._damaged("a block of the pcapng file has an impossible length", size)
        body = self._reader.take(size - taken)
        if len(body) < size - taken:
            raise _torn(self._reader, "a block")
        if struct.unpack_from(self._order + "I", body, len(body) - 4)[0] != size:
            raise self._damaged("a block of the pcapng file does not end with its length", size)
        return body[:-4]

    def _interface(self, body: bytes) -> None:
        if len(body) < 8 or len(self._interfaces) >= INTERFACES_MAX:
            raise self._damaged("the pcapng file describes no possible interface", len(self._interfaces))
        link = struct.unpack_from(self._order + "H", body)[0]
        resolution, offset, at = 6, 0, 8
        while at + 4 <= len(body):
            code, size = struct.unpack_from(self._order + "HH", body, at)
            value = body[at + 4 : at + 4 + size]
            if code == 0 or len(value) < size:
                break
            if code == _OPTION_RESOLUTION and size == 1:
                resolution = value[0]
            elif code == _OPTION_OFFSET and size == 8:
                offset = struct.unpack(self._order + "q", value)[0]
            at += 4 + (size + 3 & -4)
        base = 2 if resolution & 0x80 else 10
        divisor = base ** min(resolution & 0x7F, 63)
        self._interfaces.append((link, 10**9, divisor, offset * 10**9))

    def _enhanced(self, body: bytes) -> Packet:
        if len(body) < 20:
            raise self._damaged("a packet block is too short", len(body))
        number, high, low, size, wire_bytes = struct.unpack_from(self._order + "IIIII", body)
        if number >= len(self._interfaces) or 20 + size > len(body):
            raise self._damaged("a packet block names no interface, or ends outside itself", number)
        link, numerator, divisor, offset = self._interfaces[number]
        ts = (high << 32 | low) * numerator // divisor + offset
        return Packet(ts, link, body[20 : 20 + size], wire_bytes)

    def _damaged(self, problem: str, found: object) -> DecodeError:
        return DecodeError(problem, path=self._reader.path, offset=self._reader.offset, found=found)


def _torn(reader: BytesReader, where: str) -> DecodeError:
    """Return the error of a file that ends in the middle of `where`."""
    why = f" ({reader.torn.message})" if reader.torn is not None else ""
    return DecodeError(
        f"the capture is cut off in {where}{why}", path=reader.path, offset=reader.offset, hint="the file is torn"
    )
