"""Other stores with the same deltas: ``python archive_peers.py NAME INPUT.npz`` prints bytes and times, or why not.

It runs by itself, like :mod:`tools.benches.peers`: only NumPy and the peer's package are imported. Each peer writes
the columns as it would keep them best, and reads back (a) ts_recv, side, price and size, (b) all columns, in one
thread.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPEATS = 3
FOUR = ("ts_recv", "side", "price", "size")


def best_ns(call: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return float(min(times))


def told(rows: int, size: int, write: float, four: float, whole: float) -> dict[str, float]:
    """Return what is printed: bytes a row, and ns a row."""
    return {"bytes": size / rows, "write": write / rows, "four": four / rows, "all": whole / rows}


def dbn_zstd(columns: dict[str, Any], folder: Path) -> dict[str, float]:
    """Databento's encoding as its MBO records of 56 bytes, under zstd-3 as it is delivered."""
    import numpy as np
    import zstandard

    names = (
        "length",
        "rtype",
        "publisher",
        "instrument",
        "ts_event",
        "order_id",
        "price",
        "size",
        "flags",
        "channel",
    )
    form = ["u1", "u1", "<u2", "<u4", "<u8", "<u8", "<i8", "<u4", "u1", "u1", "S1", "S1", "<u8", "<i4", "<u4"]
    record = np.dtype(list(zip((*names, "action", "side", "ts_recv", "delta", "sequence"), form, strict=True)))
    assert record.itemsize == 56
    rows = len(columns["price"])
    path = folder / "book.dbn.zst"

    def write() -> None:
        out = np.zeros(rows, dtype=record)
        out["length"], out["rtype"], out["action"] = 14, 160, b"M"
        out["ts_event"], out["ts_recv"] = columns["ts_event"], columns["ts_recv"]
        out["price"], out["size"], out["sequence"] = columns["price"], columns["size"], columns["sequence"]
        out["side"] = np.where(columns["side"] == 66, b"B", b"A")
        path.write_bytes(zstandard.ZstdCompressor(level=3).compress(out.tobytes()))

    def read() -> Any:
        raw = zstandard.ZstdDecompressor().decompress(path.read_bytes(), max_output_size=56 * rows)
        return np.frombuffer(raw, dtype=record)

    written = best_ns(write)
    four = best_ns(lambda: [np.ascontiguousarray(read()[name]) for name in FOUR])
    return told(rows, path.stat().st_size, written, four, best_ns(read))


def hftbacktest_npz(columns: dict[str, Any], folder: Path) -> dict[str, float]:
    """hftbacktest's npz: an array of events of 64 bytes, deflated."""
    import numpy as np

    form = [("ev", "<u8"), ("exch_ts", "<i8"), ("local_ts", "<i8"), ("px", "<f8"), ("qty", "<f8")]
    form += [("order_id", "<u8"), ("ival", "<i8"), ("fval", "<f8")]
    rows, path = len(columns["price"]), folder / "book.npz"

    def write() -> None:
        out = np.zeros(rows, dtype=form)
        out["ev"] = np.where(columns["side"] == 66, 1 << 29, 1 << 28) | 0xC0000001
        out["exch_ts"], out["local_ts"] = columns["ts_event"], columns["ts_recv"]
        out["px"], out["qty"] = columns["price"] / 1e8, columns["size"] / 1e8
        np.savez_compressed(path, data=out)

    def read() -> Any:
        return np.load(path)["data"]

    written = best_ns(write)
    four = best_ns(lambda: [np.ascontiguousarray(read()[name]) for name in ("local_ts", "ev", "px", "qty")])
    return told(rows, path.stat().st_size, written, four, best_ns(read))


