"""Multicast on the loopback interface: every message once and in order, or told as lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import select
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest

from chronicle.core.clock import Clock, SystemClock
from chronicle.core.errors import ConfigError
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Frame
from chronicle.feed.marks import SILENT
from chronicle.feed.multicast import MulticastReceiver, MulticastSpec, check_spec
from chronicle.feed.multicast import receiver as receiver_module
from chronicle.feed.multicast.sockets import open_group
from chronicle.feed.transports import arbiter
from chronicle.feed.transports.packet import read_iex, read_mold
from tests.support.iex_exchange import IexExchange
from tests.support.iex_feed import deep_session, iex_packet
from tests.support.mold_exchange import MoldExchange, loopback_groups
from tests.support.moved_time import MovedClock
from tests.support.polling import until

MESSAGES = [b"S" + bytes([0, 0, 0, 0]) + number.to_bytes(6, "big") + b"O" for number in range(1, 2_001)]
SECONDS = 1_000_000_000


@pytest.fixture(scope="module")
def groups() -> list[str]:
    return loopback_groups(2)


def spec(groups: list[str], **values: object) -> MulticastSpec:
    wanted = {"interface": "127.0.0.1", "give_up_ns": 30 * SECONDS} | values
    return MulticastSpec("nasdaq", tuple(groups), **wanted)  # type: ignore[arg-type]


def numbers(frames: list[Frame]) -> list[int]:
    """Return the sequences of all messages in the frames."""
    found = []
    for frame in frames:
        if frame.form == WireForm.BINARY:
            header = read_mold(frame.payload)
            found += range(header.first, header.next)
    return found


def run(
    receiver_spec: MulticastSpec,
    play: Callable[[MulticastReceiver], Awaitable[None]],
    done: Callable[[list[Frame], MulticastReceiver], bool],
    clock: Clock | None = None,
) -> tuple[list[Frame], MulticastReceiver]:
    """Run a receiver while `play` sends, until `done`."""
    frames: list[Frame] = []

    async def main() -> MulticastReceiver:
        receiver = MulticastReceiver(3, receiver_spec, frames.append, clock or SystemClock())
        task = asyncio.create_task(receiver.run())
        try:
            await until(lambda: receiver.connect_count > 0, "the groups are joined")
            await play(receiver)
            await until(lambda: done(frames, receiver), "all packets")
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return receiver

    receiver = asyncio.run(main())
    return frames, receiver


def up_to(count: int) -> Callable[[list[Frame], MulticastReceiver], bool]:
    return lambda frames, receiver: receiver.status().next_sequence > count


async def breathe() -> None:
    """Let the receiver read: socket buffers are bounded."""
    await asyncio.sleep(0)


def test_both_lines_give_each_message_once(groups: list[str]) -> None:
    with MoldExchange(groups, MESSAGES) as exchange:

        async def play(_: MulticastReceiver) -> None:
            for first in range(1, 2_001, 5):
                exchange.send(exchange.packet(first, 5), 0, 1)
                await breathe()

        frames, receiver = run(spec(groups), play, up_to(2_000))
    assert numbers(frames) == list(range(1, 2_001))
    assert frames[0].form == WireForm.CONNECTED
    counts = receiver.status().arbitration
    assert sum(counts["won"].values()) == 400
    assert all(frame.connection == 3 and frame.ts_recv > 1_600_000_000 * SECONDS for frame in frames)


def test_what_one_line_loses_the_other_fills(groups: list[str]) -> None:
    with MoldExchange(groups, MESSAGES) as exchange:

        async def play(_: MulticastReceiver) -> None:
            for first in range(1, 2_001, 5):
                packet = exchange.packet(first, 5)
                exchange.send(packet, *([1] if first % 3 == 0 else [0, 1]))
                await breathe()

        frames, receiver = run(spec(groups), play, up_to(2_000))
    assert numbers(frames) == list(range(1, 2_001))
    counts = receiver.status().arbitration
    assert counts["lost_messages"] == 0
    assert counts["won"][groups[1]] >= 133


def test_reordered_and_repeated_packets_come_out_in_order(groups: list[str]) -> None:
    rng = random.Random(5)
    with MoldExchange(groups, MESSAGES) as exchange:
        packets = [exchange.packet(first, 4) for first in range(1, 2_001, 4)]
        shuffled = [packets[at : at + 8] for at in range(0, len(packets), 8)]
        for part in shuffled:
            part.extend(rng.sample(part, 2))
            rng.shuffle(part)

        async def play(_: MulticastReceiver) -> None:
            exchange.send(packets[0], 0)
            for part in shuffled:
                for packet in part:
                    exchange.send(packet, 0)
                await breathe()

        frames, receiver = run(spec(groups), play, up_to(2_000))
    assert numbers(frames) == list(range(1, 2_001))
    assert sum(receiver.status().arbitration["duplicates"].values()) > 100


def test_a_hole_on_both_lines_is_asked_for_until_it_is_filled(groups: list[str]) -> None:
    with MoldExchange(groups, MESSAGES) as exchange:
        exchange.ignored = 2

        async def play(_: MulticastReceiver) -> None:
            exchange.send(exchange.packet(1, 5), 0, 1)
            for first in range(1_001, 2_001, 5):
                exchange.send(exchange.packet(first, 5), 0, 1)
                await breathe()

        wanted = spec(groups, rewind=exchange.rewind, retry_ns=20_000_000)
        frames, receiver = run(wanted, play, up_to(2_000))
        asked = list(exchange.requests)
    assert numbers(frames) == list(range(1, 2_001))
    assert asked[0] == (6, 995)
    assert asked[1] == asked[0] == asked[2]  # nobody answered the first two
    assert receiver.request_count >= 3 + 995 * 14 // 1_400 - 1
    assert receiver.status().arbitration["lost_messages"] == 0


def test_a_dead_server_means_a_hole_that_is_told(groups: list[str]) -> None:
    dead = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dead.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{dead.getsockname()[1]}"
    dead.close()
    clock = MovedClock()
    with MoldExchange(groups, MESSAGES) as exchange:

        async def play(receiver: MulticastReceiver) -> None:
            exchange.send(exchange.packet(1, 10), 0, 1)
            exchange.send(exchange.packet(21, 10), 0, 1)
            await until(lambda: receiver.request_count > 1, "requests")
            clock.move(31.0)

        frames, receiver = run(spec(groups, rewind=address, retry_ns=10_000_000), play, up_to(30), clock)
    assert numbers(frames) == [*range(1, 11), *range(21, 31)]
    counts = receiver.status().arbitration
    assert (counts["given_up"], counts["lost_messages"]) == (1, 10)


@pytest.fixture
def deadlines_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver looks at its deadlines whenever it can, also before it reads: as after it stood still."""
    monkeypatch.setattr(receiver_module, "TICK_SECONDS", 0.0)


