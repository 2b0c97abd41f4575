"""What the benches work on: recorded captures where the shared data is there, else a seeded market.

A capture is replayed and worked off once a process; every topic then reads the same home.
"""

from __future__ import annotations

import atexit
import gzip
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from chronicle.etl import run_shard
from chronicle.feed.replay import replay_capture

ROOT = Path(__file__).resolve().parent.parent.parent
CAPTURES = {
    "binance": ("hftbacktest-binance/spot/btcusdt_20240808.gz", "hftbacktest-binance/spot/btcusdt_20240809.gz"),
    "binance-usdm": ("hftbacktest-binance/usdm/btcusdt_20240808.gz",),
    "binance-coinm": (
        "hftbacktest-binance/cm/btcusd_perp_20240808.gz",
        "hftbacktest-binance/cm/btcusd_perp_20240809.gz",
    ),
    "kraken": ("cryptofeed-ws/jsonl/KRAKEN.jsonl.zst",),
    "okx": ("cryptofeed-ws/jsonl/OKX.jsonl.zst",),
    "lobster": ("lobster/LOBSTER_SampleFile_AMZN_2012-06-21_5.zip",),
}
SYNTHETIC_EVENTS = 8_000
SYNTHETIC_LEVELS = 1_000
START_NS = 1_723_161_254_000_000_000


@dataclass
class Market:
    """A home with one capture, worked off and sealed; what its making took."""

    name: str
    home: Path
    frames: int
    records: int
    feed_seconds: float
    etl_seconds: float
    captures: list[Path] = field(default_factory=list)


def note(text: str) -> None:
    """Say on stderr what was left out."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


@cache
def shared_data() -> Path | None:
    """Return the folder of recorded captures beside the checkout, None where there is none."""
    folder = ROOT.parent / "shared" / "data"
    if folder.is_dir():
        return folder
    note("no recorded captures beside the checkout: a seeded synthetic market stands in (names end in _synthetic)")
    return None


@cache
def work_folder() -> Path:
    """Return this process' folder in shared memory (where there is one); it goes when the process ends."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="chronicle-bench-", dir=base))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def markets(*names: str) -> list[Market]:
    """Return the markets of `names` (see CAPTURES), or the synthetic one."""
    if shared_data() is None:
        return [market("synthetic")]
    return [market(name) for name in names]


@cache
def market(name: str) -> Market:
    """Return a market by name; the first call replays its capture and works it off."""
    folder = shared_data()
    if name == "synthetic" or folder is None:
        paths = [_synthetic_capture(work_folder() / "synthetic-capture" / "btcusdt_20240808.gz")]
    else:
        paths = [folder / part for part in CAPTURES[name]]
    _warm_up()
    home = work_folder() / name
    started = time.perf_counter()
    report = replay_capture(home, paths)
    replayed = time.perf_counter()
    run_shard(home, drain=True)
    done = time.perf_counter()
    return Market(name, home, report.frames, report.records, replayed - started, done - replayed, paths)


@cache
def _warm_up() -> None:
    """Let every kernel of the way compile before anything is measured."""
    capture = _synthetic_capture(work_folder() / "warmup-capture" / "btcusdt_20240808.gz", events=200, seed=2)
    home = work_folder() / "warmup"
    replay_capture(home, [capture])
    run_shard(home, drain=True)


def suffix(name: str) -> str:
    """Return what a figure's name ends in: nothing for the real BTC capture, the input's name for any other."""
    return "" if name == "binance" else f"_{name}"


def depth_payloads(count: int, levels: int = 20, seed: int = 3) -> list[bytes]:
    """Return seeded partial-depth messages of Binance: `levels` levels a side."""
    chance = random.Random(seed)
    out = []
    for number in range(count):
        best = 6_183_700 + chance.randrange(-5_000, 5_000)
        sides = [[[_price(best + sign * (level + 1)), _size(chance)] for level in range(levels)] for sign in (-1, 1)]
        data = {"lastUpdateId": 50_000 + number, "bids": sides[0], "asks": sides[1]}
        out.append(
            json.dumps({"stream": f"btcusdt@depth{levels}@100ms", "data": data}, separators=(",", ":")).encode()
        )
    return out


