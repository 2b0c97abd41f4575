"""Tasks done ahead by a few threads, their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

T = TypeVar("T")


def in_order(tasks: Iterator[Callable[[], T]], threads: int) -> Iterator[T]:
    """Yield the results of tasks in their order; with several threads, so many are worked on ahead.

    The iterator itself runs in the caller's thread, so reads belong there. At most `threads` results wait. An error
    comes in the place of its result; what was begun is waited for, and nothing more is.

    Parameters
    ----------
    tasks : iterator of callables without arguments
    threads : int
        1: no thread is made, each task is done when its result is asked for.
    """
    if threads <= 1:
        for task in tasks:
            yield task()
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="chronicle-decode")
    waiting: deque[Future[T]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(task))
            if len(waiting) >= threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
