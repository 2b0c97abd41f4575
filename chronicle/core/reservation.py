"""A reservation: room for one record in the open segment, filled in place and committed at the end of a block."""

from __future__ import annotations

import struct
import weakref
from typing import TYPE_CHECKING

from chronicle.core.errors import RecordError
from chronicle.core.layout import HEADER_BYTES, RECORD_BYTES_MAX, Flag, Kind, aligned, word

if TYPE_CHECKING:
    from chronicle.core.appender import Appender

__all__ = ["Reservation"]

_HEADER_REST = struct.Struct("<qqqIHHq")


class Reservation:
    """See :meth:`Appender.reserve`. Until the commit word is stored no reader knows of it, whatever happens."""

    __slots__ = (
        "__weakref__",
        "_appender",
        "_body",
        "_body_bytes",
        "_flags",
        "_header",
        "_kind",
        "_length",
        "_side",
        "_ts_recv",
    )

    def __init__(
        self,
        appender: Appender,
        kind: int,
        body_bytes: int,
        ts_recv: int,
        *,
        flags: int,
        side: int,
        header: tuple[int, int, int, int, int, int],
    ) -> None:
        self._length = aligned(HEADER_BYTES + body_bytes)
        if body_bytes < 0 or self._length > RECORD_BYTES_MAX or kind in (0, Kind.ROLL):
            raise RecordError(
                f"cannot reserve a record of kind {kind} with {body_bytes} bytes",
                expected=f"at most {RECORD_BYTES_MAX - HEADER_BYTES}",
                found=body_bytes,
            )
        self._appender = appender
        self._kind, self._body_bytes, self._ts_recv = int(kind), body_bytes, ts_recv
        self._flags, self._side, self._header = int(flags) | Flag.LAST, int(side), header
        self._body: memoryview | None = None

    def __enter__(self) -> memoryview:
        appender = self._appender
        appender._check_unreserved()
        if self._ts_recv < appender.last_ts_recv:
            self._ts_recv = appender.last_ts_recv
            self._flags |= Flag.BAD_TS_RECV
            appender.clamped_count += 1
        if appender._position + self._length > appender._limit or self._ts_recv >= appender._cycle_end:
            appender._make_room(self._length, self._ts_recv)
        try:
            position = appender._position
            _HEADER_REST.pack_into(appender._memory, position + 8, self._ts_recv, *self._header)
            appender._reservation = weakref.ref(self)
            appender._reserved = True
            appender._reach = -1
            self._body = appender._memory[position + HEADER_BYTES : position + HEADER_BYTES + self._body_bytes]
        except struct.error as error:
            raise RecordError(f"a field of the record does not fit its bytes: {error}") from error
        except BaseException:  # Ctrl-C: the block will not be entered, so nobody would leave it
            appender._distrust()
            raise
        return self._body

    def __exit__(self, kind: object, *_: object) -> None:
        appender, body = self._appender, self._body
        if body is None or not appender._reserved:
            return
        try:
            position = appender._position
            if kind is not None:
                body[:] = bytes(len(body))  # the zero behind the last event is the writer's promise
            body.release()
            self._body = None
            if kind is None:
                head = word(self._length, self._kind, self._flags, self._side)
                appender._publish(position, position + self._length, head, 1, self._ts_recv, self._kind)
            appender._reservation = None
            appender._reserved = False
            appender._set_reach()
        except BaseException:
            appender._distrust()
            raise