@pytest.mark.usefixtures("deadlines_first")
def test_a_receiver_that_stood_still_asks_for_what_is_missing_before_it_gives_it_up(groups: list[str]) -> None:
    clock = MovedClock()
    with MoldExchange(groups, MESSAGES) as exchange:

        async def play(_: MulticastReceiver) -> None:
            for first in (1, 21, 31, 41):  # the kernel takes them; nobody reads
                exchange.send(exchange.packet(first, 10), 0, 1)
            clock.move(300.0)

        frames, receiver = run(spec(groups, rewind=exchange.rewind), play, up_to(50), clock)
    assert numbers(frames) == list(range(1, 51))
    counts = receiver.status().arbitration
    assert (counts["given_up"], counts["lost_messages"]) == (0, 0)
    assert receiver.failure_count == 0, "the feed was not silent, nobody listened"


@pytest.mark.usefixtures("deadlines_first")
def test_a_receiver_that_stood_still_takes_the_answer_that_came_meanwhile(groups: list[str]) -> None:
    clock = MovedClock()
    with MoldExchange(groups, MESSAGES) as exchange:
        exchange.ignored = 10**9

        async def play(receiver: MulticastReceiver) -> None:
            for first in (1, 21, 31, 41):
                exchange.send(exchange.packet(first, 10), 0, 1)
            await until(lambda: bool(exchange.requests), "a request")
            exchange.answer_with(exchange.packet(11, 10))
            clock.move(300.0)

        wanted = spec(groups, rewind=exchange.rewind, retry_ns=3_600 * SECONDS)
        frames, receiver = run(wanted, play, up_to(50), clock)
    assert numbers(frames) == list(range(1, 51))
    assert receiver.status().arbitration["given_up"] == 0


def test_a_heartbeat_shows_what_was_lost_at_the_end(groups: list[str]) -> None:
    with MoldExchange(groups, MESSAGES[:100]) as exchange:

        async def play(_: MulticastReceiver) -> None:
            exchange.send(exchange.packet(1, 90), 0, 1)
            exchange.heartbeat(0, 1)
            exchange.heartbeat(0, 1, end=True)

        wanted = spec(groups, rewind=exchange.rewind)
        done = lambda frames, receiver: receiver.status().is_ended and up_to(100)(frames, receiver)  # noqa: E731
        frames, _ = run(wanted, play, done)
    assert numbers(frames) == list(range(1, 101))


