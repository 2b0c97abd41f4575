"""From frames to raw records: messages of 20 levels a side by venue, the whole path to committed records, captures.

Rounds are short and many, and the best counts: a round that another process interrupted says nothing.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
from numba import njit

from chronicle.core.events import EventBuilder
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Adapter, Frame
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.lanes import choose_lane, open_lane, prepare_home
from chronicle.feed.marks import CaptureMark, Line, start_frame
from chronicle.feed.scanning import ScanningAdapter
from chronicle.feed.venues import adapter_for
from chronicle.feed.writer import FeedWriter
from tools.benches import feed_socket, itch, peers
from tools.benches.figure import Figure, best_ns
from tools.benches.market import CAPTURES, depth_payloads, markets, venue_payloads, work_folder

MESSAGES = 500
ROUNDS = 25
PATH_FRAMES = 5_000
PATH_ROUNDS = 15
ADDRESSES = {
    "binance": "wss://stream.binance.com:9443/stream?streams=btcusdt@depth20@100ms",
    "binance-usdm": "wss://fstream.binance.com/stream?streams=btcusdt@depth@100ms",
    "okx": "wss://ws.okx.com:8443/ws/v5/public",
    "kraken": "wss://ws.kraken.com",
    "bybit": "wss://stream.bybit.com/v5/public/linear",
}
START_NS = 1_723_161_254_000_000_000


def run() -> Iterator[Figure]:
    """Yield the figures."""
    yield from _depth20()
    for name, venue in (("depth_diff", "binance"), *((venue, venue) for venue in list(ADDRESSES)[1:])):
        first, payloads = venue_payloads(venue, MESSAGES)
        value, plain, generic = _decoding(venue, first, payloads)
        name = f"feed.json_{name.replace('-', '_')}_ns"
        yield Figure(name, value, "ns", MESSAGES, "msgspec, generic decode only (no numbers)", generic)
        yield Figure(name, value, "ns", MESSAGES, "plain adapter (msgspec and Python)", plain)
    yield from _whole_path()
    yield from feed_socket.run()
    yield from itch.run()
    for market in markets(*CAPTURES):
        yield Figure(f"feed.frames_per_s_{market.name}", market.frames / market.feed_seconds, "1/s", market.frames)


def _frames(venue: str, payloads: list[bytes]) -> list[Frame]:
    return [
        Frame(WireForm.TEXT, 1, ADDRESSES[venue], START_NS + number, payload)
        for number, payload in enumerate(payloads)
    ]


def _decode_all(adapter: Adapter, frames: list[Frame]) -> Callable[[], None]:
    out = EventBuilder()

    def decode() -> None:
        for frame in frames:
            out.begin(frame.ts_recv, source_index=0, source=1)
            adapter.decode(frame, out)
            out.take()

    return decode


def _decoding(venue: str, first: list[bytes], payloads: list[bytes]) -> tuple[float, float, float]:
    """Return ns a message: the adapter as the feed makes it, the plain adapter, msgspec's generic decode."""
    values = []
    for scanning in (True, False):
        adapter = adapter_for(venue, InstrumentRegistry(), scanning=scanning)
        if isinstance(adapter, ScanningAdapter):
            adapter.prepare()
        _decode_all(adapter, _frames(venue, first))()
        decode = _decode_all(adapter, _frames(venue, payloads))
        decode()
        values.append(best_ns(decode, ROUNDS) / len(payloads))
    decoder = msgspec.json.Decoder()

    def generic() -> None:
        for payload in payloads:
            decoder.decode(payload)

    return values[0], values[1], best_ns(generic, ROUNDS) / len(payloads)


def _scan_ns(payloads: list[bytes]) -> float:
    """Return ns a message from its bytes to its records' bytes, in a compiled loop: the scan without any Python."""
    from chronicle.core.kernels.memory import poke
    from chronicle.feed.kernels.emit import write
    from chronicle.feed.kernels.scan_call import scan

    @njit(nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
    def scan_all(plan: Any, table: Any, starts: Any, ends: Any, out: Any) -> int:
        total = 0
        for number in range(len(starts)):
            shape, size = scan(plan, table, starts[number], ends[number])
            if size > 0:
                poke(out, write(out, shape, plan, 1, number, 1, 0))
                total += 1
        return total

    adapter = adapter_for("binance", InstrumentRegistry())
    if not isinstance(adapter, ScanningAdapter):
        raise TypeError("the bench needs compiled code")
    adapter.prepare()
    _decode_all(adapter, _frames("binance", payloads))()
    way = adapter.way_of(1)
    if way is None:
        raise TypeError("the bench needs compiled code")
    plan, table = way
    views = [np.frombuffer(payload, dtype=np.uint8) for payload in payloads]
    starts = np.array([view.ctypes.data for view in views], dtype=np.int64)
    ends = starts + np.array([len(view) for view in views], dtype=np.int64)
    out = np.zeros(1 << 14, dtype=np.int64)
    places = ctypes.addressof(plan), table.address, starts, ends, out.ctypes.data
    if scan_all(*places) != len(payloads):
        raise AssertionError("not every message was scanned")
    return best_ns(lambda: scan_all(*places), 4 * ROUNDS) / len(payloads)


def _depth20() -> Iterator[Figure]:
    payloads = depth_payloads(MESSAGES)
    value, plain, generic = _decoding("binance", [], payloads)
    yield Figure("feed.json_depth20_ns", value, "ns", MESSAGES, "msgspec, generic decode only (no numbers)", generic)
    yield Figure("feed.json_depth20_ns", value, "ns", MESSAGES, "plain adapter (msgspec and Python)", plain)
    yield Figure(
        "feed.scan_depth20_ns",
        _scan_ns(payloads),
        "ns",
        MESSAGES,
        "msgspec, generic decode only (no numbers)",
        generic,
    )
    path = work_folder() / "depth20.jsonl"
    path.write_bytes(b"\n".join(payloads))
    answer = peers.ask("orjson", path)
    if answer:
        yield Figure(
            "feed.json_depth20_ns", value, "ns", MESSAGES, "orjson, generic decode only (no numbers)", answer["value"]
        )


def _whole_path() -> Iterator[Figure]:
    """Frames in memory to committed wire and raw records, as replay and live write them."""
    _, diffs = venue_payloads("binance", MESSAGES)
    for name, payloads in (
        ("quote", feed_socket.quotes(MESSAGES)),
        ("depth_diff", diffs),
        ("depth20", depth_payloads(MESSAGES)),
    ):
        rate = _messages_per_s(payloads)
        yield Figure(f"feed.messages_per_s_{name}", rate, "1/s", PATH_FRAMES)


def _messages_per_s(payloads: list[bytes]) -> float:
    home = work_folder() / "whole-path"
    prepare_home(home)
    try:
        with FeedWriter(open_lane(home, choose_lane(home, START_NS)), home) as writer:
            lines = (Line(1, ADDRESSES["binance"], "binance"),)
            writer.decoder.require(["binance"])
            writer.write(start_frame(CaptureMark("bench", "bench", (), lines), START_NS))
            writer.prefault()
            frames = [
                Frame(WireForm.TEXT, 1, ADDRESSES["binance"], START_NS, payloads[number % len(payloads)])
                for number in range(PATH_FRAMES)
            ]

            def write() -> None:
                for frame in frames:
                    writer.write(frame)

            write()
            return PATH_FRAMES / best_ns(write, PATH_ROUNDS) * 1e9
    finally:
        shutil.rmtree(home)
