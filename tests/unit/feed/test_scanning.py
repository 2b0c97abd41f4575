"""Scanned messages give the plain adapter's records, byte for byte; what deviates is the plain adapter's to read."""

from __future__ import annotations

import ctypes
import mmap
import struct

import pytest

from chronicle.core.events import EventBuilder
from chronicle.core.layout import WireForm
from chronicle.core.times import parse_time
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.marks import Line
from chronicle.feed.scan_state import ROWS_MAX
from chronicle.feed.scanning import PLAIN_FIRST, ScanningAdapter
from chronicle.feed.venues import adapter_for
from tests.support.scanning import CAN_SCAN, MESSAGES, TS, Pair, scanning, text_frame, venue_pair

pytestmark = pytest.mark.skipif(not CAN_SCAN, reason="this interpreter runs no compiled scans")

ODD = (
    *(
        b" ",
        b"\\u0042",
        b"\\/",
        b"\xc3\xa9",
        b"\x00",
        b"NaN",
        b"1e5",
        b"-",
        b"+1",
        b".",
        b"..",
        b"01",
        b"-0",
        b"null",
    ),
    *(b"[" * 40, b"]", b'"', b'""', b"{}", b",", b"9" * 40, b"0." + b"0" * 30 + b"1", b"922337203685477580799"),
)


@pytest.mark.parametrize("venue", MESSAGES)
def test_every_shape_is_scanned_once_its_names_are_known(venue: str) -> None:
    pair, frames = venue_pair(venue)
    before = pair.scanned
    for frame in frames:
        pair.feed(frame)
    # A futures venue's partial book, Bybit's shallower topic and OKX's push without change are for the plain adapter.
    left = {"binance-usdm": 1, "bybit": 1}.get(venue, 0)
    assert pair.scanned - before == len(frames) - left


@pytest.mark.parametrize("venue", MESSAGES)
def test_a_message_cut_anywhere_gives_the_plain_adapters_answer(venue: str) -> None:
    pair, frames = venue_pair(venue)
    for frame in frames:
        for length in range(len(frame.payload)):
            pair.feed(text_frame(venue, frame.payload[:length]))
    for frame in frames:
        pair.feed(frame)


@pytest.mark.parametrize("venue", MESSAGES)
def test_odd_bytes_anywhere_give_the_plain_adapters_answer(venue: str) -> None:
    pair, frames = venue_pair(venue)
    for number, frame in enumerate(frames):
        payload = frame.payload
        for place in range(number % 7, len(payload), 7):
            odd = ODD[(place + number) % len(ODD)]
            pair.feed(text_frame(venue, payload[:place] + odd + payload[place:]))
            pair.feed(text_frame(venue, payload[:place] + odd + payload[place + 1 :]))
    for frame in frames:
        pair.feed(frame)


def test_scans_read_no_byte_behind_the_message() -> None:
    from chronicle.feed.kernels.scan_call import scan

    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(start + page), ctypes.c_size_t(page), 0) == 0, (
        "a page that kills who reads it"
    )
    try:
        for venue, (_, before, messages) in MESSAGES.items():
            adapter, out = scanning(venue), EventBuilder()
            for payload in (*before, *messages, *messages, *messages):
                out.begin(TS, source=1)
                adapter.decode(text_frame(venue, payload), out)
            plan = adapter._plan
            table = next(iter(adapter._tables.values())).address
            for payload in messages:
                for length in range(1, len(payload) + 1):
                    at = start + page - length
                    ctypes.memmove(at, payload, length)
                    shape, _ = scan(ctypes.addressof(plan), table, at, start + page)
                    assert shape == 0 or length == len(payload)
    finally:
        assert libc.mprotect(ctypes.c_void_p(start + page), ctypes.c_size_t(page), 3) == 0


def test_an_exponent_that_grows_goes_the_plain_way_once() -> None:
    pair, _ = venue_pair("binance")
    scanned, declined = pair.scanned, pair.declined
    for price in (b"1.123456789", b"1.1", b"1.123456789"):
        pair.feed(
            text_frame(
                "binance",
                b'{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[["' + price + b'","2"]],"a":[]}',
            )
        )
    assert (pair.scanned - scanned, pair.declined - declined) == (2, 1)


def test_greatest_numbers_seen_bound_the_exponent_on_both_ways() -> None:
    pair, _ = venue_pair("binance")
    for price in (b"92233720368", b"1.12345678", b"1.123456789", b"92233720369", b"1.1234567891"):
        for _ in range(2):
            pair.feed(
                text_frame(
                    "binance",
                    b'{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[["' + price + b'","2"]],"a":[]}',
                )
            )


def test_more_levels_than_a_scan_holds_are_read_plainly() -> None:
    pair, _ = venue_pair("binance")
    declined = pair.declined
    for count, more in ((ROWS_MAX + 1, 1), (ROWS_MAX, 1)):
        rows = b",".join(b'["%d.5","1"]' % number for number in range(count))
        text = b'{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[' + rows + b'],"a":[]}'
        pair.feed(text_frame("binance", text))
        assert pair.declined == declined + more


