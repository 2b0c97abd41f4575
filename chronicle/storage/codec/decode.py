"""From the stored bytes of one archived block to the sealed bytes it stands for, checked before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import xxhash

from chronicle.core.errors import CorruptionError
from chronicle.storage.codec.archive_layout import EVENT_METHODS, Block, Method

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from chronicle.storage.codec.snapshots import Book

__all__ = ["compare", "decode_stored", "naming"]

RAW_BYTES_MAX: Final = 96 << 20
PIECE_BYTES: Final = 256 * 1024


def decode_stored(
    stored: bytes,
    block: Block,
    path: object,
    book: Callable[[], Book] | None = None,
    orders: Callable[[], tuple[NDArray[np.int64], int]] | None = None,
    whole: xxhash.xxh3_64 | None = None,
) -> bytes | memoryview:
    """Return a block's raw bytes, checked before and after decoding.

    Parameters
    ----------
    book : callable, optional
        Gives the book in the segment's prologue to a block that begins with it.
    orders : callable, optional
        The same of the orders behind it: int64[n, 3], and how many are bids.
    whole : xxh3_64, optional
        Takes the raw bytes too: they come from memory once for both hashes.

    Raises
    ------
    CorruptionError
        When either checksum or the decoding fails.
    """
    compare(stored, block.stored_checksum, block, path, "stored")
    if block.raw_bytes > RAW_BYTES_MAX:
        raise CorruptionError("a block claims to be larger than blocks can be", path=path, found=block.raw_bytes)
    if block.method == Method.STORED:
        raw: bytes | memoryview = stored
    elif block.method == Method.ZSTD:
        raw = _decompress(stored, block, path)
    elif block.method in (Method.COLUMNS, *EVENT_METHODS, Method.PROLOGUE, Method.SEEK):
        with naming(path, block):
            raw = _decode_columns(stored, block, book)
    elif block.method == Method.ORDERS:
        from chronicle.storage.codec.order_decode import decode_orders

        with naming(path, block):
            raw = decode_orders(stored, block.raw_bytes, orders)
    else:
        raise CorruptionError(
            "a block has an unknown method", path=path, offset=block.object_offset, found=block.method
        )
    if whole is None:
        compare(raw, block.raw_checksum, block, path, "decoded")
        return raw
    digest = xxhash.xxh3_64()
    for start in range(0, len(raw), PIECE_BYTES):
        piece = memoryview(raw)[start : start + PIECE_BYTES]
        digest.update(piece)
        whole.update(piece)
    compare_hashes(digest.intdigest(), block.raw_checksum, block, path, "decoded")
    return raw


@contextmanager
def naming(path: object, block: Block) -> Iterator[None]:
    """Say in a CorruptionError where the block is."""
    try:
        yield
    except CorruptionError as error:
        error.path, error.offset = str(path), block.object_offset
        raise


def _decode_columns(stored: bytes, block: Block, book: Callable[[], Book] | None) -> bytes | memoryview:
    """Decode a block of one of the methods that need NumPy, loaded only now."""
    if block.method == Method.COLUMNS:
        from chronicle.storage.codec.blocks import decode_block

        return decode_block(stored, block.raw_bytes)
    if block.method in EVENT_METHODS:
        from chronicle.storage.codec.event_decode import EventBlock

        return EventBlock(stored, block.raw_bytes).raw(book)
    from chronicle.storage.codec import small_blocks

    decode = small_blocks.decode_prologue if block.method == Method.PROLOGUE else small_blocks.decode_seek
    return decode(stored, block.raw_bytes)


def _decompress(stored: bytes, block: Block, path: object) -> bytes:
    import zstandard

    try:
        if zstandard.frame_content_size(stored) != block.raw_bytes:
            raise zstandard.ZstdError("the frame has another length than the table")  # noqa: TRY301
        return bytes(zstandard.ZstdDecompressor().decompress(stored, max_output_size=block.raw_bytes))
    except zstandard.ZstdError as error:
        raise CorruptionError(
            f"a block does not decompress: {error}", path=path, offset=block.object_offset
        ) from error


def compare(data: bytes | memoryview, expected: int, block: Block, path: object, what: str) -> None:
    """Compare the hash of a block's bytes with the block table."""
    compare_hashes(xxhash.xxh3_64_intdigest(data), expected, block, path, what)


def compare_hashes(found: int, expected: int, block: Block, path: object, what: str) -> None:
    if found != expected:
        raise CorruptionError(
            f"the {what} bytes of an archived block do not match their checksum",
            path=path,
            offset=block.object_offset,
            expected=hex(expected),
            found=hex(found),
            hint="restore the object from another tier; chronicle verify lists all damage",
        )
