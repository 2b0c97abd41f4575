"""Scans of more than memory stay under a hard limit of the address space; what would need more fails there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chronicle.core.kernels.mixed import append_mixed
from chronicle.core.layout import BOOK_DELTA_BYTES, Flag, Kind
from chronicle.storage.tiers.agent import run_once
from chronicle.storage.tiers.policy import default_policy
from tests.support.home_builder import CleanQueue
from tests.support.patience import HANG_SECONDS

START = 1_700_000_000_000_000_000
SYMBOL = "kraken:BTC-EUR"
ROWS = 4_000_000
ROOM = 128 << 20
"""What a reader may take beyond the loaded libraries: a block in decoding, its columns, a batch, what it keeps."""
ROW_BYTES = 71
"""A row's columns as they leave: four times and places, price, size, words and flags."""
SOAK_ROWS = 100 * ROOM // ROW_BYTES // 500_000 * 500_000 + 500_000
"""Rows of more than a hundred times the room."""
REPOSITORY = Path(__file__).resolve().parents[2]

CHILD = """
import resource, sys
import chronicle
home, how = sys.argv[1:]
store = chronicle.open(home)
rows = sum(len(part["ts_recv"]) for part in store.scan("{symbol}", end={start} + 70_000).batches(10_000))
assert rows > 60_000, rows
if how in ("arrow", "sql"):
    list(store.scan("{symbol}", end={start} + 70_000).arrow_batches(10_000))
list(store.books("{symbol}", {start}, {start} + 70_000, every=10_000, depth=5).batches())
if how == "sql":
    list(store.sql("select price from book where ts_recv_ns < {start} + 70000").batches())
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
limit = used + {room}
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
scan = store.scan("{symbol}")
if how == "batches":
    rows = size = 0
    for part in scan.chunks(50_000):
        rows, size = rows + len(part["ts_recv"]), size + sum(values.nbytes for values in part.values())
    assert size >= rows * {row_bytes}
    print(rows)
elif how == "arrow":
    print(sum(part.num_rows for part in scan.arrow_batches(50_000)))
elif how == "books":
    books = store.books("{symbol}", on="event", depth=5)
    print(sum(len(part["ts_recv"]) for part in books.batches()))
elif how == "sampled":
    books = store.books("{symbol}", {start}, {start} + {rows} + 1, every=1_000, depth=5)
    print(sum(len(part["ts_recv"]) for part in books.batches()))
elif how == "sql":
    print(sum(part.num_rows for part in store.sql("select ts_recv_ns, price, size, side from book").batches()))
else:
    try:
        print(len(scan.to_numpy()["ts_recv"]))
    except MemoryError:
        print("memory")
"""


def archive(home: Path, rows: int) -> Path:
    """Make an archive of `rows` deltas: a walk of prices, sizes at random."""
    clean, draw = CleanQueue(home, SYMBOL, segment_bytes=32 << 20), np.random.default_rng(5)
    clean.venue_snapshot(START, [(100, 1)], [(200, 1)])
    words = np.zeros((500_000, BOOK_DELTA_BYTES // 8), dtype=np.uint64)
    words[:, 0] = BOOK_DELTA_BYTES | Kind.BOOK_DELTA << 32 | Flag.LAST << 48 | ord("B") << 56
    words[:, 4] = 1
    for part in range(rows // len(words)):
        words[:, 1] = START + 1 + part * len(words) + np.arange(len(words))
        words[:, 2], words[:, 3] = words[:, 1], 200 + np.arange(len(words))
        words[:, 6] = 40 + draw.integers(0, 60, len(words))
        words[:, 7] = draw.integers(0, 5_000, len(words))
        append_mixed(clean.appender, words.reshape(-1))
        if part % 20 == 19:
            run_once(home, default_policy(home), everything=True)  # the disk need not hold all of it unpacked
    clean.close(seal=True)
    run_once(home, default_policy(home), everything=True)
    return home


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """An archive of as many deltas as make several times the room, whole rows of them."""
    return archive(tmp_path_factory.mktemp("memory"), ROWS)


@pytest.fixture(scope="module")
def large_home(tmp_path_factory) -> Path:
    """An archive of more than a hundred times the room."""
    return archive(tmp_path_factory.mktemp("hundredfold"), SOAK_ROWS)


@pytest.mark.parametrize("how", ["batches", "arrow", "books", "sampled", "sql", "whole"])
def test_a_scan_of_more_than_memory_streams(home: Path, how: str) -> None:
    check(home, how, ROWS)


@pytest.mark.soak
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("how", ["batches", "arrow", "books", "sampled", "sql"])
def test_a_hundred_times_the_room_streams(large_home: Path, how: str) -> None:
    check(large_home, how, SOAK_ROWS)


def check(home: Path, how: str, rows: int) -> None:
    if how in ("arrow", "sql"):
        pytest.importorskip("pyarrow")
    if how == "sql":
        pytest.importorskip("duckdb")
    text = CHILD.format(symbol=SYMBOL, start=START, room=ROOM, row_bytes=ROW_BYTES, rows=rows)
    done = subprocess.run(
        [sys.executable, "-c", text, str(home), how],
        cwd=REPOSITORY,
        # Arrow's own allocator reserves a GiB of addresses at once, the C library's 64 MiB for each thread that comes
        # to allocate (how many do depends on the machine): under the limit what is used counts, and nothing else
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    if how == "whole":
        assert done.stdout.strip() == "memory"  # the limit is real: all of it at once does not fit
    else:
        found = {"books": rows + 1, "sampled": rows // 1_000 + 1}
        assert int(done.stdout) == found.get(how, rows + 2)
