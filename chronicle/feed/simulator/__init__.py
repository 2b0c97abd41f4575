"""A simulated exchange: a real WebSocket server that speaks Kraken's protocol v1 over a seeded market."""

from __future__ import annotations

from chronicle.feed.simulator.market import DEFAULT_PAIRS, Market, Pair
from chronicle.feed.simulator.server import Faults, SimulatedExchange

__all__ = ["DEFAULT_PAIRS", "Faults", "Market", "Pair", "SimulatedExchange"]
