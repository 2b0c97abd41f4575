"""The obvious slow forms of what event blocks do: hybrid tokens word by word, and columns record by record."""

from __future__ import annotations

from chronicle.core.layout import HEADER, Flag, Kind

WORD = 2**64


def naive_limit(k: int, m: int) -> int:
    """Return the bits of the longest word that is no escape."""
    limit = k
    while (1 << k) + ((limit + 1 - k) << m) <= 255:
        limit += 1
    return min(limit, 64)


def naive_tokens(words: list[int], k: int, m: int) -> tuple[list[int], list[tuple[int, int]], list[int]]:
    """Return (tokens, (width, low bits) of each that has some, escapes)."""
    tokens, lows, escapes = [], [], []
    for word in words:
        length = word.bit_length()
        if word < 1 << k:
            tokens.append(word)
        elif length > naive_limit(k, m):
            tokens.append(255)
            escapes.append(word)
        else:
            low = length - 1 - m
            tokens.append((1 << k) + ((length - 1 - k) << m) + (word >> low) - (1 << m))
            lows.append((low, word & ((1 << low) - 1)))
    return tokens, lows, escapes


def naive_bits(lows: list[tuple[int, int]]) -> tuple[int, list[int]]:
    """Return (bits, u64 words), lowest bit first."""
    number, used = 0, 0
    for width, value in lows:
        number |= value << used
        used += width
    return used, [(number >> (64 * place)) % WORD for place in range((used + 63) // 64)]


def naive_columns(data: bytes) -> dict[str, list[int]]:
    """Return the columns of the BOOK_DELTA records in whole events, as a scan gives them."""
    names = ("ts_recv", "ts_event", "side", "flags", "price", "size", "sequence", "sequence_first")
    names += ("sequence_previous", "source_index", "source", "index")
    columns: dict[str, list[int]] = {name: [] for name in names}
    position, index, open_row = 0, 0, False
    while position < len(data):
        length, kind, flags, side, ts_recv, ts_event, source_index, _, source, _, sequence = HEADER.unpack_from(
            data, position
        )
        if kind == Kind.BOOK_DELTA:
            body = [
                int.from_bytes(data[position + at : position + at + 8], "little", signed=True)
                for at in (48, 56, 64, 72)
            ]
            row = (ts_recv, ts_event, side, flags & 0x7F, *body[:2], sequence, *body[2:], source_index, source, index)
            for name, value in zip(names, row, strict=True):
                columns[name].append(value)
            open_row = True
        if flags & Flag.LAST:
            if open_row:
                columns["flags"][-1] |= Flag.LAST
            open_row = False
        position += length
        index += 1
    return columns
