"""The simulated market in the words of Bitget v2: books with ``seq`` and CRC32, trades, tickers, the list of symbols.

Source: www.bitget.com/api-doc/spot/websocket/public (Depth-Channel, Trades-Channel, Tickers-Channel). Numbers have
fixed decimals, except the 0 that deletes: the checksum is over the texts.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, Final
from urllib.parse import urlsplit

from chronicle.feed.simulator.market import SIZE_DECIMALS, Market, Pair, Step
from chronicle.feed.simulator.protocol import decimal, dumps
from chronicle.feed.simulator.speakers import DEEP, NAMES, Channels, Speaker

__all__ = ["BitgetSpeaker"]

SNAPSHOT_LEVELS: Final = 200


class BitgetSpeaker(Speaker):
    """Bitget v2, spot."""

    venue = "bitget"
    channels: Final = {"books": "book", "trade": "trade", "ticker": "ticker"}

    def __init__(self, markets: dict[str, Market], now_ns: Callable[[], int]) -> None:
        super().__init__(markets, now_ns)
        self._sequences = dict.fromkeys(self.names, 1000)

    @staticmethod
    def spell(pair: Pair) -> str:
        return "".join(NAMES.get(part, part) for part in pair.name.split("/"))

    def key(self, text: str) -> int:
        return int(json.loads(text)["data"][0]["seq"])

    def request(self, channels: Channels, text: str) -> list[str]:
        if text == "ping":
            return ["pong"]
        try:
            request = json.loads(text)
            wanted = {"subscribe": True, "unsubscribe": False}[request["op"]]
            return [
                told for argument in request["args"] for told in self._subscribe(channels, argument, wanted=wanted)
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            return [dumps({"event": "error", "code": 30003, "msg": "INVALID op"})]

    def _subscribe(self, channels: Channels, argument: dict[str, Any], *, wanted: bool) -> list[str]:
        name, channel = str(argument["instId"]), self.channels.get(argument["channel"])
        if channel is None or name not in self.markets or argument["instType"] != "SPOT":
            return [dumps({"event": "error", "arg": argument, "code": 30001, "msg": "instType or channel not exist"})]
        told = [dumps({"event": "subscribe" if wanted else "unsubscribe", "arg": argument})]
        if not wanted:
            channels.wanted.pop((channel, name), None)
            return told
        channels.wanted[channel, name] = DEEP if channel == "book" else 0
        if channel == "book":
            market = self.markets[name]
            sides = market.asks.best(SNAPSHOT_LEVELS), market.bids.best(SNAPSHOT_LEVELS)
            told.append(self._book(name, "snapshot", *sides))
        elif channel == "ticker":
            told.append(self.quote(name))
        return told

    def book(self, name: str, depth: int, step: Step) -> str:
        self._sequences[name] += 1 + len(step.asks[depth]) + len(step.bids[depth])
        asks, bids = ([(entry.price, entry.size) for entry in side[depth]] for side in (step.asks, step.bids))
        return self._book(name, "update", asks, bids)

    def _book(self, name: str, action: str, asks: list[tuple[int, int]], bids: list[tuple[int, int]]) -> str:
        pair = self.markets[name].pair
        data = {
            "asks": [_level(pair, *level) for level in asks],
            "bids": [_level(pair, *level) for level in bids],
            "checksum": self.checksum(name),
            "seq": self._sequences[name],
        }
        return self._push("books", name, action, [data | {"ts": self._ms()}])

    def checksum(self, name: str) -> int:
        """Return the signed CRC32 of 25 bids and asks in turn."""
        market = self.markets[name]
        sides = [[":".join(_level(market.pair, *level)) for level in side.best(25)] for side in self._sides(name)]
        text = ":".join(part for both in zip_longest(*sides) for part in both if part is not None)
        value = zlib.crc32(text.encode("ascii"))
        return value - (1 << 32) if value >= 1 << 31 else value

    def trades(self, name: str, step: Step) -> list[str]:
        market = self.markets[name]
        rows = []
        for number, fill in enumerate(step.fills):
            price, size = _level(market.pair, fill.price, fill.size)
            trade = {"ts": self._ms(), "price": price, "size": size, "side": "buy" if fill.buys else "sell"}
            rows.append(trade | {"tradeId": str(market.trade_count * 10 + number)})
        return [self._push("trade", name, "update", rows[::-1])]

    def quote(self, name: str) -> str:
        pair = self.markets[name].pair
        (bid, bid_size), (ask, ask_size) = (_level(pair, *side.best(1)[0]) for side in self._sides(name))
        data = {"instId": name, "bidPr": bid, "bidSz": bid_size, "askPr": ask, "askSz": ask_size, "ts": self._ms()}
        return self._push("ticker", name, "snapshot", [data])

    def http(self, target: str) -> str | None:
        if urlsplit(target).path != "/api/v2/spot/public/symbols":
            return None
        rows = []
        for name, market in self.markets.items():
            base, quote = (NAMES.get(part, part) for part in market.pair.name.split("/"))
            row = {"symbol": name, "baseCoin": base, "quoteCoin": quote, "pricePrecision": str(market.pair.decimals)}
            rows.append(row | {"quantityPrecision": str(SIZE_DECIMALS), "status": "online"})
        return dumps({"code": "00000", "msg": "success", "data": rows})

    def _sides(self, name: str) -> tuple[Any, Any]:
        market = self.markets[name]
        return market.bids, market.asks

    def _push(self, channel: str, name: str, action: str, data: list[Any]) -> str:
        argument = {"instType": "SPOT", "channel": channel, "instId": name}
        return dumps({"action": action, "arg": argument, "data": data, "ts": self.now_ns() // 10**6})

    def _ms(self) -> str:
        return str(self.now_ns() // 10**6)


def _level(pair: Pair, price: int, size: int) -> list[str]:
    return [decimal(price, pair.decimals), decimal(size, SIZE_DECIMALS) if size else "0"]