def test_a_feed_joined_late_starts_there_or_asks_for_the_start(groups: list[str]) -> None:
    with MoldExchange(groups, MESSAGES) as exchange:

        async def play(_: MulticastReceiver) -> None:
            exchange.send(exchange.packet(1_501, 5), 0, 1)

        late, _ = run(spec(groups), play, up_to(1_505))
        assert numbers(late) == list(range(1_501, 1_506))
        wanted = spec(groups, rewind=exchange.rewind, from_start=True)
        whole, _ = run(wanted, play, up_to(1_505))
    assert numbers(whole) == list(range(1, 1_506))


def test_the_next_session_starts_at_one_and_stragglers_do_not_bring_the_last_one_back(
    groups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arbiter, "SWITCH_NS", 3_600 * SECONDS)  # however long it takes to send four packets
    with MoldExchange(groups, MESSAGES) as first, MoldExchange(groups, MESSAGES, session=b"SESSION002") as second:

        async def play(_: MulticastReceiver) -> None:
            first.send(first.packet(1, 10), 0, 1)
            second.send(second.packet(1, 10), 0)
            first.send(first.packet(11, 10), 1)
            second.send(second.packet(11, 10), 0, 1)

        done = lambda frames, receiver: receiver.status().session == "SESSION002" and up_to(20)(frames, receiver)  # noqa: E731
        frames, _ = run(spec(groups), play, done)
    assert numbers(frames) == [*range(1, 11), *range(1, 21)]


def test_foreign_packets_are_counted_and_silence_is_told(groups: list[str]) -> None:
    clock = MovedClock()
    with MoldExchange(groups, MESSAGES) as exchange:

        async def play(receiver: MulticastReceiver) -> None:
            exchange.send(b"nonsense", 0)
            exchange.send(struct.pack(">10sQH", b"SESSION001", 2**64 - 1, 1), 1)
            exchange.send(exchange.packet(1, 3), 0, 1)
            read = lambda: receiver.foreign_count == 2 and receiver.status().next_sequence == 4  # noqa: E731
            await until(read, "all packets")
            clock.move(601.0)

        done = lambda frames, receiver: any(frame.address == SILENT for frame in frames)  # noqa: E731
        frames, receiver = run(spec(groups, silent_ns=600 * SECONDS), play, done, clock)
    assert receiver.foreign_count == 2
    assert receiver.failure_count >= 1
    assert numbers(frames) == [1, 2, 3]
    assert [frame.address for frame in frames].count(SILENT) == 1


