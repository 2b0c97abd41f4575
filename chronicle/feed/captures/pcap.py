"""Packet captures of exchange multicast: which flows they hold, and their packets in the order of their numbers.

A flow is a destination (group and port). Flows that carry the same numbers (the A and B lines of one feed) are one
line: their packets are put in order as a live receiver does it, the first copy of each going on. What is not UDP, or
of no known protocol, is counted and named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from chronicle.core.errors import DecodeError
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.captures.bytes_reader import BytesReader
from chronicle.feed.captures.datagrams import Datagram, Skipped, datagram_of
from chronicle.feed.captures.merge import Stream
from chronicle.feed.captures.names import natural_key
from chronicle.feed.captures.packet_file import is_packet_file, read_packets
from chronicle.feed.marks import Line
from chronicle.feed.symbology import venue_name
from chronicle.feed.transports import Arbiter, Recognised, recognise
from chronicle.feed.transports.arbiter import Arrival
from chronicle.feed.transports.recognise import Protocol, read_header

__all__ = ["is_pcap", "open_pcap"]

SCAN_PACKETS_MAX: Final = 100_000
"""So many packets of each file are looked at to find its flows; a later flow joins the line of its kind."""
GIVE_UP_NS: Final = 250_000_000
"""Capture time for which later packets wait for a missing one: lines differ by milliseconds, not by more."""
LINES_MAX: Final = 256

FOREIGN: Final = "datagrams of no known protocol"
CUT: Final = "datagrams cut off by the capture"
DUPLICATE: Final = "packets that had come before"

_Flow = tuple[str, int]


@dataclass(slots=True)
class _Feed:
    """One stream of numbers: its line, its protocol, and the flows that carry it."""

    line: Line
    protocol: Protocol
    flows: set[_Flow]


def is_pcap(path: Path) -> bool:
    """Whether `path` holds a packet capture (plain or compressed)."""
    try:
        return is_packet_file(BytesReader(path).take(4))
    except DecodeError:
        return False


def open_pcap(paths: list[Path], venue: str | None, notes: Counter[str]) -> tuple[list[Line], list[Stream]]:
    """Return one line per feed in the captures at `paths`, and their packets as one stream.

    Files are read in the order of their names: captures that rotate are continued, not merged.

    Parameters
    ----------
    paths : list of Path
        The files.
    venue : str, optional
        Take only the feeds of this venue; for MoldUDP64 it also says whose they are (``nasdaq-bx``).
    notes : Counter
        Gets what was skipped, by name, while the stream is read.

    Raises
    ------
    DecodeError
        When no file holds a packet of a known feed: it says what was found instead.
    """
    files = sorted(paths, key=lambda path: natural_key(path.name))
    feeds, strangers = _scan(files, venue)
    if not feeds:
        found = "; ".join(f"{count} x {what}" for what, count in strangers.most_common(3)) or "no packet"
        wanted = f" of {venue}" if venue else ""
        raise DecodeError(
            f"the capture holds no packet of a feed{wanted} that is known here",
            path=files[0],
            expected="MoldUDP64 with ITCH 5.0 (nasdaq), or IEX-TP with TOPS, DEEP or DEEP+ (iex)",
            found=found,
        )
    names = ", ".join(path.name for path in files)
    lines = [feed.line for feed in feeds.values()]
    return lines, [Stream(names, 0, partial(_frames, files, feeds, notes))]


def _scan(files: list[Path], venue: str | None) -> tuple[dict[str, _Feed], Counter[str]]:
    """Return the feeds by their streams, and what else there was by name."""
    wanted = venue_name(venue) if venue else ""
    feeds: dict[str, _Feed] = {}
    strangers: Counter[str] = Counter()
    for path in files:
        left = SCAN_PACKETS_MAX
        try:
            for packet in read_packets(path):
                left -= 1
                if left < 0:
                    break
                datagram = datagram_of(packet)
                if isinstance(datagram, Skipped):
                    strangers[datagram] += 1
                    continue
                _note_flow(feeds, strangers, datagram, wanted)
        except DecodeError as error:
            if left == SCAN_PACKETS_MAX:
                raise  # not one packet: no capture at all
            strangers[error.message] += 1
    return feeds, strangers


def _note_flow(feeds: dict[str, _Feed], strangers: Counter[str], datagram: Datagram, wanted: str) -> None:
    flow = (datagram.group, datagram.port)
    if any(flow in feed.flows for feed in feeds.values()):
        return
    found = recognise(datagram.payload)
    if isinstance(found, str):
        strangers[f"{found}, to {datagram.group}:{datagram.port}"] += 1
        return
    owner = _owner(found.protocol, wanted)
    if not owner:
        strangers[f"{found.protocol.name} (not of {wanted})"] += 1
        return
    key = f"{found.protocol.name}:{found.stream}"
    feed = feeds.get(key)
    if feed is None:
        if len(feeds) >= LINES_MAX:
            raise DecodeError("the capture holds too many feeds", expected=LINES_MAX, found=len(feeds) + 1)
        name = f"{found.protocol.name}://{datagram.group}:{datagram.port}"
        feed = feeds[key] = _Feed(Line(len(feeds) + 1, name, owner, announced=False), found.protocol, set())
    feed.flows.add(flow)


def _owner(protocol: Protocol, wanted: str) -> str:
    """Return the venue of a flow; empty when it is not the wanted one."""
    if not wanted or wanted == protocol.venue:
        return protocol.venue
    return wanted if protocol.venue == "nasdaq" and wanted.startswith("nasdaq-") else ""


def _frames(files: list[Path], feeds: dict[str, _Feed], notes: Counter[str]) -> Iterator[Frame]:
    """Yield the packets of all feeds, each line in the order of its numbers."""
    notes.clear()
    by_flow = {flow: feed for feed in feeds.values() for flow in feed.flows}
    arbiters = {feed.line.number: Arbiter(give_up_ns=GIVE_UP_NS) for feed in feeds.values()}
    torn: list[DecodeError] = []
    for path in files:
        try:
            for packet in read_packets(path):
                datagram = datagram_of(packet)
                if isinstance(datagram, Skipped):
                    notes[datagram] += 1
                    continue
                feed = by_flow.get((datagram.group, datagram.port))
                if feed is None:
                    feed = _late_flow(by_flow, feeds, datagram)
                    if feed is None:
                        notes[FOREIGN] += 1
                        continue
                yield from _ordered(feed, arbiters[feed.line.number], datagram, notes)
        except DecodeError as error:
            torn.append(error)
    for number, arbiter in arbiters.items():
        feed = next(feed for feed in feeds.values() if feed.line.number == number)
        yield from (_frame(feed, held) for held in arbiter.flush())
        duplicates = sum(arbiter.counts.duplicates.values())
        if duplicates:
            notes[DUPLICATE] += duplicates
    if torn:
        raise torn[0]


def _late_flow(by_flow: dict[_Flow, _Feed], feeds: dict[str, _Feed], datagram: Datagram) -> _Feed | None:
    """Return the feed of a flow that the scan did not see: of the same numbers, else the only one of its kind."""
    found = recognise(datagram.payload)
    if not isinstance(found, Recognised):
        return None
    feed = feeds.get(f"{found.protocol.name}:{found.stream}")
    if feed is None:
        alike = [feed for feed in feeds.values() if feed.protocol is found.protocol]
        feed = alike[0] if len(alike) == 1 else None
    if feed is not None and len(by_flow) < LINES_MAX * 4:
        by_flow[datagram.group, datagram.port] = feed
    return feed


def _ordered(feed: _Feed, arbiter: Arbiter, datagram: Datagram, notes: Counter[str]) -> Iterator[Frame]:
    if not datagram.is_whole:
        notes[CUT] += 1
    try:
        header = read_header(feed.protocol, datagram.payload)
    except DecodeError:  # the adapter says what is wrong with it
        yield _frame_of(feed, datagram.ts, f"{datagram.group}:{datagram.port}", datagram.payload)
        return
    arrival = Arrival(datagram.payload, datagram.ts, f"{datagram.group}:{datagram.port}", header)
    for passed in arbiter.take(arrival):
        yield _frame(feed, passed)


def _frame(feed: _Feed, arrival: Arrival) -> Frame:
    return _frame_of(feed, arrival.ts, arrival.line, arrival.payload)


def _frame_of(feed: _Feed, ts: int, source: str, payload: bytes) -> Frame:
    address = f"{feed.protocol.name}://{source}"
    return Frame(WireForm.BINARY, feed.line.number, address, ts, payload)
