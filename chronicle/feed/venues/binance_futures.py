"""Binance futures: USD-M (``fstream``, ``/fapi``) and COIN-M (``dstream``, ``/dapi``), on the code of spot.

Source: developers.binance.com/docs/derivatives (USDS-margined and COIN-margined futures, web-socket streams). What
differs from spot: a diff names the update id before it (``pu``), so that a chain is ``pu`` equal to the ``u`` before;
bookTicker and REST snapshots carry times; a partial depth stream speaks as a diff does and is told by its name.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

from chronicle.core.events import EventBuilder
from chronicle.core.layout import SequenceRule
from chronicle.feed.adapter import Frame
from chronicle.feed.instruments import Instrument, Listing, VenueRules
from chronicle.feed.names import NameTable
from chronicle.feed.shapes import ROLES
from chronicle.feed.symbology import Symbol
from chronicle.feed.venues import shapes
from chronicle.feed.venues.binance import BinanceAdapter, tick_and_lot
from chronicle.feed.venues.messages import stamp_ns, whole

__all__ = ["BinanceCoinAdapter", "BinanceUsdAdapter"]

_PARTIAL: Final = re.compile(r"[^@]+@depth(5|10|20)(?:@\d+ms)?", re.ASCII)
_IGNORED: Final = BinanceAdapter.ignored | {
    *("markPriceUpdate", "indexPriceUpdate", "forceOrder", "continuous_kline", "indexPrice_kline"),
    *("markPrice_kline", "compositeIndex", "contractInfo", "assetIndexUpdate", "tradingSession"),
}
_EXTRAS: Final = ("contractType", "contractSize", "marginAsset", "pair", "deliveryDate")


class BinanceUsdAdapter(BinanceAdapter):
    """Frames of ``fstream.binance.com`` and of ``/fapi/v1``."""

    venue = "binance-usdm"
    rules = VenueRules(sequence_rule=SequenceRule.BINANCE_FUTURES)
    shapes = shapes.BINANCE_USDM
    ignored = _IGNORED

    def stands_for(
        self, role: int, name: str, frame: Frame, table: NameTable
    ) -> tuple[Instrument | None, int] | None:
        """Return the instrument of a symbol; a stream stands for changes unless its name says that it is partial."""
        if role != ROLES["stream"]:
            return super().stands_for(role, name, frame, table)
        return None if not name or _PARTIAL.fullmatch(name) else (None, 0)

    def listing(self, entry: dict[str, Any]) -> Listing:
        """Return what the venue's list says of one contract: perpetual, or dated by the end of its name."""
        name = entry["symbol"]
        base, quote = entry["baseAsset"], entry["quoteAsset"]
        _, mark, expiry = name.partition("_")
        if mark and expiry != "PERP":
            symbol = Symbol(self.venue, base, quote, "future", expiry)
        else:
            symbol = Symbol(self.venue, base, quote, "perpetual")
        extras = {key: str(entry[key]) for key in _EXTRAS if entry.get(key)}
        return Listing(name, symbol, *tick_and_lot(entry), extras)

    def previous(self, message: dict[str, Any]) -> int:
        """Return ``pu``."""
        return whole(message["pu"], "pu")

    def _depth(self, frame: Frame, out: EventBuilder, message: dict[str, Any], stream: str) -> None:
        """Add a diff, or the few best levels whole where the stream's name says so."""
        partial = _PARTIAL.fullmatch(stream or urlsplit(frame.address).path.rpartition("/")[2])
        if partial is None:
            self._diff(frame, out, message)
            return
        symbol, sequence, ts_event = message["s"], whole(message["u"], "u"), stamp_ns(message["E"], "E")
        self.add_snapshot(out, symbol, int(partial[1]), sequence, message["b"], message["a"], ts_event)


class BinanceCoinAdapter(BinanceUsdAdapter):
    """Frames of ``dstream.binance.com`` and of ``/dapi/v1``."""

    venue = "binance-coinm"
    shapes = shapes.BINANCE_COINM
