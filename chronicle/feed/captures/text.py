"""Lines of a capture file, plain or compressed: streamed, bounded, and never silently cut short."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from chronicle.core.errors import DecodeError, NotFoundError

__all__ = ["first_lines", "read_chunks", "read_lines"]

LINE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A longer line is no frame of any venue (and no WIRE record could hold it)."""

_CHUNK_BYTES: Final = 256 * 1024
_COMPRESSED_BYTES: Final = 4096
"""Compressed input is fed in this size, so that hostile input cannot expand into all memory at once."""
_WINDOW_BYTES_MAX: Final = 128 * 1024 * 1024
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_GZIP_MAGIC: Final = b"\x1f\x8b"


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line without its end) of `path`; zstd and gzip are told by their first bytes.

    Raises
    ------
    NotFoundError
        When the file is not there.
    DecodeError
        After the lines that could be read, when the compressed data are torn or damaged, or a line has no end
        within ``LINE_BYTES_MAX``.
    """
    number = 0
    rest = b""
    for chunk in read_chunks(path):
        lines = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
        rest = lines.pop()
        for line in lines:
            number += 1
            yield number, line.removesuffix(b"\r")
        if len(rest) > LINE_BYTES_MAX:
            raise DecodeError(
                f"line {number + 1} has no end",
                path=path,
                expected=f"at most {LINE_BYTES_MAX} bytes",
                found=len(rest),
            )
    if rest:
        yield number + 1, rest.removesuffix(b"\r")


def first_lines(path: Path, count: int) -> list[bytes]:
    """Return up to `count` lines from the start that are not blank; what is torn after them does not matter."""
    found: list[bytes] = []
    try:
        for _, line in read_lines(path):
            if line.strip():
                found.append(line)
            if len(found) == count:
                break
    except DecodeError:
        if not found:
            raise
    return found


def read_chunks(path: Path, skip: int = 0) -> Iterator[bytes]:
    """Yield the bytes of `path` behind the first `skip`; zstd (all its frames) and gzip are told by how they begin.

    Raises
    ------
    NotFoundError, DecodeError
        As :func:`read_lines`.
    """
    try:
        with open(path, "rb") as file:
            file.seek(skip)
            magic = file.read(4)
            file.seek(skip)
            if magic == _ZSTD_MAGIC:
                yield from _inflate_zstd(path, file)
            elif magic[:2] == _GZIP_MAGIC:
                yield from _inflate_gzip(path, file)
            else:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
    except FileNotFoundError as error:
        raise NotFoundError("there is no such capture file", path=path) from error
    except OSError as error:
        raise DecodeError(f"cannot read the capture: {error.strerror or error}", path=path) from error


def _inflate_zstd(path: Path, file: BinaryIO) -> Iterator[bytes]:
    read = file.read
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
    member = decompressor.decompressobj()
    fresh = True
    try:
        while data := read(_COMPRESSED_BYTES):
            while data:
                chunk = member.decompress(data)
                fresh = False
                if chunk:
                    yield chunk
                data = b""
                if member.eof:
                    data = member.unused_data
                    member = decompressor.decompressobj()
                    fresh = True
    except zstandard.ZstdError as error:
        raise DecodeError(f"the zstd data are damaged: {error}", path=path, offset=file.tell()) from error
    if not fresh:
        raise DecodeError("the zstd data end in the middle", path=path, offset=file.tell(), hint="the file is torn")


def _inflate_gzip(path: Path, file: BinaryIO) -> Iterator[bytes]:
    read = file.read
    member = zlib.decompressobj(wbits=31)
    fresh = True
    try:
        while data := read(_CHUNK_BYTES):
            while data:
                chunk = member.decompress(data, _CHUNK_BYTES)
                fresh = False
                if chunk:
                    yield chunk
                data = member.unconsumed_tail
                if member.eof:
                    data = member.unused_data.lstrip(b"\0")
                    member = zlib.decompressobj(wbits=31)
                    fresh = True
    except zlib.error as error:
        raise DecodeError(f"the gzip data are damaged: {error}", path=path, offset=file.tell()) from error
    if not fresh:
        raise DecodeError("the gzip data end in the middle", path=path, offset=file.tell(), hint="the file is torn")
