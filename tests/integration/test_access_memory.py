"""Scans of more than memory stay under a hard limit of the address space; what would need more fails there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chronicle.core.kernels.mixed import append_mixed
from chronicle.core.layout import BOOK_DELTA_BYTES, Flag, Kind
from chronicle.storage.agent import run_once
from chronicle.storage.policy import default_policy
from tests.support.home_builder import CleanQueue

START = 1_700_000_000_000_000_000
SYMBOL = "kraken:BTC-EUR"
ROWS = 4_000_000
REPOSITORY = Path(__file__).resolve().parents[2]

CHILD = """
import resource, sys
import chronicle
home, how = sys.argv[1:]
store = chronicle.open(home)
rows = sum(len(part["ts_recv"]) for part in store.scan("{symbol}", end={start} + 70_000).batches(10_000))
assert rows > 60_000, rows
list(store.books("{symbol}", {start}, {start} + 70_000, every=10_000, depth=5).batches())
if how == "sql":
    list(store.sql("select price from book where ts_recv_ns < {start} + 70000").batches())
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
limit = used + {room}
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
scan = store.scan("{symbol}")
if how == "batches":
    print(sum(len(part["ts_recv"]) for part in scan.batches(50_000)))
elif how == "arrow":
    print(sum(part.num_rows for part in scan.arrow_batches(50_000)))
elif how == "books":
    books = store.books("{symbol}", on="event", depth=5)
    print(sum(len(part["ts_recv"]) for part in books.batches()))
elif how == "sql":
    print(sum(part.num_rows for part in store.sql("select ts_recv_ns, price, size, side from book").batches()))
else:
    try:
        print(len(scan.to_numpy()["ts_recv"]))
    except MemoryError:
        print("memory")
"""
ROOM = 192 << 20


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """An archive of as many deltas as make several times the room, whole rows of them."""
    home = tmp_path_factory.mktemp("memory")
    clean = CleanQueue(home, SYMBOL, segment_bytes=32 << 20)
    clean.venue_snapshot(START, [(100, 1)], [(200, 1)])
    words = np.zeros((500_000, BOOK_DELTA_BYTES // 8), dtype=np.uint64)
    words[:, 0] = BOOK_DELTA_BYTES | Kind.BOOK_DELTA << 32 | Flag.LAST << 48 | ord("B") << 56
    words[:, 4] = 1
    words[:, 6] = 60 + np.arange(len(words)) % 40
    words[:, 7] = 1 + np.arange(len(words)) % 7
    for part in range(ROWS // len(words)):
        words[:, 1] = START + 1 + part * len(words) + np.arange(len(words))
        words[:, 2], words[:, 3] = words[:, 1], 200 + np.arange(len(words))
        append_mixed(clean.appender, words.reshape(-1))
    clean.close(seal=True)
    run_once(home, default_policy(home), everything=True)
    return home


@pytest.mark.parametrize("how", ["batches", "arrow", "books", "sql", "whole"])
def test_a_scan_of_more_than_memory_streams(home: Path, how: str) -> None:
    if how in ("arrow", "sql"):
        pytest.importorskip("pyarrow")
    if how == "sql":
        pytest.importorskip("duckdb")
    text = CHILD.format(symbol=SYMBOL, start=START, room=ROOM)
    done = subprocess.run(
        [sys.executable, "-c", text, str(home), how],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    if how == "whole":
        assert done.stdout.strip() == "memory"  # the limit is real: all of it at once does not fit
    else:
        assert int(done.stdout) == ROWS + (0 if how == "books" else 2) + (1 if how == "books" else 0)
