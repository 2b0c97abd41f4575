"""The candles of one trade stream: its queue, its state, its redefinitions.

Which trades count, and when a bar is written, is decision 8: a bar is written when a trade of a later bar comes, when
its line ends (as partial), and again when a late trade amends it. A bar without trades has no record.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chronicle.core.layout import INT64_MAX, INT64_MIN, Flag
from chronicle.etl.clean.block import Block
from chronicle.etl.clean.outlet import Sink
from chronicle.etl.config import TIMEFRAMES
from chronicle.etl.kernels import candles as kernel
from chronicle.etl.kernels import row as kernel_row
from chronicle.etl.kernels.bars import OUT_RECORDS, TRADES_WORDS
from chronicle.etl.kernels.candles import CANDLE_WORDS, put_partial, take_trades
from chronicle.etl.streams.stream import Definition, PlainStream, StreamSettings

__all__ = ["CandleStream"]

ROOM = OUT_RECORDS
"""Records written in one call of the kernel."""
_PRICES = (kernel.OPEN, kernel.HIGH, kernel.LOW, kernel.CLOSE)


class CandleStream(PlainStream):
    """Bars of every configured timeframe.

    Attributes
    ----------
    counts : dict
        late_trades (came after their bar was written, and amended it), lost_trades (how many bars of how long ago
        could not be amended), ahead_trades (with a venue time over an hour ahead of receipt).
    """

    _out = np.empty(ROOM * CANDLE_WORDS, dtype=np.int64)
    _starts = np.empty(ROOM + 1, dtype=np.int64)
    _ends = np.empty(ROOM, dtype=np.int64)
    _trades = np.empty(TRADES_WORDS, dtype=np.int64)
    """Shared by all streams of the process: what is written is copied out before the next call."""

    def __init__(
        self,
        queue: str,
        channel: str,
        definition: Definition,
        settings: StreamSettings,
        sink: Sink,
        *,
        written: int = 0,
    ) -> None:
        spans = [TIMEFRAMES[name] * 1_000_000_000 for name in settings.candles]
        self._spans = np.array(spans, dtype=np.int64)
        self._bars = np.zeros((len(spans), kernel.FIELDS), dtype=np.int64)
        self._history = np.zeros((len(spans), kernel.HISTORY, kernel.FIELDS), dtype=np.int64)
        self._floors = np.full(len(spans), INT64_MIN, dtype=np.int64)
        self._registers = np.zeros(kernel.REGISTERS, dtype=np.int64)
        self._scratch = np.zeros(kernel.FIELDS + 2, dtype=np.int64)
        self._ordinal = 0
        self._forget()
        super().__init__(queue, channel, definition, settings, sink, written=written)

    @property
    def counts(self) -> dict[str, int]:
        """Counts of trades that came late, too late, or ahead of their time, since the raw queue's start."""
        names = {"late_trades": kernel.LATE, "lost_trades": kernel.LOST, "ahead_trades": kernel.AHEAD}
        return {name: int(self._registers[at]) for name, at in names.items() if self._registers[at]}

    def arm(self) -> bool:
        """Hand the stream to the sweep."""
        if not self._arm(kernel_row.CANDLES_KIND):
            return False
        self.row.bars(
            (self._bars, self._history, self._floors, self._spans, self._registers, self._scratch),
            (self._out, self._starts, self._ends),
            self._trades,
        )
        return True

    def take(self, block: Block) -> None:
        """Take the next trade events of the line (the block itself is left as it is)."""
        event, count = 0, len(block)
        while event < count:
            first, end = block.bounds(event)
            out, starts, ends = self._room((end - first) * len(self._spans))
            event = int(
                take_trades(
                    self._bars,
                    self._history,
                    self._floors,
                    self._spans,
                    self._registers,
                    block.words,
                    block.starts,
                    block.ends,
                    event,
                    out,
                    starts,
                    ends,
                    self._scratch,
                )
            )
            events = int(self._registers[kernel.EVENTS])
            if events:
                self._put(out, starts, ends[:events].copy())

    def end_line(self, ts_recv: int, raw_index: int) -> None:
        """The line ended: write the bars under way as partial; trades of a next line go on in them."""
        out, starts, _ = self._room(len(self._spans))
        put_partial(self._bars, self._spans, self._registers, out, starts, ts_recv, raw_index, self._scratch)
        records = int(self._registers[kernel.RECORDS])
        if records:
            self._put(out, starts, np.array([records], dtype=np.int64))

    def redefine(self, definition: Definition) -> None:
        """Take a changed definition: bars are brought to the new exponents, or cut where they would lose digits."""
        before, after = self.definition.fields, definition.fields
        price, size = after.price_exponent - before.price_exponent, after.size_exponent - before.size_exponent
        if (price or size) and not self._rescale(price, size):
            self.end_line(definition.ts_recv, definition.raw_index)
            self._ordinal = int(self._registers[kernel.RECORDS])
            self._cut()
        super().redefine(definition)
        self._ordinal = 0

    def _define(self, ts_recv: int) -> None:
        data = self.definition.record(ts_recv, flags=Flag.LAST, ordinal=self._ordinal)
        self.outlet.prepare(ts_recv, len(data) >> 3, self.definition.raw_index)
        self.outlet.put_event(data, 1, 0)

    # --- the state, for checkpoints ------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return the state as plain values; history without its empty places."""
        kept = np.argwhere(self._history[:, :, kernel.OPEN_TS] != kernel.EMPTY)
        return {
            "bars": self._bars.tobytes(),
            "history": [[int(level), int(place), self._history[level, place].tobytes()] for level, place in kept],
            "floors": self._floors.tolist(),
            "registers": self._registers.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        self._bars[:] = np.frombuffer(state["bars"], dtype=np.int64).reshape(self._bars.shape)
        for level, place, data in state["history"]:
            self._history[level, place] = np.frombuffer(data, dtype=np.int64)
        self._floors[:] = state["floors"]
        self._registers[:] = state["registers"]

    # --- parts ---------------------------------------------------------------------------------------------------

    def _room(self, records: int) -> Any:
        """Return (out, starts, ends) with room for `records`."""
        if records <= ROOM:
            return self._out, self._starts, self._ends
        return (
            np.empty(records * CANDLE_WORDS, dtype=np.int64),
            np.empty(records + 1, dtype=np.int64),
            np.empty(records, dtype=np.int64),
        )

    def _put(self, out: Any, starts: Any, ends: Any) -> None:
        records = int(self._registers[kernel.RECORDS])
        self.outlet.put_all(Block(out[: records * CANDLE_WORDS].copy(), starts[: records + 1].copy(), ends))

    def _forget(self) -> None:
        self._bars[:] = self._history[:] = 0
        self._bars[:, kernel.OPEN_TS] = kernel.EMPTY
        self._history[:, :, kernel.OPEN_TS] = kernel.EMPTY

    def _cut(self) -> None:
        """Begin the bars under way anew; what they held stands in partial records, and they stay partial."""
        for level, bar in enumerate(self._bars):
            if bar[kernel.OPEN_TS] != kernel.EMPTY:
                closed = self._history[level, :, kernel.OPEN_TS].max()
                self._floors[level] = max(self._floors[level], closed)
                kernel.clear(bar, int(bar[kernel.OPEN_TS]))
                bar[kernel.LACKS], bar[kernel.WRITTEN] = 1, -1
        self._history[:] = 0
        self._history[:, :, kernel.OPEN_TS] = kernel.EMPTY

    def _rescale(self, price_decimals: int, size_decimals: int) -> bool:
        """Bring all bars to exponents that are so much larger; False, and nothing changed, where they cannot be."""
        scaled = []
        for bars in (self._bars, self._history):
            copy = bars.copy().reshape(-1, kernel.FIELDS)
            for bar in copy:
                if bar[kernel.COUNT] and not _rescale_bar(bar, price_decimals, size_decimals):
                    return False
            scaled.append(copy)
        self._bars[:] = scaled[0]
        self._history[:] = scaled[1].reshape(self._history.shape)
        return True


def _rescale_bar(bar: Any, price_decimals: int, size_decimals: int) -> bool:
    for at in _PRICES:
        value = _scaled(int(bar[at]), price_decimals)
        if value is None or not INT64_MIN <= value <= INT64_MAX:
            return False
        bar[at] = value
    sums = (
        (kernel.VOLUME, size_decimals),
        (kernel.NOTIONAL, price_decimals + size_decimals),
        (kernel.BUY, size_decimals),
    )
    for at, decimals in sums:
        value = _scaled((int(bar[at]) << 64) + (int(bar[at + 1]) & 0xFFFFFFFFFFFFFFFF), decimals)
        if value is None or not -(1 << 127) <= value < 1 << 127:
            return False
        bar[at] = value >> 64
        low = value & 0xFFFFFFFFFFFFFFFF
        bar[at + 1] = low - (1 << 64) if low >> 63 else low
    return True


def _scaled(value: int, decimals: int) -> int | None:
    """Return value * 10**decimals, None where that is no whole number."""
    factor: int = 10 ** abs(decimals)
    if decimals >= 0:
        return value * factor
    whole, rest = divmod(value, factor)
    return None if rest else whole
