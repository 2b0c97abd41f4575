"""A recorder appends records of one kind and one size: what :meth:`Appender.append` decides anew is decided once.

The commit word is a constant and the arguments are positional. The function is compiled (``kernels/calls.py``) where
that is possible; decision 12 has the measurements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from chronicle.core.compiled import bind_recorder, install
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
        """Append by the long way: the same record, or the error that says what is wrong."""
        if len(body) > body_bytes:
            raise RecordError("the body is larger than the recorder's", expected=body_bytes, found=len(body))
        return appender._append_long(
            kind,
            bytes(body).ljust(body_bytes, b"\0"),
            ts_recv=ts_recv,
            ts_event=ts_event,
            flags=flags,
            side=side,
            instrument=instrument,
            source=source,
            source_index=source_index,
            ordinal=ordinal,
            sequence=sequence,
        )

    install(type(appender))
    head = word(length, int(kind), int(flags) | Flag.LAST, int(side))
    return bind_recorder(appender, (head, length, body_bytes, int(kind)), put) or put
