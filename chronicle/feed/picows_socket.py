"""WebSockets by picows (extra ``fast``): what `open_websocket` gives, for less time a message.

Source: picows.readthedocs.io. A listener is called with each frame. Messages go to who asked for them as they are
read (`deliver`), without waking a task for each; until somebody asks they wait in a bounded queue, and the socket is
not read while that is full.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from chronicle.feed.connection import CLOSE_SECONDS, FRAME_BYTES_MAX, RECEIVE_FRAMES_MAX, ConnectionSettings

__all__ = ["PicowsSocket", "open_picows"]

_RESUME_AT: Final = RECEIVE_FRAMES_MAX // 2
_TEXT, _BINARY = WSMsgType.TEXT, WSMsgType.BINARY


class PicowsSocket(WSListener):
    """One connection: frames in, messages out. The listener's methods run in the event loop, as all else here."""

    def __init__(self) -> None:
        self._transport: WSTransport | None = None
        self._messages: deque[str | bytes] = deque()
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._parts_type = WSMsgType.TEXT
        self._paused = False
        self._ended = False
        self._is_refusing = False
        self._reason = "closed without a reason"
        self._news = asyncio.Event()
        self._take: Callable[[bytes, bool], None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    # --- what the connection's owner calls ------------------------------------------------------------------------

    async def recv(self) -> str | bytes:
        """Return the next message.

        Raises
        ------
        ConnectionError
            When the connection ended; what came before was returned.
        """
        while not self._messages:
            if self._ended:
                raise ConnectionResetError(self._reason)
            self._news.clear()
            await self._news.wait()
        message = self._messages.popleft()
        if self._paused and len(self._messages) <= _RESUME_AT and self._transport is not None:
            self._paused = False
            self._transport.underlying_transport.resume_reading()
        return message

    async def deliver(self, take: Callable[[bytes, bool], None]) -> None:
        """Have ``take(payload, is_text)`` called with each message as it is read, until the connection ends.

        What comes before this call is taken first. The socket is read no faster than `take` returns.

        Raises
        ------
        ConnectionError
            When the connection ended.
        """
        while self._messages:
            message = await self.recv()
            if isinstance(message, str):
                take(message.encode("utf-8"), True)
            else:
                take(message, False)
        self._take = take
        try:
            while not self._ended:
                self._news.clear()
                await self._news.wait()
        finally:
            self._take = None
        raise ConnectionResetError(self._reason)

    async def send(self, message: str) -> None:
        """Send a text message, once the socket takes it.

        Raises
        ------
        ConnectionError
            When the connection ended.
        """
        await self._writable.wait()
        if self._ended or self._transport is None:
            raise ConnectionResetError(self._reason)
        self._transport.send(WSMsgType.TEXT, message.encode("utf-8"))

    async def close(self) -> None:
        """Say good-bye and wait a moment for the other side's."""
        transport = self._transport
        if transport is None:
            return
        transport.send_close()
        transport.disconnect(graceful=False)
        with contextlib.suppress(TimeoutError, WSError, OSError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await transport.wait_disconnected()

    # --- what picows calls ----------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a frame: a message, a part of one, or the end.

        picows closes 10 ms after it refused a frame, and hands over what came meanwhile, the refused frame included.
        """
        if self._is_refusing or frame.payload_size > FRAME_BYTES_MAX:
            self._refuse(transport, frame.payload_size)
            return
        kind = frame.msg_type
        if self._take is not None and frame.fin and (kind is _TEXT or kind is _BINARY):
            self._take(frame.get_payload_as_bytes(), kind is _TEXT)
        elif kind is WSMsgType.TEXT and frame.fin:
            self._put(transport, frame.get_payload_as_utf8_text())
        elif kind is WSMsgType.BINARY and frame.fin:
            self._put(transport, frame.get_payload_as_bytes())
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._take_part(transport, frame)
        elif kind is WSMsgType.CLOSE:
            self._reason = f"closed by the venue: {frame.get_close_code()} {frame.get_close_message()!r}"[:300]
            transport.send_close()
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Wake who waits: there will be nothing more."""
        self._ended = True
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """Let senders wait: the socket takes nothing."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let senders go on."""
        self._writable.set()

    def _refuse(self, transport: WSTransport, size: int) -> None:
        """End the connection over a message that is too big; nothing behind it is taken."""
        if not self._is_refusing:
            self._is_refusing = True
            self._reason = f"a message of {size} bytes, more than {FRAME_BYTES_MAX}"
            transport.send_close(WSCloseCode.MESSAGE_TOO_BIG)
            transport.disconnect()

    def _take_part(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is not WSMsgType.CONTINUATION:
            self._parts, self._parts_bytes, self._parts_type = [], 0, frame.msg_type
        self._parts.append(frame.get_payload_as_bytes())
        self._parts_bytes += frame.payload_size
        if self._parts_bytes > FRAME_BYTES_MAX:
            self._parts = []
            self._refuse(transport, self._parts_bytes)
        elif frame.fin:
            whole = b"".join(self._parts)
            self._parts = []
            self._put(transport, whole.decode("utf-8") if self._parts_type is WSMsgType.TEXT else whole)

    def _put(self, transport: WSTransport, message: str | bytes) -> None:
        if self._take is not None:
            if isinstance(message, str):
                self._take(message.encode("utf-8"), True)
            else:
                self._take(message, False)
            return
        self._messages.append(message)
        self._news.set()
        if len(self._messages) >= RECEIVE_FRAMES_MAX and not self._paused:
            self._paused = True
            transport.underlying_transport.pause_reading()


@contextlib.asynccontextmanager
async def open_picows(url: str, settings: ConnectionSettings) -> AsyncIterator[PicowsSocket]:
    """Open a connection to `url`, closed at the end of the context.

    Raises
    ------
    OSError
        When it cannot be opened.
    """
    try:
        async with asyncio.timeout(settings.open_deadline):
            _, socket = await ws_connect(
                PicowsSocket,
                url,
                websocket_handshake_timeout=settings.open_deadline,
                enable_auto_ping=True,
                auto_ping_idle_timeout=settings.read_deadline / 2,
                auto_ping_reply_timeout=settings.read_deadline / 2,
                max_frame_size=FRAME_BYTES_MAX,
            )
    except WSError as error:
        raise ConnectionRefusedError(f"{type(error).__name__}: {error}") from error
    assert isinstance(socket, PicowsSocket)
    try:
        yield socket
    finally:
        await socket.close()
