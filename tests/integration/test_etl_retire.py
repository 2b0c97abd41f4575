"""A shard that is configured no longer: who holds raw segments back is said, and let go of, but not too early."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from chronicle.cli.main import run
from chronicle.core.layout import Side
from chronicle.core.queue import Queue
from chronicle.core.writer_lock import WriterLock
from tests.support.etl_streams import RawStream, instrument

RAW = "raw/main.q"
SYMBOLS = ("kraken:BTC-EUR", "kraken:ETH-EUR", "okx:BTC-USDT")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose shard `old` has worked off all but the last sealed raw segment, and was resharded away."""
    stream = RawStream()
    for number, symbol in enumerate(SYMBOLS, 1):
        stream.define(number, instrument(symbol))
        stream.snapshot(number, [(10, 1)], [(11, 1)], sequence=0)
    cut = []
    for step in range(1, 200):
        cut.append(len(stream.events))
        for number in range(1, len(SYMBOLS) + 1):
            stream.deltas(number, (Side.BID, 5 + step % 5, step), first=step, last=step)
    (tmp_path / "chronicle.toml").write_text('[etl.shards]\nold = ["*"]\n')
    _append(tmp_path, stream, 0, cut[100])
    assert run(["etl", "run", "--drain", "--home", str(tmp_path)]) == 0
    _append(tmp_path, stream, cut[100], None)
    return tmp_path


def _append(home: Path, stream: RawStream, first: int, end: int | None) -> None:
    with Queue.create(home / RAW, name=RAW, segment_bytes=64 * 1024, exist_ok=True).appender() as appender:
        for at, data in stream.events[first:end]:
            following = next((index for index, _ in stream.events if index > at), stream.next_index)
            appender.append_event(data, following - at)
        appender.seal()


def _shards(home: Path, **shards: list[str]) -> None:
    lines = (f"{name} = {json.dumps(globs)}" for name, globs in shards.items())
    (home / "chronicle.toml").write_text("\n".join(["[etl.shards]", *lines]))


def _say(capsys: pytest.CaptureFixture[str], *arguments: str, home: Path) -> tuple[int, str]:
    capsys.readouterr()
    code = run([*arguments, "--home", str(home)])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_a_shard_that_is_gone_is_named_and_let_go_of(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _say(capsys, "etl", "retire", "old", home=home)[0] == 2, "it is configured"
    _, text = _say(capsys, "tier", "status", home=home)
    assert "by shard old, which is at record" in text
    assert "does not run: `chronicle etl run --shard old`" in text
    _shards(home, a=["kraken:*"], b=["okx:*"])
    for command in ("tier", "etl"):
        assert "`chronicle etl retire old`" in _say(capsys, command, "status", home=home)[1]
    code, text = _say(capsys, "etl", "retire", "old", home=home)
    assert (code, "etl run --drain --shard a" in text, "kraken:BTC-EUR" in text) == (2, True, True)
    assert _say(capsys, "etl", "run", "--drain", "--shard", "a", home=home)[0] == 0
    code, text = _say(capsys, "etl", "retire", "old", home=home)
    assert (code, "etl run --drain --shard b" in text, "kraken:BTC-EUR" in text) == (2, True, False)
    assert _say(capsys, "etl", "run", "--drain", "--shard", "b", home=home)[0] == 0
    code, text = _say(capsys, "etl", "retire", "old", home=home)
    assert (code, "shard old is retired" in text) == (0, True)
    assert sorted(item.name for item in (home / "etl").iterdir()) == ["a", "b"]
    assert {item.name for item in Queue.open(home / RAW).tailers()} == {"etl-a", "etl-b"}
    assert "retire" not in _say(capsys, "etl", "status", home=home)[1]
    assert "raw held back" not in _say(capsys, "tier", "status", home=home)[1]
    _, text = _say(capsys, "tier", "plan", "--all", "--queues", "raw/", home=home)
    assert "2 segments to move" in text
    assert "0 held back" in text
    assert _say(capsys, "etl", "retire", "old", home=home)[0] == 3


def test_instruments_that_nobody_takes_are_given_up_only_when_told_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _shards(home, a=["kraken:*"])
    assert _say(capsys, "etl", "run", "--drain", "--shard", "a", home=home)[0] == 0
    code, text = _say(capsys, "etl", "retire", "old", home=home)
    assert (code, "no other shard takes: okx:BTC-USDT;" in text) == (2, True)
    assert (home / "etl" / "old").is_dir()
    code, text = _say(capsys, "etl", "retire", "old", "--give-up", home=home)
    assert (code, "given up: okx:BTC-USDT" in text) == (0, True)
    assert not (home / "etl" / "old").exists()


def test_a_shard_that_runs_is_not_retired(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _shards(home, a=["*"])
    assert _say(capsys, "etl", "run", "--drain", home=home)[0] == 0
    lock = WriterLock.acquire(home / "etl/old/progress.q", started_ns=1)
    code, text = _say(capsys, "etl", "retire", "old", home=home)
    assert (code, "shard old runs" in text) == (6, True)
    lock.release()
    assert _say(capsys, "etl", "retire", "old", home=home)[0] == 0


def test_a_retirement_that_was_cut_short_is_finished_by_the_next(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _shards(home, a=["*"])
    assert _say(capsys, "etl", "run", "--drain", home=home)[0] == 0

    def killed(folder: Path) -> None:
        (folder / "selection.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        assert _say(capsys, "etl", "retire", "old", home=home)[0] == 130
    assert "old" not in _say(capsys, "etl", "status", home=home)[1]
    assert _say(capsys, "etl", "retire", "old", home=home)[0] == 0
    assert not (home / "etl" / "old").exists()
