"""A doorbell turns a queue's futex into a file descriptor, for event loops that wait on descriptors.

A futex cannot be polled, so one thread waits on it while the bell is armed and then writes an eventfd. Nothing runs
while it is not armed. Measured against polling with adaptive sleep: decision 7.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from chronicle.core.errors import ChronicleError

if TYPE_CHECKING:
    from chronicle.core.tailer import Tailer

__all__ = ["Doorbell"]

_SLICE_NS = 50_000_000


class Doorbell:
    """Rings (becomes readable) once when the tailer has something to read after :meth:`arm`.

    Between `arm` and the ring the tailer belongs to the bell's thread: do not touch it. Works with ``selectors``,
    asyncio's ``add_reader``, or anything else that takes :meth:`fileno`.
    """

    def __init__(self, tailer: Tailer) -> None:
        self._tailer = tailer
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._armed = threading.Semaphore(0)
        self._closing = False
        self._error: ChronicleError | None = None
        self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._descriptor

    def arm(self) -> None:
        """Ring when there is something to read."""
        self._armed.release()

    def answer(self) -> None:
        """Silence the bell after it rang.

        Raises
        ------
        ChronicleError
            What looking into the queue met.
        """
        os.eventfd_read(self._descriptor)
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """End the thread (within one wait slice) and close the descriptor."""
        self._closing = True
        self._armed.release()
        self._tailer.interrupt()
        self._thread.join()
        os.close(self._descriptor)

    def _run(self) -> None:
        while True:
            self._armed.acquire()
            try:
                while not self._closing and not self._tailer.wait(_SLICE_NS):
                    pass
            except ChronicleError as error:
                self._error = error
            if self._closing:
                return
            os.eventfd_write(self._descriptor, 1)