def arcticdb(columns: dict[str, Any], folder: Path) -> dict[str, float]:
    """ArcticDB on LMDB, its own compression; the bytes are those of its file."""
    import arcticdb as library
    import pandas as pd

    frame = pd.DataFrame(columns)
    store = library.Arctic(f"lmdb://{folder}/arctic?map_size=1GB")
    books = store.create_library("books")
    written = best_ns(lambda: books.write("book", frame, prune_previous_versions=True))
    four = best_ns(lambda: books.read("book", columns=list(FOUR)).data)
    whole = best_ns(lambda: books.read("book").data)
    fresh = library.Arctic(f"lmdb://{folder}/size?map_size=1GB").create_library("books")
    fresh.write("book", frame)
    size = sum(path.stat().st_blocks * 512 for path in (folder / "size").rglob("data.mdb"))
    return told(len(frame), size, written, four, whole)


def duckdb(columns: dict[str, Any], folder: Path) -> dict[str, float]:
    """DuckDB's own file, its compression chosen by itself."""
    import duckdb as library
    import pandas as pd

    frame = pd.DataFrame(columns)
    path = folder / "book.duckdb"

    def write() -> None:
        path.unlink(missing_ok=True)
        with library.connect(str(path), config={"threads": 1}) as connection:
            connection.register("frame", frame)
            connection.execute("CREATE TABLE book AS SELECT * FROM frame")
            connection.execute("CHECKPOINT")

    written = best_ns(write)
    with library.connect(str(path), read_only=True, config={"threads": 1}) as connection:
        four = best_ns(lambda: connection.execute(f"SELECT {', '.join(FOUR)} FROM book").fetchnumpy())
        whole = best_ns(lambda: connection.execute("SELECT * FROM book").fetchnumpy())
    return told(len(frame), path.stat().st_size, written, four, whole)


def chdb(columns: dict[str, Any], folder: Path) -> dict[str, float]:
    """ClickHouse's engine: a MergeTree with Delta and DoubleDelta codecs before zstd-3, merged into one part."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from chdb import session

    names = list(columns)
    store = session.Session(str(folder / "chdb"))
    codecs = {"ts_recv": "DoubleDelta", "ts_event": "DoubleDelta", "source_index": "DoubleDelta"}
    kinds = ", ".join(
        f"{name} {'UInt8' if name == 'side' else 'Int64'}"
        f" CODEC({'' if name in ('side', 'size') else codecs.get(name, 'Delta') + ', '}ZSTD(3))"
        for name in names
    )
    store.query("CREATE DATABASE IF NOT EXISTS books")
    source = folder / "book.parquet"
    pq.write_table(pa.table(columns), source)

    def write() -> None:
        store.query("DROP TABLE IF EXISTS books.book SYNC")
        store.query(f"CREATE TABLE books.book ({kinds}) ENGINE = MergeTree ORDER BY tuple()")
        store.query(f"INSERT INTO books.book SELECT * FROM file('{source}', Parquet) SETTINGS max_threads = 1")
        store.query("OPTIMIZE TABLE books.book FINAL")

    written = best_ns(write)
    found = store.query("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'book'", "CSV")
    size = int(str(found).strip())
    end = "SETTINGS max_threads = 1"
    four = best_ns(lambda: store.query(f"SELECT {', '.join(FOUR)} FROM books.book {end}", "ArrowTable"))
    whole = best_ns(lambda: store.query(f"SELECT * FROM books.book {end}", "ArrowTable"))
    return told(len(columns["price"]), size, written, four, whole)


PEERS = {
    "DBN+zstd": dbn_zstd,
    "hftbacktest npz": hftbacktest_npz,
    "ArcticDB": arcticdb,
    "DuckDB": duckdb,
    "chdb": chdb,
}

if __name__ == "__main__":
    scratch = Path(tempfile.mkdtemp(prefix="chronicle-peer-"))
    try:
        import numpy

        with numpy.load(sys.argv[2]) as held:
            answer: dict[str, Any] = PEERS[sys.argv[1]]({name: held[name] for name in held.files}, scratch)
    except ImportError as missing:
        answer = {"absent": str(missing)}
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(json.dumps(answer))
