"""The obvious slow forms of what order blocks do: rows taken apart and put together one by one, with dicts."""

from __future__ import annotations

from dataclasses import dataclass, field

from chronicle.core.layout import Action, Flag, Kind, Side
from chronicle.storage.codec.order_layout import LEVEL_SLOTS

WORD = 2**64
HEADS = {80 | Kind.ORDER << 32: Kind.ORDER, 80 | Kind.BOOK_DELTA << 32: Kind.BOOK_DELTA}
NAMES = ("age", "added_id", "other_id", "price", "size", "level_price", "level_size")
NO_ID, SAME_ID, KNOWN_ID, NEW_ID = range(4)
SIDE_FOLLOWS, PRICE_FOLLOWS, SIZE_RESTS, SIZE_REPEATS = 4, 8, 16, 32
PRICE_OF_ORDER, SIZE_KNOWN, SIZE_CHANGED = 1, 2, 4


def wrapped(value: int) -> int:
    """Return a number as int64 arithmetic leaves it."""
    return (value + 2**63) % WORD - 2**63


@dataclass
class Known:
    """An order that was seen."""

    order_id: int
    half: int
    price: int
    size: int


@dataclass
class Rows:
    """What rows are split into."""

    shapes: list[tuple[int, int, int]] = field(default_factory=list)
    columns: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in NAMES})


class Memory:
    """What both directions remember from row to row."""

    def __init__(self) -> None:
        self.orders: list[Known] = []
        self.last: Known | None = None
        self.ids = {True: 0, False: 0}
        self.prices, self.edges = [0, 0], [0, 0]
        self.row_price = self.row_size = self.change = 0
        self._levels: dict[int, tuple[int, int]] = {}

    def number(self, order_id: int) -> int:
        """Return the latest number of an id, -1 where it was never seen."""
        found = [number for number, order in enumerate(self.orders) if order.order_id == order_id]
        return found[-1] if found else -1

    def level(self, half: int, price: int) -> int:
        """Return the last size of a price, 0 where another price took its slot."""
        key = wrapped(price * 2) ^ half
        known, size = self._levels.get(self._slot(key), (None, 0))
        return size if known == key else 0

    def set_level(self, half: int, price: int, size: int) -> None:
        key = wrapped(price * 2) ^ half
        self._levels[self._slot(key)] = key, size

    @staticmethod
    def _slot(key: int) -> int:
        return (key % WORD * 0x9E3779B97F4A7C15 % WORD) * LEVEL_SLOTS // WORD

    def act(self, action: int, order: Known | None, half: int, price: int, size: int) -> None:
        """Do what an ORDER row does."""
        self.change = (
            {Action.ADD: size, Action.CANCEL: -size, Action.FILL: -size}.get(Action(action), 0)
            if (action in Action.__members__.values())
            else 0
        )
        self.change = wrapped(self.change)
        if order is not None and action == Action.CANCEL:
            order.size = 0 if size >= order.size else wrapped(order.size - size)
        elif order is not None and action == Action.MODIFY:
            order.price, order.size = price, size
        self.last, self.prices[half], self.row_price, self.row_size = order, price, price, size


def naive_split(records: list[list[int]]) -> Rows:
    """Return what rows of ten words each are split into (docs/format/archive.md, Order blocks)."""
    rows, memory = Rows(), Memory()
    for words in records:
        head, side = words[0] % WORD, words[0] % WORD >> 56
        half = int(side == Side.ASK)
        kind = HEADS[head & 0xFFFFFFFFFFFF]
        if kind == Kind.ORDER:
            head, how = _split_order(words, head, side, half, rows, memory)
            rows.shapes.append((wrapped(head), words[9], how))
        else:
            rows.shapes.append((wrapped(head), 0, _split_delta(words, half, rows, memory)))
    return rows


def _split_order(words: list[int], head: int, side: int, half: int, rows: Rows, memory: Memory) -> tuple[int, int]:
    order_id, price, size, action = words[6], words[7], words[8], words[9] & 0xFF
    columns, order, number = rows.columns, None, memory.number(order_id)
    is_add = action == Action.ADD
    if order_id == 0:
        how = NO_ID
    elif not is_add and memory.last is not None and memory.last.order_id == order_id:
        how, order = SAME_ID, memory.last
    elif not is_add and number >= 0:
        how, order = KNOWN_ID, memory.orders[number]
        columns["age"].append(len(memory.orders) - 1 - number)
    else:
        how = NEW_ID
        columns["added_id" if is_add else "other_id"].append(wrapped(order_id - memory.ids[is_add]))
        memory.ids[is_add] = order_id
    if order is not None and order.half == half and side in (Side.BID, Side.ASK):
        how |= SIDE_FOLLOWS
        head &= 2**56 - 1
    if order is not None and order.price == price:
        how |= PRICE_FOLLOWS
    else:
        columns["price"].append(wrapped(price - (memory.prices[half] if order is None else order.price)))
    if order is not None and order.size == size:
        how |= SIZE_RESTS
    elif size == memory.row_size:
        how |= SIZE_REPEATS
    else:
        columns["size"].append(size)
    if how & 3 == NEW_ID:
        order = Known(order_id, half, price, size)
        memory.orders.append(order)
    memory.act(action, order, half, price, size)
    return head, how


