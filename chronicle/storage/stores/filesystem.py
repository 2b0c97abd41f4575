"""Whatever fsspec opens, as an object store: gs://, abfs://, sftp://, memory:// and others.

fsspec's file systems differ in what a reader sees of a file that is being written, so that objects get a temporary
name and a move here, as in a folder. Conditional puts are not part of fsspec: two agents on one root are told apart
by the owner's name in the catalog alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from chronicle.core.errors import CapacityError, ConfigError, NotFoundError, StoreError, UnavailableError
from chronicle.storage.stores.requests import Part, Upload

__all__ = ["FilesystemRequests"]

T = TypeVar("T")
SECRETS: Final = ("key", "secret", "token", "password", "account_key", "sas_token", "connection_string")


class FilesystemRequests:
    """Implements :class:`chronicle.storage.stores.requests.Requests` over an fsspec file system.

    Parameters
    ----------
    url : str
        As ``sftp://host/folder``.
    options : mapping
        Handed to the file system as they are.
    """

    staged = True
    made_as = ""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        secret = sorted(set(options) & set(SECRETS))
        if secret:
            raise ConfigError("credentials have no place in chronicle.toml", path=url, found=", ".join(secret))
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise ConfigError(
                "this URL needs the package fsspec", path=url, hint="pip install 'chronicle-md[s3]'"
            ) from error
        try:
            self._files, root = url_to_fs(url, **{"use_listings_cache": False, **options})
        except (ImportError, ValueError, TypeError, OSError) as error:
            raise ConfigError(f"the store cannot be used: {error}", path=url) from error
        self._root = str(root).rstrip("/")
        self._uploads: dict[str, Any] = {}
        self.location = url.rstrip("/")

    def get(self, name: str, start: int | None, length: int | None) -> tuple[bytes, str]:
        """Return a range of a file, or all of it."""
        end = None if start is None or length is None else start + length
        return bytes(self._ask(lambda: self._files.cat_file(self._at(name), start=start, end=end), "read", name)), ""

    def size(self, name: str) -> int | None:
        """Return the bytes of a file."""
        try:
            found = self._ask(lambda: self._files.info(self._at(name)), "look at", name)
        except NotFoundError:
            return None
        return int(found["size"]) if found.get("type") == "file" else None

    def put(self, name: str, data: bytes, *, match: str | None = None, absent: bool = False) -> str:
        """Write a file."""
        del match, absent
        self._folder(name)
        self._ask(lambda: self._files.pipe_file(self._at(name), data), f"write {len(data)} bytes to", name)
        return ""

    def begin(self, name: str) -> str:
        """Open a file for writing."""
        self._folder(name)
        self._uploads[name] = self._ask(lambda: self._files.open(self._at(name), "wb"), "write", name)
        return name

    def part(self, name: str, upload: str, number: int, data: bytes) -> Part:
        """Append to the file; it cannot be asked for twice, so that a failure is final for this attempt."""
        try:
            self._uploads[upload].write(data)
        except OSError as error:
            raise _error(error, "write", f"{self.location}/{name}", again=False) from error
        return Part(number, "")

    def parts(self, name: str, upload: str, after: int) -> tuple[list[Part], int | None]:
        """Return none: a file that was cut short is written anew."""
        del name, upload, after
        return [], None

    def holds(self, part: Part, data: bytes) -> bool:
        """Return False: nothing is known of what was written."""
        del part, data
        return False

    def complete(self, name: str, upload: str, parts: Sequence[Part], *, absent: bool = False) -> None:
        """Close the file."""
        del parts, absent
        try:
            self._uploads.pop(upload).close()
        except OSError as error:
            raise _error(error, "write", f"{self.location}/{name}", again=False) from error

    def abort(self, name: str, upload: str) -> None:
        """Remove the file."""
        file = self._uploads.pop(upload, None)
        if file is not None:
            try:
                file.discard() if hasattr(file, "discard") else file.close()
            except OSError as error:
                raise _error(error, "give up", f"{self.location}/{name}", again=False) from error
        self.delete(name)

    def uploads(self, prefix: str, token: str | None = None) -> tuple[list[Upload], str | None]:
        """Return the files that this process has open for writing; those of a killed one have temporary names."""
        del token
        return [Upload(name, name, alike=False) for name in list(self._uploads) if name.startswith(prefix)], None

    def delete(self, name: str) -> None:
        """Remove a file if it is there."""
        try:
            self._ask(lambda: self._files.rm_file(self._at(name)), "remove", name)
        except NotFoundError:
            return

    def move(self, source: str, target: str) -> None:
        """Rename a file."""
        self._folder(target)
        self._ask(lambda: self._files.mv(self._at(source), self._at(target)), "publish", target)

    def page(self, prefix: str, token: str | None) -> tuple[list[tuple[str, int]], str | None]:
        """Return all files under `prefix` at once."""
        del token
        found = self._ask(lambda: self._files.find(self._root, detail=True), "list", prefix)
        return list(self._rows(found, prefix)), None

    def _rows(self, found: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, int]]:
        cut = len(self._root) + 1
        for path in sorted(found):
            name = path[cut:]
            if name.startswith(prefix):
                yield name, int(found[path]["size"])

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _folder(self, name: str) -> None:
        folder = self._at(name).rpartition("/")[0]
        self._ask(lambda: self._files.makedirs(folder, exist_ok=True), "make the folder of", name)

    def _ask(self, request: Callable[[], T], attempt: str, name: str) -> T:
        try:
            return request()
        except FileNotFoundError as error:
            raise NotFoundError("the object is not there", path=f"{self.location}/{name}") from error
        except OSError as error:
            raise _error(error, attempt, f"{self.location}/{name}", again=True) from error


def _error(error: OSError, attempt: str, path: str, *, again: bool) -> StoreError | CapacityError:
    import errno

    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return CapacityError(f"no space to {attempt} an object", path=path, hint="free space; nothing was lost")
    refused = isinstance(error, PermissionError) or error.errno in {errno.EACCES, errno.EROFS, errno.EINVAL}
    kind = UnavailableError if again and not refused else StoreError
    return kind(f"could not {attempt} an object: {error}", path=path)
