"""Archive of a book channel: bytes a delta, encode and decode; peers: Parquet with the best encodings, gzip of JSON.

Bytes are all of the objects (snapshots, definitions, seek index, footers) over the deltas in them, the mean of the
three BTC feeds; times are over all their deltas. ``archive.decode_ns`` gives ts_recv, side, price and size as
columns, ``archive.decode_all_ns`` all columns, ``archive.decode_records_ns`` the sealed file, byte for byte.
``archive.encode_ns`` is all that happens to a sealed segment: its checksums compared, blocks hashed and encoded,
snapshots proven to follow. ``archive.verify_ns`` is the read-back of a move: everything decoded and compared with the
hash of the sealed file. Parquet hashes and proves nothing.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from statistics import mean

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chronicle.core.layout import Kind
from chronicle.core.local import LocalSource
from chronicle.core.segment import LocalSegment
from chronicle.storage.codec.archive import ArchivedSegment
from chronicle.storage.codec.encode import EncodeOptions, encode_segment
from chronicle.storage.codec.holding import COLUMN_NAMES
from chronicle.storage.codec.whole import read_whole
from chronicle.storage.stores.stores import LocalStore
from tools.benches import archive_orders, archive_peers, catalogs, tiers
from tools.benches.books import BookData, book_data
from tools.benches.figure import Figure, best_ns
from tools.benches.market import Market, markets, note, work_folder
from tools.benches.peers import ask

REPEATS = 5
BTC = ("binance", "binance-usdm", "binance-coinm")
PARQUET = "Parquet, best mix, zstd-9, no snapshots"
DICTIONARY = "DICTIONARY"
COLUMNS = ("ts_recv", "side", "price", "size")
ENCODINGS = ("PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT", DICTIONARY)
ROW_GROUP_ROWS = 131_072


def run() -> Iterator[Figure]:
    """Yield the figures."""
    yield from _archive([_Feed(market) for market in markets(*BTC)], "")
    if markets("lobster")[0].name == "lobster":
        yield from _archive([_Feed(market) for market in markets("lobster")], "_lobster")
    yield from archive_orders.figures(write_parquet)
    for market in markets("binance"):
        yield from _peers(market)
        yield from tiers.figures(market)
        yield from catalogs.figures(market)


class _Feed:
    """A market's book channel, its archive objects sealed and compacted, and the same rows as Parquet."""

    def __init__(self, market: Market) -> None:
        self.market, self.data = market, book_data(market.name)
        self.rows = len(self.data)
        source = LocalSource(market.home)
        opened = [source.open(self.data.queue, info.number) for info in source.segments(self.data.queue)]
        self.local = [segment for segment in opened if isinstance(segment, LocalSegment)]
        self.stores = {name: LocalStore(work_folder() / f"{name}-{market.name}") for name in ("zstd", "compacted")}
        for name, store in self.stores.items():
            store.root.mkdir(exist_ok=True)
            for number, item in enumerate(self.encode(name)):
                (store.root / f"{number}.czst").write_bytes(item)
        self.parquet = work_folder() / f"deltas-{market.name}.parquet"
        self.table = book_table(self.data)
        write_parquet(self.table, self.parquet)

    def encode(self, encoding: str = "zstd") -> list[bytes]:
        options = EncodeOptions.of(encoding, 3)
        return [b"".join(encode_segment(segment, options)) for segment in self.local]

    def size(self, encoding: str) -> float:
        """Return the bytes of all objects over the deltas in them."""
        return sum(path.stat().st_size for path in self.stores[encoding].root.iterdir()) / self.rows

    def columns(self, names: Sequence[str], encoding: str = "zstd") -> None:
        """Read columns of all deltas from objects that are opened anew."""
        deltas = {int(Kind.BOOK_DELTA)}
        for number in range(len(self.local)):
            with ArchivedSegment(self.stores[encoding], f"{number}.czst") as segment:
                for stretch in segment.stretches(None, None, names, deltas, sides=(1, 2), uniform=True):
                    if stretch.columns is None:
                        segment.view(stretch.offset, stretch.end)

    def records(self) -> None:
        """Read all records as they were sealed, block by block."""
        for number in range(len(self.local)):
            with ArchivedSegment(self.stores["zstd"], f"{number}.czst") as segment:
                for block in segment.footer.blocks:
                    segment.view(block.raw_offset, block.raw_offset + block.raw_bytes)

    def verified(self) -> None:
        """Prove all objects, as a move does before it publishes them."""
        for number in range(len(self.local)):
            read_whole(self.stores["zstd"], f"{number}.czst")

    def read_parquet(self, names: list[str] | None) -> None:
        pq.read_table(self.parquet, columns=names, use_threads=False)


