"""Exact numbers of bytes out of a file that is read in pieces, plain or compressed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from chronicle.core.errors import DecodeError
from chronicle.feed.captures.text import read_chunks

__all__ = ["BytesReader"]


class BytesReader:
    """Reads a capture file front to back.

    Attributes
    ----------
    offset : int
        Bytes taken so far, of the uncompressed content.
    torn : DecodeError or None
        Why the content ended before its end (compressed data that are torn or damaged), once it is known.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.torn: DecodeError | None = None
        self._chunks: Iterator[bytes] = read_chunks(path)
        self._rest = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end of the content."""
        at = self._at
        end = at + size
        if end > len(self._rest):
            self._fill(size)
            at, end = 0, min(size, len(self._rest))
        data = self._rest[at:end]
        self._at = end
        self.offset += len(data)
        return data

    def _fill(self, size: int) -> None:
        parts = [self._rest[self._at :]]
        have = len(parts[0])
        try:
            while have < size:
                chunk = next(self._chunks, b"")
                if not chunk:
                    break
                parts.append(chunk)
                have += len(chunk)
        except DecodeError as error:
            self.torn = error
        self._rest = b"".join(parts)
        self._at = 0
