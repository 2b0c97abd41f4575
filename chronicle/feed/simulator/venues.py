"""Which venues a seeded market can speak as."""

from __future__ import annotations

from typing import Final

from chronicle.feed.simulator.bitget import BitgetSpeaker
from chronicle.feed.simulator.coinbase_exchange import CoinbaseExchangeSpeaker
from chronicle.feed.simulator.polygon import PolygonSpeaker
from chronicle.feed.simulator.speakers import BinanceSpeaker, KrakenSpeaker, OkxSpeaker, Speaker

__all__ = ["SPEAKERS"]

_ALL: Final[tuple[type[Speaker], ...]] = (
    *(KrakenSpeaker, OkxSpeaker, BinanceSpeaker),
    *(BitgetSpeaker, CoinbaseExchangeSpeaker, PolygonSpeaker),
)
SPEAKERS: Final[dict[str, type[Speaker]]] = {speaker.venue: speaker for speaker in _ALL}
"""By the venue's name."""
