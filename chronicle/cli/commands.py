"""The table of commands: where each one is, and its line in the help. Nothing is imported from here."""

from __future__ import annotations

__all__ = ["COMMANDS", "GROUPS"]

_BASE = "chronicle.cli."

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (_BASE + "demo:command", "See all of it at work for some seconds."),
    "init": (_BASE + "init:command", "Create a home: folders, settings, the raw queue's memory."),
    "clean": (_BASE + "clean:command", "Remove what homes that are gone left in /dev/shm."),
    "feed": (_BASE + "feed:group", "Take market data in: captures and live connections."),
    "etl": (_BASE + "etl:group", "Refine raw queues into clean ones."),
    "tier": (_BASE + "tier:group", "Move sealed segments to colder tiers."),
    "manifest": (_BASE + "manifest:group", "The history of moves; where everything is, made again."),
    "ls": (_BASE + "ls:command", "Instruments and channels: records, times, bytes, place."),
    "book": (_BASE + "book:command", "The order book at a moment, with its trust."),
    "scan": (_BASE + "scan:command", "Records as rows: csv, jsonl, parquet, arrow."),
    "tail": (_BASE + "tail:command", "Records as they come."),
    "gaps": (_BASE + "gaps:command", "The holes that are known of."),
    "quality": (_BASE + "quality:command", "Records, checks and gaps, counted."),
    "plot": (_BASE + "plot:command", "Price, spread and depth as a page to look at."),
    "audit": (_BASE + "audit:command", "Rebuild books to their next snapshots, and compare."),
    "explain": (_BASE + "explain:command", "From a row back to the venue's bytes."),
    "diff": (_BASE + "diff:command", "Whether two versions or homes hold the same records."),
    "sql": (_BASE + "sql:command", "One SELECT over records, books and gaps."),
    "flight": (_BASE + "flight:command", "Records for other hosts: an Arrow Flight server, read-only."),
    "export": (_BASE + "export:command", "Files for other tools: parquet, arrow, csv, npz, tables."),
    "import": (_BASE + "importing:command", "Exported records back into queues."),
    "verify": (_BASE + "verify:command", "Prove every sealed byte in every tier."),
    "queue": (_BASE + "queue:group", "Look into one queue: inspect, check, dump, tailers, retain, repair."),
}

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "feed": {
        "replay": (_BASE + "feed_replay:command", "Recorded captures into the raw and wire queues."),
        "run": (_BASE + "feed_run:command", "Live connections into the raw and wire queues."),
        "redecode": (_BASE + "feed_redecode:command", "A new raw queue from the wire queue, after an adapter's fix."),
        "simulate": (
            _BASE + "feed_simulate:command",
            "An exchange of our own: a market, or a capture played.",
        ),
        "status": (_BASE + "feed_status:command", "What the live feed says of itself."),
        "top": (_BASE + "feed_top:command", "The live feed's lines as they are now, in the terminal."),
        "venues": (_BASE + "feed_venues:command", "The venues and capture formats that are read."),
    },
    "etl": {
        "run": (_BASE + "etl_run:command", "Run a shard: follow the raw queues, or drain them and end."),
        "rebuild": (_BASE + "etl_rebuild:command", "Make the clean queues anew in another folder, and compare."),
        "status": (_BASE + "etl_status:command", "How far each shard is behind, and whom it waits for."),
        "retire": (_BASE + "etl_retire:command", "Forget a shard that is gone: raw segments wait for it no longer."),
        "leave": (_BASE + "etl_leave:command", "Record that a raw queue is dead: the merge goes on without it."),
    },
    "tier": {
        "run": (_BASE + "tier_run:command", "The agent: move what is due, again and again."),
        "plan": (_BASE + "tier_plan:command", "What would move, why, and what it costs."),
        "apply": (_BASE + "tier_apply:command", "Move what is due, once."),
        "status": (_BASE + "tier_status:command", "What each tier holds."),
        "log": (_BASE + "tier_log:command", "Who moved what when, and proof that nobody changed it."),
        "repair": (_BASE + "tier_repair:command", "Damaged objects from whole copies; quarantine."),
        "rebuild": (_BASE + "tier_rebuild:command", "The manifest again, from the segments alone."),
    },
    "manifest": {
        "log": (_BASE + "tier_log:command", "Who moved what when, and proof that nobody changed it."),
        "rebuild": (_BASE + "tier_rebuild:command", "The manifest again, from the segments alone."),
    },
    "queue": {
        "inspect": (_BASE + "queue_inspect:command", "Segments, watermarks and the lock holder of a queue."),
        "check": (_BASE + "queue_check:command", "Verify a queue's bytes; name the first bad one."),
        "dump": (_BASE + "queue_dump:command", "Print records as JSON lines."),
        "bench": (_BASE + "queue_bench:command", "What a queue costs on this machine."),
        "tailers": (_BASE + "queue_tailers:command", "The named readers of a queue; drop dead ones."),
        "retain": (_BASE + "queue_retain:command", "Retire the oldest segments, by age and bytes."),
        "seal": (_BASE + "queue_seal:command", "Finish what a dead writer left."),
        "repair": (_BASE + "queue_repair:command", "Cut a damaged open segment after its last good record."),
    },
}
