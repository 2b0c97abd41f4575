"""Record rows: every record of a segment as a row of Parquet, and back, byte for byte.

The header's fields are columns, and the fields of the channel's own kind (a delta's price and size, a trade's, a
quote's, a candle's) too; a record of any other kind, or one with unusual bytes, carries its body as it is. Absences
(-1) are null where a column is about times, sequences or sources. The file's metadata names the queue, the segment,
and the checksum of all record bytes, so that an import can prove itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from chronicle.access.opened.cost import Cost
from chronicle.access.opened.segment import Segment
from chronicle.access.opened.segments import Shelf
from chronicle.core.dtypes import DTYPES, HEADER_DTYPE
from chronicle.core.errors import CorruptionError, ForeignFileError
from chronicle.core.kernels.scan import record_offsets
from chronicle.core.layout import HEADER_BYTES, INT64_MIN, NONE, Flag, Kind
from chronicle.core.paths import channel_of
from chronicle.core.source import SegmentInfo

__all__ = ["RecordFile", "own_kind", "write_records"]

FORMAT = "chronicle-records-1"
OWN_KINDS = {"book": Kind.BOOK_DELTA, "trade": Kind.TRADE, "quote": Kind.QUOTE, "candle": Kind.CANDLE}
BODY_BYTES_MAX = 16 << 20
BATCH_ROWS = 16_384
_NULLED = ("ts_event", "source_index", "sequence")
_HEADER = tuple(name for name in HEADER_DTYPE.names or () if name != "length")


def own_kind(channel: str) -> Kind:
    """Return the kind whose fields are columns of the channel."""
    return OWN_KINDS[channel]


def _body_fields(kind: Kind) -> list[str]:
    names = DTYPES[kind].names or ()
    return [name for name in names[len(_HEADER) + 1 :] if not name.startswith("_")]


def _schema(kind: Kind) -> Any:
    fields = [pa.field("index", pa.int64())]
    fields += [pa.field(name, pa.from_numpy_dtype(HEADER_DTYPE[name])) for name in _HEADER]
    fields += [pa.field(name, pa.from_numpy_dtype(DTYPES[kind][name])) for name in _body_fields(kind)]
    return pa.schema([*fields, pa.field("body", pa.binary())])


def write_records(shelf: Shelf, info: SegmentInfo, path: Path) -> int:
    """Write every record of a segment to a Parquet file and return how many there are."""
    segment = shelf.open(info)
    kind = own_kind(channel_of(info.queue))
    schema, digest, rows, size = _schema(kind), xxhash.xxh3_64(), 0, 0
    whole = [field.name for field in schema if pa.types.is_integer(field.type) and field.type.bit_width == 64]
    with pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=["body"],
        column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
        write_page_index=True,
    ) as writer:
        for batch, data in _batches(segment, kind, schema):
            writer.write_batch(batch)
            digest.update(data)
            rows, size = rows + batch.num_rows, size + len(data)
        described = {
            "format": FORMAT,
            "queue": info.queue,
            "generation": info.generation,
            "number": info.number,
            "base_index": info.base_index,
            "records": rows,
            "bytes": size,
            "checksum": digest.hexdigest(),
            "prologue": segment.prologue(),
        }
        packed: bytes = msgpack.packb(described)
        writer.add_key_value_metadata({b"chronicle": packed.hex().encode()})
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return rows


def _batches(segment: Segment, kind: Kind, schema: Any) -> Iterator[tuple[Any, memoryview]]:
    info = segment.info
    for _, base, data in segment.windows(segment.data_offset, info.base_index, segment.data_end(), Cost()):
        memory = np.frombuffer(data, dtype=np.uint8)
        starts = record_offsets(memory)
        kinds = np.frombuffer(data, dtype="<u2")[(starts >> 1) + 2]
        if len(kinds) and kinds[-1] == Kind.ROLL:
            data = data[: int(starts[-1])]
            starts, kinds = starts[:-1], kinds[:-1]
        if len(starts):
            yield _batch(data, starts, kinds, base, kind, schema), data


def _batch(
    data: memoryview, starts: NDArray[np.int64], kinds: NDArray[Any], base: int, kind: Kind, schema: Any
) -> Any:
    memory = np.frombuffer(data, dtype=np.uint8)
    heads = memory[starts[:, None] + np.arange(HEADER_BYTES)].view(HEADER_DTYPE).ravel()
    dtype = DTYPES[kind]
    own = (kinds == kind) & (heads["length"] == dtype.itemsize)
    at = np.flatnonzero(own)
    bodies = memory[starts[at][:, None] + np.arange(dtype.itemsize)].view(dtype).ravel()
    for name in dtype.names or ():
        if name.startswith("_"):  # reserved bytes that are not zero: the record goes as it is
            plain = np.ascontiguousarray(bodies[name]).view(np.uint8).reshape(len(bodies), dtype[name].itemsize)
            odd = plain.any(axis=1)
            if odd.any():
                own[at[odd]] = False
    at_own, bodies = np.flatnonzero(own), bodies[own[at]]
    columns = [pa.array(np.arange(base, base + len(starts)))]
    for name in _HEADER:
        values = np.ascontiguousarray(heads[name])
        columns.append(pa.array(values, mask=values == NONE if name in _NULLED else None))
    for name in _body_fields(kind):
        values = np.zeros(len(starts), dtype=dtype[name])
        values[at_own] = bodies[name]
        columns.append(pa.array(values, mask=~own))
    raw: list[bytes | None] = [None] * len(starts)
    for row in np.flatnonzero(~own).tolist():
        start = int(starts[row])
        raw[row] = bytes(data[start + HEADER_BYTES : start + int(heads["length"][row])])
    columns.append(pa.array(raw, pa.binary()))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


class RecordFile:
    """One exported segment.

    Attributes
    ----------
    queue, generation, number, base_index, records, bytes, prologue
        As the metadata has them.

    Raises
    ------
    ForeignFileError
        When the file was not written by an export of records, or its columns are others.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = pq.ParquetFile(path)
            packed = (self._file.schema_arrow.metadata or {}).get(b"chronicle") or _key_values(self._file)
            told = msgpack.unpackb(bytes.fromhex(packed.decode()), strict_map_key=False)
            self.queue, self.prologue = str(told["queue"]), dict(told["prologue"])
            self.generation, self.number = int(told["generation"]), int(told["number"])
            self.base_index, self.records = int(told["base_index"]), int(told["records"])
            self.bytes, self._checksum = int(told["bytes"]), str(told["checksum"])
            self._kind = own_kind(channel_of(self.queue))
            named = told["format"] == FORMAT and self._file.schema_arrow.names == _schema(self._kind).names
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _foreign(path) from error
        except msgpack.UnpackException as error:
            raise _foreign(path) from error
        if not named:
            raise _foreign(path)

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def check(self) -> None:
        """Build every record and compare with the checksum that the export left.

        Raises
        ------
        CorruptionError
            When they differ.
        """
        for _ in self.events():
            pass

    def events(self) -> Iterator[NDArray[np.uint64]]:
        """Yield the records as uint64 words, whole events at a time; the last ones after the checksum was compared.

        Raises
        ------
        CorruptionError
            When rows cannot be records, or are not those that were exported.
        """
        digest, rows = xxhash.xxh3_64(), 0
        held = np.empty(0, dtype=np.uint64)
        end = 0
        try:
            for batch in self._file.iter_batches(batch_size=BATCH_ROWS):
                if end:
                    yield held[:end]
                words, whole = self._records(batch)
                digest.update(words.data)
                rows += batch.num_rows
                rest = held[end:]
                held, end = np.concatenate((rest, words)), len(rest) + whole if whole else 0
        except (pa.ArrowException, ValueError, OSError) as error:
            raise CorruptionError(
                "an exported file cannot be read", path=self.path, hint="export it again"
            ) from error
        if digest.hexdigest() != self._checksum or rows != self.records:
            raise CorruptionError(
                "the rows are not the records that were exported",
                path=self.path,
                expected=f"{self.records} records, xxh3 {self._checksum}",
                found=f"{rows} records, xxh3 {digest.hexdigest()}",
                hint="files for import must not be changed; export them again",
            )
        if end != len(held):
            raise CorruptionError("the segment ends inside an event", path=self.path)
        if end:
            yield held

    def _records(self, batch: Any) -> tuple[NDArray[np.uint64], int]:
        """Return the records of a batch as words, and the word after the last one that ends an event."""
        count, dtype = batch.num_rows, DTYPES[self._kind]
        raw = batch.column("body").to_pylist()
        lengths = np.array([dtype.itemsize if body is None else HEADER_BYTES + len(body) for body in raw])
        if np.any(lengths % 8) or np.any(lengths > BODY_BYTES_MAX + HEADER_BYTES):
            raise ValueError("a record's length is impossible")
        starts = np.cumsum(lengths) - lengths
        memory = np.zeros(int(lengths.sum()), dtype=np.uint8)
        heads = np.zeros(count, dtype=HEADER_DTYPE)
        heads["length"] = lengths
        for name in _HEADER:
            heads[name] = _values(batch, name, HEADER_DTYPE[name], NONE)
        memory[starts[:, None] + np.arange(HEADER_BYTES)] = heads.view(np.uint8).reshape(count, HEADER_BYTES)
        at = np.flatnonzero([body is None for body in raw])
        bodies = np.zeros(len(at), dtype=dtype)
        for name in _body_fields(self._kind):
            bodies[name] = _values(batch, name, dtype[name], INT64_MIN)[at]
        tail = bodies.view(np.uint8).reshape(len(at), dtype.itemsize)[:, HEADER_BYTES:]
        memory[starts[at][:, None] + np.arange(HEADER_BYTES, dtype.itemsize)] = tail
        for row, body in enumerate(raw):
            if body:
                begin = int(starts[row]) + HEADER_BYTES
                memory[begin : begin + len(body)] = np.frombuffer(body, dtype=np.uint8)
        last = np.flatnonzero(heads["flags"] & Flag.LAST)
        return memory.view(np.uint64), int(starts[last[-1]] + lengths[last[-1]]) >> 3 if len(last) else 0


def _values(batch: Any, name: str, dtype: np.dtype[Any], absent: int) -> NDArray[Any]:
    column = batch.column(name)
    if column.null_count:
        column = column.fill_null(absent if dtype.kind == "i" and dtype.itemsize == 8 else 0)
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False).astype(dtype)
    return values


def _key_values(file: Any) -> bytes:
    found = (file.metadata.metadata or {}).get(b"chronicle")
    if found is None:
        raise ValueError("no metadata of ours")
    return bytes(found)


def _foreign(path: Path) -> ForeignFileError:
    return ForeignFileError(
        "this file was not written by an export of records",
        path=path,
        hint="only what `chronicle export --format records` wrote can be imported",
    )
