"""ITCH 5.0 of a synthetic day: to open records, to complete ones, to a book of orders, and by datagrams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.core.events import EventBuilder
from chronicle.core.layout import ORDER_BYTES, Action, Flag, Kind, Side, WireForm
from chronicle.etl.books.array_orders import ArrayOrderBook
from chronicle.etl.kernels.events import index_records
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.kernels import itch
from chronicle.feed.transports.itch_messages import MESSAGE_BYTES
from chronicle.feed.venues import adapter_for
from chronicle.feed.venues.itch_orders import OrderTable
from tests.support.itch_day import ItchDay, framed, mold_packets
from tools.benches.figure import Figure, best_ns

MESSAGES = 200_000
OUT_WORDS = 1 << 16
RESTING = 3_000_000
BATCH_WORDS = 6_000


class Decoding:
    """The messages of a day by kernel, batch after batch of records."""

    def __init__(self, messages: list[bytes], numbers: NDArray[np.int64]) -> None:
        self.data = np.frombuffer(framed(messages), dtype=np.uint8)
        self.numbers = numbers
        self.shapes = itch.shapes_of(MESSAGE_BYTES)
        self.out: NDArray[np.uint64] = np.zeros(OUT_WORDS, dtype=np.uint64)
        self.registers: NDArray[np.int64] = np.zeros(itch.REGISTERS, dtype=np.int64)

    def batches(self) -> Iterator[int]:
        """Yield how many words of `out` each batch has."""
        registers: Any = self.registers
        registers[:] = 0
        registers[itch.MESSAGES] = 2 * itch.UNTIL_END
        status = itch.FULL
        while status == itch.FULL:
            registers[itch.WORDS] = 0
            status = itch.decode_messages(self.data, self.shapes, self.numbers, registers, self.out)
            yield int(registers[itch.WORDS])


def run() -> Iterator[Figure]:
    """Yield the figures."""
    yield from _records()
    yield from _busy()
    yield from _book()


def _records() -> Iterator[Figure]:
    """Order flow to records without state, completed from the resting orders, and through the adapter."""
    day = ItchDay(seed=3, stocks=50).open().trade(MESSAGES)
    messages = [message for message in day.messages if chr(message[0]) in "AFECXDUPQ"]
    decoding, count = Decoding(messages, np.arange(1 << 16, dtype=np.int64)), len(messages)

    def decode() -> None:
        for _ in decoding.batches():
            pass

    def complete() -> None:
        orders = OrderTable()
        for words in decoding.batches():
            orders.complete(decoding.out, words)

    decode()
    complete()
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


def _busy() -> Iterator[Figure]:
    """Deletions and additions in a table of as many orders as rest on a busy day: every look-up misses the caches."""
    ids = np.arange(1, RESTING + 1, dtype=np.uint64) * np.uint64(3)
    gone = np.random.default_rng(1).permutation(ids)[:MESSAGES]
    fresh = np.arange(MESSAGES, dtype=np.uint64) * np.uint64(3) + np.uint64(3 * RESTING + 5)
    changes = np.stack([_orders(gone, Action.CANCEL, 0), _orders(fresh, Action.ADD, 7)], axis=1).reshape(-1)
    resting = _orders(ids, Action.ADD, 100).reshape(-1)

    def complete(table: OrderTable, words: NDArray[np.uint64]) -> None:
        for first in range(0, len(words), BATCH_WORDS):
            part = words[first : first + BATCH_WORDS]
            table.complete(part, len(part))

    best = float("inf")
    for _ in range(3):
        table = OrderTable()
        complete(table, resting.copy())
        part = changes.copy()
        best = min(best, best_ns(lambda table=table, part=part: complete(table, part), 1))  # type: ignore[misc]
    yield Figure("feed.itch_busy_ns", best / (2 * MESSAGES), "ns", 2 * MESSAGES)


def _orders(ids: NDArray[np.uint64], action: Action, size: int) -> NDArray[np.uint64]:
    """Return records as `decode_messages` writes them: additions whole, deletions open."""
    rows = np.zeros((len(ids), ORDER_BYTES >> 3), dtype=np.uint64)
    rows[:, 0] = ORDER_BYTES | int(Kind.ORDER) << 32 | int(Flag.LAST) << 48 | int(Side.BID) << 56
    if action == Action.CANCEL:
        rows[:, 0] &= np.uint64((1 << 56) - 1)
    rows[:, 6], rows[:, 7], rows[:, 8], rows[:, 9] = ids, 1_000, size, int(action)
    return rows


def _book() -> Iterator[Figure]:
    """Messages of one stock to a book of orders: decoded, completed, and applied."""
    day = ItchDay(seed=4, stocks=1).open().trade(MESSAGES)
    messages = [message for message in day.messages if chr(message[0]) in "AFECXDUPQ"]
    decoding = Decoding(messages, np.ones(1 << 16, dtype=np.int64))
    starts, heads, events, flagged = (np.empty(1 << 13, dtype=np.int64) for _ in range(4))

    def build() -> ArrayOrderBook:
        book, orders = ArrayOrderBook(price_exponent=4), OrderTable()
        for count in decoding.batches():
            orders.complete(decoding.out, count)
            words = decoding.out[: orders.written].view(np.int64)
            records = int(index_records(words, starts, heads, events, flagged))
            starts[records] = len(words)
            book.apply_records(words, starts, 0, records)
        return book

    if len(build()) != len(day.orders):
        raise AssertionError("the book is not what the flow left")
    yield Figure("feed.itch_book_ns", best_ns(build, 9) / len(messages), "ns", len(messages))
