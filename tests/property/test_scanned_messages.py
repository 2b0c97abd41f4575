"""Mutated messages: scans and plain adapters give equal records and equal errors, whatever was done to the bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.scanning import CAN_SCAN, MESSAGES, Pair, text_frame, venue_pair

pytestmark = pytest.mark.skipif(not CAN_SCAN, reason="this interpreter runs no compiled scans")

TOKENS = st.sampled_from(
    [
        *(
            b" ",
            b"\\",
            b'\\"',
            b"\\u0031",
            b"\\/",
            b"\xff",
            b"\xc3\xa9",
            b"\x00",
            b"\n",
            b"NaN",
            b"Infinity",
            b"true",
        ),
        *(b"[", b"]", b"[[", b"]]", b"{", b"}", b",", b",,", b":", b'"', b'""', b"-", b"+", b".", b"e5", b"E-3"),
        *(b"0", b"00", b"9" * 18, b"9" * 19, b"1" * 40, b"0." + b"0" * 17 + b"1", b"9223372036854775807", b"-1"),
    ]
)
NUMBERS = st.one_of(
    st.integers(0, 10**20).map(lambda value: str(value).encode()),
    st.decimals(min_value=0, max_value=10**12, places=9).map(lambda value: str(value).encode()),
    st.tuples(st.integers(0, 10**9), st.text("0123456789", max_size=20)).map(
        lambda parts: f"{parts[0]}.{parts[1]}".encode()
    ),
)
_pairs: dict[str, Pair] = {}


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a venue and one of its messages with up to three changes."""
    venue = draw(st.sampled_from(sorted(MESSAGES)))
    payload = draw(st.sampled_from(MESSAGES[venue][2]))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(payload)))
        end = draw(st.integers(start, min(len(payload), start + 30)))
        change = draw(st.sampled_from(["cut", "insert", "replace", "double", "swap", "number", "byte"]))
        if change == "cut":
            payload = payload[:start] + payload[end:]
        elif change == "insert":
            payload = payload[:start] + draw(TOKENS) + payload[start:]
        elif change == "replace":
            payload = payload[:start] + draw(TOKENS) + payload[end:]
        elif change == "double":
            payload = payload[:end] + payload[start:end] + payload[end:]
        elif change == "swap":
            parts = payload.split(b",")
            first, second = draw(st.integers(0, len(parts) - 1)), draw(st.integers(0, len(parts) - 1))
            parts[first], parts[second] = parts[second], parts[first]
            payload = b",".join(parts)
        elif change == "number":
            payload = _with_number(payload, draw(st.integers(0, 40)), draw(NUMBERS))
        else:
            payload = payload[:start] + bytes([draw(st.integers(0, 255))]) + payload[start + 1 :]
    return venue, payload


def _with_number(payload: bytes, which: int, number: bytes) -> bytes:
    """Put `number` in the place of one of the payload's runs of digits and points."""
    places, at = [], 0
    while at < len(payload):
        end = at
        while end < len(payload) and payload[end : end + 1] in b"0123456789.":
            end += 1
        if end > at:
            places.append((at, end))
        at = end + 1
    if not places:
        return payload
    start, end = places[which % len(places)]
    return payload[:start] + number + payload[end:]


@given(mutated())
def test_a_mutated_message_gives_equal_records_or_equal_errors(case: tuple[str, bytes]) -> None:
    venue, payload = case
    # One pair for all examples: what a hostile message leaves behind (exponents, names) must be equal, too.
    pair = _pairs.get(venue) or _pairs.setdefault(venue, venue_pair(venue)[0])
    try:
        pair.feed(text_frame(venue, payload))
        for message in MESSAGES[venue][2]:
            pair.feed(text_frame(venue, message))
    except AssertionError:
        del _pairs[venue]  # so that what made it so is found again from the start
        raise
