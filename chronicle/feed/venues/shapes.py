"""How the busiest venues write their messages, for compiled scans (tags: `chronicle.feed.shapes`).

Sources: the venues' documentation named in their adapters, and the captured frames, which differ from it in the order
of fields. The commonest message of a venue stands first.
"""

from __future__ import annotations

from typing import Final

from chronicle.core.layout import CheckRule, TradeType
from chronicle.feed.scan_state import Record
from chronicle.feed.shapes import Shape

__all__ = ["BINANCE", "BINANCE_COINM", "BINANCE_USDM", "BYBIT", "COINBASE", "KRAKEN", "OKX"]

# --- Binance -----------------------------------------------------------------------------------------------------

_MAKER: Final = "<choice:side:true=65|false=66>"
"""``m``: the buyer was the maker, so the aggressor sold."""
_MATCH: Final = "<choice:ignored:true=1|false=0>"
_BEST: Final = '"b":"<number:price>","B":"<number:size>","a":"<number:ask_price>","A":"<number:ask_size>"'
_BID_ASK: Final = '"b":<levels:bids>,"a":<levels:asks>}'
_FILL: Final = '"p":"<number:price>","q":"<number:size>"'
_RANGE: Final = '"f":<int:trade_id>,"l":<int:trade_last>,"T":<int:time>,"m":' + _MAKER
_STREAM: Final = '{"stream":"<text>","data":'
_AGGREGATE: Final = int(TradeType.AGGREGATE)


def _both(*shapes: Shape) -> tuple[Shape, ...]:
    """Return the shapes within a combined stream's envelope, then bare."""
    return tuple(
        Shape(
            text=head + shape.text + tail,
            record=shape.record,
            empty_rule=shape.empty_rule,
            hollow_rule=shape.hollow_rule,
            trade_type=shape.trade_type,
        )
        for head, tail in ((_STREAM, "}"), ("", ""))
        for shape in shapes
    )


BINANCE: Final = (
    *_both(
        Shape(
            text='{"u":<int:sequence>,"s":"<name:symbol>",' + _BEST + "}",
            record=Record.QUOTE,
            hollow_rule=1,
        ),
        Shape(
            text='{"e":"depthUpdate","E":<int:time>,"s":"<name:symbol>","U":<int:first>,"u":<int:sequence>,'
            + _BID_ASK,
            record=Record.DELTAS,
            empty_rule=1,
        ),
        Shape(
            text='{"e":"trade","E":<int:ignored>,"s":"<name:symbol>","t":<int:trade_id>,'
            f'{_FILL},"T":<int:time>,"m":{_MAKER},"M":{_MATCH}}}',
            record=Record.TRADE,
        ),
        Shape(
            text='{"e":"aggTrade","E":<int:ignored>,"s":"<name:symbol>","a":<int:sequence>,'
            f'{_FILL},{_RANGE},"M":{_MATCH}}}',
            record=Record.TRADE,
            trade_type=_AGGREGATE,
        ),
        Shape(  # until 2023 with the order ids of both sides
            text='{"e":"trade","E":<int:ignored>,"s":"<name:symbol>","t":<int:trade_id>,'
            f'{_FILL},"b":<int:ignored>,"a":<int:ignored>,"T":<int:time>,"m":{_MAKER},"M":{_MATCH}}}',
            record=Record.TRADE,
        ),
    ),
    Shape(
        text='{"stream":"<whole:stream>","data":{"lastUpdateId":<int:sequence>,'
        '"bids":<levels:bids>,"asks":<levels:asks>}}',
        record=Record.SNAPSHOT,
        cut_rule=1,
    ),
)


