"""Where things live in a home, and the reversible names of instruments on disk.

A queue's name is its path relative to the home, as ``clean/kraken/btc_eur/book.q``; it is the same in every tier.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from chronicle.core.errors import ConfigError, SymbolError

__all__ = [
    "clean_queue",
    "escape",
    "feed_of",
    "instrument_folder",
    "lane_of",
    "progress_queue",
    "raw_queue",
    "read_by",
    "split_symbol",
    "unescape",
]

QUEUE_SUFFIX = ".q"
CHANNELS = ("book", "trade", "quote", "candle", "status")
RAW_MAIN = "raw/main.q"
WIRE_MAIN = "wire/main.q"
_VENUE = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)


def split_symbol(symbol: str) -> tuple[str, str]:
    """Return (venue, name) of ``kraken:BTC-EUR``.

    Raises
    ------
    SymbolError
        When there is no venue or no name.
    """
    venue, colon, name = symbol.partition(":")
    if not colon or not name or not _VENUE.fullmatch(venue.lower()):
        raise SymbolError(
            f"cannot read {symbol!r} as an instrument", hint="write it as venue:BASE-QUOTE, kraken:BTC-EUR"
        )
    return venue.lower(), name


def escape(name: str) -> str:
    """Return `name` (``BTC-USDT``) as a path part: lower case, ``-`` as ``_``, all else as ``=XX`` of UTF-8 bytes.

    Only ``a-z 0-9 _ .`` and escapes appear, never a leading dot, so hostile names stay inside their folder. Upper
    case is the plain case: a lower-case letter of the name is escaped. ``unescape`` gives the name back.
    """
    out = []
    for position, byte in enumerate(name.encode("utf-8")):
        char = chr(byte)
        if ("A" <= char <= "Z") or ("0" <= char <= "9"):
            out.append(char.lower())
        elif char == "-":
            out.append("_")
        elif char == "." and position:
            out.append(".")
        else:
            out.append(f"={byte:02x}")
    text = "".join(out)
    if not text or len(text) > 200:
        raise SymbolError(
            f"the instrument name {name[:80]!r} cannot be a folder",
            expected="1 to 200 bytes",
            found=len(text),
        )
    return text


def unescape(part: str) -> str:
    """Return the name that :func:`escape` made `part` from."""
    out = bytearray()
    position = 0
    while position < len(part):
        char = part[position]
        if char == "=":
            try:
                out.append(int(part[position + 1 : position + 3], 16))
            except ValueError as error:
                raise SymbolError(f"{part!r} is no escaped instrument name") from error
            position += 3
            continue
        out += b"-" if char == "_" else char.upper().encode("utf-8")
        position += 1
    return out.decode("utf-8", "replace")


def instrument_folder(symbol: str) -> str:
    """Return the folder of ``kraken:BTC-EUR`` relative to the home: ``clean/kraken/btc_eur``."""
    venue, name = split_symbol(symbol)
    return f"clean/{venue}/{escape(name)}"


def clean_queue(symbol: str, channel: str, lane: int = 0) -> str:
    """Return the queue name of an instrument's channel; lanes above 0 hold backfill: ``book@1.q``."""
    if channel not in CHANNELS:
        raise ConfigError(f"there is no channel {channel!r}", expected=", ".join(CHANNELS), found=channel)
    return f"{instrument_folder(symbol)}/{channel}{_lane_suffix(lane)}{QUEUE_SUFFIX}"


def raw_queue(name: str = "main", lane: int = 0) -> str:
    """Return the queue name of a raw queue: ``raw/main.q``, its first backfill lane ``raw/main@1.q``."""
    return f"raw/{name}{_lane_suffix(lane)}{QUEUE_SUFFIX}"


def wire_queue(name: str = "main", lane: int = 0) -> str:
    """Return the queue name of a wire queue: ``wire/main.q``."""
    return f"wire/{name}{_lane_suffix(lane)}{QUEUE_SUFFIX}"


def feed_of(queue: str) -> str:
    """Return the feed's name in a raw or wire queue's name: ``raw/kraken@1.q`` -> ``kraken``."""
    return Path(queue).name.removesuffix(QUEUE_SUFFIX).split("@")[0]


def progress_queue(shard: str, raw: str) -> str:
    """Return the name of a shard's progress queue for a raw queue: ``etl/SHARD/progress-kraken@1.q``."""
    feed = feed_of(raw)
    name = "progress" if feed == "main" else f"progress-{feed}"
    return f"etl/{shard}/{name}{_lane_suffix(lane_of(raw))}{QUEUE_SUFFIX}"


def read_by(progress: str) -> str:
    """Return the raw queue of a progress queue's name."""
    name = Path(progress).name.removesuffix(QUEUE_SUFFIX).split("@")[0]
    return raw_queue(name.removeprefix("progress").removeprefix("-") or "main", lane_of(progress))


def lane_of(queue: str) -> int:
    """Return the lane number in a queue's name (0 for the main lane)."""
    stem = Path(queue).name.removesuffix(QUEUE_SUFFIX)
    _, mark, lane = stem.rpartition("@")
    return int(lane) if mark and lane.isdigit() else 0


@lru_cache(maxsize=4096)
def channel_of(queue: str) -> str:
    """Return the channel in a clean queue's name."""
    return Path(queue).name.removesuffix(QUEUE_SUFFIX).split("@")[0]


def symbol_of(queue: str) -> str:
    """Return the instrument of a clean queue's name: ``clean/kraken/btc_eur/book.q`` -> ``kraken:BTC-EUR``."""
    parts = queue.split("/")
    if len(parts) != 4 or parts[0] != "clean":
        raise SymbolError(f"{queue!r} is no clean queue", expected="clean/VENUE/base_quote/CHANNEL.q", found=queue)
    return f"{parts[1]}:{unescape(parts[2])}"


def _lane_suffix(lane: int) -> str:
    return f"@{lane}" if lane else ""