def _split_delta(words: list[int], half: int, rows: Rows, memory: Memory) -> int:
    price, size, how = words[6], words[7], 0
    if price == memory.row_price:
        how |= PRICE_OF_ORDER
    else:
        rows.columns["level_price"].append(wrapped(price - memory.edges[half]))
        memory.edges[half] = price
    known = memory.level(half, price)
    if size == wrapped(known + memory.change):
        how |= SIZE_CHANGED
    elif size == known:
        how |= SIZE_KNOWN
    else:
        rows.columns["level_size"].append(size)
    memory.set_level(half, price, size)
    return how


def naive_join(rows: Rows) -> list[tuple[int, int, int, int]]:
    """Return (first word, word 6, word 7, word 8) of each row: of deltas the last is 0."""
    memory, out = Memory(), []
    columns = {name: iter(values) for name, values in rows.columns.items()}
    for head, tail, how in rows.shapes:
        side = head % WORD >> 56
        half = int(side == Side.ASK)
        if HEADS[head & 0xFFFFFFFFFFFF] == Kind.BOOK_DELTA:
            out.append((head, *_join_delta(how, half, columns, memory), 0))
            continue
        refers, order, order_id = how & 3, None, 0
        is_add = tail & 0xFF == Action.ADD
        if refers == SAME_ID:
            order = memory.last
        elif refers == KNOWN_ID:
            order = memory.orders[len(memory.orders) - 1 - next(columns["age"])]
        elif refers == NEW_ID:
            order_id = wrapped(memory.ids[is_add] + next(columns["added_id" if is_add else "other_id"]))
            memory.ids[is_add] = order_id
        if order is not None:
            order_id = order.order_id
        if how & SIDE_FOLLOWS:
            assert order is not None
            half = order.half
            head |= (Side.ASK if half else Side.BID) << 56
        reference = memory.prices[half] if order is None else order.price
        price = reference if how & PRICE_FOLLOWS else wrapped(reference + next(columns["price"]))
        if how & SIZE_RESTS:
            assert order is not None
            size = order.size
        else:
            size = memory.row_size if how & SIZE_REPEATS else next(columns["size"])
        if refers == NEW_ID:
            order = Known(order_id, half, price, size)
            memory.orders.append(order)
        memory.act(tail & 0xFF, order, half, price, size)
        out.append((head, order_id, price, size))
    assert all(next(values, None) is None for values in columns.values())
    return out


def _join_delta(how: int, half: int, columns: dict[str, object], memory: Memory) -> tuple[int, int]:
    price = memory.row_price
    if not how & PRICE_OF_ORDER:
        price = wrapped(memory.edges[half] + next(columns["level_price"]))  # type: ignore[call-overload]
        memory.edges[half] = price
    size = memory.level(half, price)
    if how & SIZE_CHANGED:
        size = wrapped(size + memory.change)
    elif not how & SIZE_KNOWN:
        size = next(columns["level_size"])  # type: ignore[call-overload]
    memory.set_level(half, price, size)
    return price, size


def is_last(head: int) -> bool:
    """Return whether a first word carries F_LAST."""
    return bool(head >> 48 & Flag.LAST)


def naive_columns(
    records: list[bytes], kinds: set[int], base: int, sides: tuple[int, int], limits: tuple[int | None, int | None]
) -> dict[str, list[int]]:
    """Return columns of the rows of `kinds`, from the first to the last row with limits[0] <= ts_recv < limits[1].

    None is no limit.
    """
    words = [[int.from_bytes(record[at : at + 8], "little") for at in range(0, 80, 8)] for record in records]
    is_row = [row[0] & 0xFFFFFFFFFFFF in HEADS for row in words]
    low, high = -(2**63) if limits[0] is None else limits[0], 2**63 if limits[1] is None else limits[1]
    inside = [at for at, row in enumerate(words) if is_row[at] and low <= wrapped(row[1]) < high]
    found: list[dict[str, int]] = []
    opened = False
    if not inside:
        return {name: [] for name in _columns_of([0] * 10, 0, sides)}
    following = [at for at in range(inside[-1] + 1, len(records)) if is_row[at]]
    for number, row in enumerate(words[: following[0] if following else len(words)]):
        if is_row[number] and number >= inside[0] and row[0] >> 32 & 0xFFFF in kinds:
            found.append(_columns_of(row, base + number, sides))
            opened = True
        if is_last(row[0]):
            if opened:
                found[-1]["flags"] |= Flag.LAST
            opened = False
    names = _columns_of([0] * 10, 0, sides)
    return {name: [row[name] for row in found] for name in names}


def _columns_of(row: list[int], index: int, sides: tuple[int, int]) -> dict[str, int]:
    kind = row[0] >> 32 & 0xFFFF
    shift = int(kind == Kind.ORDER)
    return {
        "ts_recv": wrapped(row[1]),
        "ts_event": wrapped(row[2]),
        "side": {int(Side.BID): sides[0], int(Side.ASK): sides[1]}.get(row[0] >> 56, 0),
        "flags": row[0] >> 48 & 0x7F,
        "price": wrapped(row[6 + shift]),
        "size": wrapped(row[7 + shift]),
        "sequence": wrapped(row[5]),
        "source_index": wrapped(row[3]),
        "source": row[4] >> 32 & 0xFFFF,
        "index": index,
        "kind": kind,
        "order_id": row[6] if shift else 0,
        "action": row[9] & 0xFF if shift else int(Action.NONE),
    }