def _futures(pair: str, quote_head: str) -> tuple[Shape, ...]:
    """Return a futures market's shapes. `pair`: what follows the symbol; a stream's name tells a partial book."""
    symbol = f'"s":"<name:symbol>",{pair}'
    times = '"T":<int:ignored>,"E":<int:time>}}'
    changes = '{"stream":"<changes:stream>","data":'
    return (
        Shape(
            text=_STREAM + "{" + quote_head + symbol + _BEST + "," + times,
            record=Record.QUOTE,
            hollow_rule=1,
        ),
        Shape(
            text=changes
            + '{"e":"depthUpdate","E":<int:time>,"T":<int:ignored>,'
            + f'{symbol}"U":<int:first>,"u":<int:sequence>,"pu":<int:previous>,{_BID_ASK}}}',
            record=Record.DELTAS,
            empty_rule=1,
        ),
        Shape(
            text=_STREAM
            + '{"e":"trade","E":<int:ignored>,"T":<int:time>,"s":"<name:symbol>","t":<int:trade_id>,'
            + f'{_FILL},"X":"<text>","m":{_MAKER}}}}}',
            record=Record.TRADE,
        ),
        Shape(
            text=_STREAM
            + '{"e":"aggTrade","E":<int:ignored>,"a":<int:sequence>,"s":"<name:symbol>",'
            + f"{_FILL},{_RANGE}}}}}",
            record=Record.TRADE,
            trade_type=_AGGREGATE,
        ),
    )


BINANCE_USDM: Final = _futures("", '"e":"bookTicker","u":<int:sequence>,')
BINANCE_COINM: Final = _futures('"ps":"<text>",', '"u":<int:sequence>,"e":"bookTicker",')

# --- OKX ---------------------------------------------------------------------------------------------------------

_OKX_BOOK: Final = (
    '{"arg":{"channel":<choice:depth:"books"=400|"books-l2-tbt"=400|"books50-l2-tbt"=50>,"instId":"<name:symbol>"},'
    '"action":"%s","data":[{"asks":<levels:asks>,"bids":<levels:bids>,"ts":"<digits:time>",'
    '"checksum":<signed:check>%s}]}'
)
_OKX_NUMBERS: Final = (
    ',"prevSeqId":<signed:previous>,"seqId":<signed:sequence>',
    ',"seqId":<signed:sequence>,"prevSeqId":<signed:previous>',
    "",
)
_OKX_TRADE: Final = (
    '{"arg":{"channel":<choice:ignored:"trades"=0|"trades-all"=1>,"instId":"<name:symbol>"},"data":[{"instId":"<text>",'
    '"tradeId":"<digits:trade_id>","px":"<number:price>","sz":"<number:size>",'
    '"side":"<choice:side:buy=66|sell=65>","ts":"<digits:time>"%s}]}'
)
_OKX_TOP: Final = (
    '{"arg":{"channel":"bbo-tbt","instId":"<name:symbol>"},"data":[{'
    '"asks":[["<number:ask_price>","<number:ask_size>","<text>","<text>"]],'
    '"bids":[["<number:price>","<number:size>","<text>","<text>"]],"ts":"<digits:time>","seqId":<signed:sequence>}]}'
)

OKX: Final = (
    *(
        Shape(
            text=_OKX_BOOK % (action, numbers),
            record=record,
            depth_rule=1,
            empty_rule=2,
            check_rule=int(CheckRule.OKX_V5),
        )
        for action, record in (("update", Record.DELTAS), ("snapshot", Record.SNAPSHOT))
        for numbers in _OKX_NUMBERS
    ),
    Shape(text=_OKX_TOP, record=Record.QUOTE),
    *(
        Shape(text=_OKX_TRADE % more, record=Record.TRADE)
        for more in (
            ',"count":"<digits:fills>","source":"<text>","seqId":<signed:sequence>',
            ',"count":"<digits:fills>","seqId":<signed:sequence>',
            ',"count":"<digits:fills>"',
            "",
        )
    ),
)

# --- Kraken v1 ---------------------------------------------------------------------------------------------------

_KRAKEN_BOOKS: Final = (
    '{"a":<levels:asks:timed>,"c":"<digits:check:10>"}',
    '{"b":<levels:bids:timed>,"c":"<digits:check:10>"}',
    '{"a":<levels:asks:timed>},{"b":<levels:bids:timed>,"c":"<digits:check:10>"}',
)

