"""A recorder appends records of one kind and one size: what :meth:`Appender.append` decides anew is decided once.

The commit word is a constant, header and body are packed by one call, and the arguments are positional: together a
half of what the general call costs (decision 6 has the measurements).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Protocol

from chronicle.core.errors import RecordError
from chronicle.core.layout import HEADER_BYTES, NONE, RECORD_BYTES_MAX, Flag, Kind, word

if TYPE_CHECKING:
    from chronicle.core.appender import Appender

__all__ = ["Recorder", "recorder"]


class Recorder(Protocol):
    """Append one record of the recorder's kind as an event of its own and return its index."""

    def __call__(
        self,
        ts_recv: int,
        body: bytes,
        ts_event: int = 0,
        instrument: int = 0,
        source_index: int = NONE,
        sequence: int = NONE,
        source: int = 0,
        ordinal: int = 0,
    ) -> int:
        """Append; a body shorter than the recorder's size is padded with zeros, a longer one is refused."""
        ...


def recorder(appender: Appender, kind: int, body_bytes: int, *, flags: int = 0, side: int = 0) -> Recorder:
    """Return the recorder; see :meth:`Appender.recorder`."""
    length = (HEADER_BYTES + body_bytes + 7) & -8
    if body_bytes < 0 or length > RECORD_BYTES_MAX or kind in (0, Kind.ROLL) or not 0 <= kind <= 0xFFFF:
        raise RecordError(
            f"there are no records of kind {kind} with a body of {body_bytes} bytes",
            expected=f"a body up to {RECORD_BYTES_MAX - HEADER_BYTES} bytes, a kind that readers skip or know",
            found=(int(kind), body_bytes),
        )
    head = word(length, int(kind), int(flags) | Flag.LAST, int(side))
    pack = struct.Struct(f"<qqqIHHq{body_bytes}s").pack_into
    waiters = appender._waiters
    # A snapshot gets a seek entry each: it takes the long way always.
    reach = length if kind != Kind.BOOK_SNAPSHOT else 1 << 62

    def put(
        ts_recv: int,
        body: bytes,
        ts_event: int = 0,
        instrument: int = 0,
        source_index: int = NONE,
        sequence: int = NONE,
        source: int = 0,
        ordinal: int = 0,
    ) -> int:
        position = appender._position
        if (
            position + reach > appender._soft
            or not appender.last_ts_recv <= ts_recv < appender._cycle_end
            or len(body) > body_bytes
        ):
            if len(body) > body_bytes:
                raise RecordError("the body is larger than the recorder's", expected=body_bytes, found=len(body))
            if reach == length and appender._open_gate(position + length, ts_recv):
                try:
                    return put(ts_recv, body, ts_event, instrument, source_index, sequence, source, ordinal)
                finally:
                    appender._close_gate(position, kind)
            return appender._append_any(
                kind,
                bytes(body).ljust(body_bytes, b"\0"),
                ts_recv,
                ts_event,
                flags,
                side,
                instrument,
                source,
                source_index,
                ordinal,
                sequence,
            )
        try:
            pack(
                appender._behind_head,
                position,
                ts_recv,
                ts_event,
                source_index,
                instrument,
                source,
                ordinal,
                sequence,
                body,
            )
            appender._words[position >> 3] = head
            appender._position = position + length
            appender.last_ts_recv = ts_recv
            index = appender.next_index
            appender.next_index = index + 1
        except struct.error as error:
            raise RecordError(f"a field of the record does not fit its bytes: {error}") from error
        except BaseException:  # Ctrl-C between the bytes and what follows from them
            appender._distrust()
            raise
        if waiters:
            appender._wake()
        return index

    return put
