"""From frames to raw records: one message of 20 levels a side, and whole captures by venue."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from chronicle.core.events import EventBuilder
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.venues import adapter_for
from tools.benches import peers
from tools.benches.figure import Figure, best_ns
from tools.benches.market import CAPTURES, depth_payloads, markets, work_folder

MESSAGES = 2_000


def run() -> Iterator[Figure]:
    """Yield the figures."""
    yield from _depth20()
    for market in markets(*CAPTURES):
        yield Figure(f"feed.frames_per_s_{market.name}", market.frames / market.feed_seconds, "1/s", market.frames)


def _depth20() -> Iterator[Figure]:
    payloads = depth_payloads(MESSAGES)
    adapter, out = adapter_for("binance", InstrumentRegistry()), EventBuilder()
    address = "wss://stream.binance.com:9443/stream?streams=btcusdt@depth20@100ms"
    frames = [Frame(WireForm.TEXT, 1, address, number + 1, payload) for number, payload in enumerate(payloads)]

    def ours() -> None:
        for frame in frames:
            out.begin(frame.ts_recv, source_index=0, source=1)
            adapter.decode(frame, out)
            out.take()

    decoder = msgspec.json.Decoder()

    def generic() -> None:
        for payload in payloads:
            decoder.decode(payload)

    ours()
    value = best_ns(ours, 5) / MESSAGES
    peer = best_ns(generic, 5) / MESSAGES
    yield Figure("feed.json_depth20_ns", value, "ns", MESSAGES, "msgspec, generic decode only (no numbers)", peer)
    path = work_folder() / "depth20.jsonl"
    path.write_bytes(b"\n".join(payloads))
    answer = peers.ask("orjson", path)
    if answer:
        yield Figure(
            "feed.json_depth20_ns", value, "ns", MESSAGES, "orjson, generic decode only (no numbers)", answer["value"]
        )
