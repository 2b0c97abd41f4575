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


def naive_gap_counts(bids: list[int], asks: list[int], edges: tuple[int, ...]) -> list[int]:
    """Return how many gaps each part has: a gap that n gaps of its side follow is in the last part with edge <= n."""
    counts = [0] * len(edges)
    for rows in (*bids, *asks):
        for left in range(rows - 1):
            counts[max(part for part, edge in enumerate(edges) if edge <= left)] += 1
    return counts


def naive_steps(
    prices: list[int], bids: list[int], asks: list[int], reverse: tuple[bool, bool], sign: tuple[int, int], base: int
) -> tuple[list[int], list[tuple[int, int]]]:
    """Return (first prices of sides less those before, (gap, how many follow on the side) of all other prices)."""
    firsts, gaps, row, before = [], [], 0, [base, base]
    for counts in zip(bids, asks, strict=True):
        for half, rows in enumerate(counts):
            side = prices[row : row + rows]
            row += rows
            if reverse[half]:
                side.reverse()
            if side:
                firsts.append(side[0] - before[half])
                before[half] = side[0]
            for number in range(1, rows):
                gaps.append((sign[half] * (side[number] - side[number - 1]), rows - 1 - number))
    return firsts, gaps


def naive_votes(prices: list[int], bids: list[int], asks: list[int], most: int) -> list[int]:
    """Return (sides with several rows, those that fall), of bids and of asks, of the first `most` of each."""
    found: dict[int, list[bool]] = {0: [], 1: []}
    row = 0
    for counts in zip(bids, asks, strict=True):
        for half, rows in enumerate(counts):
            if rows > 1 and len(found[half]) < most:
                found[half].append(prices[row] > prices[row + rows - 1])
            row += rows
    return [count for half in (0, 1) for count in (len(found[half]), sum(found[half]))]


def naive_book(
    levels: list[tuple[int, int]], bids: int, changes: list[tuple[int, int, int]]
) -> tuple[list[tuple[int, int]], int]:
    """Return (levels, bids) after changes (half, price, size): a size of 0 removes a price."""
    books: list[dict[int, int]] = [dict(levels[:bids]), dict(levels[bids:])]
    for half, price, size in changes:
        books[half][price] = size
    sides = [[(price, size) for price, size in book.items() if size] for book in books]
    return sorted(sides[0], reverse=True) + sorted(sides[1]), len(sides[0])


def naive_records(data: bytes) -> list[int] | None:
    """Return the offset of each record, None where they are no whole ones."""
    offsets, position = [], 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "little")
        if length < 48 or length % 8:
            return None
        offsets.append(position)
        position += length
    return offsets if position == len(data) else None
