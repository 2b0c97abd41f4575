"""Every setting Chronicle has: its key, default, meaning and check, in one place.

``chronicle init`` writes its commented ``chronicle.toml`` from these declarations, the loader checks files against
them, and a test holds ``docs/configuration.md`` against them.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import Any

from chronicle.config.units import parse_duration
from chronicle.config.values import (
    globs,
    moment,
    name,
    number,
    one_of,
    options,
    price,
    queue_name,
    setting,
    size,
    some_of,
    switch,
    text,
    words,
)

__all__ = [
    "AgentSettings",
    "EtlSettings",
    "FeedSettings",
    "HoldSettings",
    "HomeSettings",
    "MulticastSettings",
    "PolicyRule",
    "RawSettings",
    "Settings",
    "ShardSettings",
    "TierSettings",
]

LOG_FORMS = ("text", "json", "off")
TIER_CLASSES = ("hot", "warm", "cold")
ENCODINGS = ("none", "zstd", "compacted")
CHANNELS = ("book", "trade", "quote")
MEMORY = ("auto", "shm", "home")
SEGMENT_BYTES_MIN = 64 * 1024
SEGMENT_BYTES_MAX = 16 * 2**30


@dataclass(frozen=True, slots=True)
class HomeSettings:
    """[home]: the home itself."""

    id: str = setting(
        "", "Names this home's memory folder, /dev/shm/chronicle-ID. Written by `chronicle init`; keep it.", name
    )


@dataclass(frozen=True, slots=True)
class RawSettings:
    """[raw]: the raw and wire queues, where the feed writes."""

    segment_bytes: int = setting(
        64 * 2**20,
        "Size of one segment. Its space is reserved ahead, so a full disk is an error before data is lost.",
        size(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
        example='"64 MiB"',
    )
    memory: str = setting(
        "auto",
        "Where raw/ lives. shm: in /dev/shm, fast, gone after a reboot. home: on the home's disk. "
        "auto: shm when it has room, else home (said aloud).",
        one_of(*MEMORY),
    )
    cycle_ns: int = setting(
        86400 * 10**9,
        'Start a new segment at these UTC boundaries as well as by size; "0s" turns it off.',
        parse_duration,
        key="cycle",
        example='"1d"',
    )


@dataclass(frozen=True, slots=True)
class ShardSettings:
    """[etl.shards]: one line per shard, its name and its instruments: patterns, venues, a share by hash."""

    name: str
    symbols: tuple[str, ...] = ("*",)
    venues: tuple[str, ...] = ()
    share: tuple[int, int] = (1, 1)


@dataclass(frozen=True, slots=True)
class EtlSettings:
    """[etl]: from raw to clean queues. What is here changes the output, and is recorded with it."""

    snapshot_interval_ns: int = setting(
        60 * 10**9,
        "Write a book snapshot when this much ts_recv passed since the last one: bounds every seek.",
        parse_duration,
        key="snapshot_interval",
        example='"60s"',
    )
    snapshot_deltas: int = setting(
        8192, "Or when this many deltas passed since the last one, whichever is first.", number(1, 2**31 - 1)
    )
    candles: bool = setting(True, "Make candles (1s to 1w) from the trades, as a channel of each instrument.", switch)
    shards: tuple[ShardSettings, ...] = field(
        default=(ShardSettings("default", ("*",)),),
        metadata={
            "doc": "The shards and the instruments each one works on: glob patterns, or a table of symbols, venues "
            "and hash (a share of the instruments: 2/8). No instrument may fall to two.",
            "key": "shards",
            "example": '{ default = ["*"] }',
        },
    )


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """[agent]: how segments move between tiers."""

    interval_ns: int = setting(
        10 * 10**9,
        "How often `chronicle tier run` looks for what is due.",
        parse_duration,
        key="interval",
        example='"10s"',
    )
    grace_ns: int = setting(
        0,
        "Keep the source of a move this long after its copy was published, for readers that still have it open.",
        parse_duration,
        key="grace",
        example='"0s"',
    )
    raw_waits_for_etl: bool = setting(
        True, "A raw segment stays hot until every ETL shard that reads it is past it.", switch
    )
    keep: tuple[str, ...] = setting(("etl/*", "control/*"), "Queues that never move, as patterns.", globs)
    at_once: int = setting(
        4, "How many moves are made at once: one encodes while others wait for their stores.", number(1, 64)
    )
    scrub_ns: int = setting(
        0,
        "Read and prove every object below hot once in this time, a little at each look; 0s: never.",
        parse_duration,
        key="scrub",
        example='"0s"',
    )
    bandwidth: int = setting(
        0, "Bytes a second that moves read back and write, at most; 0: as they come.", size(0), example='"0"'
    )


@dataclass(frozen=True, slots=True)
class TierSettings:
    """[[tiers]]: one place where sealed segments may live."""

    name: str = setting("", "The tier's name, as policies and `tier status` use it.", name)
    path: str = setting(
        "",
        "Its folder (relative paths start at the home) or URL, as s3://bucket/prefix. The hot tier's is the home.",
        text,
        example='"archive"',
    )
    tier_class: str = setting(
        "warm", "hot, warm or cold: its place in the order of tiers.", one_of(*TIER_CLASSES), key="class"
    )
    encoding: str = setting(
        "zstd",
        "How segments are stored there: none (as sealed), zstd (compressed columns), or compacted (a tenth less,"
        " two to four times the time to write and read: for cold).",
        one_of(*ENCODINGS),
    )
    level: int = setting(3, "The level of zstd: higher is smaller and slower to write.", number(1, 19))
    bytes_max: int = setting(
        0, "Above so many stored bytes its oldest segments go on, whatever their age. 0: no bound.", size(0)
    )
    free_min: int = setting(0, "With less free space than this its oldest segments go on. 0: no bound.", size(0))
    free_target: int = setting(0, "They go until so much is free (at least free_min).", size(0))
    pack: int = setting(
        8 * 2**20,
        "At a URL, segments smaller than this go together into objects of this size or more. 0: each by itself.",
        size(0, 2**30),
        example='"8 MiB"',
    )
    pack_wait_ns: int = setting(
        6 * 3600 * 10**9,
        "How long small segments wait for others at most.",
        parse_duration,
        key="pack_wait",
        example='"6h"',
    )
    price_gb_month: float = setting(0.0, "What a GB costs a month here; `tier plan` and `status` add up.", price)
    price_puts: float = setting(0.0, "What 1,000 puts cost.", price)
    price_gets: float = setting(0.0, "What 1,000 gets cost.", price)
    options: tuple[tuple[str, Any], ...] = setting(
        (),
        "Options of a URL's store, as endpoint_url, region, profile, sse. Never credentials.",
        options,
        example="{ }",
    )


@dataclass(frozen=True, slots=True)
class HoldSettings:
    """[[holds]]: segments that stay, whatever the policy says."""

    kind: str = setting(
        "pin", "pin: they stay in their tier. legal: they move, and are never deleted.", one_of("pin", "legal")
    )
    match: tuple[str, ...] = setting(("*",), "Patterns over queue names.", globs, example='["clean/kraken/*"]')
    start_ts: int | None = setting(
        None, "Only with records at or after this (ts_recv, ISO 8601).", moment, key="start", example='"2026-03-01"'
    )
    end_ts: int | None = setting(None, "Only with records before this.", moment, key="end", example='"2026-04-01"')
    reason: str = setting("", "Why; `tier plan` says it.", text)


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """[[policy]]: when sealed segments of some queues move on. The first rule that matches a queue counts."""

    match: tuple[str, ...] = setting(
        ("*",), "Patterns over queue names, as clean/kraken/*/book.q.", globs, example='["clean/*"]'
    )
    source: str = setting("hot", "The tier to move from.", name, key="from")
    target: str = setting("warm", "The tier to move to; delete removes segments for good.", name, key="to")
    after_ns: int = setting(
        2 * 3600 * 10**9, "Age since sealing at which a segment is due.", parse_duration, key="after", example='"2h"'
    )

    def covers(self, queue: str) -> bool:
        """Return whether this rule is about `queue`."""
        return any(fnmatch.fnmatchcase(queue, pattern) for pattern in self.match)


DEFAULT_TIERS = (
    TierSettings(name="hot", path=".", tier_class="hot", encoding="none"),
    TierSettings(name="warm", path="archive", tier_class="warm", encoding="zstd"),
)
DEFAULT_POLICY = (
    PolicyRule(match=("*",), source="hot", target="warm", after_ns=2 * 3600 * 10**9),
    PolicyRule(match=("*",), source="warm", target="cold", after_ns=7 * 86400 * 10**9),
)


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """[feed]: how `chronicle feed run` runs."""

    http: str = setting(
        "",
        "Loopback address for /healthz, /readyz and /metrics, as 127.0.0.1:9108; empty for none.",
        text,
        example='"127.0.0.1:9108"',
    )
    log: str = setting("text", "What is told on stderr: text, json (one object a line) or off.", one_of(*LOG_FORMS))
    stall_after_ns: int = setting(
        300 * 10**9,
        'A book that says nothing for this long on a line that is up is subscribed to anew; "0s" turns it off.',
        parse_duration,
        key="stall_after",
        example='"5m"',
    )


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """[[feeds]]: what `chronicle feed run` captures of one venue."""

    venue: str = setting("", "The venue; `chronicle feed venues` lists them.", name, example='"kraken"')
    symbols: tuple[str, ...] = setting(
        (), "The instruments, as BTC-USD or in the venue's spelling.", words, example='["BTC-USD", "ETH-USD"]'
    )
    channels: tuple[str, ...] = setting(
        CHANNELS, "Of book, trade, quote.", some_of(*CHANNELS), example='["book", "trade", "quote"]'
    )
    depth: int = setting(100, "Depth of the book, where the venue lets one choose.", number(1, 100_000))
    url: str = setting("", "Address of the WebSocket; empty for the venue's public one.", text)
    rest_url: str = setting("", "Root of the venue's HTTP interface; empty for the public one.", text)
    queue: str = setting(
        "main", "Raw and wire queue that it writes: feeds of one queue run in one process.", queue_name
    )
    lines: int = setting(1, "Redundant connections that carry the same.", number(1, 8))
    key_env: str = setting(
        "", "Environment variable that holds the venue's key; empty for its usual name (POLYGON_API_KEY).", text
    )


@dataclass(frozen=True, slots=True)
class MulticastSettings:
    """[[multicast]]: one feed of `chronicle feed run` that comes by multicast."""

    venue: str = setting("", "nasdaq, nasdaq-bx, nasdaq-psx (ITCH 5.0) or iex.", name, example='"nasdaq"')
    groups: tuple[str, ...] = setting(
        (),
        "GROUP:PORT of each redundant line, A first.",
        words,
        example='["233.54.12.111:26477", "233.49.196.111:26477"]',
    )
    interface: str = setting("", "Address or name of the interface that joins; empty for the system's choice.", text)
    rewind: str = setting(
        "", "HOST:PORT of the re-request server (MoldUDP64) or gap fill server (IEX-TP); empty asks none.", text
    )
    give_up_ns: int = setting(
        1_000_000_000,
        "A hole that nobody filled for so long is given up, and becomes a gap.",
        parse_duration,
        key="give_up",
        example='"1s"',
    )
    retry_ns: int = setting(
        50_000_000,
        "A request that brought nothing is repeated after this long.",
        parse_duration,
        key="retry",
        example='"50ms"',
    )
    silent_ns: int = setting(
        10_000_000_000,
        "Without a packet for so long the groups are joined anew, and the stream is told.",
        parse_duration,
        key="silent",
        example='"10s"',
    )
    buffer_bytes: int = setting(
        16 * 2**20, "Receive buffer of each socket; see docs/operations.md.", size(4096, 2**31 - 1)
    )
    from_start: bool = setting(False, "Ask the re-request server for what the session sent before.", switch)
    queue: str = setting("main", "Raw and wire queue that it writes, as of [[feeds]].", queue_name)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a home; every part has defaults, so that a home needs no file."""

    home: HomeSettings = HomeSettings()
    raw: RawSettings = RawSettings()
    feed: LiveSettings = LiveSettings()
    etl: EtlSettings = EtlSettings()
    agent: AgentSettings = AgentSettings()
    tiers: tuple[TierSettings, ...] = DEFAULT_TIERS
    policy: tuple[PolicyRule, ...] = DEFAULT_POLICY
    holds: tuple[HoldSettings, ...] = ()
    feeds: tuple[FeedSettings, ...] = ()
    multicast: tuple[MulticastSettings, ...] = ()
