"""Two decoders side by side: one whose adapters scan, one whose adapters are plain (the naive twin of the scans)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from chronicle.core.compiled import is_possible
from chronicle.core.layout import WireForm
from chronicle.feed.adapter import Adapter, Frame
from chronicle.feed.decoder import FrameDecoder
from chronicle.feed.instruments import InstrumentRegistry
from chronicle.feed.marks import CaptureMark, Line, start_frame
from chronicle.feed.scanning import ScanningAdapter
from chronicle.feed.venues import adapter_for

TS = 1_700_000_000_000_000_000
CAN_SCAN = is_possible()

SPOT = "wss://stream.binance.com:9443/stream?streams=btcusdt@depth"
USDM = "wss://fstream.binance.com/stream?streams=btcusdt@depth"
COINM = "wss://dstream.binance.com/stream?streams=btcusd_perp@depth"
OKX = "wss://ws.okx.com:8443/ws/v5/public"
KRAKEN = "wss://ws.kraken.com"
COINBASE = "wss://advanced-trade-ws.coinbase.com"
BYBIT = "wss://stream.bybit.com/v5/public/linear"

_ROWS = (
    *(("61837.63000000", "0.00018000"), ("61837.6", "12"), ("9", "0"), ("12345678.12345678", "1.5")),
    *(("0.00001", "99999999.1"), ("61730.1", "123.456"), ("61730", "0.00000000"), ("1", "2")),
    *(("123456789.5", "3"), ("1.1234567", "7"), ("61731.25", "0.5"), ("61731.26", "10.25")),
)
"""Levels of all lengths, so that most of a side is more than two blocks before its message's end."""


def _side(*more: str, count: int = len(_ROWS)) -> bytes:
    return "[{}]".format(",".join('["{}"]'.format('","'.join((*row, *more))) for row in _ROWS[:count])).encode()


_COINBASE_FIRST = (
    b'{"channel":"subscriptions","timestamp":"2026-08-09T21:05:48.228846629Z","sequence_num":0,'
    b'"events":[{"subscriptions":{"level2":["BTC-USD"]}}]}'
)
_COINBASE_MESSAGES = (
    (
        b'{"channel":"l2_data","timestamp":"2026-08-09T21:05:48.505350477Z","sequence_num":14,"events":[{"type":"update",'
        b'"product_id":"BTC-USD","updates":[{"side":"bid","event_time":"2026-08-09T21:05:48.210883Z",'
        b'"price_level":"65062.5","new_quantity":"0.00583"},{"side":"offer","event_time":"2026-08-09T21:05:48.2Z",'
        b'"price_level":"65063.91","new_quantity":"0"},{"side":"bid","event_time":"","price_level":"1",'
        b'"new_quantity":"7"}]}]}'
    ),
    (
        b'{"channel":"ticker","timestamp":"2026-08-09T21:05:48.29Z","sequence_num":10,"events":[{"type":"update","tickers":['
        b'{"type":"ticker","product_id":"BTC-USD","price":"1919.41","volume_24_h":"19975.95927439","low_24_h":"1911.04",'
        b'"high_24_h":"1925","low_52_w":"1505","high_52_w":"4955.9","price_percent_chg_24_h":"0.02501394006035",'
        b'"best_bid":"1919.44","best_ask":"1919.49","best_bid_quantity":"0.02858092","best_ask_quantity":"0.07814824"}]}]}'
    ),
)

_LONG = {
    "binance": b'{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":506,"u":507,"b":%b,"a":%b}'
    % (_side(), _side()),
    "binance-usdm": (
        b'{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161256299,"T":1723161256298,'
        b'"s":"BTCUSDT","U":10,"u":11,"pu":9,"b":%b,"a":%b}}' % (_side(count=8), _side(count=8))
    ),
    "okx": (
        b'{"arg":{"channel":"books","instId":"UNI-USD-SWAP"},"action":"update","data":[{"asks":%b,'
        b'"bids":%b,"ts":"1652459226429","checksum":-1,"prevSeqId":11,"seqId":12}]}'
        % (_side("0", "3"), _side("0", "1234567"))
    ),
    "kraken": (
        b'[992,{"a":%b},{"b":%b,"c":"13"},"book-1000","XMR/USD"]'
        % (_side("1618678133.365913", count=8), _side("1618678135.000001", count=8))
    ),
    "bybit": (
        b'{"topic":"orderbook.200.BTCUSDT","type":"delta","ts":1786310818130,"data":{"s":"BTCUSDT",'
        b'"b":%b,"a":%b,"u":3,"seq":9},"cts":1786310818129}' % (_side(count=8), _side(count=4))
    ),
}

