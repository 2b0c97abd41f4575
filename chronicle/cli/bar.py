"""A progress bar of moves on a terminal; nothing where the output goes elsewhere."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chronicle.storage.tiers.planning import Move

__all__ = ["Bar"]


class Bar:
    """Shows moves done and planned, bytes, rate and time left. Use it as a context manager."""

    def __init__(self, stream: IO[str]) -> None:
        self._shown = stream.isatty()
        self._stream = stream
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def progress(self, done: int, planned: int, move: Move) -> None:
        """Take in that `done` of `planned` moves are made, `move` the last one."""
        if not self._shown:
            return
        if self._bar is None:
            self._start()
        self._bar.update(
            self._task,
            completed=done,
            total=planned,
            description=f"{move.source} to {move.target}",
            segment=f"{move.segment.queue} {move.segment.number}",
        )

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[segment]}", table_column=None),
        )
        self._bar = Progress(*columns, console=Console(file=self._stream), transient=True)
        self._task = self._bar.add_task("", total=None, segment="")
        self._bar.start()
