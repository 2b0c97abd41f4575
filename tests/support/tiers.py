"""Homes with sealed segments, for storage tests."""

from __future__ import annotations

import random
from pathlib import Path

from chronicle.core import EventBuilder, Queue, Side
from chronicle.core.layout import Kind, Origin, StatusCode
from chronicle.core.records import SnapshotFields
from chronicle.core.segment import LocalSegment
from chronicle.core.source import SegmentSource
from chronicle.storage.tiers.agent import apply_plan, make_plan
from chronicle.storage.tiers.policy import Policy, TierPolicy, default_policy

BOOK = "clean/kraken/btc_eur/book.q"
RAW = "raw/main.q"
WIRE = "wire/main.q"


def book_events(
    count: int, seed: int = 1, *, snapshot_every: int = 40, sizes: int = 0
) -> list[tuple[bytearray, int]]:
    """Return market-like events of one book: deltas, ETL snapshots that follow from them, odd records between.

    `sizes` is how many different ones there are, 0: any.
    """
    rng = random.Random(seed)
    usual = random.Random(9).sample(range(1, 10**9), sizes)
    out, events = EventBuilder(), []
    books: dict[int, dict[int, int]] = {Side.BID: {}, Side.ASK: {}}
    ts, sequence = 1_600_000_000_000_000_000, 5_000
    for number in range(count):
        ts += rng.randrange(1, 50_000_000)
        out.begin(ts, source_index=number * 3, source=0)
        if number % snapshot_every == 0:
            bids = sorted(books[Side.BID].items(), reverse=True)
            asks = sorted(books[Side.ASK].items())
            out.snapshot(1, SnapshotFields(bids, asks, Origin.ETL, 1, 2), ts_event=ts - 7)
        elif number % 17 == 0:
            out.status(StatusCode.VENUE, {"number": number, "text": rng.choice(["ok", "slow", "öl"])})
        else:
            for _ in range(rng.randrange(1, 6)):
                side = rng.choice([Side.BID, Side.ASK])
                price = 30_000 + rng.randrange(60) * (1 if side == Side.ASK else -1)
                size = 0 if rng.random() < 0.3 else (rng.choice(usual) if usual else rng.randrange(1, 10_000) * 100)
                sequence += 1
                out.delta(1, side, price, size, ts_event=ts - 900_000, sequence=sequence, sequence_first=sequence - 1)
                if size:
                    books[side][price] = size
                else:
                    books[side].pop(price, None)
        events.append(out.take())
    return events


def fill(
    home: Path, name: str, events: list[tuple[bytearray, int]], *, per_segment: int = 100, seal: bool = True
) -> Queue:
    """Append events to a queue of `home`, sealing after every `per_segment`; the last stays open unless `seal`."""
    queue = Queue.create(home / name, name=name, segment_bytes=256 * 1024, exist_ok=True)
    with queue.appender(prologue=lambda: {"schema": 1, "queue": name}) as appender:
        for number, (data, count) in enumerate(events, 1):
            appender.append_event(data, count)
            if number % per_segment == 0:
                appender.seal()
        if seal:
            appender.seal()
    return queue


def book_home(home: Path, segments: int = 3, *, per_segment: int = 100, seal: bool = True, sizes: int = 0) -> Path:
    """Make a home with one clean book queue."""
    fill(home, BOOK, book_events(segments * per_segment, sizes=sizes), per_segment=per_segment, seal=seal)
    return home


def progress(home: Path, index: int, *, shard: str = "main") -> None:
    """Write that a shard has finished all raw records below `index`."""
    queue = Queue.create(home / f"etl/{shard}/progress.q", name=f"etl/{shard}/progress.q", exist_ok=True)
    out = EventBuilder()
    out.begin(1_600_000_000_000_000_000)
    from chronicle.core import layout

    out.record(Kind.PROGRESS, layout.PROGRESS_BODY.pack(0, index, 1_600_000_000_000_000_000, index))
    with queue.appender(prologue=lambda: {"sources": [{"queue": RAW, "generation": 1}]}) as appender:
        appender.append_event(*out.take())


def three_tiers(
    home: Path,
    *,
    warm: str = "zstd",
    cold: str = "zstd",
    grace_ns: int = 0,
    cold_root: str | None = None,
    pack_bytes: int = 0,
) -> Policy:
    """Return a policy with warm and cold tiers beside the home's queues, or cold at a URL."""
    from dataclasses import replace

    from chronicle.storage.tiers.policy import COLD_AFTER_NS, Rule

    base = default_policy(home)
    tiers = (
        TierPolicy("warm", home / "archive", warm),
        TierPolicy("cold", cold_root or home / "cold", cold, pack_bytes=pack_bytes),
    )
    return replace(base, tiers=tiers, rules=(*base.rules, Rule("warm", "cold", COLD_AFTER_NS)), grace_ns=grace_ns)


def apply_all(home: Path, policy: Policy | None = None, **options: object):
    """Move every sealed segment one tier further."""
    policy = policy or default_policy(home)
    plan, errors = make_plan(home, policy, everything=True)
    assert not errors
    return apply_plan(home, plan, policy, **options)  # type: ignore[arg-type]


def sealed_images(home: Path, name: str = BOOK) -> dict[int, bytes]:
    """Return {number: all bytes} of the sealed files of a queue."""
    files = Queue.open(home / name, name=name).segment_files()
    return {number: path.read_bytes() for number, path in files.items() if path.suffix == ".seg"}


def source_records(source: SegmentSource, name: str = BOOK) -> bytes:
    """Return all record bytes of a queue as a source gives them, segment by segment."""
    parts = []
    for info in source.segments(name):
        view = source.open(name, info.number)
        parts.append(bytes(view.view(view.data_offset, view.data_end())))
        view.close()
    return b"".join(parts)


def first_sealed(home: Path, name: str = BOOK) -> LocalSegment:
    """Open the first sealed segment of a queue."""
    queue = Queue.open(home / name, name=name)
    path = next(path for path in queue.segment_files().values() if path.suffix == ".seg")
    return LocalSegment(path, queue=name)


def wire_home(home: Path, segments: int = 1, *, frames: int = 320) -> Path:
    """Make a home with one wire queue of segments that stay as large as they are: 64 KiB of chance a frame."""
    chance = random.Random(4)
    queue = Queue.create(home / WIRE, name=WIRE, segment_bytes=64 << 20)
    out = EventBuilder()
    with queue.appender(prologue=lambda: {"schema": 1, "queue": WIRE}) as appender:
        for number in range(segments * frames):
            out.begin(1_600_000_000_000_000_000 + number)
            out.wire(1, chance.randbytes(64 << 10))
            appender.append_event(*out.take())
            if (number + 1) % frames == 0:
                appender.seal()
    return home
