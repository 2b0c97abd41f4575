"""A progress bar of moves on a terminal; nothing where the output goes elsewhere."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from chronicle.cli.progress import text_width

if TYPE_CHECKING:
    from chronicle.storage.tiers.planning import Move, Plan

__all__ = ["Bar"]


class Bar:
    """Shows bytes moved and planned, rate, time left and the last segment, from the start on. A context manager.

    Parameters
    ----------
    stream : text stream
        Drawn on where it is a terminal.
    planned : Plan, optional
        What is about to be done; without it the bar begins with the first move.
    """

    def __init__(self, stream: IO[str], planned: Plan | None = None) -> None:
        self._shown = stream.isatty()
        self._stream = stream
        self._bar: Any = None
        self._task: Any = None
        self._bytes = 0
        self._planned_bytes = 0
        if self._shown and planned is not None and planned.moves:
            self._planned_bytes = sum(move.source_bytes for move in planned.moves)
            self._start(f"{planned.moves[0].source} to {planned.moves[0].target}", len(planned.moves))

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Take it from the screen; the next move draws it anew."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def progress(self, done: int, planned: int, move: Move) -> None:
        """Take in that `done` of `planned` moves are made, `move` the last one."""
        if not self._shown:
            return
        if done <= 1:
            self._bytes = 0  # of a further run
        self._bytes += move.source_bytes
        words = f"{move.source} to {move.target}"
        if self._bar is None:
            self._start(words, planned)
        self._bar.update(
            self._task,
            completed=self._planned_bytes if done == planned else self._bytes,
            total=self._planned_bytes or None,
            description=words,
            moves=f"{done}/{planned}",
            segment=f"{move.segment.queue} {move.segment.number}",
        )

    def _start(self, words: str, planned: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        last = Column(no_wrap=True, overflow="ellipsis", max_width=text_width())
        columns = (
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[moves]}", table_column=Column(no_wrap=True)),
            DownloadColumn(binary_units=True, table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[segment]}", table_column=last),
        )
        self._bar = Progress(*columns, console=Console(file=self._stream), transient=True)
        total = self._planned_bytes or None
        self._task = self._bar.add_task(words, total=total, moves=f"0/{planned}", segment="the first run compiles")
        self._bar.start()
