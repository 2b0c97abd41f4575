"""From a tier's address to its store: a folder of this host (an NFS mount too), ``s3://``, or what fsspec opens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chronicle.core.errors import ConfigError
from chronicle.storage.stores.stores import LocalStore, Store

__all__ = ["is_url", "local_folder", "open_store"]


def is_url(address: str | Path) -> bool:
    """Return whether an address is a URL of a store elsewhere, not a folder of this host."""
    return "://" in str(address) and not str(address).startswith("file://")


def local_folder(address: str | Path) -> Path:
    """Return the folder that an address names which is no URL."""
    return Path(str(address).removeprefix("file://")).expanduser()


def open_store(address: str | Path, options: Mapping[str, Any] | None = None) -> Store:
    """Return the store at an address; nothing is asked of it yet.

    Parameters
    ----------
    address : path or str
        A folder, ``file://``, ``s3://bucket/prefix``, or any URL that fsspec opens.
    options : mapping, optional
        For S3 those of :data:`chronicle.storage.stores.s3_client.OPTIONS`, for fsspec those of the file system;
        besides ``part_bytes``, the size of the parts of large uploads.

    Raises
    ------
    ConfigError
        When they cannot be used.
    """
    if not is_url(address):
        return LocalStore(local_folder(address))
    from chronicle.storage.stores.remote import PART_BYTES, RemoteStore  # a folder needs no pool of threads

    given = dict(options or {})
    part_bytes = given.pop("part_bytes", PART_BYTES)
    if not isinstance(part_bytes, int) or not 5 << 20 <= part_bytes <= 1 << 30:
        raise ConfigError("part_bytes is out of range", path=address, expected="5 MiB to 1 GiB", found=part_bytes)
    url = str(address)
    if url.startswith("s3://"):
        from chronicle.storage.stores.s3 import S3Requests

        return RemoteStore(S3Requests(url, given), part_bytes=part_bytes)
    from chronicle.storage.stores.filesystem import FilesystemRequests

    return RemoteStore(FilesystemRequests(url, given), part_bytes=part_bytes)
