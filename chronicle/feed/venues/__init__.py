"""Venue adapters: one file a venue, pure functions from frames to records.

An adapter is imported when it is asked for, so that commands which only name the venues start fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from chronicle.core.errors import ConfigError
from chronicle.feed.symbology import venue_name

if TYPE_CHECKING:
    from chronicle.feed.adapter import Adapter
    from chronicle.feed.instruments import InstrumentRegistry
    from chronicle.feed.venues.messages import MessageAdapter

__all__ = ["Venue", "adapter_for", "venues"]


@dataclass(frozen=True, slots=True)
class Venue:
    """One venue that the feed reads.

    `channels` are the venue's own channel names, `captures` the capture formats that can hold it.
    """

    name: str
    description: str
    channels: tuple[str, ...]
    captures: tuple[str, ...]
    adapter: str
    """Module and class, as ``kraken:KrakenAdapter``."""

    def to_dict(self) -> dict[str, Any]:
        """Return what ``chronicle feed venues --json`` prints."""
        return {
            "name": self.name,
            "description": self.description,
            "channels": list(self.channels),
            "captures": list(self.captures),
        }


_BINANCE_CHANNELS = ("depth", "trade", "aggTrade", "bookTicker", "depth5/10/20", "GET depth", "GET exchangeInfo")

_VENUES: Final = (
    Venue(
        "binance",
        "Binance spot",
        _BINANCE_CHANNELS,
        ("wire", "cryptofeed", "hftbacktest"),
        "binance:BinanceAdapter",
    ),
    Venue(
        "binance-coinm",
        "Binance COIN-M futures",
        _BINANCE_CHANNELS,
        ("wire", "cryptofeed", "hftbacktest"),
        "binance_futures:BinanceCoinAdapter",
    ),
    Venue(
        "binance-us",
        "Binance.US spot",
        _BINANCE_CHANNELS,
        ("wire", "cryptofeed"),
        "binance:BinanceUsAdapter",
    ),
    Venue(
        "binance-usdm",
        "Binance USD-M futures",
        _BINANCE_CHANNELS,
        ("wire", "cryptofeed", "hftbacktest"),
        "binance_futures:BinanceUsdAdapter",
    ),
    Venue(
        "bitfinex",
        "Bitfinex WebSocket v2: trading pairs and perpetuals",
        ("book P0-P4", "trades"),
        ("wire", "cryptofeed"),
        "bitfinex:BitfinexAdapter",
    ),
    Venue(
        "bitget",
        "Bitget WebSocket v2 and v1: spot and contracts",
        ("books", "books1/5/15", "trade", "ticker (with sizes)", "GET symbols", "GET contracts"),
        ("wire", "cryptofeed"),
        "bitget:BitgetAdapter",
    ),
    Venue(
        "bitmex",
        "BitMEX",
        ("orderBookL2", "orderBookL2_25", "orderBook10", "trade", "quote", "GET instrument"),
        ("wire", "cryptofeed"),
        "bitmex:BitmexAdapter",
    ),
    Venue(
        "bybit",
        "Bybit API v5: spot, linear and inverse contracts, options",
        ("orderbook.1/50/200/500/1000", "publicTrade", "tickers", "GET instruments-info"),
        ("wire", "cryptofeed", "bybit"),
        "bybit:BybitAdapter",
    ),
    Venue(
        "coinbase",
        "Coinbase Advanced Trade",
        ("level2", "market_trades", "ticker", "ticker_batch", "GET products"),
        ("wire", "cryptofeed"),
        "coinbase:CoinbaseAdapter",
    ),
    Venue(
        "coinbase-exchange",
        "Coinbase Exchange (the former Pro and GDAX)",
        ("level2", "level2_batch", "matches", "ticker (with sizes)", "ticker_batch", "heartbeat", "GET products"),
        ("wire", "cryptofeed"),
        "coinbase_exchange:CoinbaseExchangeAdapter",
    ),
    Venue(
        "dbn",
        "Databento files: venue by dataset (cme, nasdaq, nyse, eurex ...)",
        ("mbo", "mbp-1", "mbp-10", "tbbo", "trades", "definition", "status"),
        ("wire", "dbn"),
        "dbn:DbnAdapter",
    ),
    Venue(
        "deribit",
        "Deribit API v2: perpetuals, futures, options, spot",
        ("book", "trades", "ticker", "quote", "GET get_instruments"),
        ("wire", "cryptofeed"),
        "deribit:DeribitAdapter",
    ),
    Venue(
        "gateio",
        "Gate.io spot, API v4",
        ("order_book_update", "trades", "book_ticker", "GET order_book", "GET currency_pairs"),
        ("wire", "cryptofeed"),
        "gateio:GateioAdapter",
    ),
    Venue(
        "iex",
        "IEX: DEEP 1.0, TOPS 1.5/1.6, DEEP+ 1.0 over IEX-TP",
        ("price levels", "orders (DEEP+)", "quote", "trade", "states, auctions"),
        ("wire", "pcap"),
        "iex:IexAdapter",
    ),
    Venue(
        "kraken",
        "Kraken spot, WebSocket v1 and v2",
        ("book", "trade", "ticker", "spread", "GET AssetPairs"),
        ("wire", "cryptofeed"),
        "kraken:KrakenAdapter",
    ),
    Venue(
        "kraken-futures",
        "Kraken Futures WebSocket v1",
        ("book", "trade", "ticker (with sizes)", "GET instruments"),
        ("wire", "cryptofeed"),
        "kraken_futures:KrakenFuturesAdapter",
    ),
    Venue(
        "kucoin",
        "KuCoin spot",
        ("/market/level2", "/market/match", "/market/ticker", "GET orderbook/level2", "GET symbols"),
        ("wire", "cryptofeed"),
        "kucoin:KucoinAdapter",
    ),
    Venue(
        "nasdaq",
        "NASDAQ: TotalView-ITCH 5.0 in files and over MoldUDP64; LOBSTER's rows",
        ("orders", "trade", "states, auctions", "message + orderbook (LOBSTER)"),
        ("wire", "itch", "pcap", "lobster"),
        "nasdaq:NasdaqAdapter",
    ),
    Venue(
        "nasdaq-bx",
        "Nasdaq BX: TotalView-ITCH 5.0",
        ("orders", "trade", "states"),
        ("wire", "itch", "pcap"),
        "nasdaq:BxAdapter",
    ),
    Venue(
        "nasdaq-psx",
        "Nasdaq PSX: TotalView-ITCH 5.0",
        ("orders", "trade", "states"),
        ("wire", "itch", "pcap"),
        "nasdaq:PsxAdapter",
    ),
    Venue(
        "okx",
        "OKX (OKEX) API v5: spot, swaps, futures, options",
        (
            *("books", "books-l2-tbt", "books50-l2-tbt", "books5", "bbo-tbt", "trades", "trades-all", "tickers"),
            "GET instruments",
        ),
        ("wire", "cryptofeed"),
        "okx:OkxAdapter",
    ),
    Venue(
        "polygon",
        "Polygon.io (Massive): US stocks and forex",
        ("T", "Q", "C", "LULD", "status", "GET reference/tickers"),
        ("wire", "cryptofeed"),
        "polygon:PolygonAdapter",
    ),
    Venue(
        "tardis",
        "Tardis.dev CSV: venue by exchange (binance-usdm, deribit, bitmex ...)",
        ("incremental_book_L2", "book_snapshot_N", "trades", "quotes"),
        ("wire", "tardis"),
        "tardis:TardisAdapter",
    ),
)


def venues() -> list[Venue]:
    """Return the venues that have an adapter, by name."""
    return list(_VENUES)


def adapter_for(venue: str, registry: InstrumentRegistry, *, scanning: bool = True) -> Adapter:
    """Return a new adapter of `venue` (any case; OKEX is okx) that numbers its instruments in `registry`.

    With `scanning`, the messages of a venue that declares shapes are scanned by kernels first; the records are the
    same without.

    Raises
    ------
    ConfigError
        When no adapter reads `venue`.
    """
    wanted = venue_name(venue)
    for known in _VENUES:
        if known.name == wanted:
            module, _, name = known.adapter.partition(":")
            adapter: Adapter = getattr(import_module(f"chronicle.feed.venues.{module}"), name)(registry)
            if not scanning or not getattr(adapter, "shapes", None):
                return adapter
            from chronicle.feed.scanning import ScanningAdapter

            return ScanningAdapter(cast("MessageAdapter", adapter))
    names = ", ".join(known.name for known in _VENUES)
    raise ConfigError(
        f"no adapter reads the venue {venue!r}", expected=names, hint="`chronicle feed venues` lists them"
    )
