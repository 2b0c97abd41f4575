"""How each venue puts a simulated market into words: what a client asks, what it is answered, what it is told.

A speaker is pure but for its numbers (sequences, trade ids). Kraken's texts are those of :mod:`protocol`; OKX follows
okx.com/docs-v5 (books with seqId, prevSeqId and checksum), Binance github.com/binance/binance-spot-api-docs (depth
diffs with U and u, snapshots by REST).
"""

from __future__ import annotations

import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from chronicle.feed.simulator import protocol
from chronicle.feed.simulator.ladder import Entry
from chronicle.feed.simulator.market import SIZE_DECIMALS, Market, Pair, Step
from chronicle.feed.simulator.protocol import decimal, dumps

__all__ = ["NAMES", "BinanceSpeaker", "Channels", "KrakenSpeaker", "OkxSpeaker", "Speaker"]

DEEP: Final = 1 << 20
"""A depth that no book of the simulation reaches: all levels are told."""
NAMES: Final = {"XBT": "BTC", "XDG": "DOGE", "USD": "USDT"}
"""How others call the currencies of the simulated pairs."""


@dataclass(slots=True)
class Channels:
    """What one client is subscribed to: (channel, the venue's name of the pair) to the depth, 0 if it has none."""

    wanted: dict[tuple[str, str], int] = field(default_factory=dict)


class Speaker(ABC):
    """Speaks for the exchange. `markets` are by the venue's own names; `now_ns` gives rising times."""

    venue: str
    always: frozenset[int] = frozenset()
    """Depths whose updates are counted while nobody listens too: the venue numbers every change of its book."""

    def __init__(self, markets: dict[str, Market], now_ns: Callable[[], int]) -> None:
        self.markets = {self.spell(market.pair): market for market in markets.values()}
        self.names = list(self.markets)
        self.now_ns = now_ns

    @staticmethod
    @abstractmethod
    def spell(pair: Pair) -> str:
        """Return the venue's name of a pair."""

    @abstractmethod
    def key(self, text: str) -> int:
        """Return what names the state of a book after the update `text`: its sequence, or its time."""

    def hello(self, connection: int) -> list[str]:
        """Return what a new client is told."""
        return []

    @abstractmethod
    def request(self, channels: Channels, text: str) -> list[str]:
        """Take a client's request; return what it is answered."""

    def heartbeat(self) -> str | None:
        """Return what all subscribed clients are told each second."""
        return None

    def heartbeats(self, channels: Channels) -> list[str]:
        """Return what a subscribed client is told each second."""
        beat = self.heartbeat()
        return [] if beat is None else [beat]

    @abstractmethod
    def book(self, name: str, depth: int, step: Step) -> str:
        """Return the update of a book that `step` made for subscribers of `depth`."""

    @abstractmethod
    def trades(self, name: str, step: Step) -> list[str]:
        """Return the messages about the trades of `step`."""

    @abstractmethod
    def quote(self, name: str) -> str:
        """Return the message about the best prices."""

    @abstractmethod
    def http(self, target: str) -> str | None:
        """Return the body for an HTTP request, None when there is nothing there."""


