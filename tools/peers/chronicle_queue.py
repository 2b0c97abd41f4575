"""Chronicle Queue (net.openhft:chronicle-queue), with the JVM options that its project documents for Java 17."""

from __future__ import annotations

from tools.peers.java import JavaPeer

__all__ = ["PEER"]

_EXPORTS = (
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "jdk.unsupported/sun.misc",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.compiler/com.sun.tools.javac.api",
    "jdk.compiler/com.sun.tools.javac.util",
)
_OPENS = (
    "jdk.compiler/com.sun.tools.javac",
    "java.base/java.lang",
    "java.base/java.lang.reflect",
    "java.base/java.io",
    "java.base/java.util",
    "java.base/sun.nio.ch",
)

PEER = JavaPeer(
    "Chronicle Queue",
    "chronicle-queue",
    "chronicle-queue",
    (
        *(f"--add-exports={name}=ALL-UNNAMED" for name in _EXPORTS),
        *(f"--add-opens={name}=ALL-UNNAMED" for name in _OPENS),
        "-Dchronicle.analytics.disable=true",
    ),
)
