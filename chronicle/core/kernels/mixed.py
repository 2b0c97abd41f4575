"""Appending many events of mixed record kinds: the batch kernel over words whose lengths nobody has checked yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chronicle.core.kernels.batch import append_words

if TYPE_CHECKING:
    from chronicle.core.appender import Appender

__all__ = ["append_mixed"]


def append_mixed(appender: Appender, words: Any) -> int:
    """Append whole events that lie side by side and return the index of the first record.

    Parameters
    ----------
    words : uint64[n]
        The bytes of the events, each ending at a record with F_LAST. Records of one event share one ts_recv.

    Raises
    ------
    RecordError
        When a length or kind is impossible or the last event is not ended; the events before it are appended.
    """
    return append_words(appender, np.ascontiguousarray(words).view(np.int64))
