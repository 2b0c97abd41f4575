"""The messages of NASDAQ TotalView-ITCH 5.0: their types and lengths.

Source: "Nasdaq TotalView-ITCH 5.0" (nasdaqtrader.com), section 1. All fields are big-endian; a message begins with
type, stock locate u16, tracking number u16 and ns since midnight u48.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MESSAGE_BYTES", "MESSAGE_NAMES"]

MESSAGE_NAMES: Final[dict[str, tuple[int, str]]] = {
    "S": (12, "system event"),
    "R": (39, "stock directory"),
    "H": (25, "stock trading action"),
    "Y": (20, "Reg SHO restriction"),
    "L": (26, "market participant position"),
    "V": (35, "MWCB decline level"),
    "W": (12, "MWCB status"),
    "K": (28, "IPO quoting period update"),
    "J": (35, "LULD auction collar"),
    "h": (21, "operational halt"),
    "A": (36, "add order"),
    "F": (40, "add order with attribution"),
    "E": (31, "order executed"),
    "C": (36, "order executed with price"),
    "X": (23, "order cancel"),
    "D": (19, "order delete"),
    "U": (35, "order replace"),
    "P": (44, "trade (non-cross)"),
    "Q": (40, "cross trade"),
    "B": (19, "broken trade"),
    "I": (50, "net order imbalance indicator"),
    "N": (20, "retail price improvement indicator"),
    "O": (48, "direct listing with capital raise"),
}
"""Type to (bytes, name)."""

MESSAGE_BYTES: Final[dict[int, int]] = {ord(kind): size for kind, (size, _) in MESSAGE_NAMES.items()}
"""Type byte to length."""
