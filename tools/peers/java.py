"""Java peers: built by Maven into the user's cache, run by Java 17 or newer."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tools.peers.result import PeerResult, Unavailable

__all__ = ["JavaPeer"]

_HERE = Path(__file__).resolve().parent
_TIMEOUT_SECONDS = 90


@dataclass(frozen=True, slots=True)
class JavaPeer:
    """A harness under ``tools/peers/PROJECT`` with the modes bench, send and receive; `options` are for the JVM."""

    label: str
    project: str
    artifact: str
    options: tuple[str, ...]

    def measure(self, folder: Path, records: int, warm: int) -> PeerResult:
        """Return the figures of `records` appends of 64 bytes after `warm` of them."""
        command, label = self._command()
        done = subprocess.run(
            [*command, "bench", str(folder / self.project), str(records), str(warm)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode != 0 or not lines:
            raise Unavailable(f"its harness failed: {done.stderr.strip()[-400:]}")
        values = json.loads(lines[-1])
        control = values.pop("control")
        for name in ("p50", "p99", "p999", "max"):
            values[name] = max(values[name] - control, 1)
        return PeerResult(label, values)

    def latency(self, folder: Path, records: int, rate: int, readers: int) -> PeerResult:
        """Return p50 and p99 in ns from before the append to sight by `readers` spinning processes."""
        command, label = self._command()
        queue = str(folder / f"{self.project}-latency")
        with ExitStack() as stack:
            sender = stack.enter_context(
                _process([*command, "send", queue, str(records), str(rate), str(readers)], folder)
            )
            _line(sender, "ready")
            receivers = [
                stack.enter_context(_process([*command, "receive", queue, str(records)], folder))
                for _ in range(readers)
            ]
            for receiver in receivers:
                _line(receiver, "ready")
            _tell(sender)
            found = [json.loads(_line(receiver, "{")) for receiver in receivers]
            sent = json.loads(_line(sender, "{"))["sent"]
            _tell(sender)
        shutil.rmtree(queue, ignore_errors=True)
        worst = {name: max(each[name] for each in found) for name in ("p50", "p99")}
        return PeerResult(label, worst | {"sent": sent})

    def _command(self) -> tuple[list[str], str]:
        java = shutil.which("java")
        if java is None or shutil.which("mvn") is None:
            raise Unavailable("java 17 and mvn are needed (Debian: openjdk-17-jdk-headless maven)")
        classes, path = self._build()
        found = re.search(rf"{self.artifact}-([0-9][^:/]*)\.jar", path)
        label = f"{self.label} {found[1] if found else '?'} (Java)"
        options = [*self.options, "-Xms512m", "-Xmx1g"]
        return [java, *options, "-cp", f"{classes}:{path}", "peer.Harness"], label

    def _build(self) -> tuple[Path, str]:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        build = Path(base) / "chronicle" / "peers" / self.project
        listing = build / "classpath"
        project = _HERE / self.project
        newest = max(path.stat().st_mtime_ns for path in project.rglob("*") if path.is_file())
        if listing.exists() and listing.stat().st_mtime_ns > newest:
            return build / "classes", listing.read_text().strip()
        build.mkdir(parents=True, exist_ok=True)
        command = ["mvn", "-q", "-B", "-f", str(project / "pom.xml"), f"-Dpeer.build={build}"]
        goals = ["compile", "dependency:build-classpath", f"-Dmdep.outputFile={listing}"]
        listing.unlink(missing_ok=True)
        try:
            done = subprocess.run([*command, *goals], capture_output=True, text=True, check=False, timeout=240)
        except subprocess.TimeoutExpired as error:
            raise Unavailable("Maven Central did not answer in time") from error
        if done.returncode != 0:
            raise Unavailable(f"Maven could not build it: {done.stdout.strip()[-300:]}")
        return build / "classes", listing.read_text().strip()


@contextmanager
def _process(command: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    with open(folder / "java-errors", "a") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1
        )
    try:
        yield process
        process.wait(timeout=_TIMEOUT_SECONDS)
    finally:
        process.kill()
        process.wait()


def _line(process: subprocess.Popen[str], start: str) -> str:
    """Return the next line that starts with `start`."""
    output: IO[str] | None = process.stdout
    assert output is not None
    for line in output:
        if line.startswith(start):
            return line
    raise Unavailable(f"its harness ended before it printed {start!r}")


def _tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
