"""Chronicle Queue (net.openhft:chronicle-queue) on this machine: built by Maven, run by Java 17 or newer."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from tools.peers.result import PeerResult, Unavailable

__all__ = ["measure"]

PROJECT = Path(__file__).resolve().parent / "chronicle-queue"
EXPORTS = ("java.base/jdk.internal.ref", "java.base/sun.nio.ch", "jdk.unsupported/sun.misc")
EXPORTS_COMPILER = (
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.compiler/com.sun.tools.javac.api",
    "jdk.compiler/com.sun.tools.javac.util",
)
OPENS = (
    "jdk.compiler/com.sun.tools.javac",
    "java.base/java.lang",
    "java.base/java.lang.reflect",
    "java.base/java.io",
    "java.base/java.util",
    "java.base/sun.nio.ch",
)
"""What the project documents for Java 17."""


def measure(folder: Path, records: int, warm: int) -> PeerResult:
    """Return the figures of `records` appends of 64 bytes after `warm` of them."""
    java = shutil.which("java")
    if java is None or shutil.which("mvn") is None:
        raise Unavailable("java 17 and mvn are needed (Debian: openjdk-17-jdk-headless maven)")
    classes, path = _build()
    options = [f"--add-exports={name}=ALL-UNNAMED" for name in (*EXPORTS, *EXPORTS_COMPILER)]
    options += [f"--add-opens={name}=ALL-UNNAMED" for name in OPENS]
    command = [java, *options, "-Xms512m", "-Xmx1g", "-Dchronicle.analytics.disable=true", "-cp", f"{classes}:{path}"]
    done = subprocess.run(
        [*command, "peer.Harness", str(folder / "chronicle-queue"), str(records), str(warm)],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise Unavailable(f"its harness failed: {done.stderr.strip()[-400:]}")
    values = json.loads(lines[-1])
    control = values.pop("control")
    for name in ("p50", "p99", "p999", "max"):
        values[name] = max(values[name] - control, 1)
    found = re.search(r"chronicle-queue-([0-9][^:/]*)\.jar", path)
    return PeerResult(f"Chronicle Queue {found[1] if found else '?'} (Java)", values)


def _build() -> tuple[Path, str]:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    build = Path(base) / "chronicle" / "peers" / "chronicle-queue"
    listing = build / "classpath"
    build.mkdir(parents=True, exist_ok=True)
    command = ["mvn", "-q", "-B", "-f", str(PROJECT / "pom.xml"), f"-Dpeer.build={build}"]
    goals = ["compile", "dependency:build-classpath", f"-Dmdep.outputFile={listing}"]
    try:
        done = subprocess.run([*command, *goals], capture_output=True, text=True, check=False, timeout=240)
    except subprocess.TimeoutExpired as error:
        raise Unavailable("Maven Central did not answer in time") from error
    if done.returncode != 0:
        raise Unavailable(f"Maven could not build it: {done.stdout.strip()[-300:]}")
    return build / "classes", listing.read_text().strip()