def _archive(feeds: list[_Feed], end: str) -> Iterator[Figure]:
    """Yield what the book channels take: bytes as the mean of the feeds, times over all of their deltas."""
    rows = sum(feed.rows for feed in feeds)

    def spent(call: Callable[[_Feed], object]) -> float:
        return sum(best_ns(lambda feed=feed: call(feed), REPEATS) for feed in feeds) / rows

    parquet = [feed.parquet.stat().st_size / feed.rows for feed in feeds]
    for name, encoding in (("bytes_per_delta", "zstd"), ("bytes_per_delta_compacted", "compacted")):
        sizes = [feed.size(encoding) for feed in feeds]
        yield Figure(f"archive.{name}{end}", mean(sizes), "B", rows, PARQUET, mean(parquet))
        if len(feeds) > 1:
            for feed, size, peer in zip(feeds, sizes, parquet, strict=True):
                yield Figure(f"archive.{name}_{feed.market.name}", size, "B", feed.rows, PARQUET, peer)
    for feed in feeds:
        packed = _gzipped_json(feed.market)
        if packed:
            name = f"archive.bytes_per_delta_{feed.market.name}"
            yield Figure(name, feed.size("zstd"), "B", feed.rows, "gzip of the JSON", packed / feed.rows)
    written = spent(lambda feed: write_parquet(feed.table, feed.parquet))
    yield Figure(f"archive.encode_ns{end}", spent(_Feed.encode), "ns", rows, PARQUET, written)
    yield Figure(f"archive.verify_ns{end}", spent(_Feed.verified), "ns", rows)
    compacted = best_ns(lambda: feeds[0].encode("compacted"), 1) / feeds[0].rows
    yield Figure(f"archive.encode_compacted_ns{end}", compacted, "ns", feeds[0].rows, PARQUET, written)
    for name, columns in (("decode_ns", COLUMNS), ("decode_all_ns", COLUMN_NAMES)):
        read = spent(lambda feed, columns=columns: feed.read_parquet(list(columns) if columns == COLUMNS else None))
        ours = spent(lambda feed, columns=columns: feed.columns(columns))
        yield Figure(f"archive.{name}{end}", ours, "ns", rows, PARQUET, read)
    yield Figure(f"archive.decode_records_ns{end}", spent(_Feed.records), "ns", rows)
    for name, columns in (("decode_compacted_ns", COLUMNS), ("decode_compacted_all_ns", COLUMN_NAMES)):
        read = spent(lambda feed, columns=columns: feed.read_parquet(list(columns) if columns == COLUMNS else None))
        ours = spent(lambda feed, columns=columns: feed.columns(columns, "compacted"))
        yield Figure(f"archive.{name}{end}", ours, "ns", rows, PARQUET, read)
    for feed in feeds:
        for segment in feed.local:
            segment.close()


def _peers(market: Market) -> Iterator[Figure]:
    """Yield bytes and times of other stores with the same deltas (spot), beside ours."""
    feed = _Feed(market)
    source = work_folder() / f"peers-{market.name}.npz"
    np.savez(source, **feed.data.columns)
    ours = {
        "bytes": feed.size("zstd"),
        "write": best_ns(feed.encode, REPEATS) / feed.rows,
        "four": best_ns(lambda: feed.columns(COLUMNS), REPEATS) / feed.rows,
        "all": best_ns(lambda: feed.columns(COLUMN_NAMES), REPEATS) / feed.rows,
    }
    names = {"bytes": "bytes_per_delta", "write": "encode_ns", "four": "decode_ns", "all": "decode_all_ns"}
    end = f"_{market.name}"
    for peer in archive_peers.PEERS:
        for key, value in ask(peer, source, archive_peers.__file__).items():
            unit = "B" if key == "bytes" else "ns"
            yield Figure(f"archive.{names[key]}{end}", ours[key], unit, feed.rows, peer, value)


def book_table(data: BookData) -> pa.Table:
    """Return the deltas as an Arrow table of int64 columns (side: uint8)."""
    return pa.table({name: pa.array(values) for name, values in data.columns.items()})


@cache
def _best_encoding(name: str, octets: bool, sample: bytes) -> str:
    """Return the encoding that makes column `name` smallest under zstd-9: all four are tried."""
    values = pa.table({name: np.frombuffer(sample, dtype=np.uint8 if octets else np.int64)})
    sizes = {}
    for encoding in ENCODINGS:
        sink = io.BytesIO()
        _write(values, sink, {name: encoding})
        sizes[encoding] = sink.tell()
    return min(sizes, key=lambda encoding: sizes[encoding])


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write `table` at zstd-9, each column in the encoding that makes it smallest."""
    chosen = {
        name: _best_encoding(
            name, table.schema.field(name).type == pa.uint8(), np.ascontiguousarray(table[name].to_numpy()).tobytes()
        )
        for name in table.column_names
    }
    _write(table, path, chosen)


def _write(table: pa.Table, sink: Path | io.BytesIO, encodings: dict[str, str]) -> None:
    plain = {name: code for name, code in encodings.items() if code != DICTIONARY}
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=9,
        use_dictionary=[name for name, code in encodings.items() if code == DICTIONARY],
        column_encoding=plain or None,
        row_group_size=ROW_GROUP_ROWS,
    )


def _gzipped_json(market: Market) -> int:
    """Return the bytes of the capture's depth lines under gzip; 0 where a capture is no lines of JSON."""
    if not market.captures[0].name.endswith(".gz"):
        return 0
    lines = []
    for path in market.captures:
        with gzip.open(path, "rb") as file:
            lines += [line for line in file if b'"depthUpdate"' in line]
    try:
        json.loads(lines[0].split(b" ", 1)[1])
    except (IndexError, ValueError):
        note(f"peer gzip of the JSON is skipped: {market.name} holds no lines of JSON")
        return 0
    return len(gzip.compress(b"".join(lines), 6))
