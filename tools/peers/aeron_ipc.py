"""Aeron IPC (io.aeron:aeron-all): a log buffer in shared memory behind an embedded media driver."""

from __future__ import annotations

from tools.peers.java import JavaPeer

__all__ = ["PEER"]

PEER = JavaPeer(
    "Aeron IPC",
    "aeron",
    "aeron-all",
    (
        "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
        "--add-opens=java.base/jdk.internal.misc=ALL-UNNAMED",
        "-Dagrona.disable.bounds.checks=true",
    ),
)