def test_a_deeper_topic_takes_the_book_over_from_a_scanned_one() -> None:
    pair = Pair([Line(1, MESSAGES["bybit"][0], "bybit")])
    text = (
        '{"topic":"orderbook.%d.BTCUSDT","type":"delta","ts":1,"data":'
        '{"s":"BTCUSDT","b":[["1","2"]],"a":[],"u":%d,"seq":8},"cts":1}'
    )
    for number, depth in enumerate((50, 50, 50, 200, 50, 200, 50, 200, 1000, 200, 1000)):
        pair.feed(text_frame("bybit", (text % (depth, number)).encode()))
    assert pair.scanned > 3


def test_two_connections_and_a_reconnect_elsewhere_learn_their_own_names() -> None:
    linear, spot = MESSAGES["bybit"][0], "wss://stream.bybit.com/v5/public/spot"
    pair = Pair([Line(1, linear, "bybit"), Line(2, spot, "bybit")])
    payload = MESSAGES["bybit"][2][1]
    for connection, address in ((1, linear), (1, linear), (2, spot), (2, spot), (2, linear), (2, linear), (1, spot)):
        for _ in range(2):
            pair.feed(Frame(WireForm.TEXT, connection, address, TS, payload))
    pair.feed(Frame(WireForm.CONNECTED, 1, spot, TS, b""))
    pair.feed(Frame(WireForm.TEXT, 1, spot, TS, payload))


def test_thousands_of_names_are_all_found_again() -> None:
    pair = Pair([Line(1, MESSAGES["binance"][0], "binance")])
    text = '{"stream":"x@bookTicker","data":{"u":1,"s":"A%dUSDT","b":"1.5","B":"2","a":"1.6","A":"3"}}'
    for _ in range(2):
        for number in range(2_000):
            pair.feed(text_frame("binance", (text % number).encode()))
    assert pair.scanned == 1_999  # a connection's first message opens its table


def test_a_short_session_loads_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronicle.feed.scanning._KERNELS", "no.such.module")
    adapter, out = adapter_for("binance", InstrumentRegistry()), EventBuilder()
    assert isinstance(adapter, ScanningAdapter)
    frame = text_frame("binance", MESSAGES["binance"][2][0])
    for _ in range(PLAIN_FIRST):
        out.begin(TS, source=1)
        adapter.decode(frame, out)
    assert adapter._scan is None
    for _ in range(4):
        out.begin(TS, source=1)
        adapter.decode(frame, out)
    assert adapter.scanned > 0


def test_an_event_carries_the_frames_header_fields() -> None:
    adapter, out = scanning("binance"), EventBuilder()
    frame = text_frame("binance", MESSAGES["binance"][2][3])
    for _ in range(3):
        out.begin(TS, source_index=77, source=65_535, flags=8)
        adapter.decode(frame, out)
        data, count = out.take()
    length, kind, flags, side, ts_recv, _, index, _, source, *_ = struct.unpack_from("<IHBBqqqIHHq", data)
    assert (length, count, kind, flags, side, ts_recv, index, source) == (80, 1, 36, 136, 0, TS, 77, 65_535)
    assert adapter.scanned == 1


TIMES = (
    *(
        "2026-08-09T21:05:48.505350477Z",
        "2026-08-09T21:05:48Z",
        "1970-01-01T00:00:00Z",
        "2261-12-31T23:59:59.999999999Z",
    ),
    *("2024-02-29T00:00:00.1Z", "2023-02-29T00:00:00.1Z", "2100-02-29T00:00:00Z", "2000-02-29T12:00:00Z"),
    *("2026-00-09T21:05:48Z", "2026-13-09T21:05:48Z", "2026-04-31T21:05:48Z", "2026-12-31T24:00:00Z"),
    *("2026-12-31T23:60:00Z", "2026-12-31T23:00:60Z", "2026-12-31T23:00:00.Z", "2026-12-31T23:00:00.1234567890Z"),
    *(
        "2026-1a-31T23:00:00Z",
        "2026-12-31 23:00:00Z",
        "2026-12-31T23:00:00+01:00",
        "1969-12-31T23:59:59Z",
        "",
        "2026",
    ),
)


def test_times_of_iso_8601_are_read_as_plainly_or_left() -> None:
    from chronicle.feed.kernels.text import iso_time

    days = [
        f"{year}-{month:02}-{day:02}T01:02:03.5Z"
        for year in (1999, 2000, 2023, 2024, 2100)
        for month in range(1, 13)
        for day in (1, 27, 28, 29, 30, 31)
    ]
    read = 0
    for text in (*TIMES, *days):
        data = text.encode()
        buffer = ctypes.create_string_buffer(data + b'"', len(data) + 16)
        start = ctypes.addressof(buffer)
        after, value = iso_time(start, start + len(data) + 1)
        if after:
            assert (after - start, value) == (len(data), parse_time(text)), text
            read += 1
        for length in range(len(data)):
            assert iso_time(start, start + length) == (0, 0)
    assert read > 300
