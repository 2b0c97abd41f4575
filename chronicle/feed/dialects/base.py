"""What every dialect shares: a feed's specification, the venue's limits, and requests in parts that it takes."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

from chronicle.core.errors import ConfigError, SymbolError
from chronicle.feed.symbology import candidates, from_venue, to_venue

__all__ = ["CHANNELS", "Dialect", "FeedSpec", "parts", "text_of", "venue_symbols"]

CHANNELS: Final = ("book", "trade", "quote")
LINES_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class FeedSpec:
    """What is wanted of one venue; the venue's limits may make several connections of it.

    Parameters
    ----------
    venue : str
        A venue that has a live dialect.
    url : str
        Address of the WebSocket; empty for the venue's public one.
    symbols : tuple of str
        In the venue's own spelling (``XBT/EUR``) or the canonical one (``kraken:BTC-EUR``).
    channels : tuple of str
        Of ``book``, ``trade``, ``quote``.
    depth : int
        Depth of the book where the venue lets one choose.
    rest_url : str, optional
        Root of the venue's HTTP interface for lists and snapshots; None: the public one when `url` is empty, else
        none is asked.
    lines : int
        How many redundant connections carry the same; each is a source of its own in the raw queue.
    market : str
        Which of a venue's markets one connection is about, where each has its own address; empty: all of them.
    key : str
        What a venue that does not talk to everyone wants to hear first; kept out of queues and logs.
    """

    venue: str
    url: str = ""
    symbols: tuple[str, ...] = ()
    channels: tuple[str, ...] = CHANNELS
    depth: int = 100
    rest_url: str | None = None
    lines: int = 1
    market: str = ""
    key: str = field(default="", repr=False)


def venue_symbols(spec: FeedSpec) -> list[str]:
    """Return the symbols of a feed in the venue's spelling, each once.

    Raises
    ------
    SymbolError
        When one cannot be a symbol of the venue.
    """
    found: dict[str, None] = {}
    for text in spec.symbols:
        if ":" in text and not text.startswith("t"):  # tTESTBTC:TESTUSD is a name of Bitfinex
            venue, _, name = text.partition(":")
            symbols = candidates(venue, name)
            found[to_venue(symbols[0]) if symbols else name] = None
        else:
            found[text] = None
    return list(found)


class Dialect(ABC):
    """How to speak to one venue on one connection: texts and addresses, and what the venue allows.

    A dialect opens nothing and reads no clock. What it must remember of a connection (the numbers that Bitfinex gives
    to channels) it learns by :meth:`hear`, and forgets at :meth:`begin`.
    """

    venue: ClassVar[str]
    public_url: ClassVar[str]
    public_rest: ClassVar[str]
    names: ClassVar[Mapping[str, str]]
    """The venue's names of our channels; a channel that is not here does not exist at the venue."""
    keep_alive_seconds: float = 20.0
    """A text of :meth:`keep_alive` is due this often, also while the venue talks."""
    streams_max: ClassVar[int] = 0
    """Streams (symbols times channels) that one connection may carry; 0: no bound is known."""
    items_max: ClassVar[int] = 100
    """Symbols or streams in one request."""
    request_bytes_max: ClassVar[int] = 0
    """Bytes of one request; 0: no bound is known."""
    send_seconds: ClassVar[float] = 0.0
    """Pause between two messages to the venue."""
    rest_per_second: ClassVar[float] = 5.0
    rest_burst: ClassVar[int] = 10
    starts_on_stream: ClassVar[bool] = True
    """Whether a book's start comes on the connection, so that renewing a stream proves whether it lives."""
    quiet: ClassVar[bool] = False
    """Whether the venue says nothing for hours (a market that closes): the WebSocket's pings prove the line then."""

    def __init__(self, spec: FeedSpec) -> None:
        if spec.url and not spec.url.startswith(("ws://", "wss://")):
            raise ConfigError("a feed's address is no WebSocket", expected="ws:// or wss://", found=spec.url)
        self.spec = spec
        self.url = spec.url or self.public_url
        self.rest = self.rest_root(spec)
        self.symbols = self.own_symbols(spec)
        self.channels = tuple(channel for channel in spec.channels if channel in self.names)

    @classmethod
    def rest_root(cls, spec: FeedSpec) -> str:
        """Return the root of the HTTP interface; empty when none is asked."""
        if spec.rest_url is not None:
            return spec.rest_url.rstrip("/")
        return "" if spec.url else cls.public_rest

    @classmethod
    def own_symbols(cls, spec: FeedSpec) -> list[str]:
        """Return the symbols as this venue's requests name them."""
        return venue_symbols(spec)

    @classmethod
    def markets(cls, spec: FeedSpec) -> list[FeedSpec]:
        """Return the specification in parts that have an address each; most venues have one for all."""
        return [spec]

    @classmethod
    def split(cls, spec: FeedSpec) -> list[FeedSpec]:
        """Return one specification per connection that the venue's addresses and limits ask for, for one line."""
        found = []
        for part in cls.markets(spec):
            count = len([channel for channel in part.channels if channel in cls.names]) or 1
            room = cls.streams_max // count if cls.streams_max else len(part.symbols)
            found += [replace(part, symbols=tuple(symbols)) for symbols in parts(part.symbols, max(room, 1))]
        return found

    @property
    def keep_alive(self) -> str | None:
        """The text that keeps the connection, None where frames of the WebSocket itself do."""
        return None

    def resolve(self, known: Callable[[str], bool], find: Callable[[str], str | None]) -> list[str]:
        """Take the venue's own spellings from its instrument list where the rules of spelling do not give them.

        Parameters
        ----------
        known : callable
            Whether the list has a name, as the adapter writes it (with its market).
        find : callable
            The venue's name of a canonical one, None when the list has none.

        Returns
        -------
        list of str
            The wanted symbols that the list does not have: the venue will refuse them, or send nothing.
        """
        unknown = []
        for place, own in enumerate(self.symbols):
            if known(self._listed(own)):
                continue
            listed = next((found for name in self._wanted(own) if (found := find(name)) is not None), None)
            if listed is None:
                unknown.append(own)
            else:
                self.symbols[place] = listed.rpartition("|")[2]
        return unknown

    def _listed(self, symbol: str) -> str:
        """Return one of :attr:`symbols` as the adapter names it."""
        return f"{self.market}|{symbol}" if self.market else symbol

    def _wanted(self, own: str) -> list[str]:
        """Return the canonical names that were asked for and became `own`."""
        return [text for text in self.spec.symbols if own in self.own_symbols(replace(self.spec, symbols=(text,)))]

    def begin(self) -> None:
        """Forget what belonged to the connection before."""

    def hear(self, text: str) -> Sequence[str]:
        """Take note of what the venue said; return what it wants to hear at once."""
        return ()

    @property
    def rest_headers(self) -> dict[str, str]:
        """The headers that HTTP requests carry besides, as a key."""
        return {}

    def recorded(self, text: str) -> str:
        """Return what the wire queue keeps of a text that is sent: all of it but secrets."""
        return text

    def lists(self) -> list[str]:
        """Return the URLs of the venue's instrument lists."""
        return []

    def next_list(self, answer: bytes) -> str | None:
        """Return the URL of the page that follows `answer`, where a list comes in pages."""
        return None

    @abstractmethod
    def subscribe(self) -> list[str]:
        """Return the texts that subscribe to everything."""

    def snapshots(self, symbol: str | None = None) -> list[str]:
        """Return the URLs of book snapshots that the venue does not send itself, of all symbols or one."""
        return []

    def resync(self, symbol: str, channel: str) -> list[str]:
        """Return the texts after which the venue sends a new snapshot of one symbol."""
        return []

    def renew(self, symbol: str, channel: str) -> list[str]:
        """Return the texts that subscribe to one stream anew; also where a resync needs none."""
        return self.resync(symbol, channel)

    def token_request(self) -> str | None:
        """Return the URL to POST to for the address of the next connection; None where `url` is that address."""
        return None

    def address(self, answer: bytes) -> str:
        """Return the address in the answer to the token request.

        Raises
        ------
        OSError
            When the answer names none.
        """
        return self.url

    def carries(self, symbol: str, channel: str) -> bool:
        """Whether the feed is subscribed to `channel` of `symbol` (the venue's spelling, without its market)."""
        return symbol in self.symbols and channel in self.channels

    def canonical(self, symbol: str) -> str:
        """Return the canonical name of one of :attr:`symbols`; empty when it has none."""
        try:
            return from_venue(self.venue, self._listed(symbol)).name
        except SymbolError:
            return ""

    @property
    def market(self) -> str:
        """The market that the adapter puts before a name; empty where names are unique."""
        return ""

    def streams(self) -> list[tuple[str, str]]:
        """Return (symbol, channel) of all that is subscribed."""
        return [(symbol, channel) for symbol in self.symbols for channel in self.channels]


def parts(items: Sequence[Any], count: int) -> list[list[Any]]:
    """Return `items` in parts of at most `count`."""
    return [list(items[start : start + count]) for start in range(0, len(items), count)] if count else [list(items)]


def text_of(value: Any) -> str:
    """Return `value` as compact JSON."""
    return json.dumps(value, separators=(",", ":"))
