"""Redis Streams and NATS JetStream: a server of our own on loopback, one client, 64-byte records.

Both cross a socket, which a queue in shared memory does not: they stand here as what people use instead.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.benches.figure import each_ns, quantile
from tools.peers.result import PeerResult, Unavailable

__all__ = ["measure_nats", "measure_redis"]

_BATCH = 500


def measure_redis(folder: Path, count: int) -> PeerResult:
    """XADD one by one and in pipelines, XRANGE by 1,000; no persistence."""
    try:
        import redis
    except ImportError as error:
        raise Unavailable("the Python client is not installed (PyPI: redis)") from error
    port = _free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with _server(command, folder / "redis", port):
        client = redis.Redis(host="127.0.0.1", port=port)
        version = client.info("server")["redis_version"]
        value = {b"b": bytes(64)}
        singles = each_ns(lambda number: client.xadd("one", value), count)
        start = time.perf_counter_ns()
        for _ in range(count // _BATCH):
            pipeline = client.pipeline(transaction=False)
            for _ in range(_BATCH):
                pipeline.xadd("many", value)
            pipeline.execute()
        batch = (time.perf_counter_ns() - start) / (count // _BATCH * _BATCH)
        start, last, read = time.perf_counter_ns(), b"-", 0
        while entries := client.xrange("many", min=last, count=1_000):
            read += len(entries)
            last = b"(" + entries[-1][0]
        took = (time.perf_counter_ns() - start) / max(read, 1)
        client.close()
    return PeerResult(f"Redis Streams {version}", _figures(singles) | {"batch": batch, "read": took})


def measure_nats(folder: Path, count: int) -> PeerResult:
    """JetStream with memory storage: a publish and its acknowledgement, one by one and 500 in flight."""
    try:
        import nats
    except ImportError as error:
        raise Unavailable("the Python client is not installed (PyPI: nats-py)") from error
    port = _free_port()
    command = ["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "nats")]
    with _server(command, folder / "nats", port):
        return asyncio.run(_nats(nats, port, count))


async def _nats(nats: object, port: int, count: int) -> PeerResult:
    client = await nats.connect(f"nats://127.0.0.1:{port}")  # type: ignore[attr-defined]
    stream = client.jetstream()
    await stream.add_stream(name="bench", subjects=["bench"], storage="memory")
    version = str(client.connected_server_version).strip("<>").rpartition(" ")[2].lstrip("v")
    body, clock = bytes(64), time.perf_counter_ns
    singles = []
    for _ in range(count):
        start = clock()
        await stream.publish("bench", body)
        singles.append(clock() - start)
    start = clock()
    for _ in range(count // _BATCH):
        await asyncio.gather(*(stream.publish("bench", body) for _ in range(_BATCH)))
    batch = (clock() - start) / (count // _BATCH * _BATCH)
    await client.close()
    return PeerResult(f"NATS JetStream {version}", _figures(sorted(singles)) | {"batch": batch})


def _figures(times: list[int]) -> dict[str, float]:
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {name: quantile(times, share) for name, share in shares.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _server(command: list[str], folder: Path, port: int) -> Iterator[None]:
    program = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Unavailable(f"{command[0]} is not installed (Debian: {command[0]})")
    folder.mkdir(parents=True)
    process = subprocess.Popen(
        [program, *command[1:]], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(process, port)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(500):
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise Unavailable("its server did not start")