MESSAGES: dict[str, tuple[str, tuple[bytes, ...], tuple[bytes, ...]]] = {
    "binance": (
        SPOT,
        (),
        (
            (
                b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":500,"u":502,'
                b'"b":[["61737.63000000","0.00000000"],["61730.1","2.5"]],"a":[["61837.64000000","1.54698000"]]}}'
            ),
            (
                b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":503,"u":503,'
                b'"b":[],"a":[]}}'
            ),
            b'{"e":"depthUpdate","E":1723161255208123,"s":"BTCUSDT","U":504,"u":505,"b":[["1","2"]],"a":[]}',
            (
                b'{"stream":"btcusdt@bookTicker","data":{"u":512,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000",'
                b'"a":"61837.64000000","A":"0.00000000"}}'
            ),
            (
                b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":37,'
                b'"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}'
            ),
            (
                b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":38,'
                b'"p":"61837.63000000","q":"0.02000000","b":7,"a":9,"T":1723161255342,"m":false,"M":true}}'
            ),
            (
                b'{"stream":"ethusdt@aggTrade","data":{"e":"aggTrade","E":1633998523963,"s":"ETHUSDT","a":15683430,'
                b'"p":"0.35280000","q":"58.00000000","f":19862790,"l":19862791,"T":1633998523963,"m":false,"M":true}}'
            ),
            (
                b'{"stream":"btcusdt@depth5@100ms","data":{"lastUpdateId":505,"bids":[["5","1"],["4","1"],["3","1"],'
                b'["2","1"],["1.5","1"]],"asks":[["6","1"],["7","0.25"]]}}'
            ),
        ),
    ),
    "binance-usdm": (
        USDM,
        (),
        (
            (
                b'{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161256299,"T":1723161256298,'
                b'"s":"BTCUSDT","U":5,"u":9,"pu":4,"b":[["58710.20","0.014"],["61496.50","0.000"]],'
                b'"a":[["61925.90","0.000"]]}}'
            ),
            (
                b'{"stream":"btcusdt@depth5@0ms","data":{"e":"depthUpdate","E":1723161256299,"T":1723161256298,'
                b'"s":"BTCUSDT","U":5,"u":9,"pu":4,"b":[["58710.20","0.014"]],"a":[["61925.90","0.001"]]}}'
            ),
            (
                b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":51,"s":"BTCUSDT","b":"61800.20",'
                b'"B":"2.507","a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256313}}'
            ),
            (
                b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161256322,"T":1723161256322,"s":"BTCUSDT",'
                b'"t":52,"p":"61800.30","q":"0.006","X":"MARKET","m":false}}'
            ),
            (
                b'{"stream":"ctkusdt@aggTrade","data":{"e":"aggTrade","E":1626992741575,"a":16599292,"s":"CTKUSDT",'
                b'"p":"1.01100","q":"10","f":23961322,"l":23961322,"T":1626992741421,"m":false}}'
            ),
        ),
    ),
    "binance-coinm": (
        COINM,
        (),
        (
            (
                b'{"stream":"bchusd_perp@bookTicker","data":{"u":167006084895,"e":"bookTicker","s":"BCHUSD_PERP",'
                b'"ps":"BCHUSD","b":"427.84","B":"24","a":"427.90","A":"669","T":1626916403864,"E":1626916403871}}'
            ),
            (
                b'{"stream":"bchusd_perp@depth@100ms","data":{"e":"depthUpdate","E":1626916403873,"T":1626916403864,'
                b'"s":"BCHUSD_PERP","ps":"BCHUSD","U":7,"u":9,"pu":6,"b":[["427.27","0"],["427.53","260"]],'
                b'"a":[["427.90","669"]]}}'
            ),
        ),
    ),
    "okx": (
        OKX,
        (b'{"event":"subscribe","arg":{"channel":"books","instId":"UNI-USD-SWAP"}}',),
        (
            (
                b'{"arg":{"channel":"books","instId":"UNI-USD-SWAP"},"action":"snapshot","data":[{"asks":[["5.2","1","0","1"]],'
                b'"bids":[["5.1","20","0","3"]],"ts":"1652459226428","checksum":-7,"prevSeqId":-1,"seqId":10}]}'
            ),
            (
                b'{"arg":{"channel":"books","instId":"UNI-USD-SWAP"},"action":"update","data":[{"asks":[],'
                b'"bids":[["5.134","127","0","3"],["5.133","0","0","0"]],"ts":"1652459226428","checksum":-756333598}]}'
            ),
            (
                b'{"arg":{"channel":"books","instId":"UNI-USD-SWAP"},"action":"update","data":[{"asks":[],"bids":[],'
                b'"ts":"1652459226428","checksum":0,"prevSeqId":10,"seqId":11}]}'
            ),
            (
                b'{"arg":{"channel":"trades","instId":"UNI-USD-SWAP"},"data":[{"instId":"UNI-USD-SWAP","tradeId":"7849",'
                b'"px":"30218.8","sz":"1","side":"buy","ts":"1652459199958","count":"3"}]}'
            ),
            (
                b'{"arg":{"channel":"bbo-tbt","instId":"UNI-USD-SWAP"},"data":[{"asks":[["5.2","1","0","1"]],'
                b'"bids":[["5.1","2","0","1"]],"ts":"1652459226428","seqId":12}]}'
            ),
        ),
    ),
    "kraken": (
        KRAKEN,
        (
            (
                b'{"channelID":992,"channelName":"book-1000","event":"subscriptionStatus","pair":"XMR/USD",'
                b'"status":"subscribed","subscription":{"depth":1000,"name":"book"}}'
            ),
            b'[992,{"as":[["354.20000000","5.00000000","1618678133.365913"]],"bs":[]},"book-1000","XMR/USD"]',
        ),
        (
            b'[992,{"b":[["354.15000000","5.00000000","1618678133.365913"]],"c":"2583817756"},"book-1000","XMR/USD"]',
            (
                b'[992,{"a":[["354.2","5","1618678133.365913","r"],["354.15000000","5.00000000","1618678134.365913"]],'
                b'"c":"0"},"book-1000","XMR/USD"]'
            ),
            (
                b'[992,{"a":[["354.15000000","5.00000000","1618678133.365913"]]},'
                b'{"b":[["353.15000000","0.00000000","1618678133.365999"]],"c":"12"},"book-1000","XMR/USD"]'
            ),
            b'[993,[["354.11000000","0.89594024","1618678142.557535","s","l",""]],"trade","XMR/USD"]',
            b'[994,["354.11000000","355.1","1618678142.557535","0.5","7.25"],"spread","XMR/USD"]',
        ),
    ),
    "bybit": (
        BYBIT,
        (),
        (
            (
                b'{"topic":"orderbook.200.BTCUSDT","type":"snapshot","ts":1786310818129,"data":{"s":"BTCUSDT",'
                b'"b":[["65114.20","6.054"],["65114.10","0.002"]],"a":[["65114.30","1.5"]],"u":1,"seq":7},"cts":1786310818027}'
            ),
            (
                b'{"topic":"orderbook.200.BTCUSDT","type":"delta","ts":1786310818130,"data":{"s":"BTCUSDT",'
                b'"b":[["65095.30","0.005"],["65093.10","0"]],"a":[],"u":2,"seq":8},"cts":1786310818129}'
            ),
            (
                b'{"topic":"orderbook.50.BTCUSDT","ts":1786310818130,"type":"delta","data":{"s":"BTCUSDT",'
                b'"b":[["65095.30","0.005"],["65093.10","0"]],"a":[],"u":2,"seq":8},"cts":1786310818129}'
            ),
            (
                b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1786310819681,"data":[{"T":1786310819680,"s":"BTCUSDT",'
                b'"S":"Sell","v":"0.004","p":"65114.20","L":"MinusTick","i":"a9188a0a-82bc-50de","BT":false,"RPI":false,'
                b'"seq":753843954913}]}'
            ),
            (
                b'{"topic":"publicTrade.ETHUSDT","ts":1786310821917,"type":"snapshot","data":[{"i":"2280000001739247",'
                b'"T":1786310821917,"p":"1923.28","v":"0.04537","S":"Buy","seq":178477362706,"s":"ETHUSDT","BT":false,'
                b'"RPI":true}]}'
            ),
        ),
    ),
    "coinbase": (COINBASE, (_COINBASE_FIRST,), _COINBASE_MESSAGES),
}
"""Per venue: the connection's address, what comes first, and a message of each shape."""
for _venue, _payload in _LONG.items():
    _address, _first, _each = MESSAGES[_venue]
    MESSAGES[_venue] = _address, _first, (*_each, _payload)


def scanning(venue: str) -> ScanningAdapter:
    """Return a new adapter of `venue` with its scans loaded, as `replay` and `live` make it."""
    adapter = adapter_for(venue, InstrumentRegistry())
    assert isinstance(adapter, ScanningAdapter)
    adapter.prepare()
    return adapter


class Numbering:
    """Gives messages of a venue that counts them over a connection their numbers, one after the other."""

    def __init__(self) -> None:
        self._next = itertools.count(1)

    def __call__(self, frame: Frame) -> Frame:
        """Return `frame` with the next number where it has one."""
        numbered = re.sub(rb'"sequence_num":\d+', lambda _: b'"sequence_num":%d' % next(self._next), frame.payload)
        return frame if numbered == frame.payload else replace(frame, payload=numbered)


class Pair:
    """A scanning and a plain decoder that get the same frames, numbered anew where `number` is set."""

    def __init__(self, lines: Iterable[Line], *, ts_recv: int = TS) -> None:
        self.number: Numbering | None = None
        self.scanning: list[ScanningAdapter] = []
        self._decoders = [FrameDecoder(self._make(scans)) for scans in (True, False)]
        self._next = 0
        self.feed(start_frame(CaptureMark("capture", "test", (), tuple(lines)), ts_recv))

    def _make(self, scans: bool) -> Callable[[str], Adapter]:
        registry = InstrumentRegistry()

        def make(venue: str) -> Adapter:
            adapter = adapter_for(venue, registry, scanning=scans)
            if isinstance(adapter, ScanningAdapter):
                adapter.prepare()
                self.scanning.append(adapter)
            return adapter

        return make

    @property
    def scanned(self) -> int:
        """Messages that scans took."""
        return sum(adapter.scanned for adapter in self.scanning)

    @property
    def declined(self) -> int:
        """Messages that scans left to the plain adapters."""
        return sum(adapter.declined for adapter in self.scanning)

    def feed(self, frame: Frame) -> None:
        """Let both decode `frame`; they must give the same records and counts."""
        if self.number is not None:
            frame = self.number(frame)
        answers = []
        for decoder in self._decoders:
            data, count = decoder.decode(
                frame, ts_recv=frame.ts_recv, wire_index=self._next, flags=self._next % 2 * 8
            )
            answers.append((bytes(data), count, decoder.events, decoder.last_offset, decoder.decode_errors))
        self._next += 1
        assert answers[0] == answers[1], frame.payload[:500]


def venue_pair(venue: str) -> tuple[Pair, list[Frame]]:
    """Return a pair of decoders that have read every message of `venue` twice, and the messages' frames."""
    address, before, messages = MESSAGES[venue]
    pair = Pair([Line(1, address, venue)])
    pair.number = Numbering()
    for payload in before:
        pair.feed(text_frame(venue, payload))
    frames = [text_frame(venue, payload) for payload in messages]
    for frame in frames * 3:
        pair.feed(frame)
    return pair, frames


def text_frame(venue: str, payload: bytes) -> Frame:
    """Return a received frame of `venue`."""
    return Frame(WireForm.TEXT, 1, MESSAGES[venue][0], TS, payload)
