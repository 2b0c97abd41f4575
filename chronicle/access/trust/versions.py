"""Versions of a home's clean queues: the first is the home's own, a rebuild makes another beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from chronicle.core.errors import ConfigError, NotFoundError
from chronicle.core.layout import NONE
from chronicle.core.source import SegmentInfo, SegmentSource, SegmentView
from chronicle.core.times import parse_time

__all__ = ["Version", "Versioned", "chosen_version", "versions_of"]

FOLDER = "rebuilt"
FILE_NAME = "version.json"
CLEAN = "clean/"


@dataclass(frozen=True, slots=True)
class Version:
    """One version: number (0: the home's own), folder, when it was whole (ns UTC, NONE for 0), and what made it."""

    number: int
    path: Path
    made_ns: int
    etl: dict[str, Any]


class Versioned:
    """A home with the clean queues of another version of it."""

    def __init__(self, home: SegmentSource, made: SegmentSource) -> None:
        self._home = home
        self._made = made

    def _source(self, queue: str) -> SegmentSource:
        return self._made if queue.startswith((CLEAN, "etl/")) else self._home

    def queues(self, prefix: str = "") -> list[str]:
        """Return the names of the queues, sorted."""
        names = {name for name in self._home.queues(prefix) if self._source(name) is self._home}
        return sorted(names | {name for name in self._made.queues(prefix) if self._source(name) is self._made})

    def segments(self, queue: str) -> list[SegmentInfo]:
        """Return the segments of `queue` in order."""
        return self._source(queue).segments(queue)

    def sealed_end(self, queue: str) -> int:
        """Return the greatest index that is known to be sealed."""
        return self._source(queue).sealed_end(queue)

    def open(self, queue: str, number: int) -> SegmentView:
        """Open a segment."""
        return self._source(queue).open(queue, number)


def versions_of(home: Path) -> list[Version]:
    """Return the versions of `home` that are whole, the home's own first."""
    found = [Version(0, home, NONE, {})]
    for path in sorted((home / FOLDER).glob(f"*/{FILE_NAME}")):
        try:
            values = json.loads(path.read_bytes())
            found.append(Version(int(path.parent.name), path.parent, int(values["made_ns"]), dict(values["etl"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not one of ours, or being written
    return sorted(found, key=lambda version: version.number)


def chosen_version(place: object, version: int | None, as_of: object) -> Version:
    """Return version number `version`, or the newest that was whole at the time `as_of`.

    Raises
    ------
    ConfigError
        When both are given, or the place is not one home.
    NotFoundError
        When there is no such version.
    """
    if version is not None and as_of is not None:
        raise ConfigError("give version or as_of, not both", found=f"version {version}, as_of {as_of}")
    if not isinstance(place, str | PathLike):
        raise ConfigError("versions are of one home", expected="a path", found=place)
    found = versions_of(Path(fspath(place)).expanduser())
    if version is None:
        moment = parse_time(as_of)
        return max((item for item in found if item.made_ns <= moment), key=lambda item: item.made_ns)
    for item in found:
        if item.number == version:
            return item
    raise NotFoundError(
        f"the home has no version {version}",
        path=fspath(place),
        expected=", ".join(str(item.number) for item in found),
        found=version,
        hint="chronicle etl rebuild makes one",
    )
