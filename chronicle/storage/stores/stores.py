"""Where tiers keep their objects: a small protocol, and the one for folders of this host.

An object's name is a relative path with forward slashes. Objects appear whole: in a folder they are written under a
temporary name, synced, then published by a rename; an object store shows an upload only when it is complete
(:mod:`chronicle.storage.stores.remote`).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from chronicle.core.durable import TEMPORARY_PREFIX, file_error, make_folder, publish_file, sync_folder
from chronicle.core.errors import ConfigError, NotFoundError, TornSegmentError
from chronicle.storage.stores.requests import UploadJournal

__all__ = ["LocalStore", "MemoryStore", "ObjectReader", "Readable", "Store", "temporary_object"]


class ObjectReader(Protocol):
    """One open object, or a part of one. Of a file the bytes stay readable while it is open.

    `ahead`: how many bytes more than asked for are worth reading at once, where each read is a request.
    """

    ahead: int

    @property
    def size(self) -> int:
        """Bytes of the object."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes at `offset`.

        Raises
        ------
        TornSegmentError
            When the object ends before.
        """
        ...

    def close(self) -> None:
        """Release the object."""
        ...


class Readable(Protocol):
    """Objects that can be read. `is_remote`: each read is a request that takes its time."""

    is_remote: bool

    @property
    def location(self) -> str:
        """The root as people write it."""
        ...

    def reader(self, name: str, *, offset: int = 0, size: int | None = None) -> ObjectReader:
        """Open an object, or the `size` bytes at `offset` of it (NotFoundError when it is not there)."""
        ...

    def size(self, name: str) -> int | None:
        """Return the bytes of an object, None when it is not there."""
        ...


class Store(Readable, Protocol):
    """Objects under one root."""

    def staging(self, name: str) -> str:
        """Return the name under which an object is written first; `name` itself where uploads appear whole."""
        ...

    def fetch(self, name: str) -> tuple[bytes, str] | None:
        """Return a small object's bytes and a token of its version, None when it is not there."""
        ...

    def replace(self, name: str, data: bytes, token: str | None) -> str:
        """Replace a small object as a whole, if it is still the version that `token` names (None: absent).

        Returns the token of the new version.

        Raises
        ------
        StateError
            When somebody else replaced it, where the store can tell.
        """
        ...

    def put(
        self,
        name: str,
        parts: Iterable[bytes | memoryview],
        *,
        resume: bool = False,
        pace: Callable[[int], None] | None = None,
        journal: UploadJournal | None = None,
    ) -> int:
        """Write an object under exactly this name, durably, and return its bytes.

        `pace` is called with a number of bytes before so many are written or sent. `journal` keeps of an upload in
        parts what the store does not tell.
        `resume`: the object is new, and the same bytes may be put again after a failure. Where the store takes
        parts, those that an earlier attempt left are not sent again, and those of this one stay when the store
        does not answer any more; see :meth:`unfinished` and :meth:`give_up`.
        """
        ...

    def unfinished(self, name: str, journal: UploadJournal | None = None) -> bool:
        """Return whether the store holds parts of an object with which a put would go on."""
        ...

    def give_up(self, name: str) -> None:
        """Remove what uploads of an object that are not complete left; the object itself stays."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Move an object to its final name, atomically and durably."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object if it is there, durably."""
        ...

    def delete_many(self, names: Sequence[str]) -> None:
        """Remove objects, those that are there, durably."""
        ...

    def discard(self, name: str) -> None:
        """Remove an object, and what an upload of it that was cut short left behind."""
        ...

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Yield (name, bytes) of the objects whose names start with `prefix`, in order."""
        ...

    def free_bytes(self) -> int | None:
        """Return the bytes that still fit, None where that cannot be known."""
        ...


def name_parts(name: str, location: str) -> tuple[str, ...]:
    """Return the parts of an object's name.

    Raises
    ------
    ConfigError
        When it would leave the root.
    """
    parts = tuple(name.split("/"))
    if "\\" in name or "\0" in name or any(part in {"", "..", "."} for part in parts):
        raise ConfigError("an object's name leads out of its tier", path=location, found=name)
    return parts


def temporary_object(name: str) -> str:
    """Return the name beside `name` under which an object is written first; the same for every attempt."""
    path = PurePosixPath(name)
    return str(path.with_name(f"{TEMPORARY_PREFIX}{path.name}"))


class LocalStore:
    """Objects as files below a folder. Every failure of the file system becomes one of our errors with its path."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.is_remote = False

    def __repr__(self) -> str:
        return f"LocalStore({str(self.root)!r})"

    @property
    def location(self) -> str:
        """The folder."""
        return str(self.root)

    def path(self, name: str) -> Path:
        """Return the file of an object (ConfigError when its name would leave the root)."""
        return self.root.joinpath(*name_parts(name, self.location))

    def staging(self, name: str) -> str:
        """Return the temporary name beside `name`."""
        return temporary_object(name)

    def fetch(self, name: str) -> tuple[bytes, str] | None:
        """Return an object's bytes; the token says nothing, one agent writes here."""
        try:
            reader = self.reader(name)
        except NotFoundError:
            return None
        try:
            return reader.read(0, reader.size), ""
        finally:
            reader.close()

    def replace(self, name: str, data: bytes, token: str | None) -> str:
        """Replace an object by a rename; the agent's lock keeps others out."""
        del token
        temporary = self.staging(name)
        self.put(temporary, [data])
        self.rename(temporary, name)
        return ""

    def reader(self, name: str, *, offset: int = 0, size: int | None = None) -> ObjectReader:
        """Open an object, or a part of it."""
        path = self.path(name)
        try:
            return _FileReader(path, offset, size)
        except FileNotFoundError as error:
            raise NotFoundError(
                "the object is not there", path=path, hint="it may have moved to another tier"
            ) from error
        except OSError as error:
            raise file_error(error, "open an object", path) from error

    def put(
        self,
        name: str,
        parts: Iterable[bytes | memoryview],
        *,
        resume: bool = False,
        pace: Callable[[int], None] | None = None,
        journal: UploadJournal | None = None,
    ) -> int:
        """Write and sync an object; on failure nothing is left behind."""
        del resume, journal
        path, written = self.path(name), 0
        try:
            make_folder(path.parent)
            with open(path, "wb", buffering=0) as file:
                for part in parts:
                    view = memoryview(part)
                    if pace is not None:
                        pace(len(view))
                    while len(view):
                        count = file.write(view)
                        written += count
                        view = view[count:]
                os.fsync(file.fileno())
                with contextlib.suppress(OSError):  # so that reading back asks the device where it can
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink()
            raise file_error(error, f"write an object of {written} bytes or more", path) from error
        return written

    def link(self, source: Path, name: str) -> bool:
        """Make the file `source` this object as well, without copying; False where the file systems differ."""
        path = self.path(name)
        try:
            make_folder(path.parent)
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            os.link(source, path)
            sync_folder(path.parent)
        except OSError as error:
            if error.errno in {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EACCES}:
                return False
            raise file_error(error, "link a segment", path) from error
        return True

    def rename(self, source: str, target: str) -> None:
        """Publish an object under its final name."""
        path = self.path(target)
        try:
            publish_file(self.path(source), path)
        except OSError as error:
            raise file_error(error, "publish an object", path) from error

    def delete(self, name: str) -> None:
        """Remove an object, durably."""
        self.delete_many([name])

    def delete_many(self, names: Sequence[str]) -> None:
        """Remove objects, durably: a folder is synced once for all of its files."""
        folders: dict[Path, None] = {}
        for path in map(self.path, names):
            try:
                path.unlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise file_error(error, "remove an object", path) from error
            folders[path.parent] = None
        for folder in folders:
            try:
                sync_folder(folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise file_error(error, "remove objects of", folder) from error

    def discard(self, name: str) -> None:
        """Remove an object."""
        self.delete(name)

    def unfinished(self, name: str, journal: UploadJournal | None = None) -> bool:
        """Return False: a file that was cut short is written anew."""
        del name, journal
        return False

    def give_up(self, name: str) -> None:
        """Do nothing: a failed put leaves nothing."""
        del name

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Yield the objects under `prefix`, temporary ones included."""
        for folder, names, files in os.walk(self.root):
            names.sort()
            relative = Path(folder).relative_to(self.root)
            for file in sorted(files):
                name = (PurePosixPath(*relative.parts) / file).as_posix()
                if name.startswith(prefix):
                    with contextlib.suppress(FileNotFoundError):
                        yield name, os.stat(os.path.join(folder, file)).st_size

    def size(self, name: str) -> int | None:
        """Return the bytes of an object, None when it is not there."""
        path = self.path(name)
        try:
            return path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise file_error(error, "look at an object", path) from error

    def free_bytes(self) -> int | None:
        """Return the bytes still free under the root, None when that cannot be known."""
        folder = self.root
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        try:
            found = os.statvfs(folder)
        except OSError:
            return None
        return found.f_bavail * found.f_frsize


class _FileReader:
    """An open file, read by position."""

    def __init__(self, path: Path, start: int, size: int | None) -> None:
        self.path = path
        self.ahead = 0
        self._start = start
        self._descriptor: int | None = None
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        there = os.fstat(self._descriptor).st_size
        self.size = there if size is None else size
        if start + self.size > there:
            self.close()
            raise TornSegmentError(
                "an object is shorter than published", path=path, expected=start + self.size, found=there
            )

    def __del__(self) -> None:
        self.close()

    def read(self, offset: int, length: int) -> bytes:
        if self._descriptor is None:
            raise NotFoundError("the object was closed", path=self.path)
        parts, position, end = [], offset, min(offset + length, self.size)
        try:
            while position < end:
                part = os.pread(self._descriptor, end - position, self._start + position)
                if not part:
                    break
                parts.append(part)
                position += len(part)
        except (OSError, ValueError, OverflowError) as error:
            if isinstance(error, OSError):
                raise file_error(error, "read an object", self.path) from error
            raise TornSegmentError(
                "a read outside the object", path=self.path, offset=offset, found=length
            ) from error
        if position != offset + length:
            raise TornSegmentError(
                "an object ends before its own table says",
                path=self.path,
                offset=offset,
                expected=length,
                found=position - offset,
            )
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class MemoryStore:
    """Objects that were read already; what looks at them needs no second request. Nothing can be written."""

    def __init__(self, location: str, objects: Mapping[str, bytes]) -> None:
        self.location = location
        self.is_remote = False
        self._objects = objects

    def reader(self, name: str, *, offset: int = 0, size: int | None = None) -> ObjectReader:
        """Open an object, or a part of it."""
        data = self._objects[name]
        end = len(data) if size is None else offset + size
        if end > len(data):
            raise TornSegmentError(
                "an object is shorter than published", path=f"{self.location}/{name}", expected=end, found=len(data)
            )
        return _MemoryReader(memoryview(data)[offset:end], f"{self.location}/{name}")

    def size(self, name: str) -> int | None:
        """Return the bytes of an object."""
        return len(self._objects[name]) if name in self._objects else None


class _MemoryReader:
    def __init__(self, data: memoryview, path: str) -> None:
        self.ahead = 0
        self.size = len(data)
        self._data = data
        self._path = path

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise TornSegmentError("a read outside the object", path=self._path, offset=offset, found=length)
        return bytes(self._data[offset : offset + length])

    def close(self) -> None:
        return
