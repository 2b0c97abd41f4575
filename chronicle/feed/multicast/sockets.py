"""UDP sockets for market data on Linux: groups joined, times and losses told by the kernel.

Sources: socket(7) (SO_RCVBUFFORCE, SO_RXQ_OVFL, SO_TIMESTAMPNS), ip(7) (IP_ADD_MEMBERSHIP, IP_MULTICAST_ALL).
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import Final

from chronicle.core.errors import ConfigError

__all__ = ["Received", "UdpSocket", "open_group", "open_unicast"]

DATAGRAM_BYTES_MAX: Final = 65_535
_ANCILLARY_BYTES: Final = 128
_SO_RCVBUFFORCE: Final = 33
_SO_TIMESTAMPNS: Final = 35
_SO_RXQ_OVFL: Final = 40
_IP_MULTICAST_ALL: Final = 49
_TIMESPEC: Final = struct.Struct("@ll")
_COUNT: Final = struct.Struct("@I")


@dataclass(frozen=True, slots=True)
class Received:
    """One datagram. `ts` is the kernel's time of its arrival, ns UTC; 0 where it gives none."""

    payload: bytes
    ts: int


class UdpSocket:
    """A socket that is read without blocking, many datagrams at a time.

    Attributes
    ----------
    dropped_count : int
        Datagrams that the kernel dropped because the buffer was full, since the socket was opened.
    buffer_bytes : int
        The buffer that the kernel gave (it counts its own overhead too).
    """

    def __init__(self, raw: socket.socket, buffer_bytes: int) -> None:
        self._socket = raw
        self.dropped_count = 0
        raw.setblocking(False)
        for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):  # the second needs a privilege, and passes the limit
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, option, buffer_bytes)
        for option in (_SO_TIMESTAMPNS, _SO_RXQ_OVFL):
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, option, 1)
        self.buffer_bytes = raw.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def fileno(self) -> int:
        """Return the descriptor, for an event loop."""
        return self._socket.fileno()

    @property
    def port(self) -> int:
        """The local port."""
        return int(self._socket.getsockname()[1])

    def receive(self, count: int) -> list[Received]:
        """Return what has arrived, at most `count` datagrams."""
        found: list[Received] = []
        receive = self._socket.recvmsg
        for _ in range(count):
            try:
                payload, ancillary, _, _ = receive(DATAGRAM_BYTES_MAX, _ANCILLARY_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionRefusedError:  # an answer to what was sent before: nobody listens there
                continue
            ts = 0
            for level, kind, data in ancillary:
                if level != socket.SOL_SOCKET:
                    continue
                if kind == _SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
                    seconds, rest = _TIMESPEC.unpack_from(data)
                    ts = seconds * 10**9 + rest
                elif kind == _SO_RXQ_OVFL and len(data) >= _COUNT.size:
                    self.dropped_count = _COUNT.unpack_from(data)[0]
            found.append(Received(payload, ts))
        return found

    def send(self, payload: bytes) -> bool:
        """Send to the peer of a unicast socket; return False when it could not be sent now."""
        try:
            self._socket.send(payload)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Leave the groups and close."""
        self._socket.close()


def open_group(group: str, port: int, interface: str, buffer_bytes: int) -> UdpSocket:
    """Return a socket that receives what is sent to `group` and `port`.

    Parameters
    ----------
    interface : str
        Address or name of the interface that joins; empty: the system's choice.

    Raises
    ------
    OSError
        When the group cannot be joined.
    ConfigError
        When there is no such interface.
    """
    raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        raw.bind((group, port))
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)  # only what this socket joined
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership(group, interface))
        return UdpSocket(raw, buffer_bytes)
    except BaseException:
        raw.close()
        raise


def open_unicast(host: str, port: int, buffer_bytes: int) -> UdpSocket:
    """Return a socket that speaks with `host` and `port` only.

    Raises
    ------
    OSError
        When there is no way to it.
    """
    raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        raw.connect((host, port))
        return UdpSocket(raw, buffer_bytes)
    except BaseException:
        raw.close()
        raise


def membership(group: str, interface: str) -> bytes:
    """Return the ``ip_mreqn`` by which `group` is joined on `interface`."""
    address, index = "0.0.0.0", 0  # noqa: S104 - "any" names no address here, it leaves the choice to the system
    if interface:
        try:
            address = str(ipaddress.IPv4Address(interface))
        except ValueError:
            try:
                index = socket.if_nametoindex(interface)
            except OSError as error:
                raise ConfigError(
                    f"there is no network interface {interface!r}",
                    expected="an IPv4 address of this host, or a name as eth0",
                    found=interface,
                ) from error
    return struct.pack("@4s4si", socket.inet_aton(group), socket.inet_aton(address), index)
