"""Places: what a store is opened on. A home, an archive root, or several of them seen as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

from chronicle.core.errors import ConfigError, NotFoundError, RetiredError
from chronicle.core.layout import SegmentState
from chronicle.core.source import SegmentInfo, SegmentSource, SegmentView
from chronicle.storage.stores.opening import is_url, local_folder
from chronicle.storage.stores.source import open_source

__all__ = ["Joined", "Location", "open_places", "open_version"]

Location = str | PathLike[str]


class Joined:
    """Several sources as one. Each segment is given once: sealed before open, then by the order of the sources."""

    def __init__(self, sources: Sequence[SegmentSource]) -> None:
        self._sources = tuple(sources)

    def queues(self, prefix: str = "") -> list[str]:
        """Return the names of the queues of all sources, sorted."""
        return sorted({name for source in self._sources for name in source.queues(prefix)})

    def segments(self, queue: str) -> list[SegmentInfo]:
        """Return the segments of `queue` in order, each once.

        Of two generations of a queue (it was rebuilt) only the newer is given: their records are not one sequence.
        """
        found: dict[int, SegmentInfo] = {}
        everything = [info for source in self._sources for info in _segments(source, queue)]
        newest = max((info.generation for info in everything), default=0)
        for info in everything:
            known = found.get(info.number)
            if info.generation == newest and (known is None or _completes(info, known)):
                found[info.number] = info
        return [found[number] for number in sorted(found)]

    def sealed_end(self, queue: str) -> int:
        """Return the greatest index that a source with the queue's newest generation was told of."""
        held = [max((info.generation for info in _segments(source, queue)), default=0) for source in self._sources]
        newest = [source for source, number in zip(self._sources, held, strict=True) if number == max(held)]
        return max(source.sealed_end(queue) for source in newest)

    def open(self, queue: str, number: int) -> SegmentView:
        """Open a segment where :meth:`segments` found it, else wherever it is.

        Raises
        ------
        NotFoundError
            When no source has it.
        """
        chosen = next((info for info in self.segments(queue) if info.number == number), None)
        failure: NotFoundError | None = None
        for source in self._sources:
            for info in _segments(source, queue):
                if info.number == number and (chosen is None or info == chosen):
                    try:
                        return source.open(queue, number)
                    except RetiredError:
                        raise
                    except NotFoundError as error:
                        failure = error
        raise failure or NotFoundError(f"segment {number} of {queue} is at none of the places of this store")


def open_version(
    places: Location | Sequence[Location],
    version: int | None,
    as_of: object,
    options: Mapping[str, Any] | None = None,
) -> SegmentSource:
    """Return the source of `places`; with a version or a time, of one home with the clean queues of that version."""
    source = open_places(places, options)
    if version is None and as_of is None:
        return source
    from chronicle.access.trust.versions import Versioned, chosen_version

    chosen = chosen_version(places, version, as_of)
    return Versioned(source, open_places(chosen.path)) if chosen.number else source


def open_places(places: Location | Sequence[Location], options: Mapping[str, Any] | None = None) -> SegmentSource:
    """Return the source of a home directory, an archive root (a folder or a URL), or a list of them.

    Parameters
    ----------
    options : mapping, optional
        For the stores behind URLs, as ``endpoint_url``.

    Raises
    ------
    NotFoundError
        When a path is not there.
    ConfigError
        When the list is empty.
    """
    if isinstance(places, str | PathLike) or not isinstance(places, Sequence):
        return _source(places, options)
    if not places:
        raise ConfigError(
            "a store needs at least one place", expected="a path or a list of paths", found="an empty list"
        )
    sources = [_source(place, options) for place in places]
    return sources[0] if len(sources) == 1 else Joined(sources)


def _source(place: Location, options: Mapping[str, Any] | None) -> SegmentSource:
    if not isinstance(place, str | PathLike) or not fspath(place):
        raise ConfigError("a store is named by a path", expected="a home directory or an archive root", found=place)
    if is_url(fspath(place)):
        return open_source(fspath(place), options)
    path = local_folder(fspath(place))
    if not path.is_dir():
        raise NotFoundError(
            "there is no store" if not path.exists() else "a store is a directory, not a file",
            path=path,
            hint="chronicle init makes a home; chronicle.open takes a home directory or an archive root",
        )
    return open_source(path)


def _segments(source: SegmentSource, queue: str) -> list[SegmentInfo]:
    try:
        return source.segments(queue)
    except NotFoundError:
        return []


def _completes(info: SegmentInfo, known: SegmentInfo) -> bool:
    """Return whether `info` is sealed where `known` is still open."""
    return info.state is SegmentState.SEALED and known.state is not SegmentState.SEALED
