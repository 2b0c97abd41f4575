"""The policy is a function of state and clock, and says why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chronicle.storage.tiers.planning import duration_text, packs, plan
from chronicle.storage.tiers.policy import (
    COLD_AFTER_NS,
    DELETE,
    HOT,
    LEGAL,
    PIN,
    WARM_AFTER_NS,
    Hold,
    Limits,
    Policy,
    Prices,
    Rule,
    SegmentRow,
    TierPolicy,
    TierState,
    default_policy,
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


def cold_policy(path: str = "/mnt/cold", **values: Any) -> Policy:
    """Hot, warm, cold with the default ages."""
    base = default_policy("/home")
    tiers = (*base.tiers, TierPolicy("cold", path))
    return replace(base, tiers=tiers, rules=(*base.rules, Rule("warm", "cold", COLD_AFTER_NS)), **values)


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
    policy = cold_policy()
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
    policy = cold_policy()
    young, old = row(place="warm", age_ns=COLD_AFTER_NS - 1), row(number=1, place="warm", age_ns=COLD_AFTER_NS)
    assert [move.segment.number for move in decide(young, old, policy=policy).moves] == [1]
    assert decide(old).moves == ()


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
    policy = replace(default_policy("/home"), raw_waits_for_etl=False)
    assert len(decide(row("wire/main.q"), everything=True).moves) == 1
    assert len(decide(row("raw/main.q"), policy=policy, everything=True).moves) == 1


def test_first_matching_rule_decides() -> None:
    rules = Rule(HOT, "warm", 24 * HOUR, ("clean/*/book.q",)), Rule(HOT, "warm", 0, ("wire/*",))
    base = default_policy("/home")
    policy = replace(base, rules=(*rules, *base.rules))
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


def test_durations_read_well() -> None:
    texts = [duration_text(seconds * 10**9) for seconds in (5, 65, 7500, 7200, 90000, 86400)]
    assert texts == ["5 s", "1 min", "2 h 5 min", "2 h", "1 d 1 h", "1 d"]


def place(name: str, count: int, *, size: int = 1000, **values: Any) -> list[SegmentRow]:
    return [
        row(number=n, place=name, age_ns=(count - n) * HOUR // 100, stored_bytes=size, **values) for n in range(count)
    ]


def numbers(found: Any) -> list[int]:
    return [move.segment.number for move in found.moves]


def test_a_tier_above_its_bytes_sends_its_oldest_on() -> None:
    policy = cold_policy(limits={"hot": Limits(bytes_max=2_500), "warm": Limits(bytes_max=10_000)})
    found = decide(*place("hot", 5), policy=policy)
    assert numbers(found) == [0, 1, 2]
    assert {move.target for move in found.moves} == {"warm"}
    assert "hot holds 4.9 KiB and may hold 2.4 KiB" in found.moves[0].reason
    assert decide(*place("warm", 5), policy=policy).moves == ()


def test_a_disk_that_is_nearly_full_is_relieved_to_its_target() -> None:
    policy = cold_policy(limits={"warm": Limits(free_min=1_000, free_target=3_000)})
    rows = place("warm", 10)

    def moved(free: int) -> list[int]:
        return numbers(plan(TierState(tuple(rows), free={"warm": free}), policy, NOW))

    assert moved(1_000) == []
    assert moved(999) == [0, 1, 2]
    assert moved(0) == [0, 1, 2]
    assert numbers(plan(TierState(tuple(rows)), policy, NOW)) == []


def test_what_leaves_by_age_counts_for_the_bytes() -> None:
    policy = cold_policy(limits={"hot": Limits(bytes_max=2_000)})
    old = [row(number=n, age_ns=3 * HOUR) for n in range(3)]
    young = [row(number=n, age_ns=HOUR) for n in range(3, 6)]
    found = decide(*old, *young, policy=policy)
    assert numbers(found) == [0, 1, 2, 3]
    assert "may hold" in found.moves[3].reason


def test_a_full_tier_deletes_nothing() -> None:
    policy = replace(cold_policy(limits={"cold": Limits(bytes_max=1)}), rules=(Rule("cold", DELETE, 90 * 24 * HOUR),))
    assert decide(*place("cold", 3), policy=policy).moves == ()


def test_age_deletes_where_a_rule_says_so() -> None:
    policy = cold_policy()
    policy = replace(policy, rules=(*policy.rules, Rule("cold", DELETE, 90 * 24 * HOUR, ("clean/*",))))
    rows = row(place="cold", age_ns=91 * 24 * HOUR), row("wire/main.q", place="cold", age_ns=91 * 24 * HOUR)
    found = decide(*rows, policy=policy)
    assert [(move.segment.queue, move.target, move.target_bytes) for move in found.moves] == [
        ("clean/kraken/btc_eur/book.q", DELETE, 0)
    ]
    assert decide(*rows, policy=policy, everything=True).moves == ()


def test_a_legal_hold_lets_segments_move_and_never_go() -> None:
    hold = Hold(LEGAL, ("clean/kraken/*",), 500, 900, "case 7")
    policy = cold_policy(holds=(hold,))
    policy = replace(policy, rules=(*policy.rules, Rule("cold", DELETE, 24 * HOUR)))
    inside = row(place="cold", age_ns=48 * HOUR, ts_first=100, ts_last=500)
    outside = row(number=1, place="cold", age_ns=48 * HOUR, ts_first=900, ts_last=950)
    found = decide(inside, outside, row(number=2, ts_first=600, ts_last=700), policy=policy)
    assert [(move.segment.number, move.target) for move in found.moves] == [(1, DELETE), (2, "warm")]
    assert [(held.segment.number, held.reason) for held in found.held] == [(0, "under a legal hold: case 7")]


def test_a_pinned_range_stays_in_its_tier() -> None:
    policy = cold_policy(holds=(Hold(PIN, ("*",), 500, None, "the crash"),), limits={"hot": Limits(bytes_max=1)})
    rows = (
        row(ts_first=400, ts_last=499),
        row(number=1, ts_first=400, ts_last=500),
        row(number=2, age_ns=0, ts_last=900),
    )
    found = decide(*rows, policy=policy)
    assert numbers(found) == [0]
    assert {held.reason for held in found.held} == {"pinned here: the crash"}
    assert len(found.held) == 2


def test_a_plan_says_what_it_costs() -> None:
    prices = {"warm": Prices(gb_month=0.1), "cold": Prices(gb_month=0.02, puts_1000=5.0, gets_1000=0.4)}
    policy = cold_policy("s3://bucket/x", prices=prices)
    rows = row(place="warm", age_ns=COLD_AFTER_NS, stored_bytes=10**9), row(age_ns=3 * HOUR, file_bytes=10**6)
    found = decide(*rows, policy=policy)
    cold, warm = sorted(found.moves, key=lambda move: move.target)
    pieces = -(-(10**9) // (8 << 20))
    assert (cold.puts, cold.gets) == (pieces + 3, pieces + 3)
    assert cold.cost == pytest.approx((pieces + 3) * 5.4 / 1000)
    assert cold.month == pytest.approx(0.02 - 0.1)
    assert (warm.cost, warm.requests) == (0.0, 4)
    assert found.cost == cold.cost
    assert found.month == pytest.approx(cold.month + warm.month)


def test_order_of_the_rows_makes_no_difference() -> None:
    import random

    policy = cold_policy(limits={"hot": Limits(bytes_max=3_000), "warm": Limits(bytes_max=2_000)})
    rows = place("hot", 8) + place("warm", 6, queue="clean/a/b/book.q")
    expected = decide(*rows, policy=policy)
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        assert decide(*rows, policy=policy) == expected


def packing(wait_ns: int = 6 * HOUR) -> Policy:
    base = cold_policy("s3://bucket/x")
    cold = TierPolicy("cold", "s3://bucket/x", pack_bytes=2_500, pack_wait_ns=wait_ns)
    return replace(base, tiers=(base.tiers[0], cold))


def due(count: int, *, late_ns: int = 0, size: int = 1000) -> list[SegmentRow]:
    age = COLD_AFTER_NS + late_ns
    return [row(number=n, place="warm", age_ns=age, stored_bytes=size) for n in range(count)]


def test_small_segments_wait_for_others_and_not_for_ever() -> None:
    found = decide(*due(2), policy=packing())
    assert found.moves == ()
    assert [held.reason for held in found.held] == ["waits up to 6 h for others, to go as one object of cold"] * 2
    assert numbers(decide(*due(3), policy=packing())) == [0, 1, 2]
    assert numbers(decide(*due(2, late_ns=6 * HOUR), policy=packing())) == [0, 1]
    assert numbers(decide(*due(2, size=2_500), policy=packing())) == [0, 1]
    assert numbers(decide(*due(1), policy=packing(), everything=True)) == [0]


def test_small_segments_of_a_full_tier_do_not_wait() -> None:
    policy = replace(packing(), limits={"warm": Limits(bytes_max=1_500)})
    found = decide(*due(2), policy=policy)
    assert numbers(found) == [0]
    assert [held.segment.number for held in found.held] == [1]


def test_small_segments_go_in_groups_that_fill_an_object() -> None:
    rows = [*due(7), row("wire/main.q", place="warm", age_ns=COLD_AFTER_NS, stored_bytes=9_000), row(number=9)]
    found = decide(*rows, policy=packing())
    groups = [[move.segment.number for move in group] for group in packs(found.moves, packing())]
    assert sorted(groups) == [[0], [0, 1, 2], [3, 4, 5], [6], [9]]
    assert sum(len(group) for group in groups) == len(found.moves)
