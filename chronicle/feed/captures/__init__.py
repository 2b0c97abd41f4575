"""Recorded captures: readers of each format, and their frames as one stream in the order of ``ts_recv``."""

from __future__ import annotations

from chronicle.feed.captures.capture import FORMATS, Capture, detect_format, open_capture

__all__ = ["FORMATS", "Capture", "detect_format", "open_capture"]
