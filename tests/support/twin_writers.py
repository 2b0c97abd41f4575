"""Two feed writers that get the same frames: one that writes directly what scans take, one that knows no scan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest

from chronicle.core.queue import Queue
from chronicle.feed import writer as writer_module
from chronicle.feed.adapter import Frame
from chronicle.feed.lanes import open_lane, prepare_home
from chronicle.feed.marks import CaptureMark, Line, start_frame
from chronicle.feed.venues import adapter_for
from chronicle.feed.writer import FeedWriter

QUEUES = ("wire/main.q", "raw/main.q")


class TwinWriters:
    """Writers of two homes; `direct` writes directly where it can, `plain` never does.

    Parameters
    ----------
    folder : Path
        Where the homes are made.
    monkeypatch : pytest.MonkeyPatch
        Keeps the plain one from scanning.
    segment_bytes : int
        Of both homes' queues.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, segment_bytes: int = 1 << 20) -> None:
        self.number: Callable[[Frame], Frame] = lambda frame: frame
        self.homes = folder / "direct", folder / "plain"
        self.direct = self._writer(self.homes[0], segment_bytes)
        with monkeypatch.context() as patch:
            patch.setattr(writer_module, "adapter_for", partial(adapter_for, scanning=False))
            self.plain = self._writer(self.homes[1], segment_bytes)

    def _writer(self, home: Path, segment_bytes: int) -> FeedWriter:
        prepare_home(home)
        # The writer keeps the `adapter_for` of its module: bind it now.
        chosen = writer_module.adapter_for
        writer = FeedWriter(open_lane(home, 0, segment_bytes=segment_bytes), home)
        registry = writer.registry
        writer.decoder._make_adapter = lambda venue: chosen(venue, registry)
        return writer

    def start(self, lines: Iterable[Line], ts_recv: int) -> None:
        """Begin a capture of `lines`, with their kernels loaded."""
        lines = tuple(lines)
        self.direct.decoder.require(line.venue for line in lines)
        self.write(start_frame(CaptureMark("capture", "test", (), lines), ts_recv))
        self.direct.decoder.require(line.venue for line in lines)

    def write(self, *frames: Frame) -> None:
        """Let both write `frames`."""
        for frame in map(self.number, frames):
            self.direct.write(frame)
            self.plain.write(frame)

    @property
    def scanned(self) -> int:
        """Messages that scans of the direct writer took."""
        return sum(getattr(adapter, "scanned", 0) for adapter in self.direct.decoder._adapters.values())

    def close(self) -> None:
        """Close both, and compare every record of both queues and what they count and noted."""
        counts = [
            (writer.frames, writer.records, writer.events, writer.clamped, writer.last_ts)
            for writer in (self.direct, self.plain)
        ]
        assert counts[0] == counts[1]
        assert self.direct.decoder.streams == self.plain.decoder.streams
        assert self.direct.decoder.lag_ns == self.plain.decoder.lag_ns
        for writer in (self.direct, self.plain):
            writer.finish()
            writer.close()
        for name in QUEUES:
            direct, plain = (_records(home / name) for home in self.homes)
            assert len(direct) == len(plain)
            for index, (ours, theirs) in enumerate(zip(direct, plain, strict=True)):
                assert ours == theirs, (name, index)


def _records(path: Path) -> list[bytes]:
    return [bytes(record.data) for record in Queue.open(path).tailer().drain()]
