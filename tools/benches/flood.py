"""A WebSocket server that sends recorded messages as fast as its client takes them: ``python flood.py FILE COUNT``.

FILE has one message a line. It prints its port, takes one connection after the other, and sends each the file as
often as COUNT messages need; what clients say is not listened to. Frames are packed beforehand, so that the server
is never what is measured.
Source of the protocol: RFC 6455.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_KEY = b"sec-websocket-key:"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_REQUEST_BYTES_MAX = 65_536


def frame_of(payload: bytes) -> bytes:
    """Return one whole text frame, unmasked as servers send them."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 1 << 16:
        return struct.pack(">BBH", 0x81, 126, size) + payload
    return struct.pack(">BBQ", 0x81, 127, size) + payload


def serve(payloads: list[bytes], count: int) -> None:
    """Serve clients one after the other, for ever."""
    chunk = b"".join(map(frame_of, payloads))
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            client, _ = server.accept()
            with client:
                try:
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    client.sendall(_answer(client))
                    for _ in range(-(-count // len(payloads))):
                        client.sendall(chunk)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(65_536):
                        pass
                except OSError:
                    continue


def _answer(client: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request and len(request) < _REQUEST_BYTES_MAX:
        part = client.recv(4096)
        if not part:
            raise ConnectionResetError("the client left")
        request += part
    key = next(line.split(b":", 1)[1].strip() for line in request.split(b"\r\n") if line.lower().startswith(_KEY))
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


@contextmanager
def flood(source: Path, count: int) -> Iterator[str]:
    """Run the server in a process of its own; its address."""
    server = subprocess.Popen([sys.executable, __file__, str(source), str(count)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield f"ws://127.0.0.1:{int(server.stdout.readline())}/stream"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


if __name__ == "__main__":
    serve(Path(sys.argv[1]).read_bytes().splitlines(), int(sys.argv[2]))