def test_the_kernel_tells_when_a_datagram_came_and_how_many_it_dropped(groups: list[str]) -> None:
    host, port = groups[0].split(":")
    with MoldExchange(groups, MESSAGES) as exchange:
        opened = open_group(host, int(port), "127.0.0.1", 4_096)
        try:
            for _ in range(200):
                exchange.send(exchange.packet(1, 90), 0)
            received = []
            while batch := opened.receive(64):
                received += batch
            assert 0 < len(received) < 200
            for sent in range(201, 1_201):  # a packet that comes tells how many before it did not
                exchange.send(exchange.packet(1, 1), 0)
                select.select([opened], [], [], 60.0)
                received += opened.receive(64)
                if len(received) + opened.dropped_count == sent:
                    break
            else:
                pytest.fail(f"{len(received)} came, {opened.dropped_count} are said to be dropped")
            assert opened.dropped_count > 0
            now = SystemClock().now_ns()
            assert all(now - 60 * SECONDS < item.ts <= now for item in received)
        finally:
            opened.close()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"venue": "kraken", "groups": ("239.1.1.1:5000",)}, "no multicast feed"),
        ({"venue": "nasdaq", "groups": ()}, "needs its groups"),
        ({"venue": "nasdaq", "groups": ("239.1.1.1:5000", "239.1.1.1:5000")}, "needs its groups"),
        ({"venue": "nasdaq", "groups": ("10.0.0.1:5000",)}, "no multicast group"),
        ({"venue": "nasdaq", "groups": ("239.1.1.1",)}, "IPv4 address and port"),
        ({"venue": "nasdaq", "groups": ("239.1.1.1:70000",)}, "IPv4 address and port"),
        ({"venue": "iex", "groups": ("239.1.1.1:5000",), "rewind": "10.0.0.1"}, "address and port"),
        ({"venue": "nasdaq", "groups": ("239.1.1.1:5000",), "from_start": True}, "re-request"),
    ],
)
def test_a_feed_that_cannot_be_is_refused(values: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        check_spec(MulticastSpec(**values))  # type: ignore[arg-type]


def test_an_unknown_interface_is_named() -> None:
    with pytest.raises(ConfigError, match="no network interface"):
        open_group("239.255.77.9", 45_000, "nosuch0", 4_096)


def test_iex_comes_the_same_way_and_its_restart_is_a_session(groups: list[str]) -> None:
    start = 1_700_000_000 * SECONDS
    packets = deep_session(1, 60, start_ts=start) + deep_session(2, 60, start_ts=start + SECONDS)
    with MoldExchange(groups, []) as exchange:

        async def play(_: MulticastReceiver) -> None:
            for number, packet in enumerate(packets):
                exchange.send(packet, *([0], [1], [0, 1])[number % 3])
                await breathe()

        iex = MulticastSpec("iex", tuple(groups), interface="127.0.0.1", give_up_ns=30 * SECONDS)
        done = lambda frames, receiver: len(frames) == len(packets) + 1  # noqa: E731
        frames, receiver = run(iex, play, done)
    assert [frame.payload for frame in frames[1:]] == packets
    assert receiver.status().arbitration["lost_messages"] == 0


def iex_numbers(frames: list[Frame]) -> list[int]:
    headers = [read_iex(frame.payload) for frame in frames if frame.form == WireForm.BINARY]
    return [number for header in headers for number in range(header.first, header.next)]


def iex_spec(groups: list[str], **values: object) -> MulticastSpec:
    wanted = {"interface": "127.0.0.1", "retry_ns": 20_000_000, "give_up_ns": 30 * SECONDS} | values
    return MulticastSpec("iex", tuple(groups), **wanted)  # type: ignore[arg-type]


def test_iex_holes_are_filled_by_the_gap_fill_server(groups: list[str]) -> None:
    with IexExchange(groups, MESSAGES) as exchange:
        exchange.ignored = 1

        async def play(_: MulticastReceiver) -> None:
            for first in range(1, 2_001, 5):
                if not 300 <= first < 700:
                    exchange.send(exchange.packet(first, 5), 0, 1)
                await breathe()
            exchange.heartbeat(0, 1)

        frames, receiver = run(iex_spec(groups, rewind=exchange.rewind), play, up_to(2_000))
    assert iex_numbers(frames) == list(range(1, 2_001))
    assert exchange.requests[0] == exchange.requests[1], "one was not answered"
    status = receiver.status()
    assert (status.arbitration["lost_messages"], status.arbitration["given_up"]) == (0, 0)
    assert status.requests == len(exchange.requests)


def test_iex_joined_late_asks_for_the_start(groups: list[str]) -> None:
    with IexExchange(groups, MESSAGES[:100]) as exchange:

        async def play(_: MulticastReceiver) -> None:
            exchange.send(exchange.packet(91, 10), 0)

        wanted = iex_spec(groups, rewind=exchange.rewind, from_start=True)
        frames, _ = run(wanted, play, up_to(100))
    assert iex_numbers(frames) == list(range(1, 101))


def test_a_dead_gap_fill_server_means_a_hole_that_is_told(groups: list[str]) -> None:
    with IexExchange(groups, MESSAGES[:30]) as exchange:
        exchange.ignored = 1_000

        async def play(_: MulticastReceiver) -> None:
            for first in (1, 2, 3, 11, 12, 13, 14):
                exchange.send(exchange.packet(first, 1), 0, 1)
                await breathe()

        wanted = iex_spec(groups, rewind=exchange.rewind, retry_ns=10_000_000, give_up_ns=SECONDS // 4)
        frames, receiver = run(wanted, play, up_to(14))
    assert iex_numbers(frames) == [1, 2, 3, 11, 12, 13, 14]
    assert receiver.status().arbitration["lost_messages"] == 7


def test_an_iex_answer_that_comes_too_late_is_a_repeat_and_no_restart(groups: list[str]) -> None:
    with IexExchange(groups, MESSAGES[:30]) as exchange:
        again = iex_packet(
            2, MESSAGES[1:3], sent_ts=1_700_000_100_000_000_000, session=9
        )  # sent again, later than all

        async def play(receiver: MulticastReceiver) -> None:
            for first in (1, 2, 3, 5, 6, 7):
                exchange.send(exchange.packet(first, 1), 0, 1)
                await breathe()
            await until(lambda: bool(exchange.requests), "a request")
            exchange.answer_with(again)
            await until(lambda: receiver.status().arbitration["duplicates"].get("rewind", 0) >= 1, "the answer")
            exchange.send(exchange.packet(8, 1), 0, 1)

        frames, receiver = run(iex_spec(groups, rewind=exchange.rewind), play, up_to(8))
    assert iex_numbers(frames) == list(range(1, 9))
    assert receiver.status().session == "9"
