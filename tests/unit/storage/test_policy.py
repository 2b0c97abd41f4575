"""The policy is a function of state and clock, and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chronicle.core.errors import ConfigError
from chronicle.storage.policy import (
    COLD_AFTER_NS,
    HOT,
    WARM_AFTER_NS,
    SegmentRow,
    TierState,
    default_policy,
    duration_text,
    plan,
    policy_from_mapping,
)

HOUR = 3600 * 10**9
NOW = 1_700_000_000 * 10**9


def row(
    queue: str = "clean/kraken/btc_eur/book.q", number: int = 0, *, age_ns: int = 3 * HOUR, **values: Any
) -> SegmentRow:
    fields: dict[str, Any] = {
        "generation": 1,
        "base_index": number * 100,
        "end_index": number * 100 + 100,
        "ts_last": 0,
        "file_bytes": 1000,
        "stored_bytes": 1000,
        "place": HOT,
        "sealed_seen_ns": NOW - age_ns,
    }
    return SegmentRow(queue=queue, number=number, **(fields | values))


def decide(*rows: SegmentRow, policy: Any = None, **options: Any) -> Any:
    frontiers = options.pop("frontiers", {})
    return plan(TierState(rows, frontiers), policy or default_policy("/home"), NOW, **options)


def test_default_moves_hot_to_warm_after_two_hours() -> None:
    found = decide(row(age_ns=2 * HOUR), row(number=1, age_ns=2 * HOUR - 1))
    assert [(move.segment.number, move.source, move.target) for move in found.moves] == [(0, "hot", "warm")]
    assert found.moves[0].reason == "sealed 2 h ago, and hot keeps 2 h"
    assert found.source_bytes == 1000
    assert 0 < found.target_bytes < 1000
    assert WARM_AFTER_NS == 2 * HOUR


def test_everything_is_due_for_the_next_tier_when_asked() -> None:
    policy = policy_from_mapping({"cold": {"path": "/mnt/cold"}}, "/home")
    rows = row(age_ns=0), row(number=1, age_ns=0, place="warm"), row(number=2, age_ns=0, place="cold")
    found = decide(*rows, policy=policy, everything=True)
    assert [(move.segment.number, move.target) for move in found.moves] == [(0, "warm"), (1, "cold")]


def test_a_plan_prints_as_plain_values() -> None:
    import json

    found = json.loads(json.dumps(decide(row(), row("raw/main.q")).to_dict()))
    assert [(move["from"], move["to"], move["queue"]) for move in found["moves"]] == [
        ("hot", "warm", "clean/kraken/btc_eur/book.q")
    ]
    assert (len(found["held"]), found["requests"], found["source_bytes"]) == (1, 4, 1000)


def test_oldest_moves_first() -> None:
    found = decide(row(number=0, age_ns=3 * HOUR), row(number=1, age_ns=5 * HOUR))
    assert [move.segment.number for move in found.moves] == [1, 0]


def test_cold_comes_after_seven_days_where_configured() -> None:
    policy = policy_from_mapping({"cold": {"path": "cold"}}, "/home")
    young, old = row(place="warm", age_ns=COLD_AFTER_NS - 1), row(number=1, place="warm", age_ns=COLD_AFTER_NS)
    assert [move.segment.number for move in decide(young, old, policy=policy).moves] == [1]
    assert decide(old).moves == ()
    assert policy.tier("cold").root == Path("/home/cold")


def test_control_and_progress_queues_stay() -> None:
    assert decide(row("control/resync.q"), row("etl/main/progress.q"), everything=True).moves == ()


@pytest.mark.parametrize(
    ("shards", "moves", "words"),
    [
        ({}, 0, "no ETL shard has read"),
        ({"a": None}, 0, "shard a has not begun"),
        ({"a": 99, "b": 500}, 0, "shard a is at record 99"),
        ({"a": 100, "b": 100}, 1, ""),
    ],
)
def test_raw_waits_for_every_shard(shards: dict[str, int | None], moves: int, words: str) -> None:
    found = decide(row("raw/main.q"), frontiers={"raw/main.q": shards}, everything=True)
    assert len(found.moves) == moves
    assert all(words in held.reason for held in found.held)
    assert len(found.held) == 1 - moves


def test_wire_and_released_raw_need_no_shard() -> None:
    policy = policy_from_mapping({"raw_waits_for_etl": False}, "/home")
    assert len(decide(row("wire/main.q"), everything=True).moves) == 1
    assert len(decide(row("raw/main.q"), policy=policy, everything=True).moves) == 1


def test_first_matching_rule_decides() -> None:
    rules = [
        {"to": "warm", "after": "1d", "queues": ["clean/*/book.q"]},
        {"to": "warm", "after": 0, "queues": ["wire/*"]},
    ]
    policy = policy_from_mapping({"rules": rules}, "/home")
    rows = row(age_ns=3 * HOUR), row("wire/main.q", age_ns=0), row("clean/kraken/btc_eur/trade.q", age_ns=3 * HOUR)
    found = decide(*rows, policy=policy)
    assert sorted(move.segment.queue for move in found.moves) == ["clean/kraken/btc_eur/trade.q", "wire/main.q"]


def test_an_interrupted_move_is_held() -> None:
    found = decide(row(moving=True))
    assert found.moves == ()
    assert "interrupted" in found.held[0].reason


def test_a_measured_ratio_makes_the_estimate() -> None:
    state = TierState((row(),), {}, {"warm": 0.5})
    assert plan(state, default_policy("/home"), NOW).target_bytes == 500


def test_prefix_narrows() -> None:
    assert [m.segment.queue for m in decide(row("wire/a.q"), row("wire/b.q"), prefix="wire/b").moves] == ["wire/b.q"]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"warm": {"encoding": "lz4"}}, "tiers.warm.encoding"),
        ({"warm": {"level": 99}}, "tiers.warm.level"),
        ({"warm": {"colour": 1}}, "colour"),
        ({"warm": 3}, "tiers.warm"),
        ({"cold": {}}, "tiers.cold needs a path"),
        ({"hot": {"path": "x"}}, "tiers.hot"),
        ({"rules": [{"to": "moon"}]}, "tiers.rules[0]"),
        ({"rules": [{"to": "hot", "from": "warm"}]}, "tiers.rules[0]"),
        ({"rules": {}}, "rules must be a list"),
        ({"warm": {"after": "soon"}}, "tiers.warm.after"),
        ({"grace": -1}, "tiers.grace"),
        ({"raw_waits_for_etl": "no"}, "raw_waits_for_etl"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError) as raised:
        policy_from_mapping(values, "/home")
    assert word in str(raised.value)


def test_settings_are_taken() -> None:
    values = {
        "warm": {"path": "/w", "encoding": "none", "after": "90s"},
        "cold": {"path": "/c", "level": 9, "after": "30d"},
        "grace": "1h",
    }
    policy = policy_from_mapping(values, "/home")
    assert [(t.name, str(t.root), t.encoding, t.level) for t in policy.tiers] == [
        ("warm", "/w", "none", 3),
        ("cold", "/c", "zstd", 9),
    ]
    assert [(r.source, r.target, r.after_ns) for r in policy.rules] == [
        ("hot", "warm", 90 * 10**9),
        ("warm", "cold", 30 * 24 * HOUR),
    ]
    assert policy.grace_ns == HOUR


def test_durations_read_well() -> None:
    texts = [duration_text(seconds * 10**9) for seconds in (5, 65, 7500, 7200, 90000, 86400)]
    assert texts == ["5 s", "1 min", "2 h 5 min", "2 h", "1 d 1 h", "1 d"]
