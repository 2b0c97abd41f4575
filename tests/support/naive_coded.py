"""The code of a compacted block's rows the slow way: whole numbers of Python, one bit after the other."""

from __future__ import annotations

from collections import defaultdict

MASK = 0xFFFFFFFF
RATES = [int(65536 / (count + 1.6)) for count in range(256)]
HASH = 0x9E3779B97F4A7C15


class Coder:
    """Encodes the bits it is given, by models that learn them (docs/format/archive.md, Compacted event blocks)."""

    def __init__(self) -> None:
        self.low, self.high, self.out = 0, MASK, bytearray()
        self.models: defaultdict[int, list[int]] = defaultdict(lambda: [1 << 21, 0])

    def bit(self, at: int, bit: int) -> None:
        model = self.models[at]
        chance = min(max(model[0] >> 6, 1), 65535)
        middle = self.low + ((self.high - self.low) * chance >> 16)
        model[0] += ((0x3FFFFF if bit else 0) - model[0]) * RATES[model[1]] >> 16
        model[1] = min(model[1] + 1, 255)
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while (self.low ^ self.high) >> 24 == 0:
            self.out.append(self.high >> 24)
            self.low, self.high = self.low << 8 & MASK, (self.high << 8 & MASK) | 255

    def tree(self, base: int, value: int, bits: int) -> None:
        node = 1
        for number in reversed(range(bits)):
            self.bit(base + node, value >> number & 1)
            node = 2 * node + (value >> number & 1)

    def word(self, base: int, kind: int, word: int) -> None:
        length = word.bit_length()
        self.tree(base, min(length, 15), 4)
        if length >= 15:
            self.tree(12288, length - 15, 6)
        for number in reversed(range(max(0, length - 1))):
            if number + 18 >= length:
                mixed = ((word >> (number + 1)) ^ (kind * 64 + length) << 40) * HASH % 2**64
                at = mixed >> 46
                at += 0 if at >= 1 << 14 else 1 << 14
            else:
                at = 12416 + number
            self.bit(at, word >> number & 1)


def zigzag(value: int) -> int:
    value = (value + 2**63) % 2**64 - 2**63
    return value << 1 if value >= 0 else ~(value << 1)


def naive_code(
    sides: list[tuple[list[int], list[int]]], sizes: list[int], base: int, unit: int, size_unit: int
) -> bytes:
    """Return the code of groups of (bid prices, ask prices), bids falling and asks rising as they are walked."""
    coder = Coder()
    firsts, bits, was_zero = [base, base], [0, 0], 0
    slots: dict[int, list[int]] = {}
    rows = iter(sizes)
    for group in sides:
        for half, prices in enumerate(group):
            before = 0
            for number, price in enumerate(prices):
                left = len(prices) - 1 - number
                if number == 0:
                    word = zigzag((price - firsts[half]) // unit)
                    coder.word(16 * (half * 32 + min(bits[half], 31)), 1 + half, word)
                    firsts[half], bits[half] = price, word.bit_length()
                else:
                    part = sum(left > edge for edge in (0, 3, 15, 63))
                    step = (price - prices[number - 1]) * (1 if half else -1) // unit
                    word = zigzag(step - 1)
                    coder.word(2048 + 16 * (part * 20 + min(before, 19)), 3 + part, word)
                    before = word.bit_length()
                slot = (price + half) % 2**64 * HASH % 2**64 >> 49
                if slots.get(slot, [None])[0] != price:
                    slots[slot] = [price, 0, 0, 1]
                _, last, other, known = slots[slot]
                size = next(rows) // size_unit
                state = known * 16 + min(number, 7) * 2 + was_zero
                coder.bit(8192 + state, size == 0)
                if size:
                    told = known == 1
                    if known > 1:
                        coder.bit(8448 + state, size == last)
                        told = size != last
                        if told and other:
                            coder.bit(8704 + state, size == other)
                            told = size != other
                    if told:
                        at = 4096 + 16 * (min((last % 2**64).bit_length(), 31) * 4 + known)
                        coder.word(at, 10, size % 2**64)
                    if size != last:
                        slots[slot][1:3] = [size, last]
                slots[slot][3] = 3 if size else 2
                was_zero = int(size == 0)
    return bytes(coder.out) + coder.low.to_bytes(4, "big")
