"""A forked child that is killed where it stands: at a counted call of Python's, or at a moment.

The parent has loaded and compiled everything, so that a child costs milliseconds and not a process' start. Nothing
of the child runs after the signal: no handler, no ``finally``, no lock given up but by the system.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["killed_after", "killed_at"]

_SECONDS_MIN = 1e-6


def killed_at(work: Callable[[], object], number: int) -> bool:
    """Run `work` in a child that dies (SIGKILL) at its `number`-th call of or return from anything; False: it ended
    before.

    Raises
    ------
    AssertionError
        When `work` raised.
    """

    def armed() -> None:
        left = [number]

        def step(frame: FrameType, event: str, argument: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(step)

    return _dies(armed, work, signal.SIGKILL)


def killed_after(work: Callable[[], object], seconds: float) -> bool:
    """Run `work` in a child that dies after `seconds`, at whatever instruction; False: it ended before.

    The signal is the timer's own (SIGALRM), which ends a process without a handler as SIGKILL does.
    """

    def armed() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, max(seconds, _SECONDS_MIN))

    return _dies(armed, work, signal.SIGALRM)


def _dies(arm: Callable[[], None], work: Callable[[], object], sign: signal.Signals) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: the child uses none of them
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            arm()
            work()
            sys.setprofile(None)
            signal.setitimer(signal.ITIMER_REAL, 0)
            code = 0
        except BaseException:
            sys.setprofile(None)
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -sign), f"the child failed: {status}"
    return status == -sign