def venue_payloads(venue: str, count: int, levels: int = 20, seed: int = 4) -> tuple[list[bytes], list[bytes]]:
    """Return (what comes first on a connection, `count` seeded book changes of `levels` levels a side) of a venue."""
    chance = random.Random(seed)
    first: list[bytes] = []
    out = []
    for number in range(count):
        best = 6_183_700 + chance.randrange(-5_000, 5_000)
        sides = [
            [
                [f"{(best + sign * level) / 100:.2f}", f"{chance.randrange(1, 10**6) / 1000:.3f}"]
                for level in range(levels)
            ]
            for sign in (-1, 1)
        ]
        message: object
        if venue == "binance":
            texts = [[[price + "000000", size + "00000"] for price, size in side] for side in sides]
            message = {"stream": "btcusdt@depth@100ms", "data": _update(number, texts)}
        elif venue == "binance-usdm":
            data = _update(number, sides)
            ids = {"T": data["E"], "s": data["s"], "U": data["U"], "u": data["u"], "pu": number}
            data = {"e": data["e"], "E": data["E"], **ids, "b": data["b"], "a": data["a"]}
            message = {"stream": "btcusdt@depth@100ms", "data": data}
        elif venue == "okx":
            rows = [[[*row, "0", "3"] for row in side] for side in sides]
            entry = {"asks": rows[1], "bids": rows[0], "ts": str(START_NS // 10**6), "checksum": -number - 1}
            entry |= {"prevSeqId": number, "seqId": number + 1}
            arg = {"channel": "books", "instId": "BTC-USDT"}
            message = {"arg": arg, "action": "update", "data": [entry]}
            first = [json.dumps({"event": "subscribe", "arg": arg}).encode()]
        elif venue == "kraken":
            stamp = f"{START_NS // 10**9}.{number % 10**6:06d}"
            rows = [[[*row, stamp] for row in side] for side in sides]
            message = [0, {"a": rows[1]}, {"b": rows[0], "c": str(number)}, "book-1000", "XBT/USD"]
            told = {"event": "subscriptionStatus", "status": "subscribed", "pair": "XBT/USD"}
            first = [json.dumps(told | {"subscription": {"name": "book", "depth": 1000}}).encode()]
        else:
            data = {"s": "BTCUSDT", "b": sides[0], "a": sides[1], "u": number, "seq": number}
            message = {"topic": "orderbook.200.BTCUSDT", "type": "delta", "ts": START_NS // 10**6, "data": data}
            message |= {"cts": START_NS // 10**6}
        out.append(json.dumps(message, separators=(",", ":")).encode())
    return first, out


def _update(number: int, sides: list[list[list[str]]]) -> dict[str, object]:
    data = {"e": "depthUpdate", "E": START_NS // 10**6, "s": "BTCUSDT", "U": number, "u": number}
    return data | {"b": sides[0], "a": sides[1]}


def _synthetic_capture(path: Path, *, events: int = SYNTHETIC_EVENTS, seed: int = 1) -> Path:
    """Write the synthetic market's lines; the file's name tells the symbol, as in the real captures."""
    path.parent.mkdir()
    with gzip.open(path, "wb", compresslevel=1) as file:
        for line in _lines(events, seed):
            file.write(line)
    return path


def _lines(events: int, seed: int) -> Iterator[bytes]:
    """Yield a snapshot and depth diffs as Binance sends them: levels near the best price come and go."""
    chance = random.Random(seed)
    middle, now, update = 6_183_700, START_NS, 1_000
    books: list[dict[int, str]] = [
        {middle + sign * (1 + 3 * level): _size(chance) for level in range(SYNTHETIC_LEVELS)} for sign in (-1, 1)
    ]
    sides = [[[_price(price), size] for price, size in book.items()] for book in books]
    yield _line(now, {"lastUpdateId": update, "bids": sides[0], "asks": sides[1]})
    for _ in range(events):
        now += chance.randrange(50_000_000, 150_000_000)
        middle += chance.randrange(-3, 4)
        changes: list[list[list[str]]] = [[], []]
        for half, sign in ((0, -1), (1, 1)):
            for price in range(middle - 4, middle + 5):
                if (price - middle) * sign <= 0 and books[half].pop(price, None) is not None:
                    changes[half].append([_price(price), "0.00000000"])  # the market moved through it
            for _ in range(chance.randrange(1, 40)):
                price = middle + sign * (1 + int(chance.expovariate(1 / 150)))
                size = "0.00000000" if price in books[half] and chance.random() < 0.5 else _size(chance)
                if size == "0.00000000":
                    del books[half][price]
                else:
                    books[half][price] = size
                changes[half].append([_price(price), size])
        through = update + sum(map(len, changes))
        yield _line(now, _diff(now, update + 1, through, changes))
        update = through


def _diff(now: int, first: int, last: int, changes: list[list[list[str]]]) -> dict[str, object]:
    data = {"e": "depthUpdate", "E": now // 1_000_000, "s": "BTCUSDT", "U": first, "u": last}
    return {"stream": "btcusdt@depth@100ms", "data": data | {"b": changes[0], "a": changes[1]}}


def _line(now: int, message: dict[str, object]) -> bytes:
    return f"{now} {json.dumps(message, separators=(',', ':'))}\n".encode()


def _price(ticks: int) -> str:
    return f"{ticks / 100:.2f}000000"


def _size(chance: random.Random) -> str:
    return f"{max(1, int(chance.expovariate(1 / 40_000))) / 100_000:.5f}000"


def peers_python() -> str | None:
    """Return the interpreter of ``$CHRONICLE_BENCH_PEERS`` (a venv with the peers' packages), None when unset."""
    folder = os.environ.get("CHRONICLE_BENCH_PEERS")
    found = None if folder is None else Path(folder) / "bin" / "python"
    return str(found) if found is not None and found.exists() else None
