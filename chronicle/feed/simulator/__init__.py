"""A simulated exchange: a real WebSocket and HTTP server that speaks venues' protocols, with faults on demand.

A seeded market speaks as Kraken (v1), OKX (v5), Binance spot, Bitget (v2), Coinbase Exchange or Polygon.io; a capture
is played as the venue that it was recorded from.
"""

from __future__ import annotations

from chronicle.feed.simulator.faults import FAULTS, FaultInjector
from chronicle.feed.simulator.market import DEFAULT_PAIRS, Market, Pair
from chronicle.feed.simulator.server import Faults, SimulatedExchange

__all__ = ["DEFAULT_PAIRS", "FAULTS", "FaultInjector", "Faults", "Market", "Pair", "SimulatedExchange"]
