"""``chronicle queue``: bench, tailers, retain and seal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chronicle.cli.main import run
from chronicle.core.layout import Kind
from chronicle.core.queue import Queue


@pytest.fixture
def home(tmp_path: Path) -> Path:
    queue = Queue.create(tmp_path / "raw" / "main.q", name="raw/main.q", segment_bytes=64 * 1024)
    with queue.appender() as appender:
        for number in range(3_000):
            appender.append(Kind.TRADE, bytes(40), ts_recv=number)
    return tmp_path


def test_tailers_are_listed_and_dropped(home, capsys):
    queue = Queue.open(home / "raw" / "main.q")
    queue.register_tailer("never")
    with queue.tailer("strategy") as tailer:
        tailer.next_event()
        tailer.commit()
        assert run(["queue", "tailers", "raw/main", "--home", str(home), "--json"]) == 0
        found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
        assert (found["never"]["state"], found["never"]["lag"]) == ("new", 3000)
        assert (found["strategy"]["state"], found["strategy"]["lag"]) == ("live", 2999)
        assert found["strategy"]["lag_ns"] > 0
        assert run(["queue", "tailers", "raw/main", "--drop", "strategy", "--home", str(home)]) != 0
        assert "open" in capsys.readouterr().err
    assert run(["queue", "tailers", "raw/main", "--drop", "never", "--home", str(home)]) == 0
    out = capsys.readouterr().out
    assert "dropped never" in out
    assert "parked" in out
    assert run(["queue", "tailers", "raw/main", "--drop", "strategy", "--home", str(home)]) == 0
    assert "no named tailers" in capsys.readouterr().out


def test_retain_plans_waits_for_tailers_and_is_forced(home, capsys):
    queue = Queue.open(home / "raw" / "main.q")
    queue.register_tailer("slow")
    at = ["queue", "retain", "raw/main", "--home", str(home)]
    assert run([*at, "--bytes", "0", "--plan", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["numbers"], plan["blocked_by"], plan["done"]) == ([], "slow", False)
    assert run([*at, "--age", "1s", "--force"]) == 0
    out = capsys.readouterr().out
    assert "retired" in out
    assert "the tailer slow misses records 0 to" in out
    assert queue.first_index() > 0
    assert run(at) == 2
    assert run([*at, "--age", "soon"]) == 2


def test_seal_finishes_a_dead_writer_s_segment_and_spares_a_live_one(home, capsys):
    queue = Queue.open(home / "raw" / "main.q")
    with queue.appender():
        assert run(["queue", "seal", "raw/main", "--home", str(home)]) == 6
        assert "pid" in capsys.readouterr().err
    assert run(["queue", "seal", "raw/main", "--home", str(home), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["sealed"]) == 1
    assert run(["queue", "seal", "raw/main", "--home", str(home)]) == 0
    assert "nothing" in capsys.readouterr().out


def test_bench_measures_and_leaves_nothing(tmp_path, capsys):
    assert run(["queue", "bench", "--folder", str(tmp_path), "--records", "2000", "--json"]) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)["measures"]}
    assert set(found) == {"append", "recorder", "append_many", "roll", "read"}
    assert all(row["count"] > 0 and row["p50"] <= row["worst"] for row in found.values())
    assert list(tmp_path.iterdir()) == []
    assert run(["queue", "bench", "--folder", str(tmp_path), "--records", "1000"]) == 0
    assert "recorder" in capsys.readouterr().out
