"""A small exchange: MoldUDP64 packets to multicast groups on the loopback interface, and a re-request server."""

from __future__ import annotations

import os
import socket
import struct
import threading
from types import TracebackType

import pytest

from tests.support.itch_day import framed

__all__ = ["MoldExchange", "loopback_groups"]

_HEADER = struct.Struct(">10sQH")
_PACKET_BYTES = 1_400


def loopback_groups(count: int) -> list[str]:
    """Return `count` groups that are this process' own and reach this host over the loopback interface, else skip.

    No other process takes part in them, whatever port it has: the group's address is made of the process id.
    """
    groups = []
    for number in range(count):
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        own = os.getpid() & 0xFFFF
        groups.append(f"239.{192 + number}.{own >> 8}.{own & 0xFF}:{port}")
    host, port = groups[0].split(":")
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender = _sender()
    try:
        receiver.bind((host, int(port)))
        member = struct.pack("@4s4si", socket.inet_aton(host), socket.inet_aton("127.0.0.1"), 0)
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        receiver.settimeout(10.0)
        sender.sendto(b"probe", (host, int(port)))
        receiver.recv(16)
    except OSError as error:
        pytest.skip(f"the kernel does not do multicast over the loopback interface here: {error}")
    finally:
        receiver.close()
        sender.close()
    return groups


def _sender() -> socket.socket:
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
    return sender


class MoldExchange:
    """Sends `messages` of a session, packet by packet, to the groups it is told to.

    Attributes
    ----------
    requests : list of (first, count)
        What the re-request server was asked for.
    """

    def __init__(self, groups: list[str], messages: list[bytes], *, session: bytes = b"SESSION001") -> None:
        self.messages = messages
        self.session = session
        self.requests: list[tuple[int, int]] = []
        self.ignored = 0
        """So many requests are not answered."""
        self._targets = [(group.split(":")[0], int(group.split(":")[1])) for group in groups]
        self._socket = _sender()
        self._server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._server.bind(("127.0.0.1", 0))
        self._server.settimeout(0.05)
        self._peer = ("", 0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> MoldExchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._server.close()
        self._socket.close()

    @property
    def rewind(self) -> str:
        """Address of the re-request server."""
        return f"127.0.0.1:{self._server.getsockname()[1]}"

    def packet(self, first: int, count: int) -> bytes:
        """Return the packet of messages `first` (from 1) to `first` + `count` - 1."""
        part = self.messages[first - 1 : first - 1 + count]
        return _HEADER.pack(self.session, first, len(part)) + framed(part)

    def send(self, payload: bytes, *lines: int) -> None:
        """Send to the groups of `lines` (0 is A)."""
        for line in lines:
            self._socket.sendto(payload, self._targets[line])

    def heartbeat(self, *lines: int, end: bool = False) -> None:
        """Send a heartbeat (or the end of the session) that carries the next sequence."""
        self.send(_HEADER.pack(self.session, len(self.messages) + 1, 0xFFFF if end else 0), *lines)

    def _serve(self) -> None:
        while True:
            try:
                data, peer = self._server.recvfrom(64)
            except TimeoutError:
                if self._stop.is_set():
                    return  # what was sent before is counted
                continue
            self._peer = peer  # before anybody sees that it asked
            session, first, count = self.asked(data)
            self.requests.append((first, count))
            if self.ignored > 0:
                self.ignored -= 1
                continue
            if session == self.session:
                self._server.sendto(self._answer(first, count), peer)

    def answer_with(self, payload: bytes) -> None:
        """Send to whoever asked last, as an answer of the re-request server."""
        self._server.sendto(payload, self._peer)

    def asked(self, request: bytes) -> tuple[bytes, int, int]:
        """Return session, first message and count of a request."""
        session, first, count = _HEADER.unpack(request)
        return session, first, count

    def _answer(self, first: int, count: int) -> bytes:
        size = fits = 0
        for message in self.messages[first - 1 : first - 1 + count]:
            size += 2 + len(message)
            if size > _PACKET_BYTES:
                break
            fits += 1
        return self.packet(first, fits)
