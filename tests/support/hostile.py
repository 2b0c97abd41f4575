"""Hostile variants of frames that exchanges once sent: broken bytes, broken values, broken structure."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

NUMBERS: Final = (
    *("NaN", "-0", "-1", "-99999999999999999999", "1e999", "1e-999", "1E400", "Infinity", "9" * 40, "0." + "1" * 40),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "1" + "0" * 400, "0x10", "1_000", "null"),
    *("true", "[]", "{}", '""'),
)
TEXTS: Final = (
    *("../../x", "../../../../etc/passwd", "a/b/../../c", "/dev/null", "C:\\x", "x" * 70_000, "", " ", ".", ".."),
    *(
        "\\u0000",
        "\\ud800",
        "\\u202e",
        "nan",
        "NaN",
        "-5",
        "1" * 40,
        "1e5",
        "٣",
        "BTC|USDT|X",
        "|",
        "a=b",
        "%2e%2e%2f",
    ),
)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_TEXT = re.compile(rb'"[^"\\]{0,200}"')


def mutated(payload: bytes, other: bytes, seed: int) -> bytes:
    """Return `payload` after one to three changes; `other` is a frame to take pieces from."""
    chance = random.Random(seed)
    for _ in range(chance.choice((1, 1, 2, 3))):
        payload = chance.choice(_CHANGES)(payload, other, chance)
    return payload


def _number(payload: bytes, other: bytes, chance: random.Random) -> bytes:
    return _replaced(payload, _NUMBER, chance.choice(NUMBERS).encode(), chance)


def _text(payload: bytes, other: bytes, chance: random.Random) -> bytes:
    return _replaced(payload, _TEXT, b'"' + chance.choice(TEXTS).encode() + b'"', chance)


def _quoted_number(payload: bytes, other: bytes, chance: random.Random) -> bytes:
    return _replaced(payload, re.compile(rb'(?<=")-?\d+(?:\.\d+)?(?=")'), chance.choice(NUMBERS).encode(), chance)


def _replaced(payload: bytes, pattern: re.Pattern[bytes], value: bytes, chance: random.Random) -> bytes:
    found = list(pattern.finditer(payload[:200_000]))
    if not found:
        return payload
    match = chance.choice(found)
    return payload[: match.start()] + value + payload[match.end() :]


def _flipped(payload: bytes, other: bytes, chance: random.Random) -> bytes:
    if not payload:
        return payload
    at = chance.randrange(len(payload))
    return payload[:at] + bytes([payload[at] ^ (1 << chance.randrange(8))]) + payload[at + 1 :]


def _cut(payload: bytes, other: bytes, chance: random.Random) -> bytes:
    return payload[: chance.randrange(len(payload) + 1)]


def _spliced(payload: bytes, other: bytes, chance: random.Random) -> bytes:
    a, b = chance.randrange(len(payload) + 1), chance.randrange(len(other) + 1)
    return payload[:a] + other[b:]


def _nested(payload: bytes, other: bytes, chance: random.Random) -> bytes:
    depth = chance.choice((5, 1000, 100_000))
    opener, closer = chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return _replaced(payload, _NUMBER, opener * depth + b"1" + closer * chance.choice((0, depth)), chance)


def _repeated(payload: bytes, other: bytes, chance: random.Random) -> bytes:
    found = list(re.finditer(rb"\[[^\[\]]{1,200}\]", payload[:200_000]))
    if not found:
        return payload
    row = chance.choice(found)
    return payload[: row.start()] + b",".join([row.group()] * chance.choice((2, 3000))) + payload[row.end() :]


_CHANGES: Final[tuple[Callable[[bytes, bytes, random.Random], bytes], ...]] = (
    *(_number, _number, _text, _text, _quoted_number, _quoted_number),
    *(_flipped, _cut, _spliced, _nested, _repeated),
)
