"""`chronicle feed run` with [[multicast]] in chronicle.toml: packets on the loopback interface into the raw queue."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chronicle.cli.feed_run import configured_feeds
from chronicle.config import load_settings
from chronicle.core.cursor import Cursor
from chronicle.core.errors import ConfigError
from chronicle.core.layout import Action, Kind, StatusCode
from chronicle.core.local import LocalSource
from chronicle.core.records import Record
from tests.support.itch_day import ItchDay
from tests.support.mold_exchange import MoldExchange, loopback_groups
from tests.support.naive_itch import NaiveItch

CONFIG = """
[raw]
memory = "home"
segment_bytes = "1 MiB"

[[multicast]]
venue = "nasdaq"
groups = {groups}
interface = "127.0.0.1"
rewind = "{rewind}"
give_up = "15s"
retry = "20ms"
"""


@pytest.fixture(scope="module")
def groups() -> list[str]:
    return loopback_groups(2)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 300) -> None:
    """Poll until `condition` holds; fail when the process ends or the time is up."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"the feed did not get there: {out} {err}")
        time.sleep(0.01)


def line(home: Path) -> dict[str, Any]:
    """Return what the feed says of its line; empty before it says anything."""
    try:
        found: dict[str, Any] = json.loads((home / "control" / "feed.json").read_bytes())["lines"][0]
    except (OSError, ValueError, LookupError):
        return {}
    return found


def raw_records(home: Path) -> list[Record]:
    cursor = Cursor(LocalSource(home), "raw/main.q")
    found = []
    while (window := cursor.next_window()) is not None:
        found += [record.copy() for record in window.records()]
    return found


def test_an_operator_starts_it_by_configuration_and_stops_it(tmp_path: Path, groups: list[str]) -> None:
    day = ItchDay(seed=21, stocks=4).open().trade(3_000)
    home = tmp_path / "home"
    home.mkdir()
    with MoldExchange(groups, day.messages) as exchange:
        text = CONFIG.format(groups=json.dumps(groups), rewind=exchange.rewind)
        (home / "chronicle.toml").write_text(text)
        process = subprocess.Popen(
            [sys.executable, "-m", "chronicle", "feed", "run", "--home", str(home), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.getcwd()},
        )
        try:
            wait_for(lambda: line(home).get("connect_count", 0) > 0, process)
            for first in range(1, 2_001, 4):
                lines = [(0, 1), (0,), (1,), ()][first % 16 // 4]  # every fourth packet is lost on both
                exchange.send(exchange.packet(first, 4), *lines)
            exchange.send(exchange.packet(2_001, 4), 0, 1)
            wait_for(lambda: line(home)["multicast"].get("next_sequence", 0) == 2_005, process)
            exchange.ignored = 10**9  # the re-request server is dead from here on
            exchange.send(exchange.packet(2_101, 4), 0, 1)
            wait_for(lambda: line(home)["multicast"].get("next_sequence", 0) == 2_105, process)
            status = line(home)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=200)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert json.loads(out)["decode_errors"] <= 4  # orders whose messages were lost, once an instrument
    counts = status["multicast"]["arbitration"]
    assert (counts["given_up"], counts["lost_messages"]) == (1, 96)
    assert counts["won"]["rewind"] > 50
    records = raw_records(home)
    twin = NaiveItch()
    want = [r for number, m in enumerate(day.messages[:2_004], 1) for r in twin.message(m, number)]
    market = [r for r in records if r.kind in (Kind.ORDER, Kind.TRADE) and 0 < r.sequence <= 2_004]
    market = [r for r in market if r.kind == Kind.TRADE or r.fields()["action"] != Action.CLEAR]
    assert [(r.sequence, r.side, r.fields()["price"], r.fields()["size"]) for r in market] == [
        (r["sequence"], r["side"], r["price"], r["size"]) for r in want
    ]
    codes = [(r.fields()["code"], r.fields()["details"]) for r in records if r.kind == Kind.STATUS]
    assert [details for code, details in codes if code == StatusCode.LOST] == [{"first": 2_005, "last": 2_100}]
    assert codes[-1][0] == StatusCode.CAPTURE_END


def test_multicast_and_feeds_are_chosen_by_their_queue(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    text = """
    [[feeds]]
    venue = "kraken"
    symbols = ["BTC-USD"]

    [[feeds]]
    venue = "polygon"
    symbols = ["AAPL"]
    queue = "equities"
    key_env = "A_KEY_OF_NOBODY"

    [[multicast]]
    venue = "iex"
    groups = ["233.215.21.4:10378"]
    queue = "equities"
    """
    (home / "chronicle.toml").write_text(text)
    settings = load_settings(home, {})
    with pytest.raises(ConfigError, match="several queues") as caught:
        configured_feeds(settings, None, given=False)
    assert caught.value.expected == "main, equities"
    assert [spec.venue for spec in configured_feeds(settings, "main", given=False)[1]] == ["kraken"]
    with pytest.raises(ConfigError, match="A_KEY_OF_NOBODY"):
        configured_feeds(settings, "equities", given=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A_KEY_OF_NOBODY", "k3y")
        queue, (spec,) = configured_feeds(settings, "equities", given=False)
    assert (queue, spec.venue, spec.key) == ("equities", "polygon", "k3y")
    assert [item.queue for item in settings.multicast] == ["equities"]
    with pytest.raises(ConfigError, match="no \\[\\[multicast\\]\\] are for the queue 'absent'"):
        configured_feeds(settings, "absent", given=False)