class KrakenSpeaker(Speaker):
    """Kraken WebSocket v1."""

    venue = "kraken"

    @staticmethod
    def spell(pair: Pair) -> str:
        return pair.name

    def key(self, text: str) -> int:
        message = json.loads(text)
        row = next(rows[0] for part in message[1:-2] for key in ("a", "b", "as", "bs") if (rows := part.get(key)))
        return int(row[2].replace(".", "")) * 1000

    def hello(self, connection: int) -> list[str]:
        status = {"connectionID": connection, "event": "systemStatus", "status": "online", "version": "1.9.6"}
        return [dumps(status)]

    def heartbeat(self) -> str | None:
        return '{"event":"heartbeat"}'

    def request(self, channels: Channels, text: str) -> list[str]:
        try:
            request = json.loads(text)
            event = request["event"]
            if event == "ping":
                return [dumps({"event": "pong"} | _reqid(request))]
            if event not in ("subscribe", "unsubscribe"):
                raise ValueError("unknown event")  # noqa: TRY301
            return [
                answer
                for name in request["pair"]
                for answer in self._subscribe(channels, request, str(name), wanted=event == "subscribe")
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            return [dumps({"errorMessage": "Malformed request", "event": "error"})]

    def _subscribe(self, channels: Channels, request: dict[str, Any], name: str, *, wanted: bool) -> list[str]:
        subscription = request["subscription"]
        channel, depth = subscription["name"], subscription.get("depth", 10)
        reply: dict[str, Any] = {"event": "subscriptionStatus", "pair": name, "subscription": dict(subscription)}
        problem = None
        if name not in self.markets:
            problem = f"Currency pair not supported {name}"
        elif channel not in protocol.CHANNELS:
            problem = "Subscription name invalid"
        elif channel == "book" and depth not in protocol.DEPTHS:
            problem = "Subscription depth not supported"
        elif not wanted and (channel, name) not in channels.wanted:
            problem = "Subscription Not Found"
        if problem is not None:
            return [dumps(reply | {"status": "error", "errorMessage": problem} | _reqid(request))]
        if channel == "book":
            reply["subscription"]["depth"] = depth
        number = self._number(name, depth if channel == "book" else protocol.CHANNELS.index(channel))
        reply |= {
            "channelID": number,
            "channelName": f"book-{depth}" if channel == "book" else channel,
            "status": "subscribed" if wanted else "unsubscribed",
        }
        told = [dumps(reply | _reqid(request))]
        if not wanted:
            del channels.wanted[channel, name]
            return told
        channels.wanted[channel, name] = depth if channel == "book" else 0
        if channel == "book":
            told.append(protocol.book_snapshot(self.markets[name], number, depth, self.now_ns()))
        elif channel == "ticker":
            told.append(protocol.ticker(self.markets[name], number))
        return told

    def book(self, name: str, depth: int, step: Step) -> str:
        market = self.markets[name]
        check = protocol.checksum(market)
        number = self._number(name, depth)
        return protocol.book_update(market, number, depth, step.asks[depth], step.bids[depth], check, self.now_ns())

    def trades(self, name: str, step: Step) -> list[str]:
        return [protocol.trades(self.markets[name], self._number(name, 1), step.fills, self.now_ns())]

    def quote(self, name: str) -> str:
        return protocol.ticker(self.markets[name], self._number(name, 2))

    def http(self, target: str) -> str | None:
        if urlsplit(target).path != "/0/public/AssetPairs":
            return None
        return protocol.asset_pairs(market.pair for market in self.markets.values())

    def _number(self, name: str, part: int) -> int:
        return 64 + 2048 * self.names.index(name) + part


class OkxSpeaker(Speaker):
    """OKX v5: books of 400 levels with sequences and checksums, trades, tickers."""

    venue = "okx"
    channels: Final = {"books": "book", "trades": "trade", "tickers": "ticker"}

    def __init__(self, markets: dict[str, Market], now_ns: Callable[[], int]) -> None:
        super().__init__(markets, now_ns)
        self._sequences = dict.fromkeys(self.names, 1000)
        self._previous = dict(self._sequences)

    @staticmethod
    def spell(pair: Pair) -> str:
        return "-".join(NAMES.get(part, part) for part in pair.name.split("/"))

    def key(self, text: str) -> int:
        return int(json.loads(text)["data"][0]["seqId"])

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
            return [dumps({"event": "error", "code": "60012", "msg": "Illegal request"})]

    def _subscribe(self, channels: Channels, argument: dict[str, Any], *, wanted: bool) -> list[str]:
        name, channel = str(argument["instId"]), self.channels.get(argument["channel"])
        if channel is None or name not in self.markets:
            return [dumps({"event": "error", "code": "60018", "msg": f"{argument} doesn't exist"})]
        told = [dumps({"event": "subscribe" if wanted else "unsubscribe", "arg": argument})]
        if not wanted:
            channels.wanted.pop((channel, name), None)
            return told
        channels.wanted[channel, name] = DEEP if channel == "book" else 0
        if channel == "book":
            told.append(self._book(name, "snapshot", *self._levels(name)))
        elif channel == "ticker":
            told.append(self.quote(name))
        return told

    def _levels(self, name: str) -> tuple[list[Any], list[Any]]:
        market = self.markets[name]
        return market.asks.best(400), market.bids.best(400)

    def book(self, name: str, depth: int, step: Step) -> str:
        if self._previous[name] == self._sequences[name]:
            self._sequences[name] += 1
        text = self._book(
            name, "update", *([(e.price, e.size) for e in side[depth]] for side in (step.asks, step.bids))
        )
        self._previous[name] = self._sequences[name]
        return text

    def _book(self, name: str, action: str, asks: list[Any], bids: list[Any]) -> str:
        pair = self.markets[name].pair
        data = {
            "asks": [[*_level(pair, *level), "0", "1"] for level in asks],
            "bids": [[*_level(pair, *level), "0", "1"] for level in bids],
            "ts": str(self.now_ns() // 10**6),
            "checksum": self.checksum(name),
            "seqId": self._sequences[name],
            "prevSeqId": self._previous[name] if action == "update" else -1,
        }
        return dumps({"arg": {"channel": "books", "instId": name}, "action": action, "data": [data]})

    def checksum(self, name: str) -> int:
        """Return the signed CRC32 of 25 bids and asks in turn."""
        market = self.markets[name]
        sides = [
            [":".join(_level(market.pair, *level)) for level in side.best(25)] for side in (market.bids, market.asks)
        ]
        text = ":".join(part for both in zip_longest(*sides) for part in both if part is not None)
        value = zlib.crc32(text.encode("ascii"))
        return value - (1 << 32) if value >= 1 << 31 else value

    def trades(self, name: str, step: Step) -> list[str]:
        market = self.markets[name]
        found = []
        for number, fill in enumerate(step.fills):
            price, size = _level(market.pair, fill.price, fill.size)
            trade = {"instId": name, "tradeId": str(market.trade_count * 10 + number), "px": price, "sz": size}
            trade |= {"side": "buy" if fill.buys else "sell", "ts": str(self.now_ns() // 10**6)}
            found.append(dumps({"arg": {"channel": "trades", "instId": name}, "data": [trade]}))
        return found

    def quote(self, name: str) -> str:
        market = self.markets[name]
        (bid, bid_size), (ask, ask_size) = (
            _level(market.pair, *side.best(1)[0]) for side in (market.bids, market.asks)
        )
        data = {"instType": "SPOT", "instId": name, "askPx": ask, "askSz": ask_size, "bidPx": bid, "bidSz": bid_size}
        data |= {"ts": str(self.now_ns() // 10**6)}
        return dumps({"arg": {"channel": "tickers", "instId": name}, "data": [data]})

    def http(self, target: str) -> str | None:
        address = urlsplit(target)
        if address.path != "/api/v5/public/instruments":
            return None
        spot = parse_qs(address.query).get("instType") == ["SPOT"]
        rows = [
            {"instType": "SPOT", "instId": name, "baseCcy": name.split("-")[0], "quoteCcy": name.split("-")[1]}
            | {"tickSz": decimal(1, market.pair.decimals), "lotSz": decimal(1, SIZE_DECIMALS), "state": "live"}
            for name, market in self.markets.items()
        ]
        return dumps({"code": "0", "msg": "", "data": rows if spot else []})


class BinanceSpeaker(Speaker):
    """Binance spot: diffs with update ids, snapshots by REST, trades, best prices."""

    venue = "binance"
    channels: Final = {"depth": "book", "trade": "trade", "bookTicker": "ticker"}
    always = frozenset({DEEP})

    def __init__(self, markets: dict[str, Market], now_ns: Callable[[], int]) -> None:
        super().__init__(markets, now_ns)
        self._updates = dict.fromkeys(self.names, 5000)

    @staticmethod
    def spell(pair: Pair) -> str:
        return "".join(NAMES.get(part, part) for part in pair.name.split("/"))

    def key(self, text: str) -> int:
        return int(json.loads(text)["data"]["u"])

    def request(self, channels: Channels, text: str) -> list[str]:
        try:
            request = json.loads(text)
            method, number = request["method"], request["id"]
            for stream in request["params"]:
                name, _, channel = str(stream).partition("@")
                kind = self.channels.get(channel.partition("@")[0])
                if kind is None or name.upper() not in self.markets:
                    continue  # the venue takes streams that do not exist, and sends nothing
                key = (kind, name.upper())
                if method == "SUBSCRIBE":
                    channels.wanted[key] = DEEP if kind == "book" else 0
                elif method == "UNSUBSCRIBE":
                    channels.wanted.pop(key, None)
            return [dumps({"result": None, "id": number})]
        except (ValueError, KeyError, TypeError, AttributeError):
            return [dumps({"error": {"code": 3, "msg": "Invalid JSON"}})]

    def book(self, name: str, depth: int, step: Step) -> str:
        market = self.markets[name]
        asks, bids = step.asks[depth], step.bids[depth]
        first = self._updates[name] + 1
        self._updates[name] += max(len(asks) + len(bids), 1)
        ms = self.now_ns() // 10**6
        data = {"e": "depthUpdate", "E": ms, "s": name, "U": first, "u": self._updates[name]}
        data |= {"b": _rows(market.pair, bids), "a": _rows(market.pair, asks)}
        return dumps({"stream": f"{name.lower()}@depth@100ms", "data": data})

    def trades(self, name: str, step: Step) -> list[str]:
        market, ms = self.markets[name], self.now_ns() // 10**6
        found = []
        for number, fill in enumerate(step.fills):
            price, size = _level(market.pair, fill.price, fill.size)
            data = {"e": "trade", "E": ms, "s": name, "t": market.trade_count * 10 + number, "p": price, "q": size}
            data |= {"T": ms, "m": not fill.buys, "M": True}
            found.append(dumps({"stream": f"{name.lower()}@trade", "data": data}))
        return found

    def quote(self, name: str) -> str:
        market = self.markets[name]
        (bid, bid_size), (ask, ask_size) = (
            _level(market.pair, *side.best(1)[0]) for side in (market.bids, market.asks)
        )
        data = {"u": self._updates[name], "s": name, "b": bid, "B": bid_size, "a": ask, "A": ask_size}
        return dumps({"stream": f"{name.lower()}@bookTicker", "data": data})

    def http(self, target: str) -> str | None:
        address = urlsplit(target)
        if address.path == "/api/v3/exchangeInfo":
            return dumps({"timezone": "UTC", "symbols": [self._listing(name) for name in self.names]})
        if address.path != "/api/v3/depth":
            return None
        name = parse_qs(address.query).get("symbol", [""])[0]
        market = self.markets.get(name)
        if market is None:
            return dumps({"code": -1121, "msg": "Invalid symbol."})
        sides = {
            key: [list(_level(market.pair, *level)) for level in ladder.best(1000)]
            for key, ladder in (("bids", market.bids), ("asks", market.asks))
        }
        return dumps({"lastUpdateId": self._updates[name]} | sides)

    def _listing(self, name: str) -> dict[str, Any]:
        pair = self.markets[name].pair
        base, quote = (NAMES.get(part, part) for part in pair.name.split("/"))
        filters = [
            {"filterType": "PRICE_FILTER", "tickSize": decimal(1, pair.decimals)},
            {"filterType": "LOT_SIZE", "stepSize": decimal(1, SIZE_DECIMALS)},
        ]
        return {"symbol": name, "status": "TRADING", "baseAsset": base, "quoteAsset": quote, "filters": filters}


def _level(pair: Pair, price: int, size: int) -> tuple[str, str]:
    """Return price and size without zeros that say nothing."""
    return _stripped(decimal(price, pair.decimals)), _stripped(decimal(size, SIZE_DECIMALS))


def _rows(pair: Pair, entries: list[Entry]) -> list[list[str]]:
    return [list(_level(pair, entry.price, entry.size)) for entry in entries]


def _stripped(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _reqid(request: dict[str, Any]) -> dict[str, Any]:
    return {"reqid": request["reqid"]} if "reqid" in request else {}
