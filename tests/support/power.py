"""Power loss: what a disk holds when every write, name and removal that was not synced is gone.

A program runs under strace; its file calls below a folder are replayed into a model in which data of a file becomes
durable by fsync or fdatasync of it (or a write through O_DSYNC), and names by fsync of their folder. An image can be
made at any call. Two kinds: ``strict`` drops all that was not synced; ``names`` keeps the names, as journals that
commit metadata early do, and drops the data alone.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "openat,write,pwrite64,writev,pwritev,lseek,ftruncate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,"
    "unlink,unlinkat,mkdir,mkdirat,close"
)
_LINE = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(\w+)\((.*)\) += (-?\d+)(.*)$", re.S)
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FD = re.compile(r"^(\d+)<([^>]*)>")


@dataclass
class File:
    """Bytes as the program sees them and as the disk has them."""

    live: bytearray = field(default_factory=bytearray)
    durable: bytes = b""


def trace(command: list[str], environment: dict[str, str], log: Path) -> None:
    """Run a command under strace and write its file calls to `log`."""
    strace = ["strace", "-f", "-qq", "-y", "-xx", "-s", "100000000", "-e", f"trace={CALLS}", "-o", str(log)]
    subprocess.run([*strace, *command], check=True, env=environment, capture_output=True)


class Disk:
    """The model of the files below `root`."""

    def __init__(self, root: Path, *, ignore: Callable[[str], bool] = lambda path: False) -> None:
        self.root = str(root.resolve())
        self._ignore = ignore
        self.names: dict[str, File | None] = {}
        for folder, _, files in os.walk(self.root):
            self.names[folder] = None
            for name in files:
                data = Path(folder, name).read_bytes()
                self.names[os.path.join(folder, name)] = File(bytearray(data), data)
        self.durable_names = dict(self.names)
        self._positions: dict[int, int] = {}
        self._direct: set[int] = set()

    def replay(self, log: Path) -> Iterator[tuple[str, str]]:
        """Apply the calls one by one; yield (call, path) before each one below the root takes effect."""
        for line in _joined(log.read_text().splitlines()):
            found = _LINE.match(line)
            if found is None or int(found[3]) < 0:
                continue
            call, arguments, result, rest = found[1], found[2], int(found[3]), found[4]
            path = self._path(call, arguments, rest)
            if path is not None:
                yield call, path
                self._apply(call, arguments, result, path)

    def image(self, target: Path, *, kind: str) -> None:
        """Write what a disk would hold now below `target`."""
        names = self.names if kind == "names" else self.durable_names
        for path in sorted(names):
            found = names[path]
            where = Path(str(target) + path[len(self.root) :])
            if found is None:
                where.mkdir(parents=True, exist_ok=True)
            elif where.parent.is_dir():  # a file in a folder whose name was lost is lost as well
                where.write_bytes(found.durable)

    def _path(self, call: str, arguments: str, rest: str) -> str | None:
        descriptor = _FD.match(arguments)
        if call in ("openat",):
            named = re.match(r"^\d+<([^>]*)>", rest.strip()) or re.match(r"^<([^>]*)>", rest.strip())
            path = named[1] if named else ""
        elif descriptor is not None and call not in ("renameat", "renameat2", "linkat", "unlinkat", "mkdirat"):
            path = descriptor[2]
        else:
            path = _texts(arguments)[0].decode()
        path = path.removesuffix(" (deleted)")
        path = _plain(path)
        return path if path == self.root or path.startswith(self.root + "/") else None

    def _apply(self, call: str, arguments: str, result: int, path: str) -> None:
        descriptor = int(found[1]) if (found := _FD.match(arguments)) else -1
        if call == "openat":
            self._positions[result] = 0
            self._direct.discard(result)
            if "O_DSYNC" in arguments or "O_SYNC" in arguments:
                self._direct.add(result)
            if "O_CREAT" in arguments and path not in self.names:
                self.names[path] = File()
            file = self.names.get(path)
            if file is not None and "O_TRUNC" in arguments:
                file.live.clear()
        elif call == "lseek":
            self._positions[descriptor] = result
        elif call in ("write", "writev", "pwrite64", "pwritev"):
            self._write(call, arguments, result, path, descriptor)
        elif call == "ftruncate":
            file = self.names[path]
            assert file is not None
            size = int(arguments.rsplit(",", 1)[1])
            del file.live[size:]
            file.live.extend(bytes(size - len(file.live)))
        elif call in ("fsync", "fdatasync"):
            self._sync(path)
        elif call in ("rename", "renameat", "renameat2", "link", "linkat"):
            source, target = (_plain(text.decode()) for text in _texts(arguments)[:2])
            self.names[target] = self.names[source]
            if call.startswith("rename"):
                del self.names[source]
        elif call in ("unlink", "unlinkat"):
            self.names.pop(path, None)
        elif call in ("mkdir", "mkdirat"):
            self.names[path] = None

    def _write(self, call: str, arguments: str, result: int, path: str, descriptor: int) -> None:
        file = self.names.get(path)
        if file is None:
            return
        data = b"".join(_texts(arguments))[:result]
        assert len(data) == result, "strace cut a write short"
        if call.startswith("p"):
            at = int(arguments.rsplit(",", 1)[1])
        else:
            at = self._positions.get(descriptor, 0)
            self._positions[descriptor] = at + result
        if len(file.live) < at:
            file.live.extend(bytes(at - len(file.live)))
        file.live[at : at + result] = data
        if descriptor in self._direct and not self._ignore(path):
            durable = bytearray(file.durable)
            durable.extend(bytes(max(0, at + result - len(durable))))
            durable[at : at + result] = data
            file.durable = bytes(durable)

    def _sync(self, path: str) -> None:
        if self._ignore(path):
            return
        file = self.names.get(path)
        if file is not None:
            file.durable = bytes(file.live)
            return
        inside = lambda name: os.path.dirname(name) == path  # noqa: E731
        for name in [name for name in self.durable_names if inside(name) and name not in self.names]:
            for lost in [other for other in self.durable_names if other == name or other.startswith(name + "/")]:
                del self.durable_names[lost]
        self.durable_names |= {name: file for name, file in self.names.items() if inside(name)}


def _texts(arguments: str) -> list[bytes]:
    return [bytes.fromhex(found.replace("\\x", "")) for found in _TEXT.findall(arguments)]


def _plain(path: str) -> str:
    """Return a path as strace -xx writes it between angle brackets, or as it is."""
    return bytes.fromhex(path.replace("\\x", "")).decode() if path.startswith("\\x") else path


def _joined(lines: list[str]) -> Iterator[str]:
    """Join calls that another thread's interrupted, in the order in which they ended."""
    begun: dict[str, str] = {}
    for line in lines:
        process, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.endswith("<unfinished ...>"):
            begun[process] = rest.removesuffix("<unfinished ...>").rstrip()
        elif rest.startswith("<... "):
            yield begun.pop(process, "") + rest.partition("resumed>")[2]
        else:
            yield rest
