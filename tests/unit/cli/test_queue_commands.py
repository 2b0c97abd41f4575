"""``chronicle queue``: inspect, check, dump and repair on whole, torn and damaged queues."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chronicle.cli.main import run
from chronicle.core.layout import TRADE_BYTES, Kind
from chronicle.core.queue import Queue
from chronicle.core.records import InstrumentFields
from chronicle.core.segment_header import read_header

BASE_TS = 1_700_000_000_000_000_000


@pytest.fixture
def home(tmp_path) -> Path:
    """A home with one raw queue of 300 trades in a few segments, the last one open."""
    queue = Queue.create(tmp_path / "raw" / "main.q", name="raw/main.q", segment_bytes=64 * 1024)
    with queue.appender() as appender:
        body = InstrumentFields(2, 3, details={"symbol": "kraken:BTC-EUR"}).pack()
        appender.append(Kind.INSTRUMENT, body, ts_recv=BASE_TS, instrument=1)
        for number in range(2000):
            appender.append(Kind.TRADE, bytes(40), ts_recv=BASE_TS + number, instrument=1 + number % 2)
    return tmp_path


def open_segment(home: Path) -> Path:
    return sorted((home / "raw" / "main.q").glob("*.open"))[-1]


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_inspect_one_and_all(home, capsys):
    assert run(["queue", "inspect", "raw/main", "--home", str(home), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["committed"], found["first_index"], found["writer"]) == (2001, 0, None)
    assert [part["first_index"] for part in found["segments"]][1:] == [
        part["end_index"] for part in found["segments"]
    ][:-1]
    assert run(["queue", "inspect", "--home", str(home)]) == 0
    assert "raw/main.q" in capsys.readouterr().out
    assert run(["queue", "inspect", str(home / "raw" / "main.q")]) == 0
    assert "2,001" in capsys.readouterr().out


def test_inspect_names_the_lock_holder(home, capsys):
    with Queue.open(home / "raw" / "main.q").appender():
        assert run(["queue", "inspect", "raw/main.q", "--home", str(home), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["writer"]["pid"] > 0


def test_check_passes_and_names_the_first_bad_byte(home, capsys):
    assert run(["queue", "check", "raw/main", "--home", str(home)]) == 0
    capsys.readouterr()
    sealed = sorted((home / "raw" / "main.q").glob("*.seg"))[0]
    data = bytearray(sealed.read_bytes())
    data[-5000] ^= 1
    sealed.write_bytes(data)
    assert run(["queue", "check", "raw/main", "--home", str(home), "--json"]) == 5
    found = json.loads(capsys.readouterr().out)
    bad = [item for item in found if not item["ok"]]
    assert len(bad) == 1
    assert bad[0]["bad_offset"] <= len(data) - 5000 < bad[0]["bad_offset"] + 65536


def test_check_finds_a_missing_segment(home, capsys):
    sorted((home / "raw" / "main.q").glob("*.seg"))[1].unlink()
    assert run(["queue", "check", "raw/main", "--home", str(home)]) == 5
    assert "it starts at record" in capsys.readouterr().out


def test_dump_filters(home, capsys):
    at = ["--home", str(home)]
    assert run(["queue", "dump", "raw/main", "--kind", "trade", "--limit", "3", *at]) == 0
    assert [item["index"] for item in lines(capsys)] == [1, 2, 3]
    assert run(["queue", "dump", "raw/main", "--instrument", "2", "--index", "100", "--limit", "2", *at]) == 0
    assert [(item["index"], item["instrument"]) for item in lines(capsys)] == [(100, 2), (102, 2)]
    assert run(["queue", "dump", "raw/main", "--start", str(BASE_TS + 10), "--end", str(BASE_TS + 12), *at]) == 0
    assert [item["ts_recv"] - BASE_TS for item in lines(capsys)] == [10, 11]
    assert run(["queue", "dump", "raw/main", "--kind", "INSTRUMENT", *at]) == 0
    assert lines(capsys)[0]["details"] == {"symbol": "kraken:BTC-EUR"}
    assert run(["queue", "dump", "raw/main", "--limit", "0", *at]) == 0
    assert lines(capsys) == []


def test_repair_leaves_a_whole_queue_alone(home, capsys):
    before = open_segment(home).read_bytes()
    assert run(["queue", "repair", "raw/main", "--yes", "--home", str(home)]) == 0
    assert "nothing to repair" in capsys.readouterr().out
    assert open_segment(home).read_bytes() == before


def damage(home: Path, how: str) -> None:
    path = open_segment(home)
    data = bytearray(path.read_bytes())
    position = read_header(path).data_offset + 10 * TRADE_BYTES
    if how == "word":
        data[position : position + 4] = b"\x07\x00\x00\x00"
    elif how == "zeros":
        data[position : position + 5000] = bytes(5000)
    else:
        del data[position + 40 :]
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["word", "zeros", "truncated"])
def test_repair_cuts_after_the_last_good_record_and_says_so(home, capsys, how):
    first = Queue.open(home / "raw" / "main.q").segments()[-1].base_index
    damage(home, how)
    at = ["raw/main", "--home", str(home)]
    assert run(["queue", "check", *at]) == 5
    assert run(["queue", "repair", *at, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))
    assert (plan["damaged"], plan["repaired"], plan["records_kept_below"]) == (True, False, first + 10)
    assert run(["queue", "check", *at]) == 5
    assert run(["queue", "repair", *at, "--yes"]) == 0
    assert f"below index {first + 10}" in capsys.readouterr().out
    assert run(["queue", "check", *at]) == 0
    queue = Queue.open(home / "raw" / "main.q")
    assert queue.end_index() == first + 10
    with queue.appender() as appender:
        assert appender.append(Kind.TRADE, bytes(40), ts_recv=BASE_TS + 5000) == first + 10
    assert run(["queue", "check", *at]) == 0


def test_repair_refuses_damage_in_a_sealed_segment_and_a_live_writer(home, capsys):
    at = ["raw/main", "--home", str(home), "--yes"]
    damage(home, "word")
    from chronicle.core.writer_lock import WriterLock

    lock = WriterLock.acquire(home / "raw" / "main.q", started_ns=0)
    try:
        assert run(["queue", "repair", *at]) == 6
    finally:
        lock.release()
    sealed = sorted((home / "raw" / "main.q").glob("*.seg"))[0]
    sealed.write_bytes(sealed.read_bytes()[:-100])
    assert run(["queue", "repair", *at]) == 5
    assert "another tier" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["raw/mian", "../../etc", "/etc", "", "a\0b", "x" * 5000, "-"])
def test_a_queue_that_is_not_there(home, capsys, name):
    for verb in ("inspect", "check", "dump", "repair"):
        code = run(["queue", verb, "--home", str(home), "--", name])
        if verb == "inspect" and name == "":
            assert code in {0, 3}
        assert code in {0, 3}, (verb, name)
    error = capsys.readouterr().err
    assert "Traceback" not in error
