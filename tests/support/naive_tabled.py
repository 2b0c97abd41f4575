"""The code of a tabled block's rows read the slow way: whole numbers of Python, from docs/format/archive.md alone."""

from __future__ import annotations

import struct

import zstandard

MASK = 2**64 - 1
HASH = 0x9E3779B97F4A7C15
EDGES = (1, 4, 16, 64)


class Model:
    """Symbols of one model, one after the other."""

    def __init__(self, log: int, firsts: list[int], tables: list[list[int]], words: bytes, bits: int) -> None:
        self.log, self.firsts, self.tables = log, firsts, tables
        self.state = int.from_bytes(words[:4], "little")
        self.words = words[4:]
        self.bits, self.bit = bits, 0

    def symbol(self, context: int) -> int:
        table = self.tables[sum(first <= context for first in self.firsts) - 1]
        slot, begin, symbol = self.state % (1 << self.log), 0, 0
        while slot >= begin + table[symbol]:
            begin += table[symbol]
            symbol += 1
        count = table[symbol]
        self.state = count * (self.state >> self.log) + slot - begin
        if self.state < 1 << 16:
            self.state = self.state << 16 | int.from_bytes(self.words[:2], "little")
            self.words = self.words[2:]
        return symbol

    def word(self, context: int, k: int, m: int, known: list[int]) -> int:
        symbol = self.symbol(context)
        if symbol < 1 << k:
            return symbol
        length, top = k + 1 + (symbol - (1 << k) >> m), symbol % (1 << m)
        if length > 64:
            return known[symbol - (1 << k) - ((64 - k) << m)]
        width = length - 1 - m
        low = self.bits >> self.bit & (1 << width) - 1
        self.bit += width
        return ((1 << m) + top << width) + low


def planes(data: bytes, width: int) -> list[int]:
    count = len(data) // width
    return [sum(data[number + plane * count] << 8 * plane for plane in range(width)) for number in range(count)]


def signed(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def unzigzag(word: int) -> int:
    return word >> 1 if word % 2 == 0 else ~(word >> 1)


def models_of(code: bytes) -> tuple[list[Model], list[int], bool]:
    """Return the three models, the sizes that are symbols, and whether gaps are zigzags."""
    *fields, known, stored = struct.unpack_from("<" + "BBHHHII" * 3 + "II", code)
    heads = [fields[start : start + 7] for start in (0, 7, 14)]
    data = zstandard.decompress(code[56 : 56 + stored])
    place, firsts, tables = 0, [], []
    for head in heads:
        firsts.append(planes(data[place : place + 2 * head[2]], 2))
        place += 2 * head[2]
    for head in heads:
        size = 2 * head[2] * head[3]
        flat = planes(data[place : place + size], 2)
        tables.append([flat[row * head[3] : (row + 1) * head[3]] for row in range(head[2])])
        place += size
    steps, sizes = planes(data[place:], 8), []
    assert len(steps) == known
    for step in steps:
        sizes.append(((sizes[-1] if sizes else 0) + step) % 2**64)
    place = 56 + stored
    words = []
    for head in heads:
        words.append(code[place : place + head[5]])
        place += head[5]
    models = []
    for number, head in enumerate(heads):
        size = (head[6] + 63) // 64 * 8
        bits = int.from_bytes(code[place : place + size], "little")
        models.append(Model(head[0], firsts[number], tables[number], words[number], bits))
        place += size
    assert place == len(code)
    return models, sizes, bool(heads[0][1])


def naive_rows(
    code: bytes, bids: list[int], asks: list[int], forms: tuple[int, int], base: int, unit: int, size_unit: int
) -> list[tuple[int, int]]:
    """Return (price, size) of every row of a code, in the order of the queue."""
    (prices, classes, sizes), known_sizes, is_signed = models_of(code)
    firsts, bits = [base, base], [0, 0]
    slots: dict[int, tuple[int, int, int, int]] = {}
    class_before, out = 0, []
    for counts in zip(bids, asks, strict=True):
        for half, count in enumerate(counts):
            side, before, price = [], 0, 0
            for number in range(count):
                if number == 0:
                    word = prices.word(32 * half + bits[half], 4, 2, [])
                    bits[half] = min(word.bit_length(), 31)
                    price = firsts[half] = signed(firsts[half] + unzigzag(word) * unit)
                else:
                    part = sum(count - 1 - number >= edge for edge in EDGES)
                    word = prices.word(64 + 20 * part + before, 4, 2, [])
                    before = min(word.bit_length(), 19)
                    gap = (unzigzag(word) if is_signed else word) + 1
                    price = signed(price + gap * unit * (-1 if forms[half] & 1 else 1))
                slot = (price + half) * HASH % 2**64 >> 49
                held, last, other, known = slots.get(slot, (0, 0, 0, 0))
                if held != price:
                    last = other = known = 0
                length = min((last % 2**64).bit_length(), 31)
                found = classes.symbol(128 * known + 32 * min(number, 3) + 8 * class_before + length // 4)
                size = (0, last, other, 0)[found]
                if found == 3:
                    size = signed(sizes.word(32 * ((known + 1) // 2) + length, 7, 3, known_sizes))
                if found >= 2:
                    last, other = size, last
                slots[slot] = (price, last, other, 1 + 2 * (found != 0) + (other != 0))
                class_before = found
                side.append((price, signed(size * size_unit)))
            out += reversed(side) if forms[half] & 2 else side
    return out
