"""A proxy between a client and an S3 server that does what networks and busy stores do, by a seeded chance.

Each request meets at most one fault: a 503 before the server hears of it, a reset before, a reset after (the server
did what was asked and nobody knows), an answer cut short, an answer that comes late.
"""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
from collections import Counter
from urllib.parse import urlsplit

FAULTS = ("503", "reset", "lost", "cut", "slow")
SLOW_SECONDS = 0.05
BUSY = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: 71\r\nConnection: close\r\n\r\n"
    b"<Error><Code>SlowDown</Code><Message>reduce your rate!</Message></Error>"
)
REFUSED = (
    b"HTTP/1.1 501 Not Implemented\r\nContent-Type: application/xml\r\n"
    b"Content-Length: 102\r\nConnection: close\r\n\r\n"
    b"<Error><Code>NotImplemented</Code><Message>A header you provided is not implemented.</Message></Error>"
)
CONDITION = re.compile(rb"\r\nif-(none-)?match:", re.IGNORECASE)


class FaultyProxy:
    """Listens on a free port of loopback. `share` of the requests meet a fault.

    With `conditions` false every request that carries a condition is answered 501, as OpenStack Swift's s3api does.
    """

    def __init__(
        self,
        target: str,
        *,
        share: float = 0.3,
        seed: int = 1,
        faults: tuple[str, ...] = FAULTS,
        conditions: bool = True,
    ) -> None:
        where = urlsplit(target)
        self._target = (str(where.hostname), int(where.port or 80))
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self.share = share
        self.faults = faults
        self.conditions = conditions
        self.met: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> FaultyProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _draw(self, line: bytes) -> str:
        method, path, _ = line.decode().split(" ", 2)
        with self._lock:
            self.requests.append((method, path))
            fault = self._chance.choice(self.faults) if self._chance.random() < self.share else ""
            self.met[fault or "none"] += 1
            return fault

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            try:
                while self._exchange(connection):
                    pass
            except (OSError, ValueError):
                return

    def _exchange(self, connection: socket.socket) -> bool:
        """Pass one request and its answer on; return whether the connection goes on."""
        request = _message(connection, answer=False)
        if request is None:
            return False
        fault = self._draw(request.split(b"\r\n", 1)[0])
        if fault == "503":
            connection.sendall(BUSY)
            return False
        if not self.conditions and CONDITION.search(request.partition(b"\r\n\r\n")[0]):
            with self._lock:
                self.met["501"] += 1
            connection.sendall(REFUSED)
            return False
        if fault == "reset":
            _reset(connection)
            return False
        with socket.create_connection(self._target, timeout=30) as server:
            server.sendall(request)
            head = request.split(b" ", 1)[0] == b"HEAD"
            answer = _message(server, answer=True, head=head)
        if answer is None or fault == "lost":
            _reset(connection)
            return False
        if fault == "slow":
            threading.Event().wait(SLOW_SECONDS)
        if fault == "cut":
            body = answer.find(b"\r\n\r\n") + 4
            connection.sendall(
                answer[: body + (len(answer) - body) // 2] if len(answer) > body else answer[: body // 2]
            )
            return False
        connection.sendall(answer)
        return b"connection: close" not in answer.split(b"\r\n\r\n", 1)[0].lower()


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _message(source: socket.socket, *, answer: bool, head: bool = False) -> bytes | None:
    """Read one whole HTTP message; None at the end of the connection."""
    data = bytearray()
    while b"\r\n\r\n" not in data:
        part = source.recv(65536)
        if not part:
            return None
        data += part
    end = data.index(b"\r\n\r\n") + 4
    lines = bytes(data[:end]).split(b"\r\n")
    fields = {name.lower().strip(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    if not answer and fields.get(b"expect", b"").lower() == b"100-continue":
        source.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        while not data.endswith(b"0\r\n\r\n"):
            part = source.recv(65536)
            if not part:
                return None
            data += part
        return bytes(data)
    status = lines[0].split(b" ")[1] if answer else b""
    length = 0 if head or status in (b"204", b"304") else int(fields.get(b"content-length", b"0"))
    if answer and b"content-length" not in fields and not head and status not in (b"204", b"304"):
        while part := source.recv(65536):
            data += part
        return bytes(data)
    while len(data) < end + length:
        part = source.recv(65536)
        if not part:
            return None
        data += part
    return bytes(data)
