"""What each form of a file can hold."""

from __future__ import annotations

__all__ = ["DBN_CHANNELS"]

DBN_CHANNELS = ("book", "trade", "quote")
"""Channels that DBN has records for."""
