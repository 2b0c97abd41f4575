"""Symbols: from what a person types to the canonical name of a captured instrument."""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatchcase

from chronicle.access.opened.segments import Shelf
from chronicle.core.errors import CorruptionError, NotFoundError, SymbolError
from chronicle.core.paths import split_symbol, symbol_of
from chronicle.core.records import InstrumentFields

__all__ = ["Directory", "is_pattern"]

CLOSE_MATCHES = 3


class Directory:
    """The captured instruments of a store, by every name they go by.

    Names are taken in any case: the canonical one (``kraken:BTC-USD``), the venue's own and its aliases as captured
    (``kraken:XBT/USD``), and, without a captured list, the venue's own by its known rules.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._names: dict[str, list[str]] = {}
        self._count = -1
        self._spellings: dict[str, dict[str, str]] = {}

    def symbols(self, *, fresh: bool = False) -> list[str]:
        """Return the canonical names of all instruments with a clean queue, sorted."""
        return sorted(self._channels(fresh=fresh))

    def channels(self, symbol: str, *, fresh: bool = False) -> list[str]:
        """Return the channels of a canonical symbol."""
        return self._channels(fresh=fresh).get(symbol, [])

    def resolve(self, text: str) -> str:
        """Return the canonical name of the captured instrument that `text` names.

        Raises
        ------
        SymbolError
            When nothing captured goes by that name; close names are its hint.
        """
        if not isinstance(text, str):
            raise SymbolError("an instrument is named by text", expected="venue:BASE-QUOTE", found=text)
        found = self._find(text, fresh=False) or self._find(text, fresh=True)
        if found is None:
            raise self._unknown(text)
        return found

    def matching(self, wanted: list[str] | None) -> list[str]:
        """Return the canonical names that `wanted` (names and patterns; None: all) stand for by now, each once.

        Unknown names and patterns that nothing fits are left out.
        """
        names = self.symbols(fresh=True)
        if wanted is None:
            return names
        found: dict[str, None] = {}
        for text in wanted:
            if is_pattern(text):
                found |= dict.fromkeys(name for name in names if fnmatchcase(name.lower(), text.strip().lower()))
                continue
            known = self._find(text, fresh=False)
            if known is not None:
                found[known] = None
        return list(found)

    def definition(self, symbol: str) -> InstrumentFields | None:
        """Return the newest definition of a canonical symbol that can be read.

        A segment that is missing or damaged is passed over: a question about another time needs none of it.
        """
        from chronicle.access.opened.lanes import lanes_of

        for channel in ("book", "trade", "quote"):
            for lane in lanes_of(self._shelf, symbol, channel):
                for info in reversed(self._shelf.segments(lane.queue, fresh=True)):
                    try:
                        definitions = self._shelf.open(info).definitions()
                    except (CorruptionError, NotFoundError):
                        continue
                    if definitions:
                        return definitions[-1][1]
        return None

    def _channels(self, *, fresh: bool) -> dict[str, list[str]]:
        queues = self._shelf.queues("clean/", fresh=fresh)
        if fresh or len(queues) != self._count:
            names: dict[str, list[str]] = {}
            for queue in queues:
                channel = queue.rsplit("/", 1)[1].removesuffix(".q").split("@")[0]
                found = names.setdefault(symbol_of(queue), [])
                if channel not in found:
                    found.append(channel)
            self._names, self._count, self._spellings = names, len(queues), {}
        return self._names

    def _find(self, text: str, *, fresh: bool) -> str | None:
        names = self._channels(fresh=fresh)
        wanted = text if text in names else text.strip()
        if wanted in names:
            return wanted
        venue, name = split_symbol(wanted)
        from chronicle.feed.symbology import candidates, venue_name

        venue = venue_name(venue)
        captured = [symbol for symbol in names if symbol.startswith(f"{venue}:")]
        lowered = f"{venue}:{name}".lower()
        for symbol in captured:
            if symbol.lower() == lowered:
                return symbol
        known = set(captured)
        guess = next((found.name for found in candidates(venue, name) if found.name in known), None)
        if guess is not None and self._spells(guess, name):
            return guess
        return self._own_spellings(venue, captured).get(name.lower()) or guess

    def _spells(self, symbol: str, name: str) -> bool:
        """Return whether the capture itself says that `symbol` goes by `name`; saves asking all instruments."""
        definition = self.definition(symbol)
        return definition is not None and name.lower() in _names_in(definition)

    def _own_spellings(self, venue: str, captured: list[str]) -> dict[str, str]:
        """Return {lower-case venue spelling: canonical} of a venue, from the captured definitions."""
        known = self._spellings.get(venue)
        if known is None:
            known = {}
            for symbol in captured:
                definition = self.definition(symbol)
                for name in _names_in(definition) if definition else ():
                    known.setdefault(name, symbol)
            self._spellings[venue] = known
        return known

    def _unknown(self, text: str) -> SymbolError:
        names = self.symbols()
        lowered = {name.lower(): name for name in names}
        close = get_close_matches(text.strip().lower(), lowered, n=CLOSE_MATCHES, cutoff=0.5)
        if close:
            hint = "close: " + ", ".join(lowered[name] for name in close)
        elif names:
            some = ", ".join(names[:CLOSE_MATCHES])
            hint = f"{len(names)} instruments are captured, as {some}; see store.instruments()"
        else:
            hint = "nothing is captured here yet: chronicle feed replay, then chronicle etl run --drain"
        return SymbolError(f"no captured instrument goes by {text!r}", hint=hint)


def is_pattern(text: object) -> bool:
    """Return whether `text` is a pattern for names: it has ``*`` or ``?``."""
    return isinstance(text, str) and ("*" in text or "?" in text)


def _names_in(definition: InstrumentFields) -> list[str]:
    details = definition.details or {}
    aliases = details.get("aliases") or ()
    names = [details.get("venue_symbol"), *(aliases if isinstance(aliases, list | tuple) else (aliases,))]
    return [str(name).lower() for name in names if name]
