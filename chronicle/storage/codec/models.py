"""Tables of symbols for the contexts of a tabled block: chosen, packed and read. NumPy and zstd alone read them.

``docs/format/archive.md`` (Tabled event blocks) is the specification.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from chronicle.storage.codec.tokens import Values, Words, compressor, decompressor

__all__ = [
    "CLASS_CONTEXTS",
    "HEAD",
    "KNOWN_MAX",
    "PRICE_CONTEXTS",
    "PRICE_TOKENS",
    "SIZE_CONTEXTS",
    "SIZE_TOKENS",
    "Model",
    "pack_models",
    "part_contexts",
    "read_models",
    "token_facts",
]

GAPS_FROM: Final = 64
GAP_BITS: Final = 20
PRICE_CONTEXTS: Final = GAPS_FROM + 5 * GAP_BITS
"""First prices: 32 for each side; gaps: 20 for each part."""
CLASS_CONTEXTS: Final = 5 * 4 * 4 * 8
SIZE_CONTEXTS: Final = 96
PRICE_TOKENS: Final = (4, 2)
SIZE_TOKENS: Final = (7, 3)
CLASSES: Final = 4
KNOWN_MAX: Final = 1024
"""Sizes that are symbols of their own."""
TABLES_MAX: Final = 64
LOGS: Final = (9, 8, 12)
"""Slots of a table are 2**log: of prices, classes of sizes, new sizes."""
PARTS: Final = 65
PACK_LEVEL: Final = 19

HEAD: Final = struct.Struct("<" + "BBHHHII" * 3 + "II")
"""For prices, classes, new sizes: log, reserved 0, tables, symbols, reserved 0, bytes of words, low bits; then the
sizes that are symbols, bytes of the tables as stored."""
HEAD_BYTES: Final = 56
assert HEAD.size == HEAD_BYTES


@cache
def token_facts(k: int, m: int) -> tuple[Words, NDArray[np.uint8], NDArray[np.uint8]]:
    """Return (least word, bits, low bits) of each token of form (k, m)."""
    bases, lengths, widths = list(range(1 << k)), [number.bit_length() for number in range(1 << k)], [0] * (1 << k)
    for bits in range(k + 1, 65):
        for top in range(1 << m):
            bases.append(((1 << m) + top) << (bits - 1 - m))
            lengths.append(bits)
            widths.append(bits - 1 - m)
    octets = np.array(lengths, dtype=np.uint8), np.array(widths, dtype=np.uint8)
    return np.array(bases, dtype=np.uint64), *octets


@cache
def part_contexts(edges: tuple[int, ...]) -> Values:
    """Return the first context of a gap that so many others follow on its side, up to PARTS - 1."""
    followed = np.arange(PARTS)
    part = np.searchsorted(np.array(edges), followed, side="right") - 1
    return np.asarray(GAPS_FROM + GAP_BITS * part, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Model:
    """Tables of symbols: `firsts` int64[t] is the first context of each, `frequencies` u16[t, a] sum to 1 << log."""

    log: int
    firsts: Values
    frequencies: NDArray[np.uint16]

    def tables(self, contexts: int) -> Values:
        """Return the table of each of so many contexts."""
        return np.asarray(np.searchsorted(self.firsts, np.arange(contexts), side="right") - 1, dtype=np.int64)

    def begins(self) -> Values:
        """Return where the symbols of each table begin, int64[t, a + 1]."""
        out = np.zeros((len(self.firsts), self.frequencies.shape[1] + 1), dtype=np.int64)
        np.cumsum(self.frequencies, axis=1, out=out[:, 1:])
        return out


def pack_models(models: list[Model], known: Words) -> bytes:
    """Return the tables of models and the sizes that are symbols, ascending, as one zstd frame."""
    steps = np.diff(known, prepend=np.uint64(0))
    parts = [_planes(model.firsts.astype(np.uint16)) for model in models]
    parts += [_planes(model.frequencies) for model in models]
    return compressor(PACK_LEVEL).compress(b"".join((*parts, _planes(steps))))


def read_models(
    packed: bytes | memoryview, shapes: list[tuple[int, int, int]], contexts: tuple[int, ...], known: int
) -> tuple[list[Model], Words]:
    """Return the models and the sizes that are symbols.

    Parameters
    ----------
    shapes : list of (int, int, int)
        Of each model: log, tables, symbols, checked by the caller to be within what there can be.

    Raises
    ------
    ValueError, zstandard.ZstdError
        When tables are of another size than they say, or are none.
    """
    size = sum(2 * tables * (symbols + 1) for _, tables, symbols in shapes) + 8 * known
    if zstandard.frame_content_size(packed) != size:
        raise ValueError("the tables of a block have another length than its head says")
    data = decompressor().decompress(packed, max_output_size=size)
    place, firsts, models = 0, [], []
    for _, tables, _ in shapes:
        firsts.append(_joined(data[place : place + 2 * tables], np.uint16).astype(np.int64))
        place += 2 * tables
    for (log, tables, symbols), begin, count in zip(shapes, firsts, contexts, strict=True):
        frequencies = _joined(data[place : place + 2 * tables * symbols], np.uint16).reshape(tables, symbols)
        place += 2 * tables * symbols
        if begin[0] != 0 or begin[-1] >= count or bool((np.diff(begin) <= 0).any()):
            raise ValueError("the contexts of a block's tables are none")
        if bool((frequencies.sum(axis=1, dtype=np.int64) != 1 << log).any()):
            raise ValueError("the symbols of a table do not fill it")
        models.append(Model(log, begin, frequencies))
    with np.errstate(over="ignore"):
        return models, np.cumsum(_joined(data[place:], np.uint64), dtype=np.uint64)


def _planes(values: NDArray[Any]) -> bytes:
    """Return values as planes: all lowest bytes, then all next ones."""
    flat = np.ascontiguousarray(values).reshape(-1)
    return flat.view(np.uint8).reshape(-1, flat.itemsize).T.tobytes()


def _joined(data: bytes, kind: type[np.uint16 | np.uint64]) -> NDArray[Any]:
    """Return the values of planes."""
    planes = np.frombuffer(data, dtype=np.uint8).reshape(np.dtype(kind).itemsize, -1)
    found: NDArray[Any] = planes[0].astype(kind)
    for number, plane in enumerate(planes[1:], 1):
        found |= plane.astype(kind) << kind(8 * number)
    return found
