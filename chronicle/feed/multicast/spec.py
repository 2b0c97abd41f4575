"""What one multicast feed is: its groups, where it is joined, and what is done about holes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from chronicle.core.errors import ConfigError
from chronicle.feed.symbology import venue_name
from chronicle.feed.transports.recognise import Protocol, protocol_of

__all__ = ["TRANSPORTS", "MulticastSpec", "check_spec", "host_and_port"]

GROUPS_MAX: Final = 8
TRANSPORTS: Final = {"nasdaq": "moldudp64", "nasdaq-bx": "moldudp64", "nasdaq-psx": "moldudp64", "iex": "iextp"}


@dataclass(frozen=True, slots=True)
class MulticastSpec:
    """One feed that comes by multicast.

    Parameters
    ----------
    venue : str
        ``nasdaq``, ``nasdaq-bx``, ``nasdaq-psx`` or ``iex``.
    groups : tuple of str
        ``GROUP:PORT`` of each redundant line, A first.
    interface : str
        Address or name of the network interface that joins; empty: the system's choice.
    rewind : str
        ``HOST:PORT`` of the re-request server (MoldUDP64) or gap fill server (IEX-TP); empty: none is asked.
    give_up_ns : int
        A hole that nobody filled for so long is given up: it becomes a STATUS LOST, and a GAP in the books.
    retry_ns : int
        A request that brought nothing is repeated after this long.
    silent_ns : int
        Without a packet for so long the groups are joined anew, and the stream is told.
    buffer_bytes : int
        Receive buffer of each socket; the kernel may give less.
    from_start : bool
        Ask for what the session sent before the feed was joined.
    """

    venue: str
    groups: tuple[str, ...]
    interface: str = ""
    rewind: str = ""
    give_up_ns: int = 1_000_000_000
    retry_ns: int = 50_000_000
    silent_ns: int = 10_000_000_000
    buffer_bytes: int = 16 * 1024 * 1024
    from_start: bool = False

    @property
    def protocol(self) -> Protocol:
        """The transport that the venue uses."""
        return protocol_of(TRANSPORTS[venue_name(self.venue)])

    @property
    def name(self) -> str:
        """How the line is called: transport and first group."""
        return f"{self.protocol.name}://{self.groups[0]}"


def host_and_port(text: str) -> tuple[str, int]:
    """Return (IPv4 address, port) of ``233.54.12.111:26477``.

    Raises
    ------
    ConfigError
        When it is none.
    """
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.IPv4Address(host)
        number = int(port) if port.isascii() and port.isdigit() else 0
    except ValueError:
        address, number = None, 0
    if address is None or not 0 < number < 65_536:
        raise ConfigError("this is no IPv4 address and port", expected="as 233.54.12.111:26477", found=text[:80])
    return str(address), number


def check_spec(spec: MulticastSpec) -> None:
    """Check what can be checked before a socket is opened.

    Raises
    ------
    ConfigError
        It says which value cannot be used.
    """
    try:
        TRANSPORTS[venue_name(spec.venue)]
    except KeyError:
        known = ", ".join(sorted(TRANSPORTS))
        raise ConfigError(f"no multicast feed of {spec.venue!r} is known", expected=known, found=spec.venue) from None
    if not 1 <= len(set(spec.groups)) == len(spec.groups) <= GROUPS_MAX:
        raise ConfigError(
            "a multicast feed needs its groups, each once", expected=f"1 to {GROUPS_MAX}", found=len(spec.groups)
        )
    for group in spec.groups:
        host, _ = host_and_port(group)
        if not ipaddress.IPv4Address(host).is_multicast:
            raise ConfigError("this is no multicast group", expected="224.0.0.0 to 239.255.255.255", found=host)
    if spec.rewind:
        host_and_port(spec.rewind)
    if spec.from_start and not spec.rewind:
        raise ConfigError("what was sent before can only come from a re-request server", hint="set rewind too")