KRAKEN: Final = (
    *(
        Shape(
            text=f'[<int:ignored>,{book},"book-<digits:depth>","<name:symbol>"]',
            record=Record.DELTAS,
            timed=True,
            depth_rule=1,
            check_rule=int(CheckRule.KRAKEN_V1),
            check_zero=True,
            check_decimals=True,
            asks_first=True,
        )
        for book in _KRAKEN_BOOKS
    ),
    Shape(
        text='[<int:ignored>,[["<number:price>","<number:size>","<seconds:newest>","<choice:side:b=66|s=65>",'
        '"<text>","<text>"]],"trade","<name:symbol>"]',
        record=Record.TRADE,
        timed=True,
    ),
    Shape(
        text='[<int:ignored>,["<number:price>","<number:ask_price>","<seconds:newest>","<number:size>",'
        '"<number:ask_size>"],"spread","<name:symbol>"]',
        record=Record.QUOTE,
        timed=True,
    ),
)

# --- Bybit v5 ----------------------------------------------------------------------------------------------------

_BYBIT_HEADS: Final = ('"type":"%s","ts":<int:ignored>', '"ts":<int:ignored>,"type":"%s"')
_BYBIT_BOOK: Final = (
    '"data":{"s":"<text>","b":<levels:bids>,"a":<levels:asks>,'
    '"u":<int:sequence>,"seq":<int:ignored>},"cts":<int:time>}'
)
_FLAG: Final = "<choice:ignored:false=0|true=1>"
_BYBIT_TRADES: Final = (
    (
        '{"T":<int:time>,"s":"<text>","S":"<choice:side:Buy=66|Sell=65>","v":"<number:size>","p":"<number:price>",'
        f'"L":"<text>","i":"<id:trade_id>","BT":{_FLAG},"RPI":{_FLAG},"seq":<int:sequence>}}'
    ),
    (
        '{"i":"<id:trade_id>","T":<int:time>,"p":"<number:price>","v":"<number:size>",'
        f'"S":"<choice:side:Buy=66|Sell=65>","seq":<int:sequence>,"s":"<text>","BT":{_FLAG},"RPI":{_FLAG}}}'
    ),
    (
        '{"T":<int:time>,"s":"<text>","S":"<choice:side:Buy=66|Sell=65>","v":"<number:size>","p":"<number:price>",'
        f'"L":"<text>","i":"<id:trade_id>","BT":{_FLAG}}}'
    ),
)

BYBIT: Final = (
    *(
        Shape(
            text='{"topic":"orderbook.<name:stream>",' + head % kind + "," + _BYBIT_BOOK,
            record=record,
            depth_rule=2,
            empty_rule=1,
        )
        for kind, record in (("delta", Record.DELTAS), ("snapshot", Record.SNAPSHOT))
        for head in _BYBIT_HEADS
    ),
    *(
        Shape(
            text='{"topic":"publicTrade.<name:trade>",' + head % "snapshot" + f',"data":[{trade}]}}',
            record=Record.TRADE,
        )
        for trade in _BYBIT_TRADES
        for head in _BYBIT_HEADS
    ),
)

# --- Coinbase Advanced Trade -------------------------------------------------------------------------------------

_COINBASE_HEAD: Final = '{"channel":"%s","timestamp":"<iso:newest>","sequence_num":<count:sequence>,"events":['
_COINBASE_LEVEL: Final = (
    '<updates:bid|offer|{"side":"|","event_time":"|","price_level":"|","new_quantity":"|"}>'  # text before each part
)
_SUMMARY: Final = (
    *("price", "volume_24_h", "low_24_h", "high_24_h"),
    *("low_52_w", "high_52_w", "price_percent_chg_24_h"),
)

COINBASE: Final = (
    Shape(
        text=_COINBASE_HEAD % "l2_data"
        + '{"type":"update","product_id":"<name:symbol>","updates":'
        + _COINBASE_LEVEL
        + "}]}",
        record=Record.DELTAS,
        timed=True,
    ),
    *(
        Shape(
            text=_COINBASE_HEAD % channel
            + '{"type":"<text>","tickers":[{"type":"ticker","product_id":"<name:symbol>",'
            + "".join(f'"{name}":"<text>",' for name in _SUMMARY)
            + '"best_bid":"<number:price>","best_ask":"<number:ask_price>",'
            + '"best_bid_quantity":"<number:size>","best_ask_quantity":"<number:ask_size>"}]}]}',
            record=Record.QUOTE,
            timed=True,
            hollow_rule=2,
        )
        for channel in ("ticker", "ticker_batch")
    ),
)
