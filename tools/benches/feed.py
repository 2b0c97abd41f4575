"""From frames to raw records: one message of 20 levels a side, ITCH by kernel, and whole captures by venue."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from chronicle.core.events import EventBuilder
from chronicle.core.layout import WireForm
from chronicle.etl.array_orders import ArrayOrderBook
from chronicle.etl.kernels.events import index_records
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.kernels import itch
from chronicle.feed.transports.itch_messages import MESSAGE_BYTES
from chronicle.feed.venues import adapter_for
from chronicle.feed.venues.itch_orders import OrderTable
from tests.support.itch_day import ItchDay, framed, mold_packets
from tools.benches import peers
from tools.benches.figure import Figure, best_ns
from tools.benches.market import CAPTURES, depth_payloads, markets, work_folder

MESSAGES = 2_000
ITCH_MESSAGES = 200_000


def run() -> Iterator[Figure]:
    """Yield the figures."""
    yield from _depth20()
    yield from _itch()
    yield from _itch_book()
    for market in markets(*CAPTURES):
        yield Figure(f"feed.frames_per_s_{market.name}", market.frames / market.feed_seconds, "1/s", market.frames)


def _itch() -> Iterator[Figure]:
    """Order flow of a synthetic day: messages to records without state, and completed from the resting orders."""
    day = ItchDay(seed=3, stocks=50).open().trade(ITCH_MESSAGES)
    messages = [message for message in day.messages if chr(message[0]) in "AFECXDUPQ"]
    data, numbers = np.frombuffer(framed(messages), dtype=np.uint8), np.arange(1 << 16, dtype=np.int64)
    shapes, out = itch.shapes_of(MESSAGE_BYTES), np.zeros(1 << 16, dtype=np.uint64)
    registers = np.zeros(itch.REGISTERS, dtype=np.int64)

    def decode(orders: OrderTable | None = None) -> None:
        registers[:] = 0
        registers[itch.MESSAGES] = 2 * itch.UNTIL_END
        status = itch.FULL
        while status == itch.FULL:
            registers[itch.WORDS] = 0
            status = itch.decode_messages(data, shapes, numbers, registers, out)
            if orders is not None:
                orders.complete(out, int(registers[itch.WORDS]))

    def complete() -> None:
        decode(OrderTable())

    decode()
    complete()
    count = len(messages)
    yield Figure("feed.itch_decode_ns", best_ns(decode, 15) / count, "ns", count)
    yield Figure("feed.itch_records_ns", best_ns(complete, 9) / count, "ns", count)
    packets = mold_packets(day.messages, per_packet=4)
    adapter, builder = adapter_for("nasdaq", InstrumentRegistry()), EventBuilder()
    frames = [Frame(WireForm.BINARY, 1, "moldudp64://bench", 10**18, packet) for packet in packets]

    def datagrams() -> None:
        for frame in frames:
            builder.begin(frame.ts_recv, source_index=0, source=1)
            adapter.decode(frame, builder)
            builder.take()

    datagrams()
    yield Figure("feed.itch_datagram_ns", best_ns(datagrams, 1) / len(frames), "ns", len(frames))


def _itch_book() -> Iterator[Figure]:
    """Messages of one stock to a book of orders: decoded, completed, and applied."""
    day = ItchDay(seed=4, stocks=1).open().trade(ITCH_MESSAGES)
    messages = [message for message in day.messages if chr(message[0]) in "AFECXDUPQ"]
    data, numbers = np.frombuffer(framed(messages), dtype=np.uint8), np.ones(1 << 16, dtype=np.int64)
    shapes, out = itch.shapes_of(MESSAGE_BYTES), np.zeros(1 << 16, dtype=np.uint64)
    registers = np.zeros(itch.REGISTERS, dtype=np.int64)
    starts, heads = np.empty(1 << 13, dtype=np.int64), np.empty((1 << 13, 5), dtype=np.int64)

    def build() -> ArrayOrderBook:
        book, orders = ArrayOrderBook(price_exponent=4), OrderTable()
        registers[:] = 0
        registers[itch.MESSAGES] = 2 * itch.UNTIL_END
        status = itch.FULL
        while status == itch.FULL:
            registers[itch.WORDS] = 0
            status = itch.decode_messages(data, shapes, numbers, registers, out)
            orders.complete(out, int(registers[itch.WORDS]))
            words = out[: orders.written].view(np.int64)
            count = int(index_records(words, starts, heads))
            starts[count] = len(words)
            book.apply_records(words, starts, 0, count)
        return book

    assert len(build()) == len(day.orders), "the book is not what the flow left"
    yield Figure("feed.itch_book_ns", best_ns(build, 9) / len(messages), "ns", len(messages))


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
