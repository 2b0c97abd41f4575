"""What wakes the agent before its next look: a segment that was sealed in one of the home's queues.

Events only save waiting. The agent looks at everything now and then anyway, so that an event that was lost, or a
file system that tells nothing (NFS), costs time and nothing else.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chronicle.core.layout import SEGMENT_SEALED_SUFFIX

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver

__all__ = ["SealWatch"]

FOLDERS: Final = ("raw", "wire", "clean")


class SealWatch:
    """Sets an event when a segment is sealed below a home. Use it as a context manager.

    Parameters
    ----------
    home : path
        Its queues' folders need not be there yet; `raw` may be a link.
    wake : threading.Event
        Set from another thread.

    Attributes
    ----------
    failure : str
        Why nothing is watched, where it cannot be (too many folders for inotify, watchdog not installed); else empty.
    """

    def __init__(self, home: str | Path, wake: threading.Event) -> None:
        self._home = Path(home)
        self._wake = wake
        self._observer: BaseObserver | None = None
        self.failure = ""

    def __enter__(self) -> SealWatch:
        try:
            from watchdog.events import FileSystemEventHandler
            from watchdog.observers import Observer
        except ImportError:
            self.failure = "the package watchdog is not installed"
            return self
        wake = self._wake

        class Sealed(FileSystemEventHandler):
            def on_any_event(self, event: Any) -> None:
                names = (event.src_path, getattr(event, "dest_path", ""))
                if any(str(name).endswith(SEGMENT_SEALED_SUFFIX) for name in names) and event.event_type in KINDS:
                    wake.set()

        observer = Observer()
        try:
            for name in FOLDERS:
                folder = self._home / name
                if folder.is_dir():
                    observer.schedule(Sealed(), str(folder.resolve()), recursive=True)
            observer.start()
        except OSError as error:
            self.failure = str(error.strerror or error)
            return self
        self._observer = observer
        return self

    def __exit__(self, *_: object) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()


KINDS: Final = frozenset({"created", "moved", "closed"})
"""A sealed file appears by a rename; the agent's own deletions wake nobody."""
