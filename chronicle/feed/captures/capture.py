"""A capture: recorded files, whatever their format, as one stream of frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Final

from chronicle.core.errors import ConfigError, DecodeError, NotFoundError
from chronicle.feed.adapter import Frame
from chronicle.feed.captures.bybit import is_bybit, open_bybit
from chronicle.feed.captures.cryptofeed import is_cryptofeed, open_cryptofeed
from chronicle.feed.captures.dbn import is_dbn, open_dbn
from chronicle.feed.captures.hftbacktest import is_hftbacktest, open_hftbacktest
from chronicle.feed.captures.itch import is_itch, open_itch
from chronicle.feed.captures.lobster import is_lobster, open_lobster
from chronicle.feed.captures.merge import Stream, merge_streams
from chronicle.feed.captures.pcap import is_pcap, open_pcap
from chronicle.feed.captures.tardis import is_tardis, open_tardis
from chronicle.feed.captures.text import first_lines
from chronicle.feed.captures.wire import is_wire, open_wire
from chronicle.feed.marks import Line

__all__ = ["FORMATS", "Capture", "detect_format", "open_capture"]

FORMATS: Final = ("bybit", "cryptofeed", "dbn", "hftbacktest", "itch", "lobster", "pcap", "tardis", "wire")
FILES_MAX: Final = 500
"""Files are open at the same time; more than this would exhaust descriptors."""


@dataclass(frozen=True, slots=True)
class Capture:
    """Recorded files as one stream of frames in the order of ``ts_recv``.

    Attributes
    ----------
    format : str
        One of ``FORMATS``.
    paths : tuple of Path
        The files, in the order in which they were read.
    lines : tuple of Line
        The connections that the capture holds, numbered from 1.
    damage : list of DecodeError
        Filled while :meth:`frames` runs: streams that ended before their end (torn files).
    notes : Counter
        Filled while :meth:`frames` runs: what of the files gives no frame, by name (packets that are not UDP ...).
    """

    format: str
    paths: tuple[Path, ...]
    lines: tuple[Line, ...]
    streams: tuple[Stream, ...]
    damage: list[DecodeError] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def venues(self) -> tuple[str, ...]:
        """The venues of the lines, each once, in their order."""
        return tuple(dict.fromkeys(line.venue for line in self.lines))

    def holds_line(self, path: Path) -> bool:
        """Whether the file at `path` holds market data of a line, not HTTP responses and configuration only."""
        if self.format != "cryptofeed":
            return True
        return any(stream.connection and stream.name == path.name for stream in self.streams)

    def frames(self) -> Iterator[Frame]:
        """Yield all frames, from the start at each call; memory is bounded by the number of streams.

        A line that cannot be read is a frame whose address starts with ``chronicle:damaged:``.
        """
        self.damage.clear()
        self.notes.clear()
        return merge_streams(self.streams, self.damage)


def detect_format(path: Path) -> str:
    """Return the format of the capture at `path`, told by its content.

    Raises
    ------
    NotFoundError
        When it is not there.
    DecodeError
        When it is none that is known.
    """
    path = Path(path)
    if not path.exists():
        raise NotFoundError("there is no such capture file", path=path)
    if is_wire(path):
        return "wire"
    if path.is_dir():
        raise DecodeError("this folder is no home with a wire queue", path=path, hint="give the capture's files")
    if is_pcap(path):
        return "pcap"
    if is_lobster(path):
        return "lobster"
    if is_bybit(path):
        return "bybit"
    if is_dbn(path):
        return "dbn"
    if is_itch(path):
        return "itch"
    head = first_lines(path, 20)
    if is_tardis(head):
        return "tardis"
    if is_hftbacktest(head):
        return "hftbacktest"
    if is_cryptofeed(head):
        return "cryptofeed"
    raise DecodeError(
        "cannot tell the format of the capture",
        path=path,
        expected=" or ".join(FORMATS),
        found=repr(head[0][:60]) if head else "an empty file",
        hint="name it with --format",
    )


def open_capture(
    paths: Sequence[Path | str], format: str | None = None, venue: str | None = None, day: date | None = None
) -> Capture:
    """Open recorded files as one capture.

    Parameters
    ----------
    paths : sequence of Path
        Files (or for ``wire`` a home, a wire queue's folder, or segments), in any order.
    format : str, optional
        One of ``FORMATS``; told by the content when not given.
    venue : str, optional
        Overrides what files and connections are named for.
    day : date, optional
        For ``itch``: the day of the file, where its name tells none.

    Raises
    ------
    ConfigError
        For an unknown format, no file, or files of several formats.
    NotFoundError, DecodeError
        When a file is not there, or is no such capture.
    """
    files = [Path(path) for path in dict.fromkeys(map(str, paths))]
    if not files or len(files) > FILES_MAX:
        raise ConfigError("give the files of a capture", expected=f"1 to {FILES_MAX}", found=len(files))
    for path in files:
        if not path.exists():
            raise NotFoundError("there is no such capture file", path=path)
    if format is None:
        formats = {detect_format(path) for path in files}
        if len(formats) > 1:
            raise ConfigError(
                "the files are of several formats", found=", ".join(sorted(formats)), hint="replay each by itself"
            )
        format = formats.pop()
    if day is not None and format != "itch":
        raise ConfigError("only itch files need a day: other captures carry whole times", found=f"format {format}")
    notes: Counter[str] = Counter()
    openers: dict[str, Callable[[list[Path], str | None], tuple[list[Line], list[Stream]]]] = {
        "bybit": open_bybit,
        "cryptofeed": open_cryptofeed,
        "dbn": open_dbn,
        "hftbacktest": open_hftbacktest,
        "itch": partial(open_itch, day=day),
        "lobster": open_lobster,
        "pcap": partial(open_pcap, notes=notes),
        "tardis": open_tardis,
        "wire": open_wire,
    }
    opener = openers.get(format)
    if opener is None:
        raise ConfigError(f"there is no capture format {format!r}", expected=", ".join(FORMATS), found=format)
    lines, streams = opener(files, venue)
    return Capture(format, tuple(files), tuple(lines), tuple(streams), notes=notes)
