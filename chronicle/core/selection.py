"""Which instruments belong to a shard: patterns, venues, and a share by hash."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import xxhash

from chronicle.core.errors import ConfigError

__all__ = ["SHARES_MAX", "Selection", "parse_share"]

SHARES_MAX = 4096


def parse_share(text: str) -> tuple[int, int]:
    """Return (number, count) of ``2/8``: the second of eight equal shares.

    Raises
    ------
    ConfigError
        When it is no share.
    """
    number, slash, count = text.partition("/")
    if not slash or not (number.isascii() and number.isdigit() and count.isascii() and count.isdigit()):
        raise ConfigError(f"{text[:40]!r} is no share", expected="2/8, the second of eight", found=text[:40])
    return int(number[:6]), int(count[:6])


@dataclass(frozen=True, slots=True)
class Selection:
    """What a shard works on: an instrument must match a pattern, be of a named venue, and fall into the share.

    Parameters
    ----------
    symbols : tuple of str
        Globs over ``venue:NAME``, case aside.
    venues : tuple of str
        Venue names; none: all.
    share : (int, int)
        (number from 1, count): instruments whose hash is `number - 1` modulo `count`. The hash is XXH3-64 of the
        lower-case symbol in UTF-8, the same on every host and for ever.

    Raises
    ------
    ConfigError
        When the share is out of range.
    """

    symbols: tuple[str, ...] = ("*",)
    venues: tuple[str, ...] = ()
    share: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        number, count = self.share
        if not 1 <= number <= count <= SHARES_MAX:
            raise ConfigError(
                "a share is out of range", expected=f"1/1 to {SHARES_MAX}/{SHARES_MAX}", found=f"{number}/{count}"
            )

    def selects(self, symbol: str) -> bool:
        """Return whether ``venue:NAME`` is selected."""
        name = symbol.lower()
        if self.venues and name.partition(":")[0] not in self.venues:
            return False
        number, count = self.share
        if count > 1 and xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogatepass")) % count != number - 1:
            return False
        return any(fnmatchcase(name, pattern.lower()) for pattern in self.symbols)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as progress queues and checkpoints carry them."""
        return {"symbols": list(self.symbols), "venues": list(self.venues), "share": list(self.share)}

    @classmethod
    def of(cls, values: dict[str, Any]) -> Selection:
        """Return what :meth:`to_dict` gave."""
        number, count = values["share"]
        return cls(tuple(values["symbols"]), tuple(values["venues"]), (int(number), int(count)))
