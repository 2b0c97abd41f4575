"""S3 servers on loopback for tests: moto (PyPI), and versitygw (a real one, stricter) where it is installed.

Run as a program it is moto's server: it prints its port and serves until its stdin closes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUCKET = "chronicle-test"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret", "AWS_DEFAULT_REGION": "us-east-1"}


def client(endpoint: str):
    """Return a plain client, to look at a bucket past our own code."""
    import botocore.session
    from botocore.config import Config

    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    return botocore.session.Session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        config=config,
    )


def versitygw() -> str | None:
    """Return the path of the versitygw program, None where it is not installed."""
    found = shutil.which("versitygw")
    home = Path.home() / "go" / "bin" / "versitygw"
    return found or (str(home) if home.exists() else None)


@contextmanager
def moto_server() -> Iterator[str]:
    """Run moto and yield its address."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.s3_server"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | KEYS
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def _ports() -> Iterator[int]:
    """Yield ports below those that the kernel gives away, that nobody listens on now."""
    for offset in range(100):
        port = 20_000 + (os.getpid() * 7 + offset) % 10_000
        with contextlib.suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            yield port
    raise AssertionError("no free port between 20000 and 30000")


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until `process` listens on `port`, it and no other; False: it ended, somebody else was faster."""
    while process.poll() is None:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
        sockets = {f"socket:[{row[9]}]" for row in rows if row[1] == f"0100007F:{port:04X}" and row[3] == "0A"}
        with contextlib.suppress(OSError):
            files = Path(f"/proc/{process.pid}/fd").iterdir()
            if sockets & {os.readlink(file) for file in files}:
                return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    return False


@contextmanager
def versitygw_server(folder: Path) -> Iterator[str]:
    """Run versitygw over a folder and yield its address."""
    program = versitygw()
    assert program is not None
    (folder / "data").mkdir()
    keys = ["--access", KEYS["AWS_ACCESS_KEY_ID"], "--secret", KEYS["AWS_SECRET_ACCESS_KEY"]]
    for port in _ports():
        command = [program, "--port", f"127.0.0.1:{port}", *keys, "posix", str(folder / "data")]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                if _listens(process, port):
                    yield f"http://127.0.0.1:{port}"
                    return
            finally:
                process.kill()


def main() -> None:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
