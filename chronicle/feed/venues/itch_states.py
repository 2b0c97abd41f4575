"""What ITCH 5.0's administrative messages say, as the details of STATUS records.

Source: "Nasdaq TotalView-ITCH 5.0", sections 1.1, 1.2 and 1.6 to 1.8. Prices are mantissas of four decimals; those of
the market-wide circuit breaker's levels have eight.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from chronicle.core.layout import StatusCode

__all__ = ["describe"]

_EVENTS: Final = {
    "O": "start of messages",
    "S": "start of system hours",
    "Q": "start of market hours",
    "M": "end of market hours",
    "E": "end of system hours",
    "C": "end of messages",
}
_TRADING: Final = {
    "H": (StatusCode.HALTED, "halted"),
    "P": (StatusCode.HALTED, "paused"),
    "Q": (StatusCode.VENUE, "quotation only"),
    "T": (StatusCode.RESUMED, "trading"),
}
_REG_SHO: Final = {"0": "no price test", "1": "price test", "2": "price test in effect"}
_OPERATIONAL: Final = {"H": (StatusCode.HALTED, "operational halt"), "T": (StatusCode.RESUMED, "operational")}
_NOII: Final = struct.Struct(">QQc8sIIIcc")
_DIRECT: Final = struct.Struct(">cIIIQII")


def describe(kind: str, message: bytes) -> tuple[StatusCode, dict[str, Any]]:
    """Return the code and details of a message of type `kind`, which has the length of its type.

    ``channel`` in the details keeps what is not about a book (``status``, ``auction``, ``trade``) out of it.
    """
    text = message.decode("latin-1")
    code = StatusCode.VENUE
    details: dict[str, Any]
    match kind:
        case "S":
            details = {"event": _EVENTS.get(text[11], "unknown"), "code": text[11]}
        case "R":
            details = {"channel": "status", "state": "listed", "financial_status": text[20], "luld_tier": text[31]}
        case "H":
            code, state = _TRADING.get(text[19], (code, "unknown"))
            details = {"state": state, "code": text[19], "reason": text[21:25].strip()}
        case "Y":
            details = {"channel": "status", "state": _REG_SHO.get(text[19], "unknown"), "code": text[19]}
        case "L":
            details = {
                "channel": "status",
                "state": "market participant",
                "participant": text[11:15].strip(),
                "primary": text[23] == "Y",
                "mode": text[24],
                "code": text[25],
            }
        case "V":
            levels = struct.unpack_from(">QQQ", message, 11)
            details = {"state": "MWCB levels", "levels": list(levels), "decimals": 8}
        case "W":
            details = {"state": "MWCB breached", "code": text[11]}
        case "K":
            release, qualifier, price = struct.unpack_from(">IcI", message, 19)
            details = {"channel": "status", "state": "IPO quoting period", "release_s": release, "price": price}
            details["code"] = qualifier.decode("latin-1")
        case "J":
            reference, upper, lower, extension = struct.unpack_from(">IIII", message, 19)
            details = {"channel": "auction", "state": "LULD auction collar", "reference_price": reference}
            details |= {"upper": upper, "lower": lower, "extension": extension}
        case "h":
            code, state = _OPERATIONAL.get(text[20], (code, "unknown"))
            details = {"state": state, "code": text[20], "market": text[19]}
        case "B":
            match_number = struct.unpack_from(">Q", message, 11)[0]
            details = {"channel": "trade", "state": "trade broken", "trade_id": match_number}
        case "I":
            details = _imbalance(message)
        case "N":
            details = {"channel": "status", "state": "retail interest", "code": text[19]}
        case "O":
            names = ("eligible", "low", "high", "near_price", "near_time_ns", "collar_low", "collar_high")
            values = _DIRECT.unpack_from(message, 19)
            details = {"channel": "auction", "state": "direct listing", **dict(zip(names, values, strict=True))}
            details["eligible"] = values[0].decode("latin-1")
        case _:
            details = {"channel": "status", "state": "unknown", "code": kind}
    return code, details


def _imbalance(message: bytes) -> dict[str, Any]:
    paired, imbalance, direction, _, far, near, reference, cross, variation = _NOII.unpack_from(message, 11)
    return {
        "channel": "auction",
        "state": "imbalance",
        "paired": paired,
        "imbalance": imbalance,
        "direction": direction.decode("latin-1"),
        "far_price": far,
        "near_price": near,
        "reference_price": reference,
        "cross": cross.decode("latin-1"),
        "variation": variation.decode("latin-1"),
    }
